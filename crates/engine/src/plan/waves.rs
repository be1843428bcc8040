//! Which target stands in which ring. The same targets stand in the same rings, in whatever order they come.

use std::collections::BTreeSet;

use stanch_model::asset::Tier;
use stanch_model::id::AssetId;
use stanch_model::plan::Wave;
use stanch_model::terms::{RingSize, RingTerm};

use crate::defect::{Defect, planted};

/// What decides where a target stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// Runs Stanch's own server or store.
    pub(super) own: bool,
    /// Gets a new version of one of Stanch's own packages.
    pub(super) renews: bool,
    /// Its tier; unknown counts as the most critical.
    pub(super) tier: Option<Tier>,
    /// Its label `ring`.
    pub(super) ring: Option<String>,
    /// The target.
    pub(super) asset: AssetId,
}

/// Rings over the targets: the least critical first; then one by one those that get a new version of Stanch's own
/// packages, and last of all those that Stanch itself runs on.
///
/// A target whose label `ring` is named by a ring stands in that one; rings by count and percent draw from the others,
/// and percents count all targets from the start. What no ring takes comes last, in a ring of its own.
pub(super) fn waves(order: Vec<Place>, rings: &[RingTerm]) -> Vec<Wave> {
    let (mut own, others): (Vec<Place>, Vec<Place>) =
        order.into_iter().partition(|place| place.own && !planted(Defect::OwnFirst));
    let (mut renewed, mut others): (Vec<Place>, Vec<Place>) =
        others.into_iter().partition(|place| place.renews && !planted(Defect::OwnFirst));
    let tier = |place: &Place| place.tier.unwrap_or(Tier::MOST_CRITICAL);
    for alone in [&mut own, &mut renewed] {
        alone.sort_by(|a, b| tier(b).cmp(&tier(a)).then_with(|| a.asset.cmp(&b.asset)));
    }
    others.sort_by(|a, b| tier(b).cmp(&tier(a)).then_with(|| a.asset.cmp(&b.asset)));
    let total = others.len();
    let named: BTreeSet<&str> = rings
        .iter()
        .filter_map(|ring| if let RingSize::Label(label) = &ring.size { Some(label.as_str()) } else { None })
        .collect();
    let (mut labelled, plain): (Vec<Place>, Vec<Place>) =
        others.into_iter().partition(|place| place.ring.as_deref().is_some_and(|ring| named.contains(ring)));
    let mut plain = plain.into_iter().map(|place| place.asset);
    let mut taken = 0;
    let mut waves = Vec::new();
    for ring in rings {
        let assets: Vec<AssetId> = match &ring.size {
            RingSize::Label(label) => {
                let (mine, rest) = labelled.into_iter().partition(|place| place.ring.as_ref() == Some(label));
                labelled = rest;
                let mine: Vec<Place> = mine;
                mine.into_iter().map(|place| place.asset).collect()
            }
            RingSize::Count(count) => plain.by_ref().take((*count).max(ring.min) as usize).collect(),
            RingSize::Percent(percent) => {
                let share = total.saturating_mul(usize::from((*percent).min(100))).div_ceil(100);
                plain.by_ref().take(share.saturating_sub(taken).max(ring.min as usize)).collect()
            }
        };
        taken += assets.len();
        if !assets.is_empty() {
            waves.push(Wave { assets, bake_seconds: ring.bake_seconds });
        }
    }
    let last_bake = rings.last().map_or(0, |ring| ring.bake_seconds);
    let rest: Vec<AssetId> = plain.collect();
    if !rest.is_empty() {
        waves.push(Wave { assets: rest, bake_seconds: last_bake });
    }
    waves.extend(
        renewed.into_iter().chain(own).map(|place| Wave { assets: vec![place.asset], bake_seconds: last_bake }),
    );
    for wave in &mut waves {
        wave.assets.sort();
    }
    waves
}
