//! The policies in force: read from a folder, taken only when nothing is wrong with them and their own tests pass, kept
//! in the store so that a folder that is broken or gone takes nothing away. What is refused is told, and the last good
//! bundle stays.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use stanch_connect::folder::{self, Bounds, FolderError};
use stanch_connect::git::{self, Repository};
use stanch_engine::schedule::Calendars;
use stanch_model::Digest;
use stanch_model::sign::{Signed, VerifyingKey};
use stanch_policy::{
    Bundle, Grade, Loaded, MAX_BYTES, MAX_FILE, MAX_FILES, Manifest, Problem, SIGNATURE_FILE, SealError, Source,
    TrialReport, is_part,
};
use stanch_store::Store;

use crate::config::{PolicyPlace, PolicySource};
use crate::error::chain;

/// The setting that holds the bundle in force.
pub(crate) const IN_FORCE: &str = "policies";
/// Problems of a refused bundle that are kept.
const MAX_PROBLEMS: usize = 20;

const BOUNDS: Bounds = Bounds { wanted: is_part, files: MAX_FILES, bytes: MAX_BYTES, file_bytes: MAX_FILE };

/// The signature is no part of a bundle, but it lies beside it.
const WITH_SIGNATURE: Bounds = Bounds { wanted: |name| is_part(name) || name == SIGNATURE_FILE, ..BOUNDS };
/// A repository is asked for something newer this often.
const ASK: Duration = Duration::from_secs(60);

/// The policy files of a folder, or the one file that the path names.
///
/// # Errors
/// When something cannot be read, or there is more than a bundle may have.
pub fn sources(path: &Path) -> Result<Vec<Source>, FolderError> {
    let files = folder::read(path, &BOUNDS)?;
    Ok(files.into_iter().map(|file| Source { name: file.name, text: file.text }).collect())
}

/// The signature beside the policy files of a folder, if there is one.
///
/// # Errors
/// When it cannot be read.
pub fn signature(path: &Path) -> Result<Option<String>, FolderError> {
    let file = path.join(SIGNATURE_FILE);
    if file.exists() { folder::text(&file, MAX_BYTES).map(Some) } else { Ok(None) }
}

/// A bundle as it is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// Its files: name and text.
    pub(crate) files: Vec<(String, String)>,
    /// Who signed it, where a key was asked for.
    pub(crate) signed: Option<(VerifyingKey, Timestamp)>,
    /// Since when it is in force.
    pub(crate) since: Timestamp,
}

/// A bundle in force.
pub(crate) struct InForce {
    /// What it says; one that says nothing while there is none.
    pub(crate) bundle: Arc<Bundle>,
    /// Who signed it and when; unsigned bundles grant no more than `approve`.
    pub(crate) signed: Option<(VerifyingKey, Timestamp)>,
    /// Since when; `None` while there is none.
    pub(crate) since: Option<Timestamp>,
}

/// A bundle that was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    /// Its digest over names and contents.
    pub(crate) digest: Digest,
    /// Why, in a sentence.
    pub(crate) why: String,
    /// What is wrong with it, file by file.
    pub(crate) problems: Vec<Problem>,
    /// When.
    pub(crate) at: Timestamp,
}

/// A bundle that may be taken.
pub(crate) struct Accepted {
    pub(crate) bundle: Arc<Bundle>,
    pub(crate) sources: Vec<Source>,
    pub(crate) signed: Option<(VerifyingKey, Timestamp)>,
    /// Tests that passed.
    pub(crate) tests: usize,
    /// The commit they are from, where they come from a repository.
    pub(crate) commit: Option<String>,
}

/// What came of looking at the folder.
pub(crate) enum Look {
    /// As before, or still being written.
    Same,
    /// Another bundle, and nothing is wrong with it.
    Other(Box<Accepted>),
    /// Another bundle, and it is not taken.
    Bad(Refused),
    /// The folder or repository cannot be read.
    Unreadable(String),
}

/// The calendars of a bundle, worked out, with the bundle's digest and when that was done.
type WorkedOut = (Digest, Timestamp, Arc<Calendars>);

/// What the folder's files look like from outside.
type Stamp = Vec<(String, i64, i64, u64)>;

/// How far looking has come.
#[derive(Default)]
struct Looked {
    /// The files when last looked at.
    last: Option<Stamp>,
    /// The files that were last judged.
    judged: Option<Stamp>,
    /// When a repository was last asked.
    asked: Option<Instant>,
}

/// What lies at the place of policies now.
struct Found {
    sources: Vec<Source>,
    /// The signature beside them, as it is written.
    signature: Option<String>,
    commit: Option<String>,
}

/// The policies in force, and where newer ones come from.
pub(crate) struct Policies {
    source: Option<PolicySource>,
    /// The mirror of a repository.
    mirror: PathBuf,
    held: RwLock<Arc<InForce>>,
    refused: Mutex<Option<Refused>>,
    looked: Mutex<Looked>,
    calendars: Mutex<Option<WorkedOut>>,
}

/// A bundle from what is kept, or why it is none any more.
fn open(kept: &Kept) -> Result<InForce, Refused> {
    let sources: Vec<Source> =
        kept.files.iter().map(|(name, text)| Source { name: name.clone(), text: text.clone() }).collect();
    let Loaded { bundle, problems } = Bundle::load(&sources);
    let Some(bundle) = bundle else {
        let digest = Digest::of_bytes(b"");
        let why = "the bundle that was in force is refused by this version".to_owned();
        return Err(Refused { digest, why, problems, at: kept.since });
    };
    let bundle = if kept.signed.is_some() { bundle } else { bundle.unsigned() };
    Ok(InForce { bundle: Arc::new(bundle), signed: kept.signed, since: Some(kept.since) })
}

impl Policies {
    /// The bundle that was in force when the server stopped, or none.
    pub(crate) async fn open(
        source: Option<PolicySource>,
        data_dir: &Path,
        store: &Store,
    ) -> Result<Self, stanch_store::ReadError> {
        let (held, refused) = Self::kept(source.as_ref(), store).await?;
        Ok(Self {
            source,
            mirror: git::mirror(data_dir),
            held: RwLock::new(Arc::new(held)),
            refused: Mutex::new(refused),
            looked: Mutex::default(),
            calendars: Mutex::default(),
        })
    }

    async fn kept(
        source: Option<&PolicySource>,
        store: &Store,
    ) -> Result<(InForce, Option<Refused>), stanch_store::ReadError> {
        let kept = store.setting(IN_FORCE).await?.and_then(|value| serde_json::from_value::<Kept>(value).ok());
        // Without a source nothing is in force: whoever takes the folder away takes its grants away.
        let kept = kept.filter(|_| source.is_some());
        let none = || InForce { bundle: Arc::new(Bundle::empty()), signed: None, since: None };
        let (held, refused) = match kept.as_ref().map(open) {
            None => (none(), None),
            Some(Ok(held)) => (held, None),
            Some(Err(refused)) => (none(), Some(refused)),
        };
        // What one key had signed is not in force under another, nor unsigned where a key is asked for.
        let wanted = source.and_then(|source| source.key);
        let fits = wanted.is_none() || held.signed.map(|(key, _)| key) == wanted;
        Ok((if fits { held } else { none() }, refused))
    }

    /// What another server has put in force since.
    pub(crate) async fn reread(&self, store: &Store) -> Result<(), stanch_store::ReadError> {
        let (held, refused) = Self::kept(self.source.as_ref(), store).await?;
        *self.held.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(held);
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = refused;
        *self.calendars.lock().unwrap_or_else(PoisonError::into_inner) = None;
        Ok(())
    }

    /// The policies in force.
    pub(crate) fn held(&self) -> Arc<InForce> {
        self.held.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Where they come from.
    pub(crate) fn place(&self) -> Option<String> {
        Some(match &self.source.as_ref()?.place {
            PolicyPlace::Folder(folder) => folder.display().to_string(),
            PolicyPlace::Repository(repository) => {
                let part = |mark: char, part: &Option<String>| {
                    part.as_ref().map(|part| format!("{mark}{part}")).unwrap_or_default()
                };
                let url = git::without_password(&repository.url);
                format!("{url}{}{}", part('#', &repository.branch), part(':', &repository.folder))
            }
        })
    }

    /// The bundle that was refused last, unless a newer one was taken since.
    pub(crate) fn refused(&self) -> Option<Refused> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts a bundle in force that was committed.
    pub(crate) fn take(&self, accepted: Accepted, since: Timestamp) {
        let Accepted { bundle, signed, .. } = accepted;
        let held = InForce { bundle, signed, since: Some(since) };
        *self.held.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(held);
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Notes a bundle that was refused. Answers whether it is another than the one before.
    pub(crate) fn refuse(&self, refused: Refused) -> bool {
        let mut last = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let anew = last.as_ref().is_none_or(|last| (last.digest, &last.why) != (refused.digest, &refused.why));
        *last = Some(refused);
        anew
    }

    /// Looks at the place once. Files of a folder that were written to since the last look are left until the next one,
    /// so that a half-saved edit is no bundle. Blocks: it reads files and runs the bundle's tests.
    pub(crate) fn look(&self, now: Timestamp) -> Look {
        let Some(source) = &self.source else { return Look::Same };
        let found = match &source.place {
            PolicyPlace::Folder(folder) => self.look_at_folder(folder),
            PolicyPlace::Repository(repository) => self.look_at_repository(repository),
        };
        let found = match found {
            Ok(Some(found)) => found,
            Ok(None) => return Look::Same,
            Err(why) => return Look::Unreadable(why),
        };
        match self.judge(source, found, now) {
            Ok(Some(accepted)) => Look::Other(Box::new(accepted)),
            Ok(None) => {
                // The good one is back.
                *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = None;
                Look::Same
            }
            Err(refused) => Look::Bad(*refused),
        }
    }

    /// The files of a folder, when they are others than were last judged.
    fn look_at_folder(&self, folder: &Path) -> Result<Option<Found>, String> {
        let mut stamp = folder::stamp(folder, &BOUNDS).map_err(|error| chain(&error))?;
        // The signature is no part of the bundle, but it decides too.
        let one = Bounds { wanted: |_| true, ..BOUNDS };
        stamp.extend(folder::stamp(&folder.join(SIGNATURE_FILE), &one).unwrap_or_default());
        let settled = self.looked.lock().unwrap_or_else(PoisonError::into_inner).last.as_ref() == Some(&stamp);
        if !self.is_new(stamp, settled || self.held().since.is_none()) {
            return Ok(None);
        }
        Ok(Some(Found {
            sources: sources(folder).map_err(|error| chain(&error))?,
            signature: signature(folder).map_err(|error| chain(&error))?,
            commit: None,
        }))
    }

    /// The files of a repository's newest commit, when it is another than was last judged. A commit is whole.
    fn look_at_repository(&self, repository: &Repository) -> Result<Option<Found>, String> {
        {
            let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
            if looked.asked.is_some_and(|asked| asked.elapsed() < ASK) {
                return Ok(None);
            }
            looked.asked = Some(Instant::now());
        }
        let commit = repository.fetch(&self.mirror).map_err(|error| chain(&error))?;
        if !self.is_new(vec![(commit.clone(), 0, 0, 0)], true) {
            return Ok(None);
        }
        let files = repository.read(&self.mirror, &commit, &WITH_SIGNATURE).map_err(|error| chain(&error))?;
        let (beside, files): (Vec<_>, Vec<_>) = files.into_iter().partition(|file| file.name == SIGNATURE_FILE);
        Ok(Some(Found {
            sources: files.into_iter().map(|file| Source { name: file.name, text: file.text }).collect(),
            signature: beside.into_iter().next().map(|file| file.text),
            commit: Some(commit),
        }))
    }

    /// Notes what is there, and whether it is to be judged: it is another, and nobody is still writing to it.
    fn is_new(&self, stamp: Stamp, settled: bool) -> bool {
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        looked.last = Some(stamp.clone());
        if !settled || looked.judged.as_ref() == Some(&stamp) {
            return false;
        }
        looked.judged = Some(stamp);
        true
    }

    /// Whether these files are another bundle that may be taken.
    fn judge(&self, source: &PolicySource, found: Found, now: Timestamp) -> Result<Option<Accepted>, Box<Refused>> {
        let Found { sources, signature, commit } = found;
        let held = self.held();
        let Loaded { bundle, problems } = Bundle::load(&sources);
        let digest = bundle.as_ref().map_or_else(|| of_files(&sources), Bundle::digest);
        let refuse = |why: String, mut problems: Vec<Problem>| {
            problems.retain(|problem| problem.grade == Grade::Error);
            problems.truncate(MAX_PROBLEMS);
            Box::new(Refused { digest, why, problems, at: now })
        };
        let Some(bundle) = bundle else {
            return Err(refuse("it has errors".to_owned(), problems));
        };
        if sources.is_empty() {
            return Err(refuse("it holds no policy files".to_owned(), Vec::new()));
        }
        let signed = match source.key {
            Some(key) => {
                let at = signed_at(signature.as_deref(), &sources, &key).map_err(|why| refuse(why, Vec::new()))?;
                Some((key, at))
            }
            None => {
                unsigned(&source.place).map_err(|why| refuse(format!("it is not signed, and {why}"), Vec::new()))?;
                None
            }
        };
        if let (Some((_, at)), Some((_, last))) = (signed, held.signed)
            && at < last
        {
            let why = format!("it was signed at {at}, before the one in force ({last})");
            return Err(refuse(why, Vec::new()));
        }
        if held.since.is_some() && bundle.digest() == held.bundle.digest() && signed == held.signed {
            return Ok(None);
        }
        let errors: Vec<Problem> = stanch_policy::check(&bundle, &stanch_action::catalogue::known(), now)
            .into_iter()
            .filter(|one| one.grade == Grade::Error)
            .collect();
        if !errors.is_empty() {
            return Err(refuse("it has errors".to_owned(), errors));
        }
        let report = stanch_policy::test(&bundle, now, stanch_engine::case::misses);
        if !report.passed() {
            let why = untested(&report);
            return Err(refuse(why, report.unproven));
        }
        let tests = report.results.len();
        let bundle = if signed.is_some() { bundle } else { bundle.unsigned() };
        Ok(Some(Accepted { bundle: Arc::new(bundle), sources, signed, tests, commit }))
    }

    /// The calendars of the bundle in force, worked out anew every day and for every bundle. A calendar that cannot be
    /// worked out is missing, and what is missing lets nothing through.
    pub(crate) fn calendars(&self, now: Timestamp) -> Arc<Calendars> {
        const ANEW: jiff::SignedDuration = jiff::SignedDuration::from_hours(24);
        let held = self.held();
        let mut known = self.calendars.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((bundle, at, tables)) = known.as_ref()
            && *bundle == held.bundle.digest()
            && now.duration_since(*at) < ANEW
            && now >= *at
        {
            return Arc::clone(tables);
        }
        let (tables, errors) = held.bundle.timetables(now);
        for error in errors {
            tracing::warn!(%error, "a calendar lets nothing through");
        }
        let tables = Arc::new(tables);
        *known = Some((held.bundle.digest(), now, Arc::clone(&tables)));
        tables
    }
}

/// When the files were signed with this key, or why they were not.
fn signed_at(signature: Option<&str>, sources: &[Source], key: &VerifyingKey) -> Result<Timestamp, String> {
    let text = signature.ok_or_else(|| format!("it is not signed: there is no {SIGNATURE_FILE}"))?;
    let signed: Signed<Manifest> =
        serde_json::from_str(text).map_err(|_| format!("{SIGNATURE_FILE} holds no signature"))?;
    let manifest = stanch_policy::verify(sources, &signed, key).map_err(|error: SealError| chain(&error))?;
    Ok(manifest.signed_at)
}

/// Whether somebody else could have written what nobody signed.
fn unsigned(place: &PolicyPlace) -> Result<(), String> {
    match place {
        PolicyPlace::Folder(folder) => folder::only_ours(folder, &BOUNDS).map_err(|error| chain(&error)),
        PolicyPlace::Repository(repository) if repository.is_protected() => Ok(()),
        PolicyPlace::Repository(_) => Err("anybody on the way can change what is fetched over http".to_owned()),
    }
}

/// A digest of files that are no bundle, to tell one refused edit from the next.
fn of_files(sources: &[Source]) -> Digest {
    let files: Vec<(&str, &str)> = sources.iter().map(|source| (source.name.as_str(), source.text.as_str())).collect();
    stanch_model::canonical::digest("stanch/refused-bundle/v1", &files).unwrap_or(Digest::from_bytes([0; 32]))
}

/// What the bundle's own tests say against it.
fn untested(report: &TrialReport) -> String {
    let first = report.results.iter().find(|result| !result.misses.is_empty());
    let failed = first.map(|result| {
        let (count, all) = (report.failed(), report.results.len());
        format!("{count} of its {all} tests fail, the first is `{}`: {}", result.name, result.misses.join("; "))
    });
    let unproven = (!report.unproven.is_empty())
        .then(|| format!("{} of its rules or steps are not shown to work by any test", report.unproven.len()));
    failed.into_iter().chain(unproven).collect::<Vec<_>>().join("; ")
}
