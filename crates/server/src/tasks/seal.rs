//! Signs a checkpoint over the ledger when one is due, and copies it outside the store.

use std::time::Duration;

use stanch_store::Sealer;
use tokio::sync::watch;

use crate::app::App;
use crate::bus::Stage;
use crate::clock::ten;
use crate::error::chain;

/// Between two looks: a checkpoint must follow an entry within a second.
const LOOK: Duration = Duration::from_millis(250);

pub(super) async fn run(app: App, mut stopping: watch::Receiver<bool>) {
    let name = Stage::Seal.name();
    let mut sealer = None;
    loop {
        if sealer.is_none() {
            sealer = open(&app).await;
        }
        if let Some(at_work) = &mut sealer {
            match at_work.tick(app.now()).await {
                Ok(_) => app.goes_on(name),
                Err(error) => app.waits(name, chain(&error)),
            }
        }
        tokio::select! {
            () = app.bus.nudged(Stage::Seal) => {}
            () = tokio::time::sleep(LOOK) => {}
            _ = stopping.wait_for(|stop| *stop) => break,
        }
    }
    // What was written until now is vouched for before the server is gone.
    if let Some(mut sealer) = sealer
        && let Err(error) =
            sealer.tick(app.now().saturating_add(jiff::SignedDuration::from_secs(2)).unwrap_or(app.now())).await
    {
        tracing::warn!(error = chain(&error), "the last checkpoint could not be signed");
    }
}

async fn open(app: &App) -> Option<Sealer> {
    let holder = ten(app.config.entropy.as_ref()).map(hex::encode).unwrap_or_else(|_| std::process::id().to_string());
    let signer = app.keys.signer().ok()?;
    let outside = app.config.checkpoints.as_deref();
    match Sealer::open(app.store.clone(), signer, holder, outside).await {
        Ok(sealer) => Some(sealer),
        Err(error) => {
            app.waits(Stage::Seal.name(), chain(&error));
            None
        }
    }
}
