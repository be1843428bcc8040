//! The shipped order: a list of numbers compared one after the other, each of which can be told in words.
//!
//! First what somebody demands (the deadline), then what the decision table says, then what the asset means, and only
//! then the evidence that is left when no feed knows an id: whether there is anything to do, how close the code stands
//! to the network, how much one act closes. A value nobody gave takes a middle place, so that a gap neither buries an
//! item nor lifts it above one that is known to be bad.

use std::cmp::Ordering;

use stanch_model::assessment::{Assessment, BodDeadline, DeployerPriority};
use stanch_model::asset::{ExposureLevel, Tier};

use crate::reach::Reach;

/// The parts of a rank, in the order they are compared; smaller is more urgent in each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Deadline,
    Outcome,
    Asset,
    Doable,
    Reach,
    Size,
    Cvss,
    Epss,
    Newest,
    Ids,
}

const PARTS: [Part; 10] = [
    Part::Deadline,
    Part::Outcome,
    Part::Asset,
    Part::Doable,
    Part::Reach,
    Part::Size,
    Part::Cvss,
    Part::Epss,
    Part::Newest,
    Part::Ids,
];

/// No fixed day: after every date there is.
const NO_DAY: i64 = i64::MAX;
/// Where an unknown CVSS score stands: the lower end of "high".
const UNKNOWN_CVSS_E1: i64 = 70;
/// No EPSS score.
const NO_EPSS: i64 = 1;

/// What a rank is made of.
pub(crate) struct Standing {
    pub(crate) due: Option<jiff::Timestamp>,
    pub(crate) deployer: DeployerPriority,
    pub(crate) exposure: Option<ExposureLevel>,
    pub(crate) tier: Option<Tier>,
    pub(crate) dependents: u32,
    pub(crate) doable: bool,
    pub(crate) reach: Reach,
    pub(crate) ids: usize,
    pub(crate) cvss_e1: Option<u8>,
    pub(crate) epss_e5: Option<u32>,
    pub(crate) newest_year: Option<u16>,
}

/// The sort key.
pub(crate) fn rank(standing: &Standing) -> Vec<i64> {
    let ids = i64::try_from(standing.ids).unwrap_or(i64::MAX - 1);
    PARTS
        .iter()
        .map(|part| match part {
            Part::Deadline => standing.due.map_or(NO_DAY, |due| due.as_second().div_euclid(86_400)),
            Part::Outcome => -(standing.deployer as i64),
            Part::Asset => -weight(standing),
            Part::Doable => i64::from(!standing.doable),
            Part::Reach => -(standing.reach as i64),
            Part::Size => -i64::from(64 - ids.max(0).leading_zeros()),
            Part::Cvss => -standing.cvss_e1.map_or(UNKNOWN_CVSS_E1, i64::from),
            Part::Epss => standing.epss_e5.map_or(NO_EPSS, |score| -i64::from(score)),
            Part::Newest => -i64::from(standing.newest_year.unwrap_or(0)),
            Part::Ids => -ids,
        })
        .collect()
}

/// Exposure (1 to 3) times tier (5 for the most critical) times dependents (plus one, at most 1,000).
fn weight(standing: &Standing) -> i64 {
    let exposure = match standing.exposure.unwrap_or(ExposureLevel::Controlled) {
        ExposureLevel::Small => 1,
        ExposureLevel::Controlled => 2,
        ExposureLevel::Open => 3,
    };
    let tier = 6 - i64::from(standing.tier.unwrap_or(Tier::MOST_CRITICAL).number());
    exposure * tier * (1 + i64::from(standing.dependents.min(999)))
}

/// The shipped order: more urgent first; equal ranks by item id, so that it is always the same.
pub fn by_urgency(a: &Assessment, b: &Assessment) -> Ordering {
    a.rank.cmp(&b.rank).then_with(|| a.item.cmp(&b.item))
}

/// Each part of a rank in words, in the order it counts.
pub fn explain_rank(assessment: &Assessment) -> Vec<String> {
    PARTS.iter().zip(&assessment.rank).map(|(part, value)| explain(*part, *value, assessment)).collect()
}

fn explain(part: Part, value: i64, assessment: &Assessment) -> String {
    match part {
        Part::Deadline => match (assessment.due, assessment.bod) {
            (Some(due), bod) => format!("deadline: {} ({})", due.strftime("%Y-%m-%d"), deadline(bod)),
            (None, bod) => format!("deadline: none with a date ({})", deadline(bod)),
        },
        Part::Outcome => format!("SSVC deployer table: {}", outcome(assessment.deployer)),
        Part::Asset => {
            let exposure = assessment.exposure.map_or("unknown, counted as controlled", |e| exposure_name(e.level));
            let tier = assessment.tier.map_or_else(|| "unknown, counted as 1".to_owned(), |t| t.number().to_string());
            format!(
                "asset: weight {} (exposure {exposure}; tier {tier}; {} depend on it)",
                -value, assessment.dependents
            )
        }
        Part::Doable if value == 0 => "something can be done now".to_owned(),
        Part::Doable => "nothing can be done by itself: after what can".to_owned(),
        Part::Reach => format!("code: {}", reach_name(-value)),
        Part::Size => match -value {
            size @ 1..=62 => format!("size: between {} and {} ids", 1_i64 << (size - 1), (1_i64 << size) - 1),
            _ => "size: no id".to_owned(),
        },
        Part::Cvss if assessment.members.iter().all(|member| member.enrichment.cvss.is_empty()) => {
            format!("CVSS: unknown, counted as {}.{}", -value / 10, -value % 10)
        }
        Part::Cvss => format!("CVSS: at most {}.{}", -value / 10, -value % 10),
        Part::Epss if value == NO_EPSS => "EPSS: unknown, after what has a score".to_owned(),
        Part::Epss => format!("EPSS: at most {}", epss_text(u32::try_from(-value).unwrap_or(0))),
        Part::Newest if value == 0 => "newest id: no year known".to_owned(),
        Part::Newest => format!("newest id: of {}", -value),
        Part::Ids => format!("ids: {}", -value),
    }
}

pub(crate) const fn deadline(bod: BodDeadline) -> &'static str {
    match bod {
        BodDeadline::NextUpgrade => "BOD 26-04: with the next upgrade",
        BodDeadline::Days60 => "BOD 26-04: 60 days",
        BodDeadline::Days14 => "BOD 26-04: 14 days",
        BodDeadline::Days3 => "BOD 26-04: 3 days",
        BodDeadline::Days3Forensics => "BOD 26-04: 3 days, after looking for signs of compromise",
    }
}

pub(crate) const fn outcome(deployer: DeployerPriority) -> &'static str {
    match deployer {
        DeployerPriority::Defer => "defer",
        DeployerPriority::Scheduled => "scheduled",
        DeployerPriority::OutOfCycle => "out of cycle",
        DeployerPriority::Immediate => "immediate",
    }
}

pub(crate) const fn exposure_name(level: ExposureLevel) -> &'static str {
    match level {
        ExposureLevel::Small => "small",
        ExposureLevel::Controlled => "controlled",
        ExposureLevel::Open => "open",
    }
}

const fn reach_name(reach: i64) -> &'static str {
    match reach {
        0 => "documents, data or settings",
        1 => "a program that is started when needed",
        2 => "a library that other programs load",
        3 => "a network service or the kernel, not seen listening for others",
        _ => "listens for others now",
    }
}

/// Parts per 100,000 as a probability, `0.944`.
pub(crate) fn epss_text(score_e5: u32) -> String {
    let digits = format!("{}.{:05}", score_e5 / 100_000, score_e5 % 100_000);
    digits.trim_end_matches('0').trim_end_matches('.').to_owned()
}
