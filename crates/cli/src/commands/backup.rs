//! `stanch backup` and `stanch restore`: all that is known, in one file.

use std::path::Path;

use jiff::Timestamp;
use stanch_store::StoreAt;
use stanch_store::backup::{self, BackupError};

use crate::failure::{Exit, Failure};
use crate::output::{Output, many};

fn failed(what: &'static str) -> impl FnOnce(BackupError) -> Failure {
    move |error| {
        let hint = error.hint();
        let failure = Failure::new(what).because(error);
        hint.into_iter().fold(failure, Failure::hint)
    }
}

/// `stanch backup FILE`.
pub(crate) async fn backup(output: &Output, store: &StoreAt, file: &Path) -> Result<Exit, Failure> {
    if let StoreAt::File(path) = store
        && !path.exists()
    {
        return Err(Failure::new(format!("there is no store at {store}")).hint("name its folder with --data-dir"));
    }
    backup::backup(store, file).await.map_err(failed("no backup was made"))?;
    output.say(&format!("All that {store} knows is in {}.", file.display()));
    output.say("Keys are not in it: keep a copy of the folder `keys` of the data folder apart from it.");
    Ok(Exit::Done)
}

/// `stanch restore FILE`.
pub(crate) async fn restore(output: &Output, folder: &Path, store: &StoreAt, file: &Path) -> Result<Exit, Failure> {
    let _lock = stanch_server::DataFolder::take(folder)
        .map_err(|error| Failure::new("nothing was restored").because(error).hint("stop the server first"))?;
    let actor = format!("operator (uid {})", rustix::process::geteuid().as_raw());
    let copied = backup::restore(file, store, Timestamp::now(), &actor).await;
    let copied = copied.map_err(failed("nothing was restored"))?;
    let rows = many(copied.rows, "row");
    output.say(&format!("Restored {rows} into {store}; the ledger has {} in it.", copied.entries));
    output.say("Put the folder `keys` back beside it before the server starts, or executors will not believe it.");
    Ok(Exit::Done)
}
