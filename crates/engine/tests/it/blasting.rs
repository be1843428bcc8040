//! What a plan cuts off is foreseen from what listens, who talks to it, and what the plan moves.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;
use stanch_engine::blast::{Cut, blast};
use stanch_model::facts::{HostFacts, InUse, Known, ListeningSocket, PortInUse};
use stanch_model::plan::{Disruption, LEFT_ALONE, Leaf};

use crate::world::{facts, host, socket};

/// What a step moves: a subject, and what becomes of it.
type Moves<'a> = &'a [(&'a str, &'a str)];

fn leaf(steps: &[(&str, Disruption, Moves<'_>)]) -> Leaf {
    let steps: Vec<_> = steps
        .iter()
        .map(|(action, disruption, changes)| {
            let changes: Vec<_> = changes
                .iter()
                .map(|(subject, after)| json!({ "subject": subject, "before": "before", "after": after, "note": null }))
                .collect();
            let digest = "0".repeat(64);
            json!({ "action": action, "params": {}, "before": digest, "changes": changes, "reversibility": "restorable",
                "undo": "", "disruption": disruption })
        })
        .collect();
    serde_json::from_value(json!({ "asset": host().id, "items": [], "steps": steps })).unwrap()
}

fn upgrade_and_restart(services: Moves<'_>) -> Leaf {
    let library: Moves<'_> = &[("libssl3:amd64", "3.0.17-1")];
    leaf(&[("package.upgrade", Disruption::Restart, library), ("service.restart", Disruption::Restart, services)])
}

fn listening(sockets: Vec<ListeningSocket>, connections: &[(u16, u32)]) -> HostFacts {
    let counted = connections.iter().map(|(port, connections)| PortInUse { port: *port, connections: *connections });
    let in_use = InUse { sessions: Known::Known(2), connections: Known::Known(counted.collect()) };
    HostFacts { sockets: Known::Known(sockets), in_use: Some(in_use), ..facts(&host()) }
}

fn ports(cut: &[Cut]) -> Vec<(u16, bool, Option<u32>)> {
    cut.iter().map(|one| (one.port, one.local, one.connections)).collect()
}

#[test]
fn services_that_restart_lose_their_connections_and_others_keep_them() {
    let sockets = vec![
        socket("127.0.0.1", 5432, "postgresql"),
        socket("0.0.0.0", 22, "ssh"),
        socket("::", 22, "ssh"),
        socket("0.0.0.0", 80, "nginx"),
    ];
    let leaf = upgrade_and_restart(&[
        ("ssh.service", "restarted"),
        ("postgresql.service", "restarted"),
        ("nginx.service", LEFT_ALONE),
    ]);
    let told = blast(&leaf, &listening(sockets, &[(22, 3), (80, 120), (5432, 7)]));
    assert_eq!(ports(&told.cut), [(22, false, Some(3)), (5432, true, Some(7))]);
    assert_eq!(told.cut[0].program.as_deref(), Some("ssh.service"));
    assert_eq!((told.untouched, told.disruption), (1, Disruption::Restart));
    assert_eq!((told.sessions, told.unknown), (Known::Known(2), Vec::new()));
}

#[test]
fn a_package_that_answers_itself_is_cut_off_when_it_moves() {
    let mut nginx = socket("0.0.0.0", 80, "nginx");
    nginx.service = None;
    let leaf = leaf(&[("package.upgrade", Disruption::Restart, &[("nginx:amd64", "1.22.1-9+deb12u3")])]);
    let told = blast(&leaf, &listening(vec![nginx], &[(80, 1)]));
    assert_eq!(ports(&told.cut), [(80, false, Some(1))]);
}

#[test]
fn a_reboot_cuts_everything_off() {
    let sockets = vec![socket("0.0.0.0", 22, "ssh"), socket("127.0.0.1", 25, "exim4")];
    let leaf = leaf(&[("host.reboot", Disruption::Outage, &[("kernel", "6.1.0-51")])]);
    let told = blast(&leaf, &listening(sockets, &[(22, 1), (25, 0)]));
    assert_eq!(ports(&told.cut), [(22, false, Some(1)), (25, true, Some(0))]);
    assert_eq!(told.untouched, 0);
}

#[test]
fn what_could_not_be_measured_is_not_told_as_nothing() {
    let unread = HostFacts { sockets: Known::Unknown("needs root".to_owned()), ..facts(&host()) };
    let told = blast(&upgrade_and_restart(&[("ssh.service", "restarted")]), &unread);
    assert!(told.cut.is_empty());
    let because = "its executor does not measure it";
    assert_eq!(
        told.unknown,
        ["listening sockets: needs root".to_owned(), format!("sessions: {because}"), format!("connections: {because}")]
    );
    let seen = HostFacts { sockets: Known::Known(vec![socket("0.0.0.0", 22, "ssh")]), ..unread };
    let told = blast(&upgrade_and_restart(&[("ssh.service", "restarted")]), &seen);
    assert_eq!(ports(&told.cut), [(22, false, None)]);
}

#[test]
fn what_nobody_can_name_is_not_told_as_staying() {
    let nameless = ListeningSocket { exe: None, package: None, service: None, ..socket("0.0.0.0", 8080, "x") };
    let sockets = vec![nameless, socket("0.0.0.0", 22, "ssh")];
    let told = blast(&upgrade_and_restart(&[("nginx.service", "restarted")]), &listening(sockets.clone(), &[]));
    assert_eq!((told.cut.len(), told.untouched), (0, 1));
    assert_eq!(told.unknown, ["which programs 1 more listening ports belong to: the host does not tell"]);
    let reboot = leaf(&[("host.reboot", Disruption::Outage, &[("kernel", "6.1.0-51")])]);
    let told = blast(&reboot, &listening(sockets, &[]));
    assert_eq!((told.cut.len(), told.untouched, told.unknown.len()), (2, 0, 0), "a reboot asks for no names");
}

#[test]
fn connections_to_a_port_of_several_programs_are_nobodys() {
    let sockets = vec![socket("127.0.0.1", 8080, "ssh"), socket("10.0.0.1", 8080, "nginx")];
    let told = blast(&upgrade_and_restart(&[("ssh.service", "restarted")]), &listening(sockets, &[(8080, 900)]));
    assert_eq!(ports(&told.cut), [(8080, true, None)]);
    assert_eq!(told.unknown, ["connections to port 8080: more than one program listens there"]);
}

proptest! {
    #[test]
    fn every_port_is_either_cut_off_or_stays(
        listens in proptest::collection::btree_map(1..200_u16, (0..5_usize, any::<bool>(), 0..9_u32), 0..30),
        restarts in proptest::collection::btree_set(0..5_usize, 0..5),
        reboots: bool,
    ) {
        let names = ["ssh", "nginx", "exim4", "named", "redis"];
        let sockets = listens.iter().map(|(port, (name, local, _))| {
            socket(if *local { "127.0.0.1" } else { "0.0.0.0" }, *port, names[*name])
        });
        let services: Vec<String> = restarts.iter().map(|name| format!("{}.service", names[*name])).collect();
        let services: Vec<(&str, &str)> = services.iter().map(|name| (name.as_str(), "restarted")).collect();
        let mut leaf = upgrade_and_restart(&services);
        if reboots {
            leaf.steps[0].disruption = Disruption::Outage;
        }
        let counts: Vec<(u16, u32)> = listens.iter().map(|(port, (_, _, count))| (*port, *count)).collect();
        let told = blast(&leaf, &listening(sockets.collect(), &counts));
        prop_assert_eq!(told.cut.len() + told.untouched as usize, listens.len());
        let cut: BTreeMap<u16, u32> = told.cut.iter().map(|one| (one.port, one.connections.unwrap())).collect();
        for (port, (name, _, count)) in listens {
            let expected = (reboots || restarts.contains(&name)).then_some(count);
            prop_assert_eq!(cut.get(&port).copied(), expected, "port {}", port);
        }
    }
}
