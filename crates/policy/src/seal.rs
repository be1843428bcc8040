//! Signed bundles: a manifest of every file with its digest, signed apart from the files, so that whoever takes a
//! bundle knows who let it out and that nothing was added, left out or changed.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use stanch_model::canonical::Digest;
use stanch_model::sign::{SignError, Signable, Signed, SigningKey, VerifyingKey};

use crate::bundle::{Source, digest_of, is_part};

/// One file of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestFile {
    /// Its path inside the bundle.
    pub name: String,
    /// SHA-256 of its bytes.
    pub digest: Digest,
}

/// What is signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The bundle's digest.
    pub bundle: Digest,
    /// Its files, in the order of their names.
    pub files: Vec<ManifestFile>,
    /// When it was signed: an older bundle can be told from a newer one.
    pub signed_at: Timestamp,
}

impl Signable for Manifest {
    const DOMAIN: &'static str = "stanch/bundle-signature/v1";
}

/// Why a bundle is not the signed one.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The signature does not hold.
    #[error("the bundle's signature does not hold")]
    Signature(#[source] SignError),
    /// A file was changed, added or left out.
    #[error("`{file}` is not as it was signed")]
    Changed {
        /// The first such file.
        file: String,
    },
}

fn manifest(sources: &[Source], signed_at: Timestamp) -> Manifest {
    let mut sorted: Vec<&Source> = sources.iter().filter(|source| is_part(&source.name)).collect();
    sorted.sort_by(|a, b| a.name.cmp(&b.name));
    let file =
        |source: &&Source| ManifestFile { name: source.name.clone(), digest: Digest::of_bytes(source.text.as_bytes()) };
    Manifest { bundle: digest_of(&sorted), files: sorted.iter().map(file).collect(), signed_at }
}

/// Signs these files.
///
/// # Errors
/// When a name has no canonical form.
pub fn sign(sources: &[Source], key: &SigningKey, now: Timestamp) -> Result<Signed<Manifest>, SignError> {
    Signed::new(manifest(sources, now), key)
}

/// Whether these files are exactly those that `expected` signed; gives the manifest.
///
/// # Errors
/// When somebody else signed, or a file was changed, added or left out.
pub fn verify<'s>(
    sources: &[Source],
    signed: &'s Signed<Manifest>,
    expected: &VerifyingKey,
) -> Result<&'s Manifest, SealError> {
    let body = signed.open(expected).map_err(SealError::Signature)?;
    let found = manifest(sources, body.signed_at);
    if found == *body {
        return Ok(body);
    }
    let differs = |one: &&ManifestFile, other: &[ManifestFile]| !other.contains(one);
    let changed = found.files.iter().find(|file| differs(file, &body.files));
    let file = changed.or_else(|| body.files.iter().find(|file| differs(file, &found.files)));
    Err(SealError::Changed { file: file.map_or_else(|| "manifest".to_owned(), |file| file.name.clone()) })
}
