//! The outbox: nudges that nobody has heard for sure. They are sent at once to whoever listens in this process; what
//! lies here is driven again after a start, so that a wake-up lost in a crash is not lost.

use crate::column::{Columns, all, number};
use crate::db::{Builder, Conn, query};
use crate::entry::{ROWS, chunks};
use crate::error::{CommitError, ReadError};
use crate::store::Store;
use crate::transition::{Effect, Nudge};

/// Numbers are not given again once all nudges were heard: others may have come further than the first of them.
const LAST: &str = "SELECT COALESCE(MAX(seq), 0) AS last FROM (SELECT seq FROM outbox UNION ALL \
     SELECT size AS seq FROM tree WHERE name = 'outbox') numbers";
const PUT_LAST: &str = "INSERT INTO tree (name, size, peaks) VALUES ('outbox', $1, $2) \
     ON CONFLICT (name) DO UPDATE SET size = $1";
const ACK: &str = "DELETE FROM outbox WHERE seq <= $1";
const PAGE: &str = "SELECT seq, topic, subject FROM outbox WHERE seq > $1 ORDER BY seq LIMIT $2";

/// The sequence number of the last nudge.
pub(crate) async fn last(conn: &mut Conn) -> Result<u64, ReadError> {
    let row = query(LAST).fetch_one(conn).await.map_err(ReadError::database("read the outbox"))?;
    Columns::new("outbox", &row).count("last")
}

pub(crate) async fn write(conn: &mut Conn, nudges: &[(u64, Nudge)]) -> Result<(), CommitError> {
    for chunk in chunks(nudges, ROWS) {
        let mut query = Builder::new("INSERT INTO outbox (seq, topic, subject) ");
        query.push_values(chunk, |mut row, (seq, nudge)| {
            row.push_bind(seq.cast_signed()).push_bind(&nudge.topic).push_bind(&nudge.subject);
        });
        query.build().execute(&mut *conn).await.map_err(CommitError::database("write the outbox"))?;
    }
    let Some((last, _)) = nudges.last() else { return Ok(()) };
    let last = query(PUT_LAST).bind(last.cast_signed()).bind(Vec::new()).execute(conn).await;
    last.map(drop).map_err(CommitError::database("number the outbox"))
}

pub(crate) async fn ack(conn: &mut Conn, up_to: u64) -> Result<Effect, CommitError> {
    let done = query(ACK).bind(number("nudge", "outbox", up_to)?).execute(conn).await;
    done.map_err(CommitError::database("clear the outbox"))?;
    Ok(Effect::Done)
}

impl Store {
    /// The sequence number of the last nudge.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn last_nudge(&self) -> Result<u64, ReadError> {
        let row = query(LAST).fetch_one(self.read()).await.map_err(ReadError::database("read the outbox"))?;
        Columns::new("outbox", &row).count("last")
    }

    /// Nudges that were not acknowledged, after a sequence number, in their order.
    ///
    /// # Errors
    /// When the database refuses or a row does not read.
    pub async fn nudges_after(&self, after: u64, limit: u32) -> Result<Vec<(u64, Nudge)>, ReadError> {
        let after = i64::try_from(after).unwrap_or(i64::MAX);
        let rows = query(PAGE).bind(after).bind(limit).fetch_all(self.read()).await;
        all(&rows.map_err(ReadError::database("list nudges"))?, |row| {
            let columns = Columns::new("nudge", row);
            Ok((columns.count("seq")?, Nudge { topic: columns.text("topic")?, subject: columns.text("subject")? }))
        })
    }
}
