//! Bundles: bounded, the same wherever they lie, and signed.

use stanch_model::sign::SigningKey;
use stanch_policy::{Bundle, MAX_FILES, SealError, sign, verify};

use crate::world::{now, policy, source};

#[test]
fn the_digest_is_of_names_and_contents_and_of_nothing_else() {
    let a = source("a.yaml", &policy("a", "  - {id: r, mode: alert}"));
    let b = source("b.yaml", &policy("b", "  - {id: r, mode: alert}"));
    let digest = |sources: &[_]| Bundle::load(sources).bundle.unwrap().digest();
    let both = digest(&[a.clone(), b.clone()]);
    assert_eq!(both, digest(&[b.clone(), a.clone()]));
    assert_eq!(both, digest(&[a.clone(), b.clone(), source("README.md", "not a part")]));
    assert_ne!(both, digest(std::slice::from_ref(&a)));
    assert_ne!(both, digest(&[a, source("b.yaml", &format!("{}# more\n", b.text))]));
}

#[test]
fn a_bundle_with_an_error_anywhere_is_none() {
    let good = source("a.yaml", &policy("a", "  - {id: r, mode: auto}"));
    let loaded = Bundle::load(&[good.clone(), source("b.yaml", "kind: Policy\n")]);
    assert!(loaded.bundle.is_none() && loaded.problems.iter().all(|problem| &*problem.file == "b.yaml"));
    let twice = Bundle::load(&[good.clone(), source("b.yaml", &good.text)]);
    assert_eq!(twice.problems[0].code, "name-twice");
}

#[test]
fn a_bundle_has_bounds() {
    let many: Vec<_> = (0..=MAX_FILES).map(|at| source(&format!("{at}.yaml"), "")).collect();
    assert_eq!(Bundle::load(&many).problems[0].code, "bundle-size");
    assert!(Bundle::load(&[]).bundle.unwrap().policies().is_empty());
}

#[test]
fn facts_that_extend_each_other_without_end_are_refused() {
    let facts = |name: &str, base: &str| {
        format!("---\napiVersion: stanch/v1\nkind: Facts\nname: {name}\nextends: {base}\nfacts: {{item.kev: true}}\n")
    };
    let loaded = Bundle::load(&[source("f.yaml", &format!("{}{}", facts("a", "b"), facts("b", "a")))]);
    assert!(loaded.problems[0].message.contains("without end"), "{:?}", loaded.problems);
}

#[test]
fn a_signature_holds_for_exactly_these_files() {
    let key = SigningKey::from_seed(&[7; 32]).unwrap();
    let other = SigningKey::from_seed(&[8; 32]).unwrap();
    let sources = [source("a.yaml", "x: 1\n"), source("b.yaml", "y: 1\n")];
    let signed = sign(&sources, &key, now()).unwrap();
    let text = serde_json::to_string(&signed).unwrap();
    let signed = serde_json::from_str(&text).unwrap();
    assert_eq!(verify(&sources, &signed, &key.verifying_key()).unwrap().files.len(), 2);

    let changed = [source("a.yaml", "x: 2\n"), sources[1].clone()];
    let more = [sources[0].clone(), sources[1].clone(), source("c.yaml", "")];
    for (files, wrong) in [(&changed[..], "a.yaml"), (&more[..], "c.yaml"), (&sources[..1], "b.yaml")] {
        let error = verify(files, &signed, &key.verifying_key()).unwrap_err();
        assert!(matches!(&error, SealError::Changed { file } if file == wrong), "{error}");
    }
    assert!(matches!(verify(&sources, &signed, &other.verifying_key()), Err(SealError::Signature(_))));
    let forged = text.replace(&now().to_string(), "2020-01-01T00:00:00Z");
    let forged = serde_json::from_str(&forged).unwrap();
    assert!(matches!(verify(&sources, &forged, &key.verifying_key()), Err(SealError::Signature(_))));
}
