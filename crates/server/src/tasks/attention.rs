//! Since when this server has looked without a break. While it was down, paused or without its store nobody could call,
//! so that silence from then says nothing about who is silent.

use jiff::{SignedDuration, Timestamp};

/// The looks of one server.
#[derive(Debug, Default)]
pub(crate) struct Attention {
    span: Option<Span>,
}

#[derive(Debug, Clone, Copy)]
struct Span {
    since: Timestamp,
    last: Timestamp,
}

impl Attention {
    /// It looks now. Answers since when it has, never with a break longer than this between two looks.
    pub(crate) fn look(&mut self, now: Timestamp, longest_break: SignedDuration) -> Timestamp {
        let kept = self.span.filter(|span| now.duration_since(span.last) <= longest_break);
        // A clock that was put back has not been looked by for longer than it shows.
        let since = kept.map_or(now, |span| span.since.min(now));
        self.span = Some(Span { since, last: now });
        since
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn it_begins_anew_after_a_break() {
        let mut attention = Attention::default();
        let mut look = |second| attention.look(at(second), SignedDuration::from_secs(10)).as_second();
        assert_eq!([look(100), look(108), look(118)], [100, 100, 100]);
        assert_eq!([look(129), look(130)], [129, 129], "eleven seconds are a break");
        assert_eq!([look(50), look(60)], [50, 50], "the clock was put back");
    }
}
