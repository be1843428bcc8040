//! Figures for those who watch the server itself, in the text form of OpenMetrics: what is counted as it happens, and what
//! is read from the store when somebody asks.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::api::Problem;
use crate::app::App;
use crate::auth::Sight;
use crate::bus::Stage;
use crate::view;

/// What is sent.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// How a pass of a stage ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Ended {
    /// All was done.
    Done,
    /// Somebody else was first; it is tried again at once.
    Again,
    /// It failed, and is tried again with the next tick.
    Failed,
    /// It took too long and was broken off.
    BrokenOff,
}

impl EncodeLabelValue for Ended {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        let name = match self {
            Self::Done => "done",
            Self::Again => "again",
            Self::Failed => "failed",
            Self::BrokenOff => "broken_off",
        };
        name.encode(encoder)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Pass {
    stage: StageName,
    outcome: Ended,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfStage {
    stage: StageName,
}

/// A stage by the name that people see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct StageName(Stage);

impl EncodeLabelValue for StageName {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        self.0.name().encode(encoder)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Named {
    name: String,
}

fn seconds() -> Histogram {
    Histogram::new([0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0])
}

/// What is counted as it happens.
pub(crate) struct Metrics {
    passes: Family<Pass, Counter>,
    durations: Family<OfStage, Histogram, fn() -> Histogram>,
    receipts: Counter,
    refusals: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            passes: Family::default(),
            durations: Family::new_with_constructor(seconds as fn() -> Histogram),
            receipts: Counter::default(),
            refusals: Counter::default(),
        }
    }
}

impl Metrics {
    /// A stage was gone through once.
    pub(crate) fn pass(&self, stage: Stage, outcome: Ended, took: Duration) {
        self.passes.get_or_create(&Pass { stage: StageName(stage), outcome }).inc();
        self.durations.get_or_create(&OfStage { stage: StageName(stage) }).observe(took.as_secs_f64());
    }

    /// An executor handed over an answer.
    pub(crate) fn receipt(&self) {
        self.receipts.inc();
    }

    /// An executor was refused, and that was recorded.
    pub(crate) fn refusal(&self) {
        self.refusals.inc();
    }
}

/// All figures now. Costs what the overview costs.
pub(crate) async fn tell(app: &App) -> Result<String, Problem> {
    let status = view::status(app, &Sight::Everything).await?;
    let mut registry = Registry::with_prefix("stanch");
    let counted = &app.metrics;
    registry.register("stage_passes", "Passes of a stage of the loop", counted.passes.clone());
    registry.register("stage_pass_seconds", "How long a pass took", counted.durations.clone());
    registry.register("receipts", "Answers of executors that were taken", counted.receipts.clone());
    registry.register("executor_refusals", "Executors that were refused, as recorded", counted.refusals.clone());
    let mut gauge = |name: &str, help: &str, value: u64| {
        let gauge = Gauge::<u64, AtomicU64>::default();
        gauge.set(value);
        registry.register(name, help, gauge);
    };
    let leads = app.cluster.as_ref().is_none_or(crate::cluster::Cluster::leads);
    gauge("leads", "1 where this server leads or is alone, 0 where it follows another", u64::from(leads));
    let counts = &status.counts;
    gauge("executors_known", "Executors that were let in", status.executors_known);
    gauge("executors_connected", "Executors that called lately", status.executors_connected);
    gauge("hosts", "Hosts that are known", status.hosts);
    gauge("items", "Open work items", counts.items);
    gauge("items_actionable", "Open work items with a fix", counts.items_actionable);
    gauge("items_urgent", "Open work items that should not wait for the usual window", counts.items_urgent);
    gauge("findings", "Open findings", counts.findings);
    gauge("known_exploited", "Open work items with a problem that CISA lists as exploited", counts.known_exploited);
    gauge("remediations_open", "Remediations that are not over", counts.remediations_open);
    gauge("remediations_waiting", "Remediations that wait for a person", counts.remediations_waiting);
    gauge("remediations_closed", "Remediations that are closed as fixed", counts.remediations_closed);
    gauge("holds", "Holds in force", u64::try_from(status.holds.len()).unwrap_or(u64::MAX));
    gauge("waiting", "What waits, and people see on what", u64::try_from(status.waiting.len()).unwrap_or(u64::MAX));
    let blind = Family::<Named, Gauge<u64, AtomicU64>>::default();
    for one in &status.blind {
        blind.get_or_create(&Named { name: one.name.clone() }).set(one.hosts);
    }
    registry.register("blind_hosts", "Hosts of which something cannot be seen", blind);
    let verdicts = Family::<Named, Gauge<u64, AtomicU64>>::default();
    for (name, count) in &counts.by_verdict {
        verdicts.get_or_create(&Named { name: name.clone() }).set(*count);
    }
    registry.register("findings_by_verdict", "Findings that are not closed, by verdict", verdicts);
    let (now, ages) = (app.now(), Family::<Named, Gauge>::default());
    for feed in app.knowledge.held().feeds.feeds(now) {
        if let Some(at) = feed.meta.checked.or(feed.meta.dated) {
            ages.get_or_create(&Named { name: feed.meta.name }).set(now.duration_since(at).as_secs());
        }
    }
    registry.register("feed_age_seconds", "Since a feed's source was asked, or since its newest record", ages);
    let mut text = String::new();
    encode(&mut text, &registry).map_err(|error| Problem::internal("writing the figures", &error))?;
    Ok(text)
}
