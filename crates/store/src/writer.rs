//! The writer: one task, one connection for each server. It takes all transitions that wait, commits them together, and only then
//! answers. Waiting for the disk once for many is what makes thousands a second possible; each transition still stands
//! or falls alone, under its own savepoint.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{broadcast, mpsc, oneshot};

use crate::db::{Conn, Query, run_all};
use crate::entry::{Log, Pending, chunks};
use crate::error::CommitError;
use crate::lease::Fence;
use crate::transition::{Committed, Effect, Nudge, Transition, Write};
use crate::{
    approval, assessment, asset, breaker, budget, campaign, case, change, connection, decision, detection, edge,
    enrolment, entry, executor, facts, feed, finding, grant, hold, item, lease, missed, notice, order, outbox, outcome,
    person, plan, postgres, receipt, remediation, retention, session, setting, sqlite, suppression, task, team,
    touched, verification, version,
};

/// The most transitions in one batch: bounds how long the first of them waits.
const BATCH: usize = 1_024;

/// How many plain transitions run as one text. Few sizes, so that few texts are prepared.
const GROUPS: &[usize] = &[32, 8, 1];

/// What the writer is asked.
pub(crate) enum Ask {
    /// A transition.
    Commit(Job),
    /// To finish what was handed in, take nothing more, and end.
    Shut,
}

/// A transition and who waits for it.
pub(crate) struct Job {
    pub(crate) transition: Transition,
    pub(crate) fence: Option<Fence>,
    pub(crate) reply: oneshot::Sender<Result<Committed, CommitError>>,
}

pub(crate) struct Writer {
    /// None after it was lost.
    pub(crate) conn: Option<Conn>,
    pub(crate) home: Home,
    pub(crate) log: Log,
    pub(crate) last_nudge: u64,
    pub(crate) nudges: broadcast::Sender<(u64, Nudge)>,
}

/// What the connection leads to.
pub(crate) enum Home {
    /// A file, which nobody else writes.
    File(sqlite::WalFile),
    /// A server, which others write to as well.
    Server(postgres::Server),
}

/// What a batch gathers before it is durable.
#[derive(Default)]
struct Batch {
    outcomes: Vec<Result<Committed, CommitError>>,
    pending: Pending,
    nudges: Vec<(u64, Nudge)>,
    /// Something was written since the last savepoint.
    dirty: bool,
    /// It is being made durable.
    ending: bool,
}

impl Batch {
    fn settle(&mut self, index: usize, outcome: Result<Committed, CommitError>) {
        if let Some(slot) = self.outcomes.get_mut(index) {
            *slot = outcome;
        }
    }
}

impl Writer {
    /// Works until it is told to shut, or nobody can ask any more.
    pub(crate) async fn run(mut self, mut asks: mpsc::Receiver<Ask>) {
        let mut taken = Vec::with_capacity(BATCH);
        while asks.recv_many(&mut taken, BATCH).await > 0 {
            let mut jobs = Vec::with_capacity(taken.len());
            for ask in taken.drain(..) {
                match ask {
                    Ask::Commit(job) => jobs.push(job),
                    Ask::Shut => asks.close(),
                }
            }
            let batch = self.batch(&jobs).await;
            for (job, outcome) in jobs.into_iter().zip(batch.outcomes) {
                // Whoever gave up waiting will find the state when it loads it.
                drop(job.reply.send(outcome));
            }
            for nudge in batch.nudges {
                // Nobody may be listening; the outbox keeps it.
                drop(self.nudges.send(nudge));
            }
            if let (Home::File(log), Some(Conn::Sqlite(conn))) = (&mut self.home, &mut self.conn) {
                log.keep_short(conn).await;
            }
        }
        if let Some(conn) = self.conn
            && let Err(error) = conn.close().await
        {
            tracing::warn!(error = &error as &dyn std::error::Error, "the store was not shut cleanly");
        }
    }

    /// Commits a batch. When the database fails as a whole, nothing of it was written, and everybody hears why; only when
    /// it fails at the very end, nobody knows, and everybody hears that.
    async fn batch(&mut self, jobs: &[Job]) -> Batch {
        if jobs.is_empty() {
            return Batch::default();
        }
        let (log, last_nudge) = (self.log.clone(), self.last_nudge);
        let mut batch = Batch::default();
        let error = match self.begin_in_time().await {
            Ok(mut conn) => match self.fill_in_time(&mut conn, jobs, &mut batch).await {
                Ok(()) => {
                    self.conn = Some(conn);
                    return batch;
                }
                Err(error) => {
                    // What did not answer in time may answer still, to something else.
                    let usable = !matches!(error, CommitError::Late | CommitError::Unknown(_)) && conn.abandon().await;
                    self.conn = usable.then_some(conn);
                    error
                }
            },
            Err(error) => error,
        };
        tracing::error!(error = &error as &dyn std::error::Error, "a batch of transitions was not committed");
        (self.log, self.last_nudge) = (log, last_nudge);
        Batch { outcomes: jobs.iter().map(|_| Err(error.clone())).collect(), ..Batch::default() }
    }

    /// Begins a batch; over a network it may not take for ever. A connection that did not answer is let go of.
    async fn begin_in_time(&mut self) -> Result<Conn, CommitError> {
        if matches!(self.home, Home::File(_)) {
            return self.begin().await;
        }
        tokio::time::timeout(postgres::BATCH, self.begin()).await.unwrap_or(Err(CommitError::Late))
    }

    /// Begins a batch on the connection, or on a new one where it was lost.
    async fn begin(&mut self) -> Result<Conn, CommitError> {
        let failed = || CommitError::database("begin a batch");
        if let Some(mut conn) = self.conn.take() {
            match (conn.begin().await, &self.home) {
                (Ok(()), _) => return Ok(conn),
                (Err(error), Home::File(_)) => {
                    conn.abandon().await;
                    self.conn = Some(conn);
                    return Err(failed()(error));
                }
                (Err(error), Home::Server(_)) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "the connection to the database is lost");
                }
            }
        }
        let Home::Server(server) = &mut self.home else { return Err(CommitError::Closed) };
        let mut conn = server.connect().await.map(Conn::Postgres).map_err(CommitError::database("connect"))?;
        conn.begin().await.map_err(failed())?;
        Ok(conn)
    }

    /// Fills a batch; over a network it may not take for ever.
    async fn fill_in_time(&mut self, conn: &mut Conn, jobs: &[Job], batch: &mut Batch) -> Result<(), CommitError> {
        if matches!(self.home, Home::File(_)) {
            return self.fill(conn, jobs, batch).await;
        }
        match tokio::time::timeout(postgres::BATCH, self.fill(conn, jobs, batch)).await {
            Ok(filled) => filled,
            Err(_) if batch.ending => Err(CommitError::Unknown(Arc::new(postgres::late()))),
            Err(_) => Err(CommitError::Late),
        }
    }

    /// Reads where the ledger and the outbox end, which other servers may have moved since the last batch.
    async fn catch_up(&mut self, conn: &mut Conn) -> Result<(), CommitError> {
        if matches!(self.home, Home::File(_)) {
            return Ok(());
        }
        let ledger = |error: crate::ReadError| CommitError::Ledger(error.to_string());
        let log = Log::load(conn).await.map_err(ledger)?;
        let (had, has) = (self.log.tree.size(), log.tree.size());
        if has < had {
            return Err(CommitError::RolledBack { had, has });
        }
        self.log = log;
        self.last_nudge = outbox::last(conn).await.map_err(ledger)?;
        Ok(())
    }

    /// Runs plain transitions of one shape together, and the others one by one.
    async fn fill(&mut self, conn: &mut Conn, jobs: &[Job], batch: &mut Batch) -> Result<(), CommitError> {
        self.catch_up(conn).await?;
        batch.outcomes.resize_with(jobs.len(), || Err(CommitError::Closed));
        let fenced_off = fenced_off(conn, jobs).await?;
        let mut alone = Vec::new();
        let mut shapes: BTreeMap<Vec<&'static str>, Vec<(usize, Plain)>> = BTreeMap::new();
        for (index, job) in jobs.iter().enumerate() {
            if let Some(lost) = job.fence.as_ref().filter(|fence| fenced_off.contains(fence)) {
                batch.settle(index, Err(CommitError::Lease(lost.lease.clone())));
                continue;
            }
            match Plain::of(&job.transition) {
                Some(plain) => shapes.entry(plain.shape()).or_default().push((index, plain)),
                None => alone.push(index),
            }
        }
        for group in shapes.values() {
            for chunk in chunks(group, GROUPS) {
                self.group(conn, jobs, chunk, batch).await?;
            }
        }
        for index in alone {
            self.one(conn, jobs, index, batch).await?;
        }
        batch.pending.write(conn, &self.log).await?;
        outbox::write(conn, &batch.nudges).await?;
        batch.ending = true;
        conn.commit().await
    }

    /// Runs plain transitions as one text. If any of their statements did not change its row, all of them are taken
    /// back and run one by one, which also tells what was wrong.
    async fn group(
        &mut self,
        conn: &mut Conn,
        jobs: &[Job],
        group: &[(usize, Plain)],
        batch: &mut Batch,
    ) -> Result<(), CommitError> {
        mark(conn, batch).await?;
        let statements: Vec<Query> = group.iter().flat_map(|(_, plain)| plain.statements.clone()).collect();
        let expected = statements.len() as u64;
        if matches!(run_all(conn, statements).await, Ok(rows) if rows == expected) {
            for (index, plain) in group {
                let Some(job) = jobs.get(*index) else { continue };
                let committed = self.record(&job.transition, plain.effects.clone(), batch)?;
                batch.settle(*index, Ok(committed));
            }
            return Ok(());
        }
        conn.undo().await.map_err(CommitError::database("take back a transition"))?;
        batch.dirty = false;
        for (index, _) in group {
            self.one(conn, jobs, *index, batch).await?;
        }
        Ok(())
    }

    /// Runs one transition under its own savepoint.
    async fn one(&mut self, conn: &mut Conn, jobs: &[Job], index: usize, batch: &mut Batch) -> Result<(), CommitError> {
        let Some(job) = jobs.get(index) else { return Ok(()) };
        mark(conn, batch).await?;
        let outcome = match apply_all(conn, &job.transition).await {
            // What was checked can be sealed; if it cannot, the batch as a whole is given up.
            Ok(effects) => Ok(self.record(&job.transition, effects, batch)?),
            Err(error) => {
                conn.undo().await.map_err(CommitError::database("take back a transition"))?;
                batch.dirty = false;
                Err(error)
            }
        };
        batch.settle(index, outcome);
        Ok(())
    }

    /// Whether other servers write to the same database, and have to hear of it.
    const fn is_shared(&self) -> bool {
        matches!(self.home, Home::Server(_))
    }

    /// Gathers the entries and nudges of a transition that went through.
    fn record(
        &mut self,
        transition: &Transition,
        effects: Vec<Effect>,
        batch: &mut Batch,
    ) -> Result<Committed, CommitError> {
        let mut entries = Vec::with_capacity(transition.entries.len());
        for entry in &transition.entries {
            entries.push(self.log.seal(entry, &mut batch.pending)?);
        }
        let is_shared = self.is_shared();
        let told = transition.writes.iter().filter(|_| is_shared).filter_map(Nudge::of);
        for nudge in transition.nudges.iter().cloned().chain(told) {
            self.last_nudge += 1;
            batch.nudges.push((self.last_nudge, nudge));
        }
        Ok(Committed { entries, effects })
    }
}

/// Begins the next transition, unless nothing was written since the last began.
async fn mark(conn: &mut Conn, batch: &mut Batch) -> Result<(), CommitError> {
    if batch.dirty {
        conn.mark().await.map_err(CommitError::database("begin a transition"))?;
    }
    batch.dirty = true;
    Ok(())
}

async fn apply_all(conn: &mut Conn, transition: &Transition) -> Result<Vec<Effect>, CommitError> {
    let mut effects = Vec::with_capacity(transition.writes.len());
    for write in &transition.writes {
        effects.push(apply(conn, write).await?);
    }
    Ok(effects)
}

/// The fences among those of a batch whose leases another holds by now. What holds here holds until the batch ends.
async fn fenced_off(conn: &mut Conn, jobs: &[Job]) -> Result<Vec<Fence>, CommitError> {
    let mut lost = Vec::new();
    let mut held: Vec<&Fence> = Vec::new();
    for fence in jobs.iter().filter_map(|job| job.fence.as_ref()) {
        if held.contains(&fence) || lost.contains(fence) {
            continue;
        }
        match lease::held(conn, &fence.lease, fence.token).await {
            Ok(()) => held.push(fence),
            Err(CommitError::Lease(_)) => lost.push(fence.clone()),
            Err(error) => return Err(error),
        }
    }
    Ok(lost)
}

/// A transition whose every statement must change exactly one row, and whose effects are known before it runs.
struct Plain {
    statements: Vec<Query>,
    effects: Vec<Effect>,
}

impl Plain {
    /// `None` for a transition that has to look before it writes, or that is wrong in itself.
    fn of(transition: &Transition) -> Option<Self> {
        let mut plain = Self { statements: Vec::new(), effects: Vec::with_capacity(transition.writes.len()) };
        for write in &transition.writes {
            let effect = match write {
                Write::NewTask(new) => {
                    plain.statements.push(task::beginning(new).ok()?);
                    Effect::Generation(1)
                }
                Write::MoveTask(step) => {
                    plain.statements.push(task::moving(step).ok()?);
                    Effect::Generation(step.generation + 1)
                }
                Write::MoveRemediation(step) => {
                    plain.statements.push(remediation::moving(step).ok()?);
                    Effect::Generation(step.generation + 1)
                }
                Write::Reserve(ask) => {
                    plain.statements.extend(budget::reserving(ask).ok()?);
                    Effect::Done
                }
                Write::Settle(share) => {
                    plain.statements.extend(budget::settling(share));
                    Effect::Done
                }
                _ => return None,
            };
            plain.effects.push(effect);
        }
        (!plain.statements.is_empty()).then_some(plain)
    }

    fn shape(&self) -> Vec<&'static str> {
        let texts = self.statements.iter().map(|statement| match statement.sql {
            Cow::Borrowed(sql) => sql,
            Cow::Owned(_) => "",
        });
        texts.collect()
    }
}

/// The one place where a change meets its noun.
async fn apply(conn: &mut Conn, write: &Write) -> Result<Effect, CommitError> {
    match write {
        Write::SeeAsset(seen) => asset::see(conn, seen).await,
        Write::PutFacts(new) => facts::put(conn, new).await,
        Write::DoubtFacts(asset) => facts::doubt(conn, asset).await,
        Write::Touch(touch) => touched::touch(conn, touch).await,
        Write::Untouch(untouch) => touched::untouch(conn, untouch).await,
        Write::SyncFindings(run) => finding::sync(conn, run).await,
        Write::SyncItems(run) => item::sync(conn, run).await,
        Write::PutAssessments(assessments) => assessment::put(conn, assessments).await,
        Write::PutDecisions(decisions) => decision::put(conn, decisions).await,
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
        Write::PutBreaker(put) => breaker::put(conn, put).await,
        Write::PutCampaign(put) => campaign::put(conn, put).await,
        Write::PutCase(put) => case::put(conn, put).await,
        Write::PutChange(put) => change::put(conn, put).await,
        Write::SetEdge(set) => edge::set(conn, set).await,
        Write::SeeTalks(seen) => edge::see(conn, seen).await,
        Write::DismissEdge(one) => edge::dismiss(conn, one).await,
        Write::PutOutcome(one) => outcome::put(conn, one).await,
        Write::NewOrder(new) => order::new(conn, new).await,
        Write::DeliverOrder(delivery) => order::deliver(conn, delivery).await,
        Write::VoidOrder(void) => order::void(conn, void).await,
        Write::NewReceipt(new) => receipt::new(conn, new).await,
        Write::HandleReceipt(handled) => receipt::handle(conn, handled).await,
        Write::PutVerification(verification) => verification::put(conn, verification).await,
        Write::SeeVersions(seen) => version::see(conn, seen).await,
        Write::MissWindow(one) => missed::put(conn, one).await,
        Write::CatchUp(one) => missed::catch_up(conn, one).await,
        Write::Suppress(suppression) => suppression::put(conn, suppression).await,
        Write::LiftSuppression(lift) => suppression::lift(conn, lift).await,
        Write::StillWanted(wanted) => suppression::still_wanted(conn, wanted).await,
        Write::PutFeed(feed) => feed::put(conn, feed).await,
        Write::Hold(hold) => hold::put(conn, hold).await,
        Write::ReleaseHold(release) => hold::release(conn, release).await,
        Write::NewSession(new) => session::new(conn, new).await,
        Write::EndSession(end) => session::end(conn, end).await,
        Write::NewToken(new) => session::new_token(conn, new).await,
        Write::UseToken(used) => session::use_token(conn, used).await,
        Write::DropToken(token) => session::drop_token(conn, token).await,
        Write::TouchToken(token) => session::touch_token(conn, token).await,
        Write::NewEnrolment(new) => enrolment::new(conn, new).await,
        Write::UseEnrolment(used) => enrolment::spend(conn, used).await,
        Write::DropEnrolment(token) => enrolment::drop(conn, token).await,
        Write::EndSessions(end) => session::end_all(conn, end).await,
        Write::NewPerson(new) => person::new(conn, new).await,
        Write::ChangePerson(asked) => person::change(conn, asked).await,
        Write::NewTeam(new) => team::new(conn, new).await,
        Write::RemoveTeam(team) => team::remove(conn, team).await,
        Write::Join(member) => team::join(conn, member).await,
        Write::Leave(member) => team::leave(conn, member).await,
        Write::Give(grant) => grant::give(conn, grant).await,
        Write::Revoke(revoke) => grant::revoke(conn, revoke).await,
        Write::PutConnection(connection) => connection::put(conn, connection).await,
        Write::DropConnection(connection) => connection::drop(conn, connection).await,
        Write::NewNotice(notice) => notice::new(conn, notice).await,
        Write::MoveNotice(step) => notice::step(conn, step).await,
        Write::Forget(ask) => retention::forget(conn, ask).await,
        Write::TakePayloads(ask) => retention::take_payloads(conn, ask).await,
        Write::HoldRecords(hold) => retention::hold(conn, hold).await,
        Write::LiftRecords(lift) => retention::lift(conn, lift).await,
        Write::PutExecutor(known) => executor::put(conn, known).await,
        Write::PutSetting(setting) => setting::put(conn, setting).await,
        Write::PutDetection(asset, detection) => detection::put(conn, asset, detection).await,
        Write::TakeLease(ask) => lease::take(conn, ask).await,
        Write::PutCheckpoint(put) => entry::put_checkpoint(conn, put).await,
        Write::AckNudges(up_to) => outbox::ack(conn, *up_to).await,
    }
}
