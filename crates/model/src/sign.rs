//! Ed25519 signatures over canonical digests: orders, receipts and checkpoints are signed the same way.

use std::fmt;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use serde::{Deserialize, Serialize};

use crate::canonical::{CanonicalError, digest};

/// A signing key. Never printed, never serialised.
pub struct SigningKey(Ed25519KeyPair);

impl SigningKey {
    /// The key with this 32-byte seed, which the caller drew and keeps.
    ///
    /// # Errors
    /// When the library refuses the seed.
    pub fn from_seed(seed: &[u8; 32]) -> Result<Self, BadKey> {
        Ed25519KeyPair::from_seed_unchecked(seed).map(Self).map_err(|_| BadKey)
    }

    /// The public half.
    pub fn verifying_key(&self) -> VerifyingKey {
        let mut bytes = [0; 32];
        for (to, from) in bytes.iter_mut().zip(self.0.public_key().as_ref()) {
            *to = *from;
        }
        VerifyingKey(bytes)
    }

    /// The 64-byte signature over a message.
    pub fn sign_bytes(&self, message: &[u8]) -> Signature {
        Signature(self.0.sign(message).as_ref().to_vec())
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey(public {})", self.verifying_key())
    }
}

/// Bytes that are not a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an Ed25519 key: expected 64 hexadecimal digits")]
pub struct BadKey;

/// A public key; text form is 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VerifyingKey([u8; 32]);

impl VerifyingKey {
    /// The key with these bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether this key signed this message.
    pub fn verify_bytes(&self, message: &[u8], signature: &Signature) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.0).verify(message, &signature.0).is_ok()
    }
}

impl fmt::Display for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyingKey({self})")
    }
}

impl TryFrom<String> for VerifyingKey {
    type Error = BadKey;

    fn try_from(text: String) -> Result<Self, BadKey> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| BadKey)?;
        Ok(Self(bytes))
    }
}

impl From<VerifyingKey> for String {
    fn from(key: VerifyingKey) -> Self {
        key.to_string()
    }
}

/// A signature; text form is hexadecimal.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Signature(Vec<u8>);

impl Signature {
    /// The signature with these bytes.
    pub const fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature({})", hex::encode(&self.0))
    }
}

impl TryFrom<String> for Signature {
    type Error = hex::FromHexError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        hex::decode(text).map(Self)
    }
}

impl From<Signature> for String {
    fn from(signature: Signature) -> Self {
        hex::encode(signature.0)
    }
}

/// A kind of document that can be signed; the domain keeps a signature over one kind from standing for another.
pub trait Signable: Serialize {
    /// The domain tag, with a version.
    const DOMAIN: &'static str;
}

/// A document with its signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed<T> {
    /// The document.
    pub body: T,
    /// The key that signed.
    pub key: VerifyingKey,
    /// The signature over the document's canonical digest.
    pub signature: Signature,
}

/// Why a signature does not hold.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The document cannot be encoded.
    #[error("the document has no canonical form")]
    Canonical(#[from] CanonicalError),
    /// Signed by somebody else.
    #[error("signed by {found}, expected {expected}")]
    WrongKey {
        /// The key named in the document.
        found: VerifyingKey,
        /// The key that was to sign.
        expected: VerifyingKey,
    },
    /// The document or its signature was changed.
    #[error("the signature does not fit the document")]
    Forged,
}

impl<T: Signable> Signed<T> {
    /// Signs a document.
    ///
    /// # Errors
    /// When it has no canonical form.
    pub fn new(body: T, key: &SigningKey) -> Result<Self, SignError> {
        let message = digest(T::DOMAIN, &body)?;
        Ok(Self { key: key.verifying_key(), signature: key.sign_bytes(message.as_bytes()), body })
    }

    /// The document, if `expected` signed it.
    ///
    /// # Errors
    /// When somebody else signed it, or it was changed.
    pub fn open(&self, expected: &VerifyingKey) -> Result<&T, SignError> {
        if self.key != *expected {
            return Err(SignError::WrongKey { found: self.key, expected: *expected });
        }
        let message = digest(T::DOMAIN, &self.body)?;
        if expected.verify_bytes(message.as_bytes(), &self.signature) { Ok(&self.body) } else { Err(SignError::Forged) }
    }
}
