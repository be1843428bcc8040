//! What a package URL says: a package of a distribution, or a component of another ecosystem with the name that its
//! advisories use.

use std::str::FromStr;

use packageurl::PackageUrl;
use stanch_model::ecosystem;
use stanch_model::facts::{Component, Package};
use stanch_model::version::DebVersion;

use super::Listed;
use crate::facts::dpkg::package_name;

const MAX_PURL: usize = 4096;
const MAX_NAME: usize = 512;

/// What an entry turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Meaning {
    Package {
        package: Box<Package>,
        /// `debian` or `ubuntu`.
        distribution: String,
        /// The `distro` qualifier.
        release: Option<String>,
    },
    Component(Component),
    Unsupported(String),
    Unreadable,
}

pub(super) fn understand(text: &str, entry: &Listed) -> Meaning {
    if text.len() > MAX_PURL {
        return Meaning::Unreadable;
    }
    let Ok(purl) = PackageUrl::from_str(text) else { return Meaning::Unreadable };
    let namespace = purl.namespace().unwrap_or_default();
    if purl.name().is_empty() || purl.name().len() + namespace.len() > MAX_NAME {
        return Meaning::Unreadable;
    }
    if purl.ty() == "deb" && matches!(namespace, "debian" | "ubuntu") {
        return package(&purl, namespace, entry).unwrap_or(Meaning::Unreadable);
    }
    let Some((ecosystem, name)) = ecosystem::named(purl.ty(), namespace, purl.name()) else {
        return Meaning::Unsupported(kind(&purl, namespace));
    };
    component(&purl, ecosystem, name, text, entry).unwrap_or(Meaning::Unreadable)
}

fn component(purl: &PackageUrl<'_>, ecosystem: &str, name: String, text: &str, entry: &Listed) -> Option<Meaning> {
    let own = purl.version().filter(|version| !version.is_empty());
    let version = own.or(entry.version.as_deref()).filter(|version| !version.is_empty())?;
    // No order takes a longer version; control characters could move the cursor of who reads about it.
    if version.len() > 256 || [version, text, &name].iter().any(|text| text.contains(char::is_control)) {
        return None;
    }
    let purl = match own {
        Some(_) => text.to_owned(),
        None => purl.clone().with_version(version).ok()?.to_string(),
    };
    Some(Meaning::Component(Component {
        ecosystem: ecosystem.to_owned(),
        name,
        version: version.to_owned(),
        purl,
        source: None,
        keeper: None,
    }))
}

fn kind(purl: &PackageUrl<'_>, namespace: &str) -> String {
    let kind = if purl.ty() == "deb" { format!("deb/{namespace}") } else { purl.ty().to_owned() };
    kind.chars().take(32).collect()
}

fn package(purl: &PackageUrl<'_>, namespace: &str, entry: &Listed) -> Option<Meaning> {
    let qualifier = |name: &str| purl.qualifiers().get(name).map(AsRef::<str>::as_ref).filter(|text| !text.is_empty());
    let name = package_name(purl.name().as_bytes())?;
    let version = with_epoch(purl.version().or(entry.version.as_deref())?, qualifier("epoch"));
    let version: DebVersion = version.parse().ok()?;
    let (upstream, upstream_version) = match qualifier("upstream") {
        Some(text) => match text.split_once('@') {
            Some((name, version)) => (Some(name), Some(version)),
            None => (Some(text), None),
        },
        None => (None, None),
    };
    let source = entry.source.as_deref().or(upstream).unwrap_or(name);
    let source = package_name(source.as_bytes())?.to_owned();
    let source_version = match entry.source_version.as_deref().or(upstream_version) {
        Some(text) => text.parse().ok()?,
        None => version.clone(),
    };
    let architecture = qualifier("arch").unwrap_or("all");
    Some(Meaning::Package {
        package: Box::new(Package {
            name: name.to_owned(),
            architecture: package_name(architecture.as_bytes())?.to_owned(),
            version,
            source,
            source_version,
            built_using: Vec::new(),
            hold: false,
            essential: false,
            automatic: None,
            origins: Vec::new(),
            installed_at: None,
        }),
        distribution: namespace.to_owned(),
        release: qualifier("distro").map(str::to_owned),
    })
}

fn with_epoch(version: &str, epoch: Option<&str>) -> String {
    match epoch {
        Some(epoch) if epoch != "0" && !version.contains(':') => format!("{epoch}:{version}"),
        _ => version.to_owned(),
    }
}
