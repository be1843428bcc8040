//! The signature of a message: `t=SECONDS,v1=HEX`, where HEX is HMAC-SHA-256 over `SECONDS.BODY`. The time is signed
//! with the message, so that a receiver can refuse what is old.

use aws_lc_rs::hmac;
use jiff::{SignedDuration, Timestamp};
use subtle::ConstantTimeEq as _;

/// How far a message's time may be from the receiver's. Within it a receiver tells repetitions by the notice's id.
pub const REPLAY_WINDOW: SignedDuration = SignedDuration::from_mins(5);

/// What both sides know. Never printed.
#[derive(Clone)]
pub struct Secret(String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Secret {
    /// A secret from its text form.
    pub const fn new(text: String) -> Self {
        Self(text)
    }
}

/// Why a message is not to be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The header does not read.
    #[error("the signature does not read: t=SECONDS,v1=HEX")]
    Form,
    /// It was signed too long ago, or in the future.
    #[error("it was signed outside of the window of five minutes")]
    Stale,
    /// Another secret, or another message.
    #[error("the signature does not fit the message")]
    Wrong,
}

/// The signature of a message at a time.
pub fn sign(secret: &Secret, at: Timestamp, body: &[u8]) -> String {
    let seconds = at.as_second();
    format!("t={seconds},v1={}", hex::encode(tag(secret, seconds, body)))
}

fn tag(secret: &Secret, seconds: i64, body: &[u8]) -> hmac::Tag {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, secret.0.as_bytes()));
    context.update(seconds.to_string().as_bytes());
    context.update(b".");
    context.update(body);
    context.sign()
}

/// Checks a signature as a receiver does.
///
/// # Errors
/// When it does not read, is stale, or does not fit.
pub fn verify(secret: &Secret, header: &str, body: &[u8], now: Timestamp) -> Result<(), SignatureError> {
    let (time, tagged) = header.split_once(',').ok_or(SignatureError::Form)?;
    let seconds: i64 = time.strip_prefix("t=").and_then(|text| text.parse().ok()).ok_or(SignatureError::Form)?;
    let given = tagged.strip_prefix("v1=").and_then(|text| hex::decode(text).ok()).ok_or(SignatureError::Form)?;
    let at = Timestamp::from_second(seconds).map_err(|_| SignatureError::Form)?;
    if now.duration_since(at).abs() > REPLAY_WINDOW {
        return Err(SignatureError::Stale);
    }
    let right = tag(secret, seconds, body);
    if right.as_ref().ct_eq(&given).into() { Ok(()) } else { Err(SignatureError::Wrong) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    #[test]
    fn a_message_is_believed_whole_in_time_and_from_us_only() {
        let secret = Secret::new("s3cret".into());
        let header = sign(&secret, at(0), b"{}");
        assert_eq!(verify(&secret, &header, b"{}", at(299)), Ok(()));
        assert_eq!(verify(&secret, &header, b"{}", at(301)), Err(SignatureError::Stale));
        assert_eq!(verify(&secret, &header, b"{}", at(-301)), Err(SignatureError::Stale));
        assert_eq!(verify(&secret, &header, b"{ }", at(0)), Err(SignatureError::Wrong));
        assert_eq!(verify(&Secret::new("other".into()), &header, b"{}", at(0)), Err(SignatureError::Wrong));
        let moved = header.replacen("t=1800000000", "t=1800000100", 1);
        assert_eq!(verify(&secret, &moved, b"{}", at(100)), Err(SignatureError::Wrong), "the time is signed too");
        for bad in ["", "t=1", "v1=00,t=1", "t=x,v1=00", "t=1800000000,v1=zz"] {
            assert_eq!(verify(&secret, bad, b"{}", at(0)), Err(SignatureError::Form), "{bad}");
        }
    }

    #[test]
    fn the_signature_is_the_published_one() {
        // Reckoned with: printf '1800000000.{"a":1}' | openssl dgst -sha256 -hmac key
        let header = sign(&Secret::new("key".into()), at(0), br#"{"a":1}"#);
        assert_eq!(header, "t=1800000000,v1=7330c9cf7d886970cbebbbb5494c04d2aeff06a990adb7d7a75abfeb0159d291");
        assert_eq!(format!("{:?}", Secret::new("key".into())), "Secret(..)");
    }
}
