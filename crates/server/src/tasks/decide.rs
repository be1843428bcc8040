//! Items to decisions. There is no policy yet, so every item is observed and its reason says so.

use stanch_engine::decide;
use stanch_model::decision::Mode;
use stanch_store::{Transition, Write};

use super::PassError;
use crate::app::App;

pub(super) async fn pass(app: &App) -> Result<(), PassError> {
    let now = app.now();
    let writes: Vec<Write> = crate::view::open_rows(app)
        .await?
        .iter()
        .filter_map(|row| {
            let decision = decide(&row.item.id, None, Mode::Alert, now);
            let same = row.decision.as_ref().is_some_and(|last| {
                (last.mode, &last.rules, &last.reason) == (decision.mode, &decision.rules, &decision.reason)
            });
            (!same).then_some(Write::PutDecision(decision))
        })
        .collect();
    if writes.is_empty() {
        return Ok(());
    }
    app.store.commit(Transition { writes, ..Transition::default() }).await?;
    Ok(())
}
