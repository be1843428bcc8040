//! Policies in force, what they bind to, and what actions have earned.

use stanch_engine::trust::{Thresholds, ready_for_auto};
use stanch_model::decision::Decision;
use stanch_model::terms::{Allowance, ChangeClass, RingSize, RingTerm, Terms, Unanswered};
use stanch_policy::{Grant, Rule};

use super::name;
use crate::api::Problem;
use crate::api::types::{
    DecisionDetail, Earned, Policies, Policy, PolicyException, PolicyGroup, PolicyProblem, PolicyRule, RefusedBundle,
    RuleWord, ShadowDecision, SilentRule,
};
use crate::app::App;
use crate::tasks::Estate;

/// The policies in force.
pub(crate) async fn policies(app: &App) -> Result<Policies, Problem> {
    let held = app.policies.held();
    let spoken = app.store.spoken().await?;
    let rule = |rule: &Rule| PolicyRule {
        path: rule.path.clone(),
        description: rule.description.clone(),
        when: rule.when.as_ref().map(|when| when.source().to_owned()),
        effect: if matches!(rule.grant, Grant::Mode(_)) { "grants" } else { "caps" }.to_owned(),
        mode: rule.grant.mode().name().to_owned(),
        items: spoken.rules.get(&rule.path).copied().unwrap_or_default(),
    };
    let policies = held.bundle.policies().iter().map(|policy| Policy {
        name: policy.name.clone(),
        description: policy.description.clone(),
        owner: policy.owner.clone(),
        shadow: policy.shadow,
        would_change: spoken.would_change.get(&policy.name).copied().unwrap_or_default(),
        rules: policy.rules.iter().map(rule).collect(),
        terms: terms(policy.terms()),
        tests: u64::try_from(policy.tests()).unwrap_or(u64::MAX),
    });
    let exceptions = held.bundle.exceptions().iter().map(|one| PolicyException {
        name: one.name.clone(),
        owner: one.owner.clone(),
        reason: one.reason.clone(),
        expires: one.expires,
    });
    let refused = app.policies.refused().map(|refused| RefusedBundle {
        why: refused.why,
        problems: refused
            .problems
            .iter()
            .map(|one| PolicyProblem {
                file: one.file.to_string(),
                line: one.at.line,
                message: one.message.clone(),
                remedy: one.remedy.clone(),
            })
            .collect(),
        at: refused.at,
    });
    Ok(Policies {
        folder: app.policies.place(),
        digest: held.since.map(|_| held.bundle.digest().to_string()),
        since: held.since,
        signed: held.signed.is_some(),
        signed_at: held.signed.map(|(_, at)| at),
        policies: policies.collect(),
        exceptions: exceptions.collect(),
        groups: groups(app).await?,
        refused,
        earned: earned(app).await?,
    })
}

/// The redundancy groups with how many of their members do their work.
async fn groups(app: &App) -> Result<Vec<PolicyGroup>, Problem> {
    let held = app.policies.held();
    if held.bundle.groups().is_empty() {
        return Ok(Vec::new());
    }
    let estate = Estate::read(app).await?;
    let told = held.bundle.groups().iter().map(|group| {
        let known = estate.groups.get(&group.name);
        let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        PolicyGroup {
            name: group.name.clone(),
            description: group.description.clone(),
            min_healthy: group.min_healthy,
            members: known.map_or(0, |known| number(known.members.len())),
            broken: known.map_or(0, |known| number(known.broken.len())),
        }
    });
    Ok(told.collect())
}

/// What actions have shown, and what is missing before they may be proposed to run by themselves.
async fn earned(app: &App) -> Result<Vec<Earned>, Problem> {
    let now = app.now();
    let wire = |(track, record): (stanch_store::outcome::Track, stanch_engine::trust::Record)| Earned {
        action: track.action,
        system: track.system,
        kind: track.kind,
        classification: Some(track.classification).filter(|text| !text.is_empty()),
        verified: record.standing.verified,
        failed: record.standing.failed,
        undone: record.standing.undone,
        misfires: record.standing.misfires,
        success_at_least_e6: record.standing.success_at_least(),
        lost_at: record.lost.map(|loss| loss.at),
        missing: match ready_for_auto(&record, &Thresholds::default(), now) {
            Ok(_) => Vec::new(),
            Err(missing) => missing.iter().map(ToString::to_string).collect(),
        },
    };
    Ok(crate::tasks::records(app).await?.into_iter().map(wire).collect())
}

fn said(word: &stanch_model::decision::RuleWord) -> RuleWord {
    RuleWord {
        rule: word.rule.clone(),
        effect: name(&word.effect),
        mode: word.mode.name().to_owned(),
        reason: word.reason.clone(),
    }
}

/// What was decided of an item.
pub(super) fn decision(from: &Decision) -> DecisionDetail {
    DecisionDetail {
        mode: from.mode.name().to_owned(),
        reason: from.reason.clone(),
        at: from.at,
        bundle: from.bundle.map(|bundle| bundle.to_string()),
        words: from.fired.iter().map(said).collect(),
        shadow: from.shadow.as_ref().map(|shadow| ShadowDecision {
            mode: shadow.mode.name().to_owned(),
            reason: shadow.reason.clone(),
            words: shadow.words.iter().map(said).collect(),
        }),
        silent: from
            .abstained
            .iter()
            .map(|one| SilentRule { rule: one.rule.clone(), reason: one.reason.clone() })
            .collect(),
        missing: from.missing.clone(),
        terms: if from.fired.is_empty() { Vec::new() } else { terms(&from.terms) },
    }
}

/// Terms in words, line by line.
pub(super) fn terms(terms: &Terms) -> Vec<String> {
    let mut lines = Vec::new();
    for quorum in &terms.approvals {
        let roles: Vec<&str> = quorum.roles.iter().map(|role| role.name()).collect();
        let but = if quorum.exclude_author { ", not its author" } else { "" };
        lines.push(format!("{} of {} must agree{but}", quorum.count, roles.join(" or ")));
    }
    for window in &terms.windows {
        let inside = if window.must_finish_inside { ", and has to end inside" } else { "" };
        lines.push(format!("starts only in {}{inside}", window.calendar));
    }
    for freeze in &terms.freezes {
        let allow: Vec<&str> = freeze
            .allow
            .iter()
            .map(|act| match act {
                Allowance::Rollback => "taking back",
                Allowance::Contain => "containment",
                Allowance::CloseExposure => "closing an exposure",
            })
            .collect();
        let but = if allow.is_empty() { String::new() } else { format!(", but for {}", allow.join(" and ")) };
        lines.push(format!("nothing starts in {}{but}", freeze.calendar));
    }
    for group in &terms.outages {
        lines.push(format!("an outage: the group {group} can spare nobody, and one of it is away at a time"));
    }
    for from in &terms.promote_from {
        lines.push(format!("has to hold in {} for {} first", from.environment, span(from.verified_seconds)));
    }
    if terms.min_age_seconds > 0 {
        lines.push(format!("what it brings has been offered for {}", span(terms.min_age_seconds)));
    }
    for change in &terms.changes {
        lines.push(match change.class {
            ChangeClass::Normal => format!("{} has to agree to its change request first", change.connection),
            ChangeClass::Standard => format!("{} is told before it starts", change.connection),
            ChangeClass::Emergency => format!("{} is told, and looks at it afterwards", change.connection),
        });
    }
    let limits = &terms.limits;
    lines.push(format!(
        "{} at a time, {} begun in an hour, {} % of an environment disrupted at once",
        limits.concurrent, limits.per_hour, limits.disrupted_percent
    ));
    lines.push(format!("{} attempts, {} apart", limits.max_attempts, span(limits.cooldown_seconds)));
    if !terms.rings.is_empty() {
        lines.push(format!("in rings: {}", terms.rings.iter().map(ring).collect::<Vec<_>>().join("; ")));
    }
    for confirm in &terms.confirm {
        let then = match confirm.unanswered {
            Unanswered::Keep => "it stays",
            Unanswered::Escalate => "the next in line is asked",
            Unanswered::Undo => "it is taken back",
        };
        let within = span(confirm.within_seconds);
        lines.push(format!("its {} is asked within {within} whether it may stay; else {then}", confirm.by.name()));
    }
    lines
}

fn ring(ring: &RingTerm) -> String {
    let size = match &ring.size {
        RingSize::Percent(percent) => format!("up to {percent} %"),
        RingSize::Count(count) => format!("{count} more"),
        RingSize::Label(label) => format!("ring={label}"),
    };
    if ring.bake_seconds == 0 { size } else { format!("{size}, watched for {}", span(ring.bake_seconds)) }
}

/// A span in the largest unit that says it exactly.
pub(crate) fn span(seconds: u32) -> String {
    for (unit, name) in [(86_400, "d"), (3_600, "h"), (60, "min")] {
        if seconds > 0 && seconds.is_multiple_of(unit) {
            return format!("{} {name}", seconds / unit);
        }
    }
    format!("{seconds} s")
}
