//! Playbooks as CACAO 2.0: ours come back as they went, and of others' it is said what does not map.

use proptest::prelude::*;
use serde_json::{Value, json};
use stanch_model::asset::AssetKind;
use stanch_model::playbook::{Act, Doing, HumanTask, On, Param, Playbook, Rung, Step, VerifiedBy};
use stanch_policy::cacao::{CacaoError, export, import, written};

use crate::world::{bundle, now};

fn param() -> impl Strategy<Value = Param> {
    prop_oneof![
        any::<bool>().prop_map(Param::Bool),
        any::<i32>().prop_map(|value| Param::Int(value.into())),
        "[a-z :'\"#-]{1,12}[a-z]".prop_map(Param::Text),
        Just(Param::From("item.package".to_owned())),
        prop::collection::vec("[a-z]{1,6}".prop_map(Param::Text), 1..3).prop_map(Param::List),
    ]
}

fn rung(id: String) -> impl Strategy<Value = Rung> {
    let act =
        (prop::collection::btree_map("[a-z]{1,5}", param(), 0..3), prop::option::of(1..90_000_u32), any::<bool>())
            .prop_map(|(params, within_seconds, linked)| {
                let doing = Doing::Act(Act { action: "package.upgrade".to_owned(), params });
                (doing, within_seconds, if linked { On::Linked(AssetKind::Account) } else { On::Asset })
            });
    let human = ("[A-Za-z '\":#-]{1,20}[a-z]", "[a-z]{2,8}", 1..90_000_u32, any::<bool>()).prop_map(
        |(title, owner, due_seconds, word)| {
            let verified_by = if word { VerifiedBy::Word } else { VerifiedBy::Check };
            let title = title.trim().to_owned();
            let task = HumanTask { instructions: format!("{title}!"), title, owner, due_seconds, verified_by };
            (Doing::Human(task), None, On::Asset)
        },
    );
    prop_oneof![3 => act, 1 => human].prop_map(move |(doing, within_seconds, on)| Rung {
        id: id.clone(),
        doing,
        on,
        within_seconds,
        lift_when: None,
    })
}

fn playbook() -> impl Strategy<Value = Playbook> {
    let step = |step: usize| {
        (1..4_usize).prop_flat_map(move |count| {
            let rungs: Vec<_> = (0..count).map(|n| rung(format!("s{step}-{n}"))).collect();
            rungs.prop_map(|rungs| Step { rungs })
        })
    };
    (1..5_usize).prop_flat_map(move |count| (0..count).map(step).collect::<Vec<_>>()).prop_map(|mut steps| {
        // The first act of the last step is lifted by the first of all.
        if steps.len() > 1
            && let Some(last) = steps.last_mut().and_then(|step| step.rungs.first_mut())
            && matches!(last.doing, Doing::Act(_))
        {
            last.lift_when = Some("s0-0".to_owned());
        }
        Playbook { name: "close-it".to_owned(), description: Some("What: 'it' \"does\"".to_owned()), steps }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn a_playbook_comes_back_as_it_went(playbook in playbook()) {
        let (document, _) = export(&playbook, now());
        let back = import(&document.to_string()).unwrap();
        prop_assert_eq!(&back.playbook, &playbook);
        prop_assert!(back.notes.is_empty(), "{:?}", back.notes);
        // And as a file of the language.
        let read = bundle(&written(&playbook));
        prop_assert_eq!(read.playbooks().next().unwrap(), playbook);
    }

    #[test]
    fn whatever_is_read_never_fails_but_by_saying_so(text in ".{0,200}", key in "[a-z_]{1,12}", value in any::<i64>()) {
        let _ = import(&text);
        let mut document = foreign();
        document[key] = json!(value);
        let _ = import(&document.to_string());
    }
}

fn id(kind: &str, number: u32) -> String {
    format!("{kind}--{number:08}-0000-4000-8000-000000000000")
}

/// Somebody else's playbook, with much that we do not do.
fn foreign() -> Value {
    let (start, end, scan, block, ask, fork, left, right) = (
        id("start", 1),
        id("end", 2),
        id("action", 3),
        id("action", 4),
        id("if-condition", 5),
        id("parallel", 6),
        id("action", 7),
        id("action", 8),
    );
    let team = id("group", 9);
    let mut workflow = serde_json::Map::new();
    let mut step = |id: &str, step: Value| drop(workflow.insert(id.to_owned(), step));
    step(&start, json!({ "type": "start", "on_completion": scan }));
    step(
        &scan,
        json!({ "type": "action", "name": "Scan it", "on_success": ask, "on_failure": block, "agent": team, "timeout": 600_000,
            "commands": [{ "type": "bash", "command": "rm -rf / ${item.name}" }] }),
    );
    step(
        &block,
        json!({ "type": "action", "name": "Call them", "on_success": ask, "agent": team, "delay": 5,
            "commands": [{ "type": "manual", "command": "Call\nthe team." }] }),
    );
    step(
        &ask,
        json!({ "type": "if-condition", "name": "Bad?", "condition": "a = 'b'", "on_true": left, "on_completion": fork }),
    );
    step(&fork, json!({ "type": "parallel", "name": "Both", "next_steps": [right], "on_completion": end }));
    step(
        &left,
        json!({ "type": "action", "on_completion": end, "commands": [{ "type": "manual", "command": "x" }], "agent": team }),
    );
    step(
        &right,
        json!({ "type": "action", "name": "Write it down", "on_completion": end, "commands": [{ "type": "manual", "command": "Write." }], "agent": team }),
    );
    step(&end, json!({ "type": "end" }));
    json!({
        "type": "playbook", "spec_version": "cacao-2.0", "id": id("playbook", 10), "name": "Find & Block",
        "created_by": id("identity", 11), "created": "2026-01-01T00:00:00.000Z", "modified": "2026-01-01T00:00:00.000Z",
        "workflow_start": start, "workflow": workflow, "playbook_variables": {}, "signatures": [],
        "agent_definitions": { team.clone(): { "type": "group", "name": "Web Team" } },
    })
}

#[test]
fn what_does_not_map_is_said_and_nothing_of_a_shell_is_taken_over() {
    let imported = import(&foreign().to_string()).unwrap();
    insta::assert_snapshot!(format!("{}\n{}", written(&imported.playbook), imported.notes.join("\n")));
    let read = bundle(&written(&imported.playbook));
    assert_eq!(read.playbooks().next().unwrap(), imported.playbook);
    let acts = stanch_model::playbook::acts(&imported.playbook.steps).count();
    assert_eq!(acts, 0, "nothing of it acts");
}

#[test]
fn what_is_no_playbook_or_was_taken_back_is_refused() {
    let with = |key: &str, value: Value| {
        let mut document = foreign();
        document[key] = value;
        import(&document.to_string()).unwrap_err()
    };
    assert_eq!(with("revoked", json!(true)), CacaoError::Revoked);
    assert_eq!(
        with("spec_version", json!("cacao-1.1")).to_string(),
        "this is no CACAO 2.0 playbook: its version is `cacao-1.1`"
    );
    assert!(with("workflow_start", json!("start--x")).to_string().contains("there is no step `start--x`"));
    assert!(matches!(import("{"), Err(CacaoError::Json(_))));
}
