//! Signing in at a provider of identities: the code flow with PKCE. What is remembered between the two halves lies,
//! sealed, in a cookie of the browser that began: only it can finish, and the server keeps nothing that strangers
//! could fill up.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use axum::http::{HeaderMap, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use stanch_connect::oidc::{
    Address, Claims, Expected, KeySet, Metadata, OidcError, TokenError, challenge, exchange, fetch_keys,
    fetch_metadata, verify,
};
use stanch_model::canonical::{Digest, digest_encoded};
use stanch_model::person::TeamName;
use stanch_store::connection::Connection;
use subtle::ConstantTimeEq as _;

use super::session::{Session, begin, cookie_value, set_cookie};
use super::token::fresh;
use crate::api::Problem;
use crate::app::App;
use crate::ask;

/// What providers are called among the connections.
pub(crate) const KIND: &str = "oidc";
/// Where providers send browsers back to.
pub(crate) const CALLBACK: &str = "/sign-in/callback";
/// The cookie that binds a sign-in to its browser.
const COOKIE: &str = "stanch_oidc";
/// How long somebody may take at the provider.
const LIFE: SignedDuration = SignedDuration::from_mins(10);
/// How long a provider's description and keys are used before they are fetched anew.
const FRESH: SignedDuration = SignedDuration::from_hours(1);
/// The least time between two fetches because a key was not known: a stranger's token must not make us ask each time.
const AGAIN: SignedDuration = SignedDuration::from_secs(30);
/// Sign-ins that are remembered as used.
const USED: usize = 4_096;

/// A provider as it was set up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// Its issuer.
    pub(crate) issuer: String,
    /// What it calls us.
    pub(crate) client_id: String,
    /// What else to ask for beside `openid`.
    #[serde(default = "scopes")]
    pub(crate) scopes: Vec<String>,
    /// The claim that lists groups.
    #[serde(default = "groups_claim")]
    pub(crate) groups_claim: String,
    /// Which group is which team. Who is in none of them is not let in.
    pub(crate) teams: BTreeMap<String, TeamName>,
}

fn scopes() -> Vec<String> {
    ["profile", "email", "groups"].map(str::to_owned).to_vec()
}

fn groups_claim() -> String {
    "groups".to_owned()
}

/// What must come back.
#[derive(Serialize, Deserialize)]
struct Flow {
    provider: String,
    state: String,
    nonce: String,
    verifier: String,
    until: Timestamp,
}

/// What a provider's answer says, as it stands in the address.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Callback {
    #[serde(default)]
    code: String,
    #[serde(default)]
    state: String,
    error: Option<String>,
    iss: Option<String>,
}

struct Known {
    metadata: Metadata,
    keys: KeySet,
    at: Timestamp,
}

/// What is known of providers, and which sign-ins were finished.
#[derive(Default)]
pub(crate) struct Providers {
    known: Mutex<HashMap<String, Arc<Known>>>,
    used: Mutex<Vec<(Digest, Timestamp)>>,
}

impl From<OidcError> for Problem {
    fn from(error: OidcError) -> Self {
        tracing::warn!(error = crate::error::chain(&error), "a provider of identities could not be used");
        Self::new(StatusCode::BAD_GATEWAY, "provider", "The provider of identities cannot be used", error.to_string())
            .hint("try again; if that does not help, an administrator looks at Connections")
    }
}

fn refused(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "not_signed_in", "Not signed in", detail)
        .hint("begin again at the sign-in page")
}

impl Providers {
    fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
        mutex.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A provider's description and keys, fetched when they are older than `than`.
    async fn known(&self, issuer: &str, now: Timestamp, than: SignedDuration) -> Result<Arc<Known>, Problem> {
        if let Some(known) = Self::lock(&self.known).get(issuer)
            && now.duration_since(known.at) < than
        {
            return Ok(known.clone());
        }
        let metadata = fetch_metadata(&Address::parse(issuer)?).await?;
        let keys = fetch_keys(&metadata).await?;
        let known = Arc::new(Known { metadata, keys, at: now });
        Self::lock(&self.known).insert(issuer.to_owned(), known.clone());
        Ok(known)
    }

    /// Uses a sign-in's state up; answers whether it was not used before.
    fn use_up(&self, state: &str, now: Timestamp) -> bool {
        let digest = digest_encoded("stanch/oidc-state/v1", state.as_bytes());
        let mut used = Self::lock(&self.used);
        used.retain(|(_, until)| *until > now);
        if used.iter().any(|(known, _)| *known == digest) {
            return false;
        }
        if used.len() >= USED {
            used.remove(0);
        }
        used.push((digest, now.saturating_add(LIFE).unwrap_or(now)));
        true
    }

    /// Forgets what is known, after settings changed.
    pub(crate) fn forget(&self) {
        Self::lock(&self.known).clear();
    }
}

/// Checks settings before they are kept.
pub(crate) fn check(settings: &Settings) -> Result<(), Problem> {
    Address::parse(&settings.issuer).map_err(|error| Problem::bad_request(error.to_string()))?;
    let word = |text: &str| {
        !text.is_empty() && text.len() <= 200 && text.chars().all(|c| !c.is_control() && !c.is_whitespace())
    };
    if !word(&settings.client_id) || !word(&settings.groups_claim) {
        return Err(Problem::bad_request("`client_id` and `groups_claim` are words without spaces"));
    }
    if settings.scopes.len() > 20 || !settings.scopes.iter().all(|scope| word(scope)) {
        return Err(Problem::bad_request("`scopes` are at most 20 words"));
    }
    if settings.teams.is_empty() || settings.teams.len() > 500 {
        return Err(Problem::bad_request("`teams` says which group is which team: without one nobody could sign in"));
    }
    Ok(())
}

async fn find(app: &App, name: &str) -> Result<(Connection, Settings), Problem> {
    let missing = || Problem::not_found("provider", name);
    let row = app.store.connection(name).await?.filter(|row| row.kind == KIND).ok_or_else(missing)?;
    let settings = serde_json::from_value(row.body.clone())
        .map_err(|error| Problem::internal("reading a provider's settings", &error))?;
    Ok((row, settings))
}

/// Begins: where to send the browser, and the cookie that binds the sign-in to it.
pub(crate) async fn start(app: &App, name: &str) -> Result<(String, HeaderMap), Problem> {
    let (row, settings) = find(app, name).await?;
    let now = app.now();
    let known = app.providers.known(&settings.issuer, now, FRESH).await?;
    let entropy = app.config.entropy.as_ref();
    let flow = Flow {
        provider: row.name,
        state: fresh(entropy)?,
        nonce: fresh(entropy)?,
        verifier: fresh(entropy)?,
        until: now.saturating_add(LIFE).unwrap_or(now),
    };
    let url = known.metadata.authorization_url(
        &settings.client_id,
        &redirect(app),
        &settings.scopes,
        &flow.state,
        &flow.nonce,
        &challenge(&flow.verifier),
    );
    let plain = serde_json::to_vec(&flow).map_err(|error| Problem::internal("beginning a sign-in", &error))?;
    let sealed = app.seal.close(COOKIE, &plain, entropy).map_err(|error| Problem::internal("sealing", &error))?;
    // Not `Strict`: the provider's page sends the browser back, and the cookie must come with it.
    let cookie = set_cookie(app, COOKIE, &URL_SAFE_NO_PAD.encode(sealed), "/sign-in", "Lax", LIFE);
    Ok((url.into(), cookie))
}

fn redirect(app: &App) -> String {
    format!("{}{CALLBACK}", app.public_url())
}

/// Makes the browser forget a sign-in.
pub(crate) fn forget(app: &App) -> HeaderMap {
    set_cookie(app, COOKIE, "", "/sign-in", "Lax", SignedDuration::ZERO)
}

/// Finishes: the browser came back with a code.
pub(crate) async fn finish(app: &App, headers: &HeaderMap, back: &Callback) -> Result<Session, Problem> {
    let now = app.now();
    let flow = cookie_value(headers, COOKIE)
        .and_then(|text| URL_SAFE_NO_PAD.decode(text).ok())
        .and_then(|sealed| app.seal.open(COOKIE, &sealed).ok())
        .and_then(|plain| serde_json::from_slice::<Flow>(&plain).ok())
        .ok_or_else(|| refused("this browser did not begin to sign in"))?;
    if flow.until <= now || !bool::from(flow.state.as_bytes().ct_eq(back.state.as_bytes())) {
        return Err(refused("this sign-in is another one, or too old"));
    }
    if !app.providers.use_up(&flow.state, now) {
        return Err(refused("this sign-in was finished before"));
    }
    let (row, settings) = find(app, &flow.provider).await?;
    let known = app.providers.known(&settings.issuer, now, FRESH).await?;
    match &back.iss {
        Some(issuer) if *issuer != settings.issuer => return Err(refused("the answer came from another provider")),
        None if known.metadata.names_itself() => return Err(refused("the answer does not say who it is from")),
        _ => {}
    }
    if let Some(error) = &back.error {
        let word: String = error.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').take(40).collect();
        return Err(refused(format!("the provider said no: {word}")));
    }
    if back.code.is_empty() || back.code.len() > 4_096 {
        return Err(refused("the answer holds no code"));
    }
    let secret = match &row.secret {
        Some(sealed) => Some(ask::connection::secret(app, &row.name, sealed)?),
        None => None,
    };
    let answer =
        exchange(&known.metadata, &settings.client_id, secret.as_deref(), &redirect(app), &back.code, &flow.verifier)
            .await?;
    let claims = believed(app, &settings, &known, &answer.id_token, &flow.nonce, now).await?;
    admit(app, &row.name, &settings, claims).await
}

/// Checks the token; when its key is not known the provider may have changed keys, and is asked once.
async fn believed(
    app: &App,
    settings: &Settings,
    known: &Known,
    token: &str,
    nonce: &str,
    now: Timestamp,
) -> Result<Claims, Problem> {
    let expected = Expected {
        issuer: &settings.issuer,
        client_id: &settings.client_id,
        nonce,
        groups_claim: &settings.groups_claim,
        now,
    };
    let mut checked = verify(token, &known.keys, expected);
    if checked == Err(TokenError::UnknownKey) {
        let newer = app.providers.known(&settings.issuer, now, AGAIN).await?;
        checked = verify(token, &newer.keys, expected);
    }
    checked.map_err(|error| {
        tracing::warn!(%error, "a token of a provider was not believed");
        refused(error.to_string())
    })
}

/// Signs in whoever the provider vouches for, if one of their groups is a team here.
async fn admit(app: &App, provider: &str, settings: &Settings, claims: Claims) -> Result<Session, Problem> {
    let mut teams: Vec<TeamName> =
        claims.groups.iter().filter_map(|group| settings.teams.get(group)).cloned().collect();
    teams.sort();
    teams.dedup();
    let (person, with) = ask::people::vouched(app, provider, &settings.issuer, claims, &teams).await?;
    begin(app, &person, provider, with).await
}
