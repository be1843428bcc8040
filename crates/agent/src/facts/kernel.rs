//! The kernel that runs and those that are installed. A kernel package is judged by the version it was built as, which
//! the running kernel names in `uname -v`; the release (`uname -r`) only says which image was booted.

use std::path::Path;

use stanch_model::facts::{KernelFacts, KernelImage, Known, Package};
use stanch_model::version::DebVersion;

use super::{ANOTHER_ROOT, Root, container, unknown};

pub(crate) fn read(proc: Option<&Path>, root: &Root, packages: &[Package]) -> Known<KernelFacts> {
    let Some(proc) = proc else { return unknown(ANOTHER_ROOT) };
    if container::we_are_inside_one(proc, root) {
        return unknown("this is a container: its kernel belongs to the machine that runs it");
    }
    let read = |name: &str| {
        let path = proc.join("sys/kernel").join(name);
        std::fs::read_to_string(&path).map(|text| text.trim().chars().take(256).collect::<String>())
    };
    match (read("osrelease"), read("version")) {
        (Ok(release), Ok(version)) => Known::Known(KernelFacts {
            running_release: release,
            running_version: running_version(&version),
            installed: images(packages),
        }),
        (Err(error), _) | (_, Err(error)) => Known::Unknown(format!("the running kernel cannot be read: {error}")),
    }
}

/// The package version in `uname -v`: Debian's kernels end in `Debian 6.1.176-1 (2026-07-01)`. Ubuntu's carry only
/// their upload number (`#88-Ubuntu`) and are told by their release.
pub(crate) fn running_version(text: &str) -> Option<DebVersion> {
    let mut words = text.split_ascii_whitespace().skip_while(|word| *word != "Debian").skip(1);
    let version: DebVersion = words.next()?.parse().ok()?;
    version.as_str().starts_with(|first: char| first.is_ascii_digit()).then_some(version)
}

/// The installed kernel images; meta packages such as `linux-image-amd64` hold no image and are left out.
pub(crate) fn images(packages: &[Package]) -> Vec<KernelImage> {
    packages.iter().filter_map(image).collect()
}

fn image(package: &Package) -> Option<KernelImage> {
    let rest = package.name.strip_prefix("linux-image-")?;
    let release = rest.strip_prefix("unsigned-").unwrap_or(rest);
    if release.ends_with("-dbg") || release.ends_with("-dbgsym") || !release.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    Some(KernelImage {
        package: package.name.clone(),
        release: release.to_owned(),
        flavour: flavour(release)?.to_owned(),
        version: package.version.clone(),
    })
}

/// What follows the ABI number of a release: `6.1.0-50-cloud-amd64` is of flavour `cloud-amd64`,
/// `6.12.9+bpo-amd64` of `amd64`, `5.15.0-91-generic` of `generic`. A release that is only a version is a meta package
/// of a series (`linux-image-6.1`) and has none.
pub(crate) fn flavour(release: &str) -> Option<&str> {
    let is_number = |part: &str| {
        let digits = part.strip_prefix("0.deb").unwrap_or(part);
        part.starts_with("0.deb") || (!digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let (version, mut rest) = release.split_once('-')?;
    // A real image names a full upstream version; `6.1-amd64` is a series.
    if version.split('.').count() < 3 {
        return None;
    }
    while let Some((part, after)) = rest.split_once('-')
        && (is_number(part) || part.starts_with("rc"))
    {
        rest = after;
    }
    (!rest.is_empty() && !is_number(rest)).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_has_the_flavour_after_its_abi() {
        for (release, expected) in [
            ("6.1.0-50-amd64", Some("amd64")),
            ("6.1.0-50-cloud-amd64", Some("cloud-amd64")),
            ("6.1.0-0.deb11.22-rt-amd64", Some("rt-amd64")),
            ("6.12.9+bpo-amd64", Some("amd64")),
            ("6.12.57+deb13-cloud-arm64", Some("cloud-arm64")),
            ("5.15.0-91-generic", Some("generic")),
            ("6.8.0-1010-aws", Some("aws")),
            ("6.8.0-31-lowlatency-hwe", Some("lowlatency-hwe")),
            ("6.13-rc3-amd64", None),
            ("6.13.0-rc3-amd64", Some("amd64")),
            ("6.1", None),
            ("6.1.0-50", None),
            ("", None),
            ("-", None),
        ] {
            assert_eq!(flavour(release), expected, "{release}");
        }
    }

    #[test]
    fn the_running_kernel_names_its_package_version_on_debian() {
        let version = |text: &str| running_version(text).map(|version| version.to_string());
        assert_eq!(version("#1 SMP PREEMPT_DYNAMIC Debian 6.1.176-1 (2026-07-01)").as_deref(), Some("6.1.176-1"));
        assert_eq!(version("#88-Ubuntu SMP Tue Jun 4 10:00:00 UTC 2026"), None);
        assert_eq!(version("#1 SMP PREEMPT_DYNAMIC @0"), None);
        assert_eq!(version("Debian"), None);
        assert_eq!(version("Debian GNU"), None);
    }
}
