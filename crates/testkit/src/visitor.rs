//! Somebody with a browser, signed in to a server: what a proof asks it and tells it.

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// A session with a server. It outlives the server's process, as a cookie does.
#[derive(Debug, Clone)]
pub struct Visitor {
    runtime: tokio::runtime::Handle,
    http: reqwest::Client,
    base: String,
    cookie: String,
    csrf: String,
}

impl Visitor {
    /// Signs in with a link as the server prints it.
    ///
    /// # Errors
    /// When the server does not answer, or the link is not one.
    pub fn sign_in(runtime: &tokio::runtime::Handle, link: &str) -> Result<Self> {
        let (base, token) = link.split_once("/sign-in?token=").context("a strange link")?;
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().build()?;
        let asked = http
            .post(format!("{base}/sign-in"))
            .header("origin", base)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(format!("token={token}"));
        let answer = runtime.block_on(asked.send())?;
        let set = answer.headers().get("set-cookie").context("no session")?.to_str()?.to_owned();
        let cookie = set.split(';').next().unwrap_or_default().to_owned();
        let (runtime, base) = (runtime.clone(), base.to_owned());
        let mut visitor = Self { runtime, http, base, cookie, csrf: String::new() };
        visitor.csrf = part(&visitor.get("/api/v1/session")?, "csrf").as_str().context("no token")?.to_owned();
        Ok(visitor)
    }

    fn send(&self, request: reqwest::RequestBuilder) -> Result<Value> {
        let request = request.header("cookie", &self.cookie).header("x-csrf-token", &self.csrf);
        self.runtime.block_on(async {
            let answer = request.send().await?;
            let (status, text) = (answer.status(), answer.text().await?);
            if !status.is_success() {
                bail!("{status}: {text}");
            }
            Ok(serde_json::from_str(&text)?)
        })
    }

    /// Reads something.
    ///
    /// # Errors
    /// When the server does not answer, or refuses.
    pub fn get(&self, path: &str) -> Result<Value> {
        self.send(self.http.get(format!("{}{path}", self.base)))
    }

    /// Asks for something.
    ///
    /// # Errors
    /// When the server does not answer, or refuses.
    pub fn post(&self, path: &str, body: Value) -> Result<Value> {
        let body = body.to_string();
        self.send(self.http.post(format!("{}{path}", self.base)).header("content-type", "application/json").body(body))
    }

    /// The newest remediation.
    ///
    /// # Errors
    /// When the server does not answer.
    pub fn newest(&self) -> Result<Value> {
        let list = self.get("/api/v1/remediations")?;
        Ok(list.as_array().and_then(|list| list.first()).cloned().unwrap_or(Value::Null))
    }
}

/// A field of an answer; nothing when it has none.
pub fn part<'a>(value: &'a Value, name: &str) -> &'a Value {
    value.get(name).unwrap_or(&Value::Null)
}

/// The machine's load over the last minute.
pub fn load() -> String {
    std::fs::read_to_string("/proc/loadavg").unwrap_or_default().split(' ').next().unwrap_or_default().to_owned()
}
