//! SSVC deployer table "Patch Application Priority" 1.0.0 of CERT/CC, 72 rows: how soon somebody who runs a system
//! should apply a patch.

use stanch_model::assessment::{Automatable, DeployerPriority, Exploitation, HumanImpact};
use stanch_model::asset::ExposureLevel;

/// The deployer's priority. Exploitation 1.1.0, System Exposure 1.0.1, Automatable 2.0.0, Human Impact 2.0.2.
pub const fn deployer(
    exploitation: Exploitation,
    exposure: ExposureLevel,
    automatable: Automatable,
    impact: HumanImpact,
) -> DeployerPriority {
    use Automatable::{No, Yes};
    use DeployerPriority::{Defer as D, Immediate as I, OutOfCycle as O, Scheduled as S};
    use Exploitation::{Active, None, PublicPoc};
    use ExposureLevel::{Controlled, Open, Small};

    // Columns: human impact low, medium, high, very high.
    let (low, medium, high, very_high) = match (exploitation, exposure, automatable) {
        (None, Small, No) => (D, D, S, S),
        (None, Small, Yes) => (D, S, S, S),
        (None, Controlled, No) => (D, S, S, S),
        (None, Controlled, Yes) => (S, S, S, S),
        (None, Open, No) => (D, S, S, S),
        (None, Open, Yes) => (S, S, S, O),
        (PublicPoc, Small, No) => (D, S, S, S),
        (PublicPoc, Small, Yes) => (S, S, S, S),
        (PublicPoc, Controlled, No) => (D, S, S, S),
        (PublicPoc, Controlled, Yes) => (S, S, S, O),
        (PublicPoc, Open, No) => (S, S, S, O),
        (PublicPoc, Open, Yes) => (S, S, O, O),
        (Active, Small, No) => (S, S, O, O),
        (Active, Small, Yes) => (S, O, O, O),
        (Active, Controlled, No) => (S, S, O, O),
        (Active, Controlled, Yes) => (O, O, O, O),
        (Active, Open, No) => (S, O, O, I),
        (Active, Open, Yes) => (O, O, I, I),
    };
    match impact {
        HumanImpact::Low => low,
        HumanImpact::Medium => medium,
        HumanImpact::High => high,
        HumanImpact::VeryHigh => very_high,
    }
}
