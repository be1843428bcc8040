//! Scripts beside the policies: what is wrong with one, and with a step that runs it, is said before anything is in
//! force.

use std::collections::BTreeMap;

use stanch_model::script::{Part, Script};
use stanch_policy::{Bundle, Grade, Source, check};

use crate::world::{KNOWN, now, source};

const MANIFEST: &str = "name = \"banner\"\nversion = 2\nsummary = \"Shows a notice\"\ninterpreter = \"/bin/sh\"\nexpires = \
                        \"2999-12-31\"\ndisruption = \"none\"\ntimeout_seconds = 9\noutput_bytes = 9\n\n[[parameter]]\nname \
                        = \"text\"\nkind = \"text\"\n\n[[parameter]]\nname = \"times\"\nkind = \"integer\"\nmin = 1\nmax = \
                        3\ndefault = 1\n\n";

fn script() -> Script {
    let files = BTreeMap::from([(Part::Evaluate, "exit 1\n".to_owned()), (Part::Remediate, "exit 0\n".to_owned())]);
    let draft = Script { manifest: MANIFEST.to_owned(), signature: "signed\n".to_owned(), files };
    Script { manifest: draft.sealed().unwrap(), ..draft }
}

/// A bundle with a playbook of this step, and this script.
fn sources(step: &str, script: &Script) -> Vec<Source> {
    let playbook = format!("apiVersion: stanch/v1\nkind: Playbook\nname: notice\nsteps:\n  - script.run: {step}\n");
    let mut sources = vec![
        source("playbooks.yaml", &playbook),
        source("scripts/banner/manifest.toml", &script.manifest),
        source("scripts/banner/manifest.toml.minisig", &script.signature),
    ];
    sources.extend(script.files.iter().map(|(part, text)| source(&format!("scripts/banner/{part}"), text)));
    sources
}

/// What is said of a step.
fn said(step: &str, script: &Script) -> Vec<String> {
    let loaded = Bundle::load(&sources(step, script));
    let told = loaded.problems.iter().map(ToString::to_string);
    let bundle = loaded.bundle.as_ref();
    let checked = bundle.map(|bundle| check(bundle, &KNOWN, now())).unwrap_or_default();
    told.chain(checked.iter().map(|problem| format!("{problem} ({})", problem.remedy))).collect()
}

#[test]
fn a_step_that_fits_its_script_is_right() {
    for step in ["{script: banner, text: Hello}", "{script: banner, text: '${asset.name}', times: 3}"] {
        assert_eq!(said(step, &script()), [""; 0]);
    }
    let bundle = Bundle::load(&sources("{script: banner, text: Hello}", &script())).bundle.unwrap();
    assert_eq!(bundle.script("banner").unwrap().script, script(), "it travels as it lies there");
}

#[test]
fn what_a_script_does_not_take_is_said_where_the_step_stands() {
    for (step, code, word) in [
        ("{script: baner, text: x}", "unknown-script", "did you mean `banner`?"),
        ("{script: '${asset.name}'}", "parameter", "filled in later"),
        ("{text: x}", "parameter", "lacks `script`"),
        ("{script: banner}", "parameter", "lacks `text`"),
        ("{script: banner, text: 'a; b'}", "parameter", "letters, digits"),
        ("{script: banner, text: x, times: 4}", "parameter", "from 1 to 3"),
        ("{script: banner, test: x, text: x}", "unknown-parameter", "did you mean `text`?"),
    ] {
        let said = said(step, &script());
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].starts_with("playbooks.yaml:5:5: error"), "{said:?}");
        assert!(said[0].contains(code) && said[0].contains(word), "{said:?}");
    }
}

#[test]
fn a_script_that_is_not_what_its_manifest_says_is_no_part_of_a_bundle() {
    let step = "{script: banner, text: x}";
    let mut changed = script();
    changed.files.insert(Part::Remediate, "exit 1\n".to_owned());
    let mut gone = script();
    gone.files.remove(&Part::Remediate);
    let wrong = Script { manifest: script().manifest.replace("version", "verison"), ..script() };
    let renamed = Script { manifest: script().manifest.replace("\"banner\"", "\"notice\""), ..script() };
    for (script, word) in [
        (changed, "toml:1:1: error[script]: `remediate` was changed"),
        (gone, "`remediate` is named by the manifest and is not there"),
        (wrong, "toml:2:1: error[script]"),
        (renamed, "is called `notice`"),
    ] {
        assert!(Bundle::load(&sources(step, &script)).bundle.is_none());
        let said = said(step, &script);
        assert!(said[0].starts_with("scripts/banner/manifest.") && said[0].contains(word), "{said:?}");
    }
    let lonely = Bundle::load(&[source("scripts/banner/undo", "exit 0\n")]);
    assert!(lonely.bundle.is_none() && lonely.problems[0].message.contains("has no manifest.toml"));
}

#[test]
fn what_hosts_will_refuse_is_warned_of() {
    let step = "{script: banner, text: x}";
    let unsigned = Script { signature: String::new(), ..script() };
    let expired = Script { manifest: script().manifest.replace("2999", "2020"), ..script() };
    for (script, code) in [(unsigned, "script-unsigned"), (expired, "script-expired")] {
        let bundle = Bundle::load(&sources(step, &script)).bundle.unwrap();
        let found = check(&bundle, &KNOWN, now());
        assert_eq!((found.len(), found[0].grade, found[0].code), (1, Grade::Warning, code));
    }
}

#[test]
fn a_bundle_is_another_when_a_script_is() {
    let digest = |script: &Script| Bundle::load(&sources("{script: banner, text: x}", script)).bundle.unwrap().digest();
    let signed = Script { signature: "by somebody else\n".to_owned(), ..script() };
    assert_ne!(digest(&script()), digest(&signed));
}
