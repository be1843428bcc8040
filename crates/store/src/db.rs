//! One way to ask both databases: statements with values, and rows. All texts are portable; what cannot be is told apart
//! in [`mod@crate::sqlite`] and [`mod@crate::postgres`]. A text is put together of this program's own words alone: whatever
//! comes from outside is a value.

use std::borrow::Cow;
use std::sync::Arc;

use sqlx::postgres::{PgArguments, PgRow, Postgres};
use sqlx::query::Query as Prepared;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{AssertSqlSafe, Connection as _, Decode, PgConnection, PgPool, Row as _, Sqlite, SqliteConnection};
use sqlx::{SqlitePool, Type, TypeInfo as _, ValueRef as _};

use crate::error::CommitError;
use crate::{postgres, sqlite};

/// A connection.
pub(crate) enum Conn {
    /// To a file.
    Sqlite(SqliteConnection),
    /// To a server.
    Postgres(PgConnection),
}

impl Conn {
    /// Begins a batch; its first transition may write.
    pub(crate) async fn begin(&mut self) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(conn) => sqlite::begin(conn).await,
            Self::Postgres(conn) => postgres::begin(conn).await,
        }
    }

    /// Keeps what was written since the last mark, and begins the next transition.
    pub(crate) async fn mark(&mut self) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(conn) => sqlite::mark(conn).await,
            Self::Postgres(conn) => postgres::mark(conn).await,
        }
    }

    /// Takes back what was written since the last mark.
    pub(crate) async fn undo(&mut self) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(conn) => sqlite::undo(conn).await,
            Self::Postgres(conn) => postgres::undo(conn).await,
        }
    }

    /// Makes the batch durable.
    pub(crate) async fn commit(&mut self) -> Result<(), CommitError> {
        let failed = CommitError::database("make a batch durable");
        match self {
            Self::Sqlite(conn) => sqlite::commit(conn).await.map_err(failed),
            Self::Postgres(conn) => match postgres::commit(conn).await {
                Err(error) if postgres::may_have_committed(&error) => Err(CommitError::Unknown(Arc::new(error))),
                done => done.map_err(failed),
            },
        }
    }

    /// Takes back the batch, if one is open. Tells whether the connection can be used again.
    pub(crate) async fn abandon(&mut self) -> bool {
        match self {
            Self::Sqlite(conn) => {
                sqlite::abandon(conn).await;
                true
            }
            Self::Postgres(conn) => postgres::abandon(conn).await,
        }
    }

    pub(crate) async fn close(self) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(conn) => conn.close().await,
            Self::Postgres(conn) => conn.close().await,
        }
    }
}

/// The connections that read.
#[derive(Debug, Clone)]
pub(crate) enum Reader {
    /// Of a file.
    Sqlite(SqlitePool),
    /// Of a server.
    Postgres(PgPool),
}

/// What a statement runs on.
pub(crate) enum On<'c> {
    /// One connection, in whatever transaction it is.
    Conn(&'c mut Conn),
    /// Any of those that read.
    Reader(&'c Reader),
}

impl<'c> From<&'c mut Conn> for On<'c> {
    fn from(conn: &'c mut Conn) -> Self {
        Self::Conn(conn)
    }
}

impl Reader {
    pub(crate) async fn close(&self) {
        match self {
            Self::Sqlite(pool) => pool.close().await,
            Self::Postgres(pool) => pool.close().await,
        }
    }
}

impl<'c> From<&'c Reader> for On<'c> {
    fn from(reader: &'c Reader) -> Self {
        Self::Reader(reader)
    }
}

/// A value for a column. One that is absent still has a type: PostgreSQL asks for it.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Integer(Option<i64>),
    Text(Option<String>),
    Bytes(Option<Vec<u8>>),
}

impl Value {
    /// How many bytes it takes, about.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Integer(_) => size_of::<i64>(),
            Self::Text(text) => text.as_ref().map_or(0, String::len),
            Self::Bytes(bytes) => bytes.as_ref().map_or(0, Vec::len),
        }
    }
}

macro_rules! value {
    ($($variant:ident: $($from:ty => |$given:ident| $to:expr),+;)+) => {$($(
        impl From<$from> for Value {
            fn from($given: $from) -> Self {
                Self::$variant(Some($to))
            }
        }

        impl From<Option<$from>> for Value {
            fn from(given: Option<$from>) -> Self {
                Self::$variant(given.map(|$given| $to))
            }
        }
    )+)+};
}

value! {
    Integer: i64 => |number| number, u32 => |number| i64::from(number), bool => |yes| i64::from(yes),
        &bool => |yes| i64::from(*yes);
    Text: String => |text| text, &str => |text| text.to_owned(), &String => |text| text.clone();
    Bytes: Vec<u8> => |bytes| bytes, &[u8] => |bytes| bytes.to_vec();
}

impl From<&Option<String>> for Value {
    fn from(text: &Option<String>) -> Self {
        Self::Text(text.clone())
    }
}

impl From<&Option<Vec<u8>>> for Value {
    fn from(bytes: &Option<Vec<u8>>) -> Self {
        Self::Bytes(bytes.clone())
    }
}

/// A statement with its values.
#[derive(Debug, Clone)]
pub(crate) struct Query {
    pub(crate) sql: Cow<'static, str>,
    pub(crate) values: Vec<Value>,
}

/// A statement without values yet.
pub(crate) const fn query(sql: &'static str) -> Query {
    Query { sql: Cow::Borrowed(sql), values: Vec::new() }
}

impl Query {
    /// A statement with all of its values.
    pub(crate) const fn with(sql: &'static str, values: Vec<Value>) -> Self {
        Self { sql: Cow::Borrowed(sql), values }
    }

    /// The next value: `$1`, `$2` and so on.
    #[must_use]
    pub(crate) fn bind(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }

    /// Runs it; gives the number of rows it changed.
    pub(crate) async fn execute<'c>(self, on: impl Into<On<'c>>) -> Result<u64, sqlx::Error> {
        Ok(match on.into() {
            On::Conn(Conn::Sqlite(conn)) => self.for_sqlite().execute(conn).await?.rows_affected(),
            On::Conn(Conn::Postgres(conn)) => self.for_postgres().execute(conn).await?.rows_affected(),
            On::Reader(Reader::Sqlite(pool)) => self.for_sqlite().execute(pool).await?.rows_affected(),
            On::Reader(Reader::Postgres(pool)) => {
                postgres::in_time(pool, async |conn| self.for_postgres().execute(conn).await).await?.rows_affected()
            }
        })
    }

    /// Runs it; gives all rows.
    pub(crate) async fn fetch_all<'c>(self, on: impl Into<On<'c>>) -> Result<Vec<Row>, sqlx::Error> {
        fn rows<R>(rows: Vec<R>, row: fn(R) -> Row) -> Vec<Row> {
            rows.into_iter().map(row).collect()
        }
        Ok(match on.into() {
            On::Conn(Conn::Sqlite(conn)) => rows(self.for_sqlite().fetch_all(conn).await?, Row::Sqlite),
            On::Conn(Conn::Postgres(conn)) => rows(self.for_postgres().fetch_all(conn).await?, Row::Postgres),
            On::Reader(Reader::Sqlite(pool)) => rows(self.for_sqlite().fetch_all(pool).await?, Row::Sqlite),
            On::Reader(Reader::Postgres(pool)) => {
                let found = postgres::in_time(pool, async |conn| self.for_postgres().fetch_all(conn).await).await;
                rows(found?, Row::Postgres)
            }
        })
    }

    /// Runs it; gives the first row, if there is one.
    pub(crate) async fn fetch_optional<'c>(self, on: impl Into<On<'c>>) -> Result<Option<Row>, sqlx::Error> {
        Ok(match on.into() {
            On::Conn(Conn::Sqlite(conn)) => self.for_sqlite().fetch_optional(conn).await?.map(Row::Sqlite),
            On::Conn(Conn::Postgres(conn)) => self.for_postgres().fetch_optional(conn).await?.map(Row::Postgres),
            On::Reader(Reader::Sqlite(pool)) => self.for_sqlite().fetch_optional(pool).await?.map(Row::Sqlite),
            On::Reader(Reader::Postgres(pool)) => {
                let found = postgres::in_time(pool, async |conn| self.for_postgres().fetch_optional(conn).await).await;
                found?.map(Row::Postgres)
            }
        })
    }

    /// Runs it; gives the row that there must be.
    pub(crate) async fn fetch_one<'c>(self, on: impl Into<On<'c>>) -> Result<Row, sqlx::Error> {
        self.fetch_optional(on).await?.ok_or(sqlx::Error::RowNotFound)
    }

    // The text of a query is made of texts of this crate alone: see `query` and `Builder::push`.
    fn for_sqlite(self) -> Prepared<'static, Sqlite, SqliteArguments> {
        self.values.into_iter().fold(sqlx::query(AssertSqlSafe(self.sql)), |query, value| match value {
            Value::Integer(number) => query.bind(number),
            Value::Text(text) => query.bind(text),
            Value::Bytes(bytes) => query.bind(bytes),
        })
    }

    fn for_postgres(self) -> Prepared<'static, Postgres, PgArguments> {
        let sql = AssertSqlSafe(postgres::dialect(self.sql));
        self.values.into_iter().fold(sqlx::query(sql), |query, value| match value {
            Value::Integer(number) => query.bind(number),
            Value::Text(text) => query.bind(text),
            Value::Bytes(bytes) => query.bind(bytes),
        })
    }
}

/// Runs statements that must change one row each; gives the number of rows they changed together. What needs no answer
/// need not be sent to SQLite one by one: many of them go as one text with one list of values, which saves the way to the
/// connection's thread and back for each. That way is what a transition costs, once the disk is waited for together.
pub(crate) async fn run_all(conn: &mut Conn, queries: Vec<Query>) -> Result<u64, sqlx::Error> {
    if matches!(conn, Conn::Postgres(_)) {
        let mut rows = 0;
        for query in queries {
            rows += query.execute(&mut *conn).await?;
        }
        return Ok(rows);
    }
    let mut text = String::new();
    let mut values = Vec::new();
    for query in queries {
        renumber(&mut text, &query.sql, values.len());
        text.push_str(";\n");
        values.extend(query.values);
    }
    Query { sql: text.into(), values }.execute(conn).await
}

/// Appends a statement with `$1` made `$1 + before`. The texts hold no dollar sign but those of parameters.
fn renumber(text: &mut String, sql: &str, before: usize) {
    let mut parts = sql.split('$');
    text.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let digits = part.bytes().take_while(u8::is_ascii_digit).count();
        let (number, rest) = part.split_at(digits);
        let number = number.parse::<usize>().unwrap_or(0) + before;
        text.push('$');
        text.push_str(&number.to_string());
        text.push_str(rest);
    }
}

/// Puts a statement together of parts and values.
pub(crate) struct Builder {
    sql: String,
    values: Vec<Value>,
}

impl Builder {
    pub(crate) fn new(sql: &'static str) -> Self {
        Self { sql: sql.to_owned(), values: Vec::new() }
    }

    /// Appends a part.
    pub(crate) fn push(&mut self, sql: &'static str) -> &mut Self {
        self.sql.push_str(sql);
        self
    }

    /// Appends a value.
    pub(crate) fn push_bind(&mut self, value: impl Into<Value>) -> &mut Self {
        self.values.push(value.into());
        self.sql.push('$');
        self.sql.push_str(&self.values.len().to_string());
        self
    }

    /// Appends values with this between them.
    pub(crate) const fn separated(&mut self, between: &'static str) -> Separated<'_> {
        Separated { builder: self, between, first: true }
    }

    /// Appends `VALUES` and the rows.
    pub(crate) fn push_values<T>(&mut self, rows: impl IntoIterator<Item = T>, mut each: impl FnMut(Separated<'_>, T)) {
        self.push("VALUES ");
        for (number, row) in rows.into_iter().enumerate() {
            self.push(if number == 0 { "(" } else { ", (" });
            each(self.separated(", "), row);
            self.push(")");
        }
    }

    pub(crate) fn build(&mut self) -> Query {
        Query { sql: std::mem::take(&mut self.sql).into(), values: std::mem::take(&mut self.values) }
    }
}

/// Values in a row.
pub(crate) struct Separated<'b> {
    builder: &'b mut Builder,
    between: &'static str,
    first: bool,
}

impl Separated<'_> {
    pub(crate) fn push_bind(&mut self, value: impl Into<Value>) -> &mut Self {
        if !std::mem::take(&mut self.first) {
            self.builder.push(self.between);
        }
        self.builder.push_bind(value);
        self
    }
}

/// A row that was read.
pub(crate) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

impl Row {
    /// A text; none where the column is null.
    pub(crate) fn text(&self, column: &str) -> Result<Option<String>, sqlx::Error> {
        self.get(column)
    }

    /// Bytes; none where the column is null.
    pub(crate) fn bytes(&self, column: &str) -> Result<Option<Vec<u8>>, sqlx::Error> {
        self.get(column)
    }

    /// A number; none where the column is null. Yes is 1 and no is 0.
    pub(crate) fn integer(&self, column: &str) -> Result<Option<i64>, sqlx::Error> {
        if let Self::Postgres(row) = self {
            let value = row.try_get_raw(column)?;
            match value.type_info().name() {
                "BOOL" => return Ok(row.try_get::<Option<bool>, _>(column)?.map(i64::from)),
                "INT4" => return Ok(row.try_get::<Option<i32>, _>(column)?.map(i64::from)),
                _ => {}
            }
        }
        self.get(column)
    }

    fn get<'r, T>(&'r self, column: &str) -> Result<Option<T>, sqlx::Error>
    where
        T: Decode<'r, Sqlite> + Type<Sqlite> + Decode<'r, Postgres> + Type<Postgres>,
    {
        match self {
            Self::Sqlite(row) => row.try_get(column),
            Self::Postgres(row) => row.try_get(column),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_numbered_on() {
        let mut text = String::new();
        renumber(&mut text, "UPDATE t SET a = $1, b = $12 WHERE c = $2", 30);
        assert_eq!(text, "UPDATE t SET a = $31, b = $42 WHERE c = $32");
    }

    #[test]
    fn a_statement_of_parts_numbers_its_values() {
        let mut query = Builder::new("INSERT INTO t (a, b) ");
        query.push_values([(1_i64, "x"), (2, "y")], |mut row, (a, b)| {
            row.push_bind(a).push_bind(b);
        });
        query.push(" ON CONFLICT (a) DO UPDATE SET b = ").push_bind("z");
        let query = query.build();
        let text = "INSERT INTO t (a, b) VALUES ($1, $2), ($3, $4) ON CONFLICT (a) DO UPDATE SET b = $5";
        assert_eq!((query.sql.as_ref(), query.values.len()), (text, 5));
    }

    #[tokio::test]
    async fn many_statements_run_as_one_and_their_rows_are_added_up() {
        let conn = <SqliteConnection as sqlx::Connection>::connect("sqlite::memory:").await.unwrap();
        let mut conn = Conn::Sqlite(conn);
        query("CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT) STRICT").execute(&mut conn).await.unwrap();
        let insert = |id: i64, a: Option<&str>| {
            Query::with("INSERT INTO t (id, a) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING", vec![id.into(), a.into()])
        };
        let many: Vec<Query> = (0..40).map(|id| insert(id, Some("x"))).collect();
        assert_eq!(run_all(&mut conn, many.clone()).await.unwrap(), 40);
        let rows = run_all(&mut conn, vec![insert(39, None), insert(40, None)]).await.unwrap();
        assert_eq!(rows, 1, "one of them was there");
        assert_eq!(run_all(&mut conn, many).await.unwrap(), 0, "the same text again");
        let wrong = Query::with("INSERT INTO t (id, a) VALUES ($1, $2)", vec![41_i64.into(), 1_i64.into()]);
        let late = vec![insert(41, None), insert(41, None), wrong, insert(42, None)];
        assert!(run_all(&mut conn, late).await.is_err(), "it is there already");
        assert_eq!(run_all(&mut conn, vec![insert(42, None)]).await.unwrap(), 1, "what follows an error did not run");
    }
}
