//! Deadlines of CISA's Binding Operational Directive 26-04 of 10 June 2026, 16 rows. Days are calendar days.

use stanch_model::assessment::{Automatable, BodDeadline, TechnicalImpact};

/// The deadline for a vulnerability that is or is not in KEV, on an asset that is or is not publicly exposed.
pub const fn bod_26_04(
    in_kev: bool,
    exposed: bool,
    automatable: Automatable,
    technical: TechnicalImpact,
) -> BodDeadline {
    use Automatable::{No, Yes};
    use BodDeadline::{Days3 as D3, Days3Forensics as D3F, Days14 as D14, Days60 as D60, NextUpgrade as Next};

    // Columns: technical impact partial, total.
    let (partial, total) = match (in_kev, exposed, automatable) {
        (false, false, No) => (Next, Next),
        (false, false, Yes) => (D60, D60),
        (false, true, No) => (D60, D14),
        (false, true, Yes) => (D14, D3),
        (true, false, No) => (D14, D14),
        (true, false, Yes) => (D14, D3F),
        (true, true, No) => (D14, D3F),
        (true, true, Yes) => (D3, D3F),
    };
    match technical {
        TechnicalImpact::Partial => partial,
        TechnicalImpact::Total => total,
    }
}
