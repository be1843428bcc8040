//! People come to any server; one that does not lead passes them on to the one that does, over mutual TLS with the
//! authority's certificates, and says who they were where it alone can know.

use std::sync::{Arc, Mutex};

use ::aws_lc_rs::hmac;
use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::uri::{Authority as Place, PathAndQuery, Scheme};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use futures_util::StreamExt as _;
use subtle::ConstantTimeEq as _;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tower::ServiceExt as _;

use super::lock;
use crate::api::Problem;
use crate::app::App;
use crate::auth::Peer;
use crate::error::chain;
use crate::fleet::Authority;

/// Who it was at the server that passes a request on: `operator UID`, or nobody that it knows.
const FOR: HeaderName = HeaderName::from_static("stanch-relayed-for");
/// What every server answers for itself.
const OWN: [&str; 2] = ["/api/v1/health", "/api/v1/metrics"];
/// What belongs to one connection and is not passed on.
const HOPS: [HeaderName; 6] =
    [header::CONNECTION, header::TRANSFER_ENCODING, header::UPGRADE, header::TE, header::TRAILER, FOR];

/// What passes requests on; made when it is first needed.
#[derive(Default)]
pub(super) struct Client(Mutex<Option<reqwest::Client>>);

impl Client {
    pub(super) fn get(&self, authority: &Authority) -> Result<reqwest::Client, String> {
        let mut held = lock(&self.0);
        if let Some(client) = held.as_ref() {
            return Ok(client.clone());
        }
        let made = make(authority)?;
        Ok(held.insert(made).clone())
    }

    /// Its certificate may have run out: the next one is made anew.
    pub(super) fn renew(&self) {
        *lock(&self.0) = None;
    }
}

fn make(authority: &Authority) -> Result<reqwest::Client, String> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.certificate().clone()).map_err(|error| error.to_string())?;
    let (certificates, key) = authority.between_servers().map_err(|error| chain(&error))?;
    let tls = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_client_auth_cert(certificates, key)
        .map_err(|error| error.to_string())?;
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(std::time::Duration::from_secs(5))
        .build()
        .map_err(|error| chain(&error))
}

/// Before everything that people ask: answered here where this server leads or is alone, and by whoever leads otherwise.
pub(crate) async fn passes_on(
    State(app): State<App>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    request: Request,
    next: Next,
) -> Response {
    let Some(cluster) = app.cluster.as_ref().filter(|cluster| !cluster.leads()) else {
        return next.run(request).await;
    };
    let path = request.uri().path();
    // What servers and executors say to each other is not for people, whoever carries it.
    if OWN.contains(&path) || path.starts_with("/server/") || path.starts_with("/executor/") {
        return next.run(request).await;
    }
    let nobody = |why: &str| {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "no_leader", "Not now", why)
            .hint("another server takes the lead within seconds: ask again")
            .into_response()
    };
    let Some(authority) = &app.authority else {
        return nobody("this server does not lead, and has no door for executors over which it could pass this on");
    };
    let Some(door) = cluster.leader().and_then(|leader| leader.door) else {
        return nobody("no server leads now");
    };
    let client = match cluster.relay.get(authority) {
        Ok(client) => client,
        Err(why) => return nobody(&format!("this cannot be passed on to the server that leads: {why}")),
    };
    match pass_on(&app, &client, &door, peer, request).await {
        Ok(response) => response,
        Err(why) => {
            cluster.relay.renew();
            nobody(&format!("the server that leads cannot be reached: {why}"))
        }
    }
}

async fn pass_on(
    app: &App,
    client: &reqwest::Client,
    door: &str,
    peer: Peer,
    request: Request,
) -> Result<Response, String> {
    let (parts, body) = request.into_parts();
    let mut to = parts.uri.clone().into_parts();
    to.scheme = Some(Scheme::HTTPS);
    to.authority = Some(door.parse::<Place>().map_err(|error| error.to_string())?);
    let to = Uri::from_parts(to).map_err(|error| error.to_string())?;
    let mut headers = without_hops(parts.headers);
    if let Some(uid) = peer.operator() {
        let said = Said { uid, at: app.now().as_second() };
        let proof = said.proof(app, &parts.method, &parts.uri);
        let who = format!("operator {} {} {}", said.uid, said.at, hex::encode(proof));
        headers.insert(FOR, HeaderValue::from_str(&who).map_err(|error| error.to_string())?);
    }
    let asked = client.request(parts.method, to.to_string()).headers(headers);
    let answer = asked.body(reqwest::Body::wrap_stream(body.into_data_stream())).send().await;
    let answer = answer.map_err(|error| chain(&error))?;
    let (status, headers) = (answer.status(), without_hops(answer.headers().clone()));
    // Pages that stay open end with the server, not the other way round.
    let mut response = Response::new(Body::from_stream(answer.bytes_stream().take_until(Box::pin(app.closing()))));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Ok(response)
}

/// What a server says of the operator of its machine. The authority's key alone vouches for nobody: this needs the key
/// that seals secrets too, which executors have no part in.
struct Said {
    uid: u32,
    /// Seconds since 1970.
    at: i64,
}

impl Said {
    /// How far clocks may be apart, in seconds, and how long what was said counts.
    const FRESH: u64 = 60;

    fn proof(&self, app: &App, method: &Method, uri: &Uri) -> Vec<u8> {
        let key = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, app.keys.sealing()), b"stanch/relay/v1");
        let path = uri.path_and_query().map_or("", PathAndQuery::as_str);
        let text = format!("{method}\n{path}\n{}\n{}", self.uid, self.at);
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key.as_ref()), text.as_bytes()).as_ref().to_vec()
    }

    fn read(app: &App, text: &str, method: &Method, uri: &Uri) -> Option<Self> {
        let mut words = text.strip_prefix("operator ")?.split(' ');
        let said = Self { uid: words.next()?.parse().ok()?, at: words.next()?.parse().ok()? };
        let shown = hex::decode(words.next()?).ok()?;
        let holds = said.proof(app, method, uri).ct_eq(&shown).into();
        let fresh = app.now().as_second().abs_diff(said.at) <= Self::FRESH;
        (holds && fresh && words.next().is_none()).then_some(said)
    }
}

fn without_hops(mut headers: HeaderMap) -> HeaderMap {
    for name in &HOPS {
        headers.remove(name);
    }
    headers
}

/// Answers what another server has passed on. Whoever calls this has seen that it is one.
pub(crate) async fn relayed(app: &App, people: Router, mut request: Request) -> Response {
    if !app.cluster.as_ref().is_some_and(super::Cluster::leads) {
        // It led a moment ago: passing it on again could go round in circles.
        return Problem::new(StatusCode::SERVICE_UNAVAILABLE, "no_leader", "Not now", "this server does not lead")
            .hint("another server takes the lead within seconds: ask again")
            .into_response();
    }
    if request.uri().path().starts_with(super::feeds::PATH) {
        let path = request.uri().path().to_owned();
        return super::feeds::show(app, &path).await;
    }
    let who = request.headers_mut().remove(FOR);
    let vouched = who.and_then(|who| Said::read(app, who.to_str().ok()?, request.method(), request.uri()));
    let peer = vouched.map_or(Peer::Tcp, |said| Peer::Operator { uid: said.uid });
    request.extensions_mut().insert(ConnectInfo(peer));
    match people.oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}
