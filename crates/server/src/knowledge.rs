//! The feeds in force: those fetched and kept in the data folder, and the built-in snapshot for whatever is not there.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use stanch_model::Digest;
use stanch_model::canonical::Hasher;

use crate::config::Config;
use crate::error::{StartError, chain};

/// The feeds in force, and the folder they are kept in.
pub(crate) struct Knowledge {
    folder: PathBuf,
    held: RwLock<Held>,
}

/// One edition of all feeds.
#[derive(Clone)]
pub(crate) struct Held {
    pub(crate) feeds: Arc<stanch_feeds::Knowledge>,
    /// Differs whenever any feed does.
    pub(crate) stamp: Digest,
    /// Why the kept feeds are not in use, if they are damaged.
    pub(crate) damaged: Option<String>,
}

impl Knowledge {
    pub(crate) fn open(config: &Config) -> Result<Self, StartError> {
        let folder = config.data_dir.join("feeds");
        std::fs::create_dir_all(&folder).map_err(|source| StartError::DataFolder { path: folder.clone(), source })?;
        let held = load(&folder)?;
        Ok(Self { folder, held: RwLock::new(held) })
    }

    /// Where compiled feeds are kept.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn held(&self) -> Held {
        self.held.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the folder again, after feeds were put there.
    pub(crate) fn reload(&self) -> Result<(), StartError> {
        let held = load(&self.folder)?;
        *self.held.write().unwrap_or_else(PoisonError::into_inner) = held;
        Ok(())
    }
}

fn load(folder: &Path) -> Result<Held, StartError> {
    let snapshot = stanch_feeds::Knowledge::snapshot().map_err(|error| StartError::Feeds(Box::new(error)))?;
    let (feeds, damaged) = match stanch_feeds::Knowledge::from_store(folder) {
        Ok(kept) => (kept.or(&snapshot), None),
        // The last good content is gone; the snapshot is old, but it says so.
        Err(error) => {
            let why = chain(&error);
            tracing::error!(error = why, "the kept feeds cannot be used; using the built-in snapshot");
            (snapshot, Some(why))
        }
    };
    let mut hasher = Hasher::new();
    for compiled in feeds.compiled() {
        hasher.update(compiled.meta.name.as_bytes());
        hasher.update(compiled.meta.source.as_bytes());
    }
    Ok(Held { feeds: Arc::new(feeds), stamp: hasher.finish(), damaged })
}
