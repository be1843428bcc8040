//! Checkpoints: the size and root of the log, signed. Written as a C2SP tlog-checkpoint in a C2SP signed note, so that
//! witnesses and tools of others can read, keep and countersign them.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use stanch_model::canonical::{Digest, Hasher};
use stanch_model::sign::{BadKey, Signature, SigningKey, VerifyingKey};

/// The algorithm byte of Ed25519 in a signed note's key.
const ED25519: u8 = 1;
/// A note larger than this is refused unread.
const MAX_NOTE: usize = 16 * 1024;

/// What a checkpoint says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Names the log: one name, one log, for ever.
    pub origin: String,
    /// Entries in it.
    pub size: u64,
    /// Root of the Merkle tree over them.
    pub root: Digest,
}

impl Checkpoint {
    /// The text that is signed.
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, STANDARD.encode(self.root.as_bytes()))
    }
}

/// A checkpoint with its signature lines; keeps the exact text of the note.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedCheckpoint {
    checkpoint: Checkpoint,
    signatures: Vec<NoteSignature>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct NoteSignature {
    name: String,
    /// Key id and signature, as decoded.
    blob: Vec<u8>,
}

/// Why a text is no checkpoint, or not one to trust.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// Not a note in the only spelling that is taken.
    #[error("not a signed checkpoint: {0}")]
    Malformed(&'static str),
    /// The key that should have signed did not.
    #[error("the checkpoint carries no signature by the key {0}")]
    Unsigned(String),
    /// There is a line for that key, but it does not fit.
    #[error("the signature on the checkpoint of size {0} does not fit its text")]
    Forged(u64),
}

/// The 4 bytes that name a key on a signature line: SHA-256 over name, newline, algorithm and key (C2SP signed-note).
pub fn key_id(name: &str, key: &VerifyingKey) -> [u8; 4] {
    let mut hasher = Hasher::new();
    hasher.update(name.as_bytes());
    hasher.update(&[b'\n', ED25519]);
    hasher.update(key.as_bytes());
    let digest = hasher.finish();
    let mut id = [0; 4];
    for (to, from) in id.iter_mut().zip(digest.as_bytes()) {
        *to = *from;
    }
    id
}

/// The key in the text form that other tools for signed notes take: `name+id+base64`.
pub fn vkey(name: &str, key: &VerifyingKey) -> String {
    let mut bytes = vec![ED25519];
    bytes.extend_from_slice(key.as_bytes());
    let id = key_id(name, key);
    format!("{name}+{}+{}", hex::encode(id), STANDARD.encode(bytes))
}

/// Whether a text can name a log and its key.
pub fn is_origin(name: &str) -> bool {
    !name.is_empty() && name.len() <= 128 && !name.chars().any(|c| c.is_whitespace() || c.is_control() || c == '+')
}

impl SignedCheckpoint {
    /// What it says. Trust it only after [`SignedCheckpoint::check`].
    pub const fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// Whether this key signed it under the log's own name.
    ///
    /// # Errors
    /// When it did not, or the text was changed since.
    pub fn check(&self, key: &VerifyingKey) -> Result<&Checkpoint, NoteError> {
        let id = key_id(&self.checkpoint.origin, key);
        let line = self
            .signatures
            .iter()
            .find(|line| line.name == self.checkpoint.origin && line.blob.starts_with(&id))
            .ok_or_else(|| NoteError::Unsigned(key.to_string()))?;
        let signature = Signature::from_bytes(line.blob.get(4..).unwrap_or_default().to_vec());
        if key.verify_bytes(self.checkpoint.text().as_bytes(), &signature) {
            Ok(&self.checkpoint)
        } else {
            Err(NoteError::Forged(self.checkpoint.size))
        }
    }

    /// Reads one note at the beginning of a text; gives what follows it. `None` when the text ends before the note
    /// does.
    pub(crate) fn take(text: &str) -> Result<Option<(Self, &str)>, NoteError> {
        let mut rest = text;
        let mut line = || {
            let (line, after) = rest.split_once('\n')?;
            rest = after;
            Some(line)
        };
        let Some(origin) = line() else { return Ok(None) };
        if !is_origin(origin) {
            return Err(NoteError::Malformed("the first line must name the log"));
        }
        let Some(size) = line() else { return Ok(None) };
        let number: u64 = size.parse().map_err(|_| NoteError::Malformed("the second line must be the log's size"))?;
        if number.to_string() != size {
            return Err(NoteError::Malformed("the size is not written in the shortest form"));
        }
        let Some(root) = line() else { return Ok(None) };
        let bytes = unbase64(root).ok_or(NoteError::Malformed("the third line must be the root in base64"))?;
        let root = <[u8; 32]>::try_from(bytes).map_err(|_| NoteError::Malformed("the root is not 32 bytes"))?;
        let Some(blank) = line() else { return Ok(None) };
        if !blank.is_empty() {
            return Err(NoteError::Malformed("an empty line must follow the root"));
        }
        let mut signatures = Vec::new();
        while rest.starts_with('—') {
            let Some((line, after)) = rest.split_once('\n') else { return Ok(None) };
            let (name, blob) = line
                .strip_prefix("— ")
                .and_then(|line| line.split_once(' '))
                .ok_or(NoteError::Malformed("a signature line must hold a dash, a name and base64"))?;
            let blob = unbase64(blob).ok_or(NoteError::Malformed("a signature is not base64"))?;
            if !is_origin(name) || blob.len() < 5 {
                return Err(NoteError::Malformed("a signature line has no name or no signature"));
            }
            signatures.push(NoteSignature { name: name.to_owned(), blob });
            rest = after;
        }
        if signatures.is_empty() {
            // The bytes of the dash itself may be cut off.
            return if "— ".starts_with(rest) || rest.is_empty() {
                Ok(None)
            } else {
                Err(NoteError::Malformed("there is no signature line"))
            };
        }
        let checkpoint = Checkpoint { origin: origin.to_owned(), size: number, root: Digest::from_bytes(root) };
        Ok(Some((Self { checkpoint, signatures }, rest)))
    }
}

/// Base64 in its only spelling: padded, and with no stray bits at its end, which the engine insists on.
fn unbase64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

impl fmt::Display for SignedCheckpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.checkpoint.text())?;
        for line in &self.signatures {
            writeln!(f, "— {} {}", line.name, STANDARD.encode(&line.blob))?;
        }
        Ok(())
    }
}

impl FromStr for SignedCheckpoint {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        if text.len() > MAX_NOTE {
            return Err(NoteError::Malformed("it is longer than 16 KiB"));
        }
        match Self::take(text)? {
            Some((note, "")) => Ok(note),
            Some(_) => Err(NoteError::Malformed("something follows the signatures")),
            None => Err(NoteError::Malformed("it ends too early")),
        }
    }
}

/// Signs the checkpoints of one log.
#[derive(Debug)]
pub struct Signer {
    origin: String,
    key: SigningKey,
}

/// Why there can be no signer.
#[derive(Debug, thiserror::Error)]
pub enum SignerError {
    /// The name cannot stand in a note.
    #[error("`{0}` cannot name a log: no blanks, no plus sign, at most 128 bytes")]
    Origin(String),
    /// The seed is no key.
    #[error("the ledger's seed is no key")]
    Key(#[source] BadKey),
}

impl Signer {
    /// The signer of the log named `origin`, from a seed that the caller drew and keeps.
    ///
    /// # Errors
    /// When the name cannot stand in a note.
    pub fn from_seed(origin: &str, seed: &[u8; 32]) -> Result<Self, SignerError> {
        if !is_origin(origin) {
            return Err(SignerError::Origin(origin.chars().take(64).collect()));
        }
        Ok(Self { origin: origin.to_owned(), key: SigningKey::from_seed(seed).map_err(SignerError::Key)? })
    }

    /// The log's name.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The key that outsiders pin.
    pub fn verifying_key(&self) -> VerifyingKey {
        self.key.verifying_key()
    }

    /// Signs size and root.
    pub fn sign(&self, size: u64, root: Digest) -> SignedCheckpoint {
        let checkpoint = Checkpoint { origin: self.origin.clone(), size, root };
        let mut blob = key_id(&self.origin, &self.key.verifying_key()).to_vec();
        blob.extend_from_slice(self.key.sign_bytes(checkpoint.text().as_bytes()).as_bytes());
        SignedCheckpoint { checkpoint, signatures: vec![NoteSignature { name: self.origin.clone(), blob }] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signer() -> Signer {
        Signer::from_seed("stanch.test/log", &[7; 32]).unwrap()
    }

    #[test]
    fn a_note_reads_back_and_its_signature_holds() {
        let note = signer().sign(3, Digest::of_bytes(b"root"));
        let text = note.to_string();
        assert_eq!(text.lines().count(), 5);
        let read: SignedCheckpoint = text.parse().unwrap();
        assert_eq!(read, note);
        assert_eq!(read.check(&signer().verifying_key()).unwrap().size, 3);
    }

    #[test]
    fn the_key_id_is_that_of_the_signed_note_standard() {
        // The example key of golang.org/x/mod/sumdb/note: `PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW`.
        let bytes = STANDARD.decode("ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW").unwrap();
        let key = VerifyingKey::from_bytes(bytes[1..].try_into().unwrap());
        assert_eq!(vkey("PeterNeumann", &key), "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW");
    }

    #[test]
    fn any_flipped_byte_of_a_note_is_found() {
        let key = signer().verifying_key();
        let text = signer().sign(1000, Digest::of_bytes(b"root")).to_string();
        for at in 0..text.len() {
            for bit in 0..8 {
                let mut bytes = text.clone().into_bytes();
                bytes[at] ^= 1 << bit;
                let Ok(flipped) = String::from_utf8(bytes) else { continue };
                let found = flipped.parse::<SignedCheckpoint>().map_or(true, |note| note.check(&key).is_err());
                assert!(found, "byte {at} bit {bit}: {flipped}");
            }
        }
    }

    #[test]
    fn another_key_is_not_this_key() {
        let other = Signer::from_seed("stanch.test/log", &[8; 32]).unwrap().verifying_key();
        let note = signer().sign(3, Digest::of_bytes(b"root"));
        assert!(matches!(note.check(&other), Err(NoteError::Unsigned(_))));
    }

    #[test]
    fn a_name_that_could_end_a_line_is_refused() {
        assert!(Signer::from_seed("a\nb", &[7; 32]).is_err());
        assert!(Signer::from_seed("a+b", &[7; 32]).is_err());
        assert!(Signer::from_seed("", &[7; 32]).is_err());
    }
}
