//! Scripts: remediations that an owner writes and signs. A script is a manifest, its signature and the files the
//! manifest names by their digests; together they travel inside an order, so that what is approved is what runs. Here is
//! what a manifest may say and what a host holds it to; reading, signing and running are done elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::canonical::Digest;
use crate::plan::Disruption;

/// The action that runs them.
pub const ACTION: &str = "script.run";
/// The folder of a bundle in which every script has a folder of its own.
pub const FOLDER: &str = "scripts";
/// The manifest's file.
pub const MANIFEST_FILE: &str = "manifest.toml";
/// The file of its minisign signature.
pub const SIGNATURE_FILE: &str = "manifest.toml.minisig";
/// Bytes of manifest, signature and files together. What is longer is a program: ship it as a package.
pub const MAX_BYTES: usize = 64 << 10;
/// Parameters of one script.
pub const MAX_PARAMETERS: usize = 16;
/// The longest one file may run, in seconds.
pub const MAX_SECONDS: u32 = 900;
/// The most one file may write, in bytes.
pub const MAX_OUTPUT: u32 = 1 << 20;
/// The most of it that counts as an observation.
pub const MAX_STATE: usize = 64 << 10;

/// What one file of a script is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Says whether all is as wanted (0) or not (1), and prints what there is to restore.
    Evaluate,
    /// Makes it so.
    Remediate,
    /// Says as evaluate does whether it holds; evaluate itself where there is none.
    Verify,
    /// Brings back what evaluate printed before.
    Undo,
}

impl Part {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Evaluate, Self::Remediate, Self::Verify, Self::Undo];

    /// Its name, which is its file's name too.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Evaluate => "evaluate",
            Self::Remediate => "remediate",
            Self::Verify => "verify",
            Self::Undo => "undo",
        }
    }

    /// The part of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|part| part.name() == name)
    }

    /// Whether it changes the host.
    pub const fn acts(self) -> bool {
        matches!(self, Self::Remediate | Self::Undo)
    }

    /// Whether a script can do without it.
    const fn may_lack(self) -> bool {
        matches!(self, Self::Verify | Self::Undo)
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Which script and which of its files a path inside a bundle names: `scripts/NAME/FILE`.
pub fn file_of_bundle(path: &str) -> Option<(&str, &str)> {
    let (name, file) = path.strip_prefix(FOLDER)?.strip_prefix('/')?.split_once('/')?;
    let known = file == MANIFEST_FILE || file == SIGNATURE_FILE || Part::named(file).is_some();
    (known && !name.is_empty()).then_some((name, file))
}

/// A script as it travels.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    /// The manifest, to the letter that was signed.
    pub manifest: String,
    /// Its signature in minisign's form; empty while nobody signed it.
    pub signature: String,
    /// Its files.
    pub files: BTreeMap<Part, String>,
}

/// What an executor is asked for: a script, and the arguments by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// The script.
    pub script: Script,
    /// Its arguments.
    #[serde(default)]
    pub arguments: Map<String, Value>,
}

/// What is wrong with a script.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScriptError {
    /// The manifest is not what it should be.
    #[error("{MANIFEST_FILE}, line {line}: {message}")]
    Manifest {
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// A file that the manifest names is not there.
    #[error("`{part}` is named by the manifest and is not there")]
    Missing {
        /// Which.
        part: Part,
    },
    /// A file is there that the manifest does not name.
    #[error("`{part}` is there and the manifest does not name it")]
    Unnamed {
        /// Which.
        part: Part,
    },
    /// A file is another than was signed.
    #[error("`{part}` was changed: its digest is not the one in the manifest")]
    Changed {
        /// Which.
        part: Part,
    },
    /// Larger than any script.
    #[error("the script has {bytes} bytes; at most {MAX_BYTES} are taken")]
    TooLarge {
        /// Its length.
        bytes: usize,
    },
}

impl ScriptError {
    /// What a person can do.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Manifest { .. } => "`stanch script new` writes one that is right",
            Self::Missing { .. } | Self::Unnamed { .. } | Self::Changed { .. } => {
                "look at what changed, then sign it again: `stanch script sign FOLDER --key FILE`"
            }
            Self::TooLarge { .. } => "what is longer is a program: ship it as a package",
        }
    }
}

impl Script {
    /// Its manifest, if the manifest is sound and every file is the one it names. Whose word it is, is not asked here.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<Manifest, ScriptError> {
        self.is_bounded()?;
        let manifest = Manifest::parse(&self.manifest)?;
        for (part, wanted) in &manifest.files {
            let text = self.files.get(part).ok_or(ScriptError::Missing { part: *part })?;
            if Digest::of_bytes(text.as_bytes()) != *wanted {
                return Err(ScriptError::Changed { part: *part });
            }
        }
        match self.files.keys().find(|part| !manifest.files.contains_key(part)) {
            Some(part) => Err(ScriptError::Unnamed { part: *part }),
            None => Ok(manifest),
        }
    }

    /// Whether it is small enough to travel.
    ///
    /// # Errors
    /// When it is not.
    pub fn is_bounded(&self) -> Result<(), ScriptError> {
        let files: usize = self.files.values().map(String::len).sum();
        let bytes = files + self.manifest.len() + self.signature.len();
        if bytes > MAX_BYTES { Err(ScriptError::TooLarge { bytes }) } else { Ok(()) }
    }

    /// The manifest's SHA-256, by which a host can revoke it.
    pub fn fingerprint(&self) -> Digest {
        Digest::of_bytes(self.manifest.as_bytes())
    }

    /// The manifest with the digests of the files as they are now: the table `[files]` at its end is written anew.
    ///
    /// # Errors
    /// When something else follows that table: it would be lost.
    pub fn sealed(&self) -> Result<String, ScriptError> {
        let is_files = |line: &&str| line.trim() == "[files]";
        let before = self.manifest.lines().take_while(|line| !is_files(line));
        let mut text: String = before.flat_map(|line| [line, "\n"]).collect();
        let mut after = (1..).zip(self.manifest.lines()).skip_while(|(_, line)| !is_files(line)).skip(1);
        if let Some((line, _)) = after.find(|(_, line)| line.trim_start().starts_with('[')) {
            return Err(ScriptError::Manifest { line, message: "[files] has to stand last".to_owned() });
        }
        text.push_str("[files]\n");
        for (part, file) in &self.files {
            text.push_str(&format!("{part} = \"{}\"\n", Digest::of_bytes(file.as_bytes())));
        }
        Ok(text)
    }
}

/// What a manifest says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Its name, which is its folder's name too.
    pub name: String,
    /// Its version.
    pub version: u32,
    /// What it does, in a sentence.
    pub summary: String,
    /// The program that reads the files, by its absolute path.
    pub interpreter: String,
    /// The last day on which it runs, in UTC.
    pub expires: Date,
    /// The systems it is for, `debian 12`; any where none is named.
    pub systems: BTreeSet<String>,
    /// What the host must be labelled with.
    pub labels: BTreeMap<String, String>,
    /// Entering remediate or undo again after it was broken off leads to the same end.
    pub idempotent: bool,
    /// It works on files alone, so that a copy of the host shows what it would do.
    pub files_only: bool,
    /// What users of the host notice.
    pub disruption: Disruption,
    /// How long each file may run, in seconds.
    pub timeout_seconds: u32,
    /// How much each file may write, in bytes.
    pub output_bytes: u32,
    /// Who evaluate and verify run as.
    pub looks_as: String,
    /// Who remediate and undo run as.
    pub acts_as: String,
    /// Its parameters, in the order in which they are handed over.
    pub parameters: Vec<Parameter>,
    /// The digests of its files.
    pub files: BTreeMap<Part, Digest>,
}

/// One parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// What it takes.
    pub kind: Kind,
    /// What it is when nobody says; it must be said where there is none.
    pub default: Option<Value>,
    /// What it is for.
    pub summary: Option<String>,
}

/// What a parameter takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A text of at most so many letters, digits, blanks and `_ . , : @ % + = / -`.
    Text {
        /// How many.
        max: u16,
    },
    /// A whole number in these bounds.
    Integer {
        /// At least.
        min: i64,
        /// At most.
        max: i64,
    },
    /// `true` or `false`.
    Boolean,
    /// One of these words.
    Word(Vec<String>),
    /// An absolute path without `..`.
    Path,
    /// A package's name.
    Package,
    /// A service's name.
    Service,
    /// An account's name.
    User,
}

/// Arguments that a script does not take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArgumentError {
    /// No parameter has this name.
    #[error("the script takes no `{name}`; it takes: {}", if known.is_empty() { "nothing" } else { known })]
    Unknown {
        /// The name.
        name: String,
        /// What it takes.
        known: String,
    },
    /// A parameter must be given.
    #[error("the script needs `{name}`: {kind}")]
    Lacking {
        /// Its name.
        name: String,
        /// What it takes.
        kind: Kind,
    },
    /// A parameter takes something else.
    #[error("`{name}` of the script is {kind}")]
    Wrong {
        /// Its name.
        name: String,
        /// What it takes.
        kind: Kind,
    },
}

/// Why a script does not run on a host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// Its time is over.
    #[error("the script {script} expired at the end of {expired}")]
    Expired {
        /// `name@version`.
        script: String,
        /// Its last day.
        expired: Date,
    },
    /// The host's owner took it back.
    #[error("the script {script} is revoked on this host")]
    Revoked {
        /// `name@version`.
        script: String,
    },
    /// It is for other systems.
    #[error("the script {script} is for {wanted}, this host is {found}")]
    System {
        /// `name@version`.
        script: String,
        /// For which.
        wanted: String,
        /// What the host is.
        found: String,
    },
    /// The host lacks a label.
    #[error("the script {script} is for hosts labelled {label}, and this host is not")]
    Label {
        /// `name@version`.
        script: String,
        /// `name=value`.
        label: String,
    },
    /// The host does not allow the interpreter.
    #[error("the script {script} wants {interpreter}, which is no interpreter that this host allows")]
    Interpreter {
        /// `name@version`.
        script: String,
        /// The interpreter.
        interpreter: String,
    },
}

/// What a host holds a script to.
#[derive(Debug, Clone, Copy)]
pub struct Bounds<'a> {
    /// Which system it is, `debian 12`.
    pub system: &'a str,
    /// What it is labelled with.
    pub labels: &'a BTreeMap<String, String>,
    /// Programs that may read scripts.
    pub interpreters: &'a [String],
    /// `name@version`, or a manifest's SHA-256.
    pub revoked: &'a [String],
    /// The time.
    pub now: Timestamp,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: toml::Spanned<String>,
    version: u32,
    summary: toml::Spanned<String>,
    interpreter: toml::Spanned<String>,
    expires: toml::Spanned<String>,
    #[serde(default)]
    systems: BTreeSet<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    idempotent: bool,
    #[serde(default)]
    files_only: bool,
    disruption: Disruption,
    timeout_seconds: toml::Spanned<u32>,
    output_bytes: toml::Spanned<u32>,
    #[serde(default)]
    looks_as: Option<toml::Spanned<String>>,
    #[serde(default)]
    acts_as: Option<toml::Spanned<String>>,
    #[serde(default)]
    parameter: Vec<toml::Spanned<WrittenParameter>>,
    files: toml::Spanned<BTreeMap<Part, Digest>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenParameter {
    name: String,
    kind: String,
    summary: Option<String>,
    default: Option<Value>,
    max: Option<i64>,
    min: Option<i64>,
    one_of: Option<Vec<String>>,
}

/// Who runs what names nobody: an account that owns nothing.
const NOBODY: &str = "nobody";

impl Manifest {
    /// Reads a manifest.
    ///
    /// # Errors
    /// The first thing that is wrong, with its line.
    pub fn parse(text: &str) -> Result<Self, ScriptError> {
        let line = |at: usize| text.get(..at).unwrap_or(text).matches('\n').count() + 1;
        let wrong = |at: usize, message: String| ScriptError::Manifest { line: line(at), message };
        if text.len() > MAX_BYTES {
            return Err(ScriptError::TooLarge { bytes: text.len() });
        }
        let written: Written = toml::from_str(text)
            .map_err(|error| wrong(error.span().map_or(0, |span| span.start), error.message().to_owned()))?;
        let demand = |holds: bool, at: usize, message: &str| match holds {
            true => Ok(()),
            false => Err(wrong(at, message.to_owned())),
        };
        let at = |span: &std::ops::Range<usize>| span.start;
        demand(
            is_name(written.name.as_ref()),
            at(&written.name.span()),
            "name: 1 to 64 lower-case letters, digits and `-`, beginning with a letter",
        )?;
        let summary = written.summary.as_ref();
        demand(
            (1..=200).contains(&summary.chars().count()) && !summary.chars().any(char::is_control),
            at(&written.summary.span()),
            "summary: one sentence of at most 200 letters",
        )?;
        demand(
            is_path(written.interpreter.as_ref()),
            at(&written.interpreter.span()),
            "interpreter: an absolute path such as /bin/sh",
        )?;
        let Ok(expires) = written.expires.as_ref().parse::<Date>() else {
            return Err(wrong(at(&written.expires.span()), "expires: a day such as 2027-06-30".to_owned()));
        };
        demand(
            (1..=MAX_SECONDS).contains(written.timeout_seconds.as_ref()),
            at(&written.timeout_seconds.span()),
            &format!("timeout_seconds: expected 1 to {MAX_SECONDS}"),
        )?;
        demand(
            (1..=MAX_OUTPUT).contains(written.output_bytes.as_ref()),
            at(&written.output_bytes.span()),
            &format!("output_bytes: expected 1 to {MAX_OUTPUT}"),
        )?;
        let account = |given: Option<toml::Spanned<String>>, what: &str| match given {
            None => Ok(NOBODY.to_owned()),
            Some(name) if is_user(name.as_ref()) => Ok(name.into_inner()),
            Some(name) => Err(wrong(name.span().start, format!("{what}: the name of an account"))),
        };
        let short = |text: &String| (1..=100).contains(&text.len()) && !text.chars().any(char::is_control);
        demand(
            written.systems.iter().chain(written.labels.keys()).chain(written.labels.values()).all(short),
            0,
            "systems, labels: texts of 1 to 100 letters",
        )?;
        let mut parameters: Vec<Parameter> = Vec::new();
        for parameter in written.parameter {
            let start = parameter.span().start;
            let parameter = parameter.into_inner().read().map_err(|message| wrong(start, message))?;
            demand(
                parameters.iter().all(|other| other.name != parameter.name),
                start,
                &format!("two parameters are called `{}`", parameter.name),
            )?;
            parameters.push(parameter);
        }
        demand(parameters.len() <= MAX_PARAMETERS, 0, &format!("at most {MAX_PARAMETERS} parameters"))?;
        let files_at = written.files.span().start;
        let files = written.files.into_inner();
        for part in Part::ALL.into_iter().filter(|part| !part.may_lack()) {
            demand(files.contains_key(&part), files_at, &format!("files: `{part}` is missing"))?;
        }
        Ok(Self {
            name: written.name.into_inner(),
            version: written.version,
            summary: written.summary.into_inner(),
            interpreter: written.interpreter.into_inner(),
            expires,
            systems: written.systems,
            labels: written.labels,
            idempotent: written.idempotent,
            files_only: written.files_only,
            disruption: written.disruption,
            timeout_seconds: written.timeout_seconds.into_inner(),
            output_bytes: written.output_bytes.into_inner(),
            looks_as: account(written.looks_as, "looks_as")?,
            acts_as: account(written.acts_as, "acts_as")?,
            parameters,
            files,
        })
    }

    /// `name@version`.
    pub fn id(&self) -> String {
        format!("{}@{}", self.name, self.version)
    }

    /// Whether its last day is over.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        jiff::tz::TimeZone::UTC.to_datetime(now).date() > self.expires
    }

    /// Who runs a part of it.
    pub fn account(&self, part: Part) -> &str {
        if part.acts() { &self.acts_as } else { &self.looks_as }
    }

    /// The part that says whether it holds.
    pub fn verifier(&self) -> Part {
        if self.files.contains_key(&Part::Verify) { Part::Verify } else { Part::Evaluate }
    }

    /// Whether what it did can be taken back.
    pub fn can_undo(&self) -> bool {
        self.files.contains_key(&Part::Undo)
    }

    /// The argument vector: one text for each parameter, in the manifest's order.
    ///
    /// # Errors
    /// What is unknown, lacking or wrong.
    pub fn vector(&self, arguments: &Map<String, Value>) -> Result<Vec<String>, ArgumentError> {
        if let Some(name) = arguments.keys().find(|name| self.parameters.iter().all(|known| known.name != **name)) {
            let known: Vec<&str> = self.parameters.iter().map(|parameter| parameter.name.as_str()).collect();
            let name: String = name.chars().take(64).collect();
            return Err(ArgumentError::Unknown { name, known: known.join(", ") });
        }
        let vector = self.parameters.iter().map(|parameter| {
            let (name, kind) = (|| parameter.name.clone(), || parameter.kind.clone());
            let given = arguments.get(&parameter.name).or(parameter.default.as_ref());
            let given = given.ok_or_else(|| ArgumentError::Lacking { name: name(), kind: kind() })?;
            parameter.kind.written(given).ok_or_else(|| ArgumentError::Wrong { name: name(), kind: kind() })
        });
        vector.collect()
    }

    /// Whether it may run on a host, as far as the host's own bounds say. `fingerprint` is its SHA-256.
    ///
    /// # Errors
    /// The first reason why not.
    pub fn fits(&self, fingerprint: &Digest, host: &Bounds<'_>) -> Result<(), Unfit> {
        let script = || self.id();
        self.finishes(fingerprint, host)?;
        if self.is_expired(host.now) {
            return Err(Unfit::Expired { script: script(), expired: self.expires });
        }
        if !self.systems.is_empty() && !self.systems.contains(host.system) {
            let wanted = self.systems.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
            return Err(Unfit::System { script: script(), wanted, found: host.system.to_owned() });
        }
        if let Some((name, value)) = self.labels.iter().find(|(name, value)| host.labels.get(*name) != Some(value)) {
            return Err(Unfit::Label { script: script(), label: format!("{name}={value}") });
        }
        Ok(())
    }

    /// Whether what it has begun on a host may be looked at and taken back: its day may be over, and the host another
    /// system or without its label since; but not if its owner has revoked it.
    ///
    /// # Errors
    /// The reason why not.
    pub fn finishes(&self, fingerprint: &Digest, host: &Bounds<'_>) -> Result<(), Unfit> {
        let script = || self.id();
        let (id, print) = (self.id(), fingerprint.to_string());
        if host.revoked.iter().any(|one| *one == id || one.eq_ignore_ascii_case(&print)) {
            return Err(Unfit::Revoked { script: script() });
        }
        if !host.interpreters.contains(&self.interpreter) {
            return Err(Unfit::Interpreter { script: script(), interpreter: self.interpreter.clone() });
        }
        Ok(())
    }
}

impl WrittenParameter {
    fn read(self) -> Result<Parameter, String> {
        let name = self.name;
        if !is_parameter(&name) {
            return Err("parameter: its name is 1 to 32 lower-case letters, digits and `_`".to_owned());
        }
        let kind = match self.kind.as_str() {
            "text" => {
                let max = u16::try_from(self.max.unwrap_or(200)).ok().filter(|max| (1..=1_000).contains(max));
                Kind::Text { max: max.ok_or_else(|| format!("`{name}`: max: expected 1 to 1000"))? }
            }
            "integer" => {
                let (min, max) = (self.min.unwrap_or(i64::MIN), self.max.unwrap_or(i64::MAX));
                if min > max {
                    return Err(format!("`{name}`: nothing lies between min and max"));
                }
                Kind::Integer { min, max }
            }
            "boolean" => Kind::Boolean,
            "word" => match self.one_of.clone().unwrap_or_default() {
                words if (1..=64).contains(&words.len()) && words.iter().all(|word| is_text(word, 64)) => {
                    Kind::Word(words)
                }
                _ => return Err(format!("`{name}`: one_of: 1 to 64 words")),
            },
            "path" => Kind::Path,
            "package" => Kind::Package,
            "service" => Kind::Service,
            "user" => Kind::User,
            other => {
                let other: String = other.chars().take(32).collect();
                let known = "text, integer, boolean, word, path, package, service, user";
                return Err(format!("`{name}`: there is no kind `{other}`; there are: {known}"));
            }
        };
        let bounded = match kind {
            Kind::Text { .. } => self.min.is_none() && self.one_of.is_none(),
            Kind::Integer { .. } => self.one_of.is_none(),
            Kind::Word(_) => self.min.is_none() && self.max.is_none(),
            _ => self.min.is_none() && self.max.is_none() && self.one_of.is_none(),
        };
        if !bounded {
            return Err(format!("`{name}`: min, max or one_of says nothing about a {}", self.kind));
        }
        if self.default.as_ref().is_some_and(|default| kind.written(default).is_none()) {
            return Err(format!("`{name}`: its default is not {kind}"));
        }
        Ok(Parameter { name, kind, default: self.default, summary: self.summary })
    }
}

impl Kind {
    /// A value as it is handed over, if this takes it.
    pub fn written(&self, value: &Value) -> Option<String> {
        if let Self::Integer { min, max } = self {
            let number = value.as_i64().filter(|number| (*min..=*max).contains(number))?;
            return Some(number.to_string());
        }
        if *self == Self::Boolean {
            return value.as_bool().map(|value| value.to_string());
        }
        let text = value.as_str()?;
        let holds = match self {
            Self::Text { max } => is_text(text, usize::from(*max)),
            Self::Word(words) => words.iter().any(|word| word == text),
            Self::Path => is_path(text),
            Self::Package => is_package(text),
            Self::Service => is_service(text),
            Self::User => is_user(text),
            Self::Integer { .. } | Self::Boolean => false,
        };
        holds.then(|| text.to_owned())
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text { max } => write!(f, "a text of at most {max} letters, digits, blanks and _.,:@%+=/-"),
            Self::Integer { min: i64::MIN, max: i64::MAX } => f.write_str("a whole number"),
            Self::Integer { min, max } => write!(f, "a whole number from {min} to {max}"),
            Self::Boolean => f.write_str("true or false"),
            Self::Word(words) => write!(f, "one of: {}", words.join(", ")),
            Self::Path => f.write_str("an absolute path without `..`"),
            Self::Package => f.write_str("the name of a package"),
            Self::Service => f.write_str("the name of a service"),
            Self::User => f.write_str("the name of an account"),
        }
    }
}

/// Whether a text is so long, of these characters, and not to be taken for an option.
fn made_of(text: &str, longest: usize, allowed: fn(char) -> bool) -> bool {
    !text.is_empty() && text.len() <= longest && !text.starts_with('-') && text.chars().all(allowed)
}

fn is_text(text: &str, longest: usize) -> bool {
    made_of(text, longest, |c| c.is_ascii_alphanumeric() || " _.,:@%+=/-".contains(c))
}

/// Whether a text can be the name of a script.
pub fn is_name(text: &str) -> bool {
    made_of(text, 64, |c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        && text.starts_with(|c: char| c.is_ascii_lowercase())
}

fn is_parameter(text: &str) -> bool {
    made_of(text, 32, |c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_') && text != "script"
}

fn is_path(text: &str) -> bool {
    text.starts_with('/')
        && made_of(text, 256, |c| c.is_ascii_alphanumeric() || "/._+@:-".contains(c))
        && !text.contains("//")
        && text.split('/').all(|part| part != ".." && part != ".")
}

fn is_package(text: &str) -> bool {
    made_of(text, 100, |c| c.is_ascii_lowercase() || c.is_ascii_digit() || "+.-".contains(c))
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
}

fn is_service(text: &str) -> bool {
    made_of(text, 100, |c| c.is_ascii_alphanumeric() || "_.@:-".contains(c))
}

fn is_user(text: &str) -> bool {
    made_of(text, 32, |c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-".contains(c))
        && text.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const MANIFEST: &str = r#"name = "cron-modes"
version = 3
summary = "Takes write access for others from cron's files"
interpreter = "/bin/sh"
expires = "2027-06-30"
systems = ["debian 12"]
idempotent = true
disruption = "none"
timeout_seconds = 30
output_bytes = 4096
acts_as = "root"

[labels]
role = "web"

[[parameter]]
name = "folder"
kind = "path"
default = "/etc/cron.d"

[[parameter]]
name = "depth"
kind = "integer"
min = 1
max = 3

[files]
"#;

    fn script() -> Script {
        let files = BTreeMap::from([
            (Part::Evaluate, "exit 1\n".to_owned()),
            (Part::Remediate, "exit 0\n".to_owned()),
            (Part::Undo, "cat\n".to_owned()),
        ]);
        let draft = Script { manifest: MANIFEST.to_owned(), signature: String::new(), files };
        Script { manifest: draft.sealed().unwrap(), ..draft }
    }

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn what_a_manifest_says_is_what_holds() {
        let manifest = script().check().unwrap();
        assert_eq!(manifest.id(), "cron-modes@3");
        assert_eq!((manifest.account(Part::Evaluate), manifest.account(Part::Undo)), ("nobody", "root"));
        assert!(manifest.can_undo() && manifest.idempotent && !manifest.files_only);
        assert_eq!(manifest.verifier(), Part::Evaluate);
        assert_eq!(script().sealed().unwrap(), script().manifest, "sealing it again changes nothing");
    }

    #[test]
    fn sealing_loses_nothing_that_narrows_where_a_script_runs() {
        let script = Script { manifest: format!("{MANIFEST}[labels]\nrole = \"web\"\n"), ..script() };
        let error = script.sealed().unwrap_err().to_string();
        assert!(error.contains("has to stand last"), "{error}");
    }

    #[test]
    fn a_file_that_is_not_the_signed_one_is_seen() {
        let changed = |part, text: Option<&str>| {
            let mut script = script();
            match text {
                Some(text) => script.files.insert(part, text.to_owned()),
                None => script.files.remove(&part),
            };
            script.check().unwrap_err()
        };
        assert_eq!(changed(Part::Remediate, Some("exit 0\n\n")), ScriptError::Changed { part: Part::Remediate });
        assert_eq!(changed(Part::Undo, None), ScriptError::Missing { part: Part::Undo });
        assert_eq!(changed(Part::Verify, Some("exit 0\n")), ScriptError::Unnamed { part: Part::Verify });
        let large = "#".repeat(MAX_BYTES);
        assert!(matches!(changed(Part::Evaluate, Some(&large)), ScriptError::TooLarge { .. }));
    }

    #[test]
    fn every_mistake_in_a_manifest_is_an_error_with_its_line() {
        for (from, to, line, word) in [
            ("version = 3", "version = 3\nverison = 3", 3, "verison"),
            ("cron-modes", "Cron Modes", 1, "lower-case"),
            ("/bin/sh", "sh", 4, "absolute"),
            ("2027-06-30", "soon", 5, "a day"),
            ("timeout_seconds = 30", "timeout_seconds = 0", 9, "900"),
            ("output_bytes = 4096", "output_bytes = 99999999", 10, "1048576"),
            ("\"root\"", "\"root; ls\"", 11, "account"),
            ("kind = \"path\"", "kind = \"shell\"", 16, "no kind `shell`"),
            ("/etc/cron.d", "/etc/../root", 16, "default"),
            ("max = 3", "max = 0", 21, "nothing lies"),
            ("max = 3", "max = 3\none_of = [\"a\"]", 21, "says nothing"),
            ("name = \"depth\"", "name = \"folder\"", 21, "two parameters"),
            ("name = \"depth\"", "name = \"script\"", 21, "parameter"),
            ("evaluate =", "evalu8 =", 28, "evalu8"),
            ("disruption = \"none\"", "disruption = \"some\"", 8, "some"),
        ] {
            let text = script().manifest.replace(from, to);
            assert_ne!(text, script().manifest, "{from}");
            match Manifest::parse(&text).unwrap_err() {
                ScriptError::Manifest { line: at, message } => {
                    assert!(message.contains(word), "{to}: {message}");
                    assert_eq!(at, line, "{to}: {message}");
                }
                other => panic!("{other}"),
            }
        }
        let lacking = script().manifest.replace("remediate", "verify");
        assert!(Manifest::parse(&lacking).unwrap_err().to_string().contains("`remediate` is missing"));
    }

    #[test]
    fn arguments_are_a_vector_in_the_order_of_the_manifest() {
        let manifest = script().check().unwrap();
        assert_eq!(manifest.vector(&map(json!({"depth": 2}))).unwrap(), ["/etc/cron.d", "2"]);
        let both = map(json!({"depth": 1, "folder": "/srv/cron"}));
        assert_eq!(manifest.vector(&both).unwrap(), ["/srv/cron", "1"]);
        for (arguments, word) in [
            (json!({}), "needs `depth`"),
            (json!({"depth": 4}), "from 1 to 3"),
            (json!({"depth": "1"}), "from 1 to 3"),
            (json!({"depth": 1, "folder": "etc"}), "absolute path"),
            (json!({"depth": 1, "folder": "/etc/../root"}), "absolute path"),
            (json!({"depth": 1, "folder": "/etc/$(id)"}), "absolute path"),
            (json!({"depth": 1, "folder": "/a\n/b"}), "absolute path"),
            (json!({"depth": 1, "path": "/etc"}), "takes no `path`"),
        ] {
            let error = manifest.vector(&map(arguments.clone())).unwrap_err().to_string();
            assert!(error.contains(word), "{arguments}: {error}");
        }
    }

    #[test]
    fn no_kind_takes_what_a_shell_or_an_option_parser_would_understand() {
        let kinds = [
            Kind::Text { max: 1000 },
            Kind::Path,
            Kind::Package,
            Kind::Service,
            Kind::User,
            Kind::Word(vec!["a".to_owned()]),
        ];
        for text in ["", "-rf", "--x", "a;b", "$(id)", "`id`", "a\nb", "a\0b", "a|b", "a>b", "a'b", "a\"b", "a\\b", "ä"]
        {
            for kind in &kinds {
                assert_eq!(kind.written(&json!(text)), None, "{kind} takes {text:?}");
            }
        }
        assert_eq!(Kind::Boolean.written(&json!(true)).as_deref(), Some("true"));
        assert_eq!(Kind::Service.written(&json!("getty@tty1.service")).as_deref(), Some("getty@tty1.service"));
    }

    #[test]
    fn a_host_holds_a_script_to_its_own_bounds() {
        let manifest = script().check().unwrap();
        let print = script().fingerprint();
        let labels = BTreeMap::from([("role".to_owned(), "web".to_owned())]);
        let (other, none) = (BTreeMap::from([("role".to_owned(), "db".to_owned())]), BTreeMap::new());
        let sh = ["/bin/sh".to_owned()];
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let host = Bounds {
            system: "debian 12",
            labels: &labels,
            interpreters: &sh,
            revoked: &[],
            now: at("2027-06-30T23:59:59Z"),
        };
        manifest.fits(&print, &host).unwrap();
        let revoked = |text: &str| vec![text.to_owned()];
        let (by_name, by_print) = (revoked("cron-modes@3"), revoked(&print.to_string()));
        for (host, word) in [
            (Bounds { now: at("2027-07-01T00:00:00Z"), ..host }, "expired"),
            (Bounds { system: "ubuntu 22.04", ..host }, "is for debian 12"),
            (Bounds { labels: &other, ..host }, "role=web"),
            (Bounds { labels: &none, ..host }, "role=web"),
            (Bounds { interpreters: &[], ..host }, "no interpreter"),
            (Bounds { revoked: &by_name, ..host }, "revoked"),
            (Bounds { revoked: &by_print, ..host }, "revoked"),
        ] {
            let error = manifest.fits(&print, &host).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
        let older = revoked("cron-modes@2");
        manifest.fits(&print, &Bounds { revoked: &older, ..host }).unwrap();
    }

    proptest! {
        #[test]
        fn any_text_is_taken_for_a_manifest_and_any_value_for_an_argument(text in "(?s).{0,300}", at in 0_usize..600) {
            let _ = Manifest::parse(&text);
            let mut mixed = script().manifest;
            mixed.insert_str(mixed.floor_char_boundary(at), &text);
            let _ = Manifest::parse(&mixed);
            if let Some(taken) = (Kind::Text { max: 300 }).written(&json!(text)) {
                let unsafe_in_a_shell = "'\"`$;&|<>(){}\\*?[]~#!";
                let holds = taken.chars().all(|c| c.is_ascii() && !c.is_control() && !unsafe_in_a_shell.contains(c));
                prop_assert!(holds, "{:?}", taken);
            }
        }
    }

    #[test]
    fn files_of_a_bundle_are_told_by_their_place() {
        assert_eq!(file_of_bundle("scripts/cron-modes/undo"), Some(("cron-modes", "undo")));
        assert_eq!(file_of_bundle("scripts/x/manifest.toml.minisig"), Some(("x", SIGNATURE_FILE)));
        for other in ["scripts/x", "scripts/x/README.md", "x/scripts/y/undo", "scripts//undo", "scripts/a/b/undo"] {
            assert_eq!(file_of_bundle(other), None, "{other}");
        }
    }
}
