//! The way to a server on another machine: HTTPS to the one that the pinned authority vouches for, and to no other.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use stanch_model::Digest;
use stanch_model::order::{Batch, Hello, Progress, Receipt};
use stanch_model::sign::Signed;
use stanch_runner::{Link, LinkError};
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig, TlsConfigBuilder};

use super::identity::Identity;

/// A server parks a poll for less than half of this.
const POLL: Duration = Duration::from_secs(75);
/// For everything else that matters.
pub(super) const CALL: Duration = Duration::from_secs(60);
/// A word for those who watch may be lost.
const WORD: Duration = Duration::from_secs(3);
const CONNECT: Duration = Duration::from_secs(15);
/// Largest answer taken, in bytes.
const LARGEST: u64 = 16 << 20;

/// Why the server did not answer, or not well.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// What is to be shown to the server does not read.
    #[error("the certificate or its key does not read")]
    Identity(#[source] Box<ureq::Error>),
    /// The proxy's address is none.
    #[error("`{0}` is not the address of a proxy")]
    Proxy(String),
    /// It cannot be reached, or is not the one that the authority vouches for.
    #[error("the server was not reached")]
    Unreachable(#[source] Box<ureq::Error>),
    /// It refused.
    #[error("the server refused ({status}): {detail}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// Why.
        detail: String,
        /// What a person can do.
        hint: Option<String>,
    },
}

impl CallError {
    /// Whether another server of the installation may answer better.
    const fn may_be_better_elsewhere(&self) -> bool {
        match self {
            Self::Unreachable(_) => true,
            Self::Refused { status, .. } => *status >= 500,
            Self::Identity(_) | Self::Proxy(_) => false,
        }
    }

    /// What a person can do.
    pub fn remedy(&self) -> Option<&str> {
        match self {
            Self::Refused { hint, .. } => hint.as_deref(),
            Self::Unreachable(_) => {
                Some("look at the address and at what stands between; the token names the only server that is believed")
            }
            Self::Proxy(_) => Some("http://NAME:PORT"),
            Self::Identity(_) => Some("enrol this host anew"),
        }
    }
}

/// What a problem says on the wire.
#[derive(serde::Deserialize)]
struct Problem {
    #[serde(default)]
    detail: String,
    #[serde(default)]
    hint: Option<String>,
}

/// Which proxy is on the way.
#[derive(Debug, Clone, Copy)]
pub enum Proxied<'a> {
    /// That of the environment, if there is one.
    ByEnvironment,
    /// This one.
    By(&'a str),
}

impl<'a> From<Option<&'a str>> for Proxied<'a> {
    fn from(proxy: Option<&'a str>) -> Self {
        proxy.map_or(Self::ByEnvironment, Self::By)
    }
}

/// Something that calls servers, with what it shows and believes.
pub(super) fn caller(tls: TlsConfig, proxied: Proxied<'_>) -> Result<ureq::Agent, CallError> {
    let mut config = ureq::Agent::config_builder()
        .tls_config(tls)
        .https_only(true)
        .http_status_as_error(false)
        .max_redirects(0)
        .timeout_connect(Some(CONNECT))
        .user_agent(concat!("stanch-agent/", env!("CARGO_PKG_VERSION")));
    if let Proxied::By(address) = proxied {
        let proxy = ureq::Proxy::new(address).map_err(|_| CallError::Proxy(address.to_owned()))?;
        config = config.proxy(Some(proxy));
    }
    Ok(config.build().into())
}

/// How every connection begins: one library for all cryptography.
pub(super) fn tls() -> TlsConfigBuilder {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    TlsConfig::builder().unversioned_rustls_crypto_provider(provider)
}

/// Only servers that this authority (PEM) vouches for are believed.
pub(super) fn believing(authority: &str) -> Result<TlsConfigBuilder, CallError> {
    let authority =
        Certificate::from_pem(authority.as_bytes()).map_err(|error| CallError::Identity(Box::new(error)))?;
    Ok(tls().root_certs(RootCerts::new_with_certs(&[authority])))
}

/// Says something and reads what is answered.
pub(super) fn call<T: DeserializeOwned>(
    agent: &ureq::Agent,
    url: &str,
    body: &impl Serialize,
    at_most: Duration,
) -> Result<Option<T>, CallError> {
    let unreachable = |error: ureq::Error| CallError::Unreachable(Box::new(error));
    let mut answer =
        agent.post(url).config().timeout_global(Some(at_most)).build().send_json(body).map_err(unreachable)?;
    let status = answer.status().as_u16();
    let body = answer.body_mut().with_config().limit(LARGEST);
    match status {
        204 => Ok(None),
        200..=299 => body.read_json().map(Some).map_err(unreachable),
        _ => {
            let problem: Option<Problem> = body.read_json().ok();
            let (detail, hint) = problem.map_or((String::new(), None), |problem| (problem.detail, problem.hint));
            Err(CallError::Refused { status, detail: one_line(&detail), hint: hint.map(|hint| one_line(&hint)) })
        }
    }
}

/// What comes from outside is not let loose on a terminal or a log.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(500).collect()
}

/// The link of a host that is enrolled.
pub struct HttpsLink {
    servers: Vec<String>,
    /// The one of them that is called.
    at: AtomicUsize,
    agent: RwLock<ureq::Agent>,
}

impl HttpsLink {
    /// A link by this identity.
    ///
    /// # Errors
    /// When its certificate or key does not read.
    pub fn new(identity: &Identity) -> Result<Self, CallError> {
        let servers: Vec<String> = identity.servers().map(str::to_owned).collect();
        // Each host begins elsewhere, so that servers share them.
        let at = usize::from(*Digest::of_bytes(identity.certificate.as_bytes()).as_bytes().first().unwrap_or(&0));
        Ok(Self { servers, at: AtomicUsize::new(at), agent: RwLock::new(known(identity)?) })
    }

    /// From now on a newer certificate is shown.
    ///
    /// # Errors
    /// When it does not read.
    pub fn show(&self, identity: &Identity) -> Result<(), CallError> {
        let newer = known(identity)?;
        *self.agent.write().unwrap_or_else(PoisonError::into_inner) = newer;
        Ok(())
    }

    /// Says something to the server.
    pub(super) fn say<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
        at_most: Duration,
    ) -> Result<Option<T>, CallError> {
        let agent = self.agent.read().unwrap_or_else(PoisonError::into_inner).clone();
        let at = self.at.load(Ordering::Relaxed);
        let server = self.servers.get(at % self.servers.len().max(1)).map_or("", String::as_str);
        let answer = call(&agent, &format!("{server}/executor/v1/{path}"), body, at_most);
        if answer.as_ref().is_err_and(CallError::may_be_better_elsewhere) {
            // Of those who see it at once, one goes on to the next.
            let _ = self.at.compare_exchange(at, at.wrapping_add(1), Ordering::Relaxed, Ordering::Relaxed);
        }
        answer
    }
}

fn known(identity: &Identity) -> Result<ureq::Agent, CallError> {
    let unread = |error: ureq::Error| CallError::Identity(Box::new(error));
    let certificate = Certificate::from_pem(identity.certificate.as_bytes()).map_err(unread)?;
    let key = PrivateKey::from_pem(identity.key.as_bytes()).map_err(unread)?;
    let tls = believing(&identity.authority)?.client_cert(Some(ClientCert::new_with_certs(&[certificate], key)));
    caller(tls.build(), identity.proxy.as_deref().into())
}

impl Link for HttpsLink {
    fn poll(&self, hello: Hello) -> Result<Option<Batch>, LinkError> {
        self.say("orders", &hello, POLL).map_err(link_error)
    }

    fn deliver(&self, receipt: &Signed<Receipt>) -> Result<(), LinkError> {
        self.say::<serde_json::Value>("receipts", receipt, CALL).map(drop).map_err(link_error)
    }

    fn progress(&self, progress: Progress) {
        if let Err(error) = self.say::<serde_json::Value>("progress", &progress, WORD) {
            tracing::debug!(%error, "a word on the way was lost");
        }
    }
}

fn link_error(error: CallError) -> LinkError {
    let mut message = error.to_string();
    let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(&error);
    while let Some(one) = cause {
        message.push_str(": ");
        message.push_str(&one_line(&one.to_string()));
        cause = one.source();
    }
    LinkError::Unreachable { message }
}
