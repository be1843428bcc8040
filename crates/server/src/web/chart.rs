//! The trend as a drawing that the server makes: no script, no style inside it.

use std::fmt::Write as _;

use jiff::Timestamp;

use super::show;
use crate::api::types::TrendPoint;

const WIDTH: u64 = 560;
const HEIGHT: u64 = 150;
const LEFT: u64 = 40;
const TOP: u64 = 10;
const BOTTOM: u64 = 22;

/// The trend, ready to be drawn.
pub(super) struct Chart {
    /// Points of the line of all open findings, as an SVG path.
    pub(super) open: String,
    /// Points of the line of those that can be fixed.
    pub(super) fixable: String,
    /// The same line closed to the ground.
    pub(super) area: String,
    /// Heights of the lines of the grid, with their numbers.
    pub(super) grid: Vec<(u64, u64)>,
    /// The last point of the fixable line.
    pub(super) last: (u64, u64),
    /// First and last day.
    pub(super) from: String,
    pub(super) to: String,
    /// What it says, for those who do not see it.
    pub(super) words: String,
}

impl Chart {
    pub(super) fn new(points: &[TrendPoint]) -> Self {
        let (Some(first), Some(last)) = (points.first(), points.last()) else { return Self::none() };
        if points.len() < 2 || last.at <= first.at {
            return Self::none();
        }
        let top = nice(points.iter().map(|point| point.open.max(point.fixable)).max().unwrap_or(0));
        let span = micros(last.at).saturating_sub(micros(first.at)).max(1);
        let x = |at: Timestamp| {
            LEFT + (WIDTH - LEFT - 6) * (micros(at).saturating_sub(micros(first.at)) / 1000) / (span / 1000).max(1)
        };
        let ground = HEIGHT - BOTTOM;
        let y = |count: u64| ground - (ground - TOP) * count / top;
        let line = |pick: fn(&TrendPoint) -> u64| {
            points.iter().enumerate().fold(String::new(), |mut path, (place, point)| {
                let _ = write!(path, "{}{} {}", if place == 0 { "M" } else { "L" }, x(point.at), y(pick(point)));
                path
            })
        };
        let fixable = line(|point| point.fixable);
        Self {
            open: line(|point| point.open),
            area: format!("{fixable}L{} {ground}L{} {ground}Z", x(last.at), x(first.at)),
            fixable,
            grid: [0, top / 2, top].into_iter().map(|count| (y(count), count)).collect(),
            last: (x(last.at), y(last.fixable)),
            from: show::when(&first.at),
            to: show::when(&last.at),
            words: format!(
                "From {} to {}: findings with a fix went from {} to {}, all open findings from {} to {}.",
                show::when(&first.at),
                show::when(&last.at),
                first.fixable,
                last.fixable,
                first.open,
                last.open
            ),
        }
    }

    fn none() -> Self {
        Self {
            open: String::new(),
            fixable: String::new(),
            area: String::new(),
            grid: Vec::new(),
            last: (0, 0),
            from: String::new(),
            to: String::new(),
            words: String::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.grid.is_empty()
    }
}

fn micros(at: Timestamp) -> u64 {
    u64::try_from(at.as_microsecond()).unwrap_or(0)
}

/// The next even number that reads well on an axis.
fn nice(most: u64) -> u64 {
    let mut step = 2;
    loop {
        for factor in [1, 2, 5] {
            let top: u64 = step * factor;
            if top >= most {
                return top;
            }
        }
        step *= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(minute: i64, fixable: u64, open: u64) -> TrendPoint {
        TrendPoint { at: Timestamp::from_second(1_800_000_000 + minute * 60).unwrap(), fixable, open }
    }

    #[test]
    fn one_point_is_no_trend() {
        assert!(Chart::new(&[]).is_empty());
        assert!(Chart::new(&[point(0, 1, 2)]).is_empty());
        assert!(Chart::new(&[point(0, 1, 2), point(0, 1, 2)]).is_empty());
    }

    #[test]
    fn lines_stay_inside_the_drawing() {
        let chart = Chart::new(&[point(0, 0, 2596), point(60, 2596, 2596), point(600, 0, 0)]);
        assert_eq!(chart.grid.last().unwrap().1, 4000);
        for number in chart.open.split(['M', 'L', ' ']).filter(|text| !text.is_empty()) {
            assert!(number.parse::<u64>().unwrap() <= WIDTH, "{}", chart.open);
        }
        assert!(chart.words.contains("from 0 to 0"));
    }
}
