//! `sign-in`: a link for the web pages, good once and for a short while.

use serde::{Deserialize, Serialize};

use crate::client::Api;
use crate::failure::{Exit, Failure};
use crate::output::Output;

#[derive(Deserialize, Serialize)]
struct Link {
    url: String,
}

pub(crate) async fn run(api: &Api, output: &Output) -> Result<Exit, Failure> {
    let link: Link = api.post("/session/links", &serde_json::json!({})).await?;
    if output.json {
        output.object(&link)?;
    } else {
        output.line(&link.url)?;
        output.say("The link works once, within an hour, on this machine.");
    }
    Ok(Exit::Done)
}
