//! Items to decisions. There is no policy yet, so every item is observed and its reason says so.

use stanch_model::decision::Decision;
use stanch_store::{Transition, Write};

use super::PassError;
use crate::app::App;
use crate::bus::Live;

pub(super) async fn pass(app: &App) -> Result<(), PassError> {
    if !app.decisions_wanted() {
        return Ok(());
    }
    let done = decide_all(app).await;
    if done.is_err() {
        app.want_decisions();
    }
    done
}

async fn decide_all(app: &App) -> Result<(), PassError> {
    let now = app.now();
    let writes: Vec<Write> = crate::view::open_rows(app, None)
        .await?
        .iter()
        .filter_map(|row| {
            let decision = Decision::by_default(row.item.id.clone(), now);
            let same = row.decision.as_ref().is_some_and(|last| last.says_the_same(&decision));
            (!same).then_some(Write::PutDecision(decision))
        })
        .collect();
    if writes.is_empty() {
        return Ok(());
    }
    app.store.commit(Transition { writes, ..Transition::default() }).await?;
    app.bus.tell(Live::of("items", "", "items were decided"));
    Ok(())
}
