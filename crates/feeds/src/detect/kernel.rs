//! The check `kernel`: is the running kernel older than the newest installed one of its flavour?
//!
//! Flavours are judged apart, under dpkg's order of versions; what is installed but was never booted is no problem.

use stanch_model::facts::{HostFacts, KernelFacts};
use stanch_model::finding::{Detector, Verdict};

use super::{Detection, finding, needed};

/// What this check calls the problem it finds.
pub const ID: &str = "running-kernel";

/// Runs the check.
pub fn detect(facts: &HostFacts, detection: &mut Detection) {
    let Some(kernel) = needed(&facts.kernel, "running kernel", detection) else { return };
    let Some(flavour) = flavour(kernel) else {
        if !kernel.installed.is_empty() {
            let release = &kernel.running_release;
            detection.notes.push(format!("the running kernel {release} is of no flavour that is installed"));
        }
        return;
    };
    let of_flavour = kernel.installed.iter().filter(|image| image.flavour == flavour);
    let Some(newest) = of_flavour.max_by(|a, b| a.version.cmp(&b.version)) else { return };
    let booted = kernel.installed.iter().find(|image| image.release == kernel.running_release);
    // The version that the kernel itself names tells even when its package was replaced under it.
    let Some(running) = kernel.running_version.as_ref().or(booted.map(|image| &image.version)) else {
        let release = &kernel.running_release;
        detection.blind_spots.push(format!("running kernel: the version of {release} is not known"));
        return;
    };
    if *running >= newest.version {
        return;
    }
    let binary = format!("linux-image-{}", kernel.running_release);
    let mut found = finding(facts, Detector::Kernel, ID, &binary, Verdict::FixedNotRunning);
    let source = facts.packages.iter().find(|package| package.name == newest.package);
    found.package = source.map_or_else(
        || "linux".to_owned(),
        |package| package.built_using.first().map_or_else(|| package.source.clone(), |(name, _)| name.clone()),
    );
    found.version = running.to_string();
    found.fixed_version = Some(newest.version.to_string());
    found.reason = format!(
        "{} ({running}) is running; {} ({}) of the same flavour is installed and not booted",
        kernel.running_release, newest.release, newest.version
    );
    detection.findings.push(found);
}

/// The flavour of the running kernel: of its own image, else the longest installed flavour its release ends with.
fn flavour(kernel: &KernelFacts) -> Option<&str> {
    let own = kernel.installed.iter().find(|image| image.release == kernel.running_release);
    own.map(|image| image.flavour.as_str()).or_else(|| {
        let ends = |flavour: &&str| {
            kernel.running_release.strip_suffix(flavour).and_then(|rest| rest.strip_suffix('-')).is_some_and(|rest| {
                // `6.1.0-50-cloud` would be another flavour, `6.1.0-50` is a version and an ABI.
                rest.split('-').all(|part| part.starts_with(|first: char| first.is_ascii_digit()))
            })
        };
        kernel
            .installed
            .iter()
            .map(|image| image.flavour.as_str())
            .filter(|flavour| ends(flavour))
            .max_by_key(|f| f.len())
    })
}
