//! What is remembered of executors: who each is, where it stands, what it says that it can do. This server keeps it at
//! hand, the store keeps it for the next start and for other servers.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use stanch_model::Digest;
use stanch_model::ability::Abilities;
use stanch_model::asset::Asset;
use stanch_model::id::{AssetId, ExecutorId};
use stanch_model::order::{Hello, Position};
use stanch_model::own::Restored;
use stanch_model::sign::VerifyingKey;
use stanch_model::trust::Demand;
use stanch_store::executor::{Standing, StoredExecutor};
use stanch_store::{CommitError, ReadError, Transition, Write};

use super::GatewayError;
use crate::app::App;
use crate::bus::{Live, Stage};

/// The most bytes of a version.
const LONGEST_VERSION: usize = 40;

/// What is remembered of an executor.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Caller {
    /// The asset it runs on: the only one it may speak about.
    pub(crate) asset: Asset,
    /// Its pinned receipt key; `None` after a person said that the next one may be pinned.
    pub(crate) key: Option<VerifyingKey>,
    pub(crate) actions: Vec<String>,
    /// What it probed when it started, if it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) abilities: Option<Abilities>,
    /// The form in which it can tell what is different in facts; 0 for one that tells them whole.
    #[serde(default)]
    pub(crate) deltas: u32,
    pub(crate) position: Position,
    pub(crate) counter: u64,
    pub(crate) boot_id: String,
    pub(crate) journal_head: Digest,
    pub(crate) seen_at: Timestamp,
    /// The version of its program, as it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<String>,
    /// Why it is sent nothing.
    pub(crate) frozen: Option<String>,
    /// What it said of versions that did not prove themselves there; each is in the record once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) restored: Vec<Restored>,
    /// It is frozen because a person has put it out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) put_out: bool,
    /// A person, a rule or the program itself has said that it is one of ours; until then its asset is only looked at.
    #[serde(default = "yes")]
    pub(crate) confirmed: bool,
    /// The certificates in force, by their SHA-256: the one it uses and the one it was last given. None where it does not
    /// come over the network.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) certificates: Vec<Digest>,
    /// The token with which it enrolled, until it has polled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) enrolled_with: Option<String>,
    #[serde(skip)]
    pub(super) written_at: Timestamp,
    #[serde(skip)]
    pub(super) revision: u64,
    /// The revision that another server wrote, while this one has said nothing since.
    #[serde(skip)]
    pub(super) rests_on: Option<u64>,
    /// The highest revision that is known to stand in the store.
    #[serde(skip)]
    pub(super) stored: u64,
}

/// What an executor says its version is, as far as that is one.
pub(super) fn version(hello: &Hello) -> Option<String> {
    let plain = |version: &&String| version.len() <= LONGEST_VERSION && version.bytes().all(|c| c.is_ascii_graphic());
    hello.version.as_ref().filter(plain).cloned()
}

/// What an executor says that it can do, as far as that makes sense.
pub(super) fn abilities(hello: &Hello) -> Option<Abilities> {
    hello.abilities.clone().map(Abilities::sound)
}

/// What was known before people were asked had come with this program.
const fn yes() -> bool {
    true
}

impl Caller {
    /// One that was let in.
    pub(crate) fn enrolled(
        hello: &Hello,
        certificate: Digest,
        (confirmed, with): (bool, String),
        before: Option<&Self>,
        now: Timestamp,
    ) -> Self {
        let revision = before.map_or(0, |before| before.revision).saturating_add(1);
        let rests_on = before.and_then(|before| before.rests_on);
        // What a person has confirmed stays so when it enrols again.
        let confirmed = confirmed || before.is_some_and(|before| before.confirmed);
        Self {
            confirmed,
            certificates: vec![certificate],
            enrolled_with: Some(with),
            revision,
            rests_on,
            ..Self::new(hello, now)
        }
    }

    /// Whether it enrolled with this token and this key and has said nothing since: it may not have heard the answer.
    pub(crate) fn waits_for_answer(&self, hello: &Hello, token: &str) -> bool {
        self.key == Some(hello.key) && self.enrolled_with.as_deref() == Some(token) && self.frozen.is_none()
    }

    /// It is given another certificate. Of those before it keeps the one that it uses: the other may be lost on its way.
    /// Nothing when the one that it has shown is not in force, or it is frozen.
    pub(crate) fn gets(&mut self, shown: &Digest, certificate: Digest) -> Option<()> {
        let known = self.certificates.contains(shown) && self.frozen.is_none();
        known.then(|| self.certificates = vec![*shown, certificate])
    }

    /// It has come with this certificate: if that is the newest of several, the others are out. Answers whether any is.
    pub(super) fn uses(&mut self, shown: Digest) -> bool {
        let newest = self.certificates.len() > 1 && self.certificates.last() == Some(&shown);
        if newest {
            self.certificates = vec![shown];
        }
        newest
    }

    /// No certificate of it is in force any more, and it is sent nothing.
    pub(crate) fn put_out(&mut self, why: String) {
        self.certificates.clear();
        self.frozen = Some(why);
        self.put_out = true;
    }

    pub(super) fn new(hello: &Hello, now: Timestamp) -> Self {
        Self {
            asset: hello.asset.clone(),
            key: Some(hello.key),
            actions: hello.actions.clone(),
            abilities: abilities(hello),
            deltas: hello.deltas,
            version: version(hello),
            position: hello.position,
            counter: 0,
            boot_id: hello.boot_id.clone(),
            journal_head: hello.journal_head,
            seen_at: now,
            frozen: None,
            restored: Vec::new(),
            put_out: false,
            confirmed: true,
            certificates: Vec::new(),
            enrolled_with: None,
            written_at: now,
            revision: 0,
            rests_on: None,
            stored: 0,
        }
    }

    /// Whom it asks to vouch for plans.
    pub(crate) fn demands(&self) -> Option<&Demand> {
        self.abilities.as_ref().and_then(|abilities| abilities.demands.as_ref())
    }

    /// What stands between it and its orders.
    fn standing(&self) -> Standing {
        match &self.frozen {
            Some(_) if self.put_out => Standing::PutOut,
            Some(_) => Standing::Frozen,
            None if !self.confirmed => Standing::Unconfirmed,
            None => Standing::In,
        }
    }

    /// Whether it called within this time.
    pub(crate) fn is_connected(&self, now: Timestamp, within: Duration) -> bool {
        let within = SignedDuration::try_from(within).unwrap_or(SignedDuration::MAX);
        self.frozen.is_none() && now.duration_since(self.seen_at) <= within
    }
}

/// Every executor that is known, also by the asset that it serves.
#[derive(Debug, Default)]
pub(crate) struct Callers {
    all: HashMap<ExecutorId, Caller>,
    serves: HashMap<AssetId, ExecutorId>,
    with: HashMap<Digest, ExecutorId>,
}

impl Callers {
    /// One of them.
    pub(crate) fn get(&self, id: &ExecutorId) -> Option<&Caller> {
        self.all.get(id)
    }

    /// The one that serves an asset.
    pub(crate) fn of(&self, asset: &AssetId) -> Option<(&ExecutorId, &Caller)> {
        self.serves.get(asset).and_then(|id| self.all.get_key_value(id))
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&ExecutorId, &Caller)> {
        self.all.iter()
    }

    /// The assets of those that nobody has confirmed.
    pub(crate) fn unconfirmed(&self) -> BTreeSet<AssetId> {
        self.all.values().filter(|caller| !caller.confirmed).map(|caller| caller.asset.id.clone()).collect()
    }

    /// The assets whose executors begin nothing that nobody signed for.
    pub(crate) fn demanding(&self) -> BTreeSet<AssetId> {
        let demands = |caller: &&Caller| caller.demands().is_some();
        self.all.values().filter(demands).map(|caller| caller.asset.id.clone()).collect()
    }

    /// The one that this certificate was given to, while it is in force.
    pub(crate) fn with_certificate(&self, certificate: &Digest) -> Option<&ExecutorId> {
        self.with.get(certificate)
    }

    /// Takes one as another server has it, unless that is known, or something later is. Answers whether it was news.
    fn take(&mut self, id: ExecutorId, caller: Caller) -> bool {
        let (revision, rests_on) = (caller.revision, caller.rests_on);
        let is_known = |known: &Caller| known.rests_on == Some(revision) || known.stored >= revision;
        if self.all.get(&id).is_some_and(is_known) {
            return false;
        }
        self.put(id.clone(), caller);
        if let Some(caller) = self.all.get_mut(&id) {
            (caller.revision, caller.rests_on, caller.stored) = (revision, rests_on, revision);
        }
        true
    }

    /// What this server said of one stands in the store: what it says next rests on that.
    fn is_written(&mut self, id: &ExecutorId, revision: u64) {
        if let Some(caller) = self.all.get_mut(id) {
            caller.stored = caller.stored.max(revision);
            if caller.rests_on.is_some_and(|rests_on| rests_on < revision) {
                caller.rests_on = None;
            }
        }
    }

    /// Puts one in its place. Answers it as it is to be remembered.
    pub(crate) fn put(&mut self, id: ExecutorId, mut caller: Caller) -> Caller {
        if let Some(before) = self.all.get(&id) {
            caller.revision = caller.revision.max(before.revision).saturating_add(1);
            caller.rests_on = caller.rests_on.or(before.rests_on);
            caller.stored = caller.stored.max(before.stored);
            if before.asset.id != caller.asset.id {
                self.serves.remove(&before.asset.id);
            }
            for gone in before.certificates.iter().filter(|one| !caller.certificates.contains(one)) {
                self.with.remove(gone);
            }
        } else {
            caller.revision = caller.revision.saturating_add(1);
        }
        self.with.extend(caller.certificates.iter().map(|certificate| (*certificate, id.clone())));
        self.serves.insert(caller.asset.id.clone(), id.clone());
        self.all.insert(id, caller.clone());
        caller
    }
}

/// The executors that were known when the server stopped.
pub(crate) async fn remembered(store: &stanch_store::Store, writer: &str) -> Result<Callers, ReadError> {
    let mut callers = Callers::default();
    for known in store.executors().await? {
        callers.take(known.id.clone(), read(known, writer)?);
    }
    Ok(callers)
}

/// An executor as it was written down, by this server or by another.
fn read(known: StoredExecutor, own: &str) -> Result<Caller, ReadError> {
    let damaged =
        |error: serde_json::Error| ReadError::Damaged { noun: "executor", detail: format!("{}: {error}", known.id) };
    let caller: Caller = serde_json::from_value(known.body).map_err(damaged)?;
    let rests_on = (known.writer != own).then_some(known.revision);
    Ok(Caller { revision: known.revision, rests_on, ..caller })
}

/// Takes what other servers have said of all executors. One that does not read is left as it was.
pub(crate) async fn know_all(app: &App) -> Result<(), ReadError> {
    for known in app.store.executors().await? {
        if known.writer == app.writer() {
            continue;
        }
        let id = known.id.clone();
        match read(known, app.writer()) {
            Ok(caller) => drop(app.callers.lock().await.take(id, caller)),
            Err(error) => tracing::warn!(error = crate::error::chain(&error), "what is known of an executor"),
        }
    }
    Ok(())
}

/// Takes what another server has said of an executor since this one did.
pub(crate) async fn know(app: &App, executor: &ExecutorId) -> Result<(), ReadError> {
    if app.cluster.is_none() {
        return Ok(());
    }
    let Some((writer, revision)) = app.store.executor_writer(executor).await? else { return Ok(()) };
    let is_known = |caller: &Caller| caller.rests_on == Some(revision);
    if writer == app.writer() || app.callers.lock().await.get(executor).is_some_and(is_known) {
        return Ok(());
    }
    let Some(known) = app.store.executor(executor).await?.filter(|known| known.writer != app.writer()) else {
        return Ok(());
    };
    let caller = read(known, app.writer())?;
    let before = {
        let mut callers = app.callers.lock().await;
        let before = callers.get(executor).cloned();
        // This server may have said something later while the row was read.
        if !callers.take(executor.clone(), caller.clone()) {
            return Ok(());
        }
        before
    };
    // One that it parked here sees that it was put out, or that it is answered elsewhere.
    app.bus.wake([executor]);
    let said = |caller: &Caller| (caller.actions.clone(), caller.abilities.clone(), caller.confirmed);
    if before.as_ref().map(said) != Some(said(&caller)) {
        app.want([caller.asset.id.clone()]);
        app.bus.nudge(Stage::Decide);
    }
    if before.as_ref().is_some_and(|before| before.position != caller.position) {
        app.bus.nudge(Stage::Rollout);
    }
    if before.is_none() {
        app.bus.nudge(Stage::Schedule);
        app.bus.tell(Live::of("executor", executor, "was let in by another server"));
    }
    Ok(())
}

/// What remembers an executor as it is now.
pub(crate) fn remember(app: &App, id: &ExecutorId, caller: &Caller, now: Timestamp) -> Result<Write, GatewayError> {
    let body = serde_json::to_value(caller).map_err(|error| CommitError::Encode {
        noun: "executor",
        id: id.to_string(),
        detail: error.to_string(),
    })?;
    Ok(Write::PutExecutor(StoredExecutor {
        id: id.clone(),
        asset: caller.asset.id.clone(),
        standing: caller.standing(),
        seen_at: caller.seen_at,
        revision: caller.revision,
        writer: app.writer().to_owned(),
        rests_on: caller.rests_on.unwrap_or(0),
        body,
        at: now,
    }))
}

/// Notes that what this server said of an executor stands in the store.
pub(crate) async fn is_written(app: &App, id: &ExecutorId, caller: &Caller) {
    if app.cluster.is_some() {
        app.callers.lock().await.is_written(id, caller.revision);
    }
}

pub(super) async fn write(app: &App, id: &ExecutorId, caller: &Caller) -> Result<(), GatewayError> {
    app.store.commit(Transition::silent(remember(app, id, caller, app.now())?)).await?;
    is_written(app, id, caller).await;
    Ok(())
}
