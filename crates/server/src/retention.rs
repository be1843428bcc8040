//! How long what is old is kept, noun by noun, and what is the least. Pure: what takes it away is `tasks::retention`.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp};
use stanch_store::retention::Noun;

const DAY: SignedDuration = SignedDuration::from_hours(24);
/// Between the begins of two sweeps.
pub(crate) const EVERY: SignedDuration = DAY;

/// How long something is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Nothing takes it away.
    Forever,
    /// For so long, counted from when it was over.
    For(SignedDuration),
}

const fn days(number: i64) -> Keep {
    Keep::For(SignedDuration::from_hours(24 * number))
}

impl fmt::Display for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forever => f.write_str("forever"),
            Self::For(time) if time.as_hours() % 24 == 0 => write!(f, "{}d", time.as_hours() / 24),
            Self::For(time) => write!(f, "{}h", time.as_hours()),
        }
    }
}

/// A period that is no period, or a shorter one than something else rests on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPeriod {
    /// Not of the form.
    #[error("`{0}` is not of the form NOUN=SPAN, such as findings=365d or ledger=forever")]
    Form(String),
    /// There is no such noun.
    #[error("nothing is called `{0}`; what can be kept for a time of its own: {names}", names = names())]
    Noun(String),
    /// Not a span.
    #[error("`{0}` is not a span: write `forever`, or days or hours such as 90d or 36h")]
    Span(String),
    /// Too short.
    #[error("{noun} cannot be kept for {wanted} only, {least} at least: {why}", noun = noun.name())]
    Short {
        /// What is kept.
        noun: Noun,
        /// What was asked for.
        wanted: Keep,
        /// The least.
        least: Keep,
        /// What rests on it.
        why: &'static str,
    },
}

fn names() -> String {
    Noun::ALL.map(Noun::name).join(", ")
}

/// What is to be kept for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Period {
    /// What.
    pub noun: Noun,
    /// For how long.
    pub keep: Keep,
}

impl FromStr for Period {
    type Err = BadPeriod;

    fn from_str(text: &str) -> Result<Self, BadPeriod> {
        let (name, span) = text.split_once('=').ok_or_else(|| BadPeriod::Form(text.to_owned()))?;
        let noun = Noun::ALL.into_iter().find(|noun| noun.name() == name.trim());
        let noun = noun.ok_or_else(|| BadPeriod::Noun(name.trim().to_owned()))?;
        let keep = match span.trim() {
            "forever" => Keep::Forever,
            span => {
                let bad = || BadPeriod::Span(span.to_owned());
                let time = span.parse::<Span>().and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()));
                Keep::For(time.ok().filter(|time| !time.is_negative()).ok_or_else(bad)?)
            }
        };
        let (least, why) = least(noun);
        match (keep, least) {
            (Keep::For(wanted), Keep::For(shortest)) if wanted < shortest => {
                Err(BadPeriod::Short { noun, wanted: keep, least, why })
            }
            _ => Ok(Self { noun, keep }),
        }
    }
}

/// The shortest that something may be kept, and why.
pub const fn least(noun: Noun) -> (Keep, &'static str) {
    match noun {
        Noun::Orders => (days(7), "an executor that was cut off hands its answers over again when it is back"),
        Noun::Evidence => (days(30), "who confirms or answers for what was done looks at what it printed"),
        Noun::Cases => (days(90), "a case is taken back together, and it names its remediations"),
        Noun::Campaigns => (days(90), "it says what was taken back of what a policy did"),
        Noun::Remediations => {
            (days(90), "attempts of the last weeks, and what a person said no to, keep it from being tried again")
        }
        Noun::Undo => (
            days(90),
            "nothing can be taken back without it, neither alone nor with a campaign, and a promotion counts from what it \
             has proven elsewhere",
        ),
        Noun::Plans => (days(30), "approvals, signatures and rehearsals name them"),
        Noun::Decisions => (days(30), "a problem that opens for the third time within 30 days goes to a person"),
        Noun::Findings | Noun::Items => {
            (days(90), "a problem that opens for the third time within 30 days goes to a person, and reports look back")
        }
        Noun::Packages => (days(30), "it says since when a host was exposed"),
        Noun::Facts => (days(30), "reports say when a problem could first be seen"),
        Noun::Notices => (days(7), "one that fails is tried for a day, and people look at what became of it"),
        Noun::Tokens => (days(1), "who asks why a token does not work any more finds it"),
        Noun::Limits => (days(2), "limits count by the hour"),
        Noun::Ledger => (days(90), "notices and timelines read what it says"),
    }
}

/// What is kept for how long. As shipped, what people did and what they can still take back stays for ever.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retention(BTreeMap<Noun, Keep>);

impl Default for Retention {
    fn default() -> Self {
        Self(Noun::ALL.into_iter().map(|noun| (noun, shipped(noun))).collect())
    }
}

const fn shipped(noun: Noun) -> Keep {
    match noun {
        Noun::Orders => days(14),
        Noun::Notices => days(30),
        Noun::Limits => days(30),
        Noun::Tokens | Noun::Plans => days(90),
        Noun::Decisions | Noun::Facts => days(365),
        Noun::Evidence | Noun::Remediations | Noun::Findings | Noun::Items | Noun::Packages => days(730),
        Noun::Undo | Noun::Cases | Noun::Campaigns | Noun::Ledger => Keep::Forever,
    }
}

impl Retention {
    /// The same with other periods.
    #[must_use]
    pub fn with(mut self, periods: impl IntoIterator<Item = Period>) -> Self {
        self.0.extend(periods.into_iter().map(|period| (period.noun, period.keep)));
        self
    }

    /// How long something is kept.
    pub fn keep(&self, noun: Noun) -> Keep {
        self.0.get(&noun).copied().unwrap_or(Keep::Forever)
    }

    /// The time before which something is old; none where it never is.
    pub fn before(&self, noun: Noun, now: Timestamp) -> Option<Timestamp> {
        match self.keep(noun) {
            Keep::Forever => None,
            // What was there before time began is not old.
            Keep::For(time) => now.checked_sub(time).ok(),
        }
    }
}

/// How far a sweep has come. It goes through the nouns one after the other, a slice at a time; after a start it begins anew,
/// and finds nothing where it was done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Sweep {
    /// When the next one is due; not known before somebody looked.
    pub(crate) next: Option<Timestamp>,
    began: Option<Timestamp>,
    noun: usize,
    /// Where to look on in the noun at hand.
    pub(crate) after: String,
    /// The same in the ledger.
    pub(crate) from: u64,
}

/// What a sweep does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing for now.
    Rest,
    /// A slice of this noun, of what is older than this.
    Take(Noun, Timestamp),
    /// It is over.
    End,
}

impl Sweep {
    /// What to do now.
    pub(crate) fn step(&mut self, retention: &Retention, now: Timestamp) -> Step {
        if self.began.is_none() && self.next.is_none_or(|next| now < next) {
            return Step::Rest;
        }
        let began = *self.began.get_or_insert(now);
        while let Some(noun) = Noun::ALL.get(self.noun) {
            if let Some(before) = retention.before(*noun, began) {
                return Step::Take(*noun, before);
            }
            self.pass_on();
        }
        Step::End
    }

    /// Nothing is left of the noun at hand.
    pub(crate) fn pass_on(&mut self) {
        self.noun += 1;
        self.after.clear();
        self.from = 0;
    }

    /// It is over; the next one begins a while after this one began. Answers when.
    pub(crate) fn end(&mut self, now: Timestamp) -> Timestamp {
        let next = self.began.unwrap_or(now).saturating_add(EVERY).unwrap_or(Timestamp::MAX);
        *self = Self { next: Some(next), ..Self::default() };
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(days: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + days * 86_400).unwrap()
    }

    #[test]
    fn a_period_is_a_noun_and_a_span_and_a_short_one_is_refused_with_what_rests_on_it() {
        let period = |text: &str| text.parse::<Period>();
        assert_eq!(period("findings=365d").unwrap(), Period { noun: Noun::Findings, keep: days(365) });
        assert_eq!(period(" orders = 2w ").unwrap(), Period { noun: Noun::Orders, keep: days(14) });
        assert_eq!(period("undo=forever").unwrap().keep, Keep::Forever);
        let short = period("undo=30d").unwrap_err().to_string();
        assert!(short.contains("90d at least") && short.contains("taken back"), "{short}");
        assert!(matches!(period("findings"), Err(BadPeriod::Form(_))));
        assert!(period("hosts=1d").unwrap_err().to_string().contains("orders, evidence"));
        for wrong in ["", "soon", "-5d", "7", "1y"] {
            assert!(matches!(period(&format!("facts={wrong}")), Err(BadPeriod::Span(_))), "{wrong}");
        }
    }

    #[test]
    fn what_is_shipped_is_as_long_as_it_must_be_and_reads_as_it_is_written() {
        for noun in Noun::ALL {
            let keep = Retention::default().keep(noun);
            assert_eq!(format!("{}={keep}", noun.name()).parse::<Period>().unwrap().keep, keep);
        }
        assert_eq!(Retention::default().before(Noun::Undo, at(0)), None);
        assert_eq!(Retention::default().before(Noun::Notices, at(30)), Some(at(0)));
    }

    #[test]
    fn a_sweep_goes_through_what_has_a_period_once_a_day_and_goes_on_where_it_was() {
        let retention = Retention::default();
        let mut sweep = Sweep::default();
        assert_eq!(sweep.step(&retention, at(0)), Step::Rest, "nobody looked when the last one was");
        sweep.next = Some(at(1));
        assert_eq!(sweep.step(&retention, at(0)), Step::Rest);
        let mut seen = Vec::new();
        loop {
            // However long it takes, what is old was old when it began.
            match sweep.step(&retention, at(1 + seen.len() as i64)) {
                Step::Take(noun, before) => {
                    assert_eq!(Some(before), retention.before(noun, at(1)));
                    seen.push(noun);
                    sweep.after = "x".to_owned();
                    sweep.pass_on();
                    assert_eq!(sweep.after, "");
                }
                Step::Rest => panic!("it has begun"),
                Step::End => break,
            }
        }
        let forever = |noun: &Noun| retention.keep(*noun) == Keep::Forever;
        assert_eq!(seen, Noun::ALL.into_iter().filter(|noun| !forever(noun)).collect::<Vec<_>>());
        assert_eq!(sweep.end(at(9)), at(2));
        assert_eq!(sweep.step(&retention, at(1)), Step::Rest);
        assert!(matches!(sweep.step(&retention, at(2)), Step::Take(Noun::Orders, _)));
    }
}
