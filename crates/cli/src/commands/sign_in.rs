//! `sign-in`: a link for the web pages, good once and for a short while.

use serde::{Deserialize, Serialize};

use stanch_server::api::CreateLink;

use crate::args::SignIn;
use crate::client::Api;
use crate::failure::{Exit, Failure};
use crate::output::Output;

#[derive(Deserialize, Serialize)]
struct Link {
    url: String,
}

pub(crate) async fn run(api: &Api, output: &Output, wanted: SignIn) -> Result<Exit, Failure> {
    let link: Link = api.post("/session/links", &CreateLink { person: wanted.person }).await?;
    if output.json {
        output.object(&link)?;
    } else {
        output.line(&link.url)?;
        output.say("The link works once, within an hour, on this machine.");
    }
    Ok(Exit::Done)
}
