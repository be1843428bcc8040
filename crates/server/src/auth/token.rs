//! Secrets that visitors carry. The server keeps digests of them only, so that a copy of its store opens nothing.

use std::sync::Mutex;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use stanch_model::canonical::{Digest, digest_encoded};
use stanch_model::id::ActorId;
use subtle::ConstantTimeEq as _;

use crate::clock::{Entropy, NoEntropy, thirty_two};

/// How long a printed link can be used.
const LINK_LIFE: SignedDuration = SignedDuration::from_hours(1);
/// Links that can be open at once; the oldest goes first.
const OPEN_LINKS: usize = 8;
/// Failed attempts that are borne within a minute, from everybody together: tokens have 256 bits, so this only keeps
/// the log readable.
const FAILURES_PER_MINUTE: usize = 10;

/// A fresh secret: 32 random bytes as text.
///
/// # Errors
/// When no random bytes can be had.
pub(crate) fn fresh(entropy: &dyn Entropy) -> Result<String, NoEntropy> {
    Ok(URL_SAFE_NO_PAD.encode(thirty_two(entropy)?))
}

/// What the store keeps of a session's secret.
pub(crate) fn session_digest(secret: &str) -> Digest {
    digest_encoded("stanch/session/v1", secret.as_bytes())
}

/// How a token of the API begins, so that one that leaked can be found and known for what it is.
const API_PREFIX: &str = "stn_";

/// A fresh token of the API.
///
/// # Errors
/// When no random bytes can be had.
pub(crate) fn fresh_api(entropy: &dyn Entropy) -> Result<String, NoEntropy> {
    Ok(format!("{API_PREFIX}{}", fresh(entropy)?))
}

/// What the store keeps of a token of the API; `None` for what is none.
pub(crate) fn api_digest(token: &str) -> Option<Digest> {
    let secret = token.strip_prefix(API_PREFIX)?;
    let whole = secret.len() == 43 && secret.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    whole.then(|| digest_encoded("stanch/api-token/v1", secret.as_bytes()))
}

/// What the store keeps of an invitation.
pub(crate) fn invitation_digest(token: &str) -> Digest {
    digest_encoded("stanch/invitation/v1", token.as_bytes())
}

/// The token that a page made for this session carries; other sites cannot know it, because they cannot read the
/// session's cookie.
pub(crate) fn csrf(secret: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    hex::encode(hmac::sign(&key, b"stanch/csrf/v1").as_ref())
}

/// Whether this is the token of this session's pages, in constant time.
pub(crate) fn csrf_fits(secret: &str, given: &str) -> bool {
    csrf(secret).as_bytes().ct_eq(given.as_bytes()).into()
}

/// Why nobody was let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Denied {
    /// The token is not one of ours, was used or is too old.
    #[error("this sign-in link was used already or is too old")]
    Unknown,
    /// Too many failures.
    #[error("too many failed attempts: wait a minute")]
    TooMany,
}

struct Link {
    digest: Digest,
    until: Timestamp,
    person: Option<ActorId>,
}

#[derive(Default)]
struct Open {
    links: Vec<Link>,
    failures: Vec<Timestamp>,
}

/// The sign-in links that were handed out and not used yet. They live in memory: a restart ends them all.
#[derive(Default)]
pub(crate) struct Links(Mutex<Open>);

impl Links {
    /// The token of a new link for a person; for the account of the machine's operator when nobody is named.
    pub(crate) fn issue(
        &self,
        now: Timestamp,
        entropy: &dyn Entropy,
        person: Option<ActorId>,
    ) -> Result<String, NoEntropy> {
        let token = fresh(entropy)?;
        let mut open = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if open.links.len() >= OPEN_LINKS {
            open.links.remove(0);
        }
        let until = now.saturating_add(LINK_LIFE).unwrap_or(now);
        open.links.push(Link { digest: link_digest(&token), until, person });
        Ok(token)
    }

    /// Uses a token up; answers whom it is for.
    pub(crate) fn redeem(&self, token: &str, now: Timestamp) -> Result<Option<ActorId>, Denied> {
        let mut open = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let minute = SignedDuration::from_mins(1);
        open.failures.retain(|at| now.duration_since(*at) < minute);
        open.links.retain(|link| link.until > now);
        let given = link_digest(token);
        let is_given = |link: &Link| bool::from(link.digest.as_bytes().ct_eq(given.as_bytes().as_slice()));
        match open.links.iter().position(is_given) {
            Some(place) => Ok(open.links.remove(place).person),
            // Whoever has a good link is let in, however many others guess.
            None if open.failures.len() >= FAILURES_PER_MINUTE => Err(Denied::TooMany),
            None => {
                open.failures.push(now);
                Err(Denied::Unknown)
            }
        }
    }
}

fn link_digest(token: &str) -> Digest {
    digest_encoded("stanch/sign-in/v1", token.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemEntropy;

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + minute * 60).unwrap()
    }

    #[test]
    fn a_link_opens_once() {
        let links = Links::default();
        let token = links.issue(at(0), &SystemEntropy, None).unwrap();
        assert_eq!(links.redeem(&token, at(1)), Ok(None));
        assert_eq!(links.redeem(&token, at(1)), Err(Denied::Unknown));
    }

    #[test]
    fn a_link_does_not_last() {
        let links = Links::default();
        let token = links.issue(at(0), &SystemEntropy, None).unwrap();
        assert_eq!(links.redeem(&token, at(61)), Err(Denied::Unknown));
    }

    #[test]
    fn guessing_is_slowed_down_and_keeps_nobody_with_a_link_out() {
        let links = Links::default();
        let token = links.issue(at(0), &SystemEntropy, None).unwrap();
        for _ in 0..FAILURES_PER_MINUTE {
            assert_eq!(links.redeem("guess", at(0)), Err(Denied::Unknown));
        }
        assert_eq!(links.redeem("guess", at(0)), Err(Denied::TooMany));
        assert_eq!(links.redeem(&token, at(0)), Ok(None));
        assert_eq!(links.redeem("guess", at(2)), Err(Denied::Unknown), "the minute passes");
    }

    #[test]
    fn only_a_whole_token_of_the_api_is_looked_up() {
        let token = fresh_api(&SystemEntropy).unwrap();
        assert!(api_digest(&token).is_some());
        for bad in ["", "stn_", &token[..token.len() - 1], &format!("{token}a"), &token[4..], "stn_ä"] {
            assert!(api_digest(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_page_token_belongs_to_one_session() {
        assert!(csrf_fits("one", &csrf("one")));
        assert!(!csrf_fits("one", &csrf("two")));
        assert!(!csrf_fits("one", ""));
    }
}
