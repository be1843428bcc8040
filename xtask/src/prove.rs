//! The long proofs: every line of what an issue must show, as a program that can be run again by anybody.
//!
//! The gate answers whether the code is sound; these answer whether the promise holds, against live archives, real
//! roots, a real browser and peers. Each claim becomes a line in `target/prove/results.jsonl` and a row on the screen,
//! and a proof that fails does not stop those after it.

mod clone;
mod conformance;
pub(crate) mod debsecan;
mod defects;
mod fixtures;
mod fuzzing;
mod host;
mod ledger;
pub(crate) mod product;
pub(crate) mod results;
pub(crate) mod scanned;
mod status;
mod versions;
pub(crate) mod worlds;

use anyhow::{Result, bail};

use crate::packages;
use results::Results;

/// One proof: its name, what it shows, and how.
struct Proof {
    name: &'static str,
    shows: &'static str,
    run: fn(&mut Results) -> Result<()>,
}

/// In the order they fail soonest.
const PROOFS: &[Proof] = &[
    Proof { name: "versions", shows: "40,000 version pairs ordered as libapt orders them", run: versions::prove },
    Proof { name: "fixtures", shows: "18, 696 and 2,596 advisory findings and no other", run: fixtures::prove },
    Proof { name: "host", shows: "this machine's findings beside debsecan's", run: host::prove },
    Proof {
        name: "ledger",
        shows: "every flipped byte, dropped or moved entry and cut end is found",
        run: ledger::prove,
    },
    Proof { name: "defects", shows: "every defect planted by hand is caught by a test", run: defects::prove },
    Proof {
        name: "pages",
        shows: "every page in a real browser: light, dark, narrow, by keyboard",
        run: worlds::pages,
    },
    Proof {
        name: "root",
        shows: "fix --all and undo on a real server with the live security pocket",
        run: worlds::root,
    },
    Proof {
        name: "rollout",
        shows: "20 real roots in waves: a bad canary is taken back, a hold in mid-wave holds",
        run: worlds::rollout,
    },
    Proof {
        name: "fleet",
        shows: "50 real roots and 450 doubles over mutual TLS: enrolled, patched in three rings, all taken back",
        run: worlds::fleet,
    },
    Proof {
        name: "hostile",
        shows: "what strangers, servers, agents and copies try: refused, and in the record",
        run: worlds::hostile,
    },
    Proof {
        name: "faults",
        shows: "killed, powered off, no space, a wrong clock, a lock in the midst of an upgrade: the table of outcomes",
        run: worlds::faults,
    },
    Proof {
        name: "package",
        shows: "the agent's .deb under a real systemd: installed, at work, upgraded by its own hand, purged",
        run: worlds::package,
    },
    Proof {
        name: "kills",
        shows: "rollouts go on over 200 kills of the server: budgets hold, nothing runs twice, nothing is stuck",
        run: worlds::kills,
    },
    Proof {
        name: "servers",
        shows: "two servers over PostgreSQL and NATS, of which anything is killed or cut off: the same holds",
        run: worlds::servers,
    },
    Proof { name: "conformance", shows: "every action killed at every point, then resumed", run: conformance::prove },
    Proof { name: "fuzz", shows: "parsers of outside data survive what nobody would write", run: fuzzing::prove },
    Proof { name: "clone", shows: "from git clone to the first page with findings", run: clone::prove },
];

/// Runs those named, or all.
pub(crate) fn run(names: &[String], list: bool) -> Result<()> {
    let chosen = choose(names)?;
    if list {
        for proof in chosen {
            println!("{:<12} {}", proof.name, proof.shows);
        }
        return Ok(());
    }
    packages::ensure(packages::GATE)?;
    packages::ensure(packages::PROOFS)?;
    let mut results = Results::open("prove")?;
    for proof in chosen {
        results.begin(proof.name, proof.shows);
        if let Err(error) = (proof.run)(&mut results) {
            results.broke(&error)?;
        }
    }
    results.finish()
}

/// Fuzzes those targets, or all.
pub(crate) fn fuzz(seconds: u32, names: &[String]) -> Result<()> {
    let mut results = Results::open("prove")?;
    results.begin("fuzz", "parsers of outside data survive what nobody would write");
    fuzzing::run(&mut results, seconds, names)?;
    results.finish()
}

fn choose(names: &[String]) -> Result<Vec<&'static Proof>> {
    if names.is_empty() {
        return Ok(PROOFS.iter().collect());
    }
    let mut chosen = Vec::new();
    for name in names {
        let Some(proof) = PROOFS.iter().find(|proof| proof.name == name) else {
            let known: Vec<&str> = PROOFS.iter().map(|proof| proof.name).collect();
            bail!("there is no proof `{name}`; there are {}", known.join(", "));
        };
        chosen.push(proof);
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_choose_in_the_order_given_and_none_means_all() {
        assert_eq!(choose(&[]).unwrap().len(), PROOFS.len());
        let chosen = choose(&["host".into(), "fixtures".into()]).unwrap();
        assert_eq!(chosen.iter().map(|proof| proof.name).collect::<Vec<_>>(), ["host", "fixtures"]);
        let error = choose(&["hosts".into()]).err().unwrap().to_string();
        assert!(error.contains("`hosts`") && error.contains("fixtures"), "{error}");
    }
}
