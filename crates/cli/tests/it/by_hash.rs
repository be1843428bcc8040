//! `stanch plan`, and `stanch fix --plan HASH` after it, against a server whose executor is a double: a person reads a
//! plan, and exactly that one is applied.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use stanch_server::{Config, Intervals, Running, Server, SystemClock};
use stanch_testkit::wait_until;
use tokio::task::JoinHandle;

use crate::double::{Double, Host};
use crate::program::Home;

struct Site {
    home: Home,
    double: Arc<Double>,
    running: Running,
    serving: JoinHandle<()>,
}

impl Site {
    async fn start() -> Self {
        let home = Home::new();
        let packages = [("paperclip", "3.0.15-1", "3.0.17-1"), ("stapler", "7.88-1", "7.88-2")];
        let double = Arc::new(Double::new(Host::new("host", &packages), Arc::new(SystemClock)));
        let data = home.data();
        let mut config = Config::new(&data);
        config.listen = None;
        config.socket = Some(data.join("control.sock"));
        config.bake = Duration::ZERO;
        let short = Duration::from_millis(40);
        config.intervals = Intervals { tick: short, park: short, ..Intervals::default() };
        let running = Server::open(config).await.unwrap().start().await.unwrap();
        running.gateway().register(&double.hello()).await.unwrap();
        let serving = tokio::spawn(double.clone().serve(running.gateway()));
        let site = Self { home, double, running, serving };
        wait_until("the items", Duration::from_secs(20), || {
            let found = site.home.run(&["findings", "--json", "--quiet"]).out;
            Ok(found.contains("paperclip") && found.contains("stapler"))
        })
        .unwrap();
        site
    }

    fn versions(&self) -> [String; 2] {
        let host = self.double.host.lock().unwrap();
        [host.version("paperclip"), host.version("stapler")]
    }

    /// Has a plan made for a package; its hash.
    fn plan(&self, package: &str) -> String {
        let run = self.home.run(&["plan", package, "--json", "--quiet"]);
        assert_eq!(run.code, 0, "{}", run.err);
        let planned: Value = serde_json::from_str(run.out.lines().next().unwrap()).unwrap();
        assert_eq!(planned["remediation"]["state"], "awaiting_approval", "{planned}");
        planned["plan"]["hash"].as_str().unwrap().to_owned()
    }

    async fn end(self) {
        self.running.stop().await;
        self.serving.await.unwrap();
    }
}

const BEFORE: [&str; 2] = ["3.0.15-1", "7.88-1"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exactly_the_plan_that_was_read_is_applied_once_a_person_says_yes() {
    let site = Site::start().await;
    let hash = site.plan("paperclip");
    assert_eq!(site.versions(), BEFORE, "a plan changes nothing");

    let unasked = site.home.run(&["fix", "--plan", &hash]);
    assert_eq!(unasked.code, 5, "nobody is there to ask: {}", unasked.err);
    assert!(unasked.err.contains("--yes"), "{}", unasked.err);
    assert_eq!(site.home.run(&["fix", "--plan", "0123456789ab", "--yes"]).code, 5, "no such plan");
    let no = site.home.run_on_terminal(&["fix", "--plan", &hash[..12]], "n\n");
    assert_eq!(no.code, 0, "{}", no.out);
    assert!(no.out.contains("3.0.17-1") && no.out.contains("[y/N]") && no.out.contains("still waits"), "{}", no.out);
    assert_eq!(site.versions(), BEFORE, "no is no");

    let yes = site.home.run_on_terminal(&["fix", "--plan", &hash[..12]], "y\n");
    assert_eq!(yes.code, 0, "{}", yes.out);
    assert!(yes.out.contains("closed") && yes.out.contains("stanch undo"), "{}", yes.out);
    assert_eq!(site.versions(), ["3.0.17-1", "7.88-1"], "the plan's package and no other");
    let again = site.home.run(&["fix", "--plan", &hash, "--yes"]);
    assert_eq!(again.code, 5, "a plan is used once: {}", again.err);
    site.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_that_a_newer_one_replaced_is_not_applied() {
    let site = Site::start().await;
    let first = site.plan("stapler");
    let second = site.plan("stapler");
    assert_ne!(first, second);
    let old = site.home.run(&["fix", "--plan", &first, "--yes"]);
    assert_eq!(old.code, 5, "{}", old.err);
    assert_eq!(site.versions(), BEFORE);
    let new = site.home.run(&["fix", "--plan", &second, "--yes", "--json"]);
    assert_eq!(new.code, 0, "{}", new.err);
    let last: Value = serde_json::from_str(new.out.lines().last().unwrap()).unwrap();
    assert_eq!(last["remediation"]["state"], "closed");
    assert_eq!(site.versions(), ["3.0.15-1", "7.88-2"]);
    site.end().await;
}
