//! Orders and their kinds go by the same names.

use std::collections::BTreeSet;

use stanch_model::Digest;
use stanch_model::id::{AssetId, TaskId};
use stanch_model::order::{Grant, Verb, VerbKind};
use stanch_model::plan::Leaf;

#[test]
fn an_order_and_its_kind_have_the_same_name_on_the_wire() {
    let (asset, task) = (AssetId::from_entropy([1; 10]), TaskId::from_entropy([2; 10]));
    let leaf = Leaf { asset: asset.clone(), items: Vec::new(), steps: Vec::new() };
    let digest = Digest::of_bytes(b"any");
    let grant = Grant {
        task: task.clone(),
        plan: digest,
        leaf_hash: digest,
        leaf: leaf.clone(),
        epoch: 1,
        attempt: 1,
        rest: false,
        vouched: None,
    };
    let verbs = [
        Verb::Observe { refresh: true, since: None },
        Verb::Plan { asset, requests: Vec::new() },
        Verb::Apply(grant.clone()),
        Verb::Undo { task: task.clone(), grant, items: Vec::new(), attempt: 1 },
        Verb::Rehearse { leaf: leaf.clone() },
        Verb::Verify { task: task.clone(), leaf },
        Verb::Hold { stop_all: true, reason: "any".to_owned() },
        Verb::Release,
        Verb::Reconcile { task, key: digest },
    ];
    for verb in &verbs {
        let (whole, kind) = (serde_json::to_value(verb).unwrap(), serde_json::to_value(verb.kind()).unwrap());
        assert_eq!(whole["verb"], kind);
    }
    let kinds: BTreeSet<VerbKind> = verbs.iter().map(Verb::kind).collect();
    assert_eq!(kinds, VerbKind::ALL.into(), "each once");
}

#[test]
fn what_older_executors_do_not_know_is_not_said_to_them() {
    let whole = Verb::Observe { refresh: true, since: None };
    assert_eq!(serde_json::to_value(&whole).unwrap(), serde_json::json!({ "verb": "observe", "refresh": true }));
    let older: Verb = serde_json::from_str(r#"{"verb":"observe","refresh":true}"#).unwrap();
    assert_eq!(older, whole);
}
