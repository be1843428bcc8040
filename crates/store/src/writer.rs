//! The writer: one task, one connection. It takes all transitions that wait, commits them together, and only then
//! answers. Waiting for the disk once for many is what makes thousands a second possible; each transition still stands
//! or falls alone, under its own savepoint.

use tokio::sync::{broadcast, mpsc, oneshot};

use crate::column::Conn;
use crate::entry::{Log, Pending};
use crate::error::CommitError;
use crate::transition::{Committed, Effect, Nudge, Transition, Write};
use crate::{
    approval, assessment, asset, budget, decision, entry, facts, feed, finding, hold, item, lease, order, outbox, plan,
    receipt, remediation, session, setting, sqlite, suppression, task, verification,
};

/// The most transitions in one batch: bounds how long the first of them waits.
const BATCH: usize = 1_024;

/// A transition and who waits for it.
pub(crate) struct Job {
    pub(crate) transition: Transition,
    pub(crate) reply: oneshot::Sender<Result<Committed, CommitError>>,
}

pub(crate) struct Writer {
    pub(crate) conn: Conn,
    pub(crate) log: Log,
    pub(crate) last_nudge: u64,
    pub(crate) nudges: broadcast::Sender<(u64, Nudge)>,
}

/// What a batch gathers before it is durable.
#[derive(Default)]
struct Batch {
    outcomes: Vec<Result<Committed, CommitError>>,
    pending: Pending,
    nudges: Vec<(u64, Nudge)>,
}

impl Writer {
    /// Works until nobody can send any more.
    pub(crate) async fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        let mut taken = Vec::with_capacity(BATCH);
        while jobs.recv_many(&mut taken, BATCH).await > 0 {
            let batch = self.batch(&taken).await;
            for (job, outcome) in taken.drain(..).zip(batch.outcomes) {
                // Whoever gave up waiting will find the state when it loads it.
                drop(job.reply.send(outcome));
            }
            for nudge in batch.nudges {
                // Nobody may be listening; the outbox keeps it.
                drop(self.nudges.send(nudge));
            }
        }
        if let Err(error) = sqlx::Connection::close(self.conn).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "the store was not shut cleanly");
        }
    }

    /// Commits a batch. When the database fails as a whole, nothing of it was written, and everybody hears why.
    async fn batch(&mut self, jobs: &[Job]) -> Batch {
        let (log, last_nudge) = (self.log.clone(), self.last_nudge);
        let mut batch = Batch::default();
        match self.fill(jobs, &mut batch).await {
            Ok(()) => batch,
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "a batch of transitions was not committed");
                sqlite::abandon(&mut self.conn).await;
                (self.log, self.last_nudge) = (log, last_nudge);
                Batch { outcomes: jobs.iter().map(|_| Err(error.clone())).collect(), ..Batch::default() }
            }
        }
    }

    async fn fill(&mut self, jobs: &[Job], batch: &mut Batch) -> Result<(), CommitError> {
        sqlite::begin(&mut self.conn).await.map_err(CommitError::database("begin a batch"))?;
        let mut dirty = false;
        for job in jobs {
            if dirty {
                sqlite::mark(&mut self.conn).await.map_err(CommitError::database("begin a transition"))?;
            }
            let size = self.log.tree.size();
            let outcome = self.transition(&job.transition, batch).await;
            dirty = outcome.is_ok();
            if let Err(error) = &outcome {
                // Sealing comes last and cannot fail on what was checked; if it does, the tree is ahead of the rows.
                if self.log.tree.size() != size {
                    return Err(error.clone());
                }
                sqlite::undo(&mut self.conn).await.map_err(CommitError::database("take back a transition"))?;
            }
            batch.outcomes.push(outcome);
        }
        batch.pending.write(&mut self.conn, &self.log).await?;
        outbox::write(&mut self.conn, &batch.nudges).await?;
        sqlite::commit(&mut self.conn).await.map_err(CommitError::database("make a batch durable"))
    }

    async fn transition(&mut self, transition: &Transition, batch: &mut Batch) -> Result<Committed, CommitError> {
        let mut effects = Vec::with_capacity(transition.writes.len());
        for write in &transition.writes {
            effects.push(apply(&mut self.conn, write).await?);
        }
        let mut entries = Vec::with_capacity(transition.entries.len());
        for entry in &transition.entries {
            entries.push(self.log.seal(entry, &mut batch.pending)?);
        }
        for nudge in &transition.nudges {
            self.last_nudge += 1;
            batch.nudges.push((self.last_nudge, nudge.clone()));
        }
        Ok(Committed { entries, effects })
    }
}

/// The one place where a change meets its noun.
async fn apply(conn: &mut Conn, write: &Write) -> Result<Effect, CommitError> {
    match write {
        Write::SeeAsset(seen) => asset::see(conn, seen).await,
        Write::PutFacts(new) => facts::put(conn, new).await,
        Write::SyncFindings(run) => finding::sync(conn, run).await,
        Write::SyncItems(run) => item::sync(conn, run).await,
        Write::PutAssessment(assessment) => assessment::put(conn, assessment).await,
        Write::PutDecision(decision) => decision::put(conn, decision).await,
        Write::PutPlan(plan, at) => plan::put(conn, plan, *at).await,
        Write::PutApproval(approval) => approval::put(conn, approval).await,
        Write::NewRemediation(new) => remediation::new(conn, new).await,
        Write::MoveRemediation(step) => remediation::step(conn, step).await,
        Write::EditRemediation(edit) => remediation::edit(conn, edit).await,
        Write::NewTask(new) => task::new(conn, new).await,
        Write::MoveTask(step) => task::step(conn, step).await,
        Write::EditTask(edit) => task::edit(conn, edit).await,
        Write::Reserve(ask) => budget::reserve(conn, ask).await,
        Write::Settle(share) => budget::settle(conn, share).await,
        Write::NewOrder(new) => order::new(conn, new).await,
        Write::DeliverOrder(delivery) => order::deliver(conn, delivery).await,
        Write::VoidOrder(void) => order::void(conn, void).await,
        Write::NewReceipt(new) => receipt::new(conn, new).await,
        Write::HandleReceipt(handled) => receipt::handle(conn, handled).await,
        Write::PutVerification(verification) => verification::put(conn, verification).await,
        Write::Suppress(suppression) => suppression::put(conn, suppression).await,
        Write::LiftSuppression(lift) => suppression::lift(conn, lift).await,
        Write::PutFeed(feed) => feed::put(conn, feed).await,
        Write::Hold(hold) => hold::put(conn, hold).await,
        Write::ReleaseHold(release) => hold::release(conn, release).await,
        Write::NewSession(new) => session::new(conn, new).await,
        Write::EndSession(end) => session::end(conn, end).await,
        Write::NewToken(new) => session::new_token(conn, new).await,
        Write::UseToken(used) => session::use_token(conn, used).await,
        Write::DropToken(token) => session::drop_token(conn, token).await,
        Write::PutSetting(setting) => setting::put(conn, setting).await,
        Write::TakeLease(ask) => lease::take(conn, ask).await,
        Write::PutCheckpoint(put) => entry::put_checkpoint(conn, put).await,
        Write::AckNudges(up_to) => outbox::ack(conn, *up_to).await,
    }
}
