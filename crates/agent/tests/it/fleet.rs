//! A host of a fleet and its server, over real TLS: how it gets in, and who does not.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use stanch_agent::fleet::{HttpsLink, Identity};
use stanch_model::enrol::EnrolmentToken;
use stanch_model::order::Hello;
use stanch_runner::Link as _;
use stanch_testkit::site::Site;
use stanch_testkit::wait_until;

const PATIENCE: Duration = Duration::from_secs(60);

/// A server with a door, and what agents there are of it.
struct Fleet {
    site: Site,
    // Everything else lives in it.
    _runtime: tokio::runtime::Runtime,
}

impl Fleet {
    fn new() -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        Self { site: Site::with_door(&runtime).unwrap(), _runtime: runtime }
    }

    fn token(&self, name: &str, more: Value) -> String {
        let mut wanted = json!({ "name": name });
        wanted.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
        let made = self.site.visitor.post("/api/v1/enrolments", wanted).unwrap();
        assert_eq!(made["server"], self.site.door().unwrap());
        made["token"].as_str().unwrap().to_owned()
    }

    fn enrol(&self, folder: &Path, token: &str) -> Output {
        agent(folder)
            .args(["enrol", "--server", &self.site.door().unwrap()])
            .env("STANCH_ENROL_TOKEN", token)
            .output()
            .unwrap()
    }

    fn executors(&self) -> Vec<Value> {
        self.site.visitor.get("/api/v1/executors").unwrap().as_array().unwrap().clone()
    }

    fn ledger(&self, kind: &str) -> Vec<Value> {
        let page = self.site.visitor.get("/api/v1/ledger?limit=500").unwrap();
        let all = page["entries"].as_array().unwrap().clone();
        all.into_iter().filter(|entry| entry["event"] == kind || entry["kind"] == kind).collect()
    }
}

fn agent(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stanch-agent"));
    command.arg("--folder").arg(folder).env_remove("HTTPS_PROXY").env_remove("https_proxy").env_remove("ALL_PROXY");
    command
}

/// An agent at work; it ends with the test.
struct AtWork(Child);

impl AtWork {
    fn begin(folder: &Path) -> Self {
        Self(agent(folder).arg("run").stderr(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// What an agent of this identity says of itself, as far as the door is concerned.
fn hello_as(executor: &str) -> Hello {
    serde_json::from_value(json!({
        "executor": executor,
        "key": "00".repeat(32),
        "asset": { "id": "asset-0000000000000000", "kind": "host", "name": "any", "environment": null, "tier": null,
            "classification": null, "owner": null, "labels": {} },
        "position": { "epoch": 0, "generation": 0 },
        "actions": [], "boot_id": "any", "counter": 1, "journal_head": "00".repeat(32), "nonce": 1,
    }))
    .unwrap()
}

#[test]
fn a_host_enrols_with_a_token_reports_and_is_only_looked_at_until_it_is_confirmed() {
    let fleet = Fleet::new();
    let folder = tempfile::tempdir().unwrap();
    let token = fleet.token("web", json!({ "host": { "environment": "prod", "labels": { "ring": "1" } } }));
    let enrolled = fleet.enrol(folder.path(), &token);
    assert!(enrolled.status.success(), "{}", said(&enrolled));
    let identity = Identity::load(folder.path()).unwrap();
    assert!(!said(&enrolled).contains(identity.key.lines().nth(1).unwrap()), "its key is told to nobody");

    let _agent = AtWork::begin(folder.path());
    wait_until("its facts are judged", PATIENCE, || {
        let assets = fleet.site.visitor.get("/api/v1/assets")?;
        Ok(assets[0]["judged_at"].is_string())
    })
    .unwrap();
    let assets = fleet.site.visitor.get("/api/v1/assets").unwrap();
    assert_eq!((&assets[0]["environment"], &assets[0]["labels"]["ring"]), (&json!("prod"), &json!("1")));
    let executor = fleet.executors().remove(0);
    assert_eq!((&executor["connected"], &executor["confirmed"]), (&json!(true), &json!(false)));
    let id = executor["id"].as_str().unwrap();
    let in_state = |state: &str| {
        let assets = fleet.site.visitor.get(&format!("/api/v1/assets?state={state}")).unwrap();
        assets.as_array().unwrap().len()
    };
    assert_eq!((in_state("unconfirmed"), in_state("connected")), (1, 0));
    assert_eq!(assets[0]["executor"]["version"], env!("CARGO_PKG_VERSION"), "{assets:#}");
    fleet.site.visitor.post(&format!("/api/v1/executors/{id}/confirm"), json!({})).unwrap();
    assert_eq!(fleet.executors()[0]["confirmed"], true);
    assert_eq!((in_state("unconfirmed"), in_state("connected")), (0, 1));
    assert_eq!(fleet.ledger("executor_enrolled").len(), 1);

    // Put out, it is out at once; and a person has to vouch for it before it gets in again.
    fleet.site.visitor.post(&format!("/api/v1/executors/{id}/revoke"), json!({ "reason": "it was sold" })).unwrap();
    assert_eq!((in_state("put_out"), in_state("connected")), (1, 0));
    let link = HttpsLink::new(&identity).unwrap();
    let refused = link.poll(hello_as(id)).unwrap_err().to_string();
    assert!(refused.contains("not in force"), "{refused}");
}

#[test]
fn nobody_gets_in_with_a_token_that_is_used_up_of_another_server_or_made_up() {
    let fleet = Fleet::new();
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let token = fleet.token("once", json!({}));
    assert!(fleet.enrol(one.path(), &token).status.success());
    // The same request once more, as after an answer that was lost, is answered once more and counts once.
    assert!(fleet.enrol(one.path(), &token).status.success());
    let again = fleet.enrol(two.path(), &token);
    assert!(!again.status.success() && said(&again).contains("has let in as many hosts as it may"), "{}", said(&again));

    // The same host, or a copy of it, with a good token: a person has to look first.
    let other = fleet.token("more", json!({ "uses": 5 }));
    let copy = fleet.enrol(two.path(), &other);
    assert!(!copy.status.success() && said(&copy).contains("known already"), "{}", said(&copy));
    assert!(said(&copy).contains("stanch executors trust"), "{}", said(&copy));
    let id = fleet.executors()[0]["id"].as_str().unwrap().to_owned();
    fleet.site.visitor.post(&format!("/api/v1/executors/{id}/trust"), json!({})).unwrap();
    assert!(fleet.enrol(two.path(), &other).status.success(), "now it is");
    let old = HttpsLink::new(&Identity::load(one.path()).unwrap()).unwrap();
    assert!(old.poll(hello_as(&id)).unwrap_err().to_string().contains("not in force"), "the first is out");

    // Another authority: whoever answers there is not believed, and is not told the token's secret.
    let real: EnrolmentToken = other.parse().unwrap();
    let fake = EnrolmentToken::new(stanch_model::Digest::of_bytes(b"another"), real.root, [7; 32]);
    let stranger = fleet.enrol(two.path(), &fake.to_string());
    assert!(said(&stranger).contains("not the one that the token is for"), "{}", said(&stranger));
    let made_up = EnrolmentToken::new(real.authority, real.root, [7; 32]);
    let made_up = fleet.enrol(tempfile::tempdir().unwrap().path(), &made_up.to_string());
    assert!(said(&made_up).contains("the token is not valid"), "{}", said(&made_up));
    assert!(!fleet.ledger("executor_refused").is_empty(), "it is in the record");
}

#[test]
fn an_executor_speaks_for_itself_alone_and_strangers_for_nobody() {
    let fleet = Fleet::new();
    let folder = tempfile::tempdir().unwrap();
    assert!(fleet.enrol(folder.path(), &fleet.token("web", json!({}))).status.success());
    let identity = Identity::load(folder.path()).unwrap();
    let link = HttpsLink::new(&identity).unwrap();
    let refused = link.poll(hello_as("exec-0000000000000000")).unwrap_err().to_string();
    assert!(refused.contains("speaks for itself alone"), "{refused}");
    assert_eq!(fleet.ledger("executor_refused").len(), 1);

    // A certificate of another authority, with the same names in it.
    let elsewhere = Fleet::new();
    let other = tempfile::tempdir().unwrap();
    assert!(elsewhere.enrol(other.path(), &elsewhere.token("web", json!({}))).status.success());
    let theirs = Identity::load(other.path()).unwrap();
    let mixed = Identity { certificate: theirs.certificate, key: theirs.key, ..identity.clone() };
    let refused = HttpsLink::new(&mixed).unwrap().poll(hello_as("exec-0000000000000000")).unwrap_err().to_string();
    assert!(refused.contains("not reached"), "the handshake fails: {refused}");
    // A server of another authority at the right address.
    let astray = Identity { server: elsewhere.site.door().unwrap(), ..identity };
    let refused = HttpsLink::new(&astray).unwrap().poll(hello_as("exec-0000000000000000")).unwrap_err().to_string();
    assert!(refused.contains("not reached") && refused.to_lowercase().contains("certificate"), "{refused}");
}

#[test]
fn a_certificate_is_renewed_and_the_one_before_the_last_is_out() {
    let fleet = Fleet::new();
    let folder = tempfile::tempdir().unwrap();
    assert!(fleet.enrol(folder.path(), &fleet.token("web", json!({}))).status.success());
    let first = Identity::load(folder.path()).unwrap();
    let id = fleet.executors()[0]["id"].as_str().unwrap().to_owned();
    let link = HttpsLink::new(&first).unwrap();
    let id_of = id.parse().unwrap();
    let second = stanch_agent::fleet::renew(folder.path(), &first, &link, &id_of).unwrap();
    assert_ne!(first.key, second.key, "with the certificate the key is a new one");
    assert_eq!(Identity::load(folder.path()).unwrap().certificate, second.certificate);
    let old = HttpsLink::new(&first).unwrap();
    let in_force = |link: &HttpsLink| !link.poll(hello_as(&id)).unwrap_err().to_string().contains("not in force");
    assert!(in_force(&old), "it may have been lost on the way: both hold");
    stanch_agent::fleet::renew(folder.path(), &second, &link, &id_of).unwrap();
    assert!(!in_force(&old), "two later it does not");
    assert!(in_force(&link));
}

#[test]
fn what_is_too_large_or_makes_no_sense_is_refused_and_harms_nobody() {
    use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};

    let fleet = Fleet::new();
    let folder = tempfile::tempdir().unwrap();
    assert!(fleet.enrol(folder.path(), &fleet.token("web", json!({}))).status.success());
    let identity = Identity::load(folder.path()).unwrap();
    let certificate = |pem: &str| Certificate::from_pem(pem.as_bytes()).unwrap();
    let key = PrivateKey::from_pem(identity.key.as_bytes()).unwrap();
    let tls = TlsConfig::builder()
        .unversioned_rustls_crypto_provider(std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .root_certs(RootCerts::new_with_certs(&[certificate(&identity.authority)]))
        .client_cert(Some(ClientCert::new_with_certs(&[certificate(&identity.certificate)], key)))
        .build();
    let config = ureq::Agent::config_builder().tls_config(tls).http_status_as_error(false).proxy(None).build();
    let http: ureq::Agent = config.into();
    let post = |path: &str, body: Vec<u8>| {
        let url = format!("{}/executor/v1/{path}", identity.server);
        http.post(&url).content_type("application/json").send(&body[..]).map(|answer| answer.status().as_u16())
    };
    let nested = [b"[".repeat(100_000), b"]".repeat(100_000)].concat();
    for path in ["enrol", "certificate", "orders", "receipts", "progress"] {
        for body in
            [Vec::new(), b"{".to_vec(), b"null".to_vec(), b"{\"hello\": 1}".to_vec(), nested.clone(), vec![0xff; 64]]
        {
            let status = post(path, body).unwrap();
            assert!((400..500).contains(&status), "{path}: {status}");
        }
        let size = if path == "receipts" { 33 << 20 } else { 300 << 10 };
        // It may hang up before it has read all of it.
        assert!(matches!(post(path, vec![b' '; size]), Ok(413) | Err(_)), "{path}");
    }
    assert_eq!(fleet.executors().len(), 1, "it is there, and it is well");
    let told = fleet.ledger("executor_refused");
    assert!(told.iter().any(|entry| entry.to_string().contains("makes no sense")), "{told:?}");
}
