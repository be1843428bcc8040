//! Signed messages to an address that somebody set up. The receiver can tell that a message is ours, whole and fresh;
//! we make sure that the address is not a way into our own network.

mod address;
mod signature;

pub use address::{Network, NotANetwork, is_loopback_name, is_public};
pub use signature::{REPLAY_WINDOW, Secret, SignatureError, sign, verify};

use std::net::SocketAddr;
use std::time::Duration;

use jiff::Timestamp;
use reqwest::{Client, StatusCode, Url, redirect};
use serde::{Deserialize, Serialize};

/// The longest the other side may take to answer.
const PATIENCE: Duration = Duration::from_secs(15);
/// Addresses of one name that are looked at.
const ADDRESSES: usize = 16;

/// Where messages go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The address: `https://`, or `http://` inside an allowed network.
    pub url: String,
    /// Networks that are not public and may be reached all the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<Network>,
}

/// Why a message was not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WebhookError {
    /// The address is not one.
    #[error("`{0}` is not an address that messages can go to: https://NAME/...")]
    Url(String),
    /// The name leads into a network that is not public.
    #[error("{host} leads to {address}, which is not public")]
    Private {
        /// The name.
        host: String,
        /// Where it leads.
        address: std::net::IpAddr,
    },
    /// An open line outside of the allowed networks.
    #[error("{0} is not in an allowed network: only https:// goes there")]
    Open(String),
    /// The name leads nowhere.
    #[error("{host} is not known")]
    Unknown {
        /// The name.
        host: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The message could not be handed over.
    #[error("the other side could not be reached")]
    Unreachable(#[source] reqwest::Error),
    /// The other side said no.
    #[error("the other side answered {0}")]
    Refused(StatusCode),
}

impl WebhookError {
    /// Whether trying again is of no use before a person changes something.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Url(_) | Self::Open(_) => true,
            // A name may lead elsewhere tomorrow, and 408 and 429 ask for another attempt.
            Self::Refused(status) => {
                status.is_client_error()
                    && !matches!(*status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS)
            }
            Self::Private { .. } | Self::Unknown { .. } | Self::Unreachable(_) => false,
        }
    }
}

impl Settings {
    /// Checks what can be checked without asking the name's server.
    ///
    /// # Errors
    /// When the address is none that messages can go to.
    pub fn check(&self) -> Result<Url, WebhookError> {
        let wrong = || WebhookError::Url(self.url.chars().take(120).collect());
        let url: Url = self.url.parse().map_err(|_| wrong())?;
        let plain = matches!(url.scheme(), "https" | "http") && url.username().is_empty() && url.password().is_none();
        if !plain || url.host_str().is_none_or(str::is_empty) || url.fragment().is_some() || self.url.len() > 2_000 {
            return Err(wrong());
        }
        if url.scheme() == "http" && self.allow.is_empty() {
            return Err(WebhookError::Open(url.host_str().unwrap_or_default().to_owned()));
        }
        Ok(url)
    }

    /// Where the address leads now. Looked up once, checked, and then used as it is: a name that changes its mind
    /// between the check and the call changes nothing.
    async fn resolve(&self, url: &Url) -> Result<(String, Vec<SocketAddr>), WebhookError> {
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let port = url.port_or_known_default().unwrap_or(443);
        let found = tokio::net::lookup_host((host.as_str(), port)).await;
        let found = found.map_err(|source| WebhookError::Unknown { host: host.clone(), source })?;
        let found: Vec<SocketAddr> = found.take(ADDRESSES).collect();
        for address in found.iter().map(SocketAddr::ip) {
            let allowed = self.allow.iter().any(|network| network.contains(address));
            if address::is_metadata(address) || !(is_public(address) || allowed) {
                return Err(WebhookError::Private { host, address });
            }
            if url.scheme() == "http" && !allowed {
                return Err(WebhookError::Open(host));
            }
        }
        if found.is_empty() {
            let source = std::io::Error::other("it has no address");
            return Err(WebhookError::Unknown { host, source });
        }
        Ok((host, found))
    }
}

/// Hands over a message. `id` is the same however often it is sent; the receiver tells repetitions by it.
///
/// # Errors
/// When the address is not to be reached from here, or the other side does not take it.
pub async fn send(
    settings: &Settings,
    secret: &Secret,
    id: &str,
    body: Vec<u8>,
    now: Timestamp,
) -> Result<(), WebhookError> {
    let url = settings.check()?;
    let (host, addresses) = settings.resolve(&url).await?;
    let client = Client::builder()
        // A redirect would lead past the check, and a proxy would look the name up anew.
        .redirect(redirect::Policy::none())
        .no_proxy()
        .resolve_to_addrs(&host, &addresses)
        .timeout(PATIENCE)
        .user_agent(concat!("stanch/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(WebhookError::Unreachable)?;
    let answer = client
        .post(url)
        .header("content-type", "application/cloudevents+json")
        .header("stanch-notice", id)
        .header("stanch-signature", sign(secret, now, &body))
        .body(body)
        .send()
        .await
        // The address may hold a secret of the receiver.
        .map_err(|error| WebhookError::Unreachable(error.without_url()))?;
    if answer.status().is_success() { Ok(()) } else { Err(WebhookError::Refused(answer.status())) }
}
