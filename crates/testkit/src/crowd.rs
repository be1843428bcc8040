//! Agents without a host behind them: keys of their own, a journal on the disk, the agent's own link over mutual TLS, and
//! an upgrade that is a double of a [`Shop`]. Each lives in a thread until the process ends.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use anyhow::{Context, Result, ensure};
use stanch_action::Catalogue;
use stanch_agent::fleet::{HttpsLink, Identity};
use stanch_model::Timestamp;
use stanch_model::asset::{Asset, AssetKind};
use stanch_model::enrol::{Certified, Enrol, EnrolmentToken, executor_id};
use stanch_model::id::ExecutorId;
use stanch_model::order::{Batch, Hello, Progress, Receipt};
use stanch_model::sign::{Signed, SigningKey};
use stanch_runner::{Config, Link, LinkError, NoRules, Runner, Shutdown, Tools, serve};
use tokio::sync::Semaphore;

use crate::shop::{Double, Shop, facts};

/// How many enrol at once.
const TOGETHER: usize = 16;

/// What the agents have in common.
#[derive(Debug, Clone)]
pub struct Crowd {
    /// The doors of the servers; the agents know all of them.
    pub doors: Vec<String>,
    /// Where their journals lie.
    pub folder: PathBuf,
    /// What they install.
    pub shop: Arc<Shop>,
    /// Polls that were answered.
    pub answered: Arc<AtomicU64>,
}

impl Crowd {
    /// Lets these numbers in with a token, and sets them to work.
    ///
    /// # Errors
    /// When one of them is not let in.
    pub async fn join(&self, numbers: Range<usize>, token: &EnrolmentToken) -> Result<()> {
        let slots = Arc::new(Semaphore::new(TOGETHER));
        let mut going = Vec::with_capacity(numbers.len());
        for number in numbers {
            let (crowd, token, slots) = (self.clone(), token.clone(), Arc::clone(&slots));
            going.push(tokio::spawn(async move {
                let _slot = slots.acquire_owned().await?;
                let member = crowd.enrol(number, &token).await?;
                let link = Counted { link: HttpsLink::new(&member.identity)?, answered: crowd.answered };
                member.serve(Arc::new(link)).map(drop)
            }));
        }
        for one in going {
            one.await??;
        }
        Ok(())
    }

    /// Lets one in.
    ///
    /// # Errors
    /// When it is not let in.
    pub async fn enrol(&self, number: usize, token: &EnrolmentToken) -> Result<Member> {
        let stranger = reqwest::Client::builder().tls_danger_accept_invalid_certs(true).no_proxy().build()?;
        let door = self.doors.get(number % self.doors.len().max(1)).context("no server")?;
        let authority = stranger.get(format!("{door}/executor/v1/authority")).send().await?.text().await?;
        let name = format!("double-{number:04}");
        let asset = Asset::unlabelled(AssetKind::Host, &name, &name);
        let mut seed = [7; 32];
        if let Some((front, _)) = seed.split_first_chunk_mut::<8>() {
            *front = (number as u64 + 1).to_be_bytes();
        }
        let own = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        let request = rcgen::CertificateParams::default().serialize_request(&own)?.pem()?;
        let identity = Identity {
            server: self.doors.join(","),
            proxy: None,
            root: token.root,
            authority,
            certificate: String::new(),
            key: own.serialize_pem(),
            renew_at: Timestamp::MAX,
        };
        let folder = self.folder.join(format!("agent-{number}"));
        let mut member = Member { number, asset, identity, folder, seed, shop: Arc::clone(&self.shop) };
        let hello = member.open()?.hello(member.actions())?;
        let asked = Signed::new(Enrol { secret: token.secret(), hello, request }, &SigningKey::from_seed(&seed)?)?;
        let answer = stranger.post(format!("{door}/executor/v1/enrol")).json(&asked).send().await?;
        ensure!(answer.status().is_success(), "{name} was not let in: {}", answer.text().await?);
        let certified: Certified = answer.json().await?;
        member.identity.certificate = certified.certificate;
        Ok(member)
    }
}

/// One that was let in.
#[derive(Debug, Clone)]
pub struct Member {
    number: usize,
    /// What it says it is.
    pub asset: Asset,
    /// What it shows to the servers.
    pub identity: Identity,
    /// Where its journal lies.
    pub folder: PathBuf,
    seed: [u8; 32],
    shop: Arc<Shop>,
}

/// One at work. It goes on when this is dropped.
#[derive(Debug)]
pub struct AtWork {
    shutdown: Shutdown,
    thread: JoinHandle<()>,
}

impl AtWork {
    /// Ends it after its current poll.
    pub fn end(self) {
        self.shutdown.ask();
        drop(self.thread.join());
    }
}

impl Member {
    /// Who it is to its servers.
    pub fn executor(&self) -> ExecutorId {
        executor_id(&self.asset.id)
    }

    /// From its next start on it is a customer of another shop.
    pub fn sell(&mut self, shop: &Arc<Shop>) {
        self.shop = Arc::clone(shop);
    }

    /// Its journal and its keys.
    ///
    /// # Errors
    /// When somebody else has them open, or they are damaged.
    pub fn open(&self) -> Result<Runner> {
        Ok(Runner::open(
            &self.folder,
            Config::new(self.executor(), self.asset.clone(), self.identity.root, "boot", self.seed),
        )?)
    }

    fn catalogue(&self) -> Catalogue {
        Catalogue::new()
            .with(Box::new(Double::new("package.upgrade", self.number, &self.shop)))
            .with(Box::new(Double::new("service.restart", self.number, &self.shop)))
    }

    fn actions(&self) -> Vec<String> {
        self.catalogue().iter().map(|action| action.definition().name.to_owned()).collect()
    }

    /// Sets it to work over a link, in a thread of its own.
    ///
    /// # Errors
    /// When its journal is not to be had.
    pub fn serve(self, link: Arc<dyn Link>) -> Result<AtWork> {
        let (runner, shutdown) = (self.open()?, Shutdown::new());
        let ends = shutdown.clone();
        let thread = std::thread::Builder::new().stack_size(1 << 20).spawn(move || {
            let catalogue = self.catalogue();
            let facts = |_refresh: bool| facts(self.number, &self.asset, &self.shop);
            let tools = Tools {
                catalogue: &catalogue,
                facts: &facts,
                guard: &NoRules,
                rehearse: None,
                progress: &|word| link.progress(word),
                shutdown: &ends,
            };
            if let Err(error) = serve(&runner, link.as_ref(), &tools) {
                eprintln!("{}: {error}", self.asset.name);
            }
        })?;
        Ok(AtWork { shutdown, thread })
    }
}

/// A link that counts the polls that were answered.
struct Counted {
    link: HttpsLink,
    answered: Arc<AtomicU64>,
}

impl Link for Counted {
    fn poll(&self, hello: Hello) -> Result<Option<Batch>, LinkError> {
        let batch = self.link.poll(hello)?;
        self.answered.fetch_add(1, Ordering::SeqCst);
        Ok(batch)
    }

    fn deliver(&self, receipt: &Signed<Receipt>) -> Result<(), LinkError> {
        self.link.deliver(receipt)
    }

    fn progress(&self, progress: Progress) {
        self.link.progress(progress);
    }
}
