//! Random numbers that a seed gives again, for blows that fall at any time.

use std::time::Duration;

/// A sequence (xorshift64).
#[derive(Debug)]
pub struct Chance(u64);

impl Chance {
    /// The sequence of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed.max(1))
    }

    /// A number below another.
    pub fn draw(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below.max(1)
    }

    /// So many milliseconds: the least, and below the most.
    pub fn between(&mut self, (least, most): (u64, u64)) -> Duration {
        Duration::from_millis(least + self.draw(most.saturating_sub(least)))
    }
}
