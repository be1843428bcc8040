//! Letters through a real mail server (aiosmtpd): on a private line, with a sign-in, and refused.

use std::io::{BufRead as _, BufReader, Lines};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use jiff::Timestamp;
use serde_json::Value;
use stanch_connect::smtp::{Letter, Security, Settings, SmtpError, send};

/// A mail server; ends with the test.
struct Server {
    child: Child,
    letters: Lines<BufReader<ChildStdout>>,
    port: u16,
    authority: String,
    _folder: tempfile::TempDir,
}

impl Server {
    fn start(mode: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
        certify(&certificate, &key);
        // Debian's own Python, which has Debian's aiosmtpd.
        let mut child = Command::new("/usr/bin/python3")
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/smtpd.py"))
            .args([Path::new(mode), &certificate, &key])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut letters = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = letters.next().expect("a mail server: Debian package python3-aiosmtpd").unwrap().parse().unwrap();
        let authority = std::fs::read_to_string(certificate).unwrap();
        Self { child, letters, port, authority, _folder: folder }
    }

    fn settings(&self, security: Security) -> Settings {
        Settings {
            host: "localhost".into(),
            port: self.port,
            security,
            user: (security != Security::None).then(|| "stanch".into()),
            from: "Stanch <stanch@example.org>".into(),
            authority: Some(self.authority.clone()),
        }
    }

    fn letter(&mut self) -> Value {
        serde_json::from_str(&self.letters.next().unwrap().unwrap()).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn certify(certificate: &Path, key: &Path) {
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"])
        // Its own authority, and not one for others.
        .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .arg("-keyout")
        .arg(key)
        .arg("-out")
        .arg(certificate)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

fn letter(id: &str) -> Letter {
    Letter {
        id: id.into(),
        subject: "A plan waits: grüße\r\nBcc: mallory@example.org".into(),
        text: "What: openssl\nWhere: web-1\n.\nend".into(),
        at: Timestamp::from_second(1_800_000_000).unwrap(),
    }
}

const PASSWORD: Option<&str> = Some("hunter2 with words");

fn to(address: &str) -> Vec<String> {
    vec![address.to_owned()]
}

#[tokio::test]
async fn a_letter_arrives_whole_over_a_private_line_with_a_sign_in() {
    for (mode, security) in [("starttls", Security::Starttls), ("tls", Security::Tls)] {
        let mut server = Server::start(mode);
        let two = ["ada@example.org".to_owned(), "ben@example.org".to_owned()];
        send(&server.settings(security), PASSWORD, &two, &letter("n1")).await.unwrap();
        let got = server.letter();
        assert_eq!((&got["tls"], &got["user"]), (&Value::Bool(true), &"stanch".into()), "{mode}: {got}");
        assert_eq!(got["to"], serde_json::json!(["ada@example.org", "ben@example.org"]));
        let content = got["content"].as_str().unwrap();
        assert!(content.contains("Message-ID: <n1@example.org>") && content.contains("\r\n.\r\nend"), "{content}");
        assert!(!content.contains("ada@") && !content.lines().any(|line| line.starts_with("Bcc")), "{content}");
    }
}

#[tokio::test]
async fn nothing_is_said_to_a_server_that_cannot_prove_its_name() {
    let server = Server::start("starttls");
    let stranger = Settings { authority: None, ..server.settings(Security::Starttls) };
    let error = send(&stranger, PASSWORD, &to("ada@example.org"), &letter("n1")).await.unwrap_err();
    assert!(matches!(error, SmtpError::Unreachable(_)), "{error:?}");
    let other = Settings { host: "127.0.0.1".into(), ..server.settings(Security::Starttls) };
    assert!(send(&other, PASSWORD, &to("ada@example.org"), &letter("n1")).await.is_err(), "another name");
}

#[tokio::test]
async fn a_server_without_tls_gets_no_password_and_no_letter() {
    let server = Server::start("plain");
    let error = send(&server.settings(Security::Starttls), PASSWORD, &to("ada@example.org"), &letter("n1")).await;
    assert!(error.is_err(), "what was to be private is not sent in the open");
    let mut server = server;
    send(&server.settings(Security::None), None, &to("ada@example.org"), &letter("n2")).await.unwrap();
    assert_eq!(server.letter()["tls"], Value::Bool(false), "the first one never came");
}

#[tokio::test]
async fn what_is_refused_for_good_is_told_from_what_may_work_later() {
    let server = Server::start("starttls");
    let settings = server.settings(Security::Starttls);
    let refused = send(&settings, PASSWORD, &to("nobody@example.org"), &letter("n1")).await.unwrap_err();
    assert!(refused.is_final(), "{refused:?}");
    let later = send(&settings, PASSWORD, &to("later@example.org"), &letter("n1")).await.unwrap_err();
    assert!(!later.is_final(), "{later:?}");
    let wrong = send(&settings, Some("wrong"), &to("ada@example.org"), &letter("n1")).await.unwrap_err();
    assert!(wrong.is_final(), "{wrong:?}");
    let port = server.port;
    drop(server);
    let gone = Settings { port, ..settings };
    assert!(!send(&gone, PASSWORD, &to("ada@example.org"), &letter("n1")).await.unwrap_err().is_final());
}
