//! The feeds in use. Opening them costs next to nothing: a feed is unpacked when it is first asked.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use jiff::Timestamp;
use stanch_model::assessment::{Cvss, Enrichment, Kev, SsvcOptions};
use stanch_model::finding::Finding;

use crate::compiled::Compiled;
use crate::error::{FeedError, Problem};
use crate::index::Index;
use crate::meta::{FeedMeta, FreshFor, Freshness, Kind};
use crate::releases::Release;
use crate::support::Support;
use crate::vex::Statement;
use crate::{cve, cvss, epss, kev, osv, vulnrichment};

/// All feeds in use.
#[derive(Debug, Clone, Default)]
pub struct Knowledge {
    feeds: BTreeMap<String, Arc<Feed>>,
    fresh_for: FreshFor,
}

#[derive(Debug)]
struct Feed {
    compiled: Compiled,
    table: OnceLock<Result<Table, Problem>>,
}

#[derive(Debug)]
enum Table {
    Osv(Box<Index>),
    Kev(kev::Table),
    Epss(epss::Table),
    Cvss(cvss::Table),
    Vulnrichment(vulnrichment::Table),
    Vex(Vec<Statement>),
    Support(Support),
}

/// One feed as people see it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct FeedStatus {
    /// What it says about itself.
    pub meta: FeedMeta,
    /// How fresh it is.
    pub freshness: Freshness,
    /// Why it cannot be used, if it was tried and is damaged.
    pub damaged: Option<String>,
}

impl Feed {
    fn table(&self) -> Option<&Table> {
        self.table.get_or_init(|| self.unpack()).as_ref().ok()
    }

    fn unpack(&self) -> Result<Table, Problem> {
        let body = self.compiled.body()?;
        let meta = &self.compiled.meta;
        Ok(match meta.kind {
            Kind::Osv => Table::Osv(Box::new(Index::load(meta.ecosystem.as_deref().unwrap_or_default(), &body)?)),
            Kind::Kev => Table::Kev(kev::Table::load(&body)?),
            Kind::Epss => Table::Epss(epss::Table::load(meta, &body)?),
            Kind::Cvss => Table::Cvss(cvss::Table::load(&body)?),
            Kind::Vulnrichment => Table::Vulnrichment(vulnrichment::Table::load(&body)?),
            Kind::Vex => Table::Vex(serde_json::from_slice(&body).map_err(Problem::Json)?),
            Kind::Support => Table::Support(Support::load(&body)?),
        })
    }
}

impl Knowledge {
    /// Knowledge made of these feeds; of two with the same name the later one counts.
    pub fn of(feeds: impl IntoIterator<Item = Compiled>) -> Self {
        Self::default().with(feeds)
    }

    /// The same knowledge with these feeds added, or put in the place of those with their names.
    #[must_use]
    pub fn with(mut self, feeds: impl IntoIterator<Item = Compiled>) -> Self {
        for compiled in feeds {
            let name = compiled.meta.name.clone();
            self.feeds.insert(name, Arc::new(Feed { compiled, table: OnceLock::new() }));
        }
        self
    }

    /// The same knowledge, with the feeds of `other` wherever there is none of that name.
    #[must_use]
    pub fn or(mut self, other: &Self) -> Self {
        for (name, feed) in &other.feeds {
            self.feeds.entry(name.clone()).or_insert_with(|| Arc::clone(feed));
        }
        self
    }

    /// The same knowledge, believed for so long.
    #[must_use]
    pub const fn believed_for(mut self, fresh_for: FreshFor) -> Self {
        self.fresh_for = fresh_for;
        self
    }

    /// The feeds built into the program.
    ///
    /// # Errors
    /// Only when the program itself is damaged.
    pub fn snapshot() -> Result<Self, FeedError> {
        crate::snapshot::open().map(Self::of)
    }

    /// The feeds of a folder laid out as publishers name their files; see [`crate::load`]. With a `cache` folder, what
    /// was compiled before is not parsed again.
    ///
    /// # Errors
    /// When any feed in the folder is refused.
    pub fn from_dir(dir: &Path, cache: Option<&Path>) -> Result<Self, FeedError> {
        crate::load::folder(dir, cache).map(Self::of)
    }

    /// The compiled feeds that were kept in a folder.
    ///
    /// # Errors
    /// When the folder cannot be listed or a feed in it is damaged.
    pub fn from_store(folder: &Path) -> Result<Self, FeedError> {
        crate::load::store(folder).map(Self::of)
    }

    /// The feeds, by name.
    pub fn feeds(&self, now: Timestamp) -> Vec<FeedStatus> {
        self.feeds
            .values()
            .map(|feed| FeedStatus {
                meta: feed.compiled.meta.clone(),
                freshness: feed.compiled.meta.freshness(&self.fresh_for, now),
                damaged: feed.table.get().and_then(|table| table.as_ref().err()).map(ToString::to_string),
            })
            .collect()
    }

    /// The compiled feeds themselves.
    pub fn compiled(&self) -> impl Iterator<Item = &Compiled> {
        self.feeds.values().map(|feed| &feed.compiled)
    }

    /// The advisories of an ecosystem and what they say about themselves.
    pub fn index(&self, ecosystem: &str) -> Option<(&Index, &FeedMeta)> {
        let feed = self.feeds.get(&osv::feed_name(ecosystem))?;
        match feed.table()? {
            Table::Osv(index) => Some((index, &feed.compiled.meta)),
            _ => None,
        }
    }

    /// Whether the advisories of an ecosystem are at hand and fresh.
    pub fn freshness(&self, ecosystem: &str, now: Timestamp) -> Option<Freshness> {
        self.index(ecosystem).map(|(_, meta)| meta.freshness(&self.fresh_for, now))
    }

    /// The support list of a release.
    pub fn support(&self, release: &Release) -> Option<(&Support, &FeedMeta)> {
        let feed = self.feeds.get(&format!("support/{}", release.codename))?;
        match feed.table()? {
            Table::Support(support) => Some((support, &feed.compiled.meta)),
            _ => None,
        }
    }

    /// All VEX statements.
    pub fn statements(&self) -> impl Iterator<Item = &Statement> {
        self.feeds.values().filter(|feed| feed.compiled.meta.kind == Kind::Vex).flat_map(|feed| match feed.table() {
            Some(Table::Vex(statements)) => statements.as_slice(),
            _ => &[],
        })
    }

    /// All that the feeds know of a CVE. Empty for any other id.
    pub fn enrich(&self, id: &str) -> Enrichment {
        let mut enrichment = Enrichment::default();
        let Some(key) = cve::number(id) else { return enrichment };
        if let Some(Table::Kev(table)) = self.table("kev") {
            enrichment.kev = table.get(key);
        }
        if let Some(Table::Epss(table)) = self.table("epss") {
            enrichment.epss = table.get(key);
        }
        if let Some(Table::Vulnrichment(table)) = self.table("vulnrichment") {
            enrichment.ssvc = table.options(key);
            enrichment.cvss.extend(table.scores(key));
            enrichment.kev = enrichment.kev.or_else(|| table.kev(key));
        }
        if let Some(Table::Cvss(table)) = self.table("cvss") {
            enrichment.cvss.extend(table.get(key));
        }
        cvss::sort(&mut enrichment.cvss);
        enrichment
    }

    /// All that the feeds know of a finding: of its id and every alias, the worst of each, with the scores that the
    /// advisory itself gives.
    pub fn enrich_finding(&self, finding: &Finding) -> Enrichment {
        let mut whole = Enrichment::default();
        for id in std::iter::once(&finding.id).chain(&finding.aliases) {
            let one = self.enrich(id);
            whole.kev = worse_kev(whole.kev, one.kev);
            if one.epss.as_ref().map(|epss| epss.score_e5) > whole.epss.as_ref().map(|epss| epss.score_e5) {
                whole.epss = one.epss;
            }
            whole.cvss.extend(one.cvss);
            whole.ssvc = worse_options(whole.ssvc, one.ssvc);
        }
        let source = finding.feed.as_ref().map_or("advisory", |feed| feed.name.as_str());
        whole.cvss.extend(finding.cvss_vectors.iter().filter_map(|vector| cvss::score(vector, source)));
        let mut seen: Vec<Cvss> = Vec::new();
        whole.cvss.retain(|score| {
            let new = !seen.iter().any(|other| other.vector == score.vector && other.score_e1 == score.score_e1);
            if new {
                seen.push(score.clone());
            }
            new
        });
        cvss::sort(&mut whole.cvss);
        whole
    }

    fn table(&self, name: &str) -> Option<&Table> {
        self.feeds.get(name)?.table()
    }
}

fn worse_kev(a: Option<Kev>, b: Option<Kev>) -> Option<Kev> {
    match (a, b) {
        (Some(a), Some(b)) => Some(Kev {
            added: a.added.min(b.added),
            due: [a.due, b.due].into_iter().flatten().min(),
            ransomware: a.ransomware || b.ransomware,
        }),
        (a, b) => a.or(b),
    }
}

fn worse_options(a: SsvcOptions, b: SsvcOptions) -> SsvcOptions {
    SsvcOptions {
        exploitation: a.exploitation.max(b.exploitation),
        automatable: a.automatable.max(b.automatable),
        technical_impact: a.technical_impact.max(b.technical_impact),
    }
}
