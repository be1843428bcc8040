//! Time and randomness as values that are handed in, so that a test can hold them still.

use jiff::Timestamp;

/// What time it is.
pub trait Clock: Send + Sync + 'static {
    /// The present.
    fn now(&self) -> Timestamp;
}

/// Where unpredictable bytes come from.
pub trait Entropy: Send + Sync + 'static {
    /// Fills the buffer.
    ///
    /// # Errors
    /// When the source fails: nothing may go on with predictable bytes.
    fn fill(&self, to: &mut [u8]) -> Result<(), NoEntropy>;
}

/// The source of randomness failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gives no random bytes")]
pub struct NoEntropy;

/// The machine's own clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        // The store keeps microseconds: a time must read back as it was written.
        let now = Timestamp::now();
        Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
    }
}

/// The operating system's random bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, to: &mut [u8]) -> Result<(), NoEntropy> {
        aws_lc_rs::rand::fill(to).map_err(|_| NoEntropy)
    }
}

/// Ten random bytes, as an id wants them.
///
/// # Errors
/// When the source fails.
pub(crate) fn ten(entropy: &dyn Entropy) -> Result<[u8; 10], NoEntropy> {
    let mut bytes = [0; 10];
    entropy.fill(&mut bytes)?;
    Ok(bytes)
}

/// Sixteen random bytes, for a salt.
///
/// # Errors
/// When the source fails.
pub(crate) fn sixteen(entropy: &dyn Entropy) -> Result<[u8; 16], NoEntropy> {
    let mut bytes = [0; 16];
    entropy.fill(&mut bytes)?;
    Ok(bytes)
}

/// Thirty-two random bytes, for keys and tokens.
///
/// # Errors
/// When the source fails.
pub(crate) fn thirty_two(entropy: &dyn Entropy) -> Result<[u8; 32], NoEntropy> {
    let mut bytes = [0; 32];
    entropy.fill(&mut bytes)?;
    Ok(bytes)
}
