//! Secrets that have to be kept and used again: sealed with a key that lies outside of the store, so that a copy of
//! the store opens nothing.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use crate::clock::{Entropy, NoEntropy};

/// Seals and opens secrets (AES-256-GCM).
pub(crate) struct Seal(LessSafeKey);

/// Why a secret cannot be sealed or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SealError {
    /// No random bytes.
    #[error("a secret cannot be sealed")]
    Entropy(#[source] NoEntropy),
    /// The library refused.
    #[error("a secret cannot be sealed with this key")]
    Refused,
    /// Sealed with another key, for another place, or damaged.
    #[error("a secret cannot be opened: it was sealed with another key; set it again")]
    Closed,
}

impl Seal {
    pub(crate) fn new(key: &[u8; 32]) -> Result<Self, SealError> {
        UnboundKey::new(&AES_256_GCM, key).map(|key| Self(LessSafeKey::new(key))).map_err(|_| SealError::Refused)
    }

    /// Seals a secret for its place: it opens in no other.
    pub(crate) fn close(&self, place: &str, secret: &[u8], entropy: &dyn Entropy) -> Result<Vec<u8>, SealError> {
        let mut nonce = [0; NONCE_LEN];
        entropy.fill(&mut nonce).map_err(SealError::Entropy)?;
        let mut sealed = secret.to_vec();
        let tag = self
            .0
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(place), &mut sealed)
            .map_err(|_| SealError::Refused)?;
        Ok([nonce.as_slice(), &sealed, tag.as_ref()].concat())
    }

    /// Opens what was sealed for this place.
    pub(crate) fn open(&self, place: &str, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        let (nonce, rest) = sealed.split_at_checked(NONCE_LEN).ok_or(SealError::Closed)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError::Closed)?;
        let mut rest = rest.to_vec();
        let plain = self.0.open_in_place(nonce, Aad::from(place), &mut rest).map_err(|_| SealError::Closed)?;
        Ok(plain.to_vec())
    }

    /// The same for a text.
    pub(crate) fn open_text(&self, place: &str, sealed: &[u8]) -> Result<String, SealError> {
        String::from_utf8(self.open(place, sealed)?).map_err(|_| SealError::Closed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemEntropy;

    #[test]
    fn a_sealed_secret_opens_in_its_place_with_its_key_and_nowhere_else() {
        let seal = Seal::new(&[1; 32]).unwrap();
        let sealed = seal.close("connection/mail", b"hunter2", &SystemEntropy).unwrap();
        assert!(!sealed.windows(7).any(|part| part == b"hunter2"));
        assert_eq!(seal.open_text("connection/mail", &sealed).unwrap(), "hunter2");
        assert_eq!(seal.open("connection/other", &sealed), Err(SealError::Closed));
        assert_eq!(Seal::new(&[2; 32]).unwrap().open("connection/mail", &sealed), Err(SealError::Closed));
        let mut damaged = sealed.clone();
        *damaged.last_mut().unwrap() ^= 1;
        assert_eq!(seal.open("connection/mail", &damaged), Err(SealError::Closed));
        for cut in 0..sealed.len() {
            assert_eq!(seal.open("connection/mail", &sealed[..cut]), Err(SealError::Closed));
        }
        assert_ne!(sealed, seal.close("connection/mail", b"hunter2", &SystemEntropy).unwrap());
    }
}
