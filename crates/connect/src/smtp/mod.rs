//! Letters through a mail server. Plain text only: there is no markup that a name in a finding could break out of.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use lettre::address::{Address, Envelope};
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Mailboxes, Message};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor};
use serde::{Deserialize, Serialize};

/// The longest that connecting to a mail server may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// The longest that handing over a letter may take as a whole; the transport itself waits for an answer without end.
const WHOLE: Duration = Duration::from_secs(60);
/// Receivers of one letter at most.
const RECEIVERS: usize = 100;
/// Characters of a subject at most.
const SUBJECT: usize = 180;

/// How the line to the mail server is kept private.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Security {
    /// TLS is asked for on a plain line, and nothing is sent without it.
    Starttls,
    /// TLS from the first byte.
    Tls,
    /// None; for a mail server on this machine only.
    None,
}

/// How to reach a mail server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Its name.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the line is kept private.
    pub security: Security,
    /// Whom to sign in as; nobody when left away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Who the letters are from.
    pub from: String,
    /// An authority to trust beside the system's, as PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority: Option<String>,
}

/// A letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// The same however often it is sent: becomes its `Message-ID`.
    pub id: String,
    /// What it is about, on one line.
    pub subject: String,
    /// What it says.
    pub text: String,
    /// When it was written.
    pub at: Timestamp,
}

/// Why a letter did not go out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SmtpError {
    /// The settings make no sense.
    #[error("the settings of the mail server make no sense: {0}")]
    Settings(String),
    /// An address is not one.
    #[error("`{0}` is not an address")]
    Address(String),
    /// Nobody to send it to.
    #[error("nobody is named to send it to")]
    Nobody,
    /// The letter cannot be written.
    #[error("the letter cannot be written")]
    Write(#[source] lettre::error::Error),
    /// The server said no, and would say it again.
    #[error("the mail server refused it")]
    Refused(#[source] lettre::transport::smtp::Error),
    /// It could not be handed over this time.
    #[error("the mail server could not take it")]
    Unreachable(#[source] lettre::transport::smtp::Error),
    /// It stopped answering.
    #[error("the mail server did not take it within {} s", WHOLE.as_secs())]
    Silent,
}

impl SmtpError {
    /// Whether trying again is of no use before a person changes something.
    pub const fn is_final(&self) -> bool {
        !matches!(self, Self::Unreachable(_) | Self::Silent)
    }
}

impl Settings {
    /// Checks what can be checked without the server.
    ///
    /// # Errors
    /// When a field makes no sense, or a password would go over an open line.
    pub fn check(&self) -> Result<(), SmtpError> {
        let wrong = |why: &str| Err(SmtpError::Settings(why.to_owned()));
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-:".contains(&byte);
        if self.host.is_empty() || self.host.len() > 253 || !self.host.bytes().all(plain) {
            return wrong("`host` is the name or address of a mail server");
        }
        if self.security == Security::None {
            if !crate::webhook::is_loopback_name(&self.host) {
                return wrong("without TLS only a mail server on this machine is spoken to");
            }
            if self.user.is_some() {
                return wrong("no password is sent over an open line: use starttls or tls");
            }
        }
        mailbox(&self.from)?;
        self.tls().map(drop)
    }

    fn tls(&self) -> Result<Tls, SmtpError> {
        if self.security == Security::None {
            return Ok(Tls::None);
        }
        let wrong = |error: lettre::transport::smtp::Error| SmtpError::Settings(error.to_string());
        let mut parameters = TlsParameters::builder(self.host.clone());
        if let Some(pem) = &self.authority {
            parameters = parameters.add_root_certificate(Certificate::from_pem(pem.as_bytes()).map_err(wrong)?);
        }
        let parameters = parameters.build().map_err(wrong)?;
        Ok(if self.security == Security::Tls { Tls::Wrapper(parameters) } else { Tls::Required(parameters) })
    }
}

/// Checks an address.
///
/// # Errors
/// When it is none.
pub fn check_address(text: &str) -> Result<(), SmtpError> {
    address(text).map(drop)
}

fn address(text: &str) -> Result<Address, SmtpError> {
    text.trim().parse().map_err(|_| SmtpError::Address(text.chars().take(80).collect()))
}

fn mailbox(text: &str) -> Result<Mailbox, SmtpError> {
    text.trim().parse().map_err(|_| SmtpError::Address(text.chars().take(80).collect()))
}

/// Hands a letter to the mail server. Sent twice, it carries the same `Message-ID`.
///
/// # Errors
/// When the settings or an address make no sense, or the server does not take it.
pub async fn send(
    settings: &Settings,
    password: Option<&str>,
    to: &[String],
    letter: &Letter,
) -> Result<(), SmtpError> {
    settings.check()?;
    let message = message(settings, to, letter)?;
    let mut transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&settings.host)
        .port(settings.port)
        .tls(settings.tls()?)
        .timeout(Some(PATIENCE));
    if let (Some(user), Some(password)) = (&settings.user, password) {
        transport = transport.credentials(Credentials::new(user.clone(), password.to_owned()));
    }
    let transport = transport.build();
    let sent = tokio::time::timeout(WHOLE, transport.send(message)).await.map_err(|_| SmtpError::Silent)?;
    sent.map(drop).map_err(
        |error| {
            if error.is_permanent() { SmtpError::Refused(error) } else { SmtpError::Unreachable(error) }
        },
    )
}

fn message(settings: &Settings, to: &[String], letter: &Letter) -> Result<Message, SmtpError> {
    let from = mailbox(&settings.from)?;
    let to = to.iter().take(RECEIVERS).map(|text| address(text)).collect::<Result<Vec<_>, _>>()?;
    if to.is_empty() {
        return Err(SmtpError::Nobody);
    }
    let envelope = Envelope::new(Some(from.email.clone()), to).map_err(SmtpError::Write)?;
    let seconds = u64::try_from(letter.at.as_second()).unwrap_or(0);
    let message = Message::builder()
        .message_id(Some(format!("<{}@{}>", letter.id, from.email.domain())))
        .date(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
        .mailbox(lettre::message::header::From::from(Mailboxes::from(from)))
        // Who else got it is nobody's business: the receivers stand in the envelope alone.
        .raw_header(HeaderValue::new(HeaderName::new_from_ascii_str("To"), "undisclosed-recipients:;".to_owned()))
        .raw_header(HeaderValue::new(HeaderName::new_from_ascii_str("Auto-Submitted"), "auto-generated".to_owned()))
        .subject(one_line(&letter.subject, SUBJECT))
        .envelope(envelope)
        .header(ContentType::TEXT_PLAIN)
        .body(lines(&letter.text));
    message.map_err(SmtpError::Write)
}

/// Text on one line, without characters that do not print or that turn the direction of reading.
pub fn one_line(text: &str, longest: usize) -> String {
    let plain = text.chars().map(|c| if c.is_whitespace() { ' ' } else { c }).filter(|c| !is_tricky(*c));
    plain.take(longest).collect()
}

fn lines(text: &str) -> String {
    text.lines().map(|line| one_line(line, 2_000)).collect::<Vec<_>>().join("\n")
}

fn is_tricky(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings {
            host: "mx.example.org".into(),
            port: 587,
            security: Security::Starttls,
            user: None,
            from: "Stanch <stanch@example.org>".into(),
            authority: None,
        }
    }

    fn letter(subject: &str, text: &str) -> Letter {
        Letter { id: "n1".into(), subject: subject.into(), text: text.into(), at: Timestamp::UNIX_EPOCH }
    }

    #[test]
    fn a_name_cannot_add_a_header_or_a_receiver() {
        let evil = "host\r\nBcc: mallory@example.org\r\n\r\nhello";
        let to = ["ada@example.org".to_owned()];
        let message = message(&settings(), &to, &letter(evil, "one\r\n.\r\nRCPT TO:<x@y.org>\u{202e}")).unwrap();
        let text = String::from_utf8(message.formatted()).unwrap();
        let head = text.split("\r\n\r\n").next().unwrap();
        assert!(!head.lines().any(|line| line.starts_with("Bcc:")), "{head}");
        assert!(head.contains("Message-ID: <n1@example.org>") && !head.contains("ada@"), "{head}");
        assert_eq!(message.envelope().to().len(), 1);
        assert!(!text.contains('\u{202e}'));
    }

    #[test]
    fn no_password_goes_over_an_open_line() {
        let open = Settings { security: Security::None, ..settings() };
        assert!(matches!(open.check(), Err(SmtpError::Settings(_))), "only on this machine");
        let local = Settings { host: "localhost".into(), ..open };
        local.check().unwrap();
        let with_user = Settings { user: Some("ada".into()), ..local };
        assert!(matches!(with_user.check(), Err(SmtpError::Settings(_))));
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for bad in ["", "ada", "ada@", "a b@example.org", "ada@example.org\r\nx"] {
            assert!(check_address(bad).is_err() || bad.ends_with('x') && check_address(bad).is_err(), "{bad}");
        }
        assert!(matches!(message(&settings(), &[], &letter("s", "t")), Err(SmtpError::Nobody)));
    }
}
