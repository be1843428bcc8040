//! Signs a checkpoint over the ledger when one is due, and copies it outside the store.

use std::time::Duration;

use stanch_store::Sealer;
use stanch_store::seal::SealError;
use tokio::sync::watch;

use crate::app::App;
use crate::bus::Stage;
use crate::error::chain;

/// Between two looks: a checkpoint must follow an entry within a second.
const LOOK: Duration = Duration::from_millis(250);
/// Who holds the sealer's lease. The same after every start: the lock on the data folder lets one server in, so that
/// it need not wait until the lease of the one before it has run out.
const HOLDER: &str = "the server of this folder";

pub(super) async fn run(app: App, mut stopping: watch::Receiver<bool>) {
    let name = Stage::Seal.name();
    loop {
        {
            let mut sealer = app.sealer.lock().await;
            if sealer.is_none() {
                *sealer = open(&app).await;
            }
            if let Some(at_work) = sealer.as_mut() {
                match at_work.tick(app.now()).await {
                    Ok(_) => app.goes_on(name),
                    Err(error) => app.waits(name, chain(&error)),
                }
            }
        }
        tokio::select! {
            () = app.bus.nudged(Stage::Seal) => {}
            () = tokio::time::sleep(LOOK) => {}
            _ = stopping.wait_for(|stop| *stop) => break,
        }
    }
    // What was written until now is vouched for before the server is gone.
    if let Err(error) = now(&app).await {
        tracing::warn!(error = chain(&error), "the last checkpoint could not be signed");
    }
    *app.sealer.lock().await = None;
}

/// Signs a checkpoint over everything, due or not, if anything is not covered yet.
pub(crate) async fn now(app: &App) -> Result<(), SealError> {
    let tree = app.store.tree().await.map_err(SealError::Read)?;
    if tree.signed == tree.frontier.size() {
        return Ok(());
    }
    if let Some(sealer) = app.sealer.lock().await.as_mut() {
        sealer.seal(app.now()).await?;
    }
    Ok(())
}

async fn open(app: &App) -> Option<Sealer> {
    let signer = app.keys.signer().ok()?;
    let outside = app.config.checkpoints.as_deref();
    match Sealer::open(app.store.clone(), signer, HOLDER, outside).await {
        Ok(sealer) => Some(sealer),
        Err(error) => {
            app.waits(Stage::Seal.name(), chain(&error));
            None
        }
    }
}
