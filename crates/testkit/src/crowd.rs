//! Agents without a host behind them: keys of their own, a journal on the disk, the agent's own link over mutual TLS, and
//! an upgrade that is a double of a [`Shop`]. Each lives in a thread until the process ends.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, ensure};
use stanch_action::Catalogue;
use stanch_agent::fleet::{HttpsLink, Identity};
use stanch_model::Timestamp;
use stanch_model::asset::{Asset, AssetKind};
use stanch_model::enrol::{Certified, Enrol, EnrolmentToken, executor_id};
use stanch_model::order::{Batch, Hello, Progress, Receipt};
use stanch_model::sign::{Signed, SigningKey};
use stanch_runner::{Config, Link, LinkError, NoRules, Runner, Shutdown, Tools, serve};
use tokio::sync::Semaphore;

use crate::shop::{Double, Shop, facts};

/// How many enrol at once.
const TOGETHER: usize = 16;

/// What the agents have in common.
#[derive(Debug)]
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

/// What one of them enrols with.
#[derive(Clone)]
struct Way {
    door: String,
    doors: String,
    folder: PathBuf,
    token: EnrolmentToken,
    authority: String,
    stranger: reqwest::Client,
    shop: Arc<Shop>,
    answered: Arc<AtomicU64>,
}

impl Crowd {
    /// Lets these numbers in with a token, and sets them to work.
    ///
    /// # Errors
    /// When one of them is not let in.
    pub async fn join(&self, numbers: Range<usize>, token: &EnrolmentToken) -> Result<()> {
        let stranger = reqwest::Client::builder().tls_danger_accept_invalid_certs(true).no_proxy().build()?;
        let first = self.doors.first().context("no server")?;
        let authority = stranger.get(format!("{first}/executor/v1/authority")).send().await?.text().await?;
        let slots = Arc::new(Semaphore::new(TOGETHER));
        let mut going = Vec::with_capacity(numbers.len());
        for number in numbers {
            let way = Way {
                door: self.doors.get(number % self.doors.len()).context("no server")?.clone(),
                doors: self.doors.join(","),
                folder: self.folder.join(format!("agent-{number}")),
                token: token.clone(),
                authority: authority.clone(),
                stranger: stranger.clone(),
                shop: Arc::clone(&self.shop),
                answered: Arc::clone(&self.answered),
            };
            let slots = Arc::clone(&slots);
            going.push(tokio::spawn(async move {
                let _slot = slots.acquire_owned().await?;
                way.join(number).await
            }));
        }
        for one in going {
            one.await??;
        }
        Ok(())
    }
}

impl Way {
    async fn join(self, number: usize) -> Result<()> {
        let name = format!("double-{number:04}");
        let asset = Asset::unlabelled(AssetKind::Host, &name, &name);
        let mut seed = [7; 32];
        if let Some((front, _)) = seed.split_first_chunk_mut::<8>() {
            *front = (number as u64 + 1).to_be_bytes();
        }
        let (key, root) = (SigningKey::from_seed(&seed)?, self.token.root);
        let config = Config::new(executor_id(&asset.id), asset.clone(), root, "boot", seed);
        let runner = Runner::open(&self.folder, config)?;
        let catalogue = Catalogue::new()
            .with(Box::new(Double::new("package.upgrade", number, &self.shop)))
            .with(Box::new(Double::new("service.restart", number, &self.shop)));
        let hello = runner.hello(catalogue.iter().map(|action| action.definition().name.to_owned()).collect())?;
        let own = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        let request = rcgen::CertificateParams::default().serialize_request(&own)?.pem()?;
        let asked = Signed::new(Enrol { secret: self.token.secret(), hello, request }, &key)?;
        let answer = self.stranger.post(format!("{}/executor/v1/enrol", self.door)).json(&asked).send().await?;
        ensure!(answer.status().is_success(), "{name} was not let in: {}", answer.text().await?);
        let certified: Certified = answer.json().await?;
        let identity = Identity {
            server: self.doors,
            proxy: None,
            root,
            authority: self.authority,
            certificate: certified.certificate,
            key: own.serialize_pem(),
            renew_at: Timestamp::MAX,
        };
        let link = Counted { link: HttpsLink::new(&identity)?, answered: self.answered };
        let shop = self.shop;
        std::thread::Builder::new().stack_size(1 << 20).spawn(move || {
            let shutdown = Shutdown::new();
            let facts = |_refresh: bool| facts(number, &asset, &shop);
            let tools = Tools {
                catalogue: &catalogue,
                facts: &facts,
                guard: &NoRules,
                rehearse: None,
                progress: &|word| link.progress(word),
                shutdown: &shutdown,
            };
            if let Err(error) = serve(&runner, &link, &tools) {
                eprintln!("{name}: {error}");
            }
        })?;
        Ok(())
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
