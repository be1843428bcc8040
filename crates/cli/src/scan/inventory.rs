//! What is scanned: this machine, another root, a package list, or a bill of materials that somebody else made.

use std::io::Read as _;
use std::path::Path;

use stanch_agent::facts::{self, Options};
use stanch_agent::sbom;
use stanch_model::facts::HostFacts;

use crate::args::Scan;
use crate::data;
use crate::failure::Failure;

/// A larger file is no package list.
const MAX_FILE: u64 = 512 << 20;

/// What was read.
pub(crate) struct Inventory {
    pub(crate) facts: HostFacts,
}

pub(crate) fn read(wanted: &Scan) -> Result<Inventory, Failure> {
    let facts = if let Some(path) = &wanted.dpkg_status {
        package_list(path, wanted.release.as_deref().unwrap_or_default())?
    } else if let Some(path) = &wanted.sbom {
        bill_of_materials(path, wanted.release.as_deref())?
    } else {
        host(wanted.root.as_deref())?
    };
    Ok(Inventory { facts })
}

fn host(root: Option<&Path>) -> Result<HostFacts, Failure> {
    let mut options = root.map_or_else(Options::this_host, Options::at);
    if let Some(cache) = data::cache("facts") {
        options = options.cached(cache.join("archive-indexes"));
    }
    facts::host(&options).map_err(|error| {
        let remedy = error.remedy();
        Failure::new("this system cannot be read").because(error).hint(remedy)
    })
}

fn package_list(path: &Path, release: &str) -> Result<HostFacts, Failure> {
    let os =
        facts::os::parse_release(release).map_err(|error| Failure::new("--release cannot be used").because(error))?;
    let bytes = file(path)?;
    facts::from_status(&bytes, os, &name(path)).map_err(|error| {
        let remedy = error.remedy();
        Failure::new(format!("{} is not a usable package list", path.display())).because(error).hint(remedy)
    })
}

/// What somebody else's bill of materials lists.
fn bill_of_materials(path: &Path, release: Option<&str>) -> Result<HostFacts, Failure> {
    let release = release
        .map(facts::os::parse_release)
        .transpose()
        .map_err(|error| Failure::new("--release cannot be used").because(error))?;
    let inventory = sbom::parse(&file(path)?, &name(path), release).map_err(|error| {
        let remedy = error.remedy();
        Failure::new(format!("{} is not a usable bill of materials", path.display())).because(error).hint(remedy)
    })?;
    Ok(inventory.facts)
}

/// What an inventory is called.
fn name(path: &Path) -> String {
    path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}

/// A whole file, unpacked if it is gzip.
fn file(path: &Path) -> Result<Vec<u8>, Failure> {
    let fail = |error: std::io::Error| Failure::new(format!("{} cannot be read", path.display())).because(error);
    let mut bytes = Vec::new();
    std::fs::File::open(path).and_then(|file| file.take(MAX_FILE).read_to_end(&mut bytes)).map_err(fail)?;
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return Ok(bytes);
    }
    let mut unpacked = Vec::new();
    flate2::read::MultiGzDecoder::new(bytes.as_slice()).take(MAX_FILE).read_to_end(&mut unpacked).map_err(fail)?;
    Ok(unpacked)
}
