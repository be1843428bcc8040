//! Facts as they are told: what is different since those that the server has, and all of it wherever that is not sure.

use stanch_model::canonical::Digest;
use stanch_model::facts::{HostFacts, Known, OsRelease};
use stanch_model::order::{Answer, Verb};
use stanch_runner::{NoRules, Runner, Shutdown, Tools};

use crate::place::{Place, accepted};

fn facts(place: &Place, broken: &str) -> HostFacts {
    HostFacts {
        asset: place.asset(),
        collected_at: jiff::Timestamp::now(),
        boot_id: Known::Known("boot".to_owned()),
        os: OsRelease {
            id: "debian".to_owned(),
            version_id: Some("12".to_owned()),
            codename: None,
            pretty_name: "Debian".to_owned(),
        },
        architecture: "amd64".to_owned(),
        packages: Vec::new(),
        components: Vec::new(),
        bundles: Vec::new(),
        unsearched: Vec::new(),
        broken: (0..50).map(|number| format!("package-{number}")).chain([broken.to_owned()]).collect(),
        candidates: Known::Unknown("none".to_owned()),
        indexes_at: None,
        kernel: Known::Unknown("none".to_owned()),
        stale: Known::Known(Vec::new()),
        sockets: Known::Known(Vec::new()),
        updaters: Vec::new(),
        health: Vec::new(),
        in_use: None,
        talks: None,
        posture: None,
        gaps: Vec::new(),
    }
}

fn tell(place: &mut Place, runner: &Runner, since: Option<Digest>, now: &HostFacts) -> Answer {
    let order = accepted(place.offer(runner, Verb::Observe { refresh: false, since }));
    let (catalogue, shutdown) = (place.catalogue(), Shutdown::new());
    let tools = Tools {
        catalogue: &catalogue,
        facts: &|_| Ok(now.clone()),
        guard: &NoRules,
        rehearse: None,
        progress: &|_| {},
        shutdown: &shutdown,
    };
    runner.run(&order, &tools).unwrap().body.answer
}

#[test]
fn what_is_different_since_the_facts_that_the_server_has_leads_to_the_facts_as_they_are() {
    let mut place = Place::new();
    let runner = place.open();
    let (first, second) = (facts(&place, "a"), facts(&place, "b"));
    assert!(matches!(tell(&mut place, &runner, None, &first), Answer::Facts { .. }), "nobody asked for a difference");
    let digest = stanch_model::delta::Lasting::of(&first).unwrap().digest();
    let Answer::Delta { delta } = tell(&mut place, &runner, Some(digest), &second) else { panic!("told whole") };
    assert_eq!(delta.apply(&first, digest).unwrap(), second);
    assert!(serde_json::to_string(&delta.patch).unwrap().len() < 100, "{delta:?}");
    // What it starts from is not what it told last any more: the server has not heard the second.
    assert!(matches!(tell(&mut place, &runner, Some(digest), &second), Answer::Facts { .. }));
    let now = stanch_model::delta::Lasting::of(&second).unwrap().digest();
    let Answer::Delta { delta } = tell(&mut place, &runner, Some(now), &second) else { panic!("told whole") };
    assert_eq!((delta.patch, delta.result), (None, now), "a host at rest tells nothing");
}

#[test]
fn an_executor_that_was_started_anew_tells_all_of_it() {
    let mut place = Place::new();
    let runner = place.open();
    let first = facts(&place, "a");
    tell(&mut place, &runner, None, &first);
    drop(runner);
    let runner = place.open();
    let digest = stanch_model::delta::Lasting::of(&first).unwrap().digest();
    assert!(matches!(tell(&mut place, &runner, Some(digest), &first), Answer::Facts { .. }));
}
