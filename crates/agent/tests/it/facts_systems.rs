//! Systems that dpkg does not manage.

use stanch_agent::facts::{FactsError, Options, host};
use stanch_model::facts::Keeper;

use crate::facts::Tree;

#[test]
fn a_root_of_alpine_is_read_by_its_own_database() {
    let tree = Tree::new();
    tree.write("etc/os-release", "ID=alpine\nVERSION_ID=3.19.1\nPRETTY_NAME=\"Alpine Linux v3.19\"\n");
    tree.write(
        "lib/apk/db/installed",
        "P:libcrypto3\nV:3.1.4-r5\nA:x86_64\no:openssl\n\nP:odd\nV:latest\nA:x86_64\n\n",
    );
    let facts = tree.facts();
    assert!(facts.packages.is_empty());
    let [found] = facts.components.as_slice() else { panic!("{:?}", facts.components) };
    assert_eq!((found.ecosystem.as_str(), found.source.as_deref()), ("Alpine:v3.19", Some("openssl")));
    assert!(matches!(&found.keeper, Some(Keeper::Nobody(why)) if why.contains("apk upgrade")));
    assert_eq!(facts.architecture, "x86_64");
    assert!(facts.gaps.iter().any(|gap| gap.starts_with("1 of 2 packages")), "{:?}", facts.gaps);
}

#[test]
fn a_root_with_no_list_of_packages_is_refused_with_what_would_be_one() {
    let tree = Tree::new();
    tree.write("var/lib/rpm/rpmdb.sqlite", "whatever its maker wrote");
    let error = host(&Options::at(tree.path())).unwrap_err();
    assert!(matches!(error, FactsError::NoDpkg { .. }) && error.remedy().contains("on its own machine"), "{error}");
}
