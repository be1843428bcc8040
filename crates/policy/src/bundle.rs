//! Bundles: all policy files of a folder, checked together, with one digest. A bundle with an error is none.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use stanch_model::calendar::{Calendar, CalendarError, Timetable, Zone};
use stanch_model::canonical::{Digest, digest};
use stanch_model::script::file_of_bundle;

use crate::calendar;
use crate::document::{ExceptionDoc, FactsDoc, GroupDoc, PlaybookDoc, PolicyDoc, TestsDoc};
use crate::exception::Exception;
use crate::facts::Facts;
use crate::group::Group;
use crate::index::Index;
use crate::node::{Kind, MAX_FILE, Node, parse};
use crate::playbook::{self, Doing, Playbook, Step, Steps, Written};
use crate::policy::Policy;
use crate::problem::{At, Grade, Problem, nearest};
use crate::read::{Located, Name, Reader, Yaml};
use crate::scripts::{Drafts, Scripted, Scripts};
use crate::trial::{Trial, fact_value};

/// Files of one bundle.
pub const MAX_FILES: usize = 512;
/// Bytes of all files together.
pub const MAX_BYTES: usize = 4 * 1024 * 1024;
/// Policies of one bundle.
pub const MAX_POLICIES: usize = 1_000;
/// Redundancy groups of one bundle.
pub const MAX_GROUPS: usize = 1_000;
/// Exceptions of one bundle.
pub const MAX_EXCEPTIONS: usize = 10_000;
/// The file beside the others that holds the signature; it is no part of the bundle.
pub const SIGNATURE_FILE: &str = "bundle.sig";

/// One file of a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Its path inside the bundle, with `/` between the parts.
    pub name: String,
    /// Its bytes as text.
    pub text: String,
}

/// Whether a file with this path inside a folder belongs to a bundle.
pub fn is_part(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    [".yaml", ".yml", ".ics"].iter().any(|ending| lower.ends_with(ending)) || file_of_bundle(name).is_some()
}

/// Tests that see the whole bundle.
#[derive(Debug, Clone)]
pub(crate) struct Suite {
    pub(crate) name: String,
    pub(crate) file: Arc<str>,
    pub(crate) trials: Vec<Trial>,
}

/// A checked bundle.
#[derive(Debug)]
pub struct Bundle {
    digest: Digest,
    policies: Vec<Policy>,
    exceptions: Vec<Exception>,
    playbooks: BTreeMap<String, Written>,
    groups: Vec<Group>,
    calendars: BTreeMap<String, Calendar>,
    pub(crate) scripts: Arc<Scripts>,
    pub(crate) facts: BTreeMap<String, Facts>,
    pub(crate) suites: Vec<Suite>,
    pub(crate) index: Index,
    /// Somebody answers for it; where nobody does, it grants no more than `approve`.
    pub(crate) signed: bool,
}

/// What came of reading files.
#[derive(Debug)]
pub struct Loaded {
    /// The bundle, if nothing is wrong with it.
    pub bundle: Option<Bundle>,
    /// What is wrong, in the order of the files.
    pub problems: Vec<Problem>,
}

impl Bundle {
    /// Checks these files together. Their order does not matter.
    pub fn load(sources: &[Source]) -> Loaded {
        let mut loader = Loader::default();
        if let Some(problem) = too_large(sources) {
            return Loaded { bundle: None, problems: vec![problem] };
        }
        let mut sorted: Vec<&Source> = sources.iter().filter(|source| is_part(&source.name)).collect();
        sorted.sort_by(|a, b| a.name.cmp(&b.name));
        for source in &sorted {
            loader.file(source);
        }
        loader.finish(digest_of(&sorted))
    }

    /// A bundle that says nothing.
    pub fn empty() -> Self {
        Self {
            digest: digest_of(&[]),
            policies: Vec::new(),
            exceptions: Vec::new(),
            playbooks: BTreeMap::new(),
            groups: Vec::new(),
            calendars: BTreeMap::new(),
            scripts: Arc::default(),
            facts: BTreeMap::new(),
            suites: Vec::new(),
            index: Index::default(),
            signed: true,
        }
    }

    /// The same bundle when nobody signed it: what it grants goes no further than `approve`.
    #[must_use]
    pub fn unsigned(self) -> Self {
        Self { signed: false, ..self }
    }

    /// The digest over names and contents of its files.
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// Its policies, in the order of their names.
    pub fn policies(&self) -> &[Policy] {
        &self.policies
    }

    /// The policies that decide: all but those in shadow.
    pub fn in_force(&self) -> impl Iterator<Item = &Policy> {
        self.policies.iter().filter(|policy| !policy.shadow)
    }

    /// Whether any policy that decides has other programs switched off that change packages.
    pub fn takes_over(&self) -> bool {
        self.in_force().any(Policy::takes_over)
    }

    /// The policy of this name.
    pub fn policy(&self, name: &str) -> Option<&Policy> {
        self.policies.iter().find(|policy| policy.name == name)
    }

    /// Its accepted risks, in the order of their names.
    pub fn exceptions(&self) -> &[Exception] {
        &self.exceptions
    }

    /// Its playbooks, in the order of their names.
    pub fn playbooks(&self) -> impl Iterator<Item = Playbook> {
        self.playbooks.values().map(|written| Playbook {
            name: written.name.clone(),
            description: written.description.clone(),
            steps: written.steps.steps.clone(),
        })
    }

    /// Its playbooks as they are written.
    pub(crate) fn written(&self) -> impl Iterator<Item = &Written> {
        self.playbooks.values()
    }

    /// Its redundancy groups, in the order of their names.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// Its calendars, by name.
    pub const fn calendars(&self) -> &BTreeMap<String, Calendar> {
        &self.calendars
    }

    /// The script of this name.
    pub fn script(&self, name: &str) -> Option<&Scripted> {
        self.scripts.get(name)
    }

    /// Its calendars, worked out from `now` on, and why some are not. What is missing lets nothing through.
    pub fn timetables(&self, now: Timestamp) -> (BTreeMap<String, Timetable>, Vec<CalendarError>) {
        let mut errors = Vec::new();
        let tables = self.calendars.iter().filter_map(|(name, calendar)| match calendar.expand(now) {
            Ok(table) => Some((name.clone(), table)),
            Err(error) => {
                errors.push(error);
                None
            }
        });
        (tables.collect(), errors)
    }

    /// Named facts, with what they extend filled in.
    pub fn named_facts(&self, name: &str) -> Option<&Facts> {
        self.facts.get(name)
    }

    /// Names of its facts.
    pub fn facts_names(&self) -> impl Iterator<Item = &str> {
        self.facts.keys().map(String::as_str)
    }

    /// The steps of a policy, wherever they stand; none where the catalogue decides.
    pub fn steps<'a>(&'a self, policy: &'a Policy) -> Option<&'a [Step]> {
        self.placed(policy).map(|(steps, _)| steps.steps.as_slice())
    }

    /// The steps of a policy, and the file they stand in.
    pub(crate) fn placed<'a>(&'a self, policy: &'a Policy) -> Option<(&'a Steps, &'a Arc<str>)> {
        match &policy.doing {
            Doing::Catalogue => None,
            Doing::Steps(steps) => Some((steps, &policy.file)),
            Doing::Playbook(name) => self.playbooks.get(name).map(|written| (&written.steps, &written.file)),
        }
    }

    /// The bundle with this policy alone, and in force: what its own tests see.
    pub(crate) fn alone(&self, policy: &Policy) -> Self {
        let policies = vec![Policy { shadow: false, ..policy.clone() }];
        Self {
            digest: self.digest,
            index: Index::of(&policies),
            policies,
            exceptions: Vec::new(),
            playbooks: self.playbooks.clone(),
            groups: self.groups.clone(),
            calendars: self.calendars.clone(),
            scripts: Arc::clone(&self.scripts),
            facts: self.facts.clone(),
            suites: Vec::new(),
            signed: self.signed,
        }
    }

    /// The bundle with other policies, for tests of what another rule changes.
    pub(crate) fn with_policies(&self, policies: Vec<Policy>) -> Self {
        Self {
            digest: self.digest,
            index: Index::of(&policies),
            policies,
            exceptions: self.exceptions.clone(),
            playbooks: self.playbooks.clone(),
            groups: self.groups.clone(),
            calendars: self.calendars.clone(),
            scripts: Arc::clone(&self.scripts),
            facts: self.facts.clone(),
            suites: self.suites.clone(),
            signed: self.signed,
        }
    }
}

/// The digest over names and contents.
pub(crate) fn digest_of(sorted: &[&Source]) -> Digest {
    let files: Vec<(&str, Digest)> =
        sorted.iter().map(|source| (source.name.as_str(), Digest::of_bytes(source.text.as_bytes()))).collect();
    // Texts and digests always have a canonical form.
    digest("stanch/bundle/v1", &files).unwrap_or(Digest::from_bytes([0; 32]))
}

fn too_large(sources: &[Source]) -> Option<Problem> {
    let bytes: usize = sources.iter().map(|source| source.text.len()).sum();
    let message = if sources.len() > MAX_FILES {
        format!("the bundle has {} files; at most {MAX_FILES} are read", sources.len())
    } else if bytes > MAX_BYTES {
        format!("the bundle has {bytes} bytes; at most {MAX_BYTES} are read")
    } else {
        return None;
    };
    Some(Problem {
        file: Arc::from("bundle"),
        at: At { line: 1, column: 1, offset: 0 },
        grade: Grade::Error,
        code: "bundle-size",
        message,
        remedy: "keep only policies in this folder".to_owned(),
    })
}

/// A name and where it was given.
type Given = (Arc<str>, At);

#[derive(Default)]
struct Loader {
    problems: Vec<Problem>,
    policies: Vec<Policy>,
    exceptions: Vec<Exception>,
    playbooks: BTreeMap<String, Written>,
    /// Playbooks with something wrong in them.
    unread: BTreeSet<String>,
    groups: Vec<Group>,
    calendars: BTreeMap<String, calendar::Source>,
    scripts: Drafts,
    facts: BTreeMap<String, (FactsDoc, Facts, Arc<str>)>,
    suites: Vec<Suite>,
    /// Names already given, by kind.
    names: BTreeSet<(&'static str, String)>,
    /// Where a playbook is asked for.
    wanted: Vec<(String, Given)>,
}

const KINDS: [&str; 7] = ["Policy", "Exception", "Playbook", "Group", "Facts", "Tests", "Calendar"];

impl Loader {
    fn file(&mut self, source: &Source) {
        if self.scripts.take(&source.name, &source.text) {
            return;
        }
        let file: Arc<str> = Arc::from(source.name.as_str());
        let mut reader = Reader::new(Arc::clone(&file), &source.text);
        let lower = source.name.to_ascii_lowercase();
        if let Some(stem) = lower.strip_suffix(".ics") {
            let start = At { line: 1, column: 1, offset: 0 };
            if source.text.len() > MAX_FILE {
                reader.error(
                    start,
                    "file-size",
                    format!("a calendar has at most {MAX_FILE} bytes"),
                    "leave out old events",
                );
            }
            let name = stem.rsplit('/').next().unwrap_or(stem).to_owned();
            self.calendar(name, start, &mut reader, calendar::Text::Ics(source.text.clone()));
        } else {
            match parse(&source.text) {
                Ok(documents) => documents.iter().for_each(|document| self.document(document, &mut reader)),
                Err(error) => reader.error(
                    error.at,
                    "yaml",
                    format!("this is not YAML that can be read: {}", error.message),
                    "check indentation and quotes at this place; keys stand once, merge keys and tags are not used",
                ),
            }
        }
        self.problems.extend(reader.finish());
    }

    fn document(&mut self, node: &Node, reader: &mut Reader<'_>) {
        if reader.map(node, "a document").is_none() {
            return;
        }
        match node.get("kind").and_then(Node::text) {
            Some("Policy") => self.policy(node, reader),
            Some("Exception") => self.exception(node, reader),
            Some("Playbook") => self.playbook(node, reader),
            Some("Group") => self.group(node, reader),
            Some("Facts") => self.named_facts(node, reader),
            Some("Tests") => self.suite(node, reader),
            Some("Calendar") => {
                let Some(name) = node.get("name").and_then(|name| Located::<Name>::read(name, reader)) else {
                    reader.error(node.at, "missing-field", "a calendar lacks `name`", "add `name:`");
                    return;
                };
                self.calendar(name.value.0, name.at, reader, calendar::Text::Yaml(json_of(node)));
            }
            Some(other) => {
                let at = node.get("kind").map_or(node.at, |kind| kind.at);
                let remedy = nearest(other, KINDS).map_or_else(
                    || format!("write one of: {}", KINDS.join(", ")),
                    |meant| format!("did you mean `{meant}`?"),
                );
                let shown: String = other.chars().take(64).collect();
                reader.error(at, "kind", format!("`{shown}` is no kind of document"), remedy);
            }
            None => reader.error(
                node.at,
                "kind",
                "the document lacks `kind`",
                format!("write one of: {}", KINDS.join(", ")),
            ),
        }
    }

    /// Takes a name; tells when it is taken.
    fn take(&mut self, kind: &'static str, name: &str, at: At, reader: &mut Reader<'_>) {
        if !self.names.insert((kind, name.to_owned())) {
            let message = format!("there are two of kind {kind} named `{name}`");
            reader.error(at, "name-twice", message, "give each its own name");
        }
    }

    fn policy(&mut self, node: &Node, reader: &mut Reader<'_>) {
        let Some(doc) = PolicyDoc::read(node, reader) else { return };
        self.take("Policy", &doc.name.value.0, doc.name.at, reader);
        if let Some(playbook) = &doc.playbook {
            self.wanted.push((playbook.value.0.clone(), (Arc::clone(reader.file()), playbook.at)));
        }
        if let Some(policy) = Policy::from_doc(doc, reader) {
            self.policies.push(policy);
        }
    }

    fn exception(&mut self, node: &Node, reader: &mut Reader<'_>) {
        let Some(doc) = ExceptionDoc::read(node, reader) else { return };
        self.take("Exception", &doc.name.value.0, doc.name.at, reader);
        self.exceptions.extend(Exception::from_doc(&doc, reader));
    }

    fn playbook(&mut self, node: &Node, reader: &mut Reader<'_>) {
        let Some(doc) = PlaybookDoc::read(node, reader) else { return };
        let (name, at) = (doc.name.value.0, doc.name.at);
        self.take("Playbook", &name, at, reader);
        let Some(steps) = playbook::steps(doc.steps.value, doc.steps.at, reader) else {
            // Whoever names it is told of what is wrong in it, not that it is not there.
            self.unread.insert(name);
            return;
        };
        let description = doc.metadata.and_then(|metadata| metadata.description);
        let tests = doc.tests.iter().enumerate().map(|(number, test)| playbook::test(test, number)).collect();
        let file = Arc::clone(reader.file());
        self.playbooks.insert(name.clone(), Written { name, description, steps, file, tests, at });
    }

    fn group(&mut self, node: &Node, reader: &mut Reader<'_>) {
        let Some(doc) = GroupDoc::read(node, reader) else { return };
        self.take("Group", &doc.name.value.0, doc.name.at, reader);
        self.groups.extend(Group::from_doc(doc, reader));
    }

    fn named_facts(&mut self, node: &Node, reader: &mut Reader<'_>) {
        let Some(doc) = FactsDoc::read(node, reader) else { return };
        self.take("Facts", &doc.name.value.0, doc.name.at, reader);
        let mut facts = Facts::default();
        for (path, value) in &doc.facts {
            if let Some(value) = fact_value(path, value, reader)
                && let Err(error) = facts.set(path, value)
            {
                reader.error(doc.name.at, "fact", error.to_string(), error.remedy());
            }
        }
        self.facts.insert(doc.name.value.0.clone(), (doc, facts, Arc::clone(reader.file())));
    }

    fn suite(&mut self, node: &Node, reader: &mut Reader<'_>) {
        let Some(doc) = TestsDoc::read(node, reader) else { return };
        self.take("Tests", &doc.name.value.0, doc.name.at, reader);
        let trials: Option<Vec<Trial>> = doc.tests.iter().map(|test| Trial::from_doc(test, reader)).collect();
        let file = Arc::clone(reader.file());
        self.suites.extend(trials.map(|trials| Suite { name: doc.name.value.0, file, trials }));
    }

    fn calendar(&mut self, name: String, at: At, reader: &mut Reader<'_>, text: calendar::Text) {
        self.take("Calendar", &name, at, reader);
        self.calendars.insert(name, calendar::Source { file: Arc::clone(reader.file()), at, text });
    }

    fn finish(mut self, digest: Digest) -> Loaded {
        self.policies.sort_by(|a, b| a.name.cmp(&b.name));
        self.exceptions.sort_by(|a, b| a.name.cmp(&b.name));
        self.suites.sort_by(|a, b| a.name.cmp(&b.name));
        self.groups.sort_by(|a, b| a.name.cmp(&b.name));
        let facts = self.resolve_facts();
        self.references(&facts);
        let calendars = self.read_calendars();
        let (scripts, wrong) = std::mem::take(&mut self.scripts).finish();
        self.problems.extend(wrong);
        for (what, count, most) in [
            ("policies", self.policies.len(), MAX_POLICIES),
            ("groups", self.groups.len(), MAX_GROUPS),
            ("exceptions", self.exceptions.len(), MAX_EXCEPTIONS),
        ] {
            if count > most {
                let start = At { line: 1, column: 1, offset: 0 };
                let message = format!("the bundle has {count} {what}; at most {most} are taken");
                self.tell(&Arc::from("bundle"), start, "bundle-size", message, "join what is alike".to_owned());
            }
        }
        self.problems.sort();
        if self.problems.iter().any(|problem| problem.grade == Grade::Error) {
            return Loaded { bundle: None, problems: self.problems };
        }
        let bundle = Bundle {
            digest,
            index: Index::of(&self.policies),
            policies: self.policies,
            exceptions: self.exceptions,
            playbooks: self.playbooks,
            groups: self.groups,
            calendars,
            scripts: Arc::new(scripts),
            facts,
            suites: self.suites,
            signed: true,
        };
        Loaded { bundle: Some(bundle), problems: self.problems }
    }

    fn tell(&mut self, file: &Arc<str>, at: At, code: &'static str, message: String, remedy: String) {
        let file = Arc::clone(file);
        self.problems.push(Problem { file, at, grade: Grade::Error, code, message, remedy });
    }

    /// Named facts with what they extend filled in.
    fn resolve_facts(&mut self) -> BTreeMap<String, Facts> {
        const MAX_CHAIN: usize = 8;
        let mut resolved = BTreeMap::new();
        let mut wrong = Vec::new();
        for (name, (doc, own, file)) in &self.facts {
            let mut chain = vec![own];
            let mut next = doc.extends.as_ref();
            while let Some(base) = next {
                match self.facts.get(&base.value.0) {
                    Some((doc, facts, _)) if chain.len() <= MAX_CHAIN => {
                        chain.push(facts);
                        next = doc.extends.as_ref();
                    }
                    Some(_) => {
                        let remedy = format!("shorten it to {MAX_CHAIN}");
                        wrong.push((
                            Arc::clone(file),
                            base.at,
                            "facts extend each other without end".to_owned(),
                            remedy,
                        ));
                        break;
                    }
                    None => {
                        let known = self.facts.keys().map(String::as_str);
                        let remedy = meant(&base.value.0, known, "write a Facts document of this name");
                        wrong.push((
                            Arc::clone(file),
                            base.at,
                            format!("there are no facts `{}`", base.value.0),
                            remedy,
                        ));
                        break;
                    }
                }
            }
            let mut facts = Facts::default();
            for layer in chain.into_iter().rev() {
                for (fact, value) in layer.known() {
                    facts.put(fact.path, Some(value.clone()));
                }
            }
            resolved.insert(name.clone(), facts);
        }
        for (file, at, message, remedy) in wrong {
            self.tell(&file, at, "unknown-name", message, remedy);
        }
        resolved
    }

    /// Every calendar, understood. The zone of what has none is said where the calendar is used; whoever says it must
    /// mean the same one.
    fn read_calendars(&mut self) -> BTreeMap<String, Calendar> {
        let mut zones: BTreeMap<&str, Zone> = BTreeMap::new();
        let mut wrong: Vec<(Arc<str>, At, String, String)> = Vec::new();
        for policy in &self.policies {
            let windows = policy.windows.iter().map(|window| (&window.calendar, &window.tz, window.at));
            let freezes = policy.freezes.iter().map(|freeze| (&freeze.term.calendar, &freeze.tz, freeze.at));
            for (calendar, name, at) in windows.chain(freezes) {
                let Some(name) = name else { continue };
                let file = || Arc::clone(&policy.file);
                let zone = match Zone::named(name) {
                    Ok(zone) => zone,
                    Err(error) => {
                        wrong.push((file(), at, error.to_string(), error.hint().to_owned()));
                        continue;
                    }
                };
                let own = self.calendars.get(calendar).and_then(|source| Zone::named(source.own_zone()?).ok());
                let other = own.as_ref().or_else(|| zones.get(calendar.as_str()));
                if let Some(other) = other.filter(|other| **other != zone) {
                    let message = format!("the calendar `{calendar}` is in {other}, not in {zone}");
                    wrong.push((file(), at, message, "give one zone wherever it is used".to_owned()));
                }
                zones.entry(calendar).or_insert(zone);
            }
        }
        let mut read = BTreeMap::new();
        for (name, source) in &self.calendars {
            let (calendar, problems) = source.read(name, zones.get(name.as_str()));
            self.problems.extend(problems);
            read.extend(calendar.map(|calendar| (name.clone(), calendar)));
        }
        for (file, at, message, remedy) in wrong {
            self.tell(&file, at, "time-zone", message, remedy);
        }
        read
    }

    /// Names that one document uses and another must give.
    fn references(&mut self, facts: &BTreeMap<String, Facts>) {
        let mut wrong: Vec<(Arc<str>, At, String, String)> = Vec::new();
        for (name, (file, at)) in &self.wanted {
            if !self.playbooks.contains_key(name) && !self.unread.contains(name) {
                let known = self.playbooks.keys().map(String::as_str);
                let remedy = meant(name, known, "write a Playbook document of this name");
                wrong.push((Arc::clone(file), *at, format!("there is no playbook `{name}`"), remedy));
            }
        }
        // A policy that could not be read has rules all the same.
        let all_read = self.problems.iter().all(|problem| problem.grade != Grade::Error);
        let rules: BTreeSet<&str> =
            self.policies.iter().flat_map(|policy| &policy.rules).map(|rule| rule.path.as_str()).collect();
        for policy in &self.policies {
            let windows = policy.windows.iter().map(|window| (&window.calendar, window.at));
            let freezes = policy.freezes.iter().map(|freeze| (&freeze.term.calendar, freeze.at));
            for (calendar, at) in windows.chain(freezes) {
                if !self.calendars.contains_key(calendar) {
                    let known = self.calendars.keys().map(String::as_str);
                    let remedy = meant(calendar, known, "put the .ics file or a Calendar document into the bundle");
                    wrong.push((Arc::clone(&policy.file), at, format!("there is no calendar `{calendar}`"), remedy));
                }
            }
        }
        let own = self.policies.iter().flat_map(|policy| {
            policy.trials.iter().map(move |trial| (Some(policy.name.as_str()), &policy.file, trial))
        });
        let whole =
            self.suites.iter().flat_map(|suite| suite.trials.iter().map(move |trial| (None, &suite.file, trial)));
        for (policy, file, trial) in own.chain(whole) {
            if !facts.contains_key(&trial.given) {
                let remedy =
                    meant(&trial.given, facts.keys().map(String::as_str), "write a Facts document of this name");
                wrong.push((Arc::clone(file), trial.given_at, format!("there are no facts `{}`", trial.given), remedy));
            }
            for rule in trial.rules() {
                let path = trial.path_of(rule, policy);
                if all_read && !path.starts_with("built-in/") && !rules.contains(path.as_str()) {
                    let remedy = meant(&path, rules.iter().copied(), "write the rule's id, or policy/rule");
                    wrong.push((Arc::clone(file), trial.at, format!("there is no rule `{path}`"), remedy));
                }
            }
        }
        for (file, at, message, remedy) in wrong {
            self.tell(&file, at, "unknown-name", message, remedy);
        }
    }
}

fn meant<'a>(name: &str, known: impl Iterator<Item = &'a str>, otherwise: &str) -> String {
    nearest(name, known).map_or_else(|| otherwise.to_owned(), |meant| format!("did you mean `{meant}`?"))
}

/// A tree as JSON, without its places.
fn json_of(node: &Node) -> serde_json::Value {
    use serde_json::Value as Json;
    match &node.kind {
        Kind::Null => Json::Null,
        Kind::Bool(value) => Json::Bool(*value),
        Kind::Int(value) => Json::from(*value),
        Kind::Float(value) => serde_json::Number::from_f64(*value).map_or(Json::Null, Json::Number),
        Kind::Text(text) => Json::String(text.clone()),
        Kind::List(list) => Json::Array(list.iter().map(json_of).collect()),
        Kind::Map(entries) => Json::Object(
            entries.iter().filter_map(|(key, value)| Some((key.text()?.to_owned(), json_of(value)))).collect(),
        ),
    }
}
