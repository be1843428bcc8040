//! Watching a remediation until it needs a person or is over.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use stanch_server::api::types::{RemediationDetail, Task};

use crate::client::Api;
use crate::failure::Failure;
use crate::output::{Output, plain};

/// Between two looks. The server's own work is nudged, not polled; this only bounds how late a person sees it.
const GLANCE: Duration = Duration::from_millis(150);

/// Without any movement for so long the command gives up watching; the work itself goes on in the server.
const PATIENCE: Duration = Duration::from_secs(2 * 3600);

/// Shows what happens, line by line, until `enough` says so.
pub(crate) struct Follow<'a> {
    api: &'a Api,
    output: &'a Output,
    told: BTreeSet<(String, String)>,
    spinner: Option<ProgressBar>,
}

impl<'a> Follow<'a> {
    pub(crate) fn new(api: &'a Api, output: &'a Output) -> Self {
        let spinner = output.interactive().then(|| {
            let style = ProgressStyle::with_template("  {spinner} {elapsed:>4} {wide_msg}")
                .unwrap_or_else(|_| ProgressStyle::default_spinner());
            let bar = ProgressBar::new_spinner().with_style(style);
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        Self { api, output, told: BTreeSet::new(), spinner }
    }

    /// Looks until `enough`.
    ///
    /// # Errors
    /// When the server goes away, or nothing moves for two hours.
    pub(crate) async fn until(
        &mut self,
        id: &str,
        enough: impl Fn(&RemediationDetail) -> bool,
    ) -> Result<RemediationDetail, Failure> {
        let mut moved = (Instant::now(), None);
        loop {
            let detail: RemediationDetail = self.api.get(&format!("/remediations/{id}")).await?;
            self.tell(&detail);
            if enough(&detail) {
                self.finish();
                return Ok(detail);
            }
            let mark = (detail.remediation.updated_at, detail.timeline.len(), last_words(&detail.tasks));
            if moved.1.as_ref() != Some(&mark) {
                moved = (Instant::now(), Some(mark));
            } else if moved.0.elapsed() > PATIENCE {
                self.finish();
                return Err(Failure::new(format!("{id} has not moved for two hours"))
                    .hint(format!("it goes on in the server; look with: stanch explain {id}")));
            }
            tokio::time::sleep(GLANCE).await;
        }
    }

    fn tell(&mut self, detail: &RemediationDetail) {
        for event in &detail.timeline {
            if self.told.insert((event.at.to_string() + &event.kind, event.text.clone())) {
                self.say(&format!("  {}  {}", event.at.strftime("%H:%M:%S"), plain(&event.text)));
            }
        }
        if let Some(spinner) = &self.spinner {
            let words = last_words(&detail.tasks).or_else(|| detail.remediation.waiting_on.clone());
            spinner.set_message(plain(&words.unwrap_or_else(|| detail.remediation.state.replace('_', " "))));
        }
    }

    fn say(&self, line: &str) {
        match &self.spinner {
            Some(spinner) => spinner.println(line),
            None => self.output.say(line),
        }
    }

    fn finish(&self) {
        if let Some(spinner) = &self.spinner {
            spinner.finish_and_clear();
        }
    }
}

fn last_words(tasks: &[Task]) -> Option<String> {
    tasks.iter().rev().find_map(|task| task.progress.clone().or_else(|| task.waiting_on.clone()))
}
