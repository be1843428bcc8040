//! How an executor on another machine gets in: the token it is given, and what is said when it shows it.
//!
//! The token carries what the executor must believe (the authority that vouches for servers, the root that vouches for
//! orders), so that whoever stands between cannot pass for the server. What the host becomes by it (its labels, how
//! often and until when the token works) stays with the server: a host cannot claim it.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::canonical::{Digest, digest, digest_encoded};
use crate::id::{AssetId, ExecutorId};
use crate::order::Hello;
use crate::sign::{Signable, VerifyingKey};

/// How a token begins, so that one that leaked can be found and known for what it is.
const PREFIX: &str = "stanch-enrol-";
/// The form of what follows.
const VERSION: u8 = 1;
const PART: usize = 32;

/// One executor a host, for ever: the id follows from the asset's.
pub fn executor_id(asset: &AssetId) -> ExecutorId {
    // A text always has a canonical form.
    let digest = digest("stanch/executor/v1", asset).unwrap_or(Digest::from_bytes([0; 32]));
    ExecutorId::from_digest(&digest)
}

/// What a host is given to get in with. Whoever has it can enrol a host, as often and as long as the server lets it.
#[derive(Clone, PartialEq, Eq)]
pub struct EnrolmentToken {
    /// SHA-256 of the authority's certificate: the only one whose servers the host will talk to.
    pub authority: Digest,
    /// The root whose word on orders the executor will take.
    pub root: VerifyingKey,
    secret: [u8; PART],
}

impl EnrolmentToken {
    /// A token with this secret, which the caller drew.
    pub const fn new(authority: Digest, root: VerifyingKey, secret: [u8; PART]) -> Self {
        Self { authority, root, secret }
    }

    /// What the host shows to the server, and nothing else of the token.
    pub fn secret(&self) -> EnrolmentSecret {
        EnrolmentSecret(URL_SAFE_NO_PAD.encode(self.secret))
    }
}

/// It is a secret.
impl fmt::Debug for EnrolmentToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EnrolmentToken(authority {})", self.authority)
    }
}

/// The whole token, secret and all: to be shown once.
impl fmt::Display for EnrolmentToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [&[VERSION][..], self.authority.as_bytes(), self.root.as_bytes(), &self.secret].concat();
        write!(f, "{PREFIX}{}", URL_SAFE_NO_PAD.encode(parts))
    }
}

/// A text that is no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an enrolment token: it begins with `{PREFIX}` and must be pasted whole")]
pub struct BadToken;

impl FromStr for EnrolmentToken {
    type Err = BadToken;

    fn from_str(text: &str) -> Result<Self, BadToken> {
        let text = text.trim().strip_prefix(PREFIX).ok_or(BadToken)?;
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| BadToken)?;
        let (version, rest) = bytes.split_first().ok_or(BadToken)?;
        let part = |at: usize| -> Result<[u8; PART], BadToken> {
            rest.get(at * PART..(at + 1) * PART).and_then(|part| part.try_into().ok()).ok_or(BadToken)
        };
        if *version != VERSION || rest.len() != 3 * PART {
            return Err(BadToken);
        }
        Ok(Self { authority: Digest::from_bytes(part(0)?), root: VerifyingKey::from_bytes(part(1)?), secret: part(2)? })
    }
}

/// The part of a token that the server knows it by.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrolmentSecret(String);

impl EnrolmentSecret {
    /// What the server keeps of it.
    pub fn digest(&self) -> Digest {
        digest_encoded("stanch/enrolment/v1", self.0.as_bytes())
    }
}

/// It is a secret.
impl fmt::Debug for EnrolmentSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EnrolmentSecret")
    }
}

/// A host asks to be let in. Signed by the receipt key in it, which shows that the host has that key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrol {
    /// The token's secret.
    pub secret: EnrolmentSecret,
    /// What the executor says of itself.
    pub hello: Hello,
    /// A request for a certificate (PKCS #10, PEM), made with a key that stays on the host.
    pub request: String,
}

impl Signable for Enrol {
    const DOMAIN: &'static str = "stanch/enrol/v1";
}

/// An executor asks for a newer certificate, over a connection that the one it has opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renew {
    /// Who.
    pub executor: ExecutorId,
    /// A request for a certificate (PKCS #10, PEM), made with a new key that stays on the host.
    pub request: String,
}

/// The authority's word for an executor's key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certified {
    /// The certificate (PEM).
    pub certificate: String,
    /// The authority's own (PEM).
    pub authority: String,
    /// Seconds from now until it should be renewed.
    pub renew_after_seconds: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_reads_back_whole_and_tells_its_secret_to_nobody() {
        let token = EnrolmentToken::new(Digest::of_bytes(b"a"), VerifyingKey::from_bytes([3; 32]), [7; 32]);
        let text = token.to_string();
        assert!(
            text.starts_with(PREFIX) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        );
        assert_eq!(format!(" {text}\n").parse::<EnrolmentToken>(), Ok(token.clone()));
        let told = format!("{token:?} {:?}", token.secret());
        assert!(!told.contains(&URL_SAFE_NO_PAD.encode([7; 32])), "{told}");
    }

    #[test]
    fn what_is_cut_or_of_another_form_is_no_token() {
        let text = EnrolmentToken::new(Digest::of_bytes(b"a"), VerifyingKey::from_bytes([3; 32]), [7; 32]).to_string();
        let cut = &text[..text.len() - 4];
        let other = text.replace("enrol-AQ", "enrol-AA");
        for bad in ["", PREFIX, cut, "stn_abc", &format!("{text}AAAA"), &other[..other.len() - 1]] {
            assert_eq!(bad.parse::<EnrolmentToken>(), Err(BadToken), "{bad}");
        }
    }
}
