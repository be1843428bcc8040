//! Newer policies: looks at their folder, takes what is good and tells of what is not.

use std::sync::Arc;

use jiff::SignedDuration;
use serde_json::json;
use stanch_ledger::NewEntry;
use stanch_store::setting::Setting;
use stanch_store::{Transition, Write};

use super::PassError;
use crate::app::App;
use crate::bus::{Live, Stage};
use crate::policies::{Accepted, IN_FORCE, Kept, Look, Refused};

/// What waits when policies cannot be taken; another name than that of the pass, which goes on all the same.
const WAITING: &str = "newer policies";

/// How far back a newer bundle is played before it is taken.
const PAST: SignedDuration = SignedDuration::from_hours(30 * 24);

pub(super) async fn pass(app: &App) -> Result<(), PassError> {
    if app.policies.place().is_none() {
        return Ok(());
    }
    let now = app.now();
    let looking = app.clone();
    match tokio::task::spawn_blocking(move || looking.policies.look(now)).await? {
        Look::Same => {
            if app.policies.refused().is_none() && app.policies.held().since.is_some() {
                app.goes_on(WAITING);
            }
            Ok(())
        }
        Look::Other(accepted) => activate(app, *accepted).await,
        Look::Bad(refused) => refuse(app, refused).await,
        Look::Unreadable(why) => {
            app.waits(WAITING, format!("policies cannot be read, the last good ones stay: {why}"));
            Ok(())
        }
    }
}

/// What a bundle would have done here that it may not be put in force for.
async fn harm(app: &App, accepted: &Accepted) -> Result<Option<String>, PassError> {
    let bundle = Arc::clone(&accepted.bundle);
    let (replay, _) = crate::view::play(app, bundle, PAST).await?;
    let rate = replay.harm_rate_e6().filter(|rate| *rate > app.config.max_harm_e6);
    Ok(rate.map(|rate| {
        let percent = |e6: u32| format!("{}.{} %", e6 / 10_000, e6 / 1_000 % 10);
        let first = replay.harmed.first().map(|one| format!(", such as {} ({})", one.name, one.how));
        format!(
            "of {} acts that it would have done by itself {} went wrong{}: {}, and {} may",
            replay.known,
            replay.harmed.len(),
            first.unwrap_or_default(),
            percent(rate),
            percent(app.config.max_harm_e6),
        )
    }))
}

async fn activate(app: &App, accepted: Accepted) -> Result<(), PassError> {
    let now = app.now();
    if let Some(why) = harm(app, &accepted).await? {
        let refused = Refused { digest: accepted.bundle.digest(), why, problems: Vec::new(), at: now };
        return refuse(app, refused).await;
    }
    let before = app.policies.held();
    let digest = accepted.bundle.digest();
    let files = accepted.sources.iter().map(|source| (source.name.clone(), source.text.clone())).collect();
    let kept = Kept { files, signed: accepted.signed, since: now };
    let entry = NewEntry::new(now, "server", "policies_activated")
        .about("policies")
        .with(json!({
            "policies": accepted.bundle.policies().len(),
            "exceptions": accepted.bundle.exceptions().len(),
            "tests": accepted.tests,
            "commit": accepted.commit,
            "signed_by": accepted.signed.map(|(key, _)| key),
            "signed_at": accepted.signed.map(|(_, at)| at),
            "instead_of": before.since.map(|_| before.bundle.digest()),
        }))
        .resting_on("bundle", digest);
    let value = serde_json::to_value(&kept).unwrap_or_default();
    let setting = Write::PutSetting(Setting { key: IN_FORCE.to_owned(), value, at: now });
    app.store.commit(Transition::new(entry).write(setting)).await?;
    app.policies.take(accepted, now);
    app.goes_on(WAITING);
    app.decide_anew();
    app.bus.nudge(Stage::Decide);
    app.bus.nudge(Stage::Seal);
    app.bus.tell(Live::of("policies", digest.short(), "policies are in force"));
    Ok(())
}

async fn refuse(app: &App, refused: Refused) -> Result<(), PassError> {
    let first = refused.problems.first();
    let place = first.map(|problem| format!("; {}:{}: {}", problem.file, problem.at.line, problem.message));
    app.waits(
        WAITING,
        format!("newer policies are refused, the last good ones stay: {}{}", refused.why, place.unwrap_or_default()),
    );
    let entry = NewEntry::new(refused.at, "server", "policies_refused")
        .about("policies")
        .with(json!({ "why": refused.why, "problems": refused.problems }))
        .resting_on("bundle", refused.digest);
    if app.policies.refuse(refused) {
        app.store.commit(Transition::new(entry)).await?;
        app.bus.nudge(Stage::Seal);
        app.bus.tell(Live::of("policies", "", "newer policies are refused"));
    }
    Ok(())
}
