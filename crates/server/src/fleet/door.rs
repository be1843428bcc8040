//! The door for executors: TLS that knows who comes in, and the few things they may say.
//!
//! Strangers may ask for the authority's certificate and may enrol. Everything else needs a certificate that is in force
//! now: it is looked up with every request, so that taking it away needs no list and no waiting.

use std::collections::HashMap;
use std::future::{Future as _, IntoFuture as _};
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, DefaultBodyLimit, FromRequest, FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::serve::{IncomingStream, Listener};
use axum::{Json, Router};
use serde::de::DeserializeOwned;
use stanch_model::Digest;
use stanch_model::enrol::{Certified, Enrol, Renew};
use stanch_model::id::ExecutorId;
use stanch_model::order::{Batch, Hello, Progress, Receipt};
use stanch_model::sign::Signed;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::Sleep;
use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::server::{ServerConfig, WebPkiClientVerifier};
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::server::TlsStream;
use tokio_rustls::{TlsAcceptor, rustls};
use tower_http::timeout::RequestBodyTimeoutLayer;

use super::authority::{Authority, is_of_server};
use super::enrol::{EnrolError, enrol, renew};
use crate::api::{Body, Problem};
use crate::app::App;
use crate::gateway::{Gateway, GatewayError};

/// A handshake that takes longer is broken off.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Handshakes and strangers at once: a fleet that comes back in one moment must not starve the rest.
const STRANGERS: usize = 512;
/// The same from one address, or one IPv6 network, so that nobody takes all the places by silence. Those turned away try
/// again.
const STRANGERS_EACH: usize = 64;
/// Who shows no certificate that is in force is here to enrol, and not to stay.
const STRANGERS_STAY: Duration = Duration::from_secs(60);
/// The same for what is said in one breath.
const BREATH: Duration = Duration::from_secs(30);
/// Requests that are under way when the server stops are seen through for so long.
const FAREWELL: Duration = Duration::from_secs(10);
/// Connections whose handshake is over and that nobody has taken yet.
const WAITING: usize = 64;
/// Largest body of a request, in bytes; facts of a large host are a few megabytes.
const LARGEST_RECEIPT: usize = 32 << 20;
/// The same where only small things are said.
const LARGEST: usize = 256 << 10;

/// Connections on which the handshake is over.
pub(super) struct Door {
    arrived: mpsc::Receiver<(Visit, SocketAddr)>,
    address: SocketAddr,
}

/// A connection; that of a stranger ends by itself, and keeps its place until then.
pub(super) struct Visit {
    stream: TlsStream<TcpStream>,
    ends: Option<Pin<Box<Sleep>>>,
    _place: Option<Place>,
}

/// A place among the strangers.
type Place = (OwnedSemaphorePermit, Turn);

impl Visit {
    async fn of(app: &App, stream: TlsStream<TcpStream>, place: Place) -> Self {
        let known = of_server(&stream)
            || match shown_by(&stream) {
                Some(certificate) => whose(app, &certificate).await.is_some(),
                None => false,
            };
        if known {
            return Self { stream, ends: None, _place: None };
        }
        Self { stream, ends: Some(Box::pin(tokio::time::sleep(STRANGERS_STAY))), _place: Some(place) }
    }

    fn is_over(&mut self, context: &mut Context<'_>) -> bool {
        self.ends.as_mut().is_some_and(|ends| ends.as_mut().poll(context).is_ready())
    }
}

impl AsyncRead for Visit {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.is_over(context) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut self.stream).poll_read(context, to)
    }
}

impl AsyncWrite for Visit {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_over(context) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut self.stream).poll_write(context, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// How many handshakes and strangers there are of each address.
#[derive(Clone, Default)]
struct Going(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// What counts as one address: of IPv6 a whole network is one customer's, and IPv4 that came in over IPv6 is IPv4.
fn one(from: IpAddr) -> IpAddr {
    match from.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) & (u128::MAX << 64)).into(),
    }
}

/// One of them; it ends when this is dropped.
struct Turn {
    going: Going,
    from: IpAddr,
}

impl Going {
    fn begin(&self, from: IpAddr) -> Option<Turn> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = all.entry(from).or_default();
        if *count >= STRANGERS_EACH {
            return None;
        }
        *count += 1;
        Some(Turn { going: self.clone(), from })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut all = self.going.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = all.get_mut(&self.from) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                all.remove(&self.from);
            }
        }
    }
}

impl Listener for Door {
    type Io = Visit;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.arrived.recv().await {
            Some(arrived) => arrived,
            // The server stops.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

/// Who is at the other end: the SHA-256 of the certificate that the authority gave them, if they have shown one.
#[derive(Debug, Clone)]
pub(super) struct Shown {
    certificate: Option<Digest>,
    /// It is another server of this installation.
    is_server: bool,
    from: SocketAddr,
}

impl Connected<IncomingStream<'_, Door>> for Shown {
    fn connect_info(stream: IncomingStream<'_, Door>) -> Self {
        let stream_of = &stream.io().stream;
        Self { certificate: shown_by(stream_of), is_server: of_server(stream_of), from: *stream.remote_addr() }
    }
}

fn shown_by(stream: &TlsStream<TcpStream>) -> Option<Digest> {
    let chain = stream.get_ref().1.peer_certificates();
    chain.and_then(|chain| chain.first()).map(|leaf| Digest::of_bytes(leaf))
}

fn of_server(stream: &TlsStream<TcpStream>) -> bool {
    let chain = stream.get_ref().1.peer_certificates();
    chain.and_then(|chain| chain.first()).is_some_and(is_of_server)
}

/// The executor that a certificate was given to, while it is in force. Another server may have given it a moment ago.
async fn whose(app: &App, certificate: &Digest) -> Option<ExecutorId> {
    let known = async || app.callers.lock().await.with_certificate(certificate).cloned();
    if let Some(executor) = known().await {
        return Some(executor);
    }
    if let Err(error) = crate::cluster::catch_up(app).await {
        tracing::warn!(error = crate::error::chain(&error), "what other servers did cannot be read");
    }
    known().await
}

/// Listens, and serves executors until the server stops. Answers where.
pub(crate) async fn open(
    app: &App,
    authority: &Arc<Authority>,
    people: Router,
    wanted: SocketAddr,
    mut stopping: watch::Receiver<bool>,
    work: &mut tokio::task::JoinSet<()>,
) -> io::Result<SocketAddr> {
    let acceptor = TlsAcceptor::from(Arc::new(settings(authority).map_err(io::Error::other)?));
    let listener = TcpListener::bind(wanted).await?;
    let address = listener.local_addr()?;
    let (arrivals, arrived) = mpsc::channel(WAITING);
    let mut closing = stopping.clone();
    let service = router(app, authority, people).into_make_service_with_connect_info::<Shown>();
    let app = app.clone();
    work.spawn(async move {
        let slots = Arc::new(Semaphore::new(STRANGERS));
        let going = Going::default();
        loop {
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = closing.wait_for(|stop| *stop) => return,
            };
            let (stream, from) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // No file handle is free, say: those at work give theirs back.
                    tracing::warn!(%error, "a connection of an executor was not taken");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let Some(turn) = going.begin(one(from.ip())) else {
                tracing::debug!(%from, "too many handshakes from one address");
                continue;
            };
            let (app, acceptor, arrivals) = (app.clone(), acceptor.clone(), arrivals.clone());
            tokio::spawn(async move {
                drop(stream.set_nodelay(true));
                match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
                    Ok(Ok(stream)) => {
                        let visit = Visit::of(&app, stream, (slot, turn)).await;
                        // If nobody takes it, the server stops.
                        drop(arrivals.send((visit, from)).await);
                    }
                    Ok(Err(error)) => tracing::debug!(%from, %error, "a handshake failed"),
                    Err(_) => tracing::debug!(%from, "a handshake took too long"),
                }
            });
        }
    });
    work.spawn(async move {
        let mut over = stopping.clone();
        let stopped = async move { drop(stopping.wait_for(|stop| *stop).await) };
        let serving = axum::serve(Door { arrived, address }, service).with_graceful_shutdown(stopped);
        let farewell = async move {
            drop(over.wait_for(|stop| *stop).await);
            tokio::time::sleep(FAREWELL).await;
        };
        tokio::select! {
            ended = serving.into_future() => if let Err(error) = ended {
                tracing::error!(%error, "the executors' listener ended");
            },
            // Whoever has not said it by now says it again to the next server.
            () = farewell => {}
        }
    });
    Ok(address)
}

fn settings(authority: &Arc<Authority>) -> Result<ServerConfig, Box<dyn std::error::Error + Send + Sync>> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(authority.certificate().clone())?;
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .allow_unauthenticated()
        .build()?;
    let resolver: Arc<dyn rustls::server::ResolvesServerCert> = Arc::clone(authority) as _;
    let settings = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(resolver);
    Ok(settings)
}

#[derive(Clone)]
struct Behind {
    app: App,
    authority: Arc<Authority>,
    /// What people ask, for other servers that pass it on.
    people: Router,
}

fn router(app: &App, authority: &Arc<Authority>, people: Router) -> Router {
    Router::new()
        .route("/executor/v1/authority", get(show_authority))
        .route("/executor/v1/enrol", post(let_in))
        .route("/executor/v1/certificate", post(newer))
        .route("/executor/v1/orders", post(orders))
        .route("/executor/v1/receipts", post(receipt).layer(DefaultBodyLimit::max(LARGEST_RECEIPT)))
        .route("/executor/v1/progress", post(progress))
        .layer(DefaultBodyLimit::max(LARGEST))
        .layer(RequestBodyTimeoutLayer::new(BREATH))
        .fallback(pass_on)
        .with_state(Behind { app: app.clone(), authority: Arc::clone(authority), people })
}

/// An executor whose certificate is in force, and that certificate.
struct Known(ExecutorId, Digest);

impl FromRequestParts<Behind> for Known {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, behind: &Behind) -> Result<Self, Problem> {
        let shown = parts.extensions.get::<ConnectInfo<Shown>>().map(|info| &info.0);
        let Some(certificate) = shown.and_then(|shown| shown.certificate) else {
            return Err(Problem::new(
                StatusCode::UNAUTHORIZED,
                "no_certificate",
                "Who is it",
                "no certificate was shown",
            )
            .hint("enrol this host: stanch-agent enrol"));
        };
        match whose(&behind.app, &certificate).await {
            Some(executor) => Ok(Self(executor, certificate)),
            None => Err(Problem::new(
                StatusCode::UNAUTHORIZED,
                "certificate_not_in_force",
                "Who is it",
                "this certificate is not in force: it was taken away or replaced",
            )
            .hint("have a person look (stanch executors list), then enrol this host anew: stanch-agent enrol")),
        }
    }
}

impl Known {
    /// Nobody speaks for another.
    async fn is(&self, app: &App, claimed: &ExecutorId) -> Result<(), Problem> {
        if self.0 == *claimed {
            return Ok(());
        }
        app.refused(&self.0, true, "it speaks for another executor").await;
        Err(Problem::forbidden("an executor speaks for itself alone"))
    }
}

/// What an executor whose certificate is in force says. What does not read is in the record.
struct Said<T>(Known, T);

impl<T: DeserializeOwned + Send> FromRequest<Behind> for Said<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, behind: &Behind) -> Result<Self, Problem> {
        let (mut parts, body) = request.into_parts();
        let known = Known::from_request_parts(&mut parts, behind).await?;
        match Body::from_request(Request::from_parts(parts, body), behind).await {
            Ok(Body(said)) => Ok(Self(known, said)),
            Err(problem) => {
                behind.app.refused(&known.0, true, "what it said is too large or makes no sense").await;
                Err(problem)
            }
        }
    }
}

/// What another server passes on; to anybody else there is nothing here.
async fn pass_on(
    State(behind): State<Behind>,
    ConnectInfo(shown): ConnectInfo<Shown>,
    request: Request,
) -> axum::response::Response {
    if !shown.is_server {
        return Problem::not_found("page", request.uri().path()).into_response();
    }
    crate::cluster::relayed(&behind.app, behind.people, request).await
}

async fn show_authority(State(behind): State<Behind>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/x-pem-file")], behind.authority.pem())
}

async fn let_in(
    State(behind): State<Behind>,
    ConnectInfo(shown): ConnectInfo<Shown>,
    Body(asked): Body<Signed<Enrol>>,
) -> Result<Json<Certified>, Problem> {
    // It goes on to its end even if whoever asked hangs up: half of it would be known to the store alone.
    let done = tokio::spawn(async move { enrol(&behind.app, &behind.authority, &asked, shown.from).await }).await;
    let done = done.map_err(|error| Problem::internal("letting an executor in", &error))?;
    done.map(Json).map_err(problem)
}

async fn newer(State(behind): State<Behind>, Said(known, asked): Said<Renew>) -> Result<Json<Certified>, Problem> {
    known.is(&behind.app, &asked.executor).await?;
    renew(&behind.app, &behind.authority, &asked, &known.1).await.map(Json).map_err(problem)
}

async fn orders(State(behind): State<Behind>, Said(known, hello): Said<Hello>) -> Result<Json<Batch>, Problem> {
    known.is(&behind.app, &hello.executor).await?;
    Gateway::behind_the_door(behind.app.clone(), known.1).poll(hello).await.map(Json).map_err(refusal)
}

async fn receipt(
    State(behind): State<Behind>,
    Said(known, receipt): Said<Signed<Receipt>>,
) -> Result<StatusCode, Problem> {
    known.is(&behind.app, &receipt.body.executor).await?;
    Gateway::behind_the_door(behind.app.clone(), known.1).receipt(receipt).await.map_err(refusal)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn progress(State(behind): State<Behind>, Said(known, progress): Said<Progress>) -> Result<StatusCode, Problem> {
    // A word about somebody else's order is not told.
    if behind.app.store.order(&progress.order).await?.is_some_and(|order| order.executor == known.0) {
        Gateway::behind_the_door(behind.app.clone(), known.1).progress(progress).await;
    }
    Ok(StatusCode::NO_CONTENT)
}

fn problem(error: EnrolError) -> Problem {
    match error {
        EnrolError::Internal(error) => Problem::internal("letting an executor in", error.as_ref()),
        refused => {
            let hint = refused.hint();
            Problem::new(StatusCode::FORBIDDEN, "not_let_in", "Not let in", refused.to_string()).hint(hint)
        }
    }
}

fn refusal(error: GatewayError) -> Problem {
    match error {
        // Another server may serve it, and the agent goes there.
        GatewayError::OldIssuer { .. } | GatewayError::Elsewhere(_) => {
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "elsewhere", "Not here", error.to_string())
        }
        GatewayError::Stopping => {
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", "The server stops", "ask again in a moment")
        }
        GatewayError::Keys(_) | GatewayError::Read(_) | GatewayError::Commit(_) | GatewayError::Order(_) => {
            Problem::internal("serving an executor", &error)
        }
        refused => Problem::forbidden(refused.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_of_one_address_or_network_share_its_places_and_take_no_others() {
        let at = |text: &str| one(text.parse().unwrap());
        assert_eq!(at("2001:db8:1:2::3"), at("2001:db8:1:2:ffff::9"));
        assert_ne!(at("2001:db8:1:2::3"), at("2001:db8:1:3::3"));
        assert_eq!(at("::ffff:192.0.2.1"), at("192.0.2.1"));
        assert_ne!(at("::ffff:192.0.2.1"), at("::ffff:192.0.2.2"));

        let going = Going::default();
        let mut turns: Vec<Turn> = (0..STRANGERS_EACH).map(|_| going.begin(at("192.0.2.1")).unwrap()).collect();
        assert!(going.begin(at("192.0.2.1")).is_none() && going.begin(at("192.0.2.2")).is_some());
        turns.pop();
        assert!(going.begin(at("192.0.2.1")).is_some());
    }
}
