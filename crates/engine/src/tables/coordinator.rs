//! SSVC coordinator table of CISA, version 2.0.3, 36 rows: how closely a vulnerability deserves to be followed.

use stanch_model::assessment::{Automatable, CoordinatorPriority, Exploitation, MissionWellbeing, TechnicalImpact};

/// The coordinator's priority.
pub const fn coordinator(
    exploitation: Exploitation,
    automatable: Automatable,
    technical: TechnicalImpact,
    mission: MissionWellbeing,
) -> CoordinatorPriority {
    use Automatable::{No, Yes};
    use CoordinatorPriority::{Act, Attend as A, Track as T, TrackStar as Ts};
    use Exploitation::{Active, None, PublicPoc};
    use TechnicalImpact::{Partial, Total};

    // Columns: mission and well-being low, medium, high.
    let (low, medium, high) = match (exploitation, automatable, technical) {
        (None, No, Partial) => (T, T, T),
        (None, No, Total) => (T, T, Ts),
        (None, Yes, Partial) => (T, T, A),
        (None, Yes, Total) => (T, T, A),
        (PublicPoc, No, Partial) => (T, T, Ts),
        (PublicPoc, No, Total) => (T, Ts, A),
        (PublicPoc, Yes, Partial) => (T, T, A),
        (PublicPoc, Yes, Total) => (T, Ts, A),
        (Active, No, Partial) => (T, T, A),
        (Active, No, Total) => (T, A, Act),
        (Active, Yes, Partial) => (A, A, Act),
        (Active, Yes, Total) => (A, Act, Act),
    };
    match mission {
        MissionWellbeing::Low => low,
        MissionWellbeing::Medium => medium,
        MissionWellbeing::High => high,
    }
}
