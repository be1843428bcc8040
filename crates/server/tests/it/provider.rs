//! A real provider of identities (oidc-provider on Node), and a browser that goes to it and back.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{OnceLock, mpsc};
use std::time::Duration;

use serde_json::Value;

use crate::world::Client;

const HERE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it");

/// A provider; ends with the test.
pub(crate) struct Provider {
    child: Child,
    pub(crate) issuer: String,
}

/// The folder that holds the provider's program, fetched once and pinned by its lock file.
fn program() -> &'static Path {
    static PLACE: OnceLock<PathBuf> = OnceLock::new();
    PLACE.get_or_init(|| {
        let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("oidc-provider");
        std::fs::create_dir_all(&place).unwrap();
        for name in ["package.json", "package-lock.json"] {
            std::fs::copy(format!("{HERE}/provider/{name}"), place.join(name)).unwrap();
        }
        std::fs::copy(format!("{HERE}/provider.mjs"), place.join("provider.mjs")).unwrap();
        if !place.join("node_modules/oidc-provider").exists() {
            let mut npm = Command::new("npm");
            npm.args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"]).current_dir(&place);
            let done = npm.output().expect("npm: Debian package npm");
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        }
        place
    })
}

impl Provider {
    /// Starts one for a server's address; `port` 0 takes any. One that does not say where it is within half a minute is
    /// started again.
    pub(crate) fn start(server: &str, port: u16, groups: &Value) -> Self {
        for _ in 0..3 {
            if let Some(provider) = Self::try_start(server, port, groups) {
                return provider;
            }
            eprintln!("the provider did not come up");
        }
        panic!("the provider says where it is");
    }

    fn try_start(server: &str, port: u16, groups: &Value) -> Option<Self> {
        let mut child = Command::new("node")
            .arg("provider.mjs")
            .current_dir(program())
            .env("REDIRECT", format!("{server}/sign-in/callback"))
            .env("PORT", port.to_string())
            .env("GROUPS", groups.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("node: Debian package nodejs");
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| drop(tell.send(line))));
        // It ends with this, also when it never answers.
        let mut provider = Self { child, issuer: String::new() };
        while let Ok(line) = told.recv_timeout(Duration::from_secs(30)) {
            if line.starts_with("http://") {
                provider.issuer = line;
                return Some(provider);
            }
        }
        None
    }

    pub(crate) fn port(&self) -> u16 {
        self.issuer.rsplit_once(':').unwrap().1.parse().unwrap()
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A browser that keeps cookies by their place.
#[derive(Default, Clone)]
pub(crate) struct Jar(BTreeMap<(String, String), String>);

impl Jar {
    fn keep(&mut self, base: &str, answer: &reqwest::Response) {
        for set in answer.headers().get_all("set-cookie") {
            let set = set.to_str().unwrap();
            let (name, value) = set.split(';').next().unwrap().split_once('=').unwrap();
            let key = (base.to_owned(), name.to_owned());
            if value.is_empty() || set.contains("Max-Age=0") || set.contains("1970") {
                self.0.remove(&key);
            } else {
                self.0.insert(key, value.to_owned());
            }
        }
    }

    fn header(&self, base: &str) -> String {
        let mine = self.0.iter().filter(|((place, _), _)| place == base);
        mine.map(|((_, name), value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ")
    }

    pub(crate) async fn get(&mut self, client: &Client, url: &str, account: Option<&str>) -> reqwest::Response {
        let base = url.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
        let mut request = client.http.get(url).header("cookie", self.header(&base));
        if let Some(account) = account {
            request = request.header("x-account", account);
        }
        let answer = request.send().await.unwrap();
        self.keep(&base, &answer);
        answer
    }
}

/// Begins to sign in and goes through the provider, up to the address that leads back.
pub(crate) async fn way_back(client: &Client, jar: &mut Jar, name: &str, account: Option<&str>) -> String {
    let mut url = format!("{}/sign-in/oidc/{name}", client.base);
    for _ in 0..10 {
        let answer = jar.get(client, &url, account).await;
        let status = answer.status();
        let to = answer.headers().get("location").map(|to| to.to_str().unwrap().to_owned());
        let Some(to) = to else { panic!("{url}: {status} {}", answer.text().await.unwrap()) };
        let base = url.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
        url = if to.starts_with('/') { format!("{base}{to}") } else { to };
        if url.starts_with(&format!("{}/sign-in/callback", client.base)) {
            return url;
        }
    }
    panic!("it never came back");
}
