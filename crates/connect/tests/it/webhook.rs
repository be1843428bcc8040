//! Messages to an address that somebody set up: signed, and never into a network that is not meant.

use jiff::Timestamp;
use stanch_connect::webhook::{Secret, Settings, SignatureError, WebhookError, send, verify};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn secret() -> Secret {
    Secret::new("s3cret".into())
}

fn settings(url: &str, allow: &[&str]) -> Settings {
    Settings { url: url.into(), allow: allow.iter().map(|one| one.parse().unwrap()).collect() }
}

/// A receiver that answers once; gives what it heard.
async fn receiver(answer: &'static str) -> (String, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://127.0.0.1:{}/hook", listener.local_addr().unwrap().port());
    let heard = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut text = Vec::new();
        loop {
            let mut part = [0; 4096];
            let read = stream.read(&mut part).await.unwrap();
            text.extend_from_slice(&part[..read]);
            let whole = String::from_utf8(text.clone()).unwrap();
            if read == 0 || whole.split_once("\r\n\r\n").is_some_and(|(_, body)| body.ends_with('}')) {
                stream.write_all(answer.as_bytes()).await.unwrap();
                return whole;
            }
        }
    });
    (url, heard)
}

#[tokio::test]
async fn a_message_arrives_with_a_signature_that_its_receiver_can_check() {
    let (url, heard) = receiver("HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").await;
    send(&settings(&url, &["127.0.0.0/8"]), &secret(), "n1", br#"{"a":1}"#.to_vec(), now()).await.unwrap();
    let heard = heard.await.unwrap();
    let (head, body) = heard.split_once("\r\n\r\n").unwrap();
    let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
    assert_eq!(header("stanch-notice:"), "n1");
    let signature = header("stanch-signature:");
    assert_eq!(verify(&secret(), &signature, body.as_bytes(), now()), Ok(()));
    assert_eq!(verify(&secret(), &signature, b"{}", now()), Err(SignatureError::Wrong));
}

#[tokio::test]
async fn what_is_not_public_is_not_reached_unless_it_was_allowed() {
    for url in [
        "https://127.0.0.1:9/x",
        "https://localhost:9/x",
        "https://[::1]:9/x",
        "https://[::ffff:127.0.0.1]:9/x",
        "https://10.0.0.1/x",
        "https://2130706433/x",
        "https://0x7f.1/x",
        "https://0/x",
    ] {
        let refused = send(&settings(url, &[]), &secret(), "n1", b"{}".to_vec(), now()).await.unwrap_err();
        assert!(matches!(refused, WebhookError::Private { .. }), "{url}: {refused:?}");
    }
    // Where clouds hand out credentials is refused even when somebody allowed it.
    let metadata = settings("https://169.254.169.254/latest", &["169.254.0.0/16"]);
    let refused = send(&metadata, &secret(), "n1", b"{}".to_vec(), now()).await.unwrap_err();
    assert!(matches!(refused, WebhookError::Private { .. }), "{refused:?}");
    // One allowed network does not allow another.
    let other = settings("https://127.0.0.1:9/x", &["10.0.0.0/8"]);
    assert!(matches!(
        send(&other, &secret(), "n1", b"{}".to_vec(), now()).await.unwrap_err(),
        WebhookError::Private { .. }
    ));
}

#[tokio::test]
async fn an_open_line_goes_to_an_allowed_network_only() {
    for bad in ["http://hooks.example.org/x", "ftp://hooks.example.org", "https://u:p@hooks.example.org/x", "hooks", ""]
    {
        assert!(settings(bad, &[]).check().is_err(), "{bad}");
    }
    settings("https://hooks.example.org/x?y=1", &[]).check().unwrap();
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_a_refusal_is_told_from_a_delay() {
    let elsewhere = "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\nconnection: close\r\n\r\n";
    for (answer, is_final) in [
        (elsewhere, false),
        ("HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n", true),
        ("HTTP/1.1 429 Slow\r\nconnection: close\r\n\r\n", false),
        ("HTTP/1.1 503 Busy\r\nconnection: close\r\n\r\n", false),
    ] {
        let (url, heard) = receiver(answer).await;
        let refused = send(&settings(&url, &["127.0.0.0/8"]), &secret(), "n1", b"{}".to_vec(), now()).await;
        let refused = refused.unwrap_err();
        assert!(matches!(refused, WebhookError::Refused(_)), "{answer}: {refused:?}");
        assert_eq!(refused.is_final(), is_final, "{answer}");
        heard.await.unwrap();
    }
}
