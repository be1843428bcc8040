//! What is known of one finding, and what the decision tables take where nothing is known.
//!
//! A gap is never filled in silence: each value taken in place of a missing one is listed with the assessment. The
//! rule behind the values: an assumption about the *vulnerability* must not start a deadline that no source stated
//! (else every finding of a host without feeds would be due at once, and the order would say nothing), while an
//! assumption about the *asset* counts it as important (a tier nobody set counts as 1).

use stanch_model::assessment::{
    Automatable, Cvss, Enrichment, Exploitation, HumanImpact, MissionWellbeing, SsvcOptions, TechnicalImpact,
};
use stanch_model::asset::{Exposure, ExposureLevel, Tier};
use stanch_model::finding::Finding;

/// What the tables are asked with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Inputs {
    pub(crate) exploitation: Exploitation,
    pub(crate) exposure: ExposureLevel,
    pub(crate) automatable: Automatable,
    pub(crate) technical: TechnicalImpact,
    pub(crate) impact: HumanImpact,
    pub(crate) mission: MissionWellbeing,
    pub(crate) in_kev: bool,
    pub(crate) assumed: Vec<String>,
}

/// What the feeds know of all CVEs of a finding, and what its advisory's own vectors say. Of several, the worst counts.
pub(crate) fn enrichment(
    finding: &Finding,
    cves: &[String],
    enrich: &dyn Fn(&str) -> Option<Enrichment>,
) -> Enrichment {
    let mut joined = Enrichment::default();
    for known in cves.iter().filter_map(|id| enrich(id)) {
        joined.kev = match (joined.kev, known.kev) {
            (Some(a), Some(b)) => Some(if b.added < a.added { b } else { a }),
            (a, b) => a.or(b),
        };
        joined.epss = match (joined.epss, known.epss) {
            (Some(a), Some(b)) => Some(if b.score_e5 > a.score_e5 { b } else { a }),
            (a, b) => a.or(b),
        };
        joined.cvss.extend(known.cvss);
        joined.ssvc = SsvcOptions {
            exploitation: joined.ssvc.exploitation.max(known.ssvc.exploitation),
            automatable: joined.ssvc.automatable.max(known.ssvc.automatable),
            technical_impact: joined.ssvc.technical_impact.max(known.ssvc.technical_impact),
        };
    }
    for vector in &finding.cvss_vectors {
        if !joined.cvss.iter().any(|score| score.vector.as_ref() == Some(vector))
            && let Some(score) = score(vector)
        {
            joined.cvss.push(score);
        }
    }
    joined
}

/// The score of a vector, or `None` for a text that is none.
fn score(vector: &str) -> Option<Cvss> {
    // No real vector is longer; a hostile feed should not cost time.
    if vector.len() > 512 {
        return None;
    }
    let parsed: cvss::Cvss = vector.parse().ok()?;
    let tenths = (parsed.score() * 10.0).round();
    if !(0.0..=100.0).contains(&tenths) {
        return None;
    }
    let (version, nomenclature) = match &parsed {
        cvss::Cvss::CvssV20(_) => ("2.0", "base".to_owned()),
        cvss::Cvss::CvssV30(_) => ("3.0", "base".to_owned()),
        cvss::Cvss::CvssV31(_) => ("3.1", "base".to_owned()),
        cvss::Cvss::CvssV40(v4) => ("4.0", v4.nomenclature().to_string().trim_start_matches("CVSS-").to_owned()),
        _ => return None,
    };
    Some(Cvss {
        version: version.to_owned(),
        score_e1: tenths as u8,
        vector: Some(vector.to_owned()),
        nomenclature,
        source: "advisory".to_owned(),
    })
}

/// The inputs of the tables for one finding on one asset.
pub(crate) fn inputs(known: &Enrichment, exposure: Option<Exposure>, tier: Option<Tier>) -> Inputs {
    let mut assumed = Vec::new();
    let in_kev = known.kev.is_some();

    let exploitation = match (in_kev, known.ssvc.exploitation) {
        // The catalogue lists what is being exploited; nothing that says less can take that back.
        (true, _) => Exploitation::Active,
        (false, Some(stated)) => stated,
        (false, None) => {
            assumed.push("exploitation: unknown, taken as none".to_owned());
            Exploitation::None
        }
    };
    let automatable = known.ssvc.automatable.unwrap_or_else(|| match from_vectors(known, is_automatable) {
        Some(true) => {
            assumed.push("automatable: unknown, taken as yes from the CVSS vector".to_owned());
            Automatable::Yes
        }
        Some(false) => {
            assumed.push("automatable: unknown, taken as no from the CVSS vector".to_owned());
            Automatable::No
        }
        None => {
            assumed.push("automatable: unknown, taken as no".to_owned());
            Automatable::No
        }
    });
    let technical = known.ssvc.technical_impact.unwrap_or_else(|| match from_vectors(known, is_total) {
        Some(true) => {
            assumed.push("technical impact: unknown, taken as total from the CVSS vector".to_owned());
            TechnicalImpact::Total
        }
        Some(false) => {
            assumed.push("technical impact: unknown, taken as partial from the CVSS vector".to_owned());
            TechnicalImpact::Partial
        }
        None => {
            assumed.push("technical impact: unknown, taken as partial".to_owned());
            TechnicalImpact::Partial
        }
    });
    let exposure = exposure.map_or_else(
        || {
            assumed.push("exposure: unknown, taken as controlled".to_owned());
            ExposureLevel::Controlled
        },
        |exposure| exposure.level,
    );
    let (impact, mission) = match tier.map(Tier::number) {
        None => {
            assumed.push(
                "human impact and mission: tier unknown, taken as tier 1 (very high human impact, high mission)"
                    .to_owned(),
            );
            (HumanImpact::VeryHigh, MissionWellbeing::High)
        }
        Some(1) => (HumanImpact::VeryHigh, MissionWellbeing::High),
        Some(2) => (HumanImpact::High, MissionWellbeing::High),
        Some(3) => (HumanImpact::Medium, MissionWellbeing::Medium),
        Some(_) => (HumanImpact::Low, MissionWellbeing::Low),
    };
    Inputs { exploitation, exposure, automatable, technical, impact, mission, in_kev, assumed }
}

/// Whether any vector has a property; `None` when no vector is known.
fn from_vectors(known: &Enrichment, property: fn(&[&str]) -> bool) -> Option<bool> {
    known
        .cvss
        .iter()
        .filter_map(|score| score.vector.as_deref())
        .map(|vector| property(&vector.split('/').collect::<Vec<_>>()))
        .reduce(|a, b| a || b)
}

/// From the network, without effort, rights or a person's help: what a worm needs.
fn is_automatable(metrics: &[&str]) -> bool {
    let has = |metric: &str| metrics.contains(&metric);
    let unhindered = !has("AT:P");
    has("AV:N") && has("AC:L") && unhindered && (has("PR:N") && has("UI:N") || has("Au:N"))
}

/// Confidentiality, integrity and availability all lost.
fn is_total(metrics: &[&str]) -> bool {
    let all = |three: [&str; 3]| three.iter().all(|metric| metrics.contains(metric));
    all(["C:H", "I:H", "A:H"]) || all(["VC:H", "VI:H", "VA:H"]) || all(["C:C", "I:C", "A:C"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_of_all_versions_are_scored() {
        let shown = |vector: &str| {
            let score = score(vector).unwrap();
            (score.version, score.score_e1, score.nomenclature)
        };
        assert_eq!(shown("AV:N/AC:L/Au:N/C:C/I:C/A:C"), ("2.0".into(), 100, "base".into()));
        assert_eq!(shown("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"), ("3.1".into(), 98, "base".into()));
        assert_eq!(
            shown("CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N"),
            ("4.0".into(), 93, "B".into())
        );
        assert_eq!(score("high"), None);
    }

    #[test]
    fn the_vector_tells_what_ssvc_does_not() {
        let known = Enrichment {
            cvss: vec![score("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:N").unwrap()],
            ..Enrichment::default()
        };
        let inputs = inputs(&known, None, None);
        assert_eq!((inputs.automatable, inputs.technical), (Automatable::Yes, TechnicalImpact::Partial));
        assert!(inputs.assumed.contains(&"automatable: unknown, taken as yes from the CVSS vector".to_owned()));
    }

    #[test]
    fn what_ssvc_states_is_not_listed_as_assumed() {
        let known = Enrichment {
            ssvc: SsvcOptions {
                exploitation: Some(Exploitation::PublicPoc),
                automatable: Some(Automatable::Yes),
                technical_impact: Some(TechnicalImpact::Total),
            },
            ..Enrichment::default()
        };
        let tier = Tier::try_from(2).ok();
        let open = Exposure { level: ExposureLevel::Open, source: stanch_model::asset::ExposureSource::Label };
        assert_eq!(inputs(&known, Some(open), tier).assumed, Vec::<String>::new());
    }
}
