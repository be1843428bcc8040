//! Fetching one feed: conditional, resumable, bounded, and honest about what came of it.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::{
    CONTENT_RANGE, ETAG, HeaderMap, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, LAST_MODIFIED, RANGE,
};
use reqwest::{Response, StatusCode, Url, redirect};
use stanch_model::Digest;
use tokio::io::AsyncWriteExt as _;

use super::checksum;
use super::error::FetchError;
use super::place::{Incoming, Place, Validators};
use super::source::{Location, Source};
use super::state::State;

/// Most redirects followed for one request.
const MAX_REDIRECTS: usize = 5;
/// Attempts in one look, each of which must have brought the download further.
const MAX_ATTEMPTS: usize = 4;
/// A checksum file is this large at most.
const MAX_CHECKSUM: u64 = 1 << 20;

/// How feeds are fetched.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// A proxy for every address; without it the system's settings hold.
    pub proxy: Option<String>,
    /// How long connecting may take.
    pub connect_within: Duration,
    /// How long a server may stay silent in the middle of an answer.
    pub silent_for: Duration,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self { proxy: None, connect_within: Duration::from_secs(15), silent_for: Duration::from_secs(60) }
    }
}

/// Fetches feeds.
#[derive(Debug, Clone)]
pub struct Client(reqwest::Client);

/// How far a download is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that are there, with those of an earlier attempt.
    pub received: u64,
    /// Bytes of the whole, where the server says so.
    pub total: Option<u64>,
}

/// What came of looking for a feed.
#[derive(Debug)]
pub enum Outcome {
    /// There is nothing newer.
    Unchanged,
    /// There is something newer, whole and with the right checksum; it waits to be accepted.
    Incoming(Box<Incoming>),
}

impl Client {
    /// A client.
    ///
    /// # Errors
    /// When the proxy or the certificates of this machine cannot be used.
    pub fn new(options: &ClientOptions) -> Result<Self, FetchError> {
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("stanch/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(options.connect_within)
            .read_timeout(options.silent_for)
            .referer(false)
            .redirect(redirect::Policy::custom(follow));
        if let Some(proxy) = &options.proxy {
            builder = builder.proxy(reqwest::Proxy::all(proxy).map_err(FetchError::Client)?);
        }
        builder.build().map(Self).map_err(FetchError::Client)
    }

    /// Looks for a feed once, for the folder of feeds. Whatever happens, the last good one stays in its place.
    ///
    /// # Errors
    /// When it could not be fetched; the failure is noted in its [`State`].
    pub async fn fetch(
        &self,
        source: &Source,
        folder: &Path,
        now: Timestamp,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<Outcome, FetchError> {
        let fetched = self.look(source, folder, now, progress).await;
        if let Err(error) = &fetched {
            let why = std::error::Error::source(error).map(|why| format!(": {why}")).unwrap_or_default();
            State::failed(folder, &source.name, now, &format!("{error}{why}"))?;
        }
        fetched
    }

    async fn look(
        &self,
        source: &Source,
        folder: &Path,
        now: Timestamp,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<Outcome, FetchError> {
        let place = Place::new(folder, &source.name, &source.file)?;
        if let Some(parent) = place.good.parent() {
            std::fs::create_dir_all(parent).map_err(FetchError::file("make the folder", parent))?;
        }
        let validators = match &source.from {
            Location::File(path) => copy(path, source, &place, progress).await?,
            Location::Folder(path) => copy(&path.join(&source.file), source, &place, progress).await?,
            Location::Url(url) => match self.download(url, source, folder, &place, progress).await? {
                Some(validators) => validators,
                None => return unchanged(source, folder, now),
            },
        };
        let hashed = place.clone();
        let (digest, bytes) = blocking(move || hashed.part_digest()).await?;
        if let Some(expected) = self.checksum(source).await?
            && expected != digest
        {
            place.drop_part();
            return Err(FetchError::WrongChecksum { from: validators.url, found: digest, expected });
        }
        if State::load(folder, &source.name).digest == Some(digest) && place.good.is_file() {
            place.drop_part();
            return unchanged(source, folder, now);
        }
        Ok(Outcome::Incoming(Box::new(Incoming { place, digest, bytes, validators })))
    }

    /// Fills the part beside the place; `None` when the server says that nothing changed.
    async fn download(
        &self,
        url: &str,
        source: &Source,
        folder: &Path,
        place: &Place,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<Option<Validators>, FetchError> {
        let url = parse(url)?;
        let mut attempt = 1;
        loop {
            let before = place.begun().map_or(0, |(length, _)| length);
            let failed = match self.attempt(&url, source, folder, place, progress).await {
                Err(error @ (FetchError::Broken { .. } | FetchError::Short { .. } | FetchError::WrongPart { .. })) => {
                    error
                }
                done => return done,
            };
            let further = place.begun().map_or(0, |(length, _)| length) > before;
            let anew = matches!(failed, FetchError::WrongPart { .. }) && attempt == 1;
            if attempt == MAX_ATTEMPTS || !(further || anew) {
                return Err(failed);
            }
            attempt += 1;
        }
    }

    async fn attempt(
        &self,
        url: &Url,
        source: &Source,
        folder: &Path,
        place: &Place,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<Option<Validators>, FetchError> {
        let mut request = self.0.get(url.clone());
        let begun = place.begun().filter(|(length, about)| {
            about.url == shown(url) && about.if_range().is_some() && *length < source.max_bytes
        });
        if let Some((length, about)) = &begun {
            request =
                request.header(RANGE, format!("bytes={length}-")).header(IF_RANGE, about.if_range().unwrap_or(""));
        } else if place.good.is_file() {
            let state = State::load(folder, &source.name);
            if state.url.as_deref() == Some(&*shown(url)) {
                // A tag says more than a time; servers ignore the time when both are sent.
                for (name, value) in [(IF_NONE_MATCH, state.etag), (IF_MODIFIED_SINCE, state.last_modified)] {
                    if let Some(value) = value {
                        request = request.header(name, value);
                    }
                }
            }
        }
        let kept = begun.as_ref().map_or(0, |(length, _)| *length);
        let response = request.send().await.map_err(|error| refused_or_broken(url, kept, error))?;
        let offset = match (response.status(), &begun) {
            (StatusCode::NOT_MODIFIED, None) => return Ok(None),
            (StatusCode::OK, _) => 0,
            (StatusCode::PARTIAL_CONTENT, Some((length, _))) if starts_at(&response) == Some(*length) => *length,
            (StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE, _) => {
                place.drop_part();
                return Err(FetchError::WrongPart { url: shown(url) });
            }
            (status, _) => return Err(FetchError::Status { url: shown(url), status: status.as_u16() }),
        };
        let validators = match begun {
            Some((_, about)) if offset > 0 => about,
            _ => {
                let validators = Validators {
                    url: shown(url),
                    etag: header(response.headers(), ETAG),
                    last_modified: header(response.headers(), LAST_MODIFIED),
                };
                place.begin(&validators)?;
                validators
            }
        };
        receive(response, url, source, place, offset, progress).await?;
        Ok(Some(validators))
    }

    async fn checksum(&self, source: &Source) -> Result<Option<Digest>, FetchError> {
        let file = source.file.rsplit('/').next().unwrap_or(&source.file);
        let (text, from) = match &source.checksum {
            None => return Ok(None),
            Some(Location::File(path)) => (read_small(path)?, path.display().to_string()),
            Some(Location::Folder(path)) => {
                let path = path.join(format!("{}.sha256", source.file));
                (read_small(&path)?, path.display().to_string())
            }
            Some(Location::Url(address)) => {
                let url = parse(address)?;
                (self.small(&url).await?, shown(&url))
            }
        };
        match checksum::read(&text, file) {
            Some(digest) => Ok(Some(digest)),
            None => Err(FetchError::NoChecksum { from }),
        }
    }

    async fn small(&self, url: &Url) -> Result<String, FetchError> {
        let broken = |error| refused_or_broken(url, 0, error);
        let mut response = self.0.get(url.clone()).send().await.map_err(broken)?;
        if response.status() != StatusCode::OK {
            return Err(FetchError::Status { url: shown(url), status: response.status().as_u16() });
        }
        let mut text = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(broken)? {
            text.extend_from_slice(&chunk);
            if text.len() as u64 > MAX_CHECKSUM {
                return Err(FetchError::TooLarge { from: shown(url), limit: MAX_CHECKSUM });
            }
        }
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

fn unchanged(source: &Source, folder: &Path, now: Timestamp) -> Result<Outcome, FetchError> {
    let mut state = State::load(folder, &source.name);
    state.tried_at = Some(now);
    state.checked_at = Some(now);
    state.failures = 0;
    state.failure = None;
    state.save(folder, &source.name)?;
    Ok(Outcome::Unchanged)
}

/// Writes the body of an answer behind what is there already.
async fn receive(
    mut response: Response,
    url: &Url,
    source: &Source,
    place: &Place,
    offset: u64,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<(), FetchError> {
    let total = response.content_length().map(|length| length.saturating_add(offset));
    let too_large = || {
        place.drop_part();
        FetchError::TooLarge { from: shown(url), limit: source.max_bytes }
    };
    if total.is_some_and(|total| total > source.max_bytes) {
        return Err(too_large());
    }
    let failed = |operation| FetchError::file(operation, &place.part);
    let mut file =
        tokio::fs::OpenOptions::new().create(true).append(true).open(&place.part).await.map_err(failed("write"))?;
    let mut received = offset;
    progress(Progress { received, total });
    let ended = loop {
        match response.chunk().await {
            Ok(Some(chunk)) => {
                received += chunk.len() as u64;
                if received > source.max_bytes {
                    return Err(too_large());
                }
                file.write_all(&chunk).await.map_err(failed("write"))?;
                progress(Progress { received, total });
            }
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    file.sync_all().await.map_err(failed("write"))?;
    ended.map_err(|source| FetchError::Broken { url: shown(url), received, source })?;
    match total {
        Some(expected) if received != expected => Err(FetchError::Short { url: shown(url), received, expected }),
        _ => Ok(()),
    }
}

async fn copy(
    from: &Path,
    source: &Source,
    place: &Place,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Validators, FetchError> {
    let about = std::fs::metadata(from).map_err(FetchError::file("look at", from))?;
    if !about.is_file() {
        let why = "it is not a file";
        return Err(FetchError::Unusable { what: "the source", text: from.display().to_string(), why });
    }
    if about.len() > source.max_bytes {
        return Err(FetchError::TooLarge { from: from.display().to_string(), limit: source.max_bytes });
    }
    place.drop_part();
    let (path, part) = (from.to_owned(), place.part.clone());
    let received = blocking(move || {
        let read = std::fs::File::open(&path).map_err(FetchError::file("read", &path))?;
        let mut write = std::fs::File::create(&part).map_err(FetchError::file("write", &part))?;
        // The file may grow while it is read: no more than its size is taken.
        let copied = std::io::copy(&mut std::io::Read::take(read, about.len()), &mut write);
        let copied = copied.map_err(FetchError::file("copy", &path))?;
        write.sync_all().map_err(FetchError::file("write", &part))?;
        Ok(copied)
    })
    .await?;
    progress(Progress { received, total: Some(received) });
    Ok(Validators { url: format!("file:{}", from.display()), ..Validators::default() })
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, FetchError> + Send + 'static,
) -> Result<T, FetchError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        Err(FetchError::File {
            operation: "read or write",
            path: "the feed".into(),
            source: std::io::Error::other(error.to_string()),
        })
    })
}

fn read_small(path: &Path) -> Result<String, FetchError> {
    let about = std::fs::metadata(path).map_err(FetchError::file("look at", path))?;
    if about.len() > MAX_CHECKSUM {
        return Err(FetchError::TooLarge { from: path.display().to_string(), limit: MAX_CHECKSUM });
    }
    std::fs::read_to_string(path).map_err(FetchError::file("read", path))
}

fn parse(text: &str) -> Result<Url, FetchError> {
    let unusable = |text: String, why| FetchError::Unusable { what: "the address", text, why };
    // What cannot be taken apart cannot be shown either: it may hold a password.
    let url: Url = text.parse().map_err(|_| unusable("...".to_owned(), "it is not an address"))?;
    if !matches!(url.scheme(), "https" | "http") {
        return Err(unusable(shown(&url), "it must begin with https:// or http://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(unusable(shown(&url), "it must not hold a password: addresses are shown and logged"));
    }
    Ok(url)
}

/// An address as it may be shown: without user, password and query, which may be secrets.
fn shown(url: &Url) -> String {
    let mut url = url.clone();
    let hidden = url.query().is_some();
    url.set_query(None);
    url.set_fragment(None);
    // Both refuse only addresses that can hold neither.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    if hidden { format!("{url}?...") } else { url.to_string() }
}

fn header(headers: &HeaderMap, name: reqwest::header::HeaderName) -> Option<String> {
    headers.get(name)?.to_str().ok().filter(|value| value.len() <= 1024).map(ToOwned::to_owned)
}

/// The first byte of a partial answer.
fn starts_at(response: &Response) -> Option<u64> {
    let range = response.headers().get(CONTENT_RANGE)?.to_str().ok()?;
    range.strip_prefix("bytes ")?.split_once('-')?.0.parse().ok()
}

/// Why a redirect is not followed; carried through the client as an error.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
struct Refused {
    to: String,
    why: &'static str,
}

fn follow(attempt: redirect::Attempt<'_>) -> redirect::Action {
    let to = attempt.url().clone();
    let why = match attempt.previous().last() {
        _ if attempt.previous().len() > MAX_REDIRECTS => Some("too many redirects"),
        Some(from) => refusal(from, &to),
        None => None,
    };
    match why {
        Some(why) => attempt.error(Refused { to: shown(&to), why }),
        None => attempt.follow(),
    }
}

/// Why a redirect may not be followed.
fn refusal(from: &Url, to: &Url) -> Option<&'static str> {
    let same_host = from.host_str() == to.host_str() && from.port_or_known_default() == to.port_or_known_default();
    match (from.scheme(), to.scheme()) {
        ("https", "https") | ("http", "https") => None,
        ("http", "http") if same_host => None,
        ("http", "http") => Some("another host, without encryption"),
        ("https", "http") => Some("it gives up encryption"),
        _ => Some("another kind of address"),
    }
}

fn refused_or_broken(url: &Url, received: u64, error: reqwest::Error) -> FetchError {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = std::error::Error::source(&error);
    while let Some(one) = cause {
        if let Some(refused) = one.downcast_ref::<Refused>() {
            return FetchError::Redirect { url: shown(url), to: refused.to.clone(), why: refused.why };
        }
        cause = one.source();
    }
    FetchError::Broken { url: shown(url), received, source: error }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(from: &str, to: &str) -> Option<&'static str> {
        refusal(&from.parse().unwrap(), &to.parse().unwrap())
    }

    #[test]
    fn a_redirect_never_gives_up_encryption_or_the_host_of_a_plain_address() {
        assert_eq!(check("https://a.example/x", "https://b.example/y"), None);
        assert_eq!(check("http://a.example/x", "https://b.example/y"), None);
        assert_eq!(check("http://a.example/x", "http://a.example/y"), None);
        assert!(check("https://a.example/x", "http://a.example/x").is_some());
        assert!(check("http://a.example/x", "http://b.example/x").is_some());
        assert!(check("http://a.example/x", "http://a.example:8080/x").is_some());
        assert!(check("https://a.example/x", "ftp://a.example/x").is_some());
    }

    #[test]
    fn an_address_with_a_password_is_refused_without_repeating_it() {
        let error = parse("https://me:secret@a.example/x").unwrap_err();
        assert!(matches!(error, FetchError::Unusable { .. }));
        assert!(!error.to_string().contains("secret"), "{error}");
    }

    #[test]
    fn a_token_in_an_address_is_never_shown() {
        assert_eq!(shown(&parse("https://a.example/x?token=secret").unwrap()), "https://a.example/x?...");
    }
}
