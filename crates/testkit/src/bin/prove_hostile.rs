//! What somebody hostile tries against a server and its agents, each in its turn: it is refused, and the server's record
//! tells of it.
//!
//! A real server and agents with real keys and journals over real mutual TLS, whose upgrades are doubles; between one of
//! them and its server sits somebody who changes what comes. For the rules of a host there is a real root with the real
//! agent.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use stanch_agent::fleet::{HttpsLink, Identity};
use stanch_model::Timestamp;
use stanch_model::enrol::EnrolmentToken;
use stanch_model::order::{Batch, Hello, Progress, Receipt, Verb};
use stanch_model::sign::Signed;
use stanch_runner::{Link, LinkError};
use stanch_server::{Door, Intervals};
use stanch_testkit::claims::Claims;
use stanch_testkit::conformance::Desk;
use stanch_testkit::crowd::{Crowd, Member};
use stanch_testkit::lan::Lan;
use stanch_testkit::shop::Shop;
use stanch_testkit::site::Site;
use stanch_testkit::tool::{self, NEW, OLD, Update};
use stanch_testkit::visitor::{load, part};
use stanch_testkit::{Archive, Base, wait_until};

const AGENT: &str = "/usr/bin/stanch-agent";
const PATIENCE: Duration = Duration::from_secs(180);
/// An order has to start so soon after its poll.
const START_WITHIN: Duration = Duration::from_secs(5);

fn main() -> Result<()> {
    // While there still is a network to fetch it from.
    Base::minimal()?;
    Lan::apart()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut claims = Claims::new();
    let mut stage = Stage::open(&runtime)?;
    stage.tokens(&mut claims)?;
    stage.orders(&mut claims)?;
    stage.copies(&mut claims)?;
    stage.words(&mut claims)?;
    stage.liar(&mut claims)?;
    stage.rules(&mut claims)?;
    stage = stage.old_epoch(&mut claims)?;
    let verified = stage.site.visitor.get("/api/v1/ledger/verify")?;
    claims.claim("the ledger verifies", part(&verified, "good") == true, json!({"load": load()}), || {
        verified.to_string()
    });
    claims.end()
}

/// An answer in the server's place, by somebody who knows what the server said so far.
type Answer = dyn FnOnce(&Hello, &[Batch]) -> Result<Batch> + Send;

/// What somebody in between does.
enum Trick {
    /// Answers a poll in the server's place.
    Instead(Box<Answer>),
    /// Changes the next orders of the server.
    Change(Box<dyn FnOnce(&mut Batch) + Send>),
}

/// Somebody between an executor and its server, who has both of their keys to the line.
struct Between {
    link: HttpsLink,
    tricks: Mutex<Vec<Trick>>,
    /// What the server said so far.
    seen: Mutex<Vec<Batch>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Between {
    fn new(identity: &Identity) -> Result<Arc<Self>> {
        Ok(Arc::new(Self { link: HttpsLink::new(identity)?, tricks: Mutex::default(), seen: Mutex::default() }))
    }

    fn play(&self, trick: Trick) {
        locked(&self.tricks).push(trick);
    }
}

impl Link for Between {
    fn poll(&self, hello: Hello) -> Result<Option<Batch>, LinkError> {
        let instead = locked(&self.tricks).pop_if(|trick| matches!(trick, Trick::Instead(_)));
        if let Some(Trick::Instead(trick)) = instead {
            let seen = locked(&self.seen).clone();
            let answer = trick(&hello, &seen);
            return answer.map(Some).map_err(|error| LinkError::Unreachable { message: error.to_string() });
        }
        let mut batch = self.link.poll(hello)?;
        if let Some(batch) = batch.as_mut().filter(|batch| !batch.orders.is_empty()) {
            let change = locked(&self.tricks).pop_if(|trick| matches!(trick, Trick::Change(_)));
            if let Some(Trick::Change(trick)) = change {
                trick(batch);
                return Ok(Some(batch.clone()));
            }
        }
        locked(&self.seen).extend(batch.iter().filter(|batch| !batch.orders.is_empty()).cloned());
        Ok(batch)
    }

    fn deliver(&self, receipt: &Signed<Receipt>) -> Result<(), LinkError> {
        self.link.deliver(receipt)
    }

    fn progress(&self, progress: Progress) {
        self.link.progress(progress);
    }
}

struct Stage<'a> {
    runtime: &'a tokio::runtime::Runtime,
    site: Site,
    crowd: Crowd,
    /// The one with somebody between, and who that is.
    victim: (Member, Arc<Between>),
    /// Another one, with somebody who only listens.
    neighbour: Arc<Between>,
    next: usize,
    _journals: tempfile::TempDir,
}

impl<'a> Stage<'a> {
    fn open(runtime: &'a tokio::runtime::Runtime) -> Result<Self> {
        let _lan = Lan::new()?;
        let site = Site::open(runtime, |config| {
            let listen = SocketAddr::new(Lan::here(), 0);
            config.executors = Some(Door { listen, names: vec![Lan::here().to_string()] });
            config.bake = Duration::ZERO;
            config.intervals = Intervals {
                tick: Duration::from_millis(200),
                park: Duration::from_secs(1),
                gather: Duration::from_secs(1),
                start_within: START_WITHIN,
                ..Intervals::default()
            };
        })?;
        let journals = tempfile::tempdir()?;
        let shop = Arc::new(Shop::selling("tool", OLD, Duration::from_millis(100)));
        shop.offer(NEW);
        let crowd = Crowd {
            doors: vec![site.door()?],
            folder: journals.path().to_owned(),
            shop,
            answered: Arc::new(AtomicU64::new(0)),
        };
        let token = token(&site, "attacked", 2)?;
        let member = runtime.block_on(crowd.enrol(0, &token))?;
        let between = Between::new(&member.identity)?;
        member.clone().serve(Arc::clone(&between) as _)?;
        let other = runtime.block_on(crowd.enrol(1, &token))?;
        let neighbour = Between::new(&other.identity)?;
        other.serve(Arc::clone(&neighbour) as _)?;
        wait_until("both were given orders", PATIENCE, || {
            Ok([&between, &neighbour].iter().all(|between| !locked(&between.seen).is_empty()))
        })?;
        Ok(Self { runtime, site, crowd, victim: (member, between), neighbour, next: 2, _journals: journals })
    }

    /// What the record says under this name that it did not say before this moment.
    fn record(&self, kind: &str) -> Result<Vec<Value>> {
        let page = self.site.visitor.get("/api/v1/ledger?limit=500")?;
        let entries = part(&page, "entries").as_array().cloned().unwrap_or_default();
        Ok(entries.into_iter().filter(|entry| *part(entry, "event") == kind || *part(entry, "kind") == kind).collect())
    }

    /// Waits until the record has something under this name with these words in it.
    fn recorded(&self, kind: &str, words: &str) -> Result<bool> {
        let told = || Ok(self.record(kind)?.iter().any(|entry| entry.to_string().contains(words)));
        let waited = wait_until(words, Duration::from_secs(60), told);
        Ok(waited.is_ok())
    }

    fn member(&mut self) -> Result<Member> {
        let token = token(&self.site, &format!("number-{}", self.next), 1)?;
        let member = self.runtime.block_on(self.crowd.enrol(self.next, &token))?;
        self.next += 1;
        Ok(member)
    }

    fn tokens(&mut self, claims: &mut Claims) -> Result<()> {
        let token = token(&self.site, "stolen", 1)?;
        self.runtime.block_on(self.crowd.enrol(100, &token))?;
        let refused = self.runtime.block_on(self.crowd.enrol(101, &token)).err();
        let why = refused.map(|error| error.to_string()).unwrap_or_default();
        let recorded = self.recorded("executor_refused", "as many hosts as it may")?;
        said(claims, "a stolen token that was used", why.contains("as many hosts as it may"), recorded, &why);
        Ok(())
    }

    /// Has an order handed to the victim that the server did not mean for it now.
    fn trick(&self, claims: &mut Claims, name: &str, doubt: &str, trick: Trick) -> Result<()> {
        let before = self.crowd.shop.done().len();
        self.victim.1.play(trick);
        self.site.visitor.post("/api/v1/scan", json!({}))?;
        let recorded = self.recorded("order_turned_away", doubt)?;
        let idle = self.crowd.shop.done().len() == before;
        said(claims, name, idle, recorded, "something was done");
        Ok(())
    }

    fn orders(&self, claims: &mut Claims) -> Result<()> {
        let again = |_: &Hello, seen: &[Batch]| Ok(seen.first().context("nothing was said yet")?.clone());
        self.trick(claims, "an order again", "replayed", Trick::Instead(Box::new(again)))?;
        let theirs = locked(&self.neighbour.seen).last().context("nothing was said")?.clone();
        self.trick(claims, "an order for another host", "other_executor", instead(theirs))?;
        let (executor, asset) = (self.victim.0.executor(), self.victim.0.asset.clone());
        let own = move |hello: &Hello, _: &[Batch]| {
            let mut desk = Desk::new(Timestamp::now())?;
            desk.executor = executor;
            desk.position = hello.position;
            let order = desk.order(Verb::Hold { stop_all: true, reason: format!("of {}", asset.name) });
            Ok(Batch { chain: desk.chain()?, orders: vec![desk.sign(order, hello)?] })
        };
        let own = Trick::Instead(Box::new(own));
        self.trick(claims, "an order of a key that the root never certified", "not_certified", own)?;
        let change = |batch: &mut Batch| {
            for order in &mut batch.orders {
                order.body.verb = Verb::Hold { stop_all: true, reason: "nothing moves".to_owned() };
            }
        };
        self.trick(claims, "an order that was changed on its way", "changed", Trick::Change(Box::new(change)))?;
        // Holding it back is the attack.
        let hold = |_: &mut Batch| std::thread::sleep(START_WITHIN + Duration::from_secs(2));
        self.trick(claims, "an order past its time", "too_late", Trick::Change(Box::new(hold)))
    }

    fn copies(&mut self, claims: &mut Claims) -> Result<()> {
        let member = self.member()?;
        let link = || Ok::<_, anyhow::Error>(Arc::new(HttpsLink::new(&member.identity)?) as Arc<dyn Link>);
        let at_work = member.clone().serve(link()?)?;
        self.judged(&member)?;
        at_work.end();
        let mut copy = member.clone();
        copy.folder = member.folder.with_extension("copy");
        copy_folder(&member.folder, &copy.folder)?;
        let at_work = member.clone().serve(link()?)?;
        self.busy(&member)?;
        at_work.end();
        let copied = copy.clone().serve(link()?)?;
        let (frozen, why) = self.frozen(&member)?;
        copied.end();
        let recorded = self.recorded("executor_frozen", member.executor().as_str())?;
        said(claims, "a cloned agent", frozen, recorded, &why);

        let member = self.member()?;
        let link = || Ok::<_, anyhow::Error>(Arc::new(HttpsLink::new(&member.identity)?) as Arc<dyn Link>);
        let at_work = member.clone().serve(link()?)?;
        self.judged(&member)?;
        at_work.end();
        let earlier = member.folder.with_extension("earlier");
        copy_folder(&member.folder, &earlier)?;
        let at_work = member.clone().serve(link()?)?;
        self.busy(&member)?;
        at_work.end();
        std::fs::remove_dir_all(&member.folder)?;
        std::fs::rename(&earlier, &member.folder)?;
        let again = member.clone().serve(link()?)?;
        let (frozen, why) = self.frozen(&member)?;
        again.end();
        let recorded = self.recorded("executor_frozen", member.executor().as_str())?;
        said(claims, "a journal that went back in time", frozen, recorded, &why);
        Ok(())
    }

    fn words(&self, claims: &mut Claims) -> Result<()> {
        // Another server at the right address, with an authority of its own.
        let elsewhere = Site::open(self.runtime, |config| {
            let listen = SocketAddr::new(Lan::here(), 0);
            config.executors = Some(Door { listen, names: vec![Lan::here().to_string()] });
        })?;
        let astray = Identity { server: elsewhere.door()?, ..self.victim.0.identity.clone() };
        let hello = self.hello()?;
        let refused = HttpsLink::new(&astray)?.poll(hello).err().map(|error| error.to_string()).unwrap_or_default();
        claims.claim(
            "a man in the middle with another authority",
            refused.to_lowercase().contains("certificate"),
            json!({"refused": true, "recorded": "no: the server never hears of it; the agent's log does"}),
            || refused.clone(),
        );

        let mut answers = Vec::new();
        for body in [Vec::new(), b"{".to_vec(), b"{\"hello\": 1}".to_vec(), vec![0xff; 64], vec![b' '; 300 << 10]] {
            answers.push(self.runtime.block_on(self.raw("orders", body))?);
        }
        let refused = answers.iter().all(|status| (400..500).contains(status));
        let recorded = self.recorded("executor_refused", "makes no sense")?;
        said(claims, "what is too large or makes no sense", refused, recorded, &format!("{answers:?}"));
        Ok(())
    }

    /// One that says that it is done, and nothing was.
    fn liar(&mut self, claims: &mut Claims) -> Result<()> {
        let mut member = self.member()?;
        let shop = Arc::new(Shop::selling("tool", OLD, Duration::ZERO).lying());
        shop.offer(NEW);
        member.sell(&shop);
        let link = Arc::new(HttpsLink::new(&member.identity)?);
        let at_work = member.clone().serve(link)?;
        let id = self.fix(&member.asset.name)?;
        let over = self.over(&id)?;
        at_work.end();
        let state = part(&over, "state").as_str().unwrap_or_default().to_owned();
        let page = self.site.visitor.get(&format!("/api/v1/ledger?subject={id}"))?.to_string();
        said(
            claims,
            "an agent that lies",
            state != "closed",
            page.contains("verify_failed"),
            &format!("{state}: {page}"),
        );
        Ok(())
    }

    /// What a host's own root does not allow, and what nobody signed for, on a real root with the real agent.
    fn rules(&mut self, claims: &mut Claims) -> Result<()> {
        let archive = Archive::new()?;
        let agent = std::env::current_exe()?.with_file_name("stanch-agent");
        ensure!(agent.is_file(), "{} is not built", agent.display());
        let disk = tool::disk(&archive, Update::Good, &[(agent, AGENT)])?;
        let mut lan = Lan::new()?;
        let key = tool::key()?.verifying_key();
        let asks = format!("[approvals]\nneed = 1\nkeys = [\"{key}\"]\n");
        let rows = [
            ("an action that the host's own file does not name", "actions = [\"service.restart\"]\n", "rules"),
            ("a plan that nobody signed for", asks.as_str(), "signed"),
        ];
        for (name, rules, words) in rows {
            let world = disk.world()?;
            let id = std::fs::read_to_string("/proc/sys/kernel/random/uuid")?.replace('-', "");
            world.write("/etc/machine-id", &id)?;
            let host = format!("host-{}", id.get(..6).unwrap_or_default());
            world.must(["hostname", &host])?;
            lan.join(&world)?;
            let token = token(&self.site, &host, 1)?.to_string();
            world.write_mode("/root/token", token, 0o600)?;
            world.must([AGENT, "enrol", "--server", &self.site.door()?, "--token-file", "/root/token"])?;
            let _agent = world.spawn([AGENT, "run"])?;
            let id = self.asked(&host)?;
            // It was planned and approved, and only then does the host's root say no: the server does not know.
            world.write_mode("/etc/stanch/executor.toml", rules, 0o644)?;
            self.agreed(&id)?;
            let over = self.over(&id)?;
            let same = tool::version(&world)? == OLD;
            let page = self.site.visitor.get(&format!("/api/v1/ledger?subject={id}"))?.to_string();
            let detail = self.site.visitor.get(&format!("/api/v1/remediations/{id}"))?.to_string();
            let told = page.contains("task_") && detail.contains(words);
            said(claims, name, same && *part(&over, "state") != "closed", told, &detail);
        }
        Ok(())
    }

    /// The server is restored from a backup and begins a new epoch; what it ordered before counts no more. With the epoch
    /// its issuer was replaced too, which is what the executor looks at first.
    fn old_epoch(self, claims: &mut Claims) -> Result<Self> {
        let Self { runtime, site, crowd, victim, neighbour, next, _journals } = self;
        let before = locked(&victim.1.seen).last().context("nothing was said")?.clone();
        let site = site.restored(runtime)?;
        let stage = Self { runtime, site, crowd, victim, neighbour, next, _journals };
        let epoch = before.orders.first().context("an order")?.body.position.epoch;
        wait_until("orders of the new epoch", PATIENCE, || {
            stage.site.visitor.post("/api/v1/scan", json!({}))?;
            let seen = locked(&stage.victim.1.seen);
            Ok(seen.last().is_some_and(|batch| batch.orders.iter().any(|order| order.body.position.epoch > epoch)))
        })?;
        stage.trick(claims, "an order of an epoch before the restore", "issuer_replaced", instead(before))?;
        Ok(stage)
    }

    fn hello(&self) -> Result<Hello> {
        let told = locked(&self.victim.1.seen).len();
        ensure!(told > 0, "nothing was said");
        Ok(serde_json::from_value(json!({
            "executor": self.victim.0.executor(), "key": "00".repeat(32), "asset": self.victim.0.asset,
            "position": { "epoch": 0, "generation": 0 }, "actions": [], "boot_id": "any", "counter": 1,
            "journal_head": "00".repeat(32), "nonce": 1,
        }))?)
    }

    /// The status that bytes of a known executor get.
    async fn raw(&self, path: &str, body: Vec<u8>) -> Result<u16> {
        let identity = &self.victim.0.identity;
        let pem = format!("{}{}", identity.certificate, identity.key);
        let http = reqwest::Client::builder()
            .tls_certs_only([reqwest::Certificate::from_pem(identity.authority.as_bytes())?])
            .identity(reqwest::Identity::from_pem(pem.as_bytes())?)
            .no_proxy()
            .build()?;
        let url = format!("{}/executor/v1/{path}", identity.server);
        let answer = http.post(url).header("content-type", "application/json").body(body).send().await?;
        Ok(answer.status().as_u16())
    }

    /// Waits until its facts are judged.
    fn judged(&self, member: &Member) -> Result<()> {
        wait_until("it is judged", PATIENCE, || {
            let assets = self.site.visitor.get("/api/v1/assets")?;
            let mut assets = assets.as_array().cloned().unwrap_or_default().into_iter();
            let own = assets.find(|asset| *part(asset, "name") == member.asset.name.as_str());
            Ok(own.is_some_and(|asset| !part(&asset, "judged_at").is_null()))
        })
    }

    /// Has something done on it, so that its journal goes on.
    fn busy(&self, member: &Member) -> Result<()> {
        let id = self.fix(&member.asset.name)?;
        let over = self.over(&id)?;
        ensure!(*part(&over, "state") == "closed", "it was not done: {over}");
        Ok(())
    }

    fn fix(&self, host: &str) -> Result<String> {
        let id = self.asked(host)?;
        self.agreed(&id)?;
        Ok(id)
    }

    /// Asks for what can be fixed on a host, and waits for the plan.
    fn asked(&self, host: &str) -> Result<String> {
        let mut item = Value::Null;
        wait_until("there is something to fix", PATIENCE, || {
            let page = self.site.visitor.get("/api/v1/items?limit=500")?;
            let items = part(&page, "items").as_array().cloned().unwrap_or_default();
            let own = items
                .into_iter()
                .find(|item| item.to_string().contains(&format!("\"{host}\"")) && *part(item, "name") == "tool");
            item = own.unwrap_or(Value::Null);
            Ok(!item.is_null())
        })?;
        let made = self.site.visitor.post("/api/v1/remediations", json!({ "items": [part(&item, "id")] }))?;
        let id = part(part(&made, "remediation"), "id").as_str().context("a remediation")?.to_owned();
        wait_until("the plan", PATIENCE, || {
            let one = self.site.visitor.get(&format!("/api/v1/remediations/{id}"))?;
            Ok(*part(part(&one, "remediation"), "state") == "awaiting_approval")
        })?;
        Ok(id)
    }

    fn agreed(&self, id: &str) -> Result<()> {
        let one = self.site.visitor.get(&format!("/api/v1/remediations/{id}"))?;
        let plan = part(part(&one, "remediation"), "plan").clone();
        self.site.visitor.post(&format!("/api/v1/remediations/{id}/approve"), json!({ "plan_hash": plan }))?;
        Ok(())
    }

    fn over(&self, id: &str) -> Result<Value> {
        let over = ["closed", "aborted", "failed", "rolled_back", "needs_operator", "superseded"];
        let mut last = Value::Null;
        wait_until("its end", PATIENCE, || {
            let one = self.site.visitor.get(&format!("/api/v1/remediations/{id}"))?;
            last = part(&one, "remediation").clone();
            Ok(over.contains(&part(&last, "state").as_str().unwrap_or_default()))
        })
        .with_context(|| format!("it is {last}"))?;
        Ok(last)
    }

    fn frozen(&self, member: &Member) -> Result<(bool, String)> {
        let mut why = String::new();
        let id = member.executor();
        let waited = wait_until("it is frozen", PATIENCE, || {
            let all = self.site.visitor.get("/api/v1/executors")?;
            let own = all.as_array().into_iter().flatten().find(|one| *part(one, "id") == id.as_str());
            why = own.and_then(|one| part(one, "frozen").as_str()).unwrap_or_default().to_owned();
            Ok(!why.is_empty())
        });
        Ok((waited.is_ok(), why))
    }
}

fn said(claims: &mut Claims, name: &str, refused: bool, recorded: bool, detail: &str) {
    claims.claim(name, refused && recorded, json!({"refused": refused, "recorded": recorded}), || detail.to_owned());
}

fn token(site: &Site, name: &str, uses: u32) -> Result<EnrolmentToken> {
    let made = site.visitor.post("/api/v1/enrolments", json!({ "name": name, "uses": uses, "confirmed": true }))?;
    Ok(part(&made, "token").as_str().context("a token")?.parse()?)
}

/// The trick of saying what was said before, or to somebody else.
fn instead(batch: Batch) -> Trick {
    Trick::Instead(Box::new(move |_, _| Ok(batch)))
}

fn copy_folder(from: &Path, to: &PathBuf) -> Result<()> {
    use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
    std::fs::DirBuilder::new().mode(std::fs::metadata(from)?.permissions().mode()).create(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
