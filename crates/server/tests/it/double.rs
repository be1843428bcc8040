//! An executor whose host lives in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use serde_json::json;
use stanch_model::ability::Abilities;
use stanch_model::asset::{Asset, AssetKind};
use stanch_model::canonical::Digest;
use stanch_model::delta::{self, Lasting};
use stanch_model::facts::{
    Candidate, Health, HostFacts, InUse, KernelFacts, Known, ListeningSocket, Origin, OsRelease, Package, PortInUse,
    Posture, Talks,
};
use stanch_model::id::{ExecutorId, ItemId, OrderId, TaskId};
use stanch_model::item::{Subject, item_id};
use stanch_model::order::{
    Answer, Check, CheckOutcome, Evidence, Grant, Held, Hello, Order, PlanRefusal, Position, Receipt, Reconciled,
    Rehearsed, StepOutcome, StepReport, Verb,
};
use stanch_model::plan::{Change, Disruption, Leaf, PlannedStep, Reversibility};
use stanch_model::posture::{self, Reading};
use stanch_model::sign::{Signed, SigningKey};
use stanch_model::trust::Demand;
use stanch_server::{Clock, Gateway};

/// What the double does with the next orders.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Mood {
    /// As ordered.
    #[default]
    Obedient,
    /// Changes the package, then fails.
    Fails,
    /// Says it is done and changes nothing.
    Lies,
    /// Takes orders to apply and never begins them.
    Deaf,
}

/// The host behind the executor.
pub(crate) struct Host {
    pub(crate) name: String,
    pub(crate) kind: AssetKind,
    /// Switches that actions of these names turn on, such as `account.disable`; they are off at first.
    pub(crate) switches: BTreeMap<String, bool>,
    /// What tells this machine from others.
    pub(crate) machine: String,
    /// Its health probe fails.
    pub(crate) ill: bool,
    pub(crate) installed: BTreeMap<String, String>,
    pub(crate) offered: BTreeMap<String, String>,
    /// What its executor would really install, where that is not what its facts offer.
    pub(crate) brings: BTreeMap<String, String>,
    pub(crate) mood: Mood,
    /// Orders of these verbs are kept waiting.
    pub(crate) gate: Option<&'static str>,
    /// Verbs that came to the gate.
    pub(crate) at_gate: Vec<&'static str>,
    /// Every order that was taken.
    pub(crate) taken: Vec<&'static str>,
    pub(crate) held: bool,
    /// Tells facts whole, as executors before this release do.
    pub(crate) old: bool,
    /// Its next difference does not lead where it says.
    pub(crate) miscounts: bool,
    /// What it told last.
    pub(crate) told: Option<Lasting>,
    /// From what each order to read facts asked for a difference.
    pub(crate) asked_since: Vec<Option<Digest>>,
    /// How often the indexes were fetched.
    pub(crate) fetched: u32,
    /// What the archives offer cannot be read.
    pub(crate) blind: bool,
    /// When its packages were installed.
    pub(crate) installed_at: Option<Timestamp>,
    /// It refuses to turn switches on, for this reason.
    pub(crate) refuses: Option<String>,
    /// Ports on which packages listen, with their connections; `None` when its executor does not tell.
    pub(crate) listens: Option<BTreeMap<u16, (&'static str, u32)>>,
    /// With whom it talks.
    pub(crate) talks: Option<Talks>,
    /// Whom its own rules ask to sign for plans.
    pub(crate) demands: Option<Demand>,
    /// The newest issuer that it has seen.
    pub(crate) issuer: u64,
    /// With what it was last let act.
    pub(crate) granted: Option<Grant>,
    /// Settings as its executor reads them; `None` when it does not look.
    pub(crate) posture: Option<Posture>,
    position: Position,
    counter: u64,
    /// Its journal does not go back to the first order.
    forgetful: bool,
    before: BTreeMap<TaskId, BTreeMap<String, String>>,
    done: BTreeMap<TaskId, Vec<StepReport>>,
}

fn in_use((port, (_, connections)): (&u16, &(&str, u32))) -> PortInUse {
    PortInUse { port: *port, connections: *connections }
}

fn sockets(listens: &BTreeMap<u16, (&'static str, u32)>) -> Known<Vec<ListeningSocket>> {
    let socket = |(port, (package, _)): (&u16, &(&str, u32))| ListeningSocket {
        protocol: "tcp".to_owned(),
        address: [0, 0, 0, 0].into(),
        port: *port,
        exe: Some(format!("/usr/sbin/{package}")),
        package: Some((*package).to_owned()),
        service: None,
    };
    Known::Known(listens.iter().map(socket).collect())
}

impl Host {
    pub(crate) fn new(name: &str, packages: &[(&str, &str, &str)]) -> Self {
        Self {
            name: name.to_owned(),
            kind: AssetKind::Host,
            switches: BTreeMap::new(),
            machine: "machine-id-of-the-double".to_owned(),
            ill: false,
            installed: packages.iter().map(|(name, now, _)| ((*name).to_owned(), (*now).to_owned())).collect(),
            offered: packages.iter().map(|(name, _, offer)| ((*name).to_owned(), (*offer).to_owned())).collect(),
            brings: BTreeMap::new(),
            mood: Mood::Obedient,
            gate: None,
            at_gate: Vec::new(),
            taken: Vec::new(),
            held: false,
            old: false,
            miscounts: false,
            told: None,
            asked_since: Vec::new(),
            fetched: 0,
            blind: false,
            installed_at: None,
            refuses: None,
            listens: None,
            talks: None,
            demands: None,
            issuer: 0,
            granted: None,
            posture: None,
            position: Position::default(),
            counter: 0,
            forgetful: false,
            before: BTreeMap::new(),
            done: BTreeMap::new(),
        }
    }

    /// Something that has no packages, only switches.
    pub(crate) fn of_kind(kind: AssetKind, name: &str, actions: &[&str]) -> Self {
        let switches = actions.iter().map(|action| ((*action).to_owned(), false)).collect();
        Self { kind, switches, ..Self::new(name, &[]) }
    }

    pub(crate) fn asset(&self) -> Asset {
        Asset::unlabelled(self.kind, &self.machine, &self.name)
    }

    pub(crate) fn item(&self, source: &str) -> ItemId {
        item_id(&self.asset().id, &Subject::SourcePackage { source: source.to_owned() })
    }

    pub(crate) fn version(&self, package: &str) -> String {
        self.installed[package].clone()
    }

    /// The machine forgets: as if its disk had been put back.
    pub(crate) fn rewind(&mut self) {
        self.position = Position::default();
        self.counter = 0;
    }

    /// It took orders of a server that is no more.
    pub(crate) fn jump(&mut self) {
        self.position.epoch = self.position.epoch.max(1);
        self.position.generation += 500;
    }

    fn facts(&self, clock: &dyn Clock) -> HostFacts {
        let origin = Origin {
            origin: "Debian".to_owned(),
            label: "Debian-Security".to_owned(),
            suite: "stable-security".to_owned(),
            codename: "bookworm-security".to_owned(),
            component: "main".to_owned(),
        };
        let package = |(name, version): (&String, &String)| Package {
            name: name.clone(),
            architecture: "amd64".to_owned(),
            version: version.parse().unwrap(),
            source: name.clone(),
            source_version: version.parse().unwrap(),
            built_using: Vec::new(),
            hold: false,
            essential: false,
            automatic: None,
            origins: Vec::new(),
            installed_at: self.installed_at,
        };
        let newer = self.offered.iter().filter(|(name, offer)| self.installed[*name] != **offer);
        let candidates = newer.map(|(name, offer)| {
            let candidate = Candidate {
                version: offer.parse().unwrap(),
                source_version: offer.parse().unwrap(),
                origin: origin.clone(),
                pinned_away: false,
            };
            (name.clone(), vec![candidate])
        });
        HostFacts {
            asset: self.asset(),
            collected_at: clock.now(),
            boot_id: Known::Known("boot".to_owned()),
            os: OsRelease {
                id: "debian".to_owned(),
                version_id: Some("12".to_owned()),
                codename: Some("bookworm".to_owned()),
                pretty_name: "Debian GNU/Linux 12 (bookworm)".to_owned(),
            },
            architecture: "amd64".to_owned(),
            packages: self.installed.iter().map(package).collect(),
            components: Vec::new(),
            bundles: Vec::new(),
            unsearched: Vec::new(),
            broken: Vec::new(),
            candidates: if self.blind {
                Known::Unknown("the indexes are damaged".to_owned())
            } else {
                Known::Known(candidates.collect())
            },
            indexes_at: None,
            kernel: Known::Known(KernelFacts {
                running_release: "6.1.0-50-amd64".to_owned(),
                running_version: None,
                installed: Vec::new(),
            }),
            stale: Known::Known(Vec::new()),
            sockets: self.listens.as_ref().map_or_else(|| Known::Unknown("needs root".to_owned()), sockets),
            updaters: Vec::new(),
            health: vec![Health { name: "http".to_owned(), well: !self.ill, detail: "as it says".to_owned() }],
            in_use: self.listens.as_ref().map(|listens| InUse {
                sessions: Known::Known(2),
                connections: Known::Known(listens.iter().map(in_use).collect()),
            }),
            talks: self.talks.clone(),
            posture: self.posture.clone(),
            gaps: Vec::new(),
        }
    }

    /// Facts as its executor tells them: what is different since those that were told last, where the server has them.
    fn tell(&mut self, facts: HostFacts, since: Option<Digest>) -> Answer {
        let lasting = Lasting::of(&facts).unwrap();
        self.asked_since.push(since);
        let before = self.told.replace(lasting.clone()).filter(|told| since == Some(told.digest()));
        match before {
            Some(before) => {
                let mut delta = lasting.since(&before, &facts);
                if std::mem::take(&mut self.miscounts) {
                    delta.result = Digest::of_bytes(b"something else");
                }
                Answer::Delta { delta: Box::new(delta) }
            }
            None => Answer::Facts { facts: Box::new(facts) },
        }
    }

    fn answer(&mut self, order: &Order, clock: &dyn Clock) -> Option<Answer> {
        if clock.now() >= order.finish_before {
            return Some(Answer::Refused { message: "its time is over".to_owned(), hint: None });
        }
        Some(match &order.verb {
            Verb::Observe { .. } if self.kind != AssetKind::Host => {
                Answer::Refused { message: "it has no facts".to_owned(), hint: None }
            }
            Verb::Observe { refresh, since } => {
                self.fetched += u32::from(*refresh);
                self.tell(self.facts(clock), *since)
            }
            Verb::Plan { requests, .. } => self.plan(requests),
            Verb::Apply(grant) => {
                if self.mood == Mood::Deaf {
                    return None;
                }
                self.granted = Some(grant.clone());
                let steps = self.apply(&grant.task, &grant.leaf.steps, order, clock);
                self.done.insert(grant.task.clone(), steps.clone());
                Answer::Applied { steps }
            }
            Verb::Undo { grant, .. } if self.switches.contains_key(&grant.leaf.steps[0].action) => {
                let action = grant.leaf.steps[0].action.clone();
                self.switches.insert(action.clone(), false);
                let step = StepReport { action, ..report(order, StepOutcome::Done, Vec::new(), clock) };
                Answer::Undone { steps: vec![step] }
            }
            Verb::Undo { grant, .. } if grant.leaf.steps[0].action == "config.set" => {
                grant.leaf.steps.iter().for_each(|step| self.set(step, "from"));
                let step = StepReport {
                    action: "config.set".to_owned(),
                    ..report(order, StepOutcome::Done, Vec::new(), clock)
                };
                Answer::Undone { steps: vec![step] }
            }
            Verb::Undo { task, items, .. } => self.undo(task, items, order, clock),
            Verb::Rehearse { leaf } => self.rehearse(leaf, order, clock),
            Verb::Verify { leaf, .. } => {
                Answer::Verified { checks: leaf.steps.iter().map(|step| self.check(&step.action)).collect() }
            }
            Verb::Reconcile { task, .. } => Answer::Reconciled {
                known: match self.done.get(task) {
                    Some(steps) => Reconciled::Over { steps: steps.clone() },
                    None if self.forgetful => Reconciled::Lost,
                    None => Reconciled::NotStarted,
                },
            },
            Verb::Hold { .. } => {
                self.held = true;
                Answer::Held { held: true }
            }
            Verb::Release => {
                self.held = false;
                Answer::Held { held: false }
            }
        })
    }

    /// What a copy shows of the host's mood; the host stays as it is.
    fn rehearse(&self, leaf: &Leaf, order: &Order, clock: &dyn Clock) -> Answer {
        if let Some(message) = self.refuses.clone() {
            return Answer::Refused { message, hint: Some("ask its administrator".to_owned()) };
        }
        let fails = StepOutcome::Failed { message: "the postinst of tool failed".to_owned(), hint: None };
        let outcome = if self.mood == Mood::Fails { fails } else { StepOutcome::Done };
        let went = |outcome| report(order, outcome, leaf.steps[0].changes.clone(), clock);
        let steps = vec![went(outcome)];
        let left_out = vec!["service.restart: nothing runs in a copy".to_owned()];
        let undone = vec![went(StepOutcome::Done)];
        let checks = vec![self.check(&leaf.steps[0].action)];
        let rehearsed =
            Rehearsed { steps, checks, undone, left_out, wrote_bytes: 4096, took_ms: 1500, ..Rehearsed::default() };
        Answer::Rehearsed { rehearsed: Box::new(rehearsed) }
    }

    /// Whether what an action did is still so.
    fn check(&self, action: &str) -> Check {
        match self.switches.get(action) {
            Some(on) => Check {
                name: format!("{action} holds"),
                outcome: if *on { CheckOutcome::Successful } else { CheckOutcome::Failed },
                detail: if *on { "it is on" } else { "it is off" }.to_owned(),
            },
            None => Check {
                name: "dpkg-version".to_owned(),
                outcome: CheckOutcome::Successful,
                detail: "as planned".to_owned(),
            },
        }
    }

    fn plan(&self, requests: &[stanch_model::order::StepRequest]) -> Answer {
        let mut steps = Vec::new();
        let (mut compliant, mut refused) = (Vec::new(), Vec::new());
        for request in requests {
            let Some(on) = self.switches.get(&request.action) else { continue };
            if let Some(reason) = self.refuses.clone() {
                refused.push(PlanRefusal { items: request.items.clone(), reason, hint: None });
                continue;
            }
            if *on {
                compliant.extend(request.items.clone());
                continue;
            }
            steps.push(PlannedStep {
                action: request.action.clone(),
                params: request.want.clone(),
                before: Digest::of_bytes(format!("{:?}", self.switches).as_bytes()),
                changes: vec![Change {
                    subject: self.name.clone(),
                    before: Some("off".to_owned()),
                    after: Some("on".to_owned()),
                    note: None,
                }],
                reversibility: Reversibility::Restorable,
                undo: "turns it off again".to_owned(),
                disruption: Disruption::None,
            });
        }
        for request in requests.iter().filter(|request| request.action == "config.set") {
            let check = posture::find(request.want["check"].as_str().unwrap()).unwrap();
            let Some(Reading::Value(now)) = self.posture.as_ref().map(|posture| check.reading(posture)) else {
                continue;
            };
            steps.push(PlannedStep {
                action: "config.set".to_owned(),
                params: json!({ "name": check.name, "from": now, "to": check.set }),
                before: Digest::of_bytes(now.as_bytes()),
                changes: vec![Change {
                    subject: check.setting(),
                    before: Some(now),
                    after: check.set.map(str::to_owned),
                    note: check.caution.map(str::to_owned),
                }],
                reversibility: Reversibility::Restorable,
                undo: "gives the kernel its former values".to_owned(),
                disruption: Disruption::None,
            });
        }
        for request in requests.iter().filter(|request| request.action == "package.upgrade") {
            let (mut changes, mut packages) = (Vec::new(), Vec::new());
            let mut versions = BTreeMap::new();
            for source in request.want["sources"].as_array().unwrap() {
                let name = source.as_str().unwrap();
                let (now, then) = (&self.installed[name], self.brings.get(name).unwrap_or(&self.offered[name]));
                versions.insert(name, then);
                packages.push(json!({ "name": name, "source": name, "to": then }));
                changes.push(Change {
                    subject: format!("{name}:amd64"),
                    before: Some(now.clone()),
                    after: Some(then.clone()),
                    note: None,
                });
            }
            steps.push(PlannedStep {
                action: "package.upgrade".to_owned(),
                params: json!({ "versions": versions, "packages": packages }),
                before: Digest::of_bytes(format!("{:?}", self.installed).as_bytes()),
                changes,
                reversibility: Reversibility::Restorable,
                undo: "puts the versions back whose packages are kept".to_owned(),
                disruption: Disruption::None,
            });
        }
        Answer::Planned { steps, compliant, refused }
    }

    /// Gives the kernel one of the values that a step names.
    fn set(&mut self, step: &PlannedStep, which: &str) {
        let name = step.params["name"].as_str().unwrap().to_owned();
        let value = step.params[which].as_str().unwrap().to_owned();
        self.posture.as_mut().unwrap().sysctls.insert(name, Known::Known(value));
    }

    fn apply(&mut self, task: &TaskId, steps: &[PlannedStep], order: &Order, clock: &dyn Clock) -> Vec<StepReport> {
        self.before.insert(task.clone(), self.installed.clone());
        if self.mood != Mood::Lies {
            for step in steps {
                if let Some(on) = self.switches.get_mut(&step.action) {
                    *on = true;
                    continue;
                }
                if step.action == "config.set" {
                    self.set(step, "to");
                    continue;
                }
                for (name, version) in step.params["versions"].as_object().unwrap() {
                    self.installed.insert(name.clone(), version.as_str().unwrap().to_owned());
                }
            }
        }
        let outcome = if self.mood == Mood::Fails {
            StepOutcome::Failed { message: "dpkg broke down".to_owned(), hint: Some("look at its log".to_owned()) }
        } else {
            StepOutcome::Done
        };
        let action = steps.first().map_or("package.upgrade", |step| step.action.as_str()).to_owned();
        let changes = steps.iter().flat_map(|step| step.changes.clone()).collect();
        vec![StepReport { action, ..report(order, outcome, changes, clock) }]
    }

    fn undo(&mut self, task: &TaskId, items: &[ItemId], order: &Order, clock: &dyn Clock) -> Answer {
        let before = self.before[task].clone();
        for (name, version) in before {
            if items.contains(&self.item(&name)) {
                self.installed.insert(name, version);
            }
        }
        Answer::Undone { steps: vec![report(order, StepOutcome::Done, Vec::new(), clock)] }
    }
}

fn report(order: &Order, outcome: StepOutcome, changes: Vec<Change>, clock: &dyn Clock) -> StepReport {
    StepReport {
        step: 0,
        action: "package.upgrade".to_owned(),
        key: Digest::of_bytes(order.id.as_str().as_bytes()),
        outcome,
        started_at: Some(clock.now()),
        ended_at: Some(clock.now()),
        entered: 1,
        after: None,
        changes,
        evidence: vec![Evidence {
            name: "apt-get install".to_owned(),
            text: "Setting up <b>&amp;</b> ...\n".to_owned(),
            cut_bytes: 0,
            digest: Digest::of_bytes(b""),
        }],
    }
}

pub(crate) const fn verb(verb: &Verb) -> &'static str {
    match verb {
        Verb::Observe { .. } => "observe",
        Verb::Plan { .. } => "plan",
        Verb::Apply(_) => "apply",
        Verb::Undo { .. } => "undo",
        Verb::Rehearse { .. } => "rehearse",
        Verb::Verify { .. } => "verify",
        Verb::Hold { .. } => "hold",
        Verb::Release => "release",
        Verb::Reconcile { .. } => "reconcile",
    }
}

/// The executor's process: its key and its answers that the server does not have yet outlive the server.
pub(crate) struct Double {
    pub(crate) host: Arc<Mutex<Host>>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) id: ExecutorId,
    seed: Mutex<[u8; 32]>,
    waiting: Mutex<Vec<(OrderId, Order)>>,
    unsent: Mutex<Vec<Signed<Receipt>>>,
}

impl Double {
    pub(crate) fn new(host: Host, clock: Arc<dyn Clock>) -> Self {
        Self::numbered(7, host, clock)
    }

    /// One of several.
    pub(crate) fn numbered(number: u8, host: Host, clock: Arc<dyn Clock>) -> Self {
        let id = ExecutorId::from_entropy([number; 10]);
        Self {
            host: Arc::new(Mutex::new(host)),
            clock,
            id,
            seed: Mutex::new([9; 32]),
            waiting: Mutex::default(),
            unsent: Mutex::default(),
        }
    }

    pub(crate) fn key(&self) -> SigningKey {
        SigningKey::from_seed(&self.seed.lock().unwrap()).unwrap()
    }

    /// Its folder is gone: another key, no journal.
    pub(crate) fn lose_folder(&self) {
        *self.seed.lock().unwrap() = [10; 32];
        self.waiting.lock().unwrap().clear();
        self.unsent.lock().unwrap().clear();
        let mut host = self.host.lock().unwrap();
        host.rewind();
        host.done.clear();
        host.forgetful = true;
    }

    pub(crate) fn hello(&self) -> Hello {
        let mut host = self.host.lock().unwrap();
        host.counter += 1;
        Hello {
            executor: self.id.clone(),
            key: self.key().verifying_key(),
            asset: host.asset(),
            position: host.position,
            actions: match host.kind {
                AssetKind::Host => {
                    ["package.upgrade".to_owned()].into_iter().chain(host.switches.keys().cloned()).collect()
                }
                _ => host.switches.keys().cloned().collect(),
            },
            boot_id: "boot".to_owned(),
            counter: host.counter,
            journal_head: Digest::of_bytes(b"head"),
            nonce: host.counter * 31,
            held: Some(if host.held { Held::StopNew } else { Held::No }),
            issuer: host.issuer,
            abilities: host.demands.clone().map(|demands| Abilities {
                probed: [("apt".into(), None), ("dnf".into(), Some("no dnf is installed".into()))].into(),
                demands: Some(demands),
            }),
            version: Some("9.9.9".to_owned()),
            restored: Vec::new(),
            turned_away: Vec::new(),
            deltas: if host.old { 0 } else { delta::FORM },
        }
    }

    /// Serves one server until it is gone.
    pub(crate) async fn serve(self: Arc<Self>, gateway: Gateway) {
        let root = gateway.root_key();
        loop {
            if self.answer_what_waits(&gateway).await.is_err() {
                return;
            }
            let hello = self.hello();
            let batch = match gateway.poll(hello.clone()).await {
                Ok(batch) => batch,
                // The server stops, or thinks ill of this machine.
                Err(error) => return eprintln!("the double ends: {error}"),
            };
            let (_, certificate) = batch.chain.open(&root).expect("the order key goes back to the root");
            for signed in &batch.orders {
                let order = signed.open(&certificate.key).expect("orders are signed by the certified key");
                let mut host = self.host.lock().unwrap();
                assert_eq!(order.nonce, hello.nonce, "an order answers the poll that asked");
                if order.position <= host.position {
                    continue;
                }
                host.position = order.position;
                host.taken.push(verb(&order.verb));
                self.waiting.lock().unwrap().push((order.id.clone(), order.clone()));
            }
        }
    }

    async fn answer_what_waits(&self, gateway: &Gateway) -> Result<(), ()> {
        let waiting = std::mem::take(&mut *self.waiting.lock().unwrap());
        for (id, order) in waiting {
            let answer = {
                let mut host = self.host.lock().unwrap();
                let verb = verb(&order.verb);
                if host.gate == Some(verb) {
                    if !host.at_gate.contains(&verb) {
                        host.at_gate.push(verb);
                    }
                    self.waiting.lock().unwrap().push((id, order));
                    continue;
                }
                host.answer(&order, self.clock.as_ref())
            };
            let Some(answer) = answer else { continue };
            let receipt = Receipt {
                order: order.id.clone(),
                executor: self.id.clone(),
                position: order.position,
                at: self.clock.now(),
                journal_head: Digest::of_bytes(b"head"),
                answer,
            };
            self.unsent.lock().unwrap().push(Signed::new(receipt, &self.key()).unwrap());
        }
        loop {
            let Some(receipt) = self.unsent.lock().unwrap().first().cloned() else { return Ok(()) };
            match gateway.receipt(receipt.clone()).await {
                // Twice, because a network may do so.
                Ok(()) => gateway.receipt(receipt).await.map_err(drop)?,
                Err(error) => {
                    eprintln!("the double ends: {error}");
                    return Err(());
                }
            }
            self.unsent.lock().unwrap().remove(0);
            tokio::task::yield_now().await;
        }
    }
}
