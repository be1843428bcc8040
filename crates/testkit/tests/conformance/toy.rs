//! The toy action in a temporary folder: the suite itself under real kills, in seconds.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;
use serde_json::{Value, json};
use stanch_action::{Crash, Death, Idempotency, Sent, World, WorldError};
use stanch_model::id::{AssetId, ItemId};
use stanch_model::order::{StepRequest, Verb};
use tempfile::TempDir;

use crate::expect_green;
use crate::stage::{EXECUTOR, Machine, Stage, asset};

struct Folder(TempDir);

impl Folder {
    fn target(&self) -> PathBuf {
        self.0.path().join("target")
    }
}

impl Machine for Folder {
    fn switch_on(&self) -> Result<()> {
        Ok(())
    }

    fn power_off(&self) {}

    fn executor(&self) -> Result<Command> {
        let mut command = Command::new(EXECUTOR);
        command.arg("--folder").arg(self.0.path().join("executor")).arg("--toy").arg(self.target());
        Ok(command)
    }

    fn trap(&self, _: &str, _: Death) -> Result<()> {
        Ok(())
    }

    fn is_trapped(&self) -> bool {
        false
    }
}

struct ToyWorld {
    stage: Option<Stage<Folder>>,
}

fn failed(error: impl std::fmt::Display) -> WorldError {
    WorldError::new(error.to_string())
}

impl ToyWorld {
    fn stage(&mut self) -> Result<&mut Stage<Folder>, WorldError> {
        self.stage.as_mut().ok_or_else(|| failed("not broken yet"))
    }

    fn content(&mut self, name: &str) -> Option<String> {
        fs::read_to_string(self.stage().ok()?.machine.target().join(name)).ok()
    }
}

impl World for ToyWorld {
    fn action(&self) -> String {
        "file.set".to_owned()
    }

    fn system(&self) -> String {
        "temporary folder".to_owned()
    }

    fn case(&self) -> String {
        "the suite itself".to_owned()
    }

    fn idempotency(&self) -> Idempotency {
        Idempotency::Keyed
    }

    fn asset(&self) -> AssetId {
        asset()
    }

    fn break_it(&mut self) -> Result<(), WorldError> {
        let folder = Folder(tempfile::tempdir().map_err(failed)?);
        fs::create_dir(folder.target()).map_err(failed)?;
        fs::write(folder.target().join("motd"), "weak").map_err(failed)?;
        self.stage = Some(Stage::new(folder).map_err(failed)?);
        Ok(())
    }

    fn observe(&mut self) -> Result<Value, WorldError> {
        Ok(json!({ "motd": self.content("motd"), "new": self.content("new") }))
    }

    fn is_fixed(&mut self) -> Result<bool, WorldError> {
        Ok(self.content("motd").as_deref() == Some("strong") && self.content("new").as_deref() == Some("here"))
    }

    fn happened_twice(&mut self) -> Result<Vec<String>, WorldError> {
        let log = self.content("log").unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        Ok(lines
            .iter()
            .filter(|line| lines.iter().filter(|other| other == line).count() > 1)
            .map(|line| (*line).to_owned())
            .collect())
    }

    fn requests(&self) -> Vec<StepRequest> {
        let request = |number, name: &str, content: &str| StepRequest {
            action: "file.set".to_owned(),
            want: json!({ "name": name, "content": content }),
            items: vec![ItemId::from_entropy([number; 10])],
        };
        vec![request(1, "motd", "strong"), request(2, "new", "here")]
    }

    fn send(&mut self, verb: Verb, crash: Option<&Crash>) -> Result<Sent, WorldError> {
        self.stage()?.send(verb, crash)
    }

    fn restart(&mut self, crash: Option<&Crash>) -> Result<Sent, WorldError> {
        self.stage()?.restart(crash)
    }

    fn meddle(&mut self) -> Result<bool, WorldError> {
        fs::write(self.stage()?.machine.target().join("motd"), "mine").map_err(failed)?;
        Ok(true)
    }

    fn is_meddled(&mut self) -> Result<bool, WorldError> {
        Ok(self.content("motd").as_deref() == Some("mine"))
    }

    fn bad_wants(&self) -> Vec<Value> {
        vec![json!(null), json!({"name": "../x", "content": ""})]
    }

    fn bad_params(&self) -> Vec<Value> {
        vec![json!([]), json!({"name": "../x", "content": "x"})]
    }

    fn deaths(&self) -> Vec<Death> {
        vec![Death::Kill]
    }
}

#[test]
fn the_suite_itself_under_real_kills() {
    expect_green(&mut ToyWorld { stage: None }, 1_000);
}
