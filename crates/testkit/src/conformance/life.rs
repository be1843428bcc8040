//! One life of an executor process: it polls, is answered, works, and ends or is killed.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::sync::mpsc;

use anyhow::{Context, Result, bail};
use stanch_model::order::Hello;
use stanch_runner::Link;

use super::desk::Session;
use super::wire::Outgoing;

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// It was killed, or stood still until the power went.
    pub died: bool,
    /// Appends to its journal, if it lived to tell.
    pub appends: u64,
}

/// Lets the executor live until it ends. `power_off` is called when it stands still and waits for the power to go.
///
/// # Errors
/// When it cannot be started, or ends in another way than well or by SIGKILL.
pub fn live(mut command: Command, session: &Session, power_off: &(dyn Fn() + Sync)) -> Result<Ended> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().context("cannot start the executor")?;
    let mut input = child.stdin.take().context("no pipe")?;
    let output = child.stdout.take().context("no pipe")?;
    let mut errors = child.stderr.take().context("no pipe")?;
    let (polls, hellos) = mpsc::channel::<Hello>();
    let (mut appends, mut halted, mut said) = (0, false, String::new());
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for hello in hellos {
                // The end of the input, when this returns, closes the link.
                let Ok(Some(batch)) = session.poll(hello) else { return };
                let Ok(line) = serde_json::to_string(&batch) else { return };
                if writeln!(input, "{line}").is_err() {
                    return;
                }
            }
        });
        let complaints = scope.spawn(move || {
            let mut text = String::new();
            let _ = errors.read_to_string(&mut text);
            text
        });
        for line in BufReader::new(output).lines() {
            let Ok(line) = line else { break };
            match serde_json::from_str(&line) {
                Ok(Outgoing::Hello(hello)) => drop(polls.send(*hello)),
                Ok(Outgoing::Receipt(receipt)) => drop(session.deliver(&receipt)),
                Ok(Outgoing::Progress(_)) => {}
                Ok(Outgoing::Appends(count)) => appends = count,
                Ok(Outgoing::Halted(_)) => {
                    halted = true;
                    power_off();
                }
                Err(_) => said.push_str(&line),
            }
        }
        drop(polls);
        session.give_up();
        said.push_str(&complaints.join().unwrap_or_default());
    });
    let status = child.wait().context("cannot wait for the executor")?;
    let killed = status.signal() == Some(9) || status.code() == Some(137);
    if !status.success() && !killed && !halted {
        bail!("the executor ended with {status}: {said}");
    }
    Ok(Ended { died: killed || halted, appends })
}
