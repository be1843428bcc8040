//! A real browser, driven as a person would use it, with eyes for what people complain about.
//!
//! Speaks WebDriver to Debian's chromedriver with the standard library alone: a browser in tests is a handful of JSON
//! requests to a program on this machine, and no reason to compile a TLS stack.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

/// The longest a single request to the driver may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// The highest page that is photographed whole, in pixels.
const TALLEST: u64 = 6000;

/// A browser with one window; closed on drop.
#[derive(Debug)]
pub struct Browser {
    port: u16,
    session: String,
    driver: Child,
    _profile: tempfile::TempDir,
}

/// How a page is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// What the person prefers: dark or light.
    pub dark: bool,
    /// Width of the window in CSS pixels.
    pub width: u32,
    /// Its height.
    pub height: u32,
}

impl Look {
    /// A desk, in daylight.
    pub const LIGHT: Self = Self { dark: false, width: 1280, height: 900 };
    /// The same at night.
    pub const DARK: Self = Self { dark: true, width: 1280, height: 900 };
    /// A small phone.
    pub const NARROW: Self = Self { dark: false, width: 390, height: 844 };

    /// A short word for file names.
    pub const fn name(self) -> &'static str {
        match (self.dark, self.width) {
            (_, ..500) => "narrow",
            (true, _) => "dark",
            (false, _) => "light",
        }
    }
}

impl Browser {
    /// Starts a headless browser with a fresh profile.
    pub fn start() -> Result<Self> {
        let profile = tempfile::tempdir()?;
        let mut driver = Command::new("chromedriver");
        driver.arg("--port=0").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut driver = driver.spawn().context("starting chromedriver (Debian package chromium-driver)")?;
        let output = driver.stdout.take().context("chromedriver has no output")?;
        let mut lines = BufReader::new(output).lines();
        let port = loop {
            let Some(line) = lines.next() else {
                let _ = driver.kill();
                let _ = driver.wait();
                bail!("chromedriver did not say where it listens");
            };
            if let Some(port) = line?.strip_suffix('.').and_then(|l| l.rsplit_once("on port ")?.1.parse().ok()) {
                break port;
            }
        };
        // It may speak again; nobody must make it wait.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        let mut browser = Self { port, session: String::new(), driver, _profile: profile };
        // Chromium's own sandbox needs a user other than root.
        let arguments = [
            "--headless=new".to_owned(),
            "--no-sandbox".to_owned(),
            "--disable-dev-shm-usage".to_owned(),
            "--disable-gpu".to_owned(),
            "--no-proxy-server".to_owned(),
            format!("--user-data-dir={}", browser._profile.path().display()),
        ];
        let answer = browser.request(
            "POST",
            "/session",
            Some(&json!({"capabilities": {"alwaysMatch": {
                "goog:chromeOptions": {"args": arguments},
                "goog:loggingPrefs": {"browser": "ALL"},
            }}})),
        )?;
        browser.session =
            answer.get("sessionId").and_then(Value::as_str).context("chromedriver gave no session")?.to_owned();
        Ok(browser)
    }

    /// Goes to an address and waits until the page has loaded.
    pub fn open(&self, address: &str) -> Result<()> {
        self.post("url", &json!({"url": address})).with_context(|| format!("opening {address}")).map(drop)
    }

    /// Runs a function's body in the page and returns what it returns.
    pub fn script(&self, body: &str) -> Result<Value> {
        self.post("execute/sync", &json!({"script": body, "args": []}))
    }

    /// Clicks what a CSS selector finds first.
    pub fn click(&self, selector: &str) -> Result<()> {
        let found = self.post("element", &json!({"using": "css selector", "value": selector}))?;
        let element = found.as_object().and_then(|one| one.values().next()).and_then(Value::as_str);
        let element = element.with_context(|| format!("nothing is {selector}"))?;
        self.post(&format!("element/{element}/click"), &json!({})).map(drop)
    }

    /// The address of the page shown.
    pub fn address(&self) -> Result<String> {
        let answer = self.request("GET", &format!("/session/{}/url", self.session), None)?;
        Ok(answer.as_str().unwrap_or_default().to_owned())
    }

    /// Paths of this server that the page shown leads to, in the order they stand; each once.
    pub fn links(&self) -> Result<Vec<String>> {
        let found = self.script(
            "return [...new Set([...document.querySelectorAll('a[href]')].map((a) => new URL(a.href))\
             .filter((u) => u.origin === location.origin && !u.search).map((u) => u.pathname))];",
        )?;
        Ok(found.as_array().into_iter().flatten().filter_map(|one| one.as_str().map(str::to_owned)).collect())
    }

    /// Presses and releases the tabulator key.
    pub fn tab(&self) -> Result<()> {
        for kind in ["rawKeyDown", "keyUp"] {
            let event = json!({"type": kind, "key": "Tab", "code": "Tab", "windowsVirtualKeyCode": 9});
            self.devtools("Input.dispatchKeyEvent", &event)?;
        }
        Ok(())
    }

    /// From now on pages are seen like this.
    pub fn look(&self, look: Look) -> Result<()> {
        let scheme = if look.dark { "dark" } else { "light" };
        self.devtools(
            "Emulation.setEmulatedMedia",
            &json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]}),
        )?;
        let size =
            json!({"width": look.width, "height": look.height, "deviceScaleFactor": 1, "mobile": look.width < 500});
        self.devtools("Emulation.setDeviceMetricsOverride", &size).map(drop)
    }

    /// Photographs the whole page.
    pub fn photograph(&self, path: &Path) -> Result<()> {
        let size = self.script("const d = document.documentElement; return [d.clientWidth, d.scrollHeight];")?;
        let side = |at: usize| size.get(at).and_then(Value::as_u64).unwrap_or(1000).clamp(1, TALLEST);
        let clip = json!({"x": 0, "y": 0, "width": side(0), "height": side(1), "scale": 1});
        let shot = self.devtools(
            "Page.captureScreenshot",
            &json!({"format": "png", "captureBeyondViewport": true, "clip": clip}),
        )?;
        let data = shot.get("data").and_then(Value::as_str).context("no picture came back")?;
        fs::write(path, STANDARD.decode(data)?).with_context(|| format!("writing {}", path.display()))
    }

    /// What the browser's console has said since the last time, policy violations included.
    pub fn complaints(&self) -> Result<Vec<String>> {
        let log = self.post("se/log", &json!({"type": "browser"}))?;
        let entries = log.as_array().cloned().unwrap_or_default();
        let text = |entry: &Value, key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        Ok(entries.iter().map(|entry| format!("{}: {}", text(entry, "level"), text(entry, "message"))).collect())
    }

    /// What is wrong with the page shown, as sentences: complaints of the browser, structure, sideways scrolling,
    /// controls without a name, text too pale to read.
    pub fn flaws(&self) -> Result<Vec<String>> {
        let mut flaws = self.complaints()?;
        let seen = self.script(include_str!("browser/flaws.js"))?;
        flaws.extend(seen.as_array().into_iter().flatten().filter_map(|one| one.as_str().map(str::to_owned)));
        Ok(flaws)
    }

    /// Walks through the page with the tabulator key: how many controls there are, and those that it does not reach or
    /// does not show it has reached.
    pub fn walk(&self) -> Result<(usize, Vec<String>)> {
        const WALK: &str = include_str!("browser/walk.js");
        let controls = self.script(&format!("{WALK} return begin();"))?;
        let count = usize::try_from(controls.as_u64().unwrap_or(0)).unwrap_or(0);
        let mut missed = Vec::new();
        // Some controls take more than one stop, what scrolls takes one too, and the round begins outside the page.
        for round in 0..2 * count + 20 {
            self.tab()?;
            self.script(&format!("{WALK} return note();"))?;
            if round < count {
                continue;
            }
            let left = self.script(&format!("{WALK} return missed();"))?;
            missed = left.as_array().into_iter().flatten().filter_map(|m| m.as_str().map(str::to_owned)).collect();
            if missed.is_empty() {
                break;
            }
        }
        Ok((count, missed))
    }

    fn devtools(&self, command: &str, parameters: &Value) -> Result<Value> {
        self.post("goog/cdp/execute", &json!({"cmd": command, "params": parameters}))
    }

    fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.request("POST", &format!("/session/{}/{path}", self.session), Some(body))
    }

    /// One request to the driver; its answer's value.
    fn request(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).context("reaching chromedriver")?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        )?;
        let mut reader = BufReader::new(stream);
        let mut length = None;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 || line == "\r\n" {
                break;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse::<u64>().ok();
            }
        }
        let mut bytes = Vec::new();
        reader.take(length.unwrap_or(u64::MAX)).read_to_end(&mut bytes)?;
        let answer: Value = serde_json::from_slice(&bytes).with_context(|| format!("{method} {path}: no JSON"))?;
        let value = answer.get("value").cloned().unwrap_or_default();
        if let Some(error) = value.get("error").and_then(Value::as_str) {
            let message = value.get("message").and_then(Value::as_str).unwrap_or_default();
            bail!("{method} {path}: {error}: {}", message.lines().next().unwrap_or_default());
        }
        Ok(value)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() {
            let _ = self.request("DELETE", &format!("/session/{}", self.session), None);
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
