//! The pages of a running server in a real browser: nothing to complain about, on a desk and on a phone, by mouse and
//! by keyboard.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use stanch_testkit::browser::{Browser, Look};
use stanch_testkit::wait_until;

/// Reached from every page.
const PAGES: &[&str] = &[
    "/",
    "/hosts",
    "/items",
    "/remediations",
    "/ledger",
    "/feeds",
    "/people",
    "/connections",
    "/account",
    "/people/admin",
];

/// `stanch up` on a port of its own with an empty data folder; ends with the test.
pub(crate) struct Up {
    child: Child,
    link: String,
    pub(crate) data: tempfile::TempDir,
}

impl Up {
    pub(crate) fn start() -> Self {
        let data = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_stanch"));
        command.args(["up", "--listen", "127.0.0.1:0", "--data-dir"]).arg(data.path());
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut link = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut link).unwrap();
        Self { child, link: link.trim().to_owned(), data }
    }

    pub(crate) fn address(&self) -> &str {
        self.link.split_once("/sign-in?").expect("the first line is a link to sign in").0
    }

    /// The facts of this machine are read and judged.
    fn settle(&self) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stanch"));
        let output = command.args(["findings", "--refresh", "--quiet", "--data-dir"]).arg(self.data.path()).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn pages_can_be_read_and_used_by_everybody() {
    let up = Up::start();
    let browser = Browser::start().unwrap();
    let nothing: Vec<String> = Vec::new();
    browser.open(&format!("{}/items", up.address())).unwrap();
    assert!(browser.address().unwrap().ends_with("/sign-in"), "a stranger must sign in");
    browser.open(&up.link).unwrap();
    assert_eq!(browser.flaws().unwrap(), nothing, "sign-in");
    browser.click("main button").unwrap();
    wait_until("signed in", Duration::from_secs(10), || Ok(!browser.address()?.contains("/sign-in"))).unwrap();
    up.settle();

    let mut pages: Vec<String> = PAGES.iter().map(|path| (*path).to_owned()).collect();
    // A machine without findings has no item to look at.
    browser.open(&format!("{}/items", up.address())).unwrap();
    pages.extend(browser.links().unwrap().into_iter().filter(|link| link.starts_with("/items/")).take(3));
    if let Some(item) = pages.get(PAGES.len()) {
        browser.open(&format!("{}{item}", up.address())).unwrap();
        pages.extend(browser.links().unwrap().into_iter().find(|link| link.starts_with("/findings/")));
    }
    browser.open(&format!("{}/hosts", up.address())).unwrap();
    pages.extend(browser.links().unwrap().into_iter().find(|link| link.starts_with("/hosts/")));
    pages.extend(["/enrolment", "/cves/CVE-2024-3094"].map(str::to_owned));
    browser.complaints().unwrap();
    for page in pages {
        for look in [Look::LIGHT, Look::DARK, Look::NARROW] {
            browser.look(look).unwrap();
            browser.open(&format!("{}{page}", up.address())).unwrap();
            assert_eq!(browser.flaws().unwrap(), nothing, "{page}, {}", look.name());
        }
        let (controls, missed) = browser.walk().unwrap();
        assert!(controls > PAGES.len(), "{page} has {controls} controls");
        assert_eq!(missed, nothing, "{page} by keyboard");
    }
}

#[test]
fn a_sign_in_link_works_once() {
    let up = Up::start();
    for expected in [true, false] {
        let browser = Browser::start().unwrap();
        browser.open(&up.link).unwrap();
        browser.click("main button").unwrap();
        wait_until("an answer", Duration::from_secs(10), || Ok(!browser.address()?.contains('?'))).unwrap();
        browser.open(&format!("{}/items", up.address())).unwrap();
        assert_eq!(browser.address().unwrap().ends_with("/items"), expected);
    }
}
