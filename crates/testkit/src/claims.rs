//! What a long proof claims: one JSON object a line on standard output, for `cargo xtask prove` to collect, and a
//! sentence for whoever watches.

use anyhow::{Result, bail};
use serde_json::{Value, json};

/// The claims of one program.
#[derive(Debug, Default)]
pub struct Claims {
    failed: Vec<String>,
}

impl Claims {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// States that something holds or does not, with its figures. `detail` is only asked when it does not.
    pub fn claim(&mut self, name: &str, holds: bool, figures: Value, detail: impl FnOnce() -> String) {
        let mut figures = if figures.is_object() { figures } else { json!({}) };
        if !holds {
            let detail: String = detail().chars().take(4000).collect();
            eprintln!("DOES NOT HOLD: {name}: {detail}");
            if let Some(figures) = figures.as_object_mut() {
                figures.insert("detail".to_owned(), detail.into());
            }
            self.failed.push(name.to_owned());
        }
        println!("{}", json!({"name": name, "holds": holds, "figures": figures}));
    }

    /// An error when something did not hold.
    pub fn end(self) -> Result<()> {
        if !self.failed.is_empty() {
            bail!("these do not hold: {}", self.failed.join(", "));
        }
        Ok(())
    }
}
