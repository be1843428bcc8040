//! Where state lives.

use std::path::{Path, PathBuf};

use stanch_store::{DatabaseUrl, StoreAt};

use crate::args::Global;
use crate::failure::Failure;

/// The data folder: as asked for, else the machine's for root, else the person's own.
///
/// # Errors
/// When nothing tells where the person's own folder would be.
pub(crate) fn folder(asked: Option<&Path>) -> Result<PathBuf, Failure> {
    if let Some(path) = asked {
        return Ok(path.to_owned());
    }
    if rustix::process::geteuid().is_root() {
        return Ok(PathBuf::from("/var/lib/stanch"));
    }
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_STATE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state")))
        .map(|state| state.join("stanch"))
        .ok_or_else(|| Failure::new("no place for state: HOME is not set").hint("name one with --data-dir"))
}

/// Where what is known is kept: in the database that was named, else in the data folder.
///
/// # Errors
/// When what was named is no address, cannot be read, or shows its password to everybody on this machine.
pub(crate) fn store(global: &Global, folder: &Path) -> Result<StoreAt, Failure> {
    const PLACES: &str = "put it into STANCH_DATABASE_URL, into a file for --database-url-file, or into ~/.pgpass";
    let read = |text: &str| {
        let url = text.parse::<DatabaseUrl>();
        url.map_err(|error| Failure::new("the database cannot be used").because(error))
    };
    let url = if let Some(text) = &global.database_url {
        let url = read(text)?;
        if DatabaseUrl::shows_password(text) {
            return Err(
                Failure::usage("a password on the command line can be seen by everybody on this machine").hint(PLACES)
            );
        }
        url
    } else if let Some(path) = &global.database_url_file {
        let text = std::fs::read_to_string(path);
        read(&text.map_err(|error| Failure::new(format!("{} cannot be read", path.display())).because(error))?)?
    } else if let Ok(text) = std::env::var("STANCH_DATABASE_URL") {
        read(&text)?
    } else {
        return Ok(StoreAt::File(folder.join("stanch.db")));
    };
    if url.is_open_on_the_way() {
        tracing::warn!(%url, "the way to the database is not protected: say sslmode=verify-full, and sslrootcert");
    }
    Ok(StoreAt::Database(url))
}

/// A folder for what can be computed again; `None` where there is no place for it, which only costs time. Root believes
/// what lies in it, so for root it must be root's own, whatever the environment says.
pub(crate) fn cache(part: &str) -> Option<PathBuf> {
    use std::os::unix::fs::MetadataExt as _;
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let user = rustix::process::geteuid();
    let own = |path: &PathBuf| {
        std::fs::metadata(path).is_ok_and(|about| about.uid() == user.as_raw() && about.mode() & 0o022 == 0)
    };
    let base = match absolute("XDG_CACHE_HOME") {
        Some(asked) if own(&asked) => asked,
        _ if user.is_root() => PathBuf::from("/var/cache"),
        _ => absolute("HOME")?.join(".cache"),
    };
    let folder = base.join("stanch").join(part);
    std::fs::create_dir_all(&folder).ok()?;
    Some(folder)
}
