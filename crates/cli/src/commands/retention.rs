//! `retention`: how long what is old is kept, and of what nothing is taken away.

use stanch_model::When;
use stanch_server::api::types::{HoldRecords, RecordsHeld, Retention as Kept, RetentionNoun, RetentionPreview};

use crate::args::{Records, Retention};
use crate::client::Api;
use crate::failure::{Exit, Failure};
use crate::output::{Output, Tone, many, plain};

pub(crate) async fn run(api: &Api, output: &Output, wanted: Retention) -> Result<Exit, Failure> {
    match wanted.what.unwrap_or(Records::Show) {
        Records::Show => show(api, output).await,
        Records::Preview => preview(api, output).await,
        Records::Hold { name, reason } => {
            let held: RecordsHeld = api.post("/retention/holds", &HoldRecords { name, reason }).await?;
            told(output, &[held])
        }
        Records::Lift { name } => {
            let path = format!("/retention/holds/{}/lift", escaped(&name));
            let left: Vec<RecordsHeld> = api.post(&path, &serde_json::json!({})).await?;
            told(output, &left)
        }
    }
}

/// A name may have in it what is not of a path's.
fn escaped(name: &str) -> String {
    let one = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    name.bytes().map(one).collect()
}

fn told(output: &Output, holds: &[RecordsHeld]) -> Result<Exit, Failure> {
    for hold in holds {
        if output.json {
            output.object(hold)?;
            continue;
        }
        let what = output.paint(Tone::Strong, &plain(&hold.name));
        output.line(&format!(
            "Nothing of {what} is taken away, by {} since {}: {}",
            plain(&hold.set_by),
            When(hold.set_at),
            plain(&hold.reason)
        ))?;
    }
    if holds.is_empty() && !output.json {
        output.line("Nothing is held.")?;
    }
    Ok(Exit::Done)
}

async fn show(api: &Api, output: &Output) -> Result<Exit, Failure> {
    let kept: Kept = api.get("/retention").await?;
    if output.json {
        output.object(&kept)?;
        return Ok(Exit::Done);
    }
    let mut table = output.table(&["WHAT", "ROWS", "SIZE", "OLDEST", "KEPT FOR", "NEXT GOES", "IT IS"]);
    for noun in &kept.nouns {
        table.add_row(row(noun));
    }
    output.line(&table.to_string())?;
    if !kept.holds.is_empty() {
        told(output, &kept.holds)?;
    }
    if let Some(next) = kept.next_at {
        output.say(&format!("What is old goes once a day, next at {}.", When(next)));
    }
    Ok(Exit::Done)
}

fn row(noun: &RetentionNoun) -> Vec<String> {
    let when = |at: Option<jiff::Timestamp>, otherwise: &str| {
        at.map_or_else(|| otherwise.to_owned(), |at| When(at).to_string())
    };
    vec![
        noun.noun.clone(),
        noun.rows.to_string(),
        size(noun.bytes),
        when(noun.oldest, ""),
        noun.keep.clone(),
        when(noun.next, "never"),
        noun.about.clone(),
    ]
}

/// About how much, in the largest unit that leaves a whole number.
fn size(bytes: u64) -> String {
    let (unit, name) = match bytes {
        0..10_240 => return format!("{bytes} B"),
        10_240..10_485_760 => (1 << 10, "KiB"),
        10_485_760..10_737_418_240 => (1 << 20, "MiB"),
        _ => (1 << 30, "GiB"),
    };
    format!("{} {name}", bytes / unit)
}

async fn preview(api: &Api, output: &Output) -> Result<Exit, Failure> {
    let all: Vec<RetentionPreview> = api.get("/retention/preview").await?;
    for one in &all {
        if output.json {
            output.object(one)?;
        } else if one.rows > 0 {
            output.line(&format!(
                "{}: {} from before {}, kept for {}",
                one.noun,
                many(one.rows, "row"),
                When(one.before),
                one.keep
            ))?;
        }
    }
    if !output.json && all.iter().all(|one| one.rows == 0) {
        output.line("Nothing is old enough to go.")?;
    }
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_are_told_in_whole_units() {
        let told = [0, 10_239, 10_240, 10_485_760, u64::MAX].map(size);
        assert_eq!(told, ["0 B", "10239 B", "10 KiB", "10 MiB", "17179869183 GiB"]);
    }
}
