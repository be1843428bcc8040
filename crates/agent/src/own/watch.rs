//! What a new version of one of Stanch's own packages is owed and when its time is over, as pure functions of what each
//! look finds. Time is counted from look to look on the clock since boot: neither a clock that is set nor a reboot begins
//! it anew.

use serde::{Deserialize, Serialize};
use stanch_model::canonical::Digest;

/// Between two looks no more than this counts, in seconds: a machine that slept was not waiting.
const MOST_BETWEEN: u64 = 120;
/// A server that fails and is started again is well now and then: it must be well at so many looks in a row.
const WELL_LOOKS: u32 = 3;
/// How often bringing the version before back is tried.
pub(super) const MOST_ATTEMPTS: u32 = 8;
/// The pause after the first attempt, in seconds; each one after it is twice as long.
const FIRST_PAUSE: u64 = 60;
/// No pause is longer, in seconds.
const LONGEST_PAUSE: u64 = 3600;
/// How long a new version may be awaited that is not being installed, in seconds. An upgrade that goes on after a crash
/// begins its watch anew, so nothing is lost when this is over.
const ABSENT: u64 = 3600;

/// How a new version proves itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Proof {
    /// It wrote down that its server answered.
    CheckIn,
    /// It answers there that it is well.
    Health {
        /// Where it is asked.
        url: String,
    },
}

/// A point on the clock since boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Moment {
    /// Which boot.
    pub(super) boot_id: String,
    /// Seconds since then.
    pub(super) seconds: u64,
}

/// A new version that has not proven itself yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Watch {
    /// The package.
    pub(super) package: String,
    /// Its service.
    pub(super) unit: String,
    /// The version before.
    pub(super) from: String,
    /// The new one.
    pub(super) to: String,
    /// Digest of the kept package.
    pub(super) sha256: Digest,
    /// How long the new one has.
    pub(super) limit_seconds: u32,
    /// How it proves itself.
    pub(super) proof: Proof,
    /// How long it was here, in whole or in part, without having proven itself.
    pub(super) waited_seconds: u64,
    /// How long the version before was still here, and no package manager at work.
    pub(super) absent_seconds: u64,
    /// At how many looks in a row it was well.
    pub(super) well: u32,
    /// How often bringing the version before back was begun.
    pub(super) attempts: u32,
    /// Until that is tried again.
    pub(super) pause_seconds: u64,
    /// Why the last attempt failed.
    pub(super) trouble: Option<String>,
    /// The last look.
    pub(super) last: Option<Moment>,
}

/// What dpkg says of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    /// This version is unpacked and configured.
    Whole(String),
    /// Something was broken off.
    Torn,
    /// Somebody has removed it.
    Removed,
}

impl Found {
    /// Reads want, status, error flag and version as dpkg-query prints them on a line.
    pub(super) fn read(line: &str) -> Self {
        let mut words = line.split_whitespace();
        let (want, status, flag) = (words.next(), words.next(), words.next());
        match (want.unwrap_or_default(), status.unwrap_or_default(), flag, words.next()) {
            (_, "installed" | "triggers-awaited" | "triggers-pending", Some("ok"), Some(version)) => {
                Self::Whole(version.to_owned())
            }
            (want, "config-files" | "not-installed", _, _) if want != "install" && want != "hold" => Self::Removed,
            _ => Self::Torn,
        }
    }
}

/// What a look finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    /// When.
    pub(super) now: Moment,
    /// What is installed.
    pub(super) found: Found,
    /// A package manager is at work.
    pub(super) busy: bool,
    /// The new version has proven itself, as far as this look can tell.
    pub(super) proven: bool,
}

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Look again.
    Wait,
    /// The new version has proven itself.
    Proven,
    /// The new version did not come.
    NeverCame,
    /// Somebody else has brought another version, or removed it.
    Gone,
    /// The version before is to be brought back.
    Restore,
    /// It was brought back.
    Restored,
    /// It could not be brought back, and nobody tries any more.
    GiveUp,
}

impl Watch {
    /// What a look means, and what is known after it.
    #[must_use]
    pub(super) fn look(mut self, seen: &Seen) -> (Self, Verdict) {
        let passed = match &self.last {
            None => 0,
            Some(last) if last.boot_id == seen.now.boot_id => seen.now.seconds.saturating_sub(last.seconds),
            Some(_) => seen.now.seconds,
        }
        .min(MOST_BETWEEN);
        self.last = Some(seen.now.clone());
        self.pause_seconds = self.pause_seconds.saturating_sub(passed);
        let is = |version: &str| matches!(&seen.found, Found::Whole(found) if found == version);
        let (new, before) = (is(&self.to), is(&self.from));
        let here = new || seen.found == Found::Torn;
        if new || (here && !seen.busy) {
            self.waited_seconds = self.waited_seconds.saturating_add(passed);
        } else if before && !seen.busy {
            self.absent_seconds = self.absent_seconds.saturating_add(passed);
        }
        self.well = if new && seen.proven { self.well.saturating_add(1) } else { 0 };
        let looks = if self.proof == Proof::CheckIn { 1 } else { WELL_LOOKS };
        let over = self.waited_seconds >= u64::from(self.limit_seconds);
        let verdict = if before && self.attempts > 0 {
            Verdict::Restored
        } else if before {
            if self.absent_seconds < ABSENT || seen.busy { Verdict::Wait } else { Verdict::NeverCame }
        } else if !here {
            Verdict::Gone
        } else if self.attempts == 0 && self.well >= looks {
            Verdict::Proven
        } else if seen.busy || !over || self.pause_seconds > 0 {
            Verdict::Wait
        } else if self.attempts >= MOST_ATTEMPTS {
            Verdict::GiveUp
        } else {
            Verdict::Restore
        };
        (self, verdict)
    }

    /// Notes that the version before is about to be brought back.
    #[must_use]
    pub(super) fn attempt(mut self) -> Self {
        let doubled = FIRST_PAUSE.checked_shl(self.attempts).unwrap_or(LONGEST_PAUSE);
        self.pause_seconds = doubled.min(LONGEST_PAUSE);
        self.attempts = self.attempts.saturating_add(1);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch(proof: Proof) -> Watch {
        Watch {
            package: "stanch-agent".to_owned(),
            unit: "stanch-agent.service".to_owned(),
            from: "1".to_owned(),
            to: "2".to_owned(),
            sha256: Digest::of_bytes(b"kept"),
            limit_seconds: 600,
            proof,
            waited_seconds: 0,
            absent_seconds: 0,
            well: 0,
            attempts: 0,
            pause_seconds: 0,
            trouble: None,
            last: None,
        }
    }

    fn seen(boot: &str, seconds: u64, installed: &str) -> Seen {
        let now = Moment { boot_id: boot.to_owned(), seconds };
        Seen { now, found: Found::Whole(installed.to_owned()), busy: false, proven: false }
    }

    fn torn(seconds: u64) -> Seen {
        Seen { found: Found::Torn, ..seen("a", seconds, "") }
    }

    /// The verdict of each look.
    fn looks(mut watch: Watch, all: impl IntoIterator<Item = Seen>) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        for seen in all {
            let (next, verdict) = watch.look(&seen);
            watch = next;
            verdicts.push(verdict);
        }
        verdicts
    }

    #[test]
    fn what_does_not_prove_itself_in_time_is_taken_back_and_not_before() {
        let verdicts = looks(watch(Proof::CheckIn), (0..=10).map(|minute| seen("a", minute * 60, "2")));
        assert!(verdicts[..10].iter().all(|verdict| *verdict == Verdict::Wait), "{verdicts:?}");
        assert_eq!(verdicts[10], Verdict::Restore);
    }

    #[test]
    fn time_before_the_new_version_is_here_does_not_count_against_it() {
        // Another package manager keeps the lock for long, or the archive is slow.
        let before = (0..=40).map(|minute| seen("a", minute * 60, "1"));
        let being_unpacked = (41..=60).map(|minute| Seen { busy: true, ..torn(minute * 60) });
        let after = (61..=71).map(|minute| seen("a", minute * 60, "2"));
        let verdicts = looks(watch(Proof::CheckIn), before.chain(being_unpacked).chain(after));
        assert_eq!(verdicts.iter().position(|verdict| *verdict != Verdict::Wait), Some(70), "{verdicts:?}");
        assert_eq!(verdicts[70], Verdict::Restore);
    }

    #[test]
    fn an_upgrade_that_never_begins_is_not_watched_without_end() {
        let verdicts = looks(watch(Proof::CheckIn), (0..=60).map(|minute| seen("a", minute * 60, "1")));
        assert_eq!(verdicts.iter().position(|verdict| *verdict == Verdict::NeverCame), Some(60), "{verdicts:?}");
    }

    #[test]
    fn a_reboot_does_not_begin_the_time_anew() {
        let before = (0..=5).map(|minute| seen("a", 9_000 + minute * 60, "2"));
        let after = (0..6).map(|minute| seen("b", 30 + minute * 60, "2"));
        let verdicts = looks(watch(Proof::CheckIn), before.chain(after));
        assert_eq!(verdicts.iter().position(|verdict| *verdict == Verdict::Restore), Some(11), "{verdicts:?}");
        // A machine that reboots over and over comes to its end too.
        let loops = (0..30).map(|boot| seen(&boot.to_string(), 40, "2"));
        assert!(looks(watch(Proof::CheckIn), loops).contains(&Verdict::Restore));
    }

    #[test]
    fn a_machine_that_slept_was_not_waiting() {
        assert_eq!(looks(watch(Proof::CheckIn), [seen("a", 0, "2"), seen("a", 90_000, "2")])[1], Verdict::Wait);
    }

    #[test]
    fn a_version_that_proved_itself_stays() {
        let proven = Seen { proven: true, ..seen("a", 0, "2") };
        assert_eq!(looks(watch(Proof::CheckIn), [proven.clone()]), [Verdict::Proven]);
        let early = Seen { proven: true, ..seen("a", 0, "1") };
        assert_eq!(looks(watch(Proof::CheckIn), [early]), [Verdict::Wait], "the version before proves nothing");
        let half = Seen { proven: true, ..torn(0) };
        assert_eq!(looks(watch(Proof::CheckIn), [half]), [Verdict::Wait], "one that is not whole proves nothing");
        let health = Proof::Health { url: String::new() };
        let again = looks(
            watch(health),
            [proven.clone(), proven.clone(), seen("a", 9, "2"), proven.clone(), proven.clone(), proven],
        );
        assert_eq!(again.iter().position(|verdict| *verdict == Verdict::Proven), Some(5), "well three times in a row");
    }

    #[test]
    fn what_is_torn_is_repaired_whatever_version_dpkg_names() {
        let whole = |line: &str| Found::read(line);
        assert_eq!(whole("install installed ok 1.2"), Found::Whole("1.2".to_owned()));
        assert_eq!(whole("hold triggers-awaited ok 1.2"), Found::Whole("1.2".to_owned()));
        for line in [
            "install half-installed ok 1",
            "install half-installed reinstreq 1",
            "install half-configured ok 1",
            "install unpacked ok 2",
            "install installed reinstreq 2",
            "install config-files ok 1",
            "",
        ] {
            assert_eq!(whole(line), Found::Torn, "{line}");
        }
        assert_eq!(whole("deinstall config-files ok 1"), Found::Removed);
        assert_eq!(whole("unknown not-installed ok "), Found::Removed);

        let verdicts = looks(watch(Proof::CheckIn), (0..=10).map(|minute| torn(minute * 60)));
        assert_eq!(verdicts.iter().position(|verdict| *verdict == Verdict::Restore), Some(10), "{verdicts:?}");
    }

    #[test]
    fn what_others_have_done_since_is_left_alone() {
        assert_eq!(looks(watch(Proof::CheckIn), [seen("a", 0, "3")]), [Verdict::Gone]);
        let removed = Seen { found: Found::Removed, ..seen("a", 0, "") };
        assert_eq!(looks(watch(Proof::CheckIn), [removed]), [Verdict::Gone]);
        let over = Watch { waited_seconds: 600, ..watch(Proof::CheckIn) };
        assert_eq!(over.look(&Seen { busy: true, ..seen("a", 0, "2") }).1, Verdict::Wait, "it is being changed");
    }

    #[test]
    fn trying_has_pauses_that_grow_and_an_end() {
        let mut watch = Watch { waited_seconds: 600, ..watch(Proof::CheckIn) };
        let mut tried = Vec::new();
        let end = (0..2_000).find(|look| {
            let (next, verdict) = watch.clone().look(&seen("a", look * 30, "2"));
            watch = next;
            if verdict == Verdict::Restore {
                tried.push(look * 30);
                watch = watch.clone().attempt();
            }
            verdict == Verdict::GiveUp
        });
        let pauses: Vec<u64> = tried.windows(2).map(|two| two[1] - two[0]).collect();
        assert_eq!(pauses, [60, 120, 240, 480, 960, 1_920, 3_600]);
        assert_eq!(end.map(|look| look * 30), Some(tried[7] + 3_600));
    }

    #[test]
    fn a_way_back_that_was_gone_to_its_end_is_seen_after_a_crash() {
        let begun = Watch { waited_seconds: 600, ..watch(Proof::CheckIn) }.attempt();
        assert_eq!(begun.clone().look(&seen("a", 0, "1")).1, Verdict::Restored);
        assert_eq!(begun.look(&Seen { proven: true, ..seen("a", 0, "2") }).1, Verdict::Wait, "it is decided");
    }
}
