//! `report`: how long problems were open, and what they waited for.

use stanch_server::api::types::Report as Told;

use crate::args::Report;
use crate::client::Api;
use crate::failure::{Exit, Failure};
use crate::output::Output;

/// What findings wait for, in the order they usually do.
const GATES: [&str; 7] = ["before_detection", "detect", "decide", "person", "window", "act", "verify"];

pub(crate) async fn run(api: &Api, output: &Output, wanted: &Report) -> Result<Exit, Failure> {
    let told: Told = api.get(&format!("/report?days={}", wanted.days)).await?;
    if output.json {
        output.object(&told)?;
        return Ok(Exit::Done);
    }
    let mut table = output.table(&["URGENCY", "TIER", "CLOSED", "OPEN", "MEDIAN", "90 %", "OLDEST", "IN TIME", "LATE"]);
    for group in &told.groups {
        let figures = &group.figures;
        table.add_row([
            group.urgency.replace('_', " "),
            group.tier.to_string(),
            figures.closed.to_string(),
            figures.open.to_string(),
            span(figures.median_seconds),
            span(figures.ninetieth_seconds),
            span(figures.oldest_seconds),
            figures.in_time.to_string(),
            figures.late.to_string(),
        ]);
    }
    output.line(&table.to_string())?;
    let total: i64 = told.total.gates.values().sum();
    let share = |gate: &str| {
        let percent = told.total.gates.get(gate)?.checked_mul(100)?.checked_div(total)?;
        (percent > 0).then(|| format!("{} {percent} %", gate.replace('_', " ")))
    };
    let shares: Vec<String> = GATES.into_iter().filter_map(share).collect();
    if !shares.is_empty() {
        output.say(&format!("What the time went to: {}.", shares.join(", ")));
    }
    if let Some(percent) = told.total.untouched_percent {
        output.say(&format!("{percent} % of what was closed needed no person."));
    }
    Ok(Exit::Done)
}

/// Hours and days as people say them.
fn span(seconds: Option<i64>) -> String {
    match seconds {
        None => "-".to_owned(),
        Some(seconds) if seconds < 120 => format!("{seconds} s"),
        Some(seconds) if seconds < 7_200 => format!("{} min", seconds / 60),
        Some(seconds) if seconds < 172_800 => format!("{} h", seconds / 3_600),
        Some(seconds) => format!("{} d", seconds / 86_400),
    }
}
