//! Who may ask: a person with a session over HTTP, or the operator of this machine over the control socket.
//!
//! One door for pages and API: every request passes [`door`], which checks the name it was called by, finds out who
//! asks, and refuses what acts without proof that a page of this server sent it.

mod origin;
mod peer;
mod session;
mod token;

pub(crate) use peer::Peer;
pub(crate) use session::{COOKIE, forget_cookie, sign_in, sign_out};
pub(crate) use token::{Denied, Links};

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{ConnectInfo, Form, FromRequest as _, FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Redirect, Response};
use stanch_model::canonical::Digest;

use crate::api::Problem;
use crate::app::App;

/// The most bytes a request may carry.
pub(crate) const MAX_BODY: usize = 256 * 1024;
/// What a page may do in a browser: show itself, with its own style and its own script, and nothing else.
const CONTENT_POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src \
                              'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Who asks.
#[derive(Debug, Clone)]
pub(crate) struct Visitor {
    /// The name under which acts are recorded.
    pub(crate) name: String,
    /// What pages of this session carry; `None` over the control socket, which no web page can reach.
    pub(crate) csrf: Option<String>,
    /// The session, where there is one.
    pub(crate) session: Option<Digest>,
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
}

impl Refusal {
    fn show(self, path: &str) -> Response {
        match self {
            Self::SignIn if !path.starts_with("/api/") => Redirect::to("/sign-in").into_response(),
            Self::SignIn => Problem::unauthenticated().into_response(),
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
            .hint("call it by its address, or name it with --host")
            .into());
        }
    }
    let acts = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    let visitor = match peer {
        Peer::Unix { uid } if uid == 0 || uid == rustix::process::getuid().as_raw() => {
            Some(Visitor { name: format!("operator (uid {uid})"), csrf: None, session: None })
        }
        Peer::Unix { .. } => None,
        Peer::Tcp => session::find(app, request.headers()).await?,
    };
    if is_public(request.uri().path()) {
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
    request.extensions_mut().insert(visitor);
    Ok(request)
}

fn is_public(path: &str) -> bool {
    path == "/sign-in" || path.starts_with("/static/") || path == "/api/v1/openapi.json"
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
