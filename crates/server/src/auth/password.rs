//! Passwords: kept as argon2id, compared in the same time whether the account is there or not.

use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, Version};
use tokio::sync::Semaphore;

use super::attempts::Attempts;
use crate::clock::{Entropy, NoEntropy};

/// The fewest characters of a password.
pub(crate) const SHORTEST: usize = 12;
/// The most bytes.
const LONGEST: usize = 256;
/// Memory in KiB, passes and lanes: OWASP's first choice for argon2id (password storage cheat sheet, 2025).
const COST: (u32, u32, u32) = (19 * 1024, 2, 1);
/// Passwords that are hashed at once; more wait, so that guessing cannot take all memory.
const AT_ONCE: usize = 2;
/// Compared with where there is no account or no password, so that both take as long. Nothing hashes to it.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$c3RhbmNoLW5vYm9keS4uLg$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Why a password cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PasswordError {
    /// Not a good one.
    #[error("{0}")]
    Weak(&'static str),
    /// No random bytes.
    #[error("no salt could be drawn")]
    Entropy(#[source] NoEntropy),
    /// The library refused.
    #[error("the password cannot be hashed")]
    Hash(#[source] argon2::password_hash::Error),
    /// The computation was broken off.
    #[error("hashing was broken off")]
    Broken(#[source] tokio::task::JoinError),
}

/// Hashes and compares passwords.
pub(crate) struct Passwords {
    turns: Semaphore,
    /// Who failed how often.
    pub(crate) attempts: Attempts,
}

impl Default for Passwords {
    fn default() -> Self {
        Self { turns: Semaphore::new(AT_ONCE), attempts: Attempts::default() }
    }
}

fn hasher() -> Result<Argon2<'static>, argon2::password_hash::Error> {
    let (memory, passes, lanes) = COST;
    let params = Params::new(memory, passes, lanes, None).map_err(|_| argon2::password_hash::Error::ParamsInvalid)?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

/// Refuses what is guessed first.
fn check(password: &str, name: &str) -> Result<(), PasswordError> {
    let weak = |why| Err(PasswordError::Weak(why));
    if password.chars().count() < SHORTEST {
        return weak("a password has at least 12 characters");
    }
    if password.len() > LONGEST {
        return weak("a password has at most 256 bytes");
    }
    let mut different: Vec<char> = password.chars().collect();
    different.sort_unstable();
    different.dedup();
    if different.len() < 5 {
        return weak("a password has at least five different characters");
    }
    let folded = password.to_lowercase();
    if folded.contains("stanch") || (name.len() > 3 && folded.contains(name)) {
        return weak("a password does not hold the name of the account or of the program");
    }
    Ok(())
}

impl Passwords {
    /// The text under which a new password is kept.
    pub(crate) async fn hash(
        &self,
        name: &str,
        password: String,
        entropy: &dyn Entropy,
    ) -> Result<String, PasswordError> {
        check(&password, name)?;
        let mut salt = [0; 16];
        entropy.fill(&mut salt).map_err(PasswordError::Entropy)?;
        self.turn(move || {
            let kept: argon2::PasswordHash = hasher()?.hash_password_with_salt(password.as_bytes(), &salt)?;
            Ok(kept.to_string())
        })
        .await
    }

    /// Whether a password is the one that is kept. Takes as long when none is.
    pub(crate) async fn fits(&self, password: String, kept: Option<String>) -> Result<bool, PasswordError> {
        let known = kept.is_some();
        let kept = kept.unwrap_or_else(|| NOBODY.to_owned());
        let password: String = if password.len() > LONGEST { String::new() } else { password };
        let fits = self.turn(move || Ok(hasher()?.verify_password(password.as_bytes(), kept.as_str()).is_ok())).await?;
        Ok(fits && known)
    }

    async fn turn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, argon2::password_hash::Error> + Send + 'static,
    ) -> Result<T, PasswordError> {
        // Closed never: it lives as long as this does.
        let _turn = self.turns.acquire().await;
        tokio::task::spawn_blocking(work).await.map_err(PasswordError::Broken)?.map_err(PasswordError::Hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemEntropy;

    #[tokio::test]
    async fn a_password_fits_its_own_hash_only() {
        let passwords = Passwords::default();
        let kept = passwords.hash("ada", "correct horse battery".into(), &SystemEntropy).await.unwrap();
        assert!(kept.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{kept}");
        assert!(passwords.fits("correct horse battery".into(), Some(kept.clone())).await.unwrap());
        assert!(!passwords.fits("correct horse batterz".into(), Some(kept)).await.unwrap());
        for nobody in ["", "correct horse battery"] {
            assert!(!passwords.fits(nobody.into(), None).await.unwrap());
        }
        // The one that stands for nobody reads, so that comparing with it takes as long.
        assert!(argon2::PasswordHash::new(NOBODY).is_ok());
    }

    #[test]
    fn what_is_guessed_first_is_refused() {
        for weak in ["short", "aaaaaaaaaaaa", "ababababababab", "lovelace-12345", "Stanch-password-1"] {
            assert!(check(weak, "lovelace").is_err(), "{weak}");
        }
        assert!(check(&"x1y2z3".repeat(50), "ada").is_err());
        check("correct horse battery", "ada").unwrap();
    }
}
