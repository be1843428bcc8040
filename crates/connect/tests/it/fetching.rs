use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use stanch_connect::feeds::{Client, ClientOptions, FetchError, Location, Outcome, Progress, Source, State};
use stanch_model::Digest;

use crate::server::{Answer, Server};

const FEED: &[u8] = b"the advisories of a whole world, which take a while to arrive";

fn now() -> Timestamp {
    "2026-11-23T12:00:00Z".parse().unwrap()
}

fn source(from: Location) -> Source {
    Source {
        name: "kev".to_owned(),
        file: "kev/feed.json".to_owned(),
        from,
        checksum: None,
        every: SignedDuration::from_hours(4),
        max_bytes: 1000,
    }
}

fn at(server: &Server) -> Source {
    source(Location::Url(server.url("/feed.json")))
}

async fn fetch(source: &Source, folder: &Path) -> Result<Outcome, FetchError> {
    Client::new(&ClientOptions::default()).unwrap().fetch(source, folder, now(), &mut |_| {}).await
}

async fn fetch_and_accept(source: &Source, folder: &Path) -> PathBuf {
    match fetch(source, folder).await.unwrap() {
        Outcome::Incoming(incoming) => incoming.accept(now()).unwrap(),
        Outcome::Unchanged => panic!("nothing came"),
    }
}

fn good(folder: &Path) -> Option<Vec<u8>> {
    std::fs::read(folder.join("kev/feed.json")).ok()
}

#[tokio::test]
async fn a_feed_takes_its_place_only_when_it_is_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::new(vec![Answer::new("200 OK", FEED)]).await;
    let Outcome::Incoming(incoming) = fetch(&at(&server), folder.path()).await.unwrap() else { panic!() };
    assert_eq!(good(folder.path()), None);
    assert_eq!(incoming.digest(), Digest::of_bytes(FEED));
    assert_eq!(std::fs::read(incoming.path()).unwrap(), FEED);
    incoming.accept(now()).unwrap();
    assert_eq!(good(folder.path()).as_deref(), Some(FEED));
    let left: Vec<_> = std::fs::read_dir(folder.path().join("kev")).unwrap().collect();
    assert_eq!(left.len(), 1, "nothing is left beside it");
}

#[tokio::test]
async fn the_last_good_one_stays_when_the_next_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::new(vec![Answer::new("200 OK", FEED), Answer::new("200 OK", b"an error page")]).await;
    fetch_and_accept(&at(&server), folder.path()).await;
    let Outcome::Incoming(incoming) = fetch(&at(&server), folder.path()).await.unwrap() else { panic!() };
    incoming.refuse(now(), "not the JSON of this kind of feed").unwrap();
    assert_eq!(good(folder.path()).as_deref(), Some(FEED));
    let state = State::load(folder.path(), "kev");
    assert_eq!((state.failures, state.digest), (1, Some(Digest::of_bytes(FEED))));
}

#[tokio::test]
async fn what_has_not_changed_is_not_fetched_again() {
    let folder = tempfile::tempdir().unwrap();
    let answer =
        Answer::new("200 OK", FEED).header("ETag", "\"one\"").header("Last-Modified", "Mon, 23 Nov 2026 00:00:00 GMT");
    let server = Server::new(vec![answer, Answer::new("304 Not Modified", b"")]).await;
    fetch_and_accept(&at(&server), folder.path()).await;
    assert!(matches!(fetch(&at(&server), folder.path()).await.unwrap(), Outcome::Unchanged));
    let second = &server.requests()[1];
    assert!(
        second.contains("if-none-match: \"one\"") && second.contains("if-modified-since: mon, 23 nov 2026"),
        "{second}"
    );
    assert_eq!(State::load(folder.path(), "kev").checked_at, Some(now()));
}

#[tokio::test]
async fn the_same_bytes_again_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::new(vec![Answer::new("200 OK", FEED)]).await;
    fetch_and_accept(&at(&server), folder.path()).await;
    assert!(matches!(fetch(&at(&server), folder.path()).await.unwrap(), Outcome::Unchanged));
}

#[tokio::test]
async fn a_download_that_broke_off_goes_on_where_it_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let range = format!("bytes 20-{}/{}", FEED.len() - 1, FEED.len());
    let server = Server::new(vec![
        Answer::new("200 OK", FEED).header("ETag", "\"one\"").cut(20),
        Answer::new("206 Partial Content", &FEED[20..]).header("Content-Range", &range),
    ])
    .await;
    let mut seen = Vec::new();
    let client = Client::new(&ClientOptions::default()).unwrap();
    let outcome = client.fetch(&at(&server), folder.path(), now(), &mut |progress| seen.push(progress)).await.unwrap();
    let Outcome::Incoming(incoming) = outcome else { panic!() };
    assert_eq!(incoming.digest(), Digest::of_bytes(FEED));
    let second = &server.requests()[1];
    assert!(second.contains("range: bytes=20-") && second.contains("if-range: \"one\""), "{second}");
    let whole = FEED.len() as u64;
    assert_eq!(seen.last(), Some(&Progress { received: whole, total: Some(whole) }));
}

#[tokio::test]
async fn a_download_goes_on_in_a_later_look_too() {
    let folder = tempfile::tempdir().unwrap();
    let range = format!("bytes 20-{}/{}", FEED.len() - 1, FEED.len());
    let rest = Answer::new("206 Partial Content", &FEED[20..]).header("Content-Range", &range);
    let first = Answer::new("200 OK", FEED).header("ETag", "\"one\"").cut(20);
    // The second attempt brings nothing, so the first look ends there.
    let server = Server::new(vec![first, rest.clone().cut(0), rest]).await;
    assert!(matches!(fetch(&at(&server), folder.path()).await, Err(FetchError::Broken { received: 20, .. })));
    assert_eq!(State::load(folder.path(), "kev").failures, 1);
    assert_eq!(good(folder.path()), None);
    let Outcome::Incoming(incoming) = fetch(&at(&server), folder.path()).await.unwrap() else { panic!() };
    assert_eq!(incoming.digest(), Digest::of_bytes(FEED));
}

#[tokio::test]
async fn a_file_that_changed_in_the_meantime_begins_anew() {
    let folder = tempfile::tempdir().unwrap();
    let other = b"another edition altogether, from the beginning to the end";
    let server = Server::new(vec![
        Answer::new("200 OK", FEED).header("ETag", "\"one\"").cut(20),
        Answer::new("200 OK", other).header("ETag", "\"two\""),
    ])
    .await;
    let Outcome::Incoming(incoming) = fetch(&at(&server), folder.path()).await.unwrap() else { panic!() };
    assert_eq!(incoming.digest(), Digest::of_bytes(other));
}

#[tokio::test]
async fn a_part_that_was_not_asked_for_is_never_joined() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::new(vec![
        Answer::new("200 OK", FEED).header("ETag", "\"one\"").cut(20),
        Answer::new("206 Partial Content", &FEED[30..]).header("Content-Range", "bytes 30-59/60"),
    ])
    .await;
    assert!(matches!(fetch(&at(&server), folder.path()).await, Err(FetchError::WrongPart { .. })));
    assert_eq!(good(folder.path()), None);
}

#[tokio::test]
async fn without_a_validator_nothing_is_continued() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::new(vec![Answer::new("200 OK", FEED).cut(20), Answer::new("200 OK", FEED)]).await;
    let Outcome::Incoming(incoming) = fetch(&at(&server), folder.path()).await.unwrap() else { panic!() };
    assert_eq!(incoming.digest(), Digest::of_bytes(FEED));
    assert!(!server.requests()[1].contains("range:"));
}

#[tokio::test]
async fn a_wrong_checksum_refuses_the_feed_and_keeps_the_last_good_one() {
    let folder = tempfile::tempdir().unwrap();
    let first = Server::new(vec![Answer::new("200 OK", FEED)]).await;
    fetch_and_accept(&at(&first), folder.path()).await;

    let second = Server::new(vec![Answer::new("200 OK", b"a forged feed")]).await;
    let sums = Server::new(vec![Answer::new(
        "200 OK",
        format!("{}  feed.json\n", Digest::of_bytes(b"the true feed")).as_bytes(),
    )])
    .await;
    let checked = Source { checksum: Some(Location::Url(sums.url("/feed.json.sha256"))), ..at(&second) };
    let error = fetch(&checked, folder.path()).await.unwrap_err();
    assert!(matches!(error, FetchError::WrongChecksum { .. }), "{error}");
    assert_eq!(good(folder.path()).as_deref(), Some(FEED));
    assert!(!folder.path().join("kev/feed.json.part").exists());
}

#[tokio::test]
async fn a_right_checksum_lets_the_feed_in() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::new(vec![Answer::new("200 OK", FEED)]).await;
    let sums = Server::new(vec![Answer::new("200 OK", Digest::of_bytes(FEED).to_string().as_bytes())]).await;
    let checked = Source { checksum: Some(Location::Url(sums.url("/sum"))), ..at(&server) };
    fetch_and_accept(&checked, folder.path()).await;
}

#[tokio::test]
async fn a_checksum_that_cannot_be_had_refuses_the_feed() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::new(vec![Answer::new("200 OK", FEED)]).await;
    let sums = Server::new(vec![Answer::new("404 Not Found", b"")]).await;
    let checked = Source { checksum: Some(Location::Url(sums.url("/sum"))), ..at(&server) };
    assert!(matches!(fetch(&checked, folder.path()).await, Err(FetchError::Status { status: 404, .. })));
}

#[tokio::test]
async fn more_than_the_limit_is_refused_announced_or_not() {
    let folder = tempfile::tempdir().unwrap();
    let large = vec![b'x'; 2000];
    let announced = Server::new(vec![Answer::new("200 OK", &large)]).await;
    assert!(matches!(fetch(&at(&announced), folder.path()).await, Err(FetchError::TooLarge { limit: 1000, .. })));
    let mut chunked = Vec::new();
    for chunk in large.chunks(500) {
        chunked.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        chunked.extend_from_slice(chunk);
        chunked.extend_from_slice(b"\r\n");
    }
    chunked.extend_from_slice(b"0\r\n\r\n");
    let streamed = Server::new(vec![Answer::new("200 OK", &chunked).header("Transfer-Encoding", "chunked")]).await;
    assert!(matches!(fetch(&at(&streamed), folder.path()).await, Err(FetchError::TooLarge { limit: 1000, .. })));
    assert_eq!(good(folder.path()), None);
}

#[tokio::test]
async fn a_redirect_to_another_host_without_encryption_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let other = Server::new(vec![Answer::new("200 OK", b"from elsewhere")]).await;
    let server = Server::new(vec![Answer::new("302 Found", b"").header("Location", &other.url("/feed.json"))]).await;
    let error = fetch(&at(&server), folder.path()).await.unwrap_err();
    assert!(matches!(error, FetchError::Redirect { .. }), "{error}");
    assert!(other.requests().is_empty());
}

#[tokio::test]
async fn a_redirect_on_the_same_host_is_followed() {
    let folder = tempfile::tempdir().unwrap();
    let server =
        Server::new(vec![Answer::new("302 Found", b"").header("Location", "/newer.json"), Answer::new("200 OK", FEED)])
            .await;
    fetch_and_accept(&at(&server), folder.path()).await;
    assert!(server.requests()[1].starts_with("get /newer.json"));
}

#[tokio::test]
async fn a_server_that_fails_leaves_a_trace_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::new(vec![Answer::new("503 Service Unavailable", b"later")]).await;
    for times in 1..=3 {
        assert!(matches!(fetch(&at(&server), folder.path()).await, Err(FetchError::Status { status: 503, .. })));
        let state = State::load(folder.path(), "kev");
        assert_eq!(state.failures, times);
        assert!(state.failure.unwrap().contains("answered 503"));
    }
    assert_eq!(good(folder.path()), None);
}

#[tokio::test]
async fn a_proxy_gets_the_request() {
    let folder = tempfile::tempdir().unwrap();
    let proxy = Server::new(vec![Answer::new("200 OK", FEED)]).await;
    let options = ClientOptions { proxy: Some(proxy.url("/")), ..ClientOptions::default() };
    let source = source(Location::Url("http://feeds.invalid/feed.json".to_owned()));
    let outcome = Client::new(&options).unwrap().fetch(&source, folder.path(), now(), &mut |_| {}).await.unwrap();
    assert!(matches!(outcome, Outcome::Incoming(_)));
    assert!(proxy.requests()[0].starts_with("get http://feeds.invalid/feed.json"));
}

#[tokio::test]
async fn a_folder_and_a_file_on_this_machine_are_sources_too() {
    let (folder, mirror) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::create_dir(mirror.path().join("kev")).unwrap();
    std::fs::write(mirror.path().join("kev/feed.json"), FEED).unwrap();
    let from_folder = source(Location::Folder(mirror.path().to_owned()));
    fetch_and_accept(&from_folder, folder.path()).await;
    let from_file = source(Location::File(mirror.path().join("kev/feed.json")));
    assert!(matches!(fetch(&from_file, folder.path()).await.unwrap(), Outcome::Unchanged));

    std::fs::write(mirror.path().join("kev/feed.json.sha256"), Digest::of_bytes(b"other").to_string()).unwrap();
    let checked = Source { checksum: Some(Location::Folder(mirror.path().to_owned())), ..from_folder };
    assert!(matches!(fetch(&checked, folder.path()).await, Err(FetchError::WrongChecksum { .. })));
    assert_eq!(good(folder.path()).as_deref(), Some(FEED));
}

#[tokio::test]
async fn a_place_outside_the_folder_of_feeds_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for file in ["../kev.json", "/etc/kev.json", "kev/../../x", ""] {
        let bad = Source { file: file.to_owned(), ..source(Location::File("/etc/hostname".into())) };
        assert!(matches!(fetch(&bad, folder.path()).await, Err(FetchError::Unusable { .. })), "{file}");
    }
}
