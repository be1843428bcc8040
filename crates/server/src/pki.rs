//! The keys of a server and what each may do: the root says which key may sign orders for a while, the order key signs
//! orders, the ledger key signs checkpoints, the sealing key closes secrets that the store keeps. Executors pin the root; nothing else of the server is trusted by them.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use stanch_ledger::Signer;
use stanch_ledger::checkpoint::SignerError;
use stanch_model::order::{Order, OrderKeyCertificate};
use stanch_model::sign::{BadKey, SignError, Signed, SigningKey, VerifyingKey};

use crate::clock::{Entropy, NoEntropy, thirty_two};

/// How long an order key may sign.
const ORDER_KEY_LIFE: SignedDuration = SignedDuration::from_hours(24);
/// How far an executor's clock may lag behind.
const SKEW: SignedDuration = SignedDuration::from_mins(5);

/// Why the keys are not there.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A key's file cannot be read or made.
    #[error("cannot read or make the key file {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A key's file can be read by others.
    #[error("the key file {} can be read by others (mode {mode:o}); `chmod 600` it and consider its key known", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The folder of the keys is not this user's alone.
    #[error("the folder of the keys {} {why}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A key's file does not hold a key.
    #[error("the key file {} does not hold a 32-byte seed", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// The library refused a seed.
    #[error("a key was refused")]
    Refused(#[source] BadKey),
    /// No random bytes.
    #[error("no key could be made")]
    Entropy(#[source] NoEntropy),
    /// The ledger's key cannot sign.
    #[error("the ledger's key cannot sign checkpoints")]
    Ledger(#[source] SignerError),
    /// The certificate could not be signed.
    #[error("the order key could not be certified")]
    Sign(#[source] SignError),
}

/// The long-lived keys of a server.
pub struct Keys {
    root: SigningKey,
    ledger: [u8; 32],
    sealing: [u8; 32],
}

/// A key that signs orders for a while, with the root's word for it. Lives in memory only: a new one every boot.
pub struct OrderKey {
    key: SigningKey,
    /// The root's word.
    pub certificate: Signed<OrderKeyCertificate>,
}

impl Keys {
    /// Reads the keys of a data folder, making those that are missing.
    ///
    /// # Errors
    /// When a file cannot be read or made, is damaged, or can be read by others.
    pub fn open(data_dir: &Path, entropy: &dyn Entropy) -> Result<Self, KeyError> {
        let folder = data_dir.join("keys");
        if !folder.exists() {
            fs::DirBuilder::new()
                .mode(0o700)
                .recursive(true)
                .create(&folder)
                .map_err(|source| KeyError::File { path: folder.clone(), source })?;
        }
        let file = |source| KeyError::File { path: folder.clone(), source };
        if let Some(why) = strange(&folder).map_err(file)? {
            return Err(KeyError::Folder { path: folder, why });
        }
        let root = load(&folder.join("root"), entropy)?;
        let root = SigningKey::from_seed(&root).map_err(KeyError::Refused)?;
        let (ledger, sealing) = (load(&folder.join("ledger"), entropy)?, load(&folder.join("sealing"), entropy)?);
        Ok(Self { root, ledger, sealing })
    }

    /// What seals the secrets that the store keeps; it lies beside the store and in no copy of it.
    pub(crate) const fn sealing(&self) -> &[u8; 32] {
        &self.sealing
    }

    /// What executors pin.
    pub fn root(&self) -> VerifyingKey {
        self.root.verifying_key()
    }

    /// What signs checkpoints. The log is named after the root key: two installations never share a name.
    ///
    /// # Errors
    /// When the library refuses the key.
    pub fn signer(&self) -> Result<Signer, KeyError> {
        let name: String = self.root().to_string().chars().take(16).collect();
        Signer::from_seed(&format!("stanch/{name}"), &self.ledger).map_err(KeyError::Ledger)
    }

    /// A fresh key for orders of this epoch, certified from now on.
    ///
    /// # Errors
    /// When no random bytes can be had.
    pub fn certify(&self, epoch: u64, now: Timestamp, entropy: &dyn Entropy) -> Result<OrderKey, KeyError> {
        let seed = thirty_two(entropy).map_err(KeyError::Entropy)?;
        let key = SigningKey::from_seed(&seed).map_err(KeyError::Refused)?;
        let body = OrderKeyCertificate {
            key: key.verifying_key(),
            not_before: now.saturating_sub(SKEW).unwrap_or(now),
            not_after: now.saturating_add(ORDER_KEY_LIFE).unwrap_or(now),
            epoch,
        };
        let certificate = Signed::new(body, &self.root).map_err(KeyError::Sign)?;
        Ok(OrderKey { key, certificate })
    }
}

impl OrderKey {
    /// Whether it is time for a new one: half its life is over.
    pub fn is_old(&self, now: Timestamp) -> bool {
        let half = ORDER_KEY_LIFE.checked_div(2).unwrap_or(ORDER_KEY_LIFE);
        self.certificate.body.not_after.duration_since(now) < half
    }

    /// Signs an order.
    ///
    /// # Errors
    /// When the order has no canonical form.
    pub fn sign(&self, order: Order) -> Result<Signed<Order>, SignError> {
        Signed::new(order, &self.key)
    }
}

/// What is wrong with a folder that must be this user's and that nobody else may write to.
pub(crate) fn strange(folder: &Path) -> std::io::Result<Option<String>> {
    let about = fs::metadata(folder)?;
    let (owner, own) = (about.uid(), rustix::process::geteuid().as_raw());
    let mode = about.mode() & 0o777;
    Ok(if owner != own {
        Some(format!("belongs to user {owner}, and this runs as user {own}"))
    } else if mode & 0o022 != 0 {
        Some(format!("can be written to by others (mode {mode:o})"))
    } else {
        None
    })
}

fn load(path: &Path, entropy: &dyn Entropy) -> Result<[u8; 32], KeyError> {
    match kept(path)? {
        Some(bytes) => <[u8; 32]>::try_from(bytes.as_slice()).map_err(|_| KeyError::Damaged { path: path.to_owned() }),
        None => {
            let seed = thirty_two(entropy).map_err(KeyError::Entropy)?;
            keep(path, &seed)?;
            Ok(seed)
        }
    }
}

/// What a file of the keys' folder holds; nothing if it is not there. One that others can read is not used.
pub(crate) fn kept(path: &Path) -> Result<Option<Vec<u8>>, KeyError> {
    let file = |source| KeyError::File { path: path.to_owned(), source };
    match fs::read(path) {
        Ok(bytes) => {
            let mode = fs::metadata(path).map_err(file)?.permissions().mode() & 0o777;
            if mode & 0o077 != 0 {
                return Err(KeyError::Exposed { path: path.to_owned(), mode });
            }
            Ok(Some(bytes))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(file(error)),
    }
}

/// Keeps something that only this user may read. Written whole under another name first: a crash must not leave half a
/// key that looks like damage.
pub(crate) fn keep(path: &Path, bytes: &[u8]) -> Result<(), KeyError> {
    let file = |source| KeyError::File { path: path.to_owned(), source };
    let part = path.with_added_extension("new");
    let mut out = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part).map_err(file)?;
    out.write_all(bytes).and_then(|()| out.sync_all()).map_err(file)?;
    fs::rename(&part, path).map_err(file)?;
    let folder = path.parent().map(fs::File::open);
    folder.map_or(Ok(()), |folder| folder.and_then(|folder| folder.sync_all())).map_err(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemEntropy;

    #[test]
    fn keys_are_kept_and_only_their_owner_can_read_them() {
        let folder = tempfile::tempdir().unwrap();
        let first = Keys::open(folder.path(), &SystemEntropy).unwrap().root();
        assert_eq!(Keys::open(folder.path(), &SystemEntropy).unwrap().root(), first);
        let path = folder.path().join("keys/root");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(Keys::open(folder.path(), &SystemEntropy), Err(KeyError::Exposed { mode: 0o640, .. })));
    }

    #[test]
    fn keys_in_a_folder_that_others_can_write_to_are_not_used() {
        let data = tempfile::tempdir().unwrap();
        Keys::open(data.path(), &SystemEntropy).unwrap();
        fs::set_permissions(data.path().join("keys"), fs::Permissions::from_mode(0o730)).unwrap();
        let refused = Keys::open(data.path(), &SystemEntropy).map(drop).unwrap_err();
        assert!(matches!(&refused, KeyError::Folder { why, .. } if why.contains("mode 730")), "{refused}");
    }

    #[test]
    fn the_root_vouches_for_the_order_key_and_for_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let keys = Keys::open(folder.path(), &SystemEntropy).unwrap();
        let now = "2026-11-23T12:00:00Z".parse().unwrap();
        let order_key = keys.certify(3, now, &SystemEntropy).unwrap();
        let body = order_key.certificate.open(&keys.root()).unwrap();
        assert_eq!(body.epoch, 3);
        assert!(body.not_before < now && body.not_after > now);
        assert!(order_key.certificate.open(&keys.signer().unwrap().verifying_key()).is_err());
        assert!(!order_key.is_old(now));
        assert!(order_key.is_old(now + SignedDuration::from_hours(13)));
    }
}
