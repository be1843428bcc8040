//! Talking to a provider: where its endpoints are, which keys it signs with, what it gives for a code.

use std::time::Duration;

use reqwest::{Client, Response, StatusCode, Url, redirect};
use serde::de::DeserializeOwned;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::token::KeySet;

/// The longest a provider may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// The most bytes of an answer.
const LONGEST: usize = 256 * 1024;

/// Why a provider could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OidcError {
    /// The address of the issuer is not one.
    #[error("`{0}` is not an issuer: https://NAME, without query and fragment")]
    Issuer(String),
    /// The client for HTTP could not be made.
    #[error("no connection can be made")]
    Client(#[source] reqwest::Error),
    /// It does not answer.
    #[error("the provider does not answer")]
    Unreachable(#[source] reqwest::Error),
    /// It answers with an error.
    #[error("the provider answered {status}{detail}")]
    Refused {
        /// The status.
        status: StatusCode,
        /// Its word for the error, if it gave one.
        detail: String,
    },
    /// Its answer is too long.
    #[error("the provider's answer is longer than {LONGEST} bytes")]
    TooLong,
    /// Its answer does not read.
    #[error("the provider's {0} does not read")]
    Answer(&'static str, #[source] serde_json::Error),
    /// It describes another issuer than the one asked.
    #[error("the provider calls itself `{0}`, which is another issuer")]
    OtherIssuer(String),
    /// An endpoint that cannot be used.
    #[error("the provider's {0} is not an https address")]
    Endpoint(&'static str),
    /// It cannot do what is needed.
    #[error("the provider cannot do {0}")]
    Cannot(&'static str),
}

/// The address of an issuer: https, or http on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address(String);

impl Address {
    /// Checks an issuer's address.
    ///
    /// # Errors
    /// When it is not one that can be trusted with a sign-in.
    pub fn parse(text: &str) -> Result<Self, OidcError> {
        let refused = || OidcError::Issuer(text.chars().take(120).collect());
        let url: Url = text.parse().map_err(|_| refused())?;
        let bare = url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
        if bare && text.len() <= 500 && is_private_line(&url) { Ok(Self(text.to_owned())) } else { Err(refused()) }
    }

    /// The text form, exactly as the provider must call itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether nobody in between can read what is said to this address.
fn is_private_line(url: &Url) -> bool {
    let local = url.host_str().is_some_and(crate::webhook::is_loopback_name);
    url.host_str().is_some() && (url.scheme() == "https" || (url.scheme() == "http" && local))
}

/// What a provider says of itself (OpenID Connect Discovery 1.0).
#[derive(Debug, Clone, Deserialize)]
pub struct Metadata {
    issuer: String,
    #[serde(deserialize_with = "url")]
    authorization_endpoint: Url,
    #[serde(deserialize_with = "url")]
    token_endpoint: Url,
    #[serde(deserialize_with = "url")]
    jwks_uri: Url,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    #[serde(default)]
    code_challenge_methods_supported: Option<Vec<String>>,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

fn url<'de, D: Deserializer<'de>>(from: D) -> Result<Url, D::Error> {
    String::deserialize(from)?.parse().map_err(D::Error::custom)
}

impl Metadata {
    /// Whether it names itself in its answers (RFC 9207), so that one without its name is not its own.
    pub const fn names_itself(&self) -> bool {
        self.authorization_response_iss_parameter_supported
    }

    /// Where the browser is sent to sign in.
    pub fn authorization_url(
        &self,
        client_id: &str,
        redirect: &str,
        scopes: &[String],
        state: &str,
        nonce: &str,
        challenge: &str,
    ) -> Url {
        let mut url = self.authorization_endpoint.clone();
        let mut scope = vec!["openid"];
        scope.extend(scopes.iter().map(String::as_str).filter(|scope| *scope != "openid"));
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", client_id)
            .append_pair("redirect_uri", redirect)
            .append_pair("scope", &scope.join(" "))
            .append_pair("state", state)
            .append_pair("nonce", nonce)
            .append_pair("code_challenge", challenge)
            .append_pair("code_challenge_method", "S256");
        url
    }
}

/// What a provider gives for a code. Only the token that says who somebody is is used.
#[derive(Deserialize)]
pub struct Answer {
    /// The token, not checked yet.
    pub id_token: String,
}

fn client() -> Result<Client, OidcError> {
    Client::builder()
        .redirect(redirect::Policy::none())
        .timeout(PATIENCE)
        .user_agent(concat!("stanch/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(OidcError::Client)
}

async fn read<T: DeserializeOwned>(what: &'static str, mut answer: Response) -> Result<T, OidcError> {
    let status = answer.status();
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| OidcError::Unreachable(error.without_url()))? {
        if bytes.len() + chunk.len() > LONGEST {
            return Err(OidcError::TooLong);
        }
        bytes.extend_from_slice(&chunk);
    }
    if !status.is_success() {
        return Err(OidcError::Refused { status, detail: word(&bytes) });
    }
    serde_json::from_slice(&bytes).map_err(|error| OidcError::Answer(what, error))
}

/// The code of an error answer (RFC 6749, 5.2); anything else it holds is not repeated.
fn word(bytes: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Fault {
        error: String,
    }
    let fault: Option<Fault> = serde_json::from_slice(bytes).ok();
    let word: Option<String> =
        fault.map(|fault| fault.error.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').take(40).collect());
    word.map(|word| format!(" ({word})")).unwrap_or_default()
}

/// Asks a provider for its description, and checks it.
///
/// # Errors
/// When it does not answer, describes somebody else, or cannot do what is needed.
pub async fn fetch_metadata(issuer: &Address) -> Result<Metadata, OidcError> {
    let url = format!("{}/.well-known/openid-configuration", issuer.as_str().trim_end_matches('/'));
    let answer = client()?.get(url).send().await.map_err(|error| OidcError::Unreachable(error.without_url()))?;
    let metadata: Metadata = read("description", answer).await?;
    if metadata.issuer != issuer.as_str() {
        return Err(OidcError::OtherIssuer(metadata.issuer.chars().take(120).collect()));
    }
    for (name, url) in [
        ("authorization endpoint", &metadata.authorization_endpoint),
        ("token endpoint", &metadata.token_endpoint),
        ("key set", &metadata.jwks_uri),
    ] {
        if !is_private_line(url) {
            return Err(OidcError::Endpoint(name));
        }
    }
    // Absent means unknown; many providers do PKCE and do not say so.
    let known = metadata.code_challenge_methods_supported.as_ref();
    if known.is_some_and(|methods| !methods.iter().any(|method| method == "S256")) {
        return Err(OidcError::Cannot("PKCE with S256"));
    }
    Ok(metadata)
}

/// Asks a provider for the keys it signs with.
///
/// # Errors
/// When it does not answer, or what it answers is no set of keys.
pub async fn fetch_keys(metadata: &Metadata) -> Result<KeySet, OidcError> {
    let request = client()?.get(metadata.jwks_uri.clone());
    let answer = request.send().await.map_err(|error| OidcError::Unreachable(error.without_url()))?;
    read("key set", answer).await
}

/// Exchanges a code for the token that says who somebody is.
///
/// # Errors
/// When the provider does not answer, or refuses.
pub async fn exchange(
    metadata: &Metadata,
    client_id: &str,
    secret: Option<&str>,
    redirect: &str,
    code: &str,
    verifier: &str,
) -> Result<Answer, OidcError> {
    let mut fields = vec![
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", redirect),
        ("code_verifier", verifier),
    ];
    let mut request = client()?.post(metadata.token_endpoint.clone()).header("accept", "application/json");
    match secret {
        // The default when the description says nothing (OpenID Connect Discovery 1.0, 3).
        Some(secret) if metadata.takes("client_secret_basic") => {
            request = request.basic_auth(encoded(client_id), Some(encoded(secret)));
        }
        Some(secret) if metadata.takes("client_secret_post") => {
            fields.extend([("client_id", client_id), ("client_secret", secret)]);
        }
        Some(_) => return Err(OidcError::Cannot("a client's secret in the header or the form")),
        None => fields.push(("client_id", client_id)),
    }
    let request = request.header("content-type", "application/x-www-form-urlencoded").body(form(&fields));
    let answer = request.send().await.map_err(|error| OidcError::Unreachable(error.without_url()))?;
    read("token", answer).await
}

impl Metadata {
    fn takes(&self, method: &str) -> bool {
        match &self.token_endpoint_auth_methods_supported {
            Some(methods) => methods.iter().any(|known| known == method),
            None => method == "client_secret_basic",
        }
    }
}

fn form(fields: &[(&str, &str)]) -> String {
    fields.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect::<Vec<_>>().join("&")
}

/// As forms encode, which is also what the header of a client wants (RFC 6749, 2.3.1).
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_private_line_is_an_issuer() {
        for good in
            ["https://id.example.org", "https://id.example.org/realms/a", "http://127.0.0.1:9000", "http://localhost/x"]
        {
            assert!(Address::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "http://id.example.org",
            "https://id.example.org?x=1",
            "https://id.example.org#x",
            "ftp://localhost",
            "https://user@id.example.org",
            "id.example.org",
            "",
            "http://localhost.evil.example",
            "http://127.0.0.1.evil.example",
        ] {
            assert!(Address::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn secrets_are_encoded_as_the_standard_says() {
        assert_eq!(encoded("a b&c=d%é"), "a%20b%26c%3Dd%25%C3%A9");
        assert_eq!(word(br#"{"error":"invalid_grant","error_description":"<script>"}"#), " (invalid_grant)");
        assert_eq!(word(b"<html>"), "");
    }
}
