//! The two clocks of an executor.
//!
//! The wall clock can be wrong or set back, so it only bounds what is written in wall time (a certificate, the end of
//! a window). How old an order is, is measured on a clock that never goes back and also counts while the machine
//! sleeps.

use std::time::Duration;

use jiff::Timestamp;

/// Where a runner reads the time.
pub trait Clock: Send + Sync {
    /// The wall clock.
    fn now(&self) -> Timestamp;

    /// Time since the machine booted, suspended time included. Never goes back while the boot id stays the same.
    fn since_boot(&self) -> Duration;
}

/// The machine's clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn since_boot(&self) -> Duration {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
    }
}

/// The kernel's boot id: changes with every boot.
///
/// # Errors
/// When the kernel does not say (no `/proc`).
pub fn boot_id() -> std::io::Result<String> {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|text| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_has_both_clocks_and_a_boot_id() {
        let (first, second) = (SystemClock.since_boot(), SystemClock.since_boot());
        assert!(first > Duration::ZERO && second >= first);
        assert_eq!(boot_id().unwrap().len(), 36);
    }
}
