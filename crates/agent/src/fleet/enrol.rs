//! How this host gets in, and how it keeps being known.

use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};
use stanch_model::Digest;
use stanch_model::enrol::{Certified, EnrolmentToken, Renew};
use stanch_model::id::ExecutorId;
use ureq::tls::Certificate;

use super::identity::{Identity, IdentityError};
use super::link::{CALL, CallError, HttpsLink, believing, call, caller, tls};
use crate::executor::{ExecutorError, HostExecutor};

/// Why a host did not get in.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// The address is none.
    #[error("`{0}` is not the address of a server: https://NAME:PORT")]
    Address(String),
    /// The server is another one than the token names.
    #[error("the server at {0} is not the one that the token is for")]
    OtherServer(String),
    /// It cannot be called, or it refused.
    #[error(transparent)]
    Call(#[from] CallError),
    /// It answered something else.
    #[error("the server did not answer with a certificate")]
    NoCertificate,
    /// The executor cannot be opened.
    #[error(transparent)]
    Executor(#[from] ExecutorError),
    /// What it says of itself cannot be signed or made durable.
    #[error("this host cannot say who it is")]
    Say(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// No key can be made.
    #[error("no key can be made")]
    Key(#[source] rcgen::Error),
    /// Who it is cannot be kept.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

impl EnrolError {
    /// What a person can do.
    pub fn remedy(&self) -> Option<&str> {
        match self {
            Self::Call(error) => error.remedy(),
            Self::Executor(error) => error.remedy(),
            Self::Identity(error) => Some(error.remedy()),
            Self::OtherServer(_) => Some("somebody may stand between: look at the address, and at how it is reached"),
            Self::Address(_) | Self::NoCertificate | Self::Say(_) | Self::Key(_) => None,
        }
    }
}

/// A key that stays here, and the request for a certificate of it.
fn request(executor: &ExecutorId) -> Result<(KeyPair, String), rcgen::Error> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, executor.as_str());
    let request = params.serialize_request(&key)?.pem()?;
    Ok((key, request))
}

/// Gets this host in with a token, and keeps in its folder who it is from then on. `fresh_seed` becomes its receipt key
/// if it has none yet.
///
/// # Errors
/// When the server is not the one that the token names, refuses, or cannot be reached; when the executor is at work.
pub fn enrol(
    folder: &Path,
    server: &str,
    proxy: Option<&str>,
    token: &EnrolmentToken,
    fresh_seed: [u8; 32],
) -> Result<Identity, EnrolError> {
    let servers = addresses(server)?;
    let (server, authority) = reached(&servers, proxy, token)?;
    let executor = HostExecutor::open(folder, token.root, fresh_seed)?;
    let (key, request) = request(executor.id()).map_err(EnrolError::Key)?;
    let asked = executor.enrol(token.secret(), request).map_err(EnrolError::Say)?;
    let agent = caller(believing(&authority)?.build(), proxy.into())?;
    let certified: Certified =
        call(&agent, &format!("{server}/executor/v1/enrol"), &asked, CALL)?.ok_or(EnrolError::NoCertificate)?;
    let identity = Identity {
        server: servers.join(","),
        proxy: proxy.map(str::to_owned),
        root: token.root,
        authority,
        certificate: certified.certificate,
        key: key.serialize_pem(),
        renew_at: after(certified.renew_after_seconds),
    };
    identity.save(folder)?;
    Ok(identity)
}

/// Where servers are, with commas between.
fn addresses(text: &str) -> Result<Vec<&str>, EnrolError> {
    let address = |text: &'_ str| {
        let host = text.strip_prefix("https://")?;
        (!host.is_empty() && !host.contains(['/', '@', '?', '#']) && !host.contains(char::is_whitespace)).then_some(())
    };
    text.split(',')
        .map(|one| one.trim().trim_end_matches('/'))
        .map(|one| address(one).map(|()| one).ok_or_else(|| EnrolError::Address(one.to_owned())))
        .collect()
}

/// The first of several servers that answers, and the authority that vouches for all of them.
fn reached<'a>(
    servers: &[&'a str],
    proxy: Option<&str>,
    token: &EnrolmentToken,
) -> Result<(&'a str, String), EnrolError> {
    let mut last = EnrolError::Address(String::new());
    for server in servers {
        match authority(server, proxy, token) {
            Ok(authority) => return Ok((server, authority)),
            Err(error @ EnrolError::Call(_)) => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

/// Asks whoever is at the address for the authority's certificate, and takes it only if it is the one that the token
/// names. Nothing is told to them before.
fn authority(server: &str, proxy: Option<&str>, token: &EnrolmentToken) -> Result<String, EnrolError> {
    // Whoever it is, what they say is compared with the token.
    let agent = caller(tls().disable_verification(true).build(), proxy.into())?;
    let unreachable = |error: ureq::Error| EnrolError::Call(CallError::Unreachable(Box::new(error)));
    let mut answer = agent
        .get(&format!("{server}/executor/v1/authority"))
        .config()
        .timeout_global(Some(CALL))
        .build()
        .call()
        .map_err(unreachable)?;
    let text = answer.body_mut().with_config().limit(64 << 10).read_to_string().map_err(unreachable)?;
    let other = || EnrolError::OtherServer(server.to_owned());
    let certificate = Certificate::from_pem(text.as_bytes()).map_err(|_| other())?;
    if Digest::of_bytes(certificate.der()) != token.authority {
        return Err(other());
    }
    Ok(text)
}

/// Asks for a certificate of a new key, and shows it from then on. The one in force holds until the new one is used.
///
/// # Errors
/// When the server refuses or cannot be reached, or the new identity cannot be kept.
pub fn renew(
    folder: &Path,
    identity: &Identity,
    link: &HttpsLink,
    executor: &ExecutorId,
) -> Result<Identity, EnrolError> {
    let (key, request) = request(executor).map_err(EnrolError::Key)?;
    let asked = Renew { executor: executor.clone(), request };
    let certified: Certified = link.say("certificate", &asked, CALL)?.ok_or(EnrolError::NoCertificate)?;
    let newer = Identity {
        certificate: certified.certificate,
        key: key.serialize_pem(),
        renew_at: after(certified.renew_after_seconds),
        ..identity.clone()
    };
    // Kept before it is shown: what was never shown can be forgotten.
    newer.save(folder)?;
    link.show(&newer)?;
    Ok(newer)
}

fn after(seconds: u32) -> Timestamp {
    let now = Timestamp::now();
    now.saturating_add(SignedDuration::from_secs(i64::from(seconds))).unwrap_or(now)
}
