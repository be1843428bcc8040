//! Waiting for a condition: the only place in the tests that is allowed to let time pass.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

const SHORTEST: Duration = Duration::from_millis(2);
const LONGEST: Duration = Duration::from_millis(100);

/// Asks `condition` again and again, with growing short pauses, until it holds or `limit` has passed; `what` names it
/// in the error.
pub fn wait_until(what: &str, limit: Duration, mut condition: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + limit;
    let mut pause = SHORTEST;
    loop {
        if condition()? {
            return Ok(());
        }
        if Instant::now() >= deadline {
            bail!("waited {limit:?} in vain: {what}");
        }
        std::thread::park_timeout(pause);
        pause = (pause * 2).min(LONGEST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_after_some_asking() {
        let mut asked = 0;
        wait_until("third time", Duration::from_secs(5), || {
            asked += 1;
            Ok(asked == 3)
        })
        .unwrap();
        assert_eq!(asked, 3);
    }

    #[test]
    fn says_what_did_not_come() {
        let error = wait_until("pigs fly", Duration::from_millis(5), || Ok(false)).unwrap_err();
        assert!(error.to_string().contains("pigs fly"), "{error}");
    }
}
