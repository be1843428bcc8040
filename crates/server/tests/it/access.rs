//! Who may ask: every operation of the API is in here, because the list is read from its own description.

use reqwest::Method;
use serde_json::{Value, json};
use stanch_model::sign::{Signed, SigningKey};
use stanch_server::{Config, GatewayError, Server, StartError};

use crate::double::Host;
use crate::world::{Client, World};

fn quiet() -> Host {
    Host::new("host", &[("paperclip", "3.0.15-1", "3.0.17-1")])
}

fn operations() -> Vec<(Method, String)> {
    let description: Value = serde_json::from_str(&stanch_server::server::openapi_json()).unwrap();
    let mut all = Vec::new();
    for (path, item) in description["paths"].as_object().unwrap() {
        for verb in item.as_object().unwrap().keys() {
            if let Ok(method) = verb.to_uppercase().parse::<Method>()
                && ["GET", "POST", "PUT", "PATCH", "DELETE"].contains(&method.as_str())
            {
                all.push((method, path.replace("{id}", "none").replace("{hash}", "none").replace("{name}", "none")));
            }
        }
    }
    assert!(all.len() > 25, "{all:?}");
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_answers_a_stranger_and_nothing_acts_without_the_token_of_a_page() {
    let world = World::new(quiet()).await;
    let stranger = world.client.stranger();
    let careless = Client { csrf: String::new(), ..world.client.clone() };
    let forger = Client { csrf: "f".repeat(64), ..world.client.clone() };
    for (method, path) in operations() {
        // A hook is opened by a signature, whoever's browser it comes from.
        if path.starts_with("/api/v1/hooks/") {
            for client in [&stranger, &careless, &world.client] {
                let (status, text) = client.send(method.clone(), &path, Some(json!({}))).await;
                assert!(status == 401 && text.contains("\"code\":\"signature\""), "{method} {path}: {status} {text}");
            }
            continue;
        }
        let (status, text) = stranger.send(method.clone(), &path, Some(json!({}))).await;
        // Whether the server is well is said to anybody, and nothing more.
        if path == "/api/v1/health" {
            assert_eq!((status.as_u16(), text.as_str()), (200, r#"{"healthy":true}"#));
            continue;
        }
        assert_eq!(status, 401, "{method} {path}: {text}");
        assert!(text.contains("\"code\":\"unauthenticated\""), "{text}");
        if method != Method::GET {
            for client in [&careless, &forger] {
                let (status, text) = client.send(method.clone(), &path, Some(json!({}))).await;
                assert_eq!(status, 403, "{method} {path}: {text}");
            }
        }
    }
    for page in [
        "/",
        "/items",
        "/remediations",
        "/ledger",
        "/feeds",
        "/items/x",
        "/remediations/x",
        "/people",
        "/connections",
        "/account",
    ] {
        let answer = stranger.raw(&[], page).await;
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["location"]),
            (303, &"/sign-in".parse().unwrap()),
            "{page}"
        );
    }
    let (status, _) = careless.form("/scan", "refresh=false").await;
    assert_eq!(status, 403);
    let (status, to) = careless.form("/scan", &format!("csrf={}", world.client.csrf)).await;
    assert_eq!((status.as_u16(), to.as_str()), (303, "/"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_not_found() {
    let world = World::new(quiet()).await;
    for path in [
        "assets/none",
        "assets/none/facts",
        "assets/none/history",
        "findings/none",
        "items/none",
        "remediations/none",
        "plans/none",
    ] {
        let (status, text) = world.client.send(Method::GET, &format!("/api/v1/{path}"), None).await;
        assert_eq!(status, 404, "{path}: {text}");
        assert!(text.contains("\"code\":\"not_found\""));
    }
    let (status, _) = world.client.send(Method::GET, "/api/v1/nothing", None).await;
    assert_eq!(status, 404);
    let (status, text) = world.client.send(Method::GET, "/api/v1/findings?colour=red", None).await;
    assert_eq!(status, 400, "an unknown filter is told, not ignored: {text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_opens_a_page_and_only_its_form_signs_in_and_only_once() {
    let world = World::new(quiet()).await;
    let link = world.running.as_ref().unwrap().sign_in_link().unwrap().unwrap();
    let (base, token) = link.split_once("/sign-in?token=").unwrap();
    let stranger = world.client.stranger();
    for _ in 0..2 {
        let answer = stranger.raw(&[], &format!("/sign-in?token={token}")).await;
        assert_eq!(answer.status(), 200);
        assert!(answer.headers().get("set-cookie").is_none(), "looking is not signing in");
    }
    let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let post = async |origin: &str| {
        let request = http.post(format!("{base}/sign-in")).header("origin", origin);
        let form = request.header("content-type", "application/x-www-form-urlencoded").body(format!("token={token}"));
        form.send().await.unwrap().status().as_u16()
    };
    assert_eq!(post("http://evil.example").await, 403);
    assert_eq!(post(base).await, 303);
    assert_eq!(post(base).await, 403, "a used token opens nothing");
    world.client.send(Method::POST, "/api/v1/session/sign-out", None).await;
    let (status, _) = world.client.send(Method::GET, "/api/v1/status", None).await;
    assert_eq!(status, 401, "signed out is out");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_not_ours_is_not_answered_and_answers_are_fenced() {
    let world = World::new(quiet()).await;
    let answer = world.client.raw(&[("host", "evil.example"), ("cookie", &world.client.cookie)], "/").await;
    assert_eq!(answer.status(), 421);
    let answer = world.client.raw(&[("cookie", &world.client.cookie)], "/").await;
    let policy = answer.headers()["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
    assert_eq!(answer.headers()["cache-control"], "no-store");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_of_the_machine_asks_over_the_control_socket() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let world = World::new(quiet()).await;
    let mut socket = tokio::net::UnixStream::connect(world.folder.path().join("control.sock")).await.unwrap();
    let request =
        "POST /api/v1/session/links HTTP/1.1\r\nhost: stanch\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 201") && answer.contains("/sign-in?token="), "{answer}");
    let (status, _) = world.client.send(Method::POST, "/api/v1/session/links", None).await;
    assert_eq!(status, 403, "a session cannot let others in");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_server_on_the_same_folder_is_told_who_has_it() {
    let world = World::new(quiet()).await;
    let Err(error) = Server::open(Config::new(world.folder.path())).await else { panic!("two servers") };
    assert!(matches!(error, StartError::Lock(_)));
    let why = std::error::Error::source(&error).unwrap().to_string();
    assert!(why.contains(&format!("process {}", std::process::id())), "{why}");
    assert!(error.hint().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_counts_only_with_the_pinned_key_and_for_an_own_order() {
    let world = World::new(quiet()).await;
    world.items(1).await;
    let gateway = world.running.as_ref().unwrap().gateway();
    let forged = stanch_model::order::Receipt {
        order: stanch_model::id::OrderId::from_entropy([1; 10]),
        executor: world.double.id.clone(),
        position: stanch_model::order::Position::default(),
        at: jiff::Timestamp::now(),
        journal_head: stanch_model::Digest::of_bytes(b""),
        answer: stanch_model::order::Answer::Held { held: false },
    };
    let other = SigningKey::from_seed(&[1; 32]).unwrap();
    let refused = gateway.receipt(Signed::new(forged.clone(), &other).unwrap()).await.unwrap_err();
    assert!(matches!(refused, GatewayError::Signature(_)), "{refused}");
    let refused = gateway.receipt(Signed::new(forged, &world.double.key()).unwrap()).await.unwrap_err();
    assert!(matches!(refused, GatewayError::NoSuchOrder(_)), "{refused}");
    let mut hello = world.double.hello();
    hello.key = other.verifying_key();
    assert!(matches!(gateway.poll(hello).await.unwrap_err(), GatewayError::OtherKey(_)));
}

#[test]
fn the_description_of_the_api_is_the_one_that_was_looked_at() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");
    let now = stanch_server::server::openapi_json() + "\n";
    if std::env::var_os("STANCH_UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(path, &now).unwrap();
    }
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    assert!(kept == now, "the API changed: look at the difference after STANCH_UPDATE_SNAPSHOTS=1 cargo test");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_folder_that_others_can_write_to_is_refused_with_a_hint() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let error = stanch_server::Server::open(stanch_server::Config::new(folder.path())).await.map(drop).unwrap_err();
    assert!(error.to_string().contains("can be written to by others"), "{error}");
    assert!(error.hint().unwrap().contains("chmod go-w"));
}
