//! Statements as data. What must change exactly one row, and needs no answer, need not be sent to the database one by
//! one: many of them go as one text with one list of values, which saves the way to the connection's thread and back
//! for each. That way is what a transition costs, once the disk is waited for together.

use sqlx::AssertSqlSafe;

use crate::column::Conn;

/// A value for a column.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Integer(i64),
    Text(String),
    Null,
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Integer(i64::from(number))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// A statement that must change exactly one row, with its values.
#[derive(Debug, Clone)]
pub(crate) struct Statement {
    pub(crate) sql: &'static str,
    pub(crate) values: Vec<Value>,
}

impl Statement {
    /// Runs it alone; gives the number of rows it changed.
    pub(crate) async fn run(self, conn: &mut Conn) -> Result<u64, sqlx::Error> {
        let query = self.values.into_iter().fold(sqlx::query(self.sql), |query, value| match value {
            Value::Integer(number) => query.bind(number),
            Value::Text(text) => query.bind(text),
            Value::Null => query.bind(None::<String>),
        });
        Ok(query.execute(conn).await?.rows_affected())
    }
}

/// Runs statements as one text; gives the number of rows they changed together.
pub(crate) async fn run_all(conn: &mut Conn, statements: Vec<Statement>) -> Result<u64, sqlx::Error> {
    let mut text = String::new();
    let mut before = 0;
    for statement in &statements {
        renumber(&mut text, statement.sql, before);
        text.push_str(";\n");
        before += statement.values.len();
    }
    // Only texts of this crate are joined, and only the numbers of their parameters change.
    let mut query = sqlx::query(AssertSqlSafe(text));
    for value in statements.into_iter().flat_map(|statement| statement.values) {
        query = match value {
            Value::Integer(number) => query.bind(number),
            Value::Text(text) => query.bind(text),
            Value::Null => query.bind(None::<String>),
        };
    }
    Ok(query.execute(conn).await?.rows_affected())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_numbered_on() {
        let mut text = String::new();
        renumber(&mut text, "UPDATE t SET a = $1, b = $12 WHERE c = $2", 30);
        assert_eq!(text, "UPDATE t SET a = $31, b = $42 WHERE c = $32");
    }

    #[tokio::test]
    async fn many_statements_run_as_one_and_their_rows_are_added_up() {
        let mut conn = <Conn as sqlx::Connection>::connect("sqlite::memory:").await.unwrap();
        sqlx::query("CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT) STRICT").execute(&mut conn).await.unwrap();
        let insert = |id: i64, a: Option<&str>| Statement {
            sql: "INSERT INTO t (id, a) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING",
            values: vec![id.into(), a.into()],
        };
        let many: Vec<Statement> = (0..40).map(|id| insert(id, Some("x"))).collect();
        assert_eq!(run_all(&mut conn, many.clone()).await.unwrap(), 40);
        let rows = run_all(&mut conn, vec![insert(39, None), insert(40, None)]).await.unwrap();
        assert_eq!(rows, 1, "one of them was there");
        assert_eq!(run_all(&mut conn, many).await.unwrap(), 0, "the same text again");
        let wrong =
            Statement { sql: "INSERT INTO t (id, a) VALUES ($1, $2)", values: vec![41_i64.into(), 1_i64.into()] };
        let late = vec![insert(41, None), insert(41, None), wrong, insert(42, None)];
        assert!(run_all(&mut conn, late).await.is_err(), "it is there already");
        assert_eq!(run_all(&mut conn, vec![insert(42, None)]).await.unwrap(), 1, "what follows an error did not run");
    }
}
