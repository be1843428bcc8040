//! The table of planted defects: printed, and written into `docs/simulation.md` between its marks.

use stanch_sim::defects::{self, Planted};
use stanch_sim::simulate;

use crate::Arguments;

const BEGIN: &str = "<!-- table: cargo xtask sim --defects -->\n";
const END: &str = "<!-- end of the table -->\n";

/// The seed and the steps at which a defect is caught by its invariant, and those that caught it before.
fn caught(planted: &Planted, seeds: u64, steps: u32) -> Result<(u64, u64), Vec<u8>> {
    let mut others = Vec::new();
    for seed in 0..seeds {
        match simulate(seed, steps, Some(planted)) {
            Err(failure) if failure.invariant == planted.invariant => {
                let short = failure.clone().shrunk(Some(planted));
                return Ok((failure.seed, short.steps));
            }
            Err(failure) if !others.contains(&failure.invariant) => others.push(failure.invariant),
            _ => {}
        }
    }
    Err(others)
}

/// Plants every defect and says which seed catches it.
pub(crate) fn defects(arguments: &Arguments) -> Result<bool, String> {
    let steps = u32::try_from(arguments.number("--steps", 4_000)?).map_err(|error| error.to_string())?;
    let seeds = arguments.number("--seeds", 400)?;
    let only = arguments.defect()?.map(|planted| planted.name);
    let mut table = String::from(
        "| invariant | rule left out | planted in | name | seed | acts after shrinking |\n| ---: | --- | --- | --- | ---: | ---: |\n",
    );
    let mut all = true;
    for planted in defects::ALL.iter().filter(|planted| only.is_none_or(|name| name == planted.name)) {
        let (invariant, rule, part, name) = (planted.invariant, planted.rule, planted.part(), planted.name);
        match caught(planted, seeds, steps) {
            Ok((seed, acts)) => {
                table.push_str(&format!("| {invariant} | {rule} | {part} | `{name}` | {seed} | {acts} |\n"))
            }
            Err(others) => {
                all = false;
                println!("{name} is not caught by invariant {invariant}, only by {others:?}");
            }
        }
    }
    print!("{table}");
    if let Some(path) = arguments.text("--write")
        && all
    {
        let page = std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
        let marks = page.find(BEGIN).zip(page.find(END));
        let Some((begin, end)) = marks else { return Err(format!("{path} has no marks for the table")) };
        let (before, after) = (&page[..begin + BEGIN.len()], &page[end..]);
        std::fs::write(path, format!("{before}{table}{after}")).map_err(|error| format!("{path}: {error}"))?;
    }
    Ok(all)
}
