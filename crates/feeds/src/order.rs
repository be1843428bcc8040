//! Which versions of feeds are taken. Their orders are those of [`stanch_model::version`].

use stanch_model::version::{DebVersion, PlainVersion};
pub use stanch_model::version::{Order, Version};

use crate::error::Problem;

/// Refuses a text of a feed that makes no sense. A distribution writes its own versions; what others collect holds
/// a few that their ecosystem does not take, and these stay as texts that compare with nothing.
pub(crate) fn check(order: Order, version: &str) -> Result<(), Problem> {
    match order {
        Order::Debian => version.parse::<DebVersion>().map(drop).map_err(Problem::Version),
        _ => bounded(version),
    }
}

/// Refuses a text that is no version in any order.
pub(crate) fn bounded(version: &str) -> Result<(), Problem> {
    version.parse::<PlainVersion>().map(drop).map_err(Problem::Version)
}
