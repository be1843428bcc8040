//! `enrolment`: tokens with which the agents of other machines get in.

use stanch_server::api::types::{CreateEnrolment, CreatedEnrolment, Enrolment as Kept, LabelAsset};

use super::people::segment;
use crate::args::Enrolment;
use crate::client::Api;
use crate::failure::{Exit, Failure};
use crate::output::{Output, Tone, plain};

pub(crate) async fn run(api: &Api, output: &Output, wanted: Enrolment) -> Result<Exit, Failure> {
    let tokens: Vec<Kept> = match wanted {
        Enrolment::List => api.get("/enrolments").await?,
        Enrolment::Revoke { name } => {
            api.post(&format!("/enrolments/{}/revoke", segment(&name)), &serde_json::json!({})).await?
        }
        Enrolment::Token { name, uses, hours, confirmed, environment, owner, classification, tier, labels } => {
            let host = LabelAsset { environment, owner, classification, tier, labels: labels.into_iter().collect() };
            let wanted = CreateEnrolment { name, uses: Some(uses), hours: Some(hours), confirmed, host };
            let made: CreatedEnrolment = api.post("/enrolments", &wanted).await?;
            if output.json {
                output.object(&made)?;
                return Ok(Exit::Done);
            }
            let (server, token) = (plain(&made.server), plain(&made.token));
            output.line(&format!("STANCH_ENROL_TOKEN={token} stanch-agent enrol --server {server}"))?;
            output.say(&format!(
                "Shown this once: run it as root on each host. It lets in {} and ends {}.",
                if made.uses == 1 { "one host".to_owned() } else { format!("{} hosts", made.uses) },
                made.expires_at.strftime("%Y-%m-%d %H:%M UTC")
            ));
            return Ok(Exit::Done);
        }
    };
    if output.json {
        for token in &tokens {
            output.object(token)?;
        }
        return Ok(Exit::Done);
    }
    let mut table = output.table(&["NAME", "STATE", "LET IN", "HOSTS BECOME", "ENDS", "MADE BY"]);
    for token in &tokens {
        let state = if token.works { output.paint(Tone::Good, "works") } else { output.paint(Tone::Dim, "over") };
        let mut becomes: Vec<String> = token.environment.iter().chain(&token.owner).map(|word| plain(word)).collect();
        becomes.extend(token.labels.iter().map(|(name, value)| format!("{}={}", plain(name), plain(value))));
        becomes.push(if token.confirmed { "confirmed" } else { "not confirmed" }.to_owned());
        table.add_row([
            token.name.clone(),
            state,
            format!("{} of {}", token.used, token.uses),
            becomes.join(", "),
            token.expires_at.strftime("%Y-%m-%d %H:%M").to_string(),
            plain(&token.made_by),
        ]);
    }
    output.line(&table.to_string())?;
    Ok(Exit::Done)
}
