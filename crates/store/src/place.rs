//! Where a store is: a file of SQLite, or a database of PostgreSQL.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use sqlx::postgres::{PgConnectOptions, PgSslMode};

/// What an address may say after its question mark.
const PARAMETERS: [&str; 11] = [
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
];

/// Where a store is.
#[derive(Debug, Clone)]
pub enum StoreAt {
    /// In a file, for one server.
    File(PathBuf),
    /// In a database, for any number of servers.
    Database(DatabaseUrl),
}

impl fmt::Display for StoreAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Database(url) => url.fmt(f),
        }
    }
}

/// The address of a database: `postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=verify-full&sslrootcert=FILE`. What it
/// does not say comes from the environment and the password file, as with PostgreSQL's own programs. It is never printed
/// with its password.
#[derive(Clone)]
pub struct DatabaseUrl {
    options: Box<PgConnectOptions>,
}

/// Why an address is none. Says nothing of what stands in it.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum UrlError {
    /// It begins otherwise.
    #[error("the address of a database begins with postgres://")]
    Scheme,
    /// It does not read.
    #[error("the address of the database does not read: percent-encode what is special in its user and its password")]
    Syntax,
    /// It asks for something that is not there.
    #[error(
        "the address of the database has a parameter `{0}`, which is none of sslmode, sslrootcert, sslcert, sslkey, host, port, dbname, user, password and application_name"
    )]
    Parameter(String),
}

impl FromStr for DatabaseUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let text = text.trim();
        if !text.starts_with("postgres://") && !text.starts_with("postgresql://") {
            return Err(UrlError::Scheme);
        }
        let parameters = text.split_once('?').map_or("", |(_, parameters)| parameters);
        for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
            let name = parameter.split('=').next().unwrap_or_default();
            if !PARAMETERS.contains(&name) {
                // A name may be part of a password that was not encoded.
                let plain = name.chars().all(|c| c.is_ascii_lowercase() || c == '_') && name.len() < 32;
                return Err(if plain { UrlError::Parameter(name.to_owned()) } else { UrlError::Syntax });
            }
        }
        let options = PgConnectOptions::from_str(text).map_err(|_| UrlError::Syntax)?;
        Ok(Self { options: Box::new(options) })
    }
}

impl DatabaseUrl {
    pub(crate) const fn options(&self) -> &PgConnectOptions {
        &self.options
    }

    /// Whether this text of an address has a password in it.
    pub fn shows_password(text: &str) -> bool {
        let (address, parameters) = text.split_once('?').unwrap_or((text, ""));
        let user = address.split_once("://").and_then(|(_, rest)| rest.split_once('@')).map_or("", |(user, _)| user);
        user.contains(':') || parameters.split('&').any(|parameter| parameter.starts_with("password="))
    }

    /// Whether what is said on the way can be read or changed there.
    pub fn is_open_on_the_way(&self) -> bool {
        let host = self.options.get_host();
        let here = self.options.get_socket().is_some()
            || host.starts_with('/')
            || host == "localhost"
            || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
        !here && !matches!(self.options.get_ssl_mode(), PgSslMode::VerifyCa | PgSslMode::VerifyFull)
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let options = &self.options;
        let database = options.get_database().unwrap_or_else(|| options.get_username());
        match options.get_socket() {
            Some(socket) => write!(f, "postgres:///{database}?host={}", socket.display()),
            None => write!(f, "postgres://{}:{}/{database}", options.get_host(), options.get_port()),
        }
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DatabaseUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_its_password() {
        let url: DatabaseUrl = "postgres://ada:s3cret@db.example:5433/stanch?sslmode=verify-full".parse().unwrap();
        let at = StoreAt::Database(url.clone());
        assert_eq!(format!("{at}"), "postgres://db.example:5433/stanch");
        assert!(!format!("{at:?} {url:?}").contains("s3cret"));
        assert!(!url.is_open_on_the_way());
    }

    #[test]
    fn an_address_that_is_none_is_refused_without_repeating_it() {
        let refused = |text: &str| text.parse::<DatabaseUrl>().unwrap_err();
        assert_eq!(refused("mysql://ada:s3cret@db/stanch"), UrlError::Scheme);
        assert_eq!(refused("postgres://db/stanch?sslmod=disable"), UrlError::Parameter("sslmod".into()));
        for text in ["postgres://ada:s3?cret@db/stanch", "postgres://ada:s3cret@db:port/stanch"] {
            let error = refused(text);
            assert!(!error.to_string().contains("cret"), "{error}");
        }
    }

    #[test]
    fn a_password_in_an_address_is_seen() {
        let has = DatabaseUrl::shows_password;
        assert!(has("postgres://ada:s3cret@db/stanch") && has("postgres://db/stanch?user=ada&password=s3cret"));
        assert!(!has("postgres://ada@db:5432/stanch?sslmode=verify-full"));
    }

    #[test]
    fn what_is_open_on_the_way_is_told() {
        let open = |text: &str| text.parse::<DatabaseUrl>().unwrap().is_open_on_the_way();
        assert!(open("postgres://ada@db.example/stanch"));
        assert!(open("postgres://ada@db.example/stanch?sslmode=require"));
        assert!(!open("postgres://ada@127.0.0.1/stanch"));
        assert!(!open("postgres:///stanch?host=/run/postgresql"));
    }
}
