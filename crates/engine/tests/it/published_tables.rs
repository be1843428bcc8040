//! The decision tables say what their publishers' tables say, row by row.

use std::collections::BTreeMap;

use stanch_engine::tables::{bod_26_04, coordinator, deployer};
use stanch_model::assessment::{
    Automatable, BodDeadline, CoordinatorPriority, DeployerPriority, Exploitation, HumanImpact, MissionWellbeing,
    TechnicalImpact,
};
use stanch_model::asset::ExposureLevel;

use crate::world::data;

const EXPLOITATION: [Exploitation; 3] = [Exploitation::None, Exploitation::PublicPoc, Exploitation::Active];
const AUTOMATABLE: [Automatable; 2] = [Automatable::No, Automatable::Yes];
const TECHNICAL: [TechnicalImpact; 2] = [TechnicalImpact::Partial, TechnicalImpact::Total];

#[test]
fn the_deployer_table_equals_the_published_72_rows() {
    let name = "deployer_patch_application_priority_1_0_0.csv";
    let text = String::from_utf8(data(&format!("ssvc/{name}"), name)).unwrap();
    let mut counts: BTreeMap<DeployerPriority, u32> = BTreeMap::new();
    let mut asked = Vec::new();
    for line in text.lines().skip(1) {
        let [row, exploitation, exposure, automatable, impact, expected] =
            line.trim().split(',').collect::<Vec<_>>().try_into().unwrap();
        let inputs = (
            match exploitation {
                "none" => Exploitation::None,
                "public poc" => Exploitation::PublicPoc,
                "active" => Exploitation::Active,
                other => panic!("{other}"),
            },
            match exposure {
                "small" => ExposureLevel::Small,
                "controlled" => ExposureLevel::Controlled,
                "open" => ExposureLevel::Open,
                other => panic!("{other}"),
            },
            match automatable {
                "no" => Automatable::No,
                "yes" => Automatable::Yes,
                other => panic!("{other}"),
            },
            match impact {
                "low" => HumanImpact::Low,
                "medium" => HumanImpact::Medium,
                "high" => HumanImpact::High,
                "very high" => HumanImpact::VeryHigh,
                other => panic!("{other}"),
            },
        );
        let expected = match expected {
            "defer" => DeployerPriority::Defer,
            "scheduled" => DeployerPriority::Scheduled,
            "out-of-cycle" => DeployerPriority::OutOfCycle,
            "immediate" => DeployerPriority::Immediate,
            other => panic!("{other}"),
        };
        assert_eq!(deployer(inputs.0, inputs.1, inputs.2, inputs.3), expected, "row {row}: {line}");
        *counts.entry(expected).or_default() += 1;
        assert!(!asked.contains(&inputs), "row {row} twice");
        asked.push(inputs);
    }
    assert_eq!(asked.len(), 72);
    assert_eq!(counts.into_values().collect::<Vec<_>>(), [7, 42, 20, 3], "defer, scheduled, out of cycle, immediate");
}

#[test]
fn the_coordinator_table_equals_the_published_36_rows() {
    // Mission and well-being low/medium/high, in the order of exploitation, automatable, technical impact.
    let published = [
        "T/T/T",
        "T/T/T*",
        "T/T/A",
        "T/T/A", // none
        "T/T/T*",
        "T/T*/A",
        "T/T/A",
        "T/T*/A", // public proof of concept
        "T/T/A",
        "T/A/ACT",
        "A/A/ACT",
        "A/ACT/ACT", // active
    ];
    let mut rows = published.iter();
    let mut counts: BTreeMap<CoordinatorPriority, u32> = BTreeMap::new();
    for exploitation in EXPLOITATION {
        for automatable in AUTOMATABLE {
            for technical in TECHNICAL {
                let cells = rows.next().unwrap().split('/');
                for (mission, cell) in
                    [MissionWellbeing::Low, MissionWellbeing::Medium, MissionWellbeing::High].into_iter().zip(cells)
                {
                    let got = coordinator(exploitation, automatable, technical, mission);
                    let spelled = match got {
                        CoordinatorPriority::Track => "T",
                        CoordinatorPriority::TrackStar => "T*",
                        CoordinatorPriority::Attend => "A",
                        CoordinatorPriority::Act => "ACT",
                    };
                    assert_eq!(spelled, cell, "{exploitation:?} {automatable:?} {technical:?} {mission:?}");
                    *counts.entry(got).or_default() += 1;
                }
            }
        }
    }
    assert_eq!(counts.into_values().collect::<Vec<_>>(), [18, 4, 10, 4], "track, track*, attend, act");
}

#[test]
fn the_deadlines_equal_the_directives_16_rows() {
    // Technical impact partial/total, in the order of KEV, exposed, automatable.
    let published = ["up/up", "60/60", "60/14", "14/3", "14/14", "14/3f", "14/3f", "3/3f"];
    let mut rows = published.iter();
    let mut seen = 0;
    for in_kev in [false, true] {
        for exposed in [false, true] {
            for automatable in AUTOMATABLE {
                for (technical, cell) in TECHNICAL.into_iter().zip(rows.next().unwrap().split('/')) {
                    let spelled = match bod_26_04(in_kev, exposed, automatable, technical) {
                        BodDeadline::NextUpgrade => "up",
                        BodDeadline::Days60 => "60",
                        BodDeadline::Days14 => "14",
                        BodDeadline::Days3 => "3",
                        BodDeadline::Days3Forensics => "3f",
                    };
                    assert_eq!(spelled, cell, "KEV {in_kev}, exposed {exposed}, {automatable:?}, {technical:?}");
                    seen += 1;
                }
            }
        }
    }
    assert_eq!(seen, 16);
}
