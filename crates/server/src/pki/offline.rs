//! Keys away from the server: the root, a sealed file on a machine of its own, which certifies a server's issuer now and
//! then and nothing else, and the keys with which people vouch for plans. All of it works on files alone, so that the
//! machine of the root needs no network.

use std::fs;
use std::path::{Path, PathBuf};

use argon2::{Algorithm, Argon2, Params, Version};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use stanch_model::canonical::CanonicalError;
use stanch_model::plan::Plan;
use stanch_model::sign::{SignError, Signed, SigningKey, VerifyingKey};
use stanch_model::trust::{IssuerCertificate, IssuerRequest, PlanApproval};

use super::{
    ISSUER_NEXT, Issuer, KeyError, ROOT, ROOT_PUBLIC, Root, SKEW, certify_issuer, folder_of, issuer_at, keep, kept,
    load, put_issuer, root_at, serial_after,
};
use crate::auth::seal::Seal;
use crate::clock::{Entropy, NoEntropy, sixteen, thirty_two};

/// The fewest characters of a passphrase.
const SHORTEST: usize = 16;
/// Memory in KiB, passes and lanes of argon2id: RFC 9106 section 4, the second recommended choice.
const COST: (u32, u32, u32) = (64 * 1024, 3, 4);
/// More memory than a root file may ask for.
const MOST_MEMORY: u32 = 1024 * 1024;
/// Serials are seconds: none that a server has is further ahead of the root's clock.
const AHEAD: SignedDuration = SignedDuration::from_hours(48);
/// The longest that an issuer is certified for, in days.
pub const MOST_DAYS: u16 = 397;

/// Why something about the root could not be done.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// A key's file.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// A file cannot be read or written.
    #[error("cannot {verb} {}", path.display())]
    File {
        /// What was tried.
        verb: &'static str,
        /// On what.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// Something is there that must not be lost.
    #[error("{} is there already", .0.display())]
    Exists(PathBuf),
    /// A file holds something else.
    #[error("{what} cannot be read: {why}")]
    Unreadable {
        /// What it should be.
        what: &'static str,
        /// Why.
        why: String,
    },
    /// Too easily guessed.
    #[error("a passphrase of a key has at least {SHORTEST} characters")]
    Short,
    /// It opens nothing.
    #[error("the passphrase does not open this key, or the file was changed")]
    Closed,
    /// A signature does not hold.
    #[error("{what} does not hold")]
    Signature {
        /// Which one.
        what: &'static str,
        /// Why.
        #[source]
        source: SignError,
    },
    /// About another installation.
    #[error("{what} is for the root {found}, and this is {own}")]
    OtherRoot {
        /// What.
        what: &'static str,
        /// The root that it names.
        found: VerifyingKey,
        /// The one here.
        own: VerifyingKey,
    },
    /// A certificate for a key that is not here.
    #[error("the certificate is not for the key that was asked for last")]
    OtherKey,
    /// Nothing was asked for.
    #[error("no certificate was asked for here")]
    NotAsked,
    /// It is too old or too new.
    #[error("the certificate holds from {not_before} to {not_after}, and it is {now}")]
    Time {
        /// From when.
        not_before: Timestamp,
        /// Until when.
        not_after: Timestamp,
        /// The time here.
        now: Timestamp,
    },
    /// One that was replaced.
    #[error("the certificate has serial {serial}, and {known} is in force")]
    Old {
        /// Its serial.
        serial: u64,
        /// The one in force.
        known: u64,
    },
    /// A serial above any that an honest server could have.
    #[error("the request says that serial {after} is in force, and none above {latest} can be by now")]
    Ahead {
        /// What it says.
        after: u64,
        /// The highest that is believed.
        latest: u64,
    },
    /// The root lies here and certifies by itself.
    #[error("the root is on this machine: its issuer is certified by itself")]
    RootIsHere,
    /// The root lies elsewhere.
    #[error("the root is not on this machine")]
    RootIsAway,
    /// Days out of range.
    #[error("an issuer is certified for 1 to {MOST_DAYS} days")]
    Days,
    /// No random bytes.
    #[error("no key could be made")]
    Entropy(#[from] NoEntropy),
    /// The library refused.
    #[error("the passphrase cannot be used")]
    Library,
}

impl TrustError {
    /// What a person can do.
    pub const fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Exists(_) => "name another file; a key that is lost cannot be made again",
            Self::Closed => "try again; a key whose passphrase is lost signs nothing any more",
            Self::OtherRoot { .. } => "each installation has its own root: look which file belongs to which",
            Self::OtherKey | Self::NotAsked => "on the server: stanch trust request, and certify what it writes",
            Self::Time { .. } => "compare the clocks of both machines",
            Self::Old { .. } => "ask anew: stanch trust request",
            Self::Ahead { .. } => {
                "a clock was years wrong, or the server is in other hands: certified, no executor would believe one before it"
            }
            Self::RootIsHere => "stanch trust take-offline FILE moves it away",
            Self::RootIsAway => "on the machine of the root: stanch trust certify",
            Self::Short => "several words at random are easily kept",
            _ => return None,
        })
    }
}

/// What a key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyKind {
    /// It certifies issuers.
    Root,
    /// A person vouches for plans with it.
    Approver,
}

impl KeyKind {
    const fn name(self) -> &'static str {
        match self {
            Self::Root => "the root",
            Self::Approver => "the approver's key",
        }
    }

    /// What is sealed in its file, so that nothing else opens as one.
    const fn place(self) -> &'static str {
        match self {
            Self::Root => "stanch/root/v1",
            Self::Approver => "stanch/approver/v1",
        }
    }
}

/// A key, closed with a passphrase.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SealedKey {
    /// The form of this file.
    stanch_key: u8,
    kind: KeyKind,
    /// The public half.
    public: VerifyingKey,
    salt: String,
    memory_kib: u32,
    passes: u32,
    lanes: u32,
    sealed: String,
}

fn stretched(passphrase: &str, salt: &[u8], cost: (u32, u32, u32)) -> Result<Seal, TrustError> {
    let (memory, passes, lanes) = cost;
    let params = Params::new(memory, passes, lanes, Some(32)).map_err(|_| TrustError::Library)?;
    let mut key = [0; 32];
    let hasher = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    hasher.hash_password_into(passphrase.as_bytes(), salt, &mut key).map_err(|_| TrustError::Library)?;
    Seal::new(&key).map_err(|_| TrustError::Library)
}

/// Writes a key to a file that only its owner reads.
fn seal_to(
    path: &Path,
    kind: KeyKind,
    seed: &[u8; 32],
    passphrase: &str,
    entropy: &dyn Entropy,
) -> Result<VerifyingKey, TrustError> {
    if passphrase.chars().count() < SHORTEST {
        return Err(TrustError::Short);
    }
    if path.try_exists().map_err(|source| TrustError::File { verb: "look at", path: path.to_owned(), source })? {
        return Err(TrustError::Exists(path.to_owned()));
    }
    let public = SigningKey::from_seed(seed).map_err(KeyError::Refused)?.verifying_key();
    let salt = sixteen(entropy)?;
    let sealed =
        stretched(passphrase, &salt, COST)?.close(kind.place(), seed, entropy).map_err(|_| TrustError::Library)?;
    let (memory_kib, passes, lanes) = COST;
    let file = SealedKey {
        stanch_key: 1,
        kind,
        public,
        salt: hex::encode(salt),
        memory_kib,
        passes,
        lanes,
        sealed: hex::encode(sealed),
    };
    let text = serde_json::to_vec_pretty(&file)
        .map_err(|error| TrustError::Unreadable { what: kind.name(), why: error.to_string() })?;
    keep(path, &text)?;
    Ok(public)
}

fn open_key(path: &Path, kind: KeyKind, passphrase: &str) -> Result<SigningKey, TrustError> {
    let unreadable = |why: String| TrustError::Unreadable { what: kind.name(), why };
    // It may lie on a medium that knows no owners: it is closed.
    let bytes = fs::read(path).map_err(|source| TrustError::File { verb: "read", path: path.to_owned(), source })?;
    let file: SealedKey = serde_json::from_slice(&bytes).map_err(|error| unreadable(error.to_string()))?;
    if file.kind != kind {
        return Err(unreadable(format!("the file holds {}", file.kind.name())));
    }
    if file.stanch_key != 1 || file.memory_kib > MOST_MEMORY || file.passes > 64 || file.lanes > 64 {
        return Err(unreadable("a newer form, or one that asks for too much".to_owned()));
    }
    let salt = hex::decode(&file.salt).map_err(|error| unreadable(error.to_string()))?;
    let sealed = hex::decode(&file.sealed).map_err(|error| unreadable(error.to_string()))?;
    let seal = stretched(passphrase, &salt, (file.memory_kib, file.passes, file.lanes))?;
    let seed = seal.open(kind.place(), &sealed).map_err(|_| TrustError::Closed)?;
    let seed = <[u8; 32]>::try_from(seed.as_slice()).map_err(|_| TrustError::Closed)?;
    let key = SigningKey::from_seed(&seed).map_err(KeyError::Refused)?;
    if key.verifying_key() == file.public { Ok(key) } else { Err(TrustError::Closed) }
}

/// Makes a key, closed with a passphrase. Its public half is what a server adopts, or what the rules of hosts name.
///
/// # Errors
/// When the file is there, or the passphrase is short.
pub fn new_key(
    path: &Path,
    kind: KeyKind,
    passphrase: &str,
    entropy: &dyn Entropy,
) -> Result<VerifyingKey, TrustError> {
    seal_to(path, kind, &thirty_two(entropy)?, passphrase, entropy)
}

/// Vouches for a plan, which the caller has read and shown.
///
/// # Errors
/// When the key does not open, or the plan has no canonical form.
pub fn vouch(plan: &Plan, until: Timestamp, path: &Path, passphrase: &str) -> Result<Signed<PlanApproval>, TrustError> {
    let hashed = |error: CanonicalError| TrustError::Unreadable { what: "the plan", why: error.to_string() };
    let (hash, leaves) = (plan.hash().map_err(hashed)?, plan.leaves_root().map_err(hashed)?);
    let key = open_key(path, KeyKind::Approver, passphrase)?;
    let body = PlanApproval { plan: hash, leaves, until };
    Signed::new(body, &key).map_err(|source| TrustError::Signature { what: "the approval", source })
}

/// Has a server that has no keys yet pin a root that lies elsewhere.
///
/// # Errors
/// When it has another one.
pub fn adopt(data_dir: &Path, root: VerifyingKey) -> Result<(), TrustError> {
    let folder = folder_of(data_dir)?;
    match root_at(&folder)? {
        Some(known) if known.public() == root => return Ok(()),
        Some(known) => {
            return Err(TrustError::OtherRoot { what: "what is adopted", found: root, own: known.public() });
        }
        None => {}
    }
    Ok(keep(&folder.join(ROOT_PUBLIC), root.to_string().as_bytes())?)
}

/// Asks for a certificate for a key that is made now. What was asked for before counts no more: a key that lay about may
/// be known to others.
///
/// # Errors
/// When the root is here, or a file cannot be read.
pub fn request(data_dir: &Path, now: Timestamp, entropy: &dyn Entropy) -> Result<Signed<IssuerRequest>, TrustError> {
    let folder = folder_of(data_dir)?;
    let root = match root_at(&folder)?.ok_or(TrustError::RootIsAway)? {
        Root::Here(_) => return Err(TrustError::RootIsHere),
        Root::Away(root) => root,
    };
    let seed = thirty_two(entropy)?;
    let key = SigningKey::from_seed(&seed).map_err(KeyError::Refused)?;
    keep(&folder.join(ISSUER_NEXT), &seed)?;
    let after = issuer_at(&folder)?.map_or(0, |issuer| issuer.certificate.body.serial);
    let body = IssuerRequest { key: key.verifying_key(), root, after, at: now };
    Signed::new(body, &key).map_err(|source| TrustError::Signature { what: "the request", source })
}

/// Certifies what a server asked for.
///
/// # Errors
/// When the request does not hold or is of another root, or the root does not open.
pub fn certify(
    request: &Signed<IssuerRequest>,
    root: &Path,
    passphrase: &str,
    days: u16,
    now: Timestamp,
) -> Result<Signed<IssuerCertificate>, TrustError> {
    if days == 0 || days > MOST_DAYS {
        return Err(TrustError::Days);
    }
    let body =
        request.open(&request.body.key).map_err(|source| TrustError::Signature { what: "the request", source })?;
    let latest = serial_after(0, now.saturating_add(AHEAD).unwrap_or(now));
    if body.after > latest {
        return Err(TrustError::Ahead { after: body.after, latest });
    }
    let root = open_key(root, KeyKind::Root, passphrase)?;
    if body.root != root.verifying_key() {
        return Err(TrustError::OtherRoot { what: "the request", found: body.root, own: root.verifying_key() });
    }
    let life = SignedDuration::from_hours(24 * i64::from(days));
    let certificate = IssuerCertificate {
        key: body.key,
        serial: serial_after(body.after, now),
        not_before: now.saturating_sub(SKEW).unwrap_or(now),
        not_after: now.saturating_add(life).unwrap_or(now),
    };
    Signed::new(certificate, &root).map_err(|source| TrustError::Signature { what: "the certificate", source })
}

/// Puts a certificate in force. A running server takes it up with the next orders.
///
/// # Errors
/// When it does not hold, is not for the key that was asked for, or is older than the one in force.
pub fn install(data_dir: &Path, certificate: &Signed<IssuerCertificate>, now: Timestamp) -> Result<(), TrustError> {
    let folder = folder_of(data_dir)?;
    let root = root_at(&folder)?.ok_or(TrustError::RootIsAway)?.public();
    let body = certificate.open(&root).map_err(|source| TrustError::Signature { what: "the certificate", source })?;
    let known = issuer_at(&folder)?;
    let next = folder.join(ISSUER_NEXT);
    let asked = match kept(&next)? {
        Some(seed) => {
            let seed = <[u8; 32]>::try_from(seed.as_slice()).map_err(|_| KeyError::Damaged { path: next.clone() })?;
            let key = SigningKey::from_seed(&seed).map_err(KeyError::Refused)?.verifying_key();
            Some(seed).filter(|_| key == body.key).ok_or(TrustError::OtherKey)
        }
        None => Err(TrustError::NotAsked),
    };
    // Said twice: the first time did it, or was broken off before the key that is in force now was no longer asked for.
    if known.as_ref().is_some_and(|known| known.certificate == *certificate) {
        return if asked.is_ok() { remove(&folder, &next) } else { Ok(()) };
    }
    if let Some(known) = known.map(|known| known.certificate.body.serial).filter(|known| body.serial <= *known) {
        return Err(TrustError::Old { serial: body.serial, known });
    }
    if now < body.not_before || now >= body.not_after {
        let (not_before, not_after) = (body.not_before, body.not_after);
        return Err(TrustError::Time { not_before, not_after, now });
    }
    put_issuer(&folder, &Issuer::new(&asked?, certificate.clone()))?;
    remove(&folder, &next)
}

/// Removes a key, so that no loss of power brings it back.
fn remove(folder: &Path, path: &Path) -> Result<(), TrustError> {
    let failed = |source| TrustError::File { verb: "remove", path: path.to_owned(), source };
    fs::remove_file(path).map_err(failed)?;
    fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
}

/// Moves the root of this server to a file that is then carried away. The server goes on with its issuer, which the root
/// certifies for so many days.
///
/// # Errors
/// When the root is not here, or a file cannot be written.
pub fn take_offline(
    data_dir: &Path,
    path: &Path,
    passphrase: &str,
    days: u16,
    now: Timestamp,
    entropy: &dyn Entropy,
) -> Result<VerifyingKey, TrustError> {
    if days == 0 || days > MOST_DAYS {
        return Err(TrustError::Days);
    }
    let folder = folder_of(data_dir)?;
    let Some(Root::Here(root)) = root_at(&folder)? else { return Err(TrustError::RootIsAway) };
    let here = folder.join(ROOT);
    let seed = load(&here, entropy)?;
    seal_to(path, KeyKind::Root, &seed, passphrase, entropy)?;
    // It opens with what was typed, or it is not given up here.
    let opened = open_key(path, KeyKind::Root, passphrase)?;
    let life = SignedDuration::from_hours(24 * i64::from(days));
    certify_issuer(&folder, &opened, life, now, entropy)?;
    keep(&folder.join(ROOT_PUBLIC), root.verifying_key().to_string().as_bytes())?;
    remove(&folder, &here)?;
    Ok(root.verifying_key())
}

/// How trust stands on a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// What executors pin; nothing before the first start.
    pub root: Option<VerifyingKey>,
    /// The root's private half lies on this machine.
    pub root_is_here: bool,
    /// The issuer in force.
    pub issuer: Option<IssuerCertificate>,
    /// A certificate was asked for and is not installed.
    pub asked: bool,
}

/// How trust stands on a server.
///
/// # Errors
/// When a file cannot be read.
pub fn standing(data_dir: &Path) -> Result<Standing, TrustError> {
    let folder = data_dir.join("keys");
    let there = |name: &str| {
        let path = folder.join(name);
        path.try_exists().map_err(|source| TrustError::File { verb: "look at", path, source })
    };
    let root = root_at(&folder)?;
    Ok(Standing {
        root_is_here: matches!(root, Some(Root::Here(_))),
        root: root.map(|root| root.public()),
        issuer: issuer_at(&folder)?.map(|issuer| issuer.certificate.body),
        asked: there(ISSUER_NEXT)?,
    })
}
