//! `notify`: what became of notices, and a test of a connection.

use stanch_model::When;
use stanch_server::api::types::{Accepted, Connection, Notice};

use super::people::segment;
use crate::args::Notify;
use crate::client::Api;
use crate::failure::{Exit, Failure};
use crate::output::{Output, Tone, plain};

pub(crate) async fn run(api: &Api, output: &Output, wanted: &Notify) -> Result<Exit, Failure> {
    match wanted {
        Notify::Test { name } => {
            let path = format!("/connections/{}/test", segment(name));
            let accepted: Accepted = api.post(&path, &serde_json::json!({})).await?;
            output.line(&plain(&accepted.message))?;
        }
        Notify::Connections => connections(output, &api.get::<Vec<Connection>>("/connections").await?)?,
        Notify::List => notices(output, &api.get::<Vec<Notice>>("/notices").await?)?,
    }
    Ok(Exit::Done)
}

fn connections(output: &Output, connections: &[Connection]) -> Result<(), Failure> {
    if output.json {
        for connection in connections {
            output.object(connection)?;
        }
        return Ok(());
    }
    let mut table = output.table(&["NAME", "KIND", "SECRET", "CHANGED"]);
    for one in connections {
        let secret = if one.has_secret { "sealed" } else { "none" };
        let changed = When(one.changed_at).to_string();
        table.add_row([one.name.clone(), one.kind.clone(), secret.to_owned(), changed]);
    }
    Ok(output.line(&table.to_string())?)
}

fn notices(output: &Output, notices: &[Notice]) -> Result<(), Failure> {
    if output.json {
        for notice in notices {
            output.object(notice)?;
        }
        return Ok(());
    }
    let mut table = output.table(&["WHEN", "WHAT", "TO", "STATE"]);
    for notice in notices {
        let mut state = match notice.state.as_str() {
            "sent" => output.paint(Tone::Good, "sent"),
            "failed" => output.paint(Tone::Bad, "failed"),
            other => output.paint(Tone::Warn, other),
        };
        if let Some(error) = &notice.error {
            state.push_str(&format!(": {}", plain(error)));
        }
        let when = When(notice.at).to_string();
        table.add_row([when, plain(&notice.subject), notice.connection.clone(), state]);
    }
    Ok(output.line(&table.to_string())?)
}
