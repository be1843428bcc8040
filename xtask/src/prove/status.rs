//! Enough of dpkg's status file to explain why another scanner sees something else.

use std::collections::BTreeMap;

/// A package as dpkg records it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Package {
    /// Whether it is unpacked and configured, rather than removed with its configuration left.
    pub(crate) installed: bool,
    /// The source it was built from; its own name when the field is absent.
    pub(crate) source: String,
    /// Sources whose code it contains.
    pub(crate) built_using: Vec<String>,
}

/// Packages by name. Of two architectures of one package the last wins, which does not matter here: both have the same
/// source.
pub(crate) fn read(text: &str) -> BTreeMap<String, Package> {
    let mut packages = BTreeMap::new();
    for stanza in text.split("\n\n") {
        let field = |name: &str| {
            stanza.lines().find_map(|line| {
                let (key, value) = line.split_once(':')?;
                (key == name).then(|| value.trim())
            })
        };
        let Some(name) = field("Package") else { continue };
        let bare = |text: &str| text.split([' ', '(']).next().unwrap_or_default().to_owned();
        let package = Package {
            installed: field("Status").is_some_and(|status| status.ends_with(" installed")),
            source: field("Source").map_or_else(|| name.to_owned(), bare),
            built_using: field("Built-Using")
                .unwrap_or_default()
                .split(',')
                .map(|one| bare(one.trim()))
                .filter(|one| !one.is_empty())
                .collect(),
        };
        packages.insert(name.to_owned(), package);
    }
    packages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signed_kernel_names_the_source_it_contains() {
        let text = "Package: linux-image-6.1.0-50-amd64\nStatus: install ok installed\nSource: linux-signed-amd64 \
                    (6.1.176+1)\nVersion: 6.1.176-1\nBuilt-Using: linux (= 6.1.176-1), gcc-12 (= 12.2)\n\n\
                    Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n";
        let packages = read(text);
        let kernel = packages.get("linux-image-6.1.0-50-amd64").unwrap();
        assert!(kernel.installed);
        assert_eq!(kernel.source, "linux-signed-amd64");
        assert_eq!(kernel.built_using, ["linux", "gcc-12"]);
        assert_eq!(packages.get("gone").unwrap(), &Package { source: "gone".into(), ..Package::default() });
    }
}
