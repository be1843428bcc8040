//! Who may ask: a person with a session, a program with a token, or the operator of this machine over the control
//! socket; and what each may.
//!
//! One door for pages and API: every request passes [`door`], which checks the name it was called by, finds out who
//! asks, refuses what acts without proof that a page of this server sent it, and looks up in [`permit`] what the
//! operation needs.

mod attempts;
pub(crate) mod oidc;
mod origin;
mod password;
mod peer;
pub(crate) mod permit;
pub(crate) mod seal;
mod session;
mod sign_in;
mod token;

pub(crate) use password::{PasswordError, Passwords};
pub(crate) use peer::Peer;
pub(crate) use seal::{Seal, SealError};
pub(crate) use session::{API, COOKIE, Kept, Seen, forget_cookie, sign_out};
pub(crate) use sign_in::{TOKEN_USED, accept_invitation, by_link, by_password, change_password};
pub(crate) use token::{Links, api_digest, fresh, fresh_api, invitation_digest};

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{
    ConnectInfo, Form, FromRequest as _, FromRequestParts, MatchedPath, RawPathParams, Request, State,
};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Redirect, Response};
use stanch_model::asset::Asset;
use stanch_model::canonical::Digest;
use stanch_model::id::{ActorId, AssetId};
use stanch_model::person::{Access, Power};
use stanch_model::terms::Role;

use crate::api::Problem;
use crate::app::App;
use permit::Need;

/// The most bytes a request may carry.
pub(crate) const MAX_BODY: usize = 256 * 1024;
/// What a page may do in a browser: show itself, with its own style and its own script, and nothing else.
const CONTENT_POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src \
                              'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The assets that a visitor sees.
#[derive(Debug, Clone)]
pub(crate) enum Sight {
    /// All there are, and what belongs to none.
    Everything,
    /// These.
    Only(Arc<BTreeSet<AssetId>>),
}

impl Sight {
    /// Whether an asset is among them.
    pub(crate) fn covers(&self, asset: &AssetId) -> bool {
        match self {
            Self::Everything => true,
            Self::Only(seen) => seen.contains(asset),
        }
    }

    /// The assets that are seen, where not all are.
    pub(crate) fn among(&self) -> Option<BTreeSet<AssetId>> {
        match self {
            Self::Everything => None,
            Self::Only(seen) => Some(BTreeSet::clone(seen)),
        }
    }

    /// Whether nothing is hidden.
    pub(crate) const fn is_everything(&self) -> bool {
        matches!(self, Self::Everything)
    }
}

/// Who asks.
#[derive(Debug, Clone)]
pub(crate) struct Visitor {
    /// The name under which acts are recorded.
    pub(crate) name: String,
    /// The person who answers for it, also where a token of theirs asks; nobody on the machine itself.
    pub(crate) person: Option<ActorId>,
    /// What they may do.
    pub(crate) access: Access,
    /// What they see.
    pub(crate) sight: Sight,
    /// Whether a program asks, with a token.
    pub(crate) is_token: bool,
    /// What pages of this session carry; `None` over the control socket, which no web page can reach.
    pub(crate) csrf: Option<String>,
    /// The session, where there is one.
    pub(crate) session: Option<Digest>,
}

impl Visitor {
    /// The operator of this machine, over the control socket.
    fn operator(uid: u32) -> Self {
        Self {
            name: format!("operator (uid {uid})"),
            person: None,
            access: Access::full(),
            sight: Sight::Everything,
            is_token: false,
            csrf: None,
            session: None,
        }
    }

    /// The roles that count when they say yes or no to what is done to an asset; empty for who may not say it.
    #[allow(dead_code, reason = "asked where approvals are counted")]
    pub(crate) fn approving_roles(&self, asset: &Asset) -> BTreeSet<Role> {
        self.access.approving_roles(asset)
    }

    /// What tells people apart who must be different ones: two tokens of a person are that person.
    #[allow(dead_code, reason = "asked where approvals are counted")]
    pub(crate) fn is_same_person(&self, other: &Self) -> bool {
        match (&self.person, &other.person) {
            (Some(one), Some(two)) => one == two,
            (None, None) => true,
            _ => false,
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Visitor {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get::<Self>().cloned().ok_or_else(Problem::unauthenticated)
    }
}

/// Lets a request in, or tells why not.
pub(crate) async fn door(
    State(app): State<App>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path().to_owned();
    let mut response = match admit(&app, peer, request).await {
        Ok(request) => next.run(request).await,
        Err(refusal) => refusal.show(&path),
    };
    guard(response.headers_mut(), path.starts_with("/static/"));
    response
}

enum Refusal {
    Problem(Box<Problem>),
    SignIn,
    /// Whoever may see nothing is shown their account instead of the overview.
    Account,
}

impl Refusal {
    fn show(self, path: &str) -> Response {
        match self {
            Self::SignIn if !path.starts_with("/api/") => Redirect::to("/sign-in").into_response(),
            Self::SignIn => Problem::unauthenticated().into_response(),
            Self::Account => Redirect::to("/account").into_response(),
            Self::Problem(problem) if path.starts_with("/api/") => problem.into_response(),
            Self::Problem(problem) => crate::web::problem_page(&problem),
        }
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self::Problem(Box::new(problem))
    }
}

async fn admit(app: &App, peer: Peer, mut request: Request) -> Result<Request, Refusal> {
    if matches!(peer, Peer::Tcp) {
        let host = request.headers().get(header::HOST).and_then(|value| value.to_str().ok());
        if !origin::host_is_ours(host, &app.config.hosts) {
            return Err(Problem::new(
                StatusCode::MISDIRECTED_REQUEST,
                "wrong_host",
                "Not my name",
                "this server does not go by the name it was called",
            )
            .hint("call it by its address, or start it with --url")
            .into());
        }
    }
    let acts = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    let visitor = match peer {
        Peer::Unix { .. } | Peer::Operator { .. } => peer.operator().map(Visitor::operator),
        Peer::Tcp => visitor_over_tcp(app, request.uri().path(), request.headers()).await?,
    };
    let method = request.method().clone();
    let matched = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let need = matched.as_deref().map(|path| permit::need(&method, path));
    if need == Some(Some(Need::Nothing)) {
        if acts && !origin::same_origin(request.headers()) {
            return Err(Problem::forbidden("another site asked for this").into());
        }
        if let Some(visitor) = visitor {
            request.extensions_mut().insert(visitor);
        }
        return Ok(request);
    }
    let Some(visitor) = visitor else { return Err(Refusal::SignIn) };
    if acts && visitor.session.is_some() {
        if !origin::same_origin(request.headers()) {
            return Err(Problem::forbidden("another site asked for this").into());
        }
        let secret = session::secret(request.headers()).unwrap_or_default();
        request = with_csrf(request, &secret).await?;
    }
    match (matched.as_deref(), need.flatten()) {
        // Where nothing is, the answer is that nothing is there.
        (None, _) | (_, Some(Need::Nothing | Need::SignedIn)) => {}
        (Some(path), None) => {
            tracing::error!(%method, path, "an operation that is not in the table of permits was asked for");
            return Err(Problem::not_found("page", path).into());
        }
        (Some("/"), _) if !visitor.access.may_somewhere(Power::Read) => return Err(Refusal::Account),
        (Some(path), Some(Need::Power(powers, over))) => {
            let (mut parts, body) = request.into_parts();
            let named = named(&mut parts).await;
            permit::check(app, &visitor, &method, path, (powers, over), named.as_deref()).await?;
            request = Request::from_parts(parts, body);
        }
    }
    request.extensions_mut().insert(visitor);
    Ok(request)
}

/// Programs come with a token, and only to the API; browsers come with a cookie.
async fn visitor_over_tcp(app: &App, path: &str, headers: &HeaderMap) -> Result<Option<Visitor>, Problem> {
    if path.starts_with("/api/")
        && let Some(visitor) = session::find_bearer(app, headers).await?
    {
        return Ok(Some(visitor));
    }
    session::find(app, headers).await
}

/// What the path names first.
async fn named(parts: &mut Parts) -> Option<String> {
    let params = RawPathParams::from_request_parts(parts, &()).await.ok()?;
    params.iter().next().map(|(_, value)| value.to_owned())
}

/// Passes a request that carries the token of its session's pages, in a header or as a form's field.
async fn with_csrf(request: Request, secret: &str) -> Result<Request, Refusal> {
    let missing = || {
        Problem::new(StatusCode::FORBIDDEN, "csrf", "Not allowed", "the page's token is missing or of another session")
            .hint("load the page again; programs send the `csrf` of /api/v1/session as `x-csrf-token`")
    };
    if let Some(given) = request.headers().get("x-csrf-token") {
        let fits = given.to_str().is_ok_and(|given| token::csrf_fits(secret, given));
        return if fits { Ok(request) } else { Err(missing().into()) };
    }
    let is_form = request
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/x-www-form-urlencoded"));
    if !is_form {
        return Err(missing().into());
    }
    let (parts, body) = request.into_parts();
    let bytes: Bytes = to_bytes(body, MAX_BODY).await.map_err(|_| Problem::bad_request("the form is too long"))?;
    let copy = Request::from_parts(parts.clone(), Body::from(bytes.clone()));
    let Form(fields) = Form::<Vec<(String, String)>>::from_request(copy, &())
        .await
        .map_err(|rejection| Problem::bad_request(rejection.body_text()))?;
    if fields.iter().any(|(name, value)| name == "csrf" && token::csrf_fits(secret, value)) {
        Ok(Request::from_parts(parts, Body::from(bytes)))
    } else {
        Err(missing().into())
    }
}

fn guard(headers: &mut HeaderMap, lasting: bool) {
    let mut set = |name: HeaderName, value: &'static str| {
        headers.insert(name, HeaderValue::from_static(value));
    };
    set(header::CONTENT_SECURITY_POLICY, CONTENT_POLICY);
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::X_FRAME_OPTIONS, "DENY");
    // Not `no-referrer`: it would make browsers send `Origin: null` with our own forms.
    set(header::REFERRER_POLICY, "same-origin");
    set(HeaderName::from_static("cross-origin-opener-policy"), "same-origin");
    set(HeaderName::from_static("cross-origin-resource-policy"), "same-origin");
    set(header::CACHE_CONTROL, if lasting { "public, max-age=3600" } else { "no-store" });
}
