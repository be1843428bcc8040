//! Letting executors in, giving them newer certificates, and putting them out.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use serde_json::json;
use stanch_ledger::NewEntry;
use stanch_model::Digest;
use stanch_model::asset::{Asset, AssetKind, Tier};
use stanch_model::enrol::{Certified, Enrol, Renew, executor_id};
use stanch_model::id::ExecutorId;
use stanch_model::sign::Signed;
use stanch_store::asset::{SeenAsset, SeenBy};
use stanch_store::enrolment::UseEnrolment;
use stanch_store::{CommitError, ReadError, Transition, Write};

use super::authority::{Authority, AuthorityError, EXECUTOR_LIFE};
use crate::app::App;
use crate::bus::{Live, Stage};
use crate::gateway::{self, Caller, GatewayError};

/// Longest name of a host, as DNS has it.
const LONGEST_NAME: usize = 255;

/// What a host becomes by a token. A host cannot claim any of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Becomes {
    /// Who made the token.
    pub(crate) made_by: String,
    /// A host that gets in with it counts as confirmed.
    pub(crate) confirmed: bool,
    /// Its environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) environment: Option<String>,
    /// Its tier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tier: Option<Tier>,
    /// What its data is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) classification: Option<String>,
    /// The team that owns it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) owner: Option<String>,
    /// Its labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) labels: BTreeMap<String, String>,
}

/// Why somebody is not let in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EnrolError {
    /// The token is not one of ours, or does not work any more.
    #[error("the token is not valid: it was taken away, is too old, or has let in as many hosts as it may")]
    Token,
    /// What it has shown is not in force any more.
    #[error("the certificate is not in force any more")]
    NotInForce,
    /// The request is not signed by the key in it.
    #[error("the request is not signed by the executor's own key")]
    Signature,
    /// What it says of itself cannot be.
    #[error("{0}")]
    Nonsense(&'static str),
    /// There is one of this id already.
    #[error("the executor {0} is known already: this host was enrolled before, or is a copy of one that was")]
    Known(ExecutorId),
    /// The request for a certificate makes no sense.
    #[error("the request for a certificate cannot be used")]
    Request(#[source] AuthorityError),
    /// Something failed here.
    #[error("letting an executor in failed")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl EnrolError {
    /// What a person can do.
    pub(crate) const fn hint(&self) -> &'static str {
        match self {
            Self::Token => "make another: stanch enrolment token",
            Self::Known(_) => {
                "if it is the same host, vouch for it and enrol it again: stanch executors trust; a copy needs a machine \
                 id of its own: rm /etc/machine-id && systemd-machine-id-setup"
            }
            Self::NotInForce => "have a person look: stanch executors list",
            Self::Nonsense(_) => "look at what this host says of itself, and begin anew in an empty folder",
            _ => "update stanch-agent on this host",
        }
    }
}

impl From<ReadError> for EnrolError {
    fn from(error: ReadError) -> Self {
        Self::Internal(Box::new(error))
    }
}

impl From<CommitError> for EnrolError {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Token => Self::Token,
            other => Self::Internal(Box::new(other)),
        }
    }
}

impl From<GatewayError> for EnrolError {
    fn from(error: GatewayError) -> Self {
        Self::Internal(Box::new(error))
    }
}

/// Lets an executor in that shows a good token, and vouches for its key.
pub(crate) async fn enrol(
    app: &App,
    authority: &Authority,
    asked: &Signed<Enrol>,
    from: SocketAddr,
) -> Result<Certified, EnrolError> {
    let claimed = asked.body.hello.executor.clone();
    let done = try_to(app, authority, asked).await;
    if let Err(error) = &done
        && !matches!(error, EnrolError::Internal(_))
    {
        app.refused(&claimed, false, &format!("not enrolled: {error} (from {})", from.ip())).await;
    }
    done
}

async fn try_to(app: &App, authority: &Authority, asked: &Signed<Enrol>) -> Result<Certified, EnrolError> {
    let Enrol { secret, hello, request } = &asked.body;
    let now = app.now();
    let digest = secret.digest();
    let token = app.store.enrolment(&digest).await?.ok_or(EnrolError::Token)?;
    asked.open(&hello.key).map_err(|_| EnrolError::Signature)?;
    // Two that enrol as the same one at once: the second sees the first.
    let _making = app.making.lock().await;
    gateway::know(app, &hello.executor).await?;
    let before = app.callers.lock().await.get(&hello.executor).cloned();
    // The answer to the same request may have been lost: it is given again, and counts once.
    let again = before.as_ref().is_some_and(|before| before.waits_for_answer(hello, &token.name));
    if (token.used >= token.uses && !again) || token.expires_at <= now {
        return Err(EnrolError::Token);
    }
    let name = hello.asset.name.as_str();
    if hello.asset.kind != AssetKind::Host || hello.executor != executor_id(&hello.asset.id) {
        return Err(EnrolError::Nonsense("an executor enrols for the host that it runs on"));
    }
    if name.is_empty() || name.len() > LONGEST_NAME || name.chars().any(char::is_control) {
        return Err(EnrolError::Nonsense("the host's name is no name"));
    }
    let becomes: Becomes = serde_json::from_value(token.body).map_err(|error| EnrolError::Internal(Box::new(error)))?;
    let (certificate, fingerprint) = authority.vouch_for(&hello.executor, request).map_err(EnrolError::Request)?;

    if !again && before.as_ref().is_some_and(|before| before.key.is_some()) {
        return Err(EnrolError::Known(hello.executor.clone()));
    }
    let known = app.store.asset(&hello.asset.id).await?;
    if known.as_ref().is_some_and(|known| known.asset.kind != AssetKind::Host) {
        return Err(EnrolError::Nonsense("an executor enrols for the host that it runs on"));
    }
    // A token vouches for new hosts. What is known already, say by a scanner, somebody confirms by name.
    let confirmed = becomes.confirmed && known.is_none();
    let with = token.name.clone();
    let asset = match known {
        // What people said of it stays.
        Some(known) => Asset { name: name.to_owned(), ..known.asset },
        None => Asset {
            id: hello.asset.id.clone(),
            kind: AssetKind::Host,
            name: name.to_owned(),
            environment: becomes.environment,
            tier: becomes.tier,
            classification: becomes.classification,
            owner: becomes.owner,
            labels: becomes.labels,
        },
    };
    let caller = Caller::enrolled(hello, fingerprint, (confirmed, with), before.as_ref(), now);
    let entry = NewEntry::new(now, &becomes.made_by, "executor_enrolled")
        .about(&hello.executor)
        .about(&asset.id)
        .about(format!("enrolment/{}", token.name))
        .resting_on("certificate", fingerprint)
        .with(json!({ "key": hello.key, "name": name, "confirmed": caller.confirmed, "again": before.is_some() }));
    let mut transition = Transition::new(entry);
    if !again {
        transition = transition.write(Write::UseEnrolment(UseEnrolment { digest, at: now }));
    }
    let transition = transition
        .write(Write::SeeAsset(SeenAsset { asset: asset.clone(), by: SeenBy::People, at: now }))
        .write(gateway::remember(app, &hello.executor, &caller, now)?);
    app.store.commit(transition).await?;
    let caller = app.callers.lock().await.put(hello.executor.clone(), caller);
    gateway::is_written(app, &hello.executor, &caller).await;
    gateway::stand(app, hello).await?;
    app.want([asset.id]);
    app.bus.nudge(Stage::Schedule);
    app.bus.tell(Live::of("executor", &hello.executor, "was enrolled"));
    Ok(certified(authority, certificate))
}

/// Vouches for a newer key of an executor that the door knows. The one in force stays so until the newer one is used.
pub(crate) async fn renew(
    app: &App,
    authority: &Authority,
    asked: &Renew,
    shown: &Digest,
) -> Result<Certified, EnrolError> {
    let (certificate, fingerprint) =
        authority.vouch_for(&asked.executor, &asked.request).map_err(EnrolError::Request)?;
    gateway::know(app, &asked.executor).await?;
    let now = app.now();
    let caller = {
        let mut callers = app.callers.lock().await;
        let Some(mut caller) = callers.get(&asked.executor).cloned() else { return Err(EnrolError::Token) };
        caller.gets(shown, fingerprint).ok_or(EnrolError::NotInForce)?;
        callers.put(asked.executor.clone(), caller)
    };
    let entry = NewEntry::new(now, asked.executor.to_string(), "executor_certified")
        .about(&asked.executor)
        .resting_on("certificate", fingerprint);
    let write = gateway::remember(app, &asked.executor, &caller, now)?;
    app.store.commit(Transition::new(entry).write(write)).await?;
    gateway::is_written(app, &asked.executor, &caller).await;
    Ok(certified(authority, certificate))
}

fn certified(authority: &Authority, certificate: String) -> Certified {
    // With a third of its life gone there is time to try again, and again.
    let third = EXECUTOR_LIFE.as_secs() / 3;
    Certified { certificate, authority: authority.pem(), renew_after_seconds: u32::try_from(third).unwrap_or(u32::MAX) }
}

/// Puts an executor out: none of its certificates is in force any more, from now on. Answers whether it was known.
pub(crate) async fn revoke(app: &App, who: &str, executor: &ExecutorId, why: &str) -> Result<bool, EnrolError> {
    for _ in 1..gateway::MEETINGS {
        match revoke_once(app, who, executor, why).await {
            // Another server was faster to say something of it.
            Err(EnrolError::Internal(error))
                if error.downcast_ref::<CommitError>().is_some_and(CommitError::is_conflict) => {}
            ended => return ended,
        }
    }
    revoke_once(app, who, executor, why).await
}

async fn revoke_once(app: &App, who: &str, executor: &ExecutorId, why: &str) -> Result<bool, EnrolError> {
    let now = app.now();
    let _making = app.making.lock().await;
    gateway::know(app, executor).await?;
    let caller = {
        let mut callers = app.callers.lock().await;
        let Some(mut caller) = callers.get(executor).cloned() else { return Ok(false) };
        caller.put_out(format!("put out by {who}: {why}"));
        callers.put(executor.clone(), caller)
    };
    let entry = NewEntry::new(now, who, "executor_revoked").about(executor).with(json!({ "why": why }));
    let write = gateway::remember(app, executor, &caller, now)?;
    app.store.commit(Transition::new(entry).write(write)).await?;
    gateway::is_written(app, executor, &caller).await;
    // A poll that is parked ends now.
    app.bus.wake([executor]);
    app.bus.tell(Live::of("executor", executor, "was put out"));
    Ok(true)
}
