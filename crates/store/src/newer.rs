//! What a newer release has done to the tables, and whether this one may still work with them: it may as long as every
//! migration that it does not know only adds. One that takes something away, or gives it another meaning, says so in its
//! description, which is in the database for every older release to read.

/// How the description of such a migration begins.
const CONTRACTS: &str = "contract: ";

/// A migration that was applied.
#[derive(Debug, Clone)]
pub(crate) struct Applied {
    pub(crate) version: i64,
    pub(crate) description: String,
}

impl From<(i64, String)> for Applied {
    fn from((version, description): (i64, String)) -> Self {
        Self { version, description }
    }
}

/// The migrations that were applied, in their order.
pub(crate) const APPLIED: &str = "SELECT version, description FROM _sqlx_migrations ORDER BY version";

/// The first applied migration that this release does not know and cannot work with.
pub(crate) fn contracting<'a>(known: &[(i64, &str, &str)], applied: &'a [Applied]) -> Option<&'a Applied> {
    let is_known = |version: i64| known.iter().any(|(number, ..)| *number == version);
    applied.iter().find(|one| !is_known(one.version) && one.description.starts_with(CONTRACTS))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The first of these since the rule that takes something away without saying so.
    pub(crate) fn unmarked(migrations: &[(i64, &'static str, &'static str)]) -> Option<&'static str> {
        let takes_away = |sql: &str| {
            let sql = sql.to_uppercase();
            sql.contains("DROP COLUMN") || (sql.contains("DROP TABLE") && !sql.contains(" RENAME TO "))
        };
        let late = migrations.iter().filter(|(number, ..)| *number > 21);
        late.filter(|(_, name, sql)| takes_away(sql) && !name.starts_with(CONTRACTS)).map(|(_, name, _)| *name).next()
    }

    #[test]
    fn what_only_adds_is_worked_with_and_what_takes_away_is_not() {
        let known = [(1, "start", ""), (2, "contract: old", "")];
        let applied = |all: &[(i64, &str)]| -> Vec<Applied> {
            all.iter().map(|(version, name)| Applied { version: *version, description: (*name).to_owned() }).collect()
        };
        let number = |all: &[(i64, &str)]| contracting(&known, &applied(all)).map(|one| one.version);
        assert_eq!(number(&[(1, "start"), (2, "contract: old")]), None, "its own");
        assert_eq!(number(&[(1, "start"), (2, "contract: old"), (3, "more")]), None);
        assert_eq!(number(&[(1, "start"), (3, "more"), (4, "contract: less"), (5, "more")]), Some(4));
    }

    #[test]
    fn a_migration_that_takes_away_has_to_say_so() {
        assert_eq!(unmarked(&[(22, "less", "ALTER TABLE a DROP COLUMN b")]), Some("less"));
        assert_eq!(unmarked(&[(22, "less", "drop table a;")]), Some("less"));
        assert_eq!(unmarked(&[(22, "contract: less", "DROP TABLE a")]), None);
    }
}
