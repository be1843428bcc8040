//! `health`: whether the server of a data folder is well. What watches containers has no other program to ask with.

use std::path::Path;
use std::time::Duration;

use stanch_server::api::types::Health;

use crate::client::Api;
use crate::failure::{Exit, Failure};
use crate::local::SOCKET;
use crate::output::Output;

/// How long it may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) async fn run(output: &Output, folder: &Path) -> Result<Exit, Failure> {
    let api = Api::on_socket(&folder.join(SOCKET))?;
    let late = || Failure::new(format!("the server did not answer within {} s", PATIENCE.as_secs()));
    let health: Health = tokio::time::timeout(PATIENCE, api.get("/health")).await.map_err(|_| late())??;
    if output.json {
        output.object(&health)?;
    } else if health.healthy {
        output.line("The server is well.")?;
    }
    if health.healthy {
        Ok(Exit::Done)
    } else {
        Err(Failure::new("the server is not well: stanch up says why in its log"))
    }
}
