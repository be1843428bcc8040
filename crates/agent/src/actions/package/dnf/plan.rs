//! From what is wanted to the exact list of what dnf would do.
//!
//! Each source goes to the newest version that the host's repositories offer, which has to reach the one that closes the
//! items. The plan is taken only when dnf says the same again for exactly that list. One source that cannot be upgraded
//! never keeps the others back.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use stanch_action::{ActionError, PlanAnswer};
use stanch_model::facts::Manager;
use stanch_model::id::ItemId;
use stanch_model::order::PlanRefusal;
use stanch_model::own::is_own;
use stanch_model::plan::{Change, Disruption, PlannedStep, Reversibility};
use stanch_model::version::RpmVersion;

use super::ask::{self, Answer, Exact, Goal, Offer, Question};
use super::params::{Params, Planned};
use super::rpm::{self, Database, spec};
use super::{Dnf, units};
use crate::actions::package::projection::{FileState, state_of};
use crate::actions::package::{Key, NAME, failed, formats};
use crate::rules::Rules;

/// What a request wants of one source package.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    items: BTreeSet<ItemId>,
    fixed: Option<RpmVersion>,
}

impl Wanted {
    pub(crate) fn add(&mut self, items: Vec<ItemId>, fixed: Option<&String>) -> Result<(), ActionError> {
        self.items.extend(items);
        let fixed = fixed.map(|fixed| fixed.parse::<RpmVersion>()).transpose();
        let fixed = fixed.map_err(|error| ActionError::BadParameters { message: error.to_string() })?;
        self.fixed = self.fixed.take().max(fixed);
        Ok(())
    }
}

/// One source package that is to move.
#[derive(Debug, Clone)]
struct Root {
    source: String,
    items: BTreeSet<ItemId>,
    packages: Vec<Offer>,
}

impl Root {
    fn goal(&self) -> Vec<Exact> {
        self.packages.iter().map(Offer::exact).collect()
    }
}

#[derive(Debug, Clone)]
pub(super) struct Objection {
    pub(super) reason: String,
    pub(super) hint: Option<&'static str>,
}

impl Objection {
    fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), hint: None }
    }

    fn with_hint(self, hint: &'static str) -> Self {
        Self { hint: Some(hint), ..self }
    }
}

/// A transaction that nothing speaks against.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Agreed {
    /// What would be installed.
    pub(super) installs: BTreeMap<Key, Offer>,
}

const OFFER_HINT: &str =
    "refresh what the repositories list (`dnf makecache --refresh`), or add the one that carries the fix";
const LOCK_HINT: &str = "see `dnf versionlock list` and `exclude` in dnf.conf(5)";

impl Dnf<'_> {
    pub(crate) fn planned(
        &self,
        wanted: &BTreeMap<String, Wanted>,
        answer: &mut PlanAnswer,
    ) -> Result<(), ActionError> {
        let database = self.database()?;
        let sources: BTreeSet<String> = wanted.keys().cloned().collect();
        let names = database.built_from(&sources);
        let told = if names.is_empty() {
            ask::Answer::default()
        } else {
            ask::ask(self.host, &Question { names, ..Question::default() })?
        };
        let mut roots = Vec::new();
        for (source, want) in wanted {
            match root(source, want, &database, &told) {
                Ok(packages) if packages.is_empty() => answer.compliant.extend(want.items.iter().cloned()),
                Ok(packages) => roots.push(Root { source: source.clone(), items: want.items.clone(), packages }),
                Err(objection) => refuse(answer, &want.items, source, objection),
            }
        }
        if roots.is_empty() {
            return Ok(());
        }
        let rules = self.rules.current()?;
        let goals = std::iter::once(roots.iter().flat_map(Root::goal).collect()).chain(roots.iter().map(Root::goal));
        let told = ask::ask(self.host, &Question { goals: goals.collect(), ..Question::default() })?;
        let judged: Vec<Result<Agreed, Objection>> =
            told.goals.iter().map(|goal| judge(goal, &told, &database, &rules)).collect();
        let (together, alone) = judged.split_first().ok_or_else(|| ActionError::failed("dnf answered nothing"))?;
        let (roots, agreed, alone) = match together {
            Ok(agreed) => {
                let alone = alone.iter().cloned().map(Result::ok).collect();
                (roots, agreed.clone(), alone)
            }
            Err(_) => self.largest(roots, alone, &database, answer)?,
        };
        if roots.is_empty() {
            return Ok(());
        }
        match self.step(&roots, &agreed, &alone, &database)? {
            Ok(step) => answer.steps.push(step),
            Err(objection) => {
                for root in &roots {
                    refuse(answer, &root.items, &root.source, objection.clone());
                }
            }
        }
        Ok(())
    }

    /// The largest part of the roots that dnf agrees to do in one transaction.
    #[allow(clippy::type_complexity)]
    fn largest(
        &self,
        roots: Vec<Root>,
        alone: &[Result<Agreed, Objection>],
        database: &Database,
        answer: &mut PlanAnswer,
    ) -> Result<(Vec<Root>, Agreed, Vec<Option<Agreed>>), ActionError> {
        let rules = self.rules.current()?;
        let mut chosen: Vec<Root> = Vec::new();
        let (mut agreed, mut apart) = (Agreed::default(), Vec::new());
        for (root, alone) in roots.into_iter().zip(alone) {
            let attempt = if chosen.is_empty() || alone.is_err() {
                alone.clone()
            } else {
                let goal: Vec<Exact> = chosen.iter().chain([&root]).flat_map(Root::goal).collect();
                let told = ask::ask(self.host, &Question { goals: vec![goal], ..Question::default() })?;
                told.goals.first().map_or_else(
                    || Err(Objection::new("dnf answered nothing")),
                    |goal| judge(goal, &told, database, &rules),
                )
            };
            match attempt {
                Ok(found) => {
                    agreed = found;
                    apart.push(alone.as_ref().ok().cloned());
                    chosen.push(root);
                }
                Err(objection) => refuse(answer, &root.items, &root.source, objection),
            }
        }
        Ok((chosen, agreed, apart))
    }

    fn step(
        &self,
        roots: &[Root],
        agreed: &Agreed,
        alone: &[Option<Agreed>],
        database: &Database,
    ) -> Result<Result<PlannedStep, Objection>, ActionError> {
        let rules = self.rules.current()?;
        let needs = needs(roots, agreed, alone);
        let mut packages = Vec::new();
        for (key, offer) in &agreed.installs {
            let Some(sha256) = offer.sha256 else {
                let why = format!("{} states no SHA-256 digest of {}", offer.repository, spec(key));
                return Ok(Err(Objection::new(why)));
            };
            packages.push(Planned {
                name: key.name.clone(),
                arch: key.arch.clone(),
                from: database.only(key).map(|header| header.evr.to_string()),
                to: offer.evr.clone(),
                source: offer.source.clone(),
                items: needs.get(key).into_iter().flatten().cloned().collect(),
                sha256,
            });
        }
        // What the plan itself says has to be what dnf says for it: it is asked the same way before anything changes.
        let told = match self.confirmed(&packages, database, &rules)? {
            Ok(told) => told,
            Err(objection) => return Ok(Err(objection)),
        };
        let lost: Vec<String> = packages.iter().filter_map(|planned| lost(planned, &told)).collect();
        let keys: Vec<Key> = packages.iter().map(Planned::key).collect();
        let there: Vec<Key> = keys.iter().filter(|key| database.packages.contains_key(key)).cloned().collect();
        let files = rpm::files(self.host, &there)?;
        let changes = packages.iter().map(|planned| change(planned, roots, agreed, &told, &files, &rules)).collect();
        let before = self.projection(&keys)?;
        let digest = before.observation()?.digest().map_err(|e| failed(e, "the projection has no digest"))?;
        let (reversibility, undo) = if lost.is_empty() {
            let undo = "reinstalls the packages and configuration files of before, removes what came along new";
            (Reversibility::Restorable, undo.to_owned())
        } else {
            (Reversibility::OneWay, lost.join("; "))
        };
        let lock_timeout_seconds = rules.lock_timeout_seconds;
        let params = Params { manager: Manager::Dnf, packages, lock_timeout_seconds, before };
        Ok(Ok(PlannedStep {
            action: NAME.to_owned(),
            params: serde_json::to_value(params).map_err(|e| failed(e, "cannot write the parameters"))?,
            before: digest,
            changes,
            reversibility,
            undo,
            disruption: Disruption::Restart,
        }))
    }

    /// Asks dnf for exactly these and nothing else: it has to bring them all, with the planned digests, and no other. What
    /// comes along new may come only because the others need it.
    pub(super) fn confirmed(
        &self,
        packages: &[Planned],
        database: &Database,
        rules: &Rules,
    ) -> Result<Result<Answer, Objection>, ActionError> {
        let goal = packages.iter().filter(|planned| planned.from.is_some()).map(Planned::after).collect();
        let names = packages.iter().map(|planned| planned.name.clone()).collect();
        let told = ask::ask(self.host, &Question { names, goals: vec![goal], ..Question::default() })?;
        let agreed = match told.goals.first() {
            Some(goal) => judge(goal, &told, database, rules),
            None => Err(Objection::new("dnf answered nothing")),
        };
        let agreed = match agreed {
            Ok(agreed) => agreed,
            Err(objection) => return Ok(Err(objection)),
        };
        let says: BTreeMap<Key, Exact> =
            agreed.installs.iter().map(|(key, offer)| (key.clone(), offer.exact())).collect();
        let planned: BTreeMap<Key, Exact> = packages.iter().map(|planned| (planned.key(), planned.after())).collect();
        let differs = says.keys().chain(planned.keys()).find(|key| says.get(key) != planned.get(key));
        if let Some(key) = differs {
            let shown = |exact: Option<&Exact>| exact.map_or("not at all".to_owned(), |exact| exact.evr.clone());
            let (says, plan) = (shown(says.get(key)), shown(planned.get(key)));
            let mut why = format!("dnf would bring {} {says} and not as planned: {plan}", spec(key));
            if says == plan {
                why = format!("what the repository offers as {} {says} is not what was planned", spec(key));
            }
            return Ok(Err(Objection::new(why)));
        }
        Ok(Ok(told))
    }
}

/// The packages of one source that have somewhere to go.
fn root(source: &str, want: &Wanted, database: &Database, told: &Answer) -> Result<Vec<Offer>, Objection> {
    if is_own(source) {
        return Err(Objection::new("Stanch itself is upgraded by hand on a host of rpm"));
    }
    let installed: Vec<(&Key, &RpmVersion)> = database
        .packages
        .iter()
        .flat_map(|(key, versions)| versions.iter().map(move |header| (key, header)))
        .filter(|(_, header)| header.source == source)
        .map(|(key, header)| (key, &header.evr))
        .collect();
    if installed.is_empty() {
        return Err(Objection::new("no package of this source is installed"));
    }
    let mut packages = Vec::new();
    let mut reached = true;
    for (key, evr) in installed {
        if told.side_by_side.contains(&key.name) {
            return Err(Objection::new(format!("dnf keeps several versions of {} side by side", key.name))
                .with_hint("kernels are not changed yet: `dnf upgrade` does"));
        }
        if database.only(key).is_none() {
            return Err(Objection::new(format!("two versions of {} are installed: dnf was broken off", spec(key)))
                .with_hint("`dnf check` names them, `dnf remove --duplicates` takes the old ones away"));
        }
        reached &= want.fixed.as_ref().is_none_or(|fixed| evr >= fixed);
        let newer =
            || told.offers.iter().filter(|offer| offer.key() == *key && offer.version().is_some_and(|v| v > *evr));
        match newer().filter(|offer| !offer.hidden).max_by(|a, b| a.version().cmp(&b.version())) {
            Some(offer) => packages.push(offer.clone()),
            None => {
                if let Some(offer) = newer().max_by(|a, b| a.version().cmp(&b.version())) {
                    let why = format!(
                        "{} {} is offered, but the host keeps it away by a lock or an exclusion",
                        spec(key),
                        offer.evr
                    );
                    return Err(Objection::new(why).with_hint(LOCK_HINT));
                }
            }
        }
    }
    let Some(fixed) = want.fixed.as_ref().filter(|_| !packages.is_empty() || !reached) else { return Ok(packages) };
    let best = packages.iter().filter_map(Offer::version).max();
    if best.as_ref().is_some_and(|best| best >= fixed) {
        return Ok(packages);
    }
    let offered = best.map_or("nothing newer".to_owned(), |best| best.to_string());
    Err(Objection::new(format!("fixed in {fixed}, but the repositories offer {offered}")).with_hint(OFFER_HINT))
}

/// What a goal came to, if nothing speaks against it.
fn judge(goal: &Goal, told: &Answer, database: &Database, rules: &Rules) -> Result<Agreed, Objection> {
    let items = match goal {
        Goal::Items(items) => items,
        Goal::Error(why) => {
            let why: Vec<&str> = why.lines().map(str::trim).filter(|line| !line.is_empty()).take(6).collect();
            return Err(Objection::new(format!("dnf cannot do it: {}", why.join(" ")))
                .with_hint("`dnf check` shows whether the host's packages are in order"));
        }
    };
    let mut agreed = Agreed::default();
    for item in items {
        let key = item.key();
        let shown = spec(&key);
        if !rpm::is_word(&key.name) || !rpm::is_word(&key.arch) || !rpm::is_word(&item.source) {
            return Err(Objection::new(format!("a repository offers what has no name of rpm: {:?}", key.name)));
        }
        match item.action.as_str() {
            // The other end of an upgrade, and who asked for a package.
            "Upgraded" | "Reason Change" => continue,
            "Install" | "Upgrade" => {}
            "Downgrade" | "Downgraded" => return Err(Objection::new(format!("it would take {shown} down"))),
            "Obsoleted" | "Obsoleting" | "Removed" | "Erase" => {
                return Err(Objection::new(format!("it would remove or replace {shown} {}", item.evr))
                    .with_hint("upgrade or remove what stands in the way by hand"));
            }
            other => return Err(Objection::new(format!("it would do something unknown to {shown}: {other}"))),
        }
        let installed = database.packages.get(&key);
        let source = installed.and_then(|versions| versions.first()).map_or(&item.source, |header| &header.source);
        if is_own(&key.name) || is_own(source) || is_own(&item.source) {
            return Err(Objection::new("it would upgrade Stanch itself along with others")
                .with_hint("upgrade Stanch alone first"));
        }
        if [&key.name, source, &item.source].into_iter().any(|name| rules.denies_package(name)) {
            return Err(Objection::new(format!("the executor's rules deny changes to {shown}"))
                .with_hint("deny.packages in the executor's rules file"));
        }
        if told.side_by_side.contains(&key.name) {
            return Err(Objection::new(format!(
                "it would change {shown}, of which dnf keeps several versions side by side"
            ))
            .with_hint("kernels are not changed yet: `dnf upgrade` does"));
        }
        let up = match (installed.map(Vec::as_slice), item.version()) {
            (None, Some(_)) => item.action == "Install",
            (Some([only]), Some(to)) => item.action == "Upgrade" && only.evr < to,
            _ => false,
        };
        if !up {
            return Err(Objection::new(format!("it would not take {shown} up from one version to a later one")));
        }
        agreed.installs.insert(key, item.clone());
    }
    if agreed.installs.is_empty() {
        return Err(Objection::new("dnf would change nothing"));
    }
    Ok(agreed)
}

/// Which items need which package: their own and what those pull along.
fn needs(roots: &[Root], agreed: &Agreed, alone: &[Option<Agreed>]) -> BTreeMap<Key, BTreeSet<ItemId>> {
    let mut needs: BTreeMap<Key, BTreeSet<ItemId>> = BTreeMap::new();
    for (root, alone) in roots.iter().zip(alone) {
        // Where dnf cannot do it alone it counts as needing all.
        let own = alone.as_ref().unwrap_or(agreed);
        for key in own.installs.keys().filter(|key| agreed.installs.contains_key(key)) {
            needs.entry(key.clone()).or_default().extend(root.items.iter().cloned());
        }
    }
    for key in agreed.installs.keys() {
        let entry = needs.entry(key.clone()).or_default();
        if entry.is_empty() {
            entry.extend(roots.iter().flat_map(|root| root.items.iter().cloned()));
        }
    }
    needs
}

/// Why a package could not be taken back, if so.
fn lost(planned: &Planned, told: &Answer) -> Option<String> {
    let from = planned.from.as_ref()?;
    let key = planned.key();
    if let Some(why) = formats::on_disk(&key.name) {
        return Some(format!("{}: {why}", spec(&key)));
    }
    let there = told.offers.iter().any(|offer| offer.key() == key && offer.evr == *from);
    (!there).then(|| format!("{} {from} can no longer be had: no repository holds it", spec(&key)))
}

fn refuse(answer: &mut PlanAnswer, items: &BTreeSet<ItemId>, source: &str, objection: Objection) {
    answer.refused.push(PlanRefusal {
        items: items.iter().cloned().collect(),
        reason: format!("{source}: {}", objection.reason),
        hint: objection.hint.map(str::to_owned),
    });
}

fn change(
    planned: &Planned,
    roots: &[Root],
    agreed: &Agreed,
    told: &Answer,
    files: &[rpm::Listed],
    rules: &Rules,
) -> Change {
    let key = planned.key();
    let asked = roots.iter().flat_map(|root| &root.packages).any(|offer| offer.key() == key);
    let mut notes = Vec::new();
    if planned.from.is_none() {
        notes.push("new, needed by the others".to_owned());
    } else if !asked {
        notes.push("pulled along".to_owned());
    }
    if let Some(offer) = agreed.installs.get(&key) {
        let unchecked = told.unchecked.contains(&offer.repository);
        let unchecked = if unchecked { ", whose packages this host does not check" } else { "" };
        notes.push(format!("from {}{unchecked}", offer.repository));
    }
    let mine = || files.iter().filter(|file| file.package == key);
    let edited: Vec<&str> = mine().filter(|file| is_edited(file)).map(|file| file.path.as_str()).take(4).collect();
    if !edited.is_empty() {
        notes.push(format!("what was edited in {} may be replaced, and kept beside as .rpmsave", edited.join(", ")));
    }
    let its: BTreeSet<String> = mine().filter_map(|file| units::unit(&file.path)).map(str::to_owned).collect();
    notes.extend(units::delicate(&its, rules));
    Change {
        subject: spec(&key),
        before: planned.from.clone(),
        after: Some(planned.to.clone()),
        note: (!notes.is_empty()).then(|| notes.join(", ")),
    }
}

/// A configuration file that its owner changed, and that rpm would not leave alone.
fn is_edited(file: &rpm::Listed) -> bool {
    let now = || state_of(Path::new(&file.path)).ok();
    file.is_config()
        && !file.stays()
        && matches!((file.sha256, now()), (Some(shipped), Some(FileState::File { sha256, .. })) if sha256 != shipped)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::actions::doubles::Table;

    fn database(text: &str) -> Database {
        rpm::read(&Table::new(&[("--all", text)])).unwrap()
    }

    fn installed() -> Database {
        database(
            "libs\tx86_64\t0\t1.0\t1\tdemo-1.0-1.src.rpm\t\ntool\tnoarch\t1\t1.0\t1\ttool-1.0-1.src.rpm\t\n\
             kernel\tx86_64\t0\t5\t1\tkernel-5-1.src.rpm\t\nkernel\tx86_64\t0\t6\t1\tkernel-6-1.src.rpm\t\n\
             torn\tnoarch\t0\t1\t1\ttorn-1-1.src.rpm\t\ntorn\tnoarch\t0\t2\t1\ttorn-2-1.src.rpm\t\n",
        )
    }

    fn offer(name: &str, arch: &str, evr: &str, action: &str) -> Value {
        json!({"name": name, "arch": arch, "evr": evr, "source": name, "repository": "base", "action": action,
               "sha256": "0".repeat(64), "hidden": action == "hidden"})
    }

    fn told(offers: &[Value], goals: &Value) -> Answer {
        serde_json::from_value(json!({"offers": offers, "goals": goals, "side_by_side": ["kernel"]})).unwrap()
    }

    fn judged(items: &[Value], rules: &str) -> Result<Vec<String>, String> {
        let told = told(&[], &json!([{"items": items}]));
        let agreed = judge(&told.goals[0], &told, &installed(), &Rules::parse(rules).unwrap());
        agreed.map(|agreed| agreed.installs.keys().map(spec).collect()).map_err(|objection| objection.reason)
    }

    #[test]
    fn only_what_goes_up_or_comes_along_new_is_taken() {
        let up = offer("tool", "noarch", "1:1.1-1", "Upgrade");
        let with = |other: Value| judged(&[up.clone(), other], "");
        let old = offer("tool", "noarch", "1:1.0-1", "Upgraded");
        assert_eq!(with(old).unwrap(), ["tool.noarch"]);
        assert_eq!(with(offer("new", "noarch", "1-1", "Install")).unwrap(), ["new.noarch", "tool.noarch"]);
        for (name, evr, action, why) in [
            ("libs", "1.0-1", "Obsoleted", "remove or replace libs"),
            ("libs", "1.0-1", "Removed", "remove or replace libs"),
            ("libs", "0.9-1", "Downgrade", "take libs"),
            ("libs", "1.0-1", "Reinstall", "unknown to libs"),
            ("libs", "1.0-1", "Upgrade", "not take libs"),
            ("libs", "2.0-1", "Install", "not take libs"),
            ("torn", "3-1", "Upgrade", "not take torn"),
            ("stanch-agent", "2-1", "Install", "Stanch itself"),
            ("kernel", "7-1", "Install", "side by side"),
            ("-y", "1-1", "Install", "no name of rpm"),
        ] {
            let arch = if ["libs", "kernel"].contains(&name) { "x86_64" } else { "noarch" };
            let refused = with(offer(name, arch, evr, action)).unwrap_err();
            assert!(refused.contains(why), "{name} {action}: {refused}");
        }
        assert!(judged(&[], "").unwrap_err().contains("change nothing"));
        assert!(judged(&[up], "[deny]\npackages = [\"tool\"]\n").unwrap_err().contains("deny changes to tool"));
        let source = offer("libs", "x86_64", "2-1", "Upgrade");
        assert!(judged(&[source], "[deny]\npackages = [\"demo\"]\n").unwrap_err().contains("deny"), "by its source");
    }

    fn rooted(source: &str, fixed: Option<&str>, offers: &[Value]) -> Result<Vec<String>, String> {
        let want = Wanted { items: BTreeSet::new(), fixed: fixed.map(|fixed| fixed.parse().unwrap()) };
        let packages = root(source, &want, &installed(), &told(offers, &json!([])));
        packages.map(|all| all.into_iter().map(|offer| offer.evr).collect()).map_err(|objection| objection.reason)
    }

    #[test]
    fn the_newest_that_the_host_itself_does_not_keep_away_is_asked_for_and_has_to_close_the_item() {
        let at = |evr: &str, action: &str| offer("tool", "noarch", evr, action);
        let all = [at("1:1.9-1", ""), at("1:1.10-1", ""), at("1:0.9-1", ""), at("9.0-1", ""), at("1:2-1", "hidden")];
        assert_eq!(rooted("tool", Some("1:1.9-1"), &all).unwrap(), ["1:1.10-1"]);
        assert!(rooted("tool", Some("1:2-1"), &all).unwrap_err().contains("repositories offer 1:1.10-1"));
        assert!(rooted("tool", Some("1:2-1"), &[]).unwrap_err().contains("nothing newer"));
        assert!(rooted("tool", None, &[at("1:2-1", "hidden")]).unwrap_err().contains("a lock or an exclusion"));
        assert!(rooted("tool", Some("1:1.0-1"), &[]).unwrap().is_empty(), "it is compliant");
        let other = offer("tool", "x86_64", "1:2-1", "");
        assert!(rooted("tool", Some("1:2-1"), &[other]).unwrap_err().contains("nothing newer"), "another architecture");
        assert!(rooted("kernel", None, &[]).unwrap_err().contains("side by side"));
        assert!(rooted("torn", None, &[]).unwrap_err().contains("broken off"));
        assert!(rooted("gone", None, &[]).unwrap_err().contains("installed"));
        assert!(rooted("stanch", None, &[]).unwrap_err().contains("by hand"));
    }
}
