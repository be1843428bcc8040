//! The keys of a server and what each may do: the root certifies an issuer, the issuer certifies an order key for each
//! boot, the order key signs orders, the ledger key signs checkpoints, the sealing key closes secrets that the store keeps.
//! Executors pin the root; nothing else of the server is trusted by them. The root may lie elsewhere ([`offline`]).

pub mod offline;

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use stanch_ledger::Signer;
use stanch_ledger::checkpoint::SignerError;
use stanch_model::Digest;
use stanch_model::canonical::Hasher;
use stanch_model::order::Order;
use stanch_model::sign::{BadKey, SignError, Signed, SigningKey, VerifyingKey};
use stanch_model::trust::{Chain, IssuerCertificate, OrderKeyCertificate};

use crate::clock::{Entropy, NoEntropy, thirty_two};

/// The root's seed, where it lies here.
const ROOT: &str = "root";
/// The root's public half, where it lies elsewhere.
const ROOT_PUBLIC: &str = "root.pub";
/// The issuer's seed with the root's word for it.
const ISSUER: &str = "issuer";
/// The seed of an issuer that is not certified yet.
const ISSUER_NEXT: &str = "issuer.next";

/// How long an issuer holds that a root on this machine certified; it is renewed with every start.
const ISSUER_LIFE: SignedDuration = SignedDuration::from_hours(24 * 90);
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
    /// A key's file does not hold what it should.
    #[error("the key file {} is damaged", path.display())]
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
    /// The root lies elsewhere and has certified no issuer.
    #[error("no issuer is certified, so that nothing can be ordered: stanch trust request")]
    NoIssuer,
    /// The issuer's time is over.
    #[error("the issuer was certified until {0}, so that nothing can be ordered: stanch trust request")]
    IssuerOver(Timestamp),
    /// The issuer does not go back to the root.
    #[error("the issuer is not certified by the root of this server")]
    IssuerForged(#[source] SignError),
}

/// Where the root's private half is.
enum Root {
    /// In the folder of the keys.
    Here(SigningKey),
    /// Elsewhere: what it certifies is brought here.
    Away(VerifyingKey),
}

impl Root {
    fn public(&self) -> VerifyingKey {
        match self {
            Self::Here(key) => key.verifying_key(),
            Self::Away(key) => *key,
        }
    }
}

/// The issuer as its file keeps it: both in one, so that neither is ever without the other.
#[derive(Serialize, Deserialize)]
struct Issuer {
    seed: String,
    certificate: Signed<IssuerCertificate>,
}

impl Issuer {
    fn new(seed: &[u8; 32], certificate: Signed<IssuerCertificate>) -> Self {
        Self { seed: hex::encode(seed), certificate }
    }

    fn key(&self) -> Option<SigningKey> {
        let mut seed = [0; 32];
        hex::decode_to_slice(&self.seed, &mut seed).ok()?;
        SigningKey::from_seed(&seed).ok().filter(|key| key.verifying_key() == self.certificate.body.key)
    }
}

/// The long-lived keys of a server.
pub struct Keys {
    folder: PathBuf,
    root: Root,
    ledger: [u8; 32],
    sealing: [u8; 32],
    /// The issuer is another server's too: its file may change at any time.
    shared: bool,
}

/// A key that signs orders for a while, and how it goes back to the root. Lives in memory only: a new one every boot.
pub struct OrderKey {
    key: SigningKey,
    /// How it goes back to the root.
    pub chain: Chain,
    /// When the issuer's file was last changed, where a person may change it.
    issued: Option<SystemTime>,
}

impl Keys {
    /// Reads the keys of a data folder, making those that are missing.
    ///
    /// # Errors
    /// When a file cannot be read or made, is damaged, or can be read by others.
    pub fn open(data_dir: &Path, now: Timestamp, entropy: &dyn Entropy) -> Result<Self, KeyError> {
        let keys = Self::load(data_dir, false, entropy)?;
        if let Root::Here(root) = &keys.root {
            // Anew with every start: what a backup brings back must not be older than what executors have seen.
            certify_issuer(&keys.folder, root, ISSUER_LIFE, now, entropy)?;
        }
        Ok(keys)
    }

    /// The same for one of several servers, which have one issuer between them: see [`Keys::adopt_issuer`].
    ///
    /// # Errors
    /// As [`Keys::open`].
    pub fn open_shared(data_dir: &Path, entropy: &dyn Entropy) -> Result<Self, KeyError> {
        Self::load(data_dir, true, entropy)
    }

    fn load(data_dir: &Path, shared: bool, entropy: &dyn Entropy) -> Result<Self, KeyError> {
        let folder = folder_of(data_dir)?;
        let root = match root_at(&folder)? {
            Some(root) => root,
            None => Root::Here(key(&load(&folder.join(ROOT), entropy)?)?),
        };
        let (ledger, sealing) = (load(&folder.join("ledger"), entropy)?, load(&folder.join("sealing"), entropy)?);
        Ok(Self { folder, root, ledger, sealing, shared })
    }

    /// The issuer as it is kept, with its serial; its key is in it.
    ///
    /// # Errors
    /// When its file cannot be read.
    pub(crate) fn issuer(&self) -> Result<Option<(u64, Vec<u8>)>, KeyError> {
        let Some(issuer) = issuer_at(&self.folder)? else { return Ok(None) };
        let text = serde_json::to_vec(&issuer).map_err(|_| KeyError::Damaged { path: self.folder.join(ISSUER) })?;
        Ok(Some((issuer.certificate.body.serial, text)))
    }

    /// Takes the issuer that another server of this installation has, if the root certified it later than this one's.
    ///
    /// # Errors
    /// When it does not read, is not certified by the root, or cannot be kept.
    pub(crate) fn adopt_issuer(&self, text: &[u8]) -> Result<bool, KeyError> {
        let damaged = || KeyError::Damaged { path: self.folder.join(ISSUER) };
        let issuer: Issuer = serde_json::from_slice(text).map_err(|_| damaged())?;
        let serial = issuer.certificate.open(&self.root()).map_err(KeyError::IssuerForged)?.serial;
        issuer.key().ok_or_else(damaged)?;
        if issuer_at(&self.folder)?.is_some_and(|own| own.certificate.body.serial >= serial) {
            return Ok(false);
        }
        put_issuer(&self.folder, &issuer)?;
        Ok(true)
    }

    /// Has the root certify another issuer, if it lies here and there is none, or half of its time is over.
    ///
    /// # Errors
    /// When it cannot be certified or kept.
    pub(crate) fn renew_issuer(&self, now: Timestamp, entropy: &dyn Entropy) -> Result<(), KeyError> {
        let Some(root) = self.root_here() else { return Ok(()) };
        let half = ISSUER_LIFE.checked_div(2).unwrap_or(ISSUER_LIFE);
        let left = |issuer: &Issuer| issuer.certificate.body.not_after.duration_since(now);
        if issuer_at(&self.folder)?.is_none_or(|issuer| left(&issuer) < half) {
            certify_issuer(&self.folder, root, ISSUER_LIFE, now, entropy)?;
        }
        Ok(())
    }

    /// What all servers of an installation must have in common, without giving any of it away.
    pub(crate) fn fingerprint(&self) -> Digest {
        let mut hasher = Hasher::new();
        for part in [self.root().to_string().as_bytes(), &self.ledger, &self.sealing] {
            hasher.update(Digest::of_bytes(part).as_bytes());
        }
        hasher.finish()
    }

    /// What seals the secrets that the store keeps; it lies beside the store and in no copy of it.
    pub(crate) const fn sealing(&self) -> &[u8; 32] {
        &self.sealing
    }

    /// What executors pin.
    pub fn root(&self) -> VerifyingKey {
        self.root.public()
    }

    /// What signs checkpoints. The log is named after the root key: two installations never share a name.
    ///
    /// # Errors
    /// When the library refuses the key.
    pub fn signer(&self) -> Result<Signer, KeyError> {
        let name: String = self.root().to_string().chars().take(16).collect();
        Signer::from_seed(&format!("stanch/{name}"), &self.ledger).map_err(KeyError::Ledger)
    }

    /// The root, as long as it still lies here: it may be taken away while the server runs.
    fn root_here(&self) -> Option<&SigningKey> {
        match &self.root {
            Root::Here(root) if self.folder.join(ROOT).exists() => Some(root),
            _ => None,
        }
    }

    /// A fresh key for orders of this epoch, certified from now on.
    ///
    /// # Errors
    /// When no issuer is in force, or no random bytes can be had.
    pub fn certify(&self, epoch: u64, now: Timestamp, entropy: &dyn Entropy) -> Result<OrderKey, KeyError> {
        self.renew_issuer(now, entropy)?;
        let issued = self.issued();
        let issuer = issuer_at(&self.folder)?.ok_or(KeyError::NoIssuer)?;
        let word = issuer.certificate.open(&self.root()).map_err(KeyError::IssuerForged)?;
        if now >= word.not_after {
            return Err(KeyError::IssuerOver(word.not_after));
        }
        let order_key = key(&thirty_two(entropy).map_err(KeyError::Entropy)?)?;
        let body = OrderKeyCertificate {
            key: order_key.verifying_key(),
            not_before: now.saturating_sub(SKEW).unwrap_or(now),
            not_after: now.saturating_add(ORDER_KEY_LIFE).unwrap_or(now).min(word.not_after),
            epoch,
        };
        let by = issuer.key().ok_or_else(|| KeyError::Damaged { path: self.folder.join(ISSUER) })?;
        let certificate = Signed::new(body, &by).map_err(KeyError::Sign)?;
        Ok(OrderKey { key: order_key, chain: Chain { issuer: issuer.certificate, order_key: certificate }, issued })
    }

    /// When the issuer's file was last changed, where a person or another server may change it while this one runs.
    fn issued(&self) -> Option<SystemTime> {
        match self.root_here() {
            Some(_) if !self.shared => None,
            _ => fs::metadata(self.folder.join(ISSUER)).and_then(|about| about.modified()).ok(),
        }
    }

    /// Whether another order key is to be made before anything more is signed.
    pub fn is_spent(&self, key: &OrderKey, now: Timestamp) -> bool {
        let OrderKeyCertificate { not_before, not_after, .. } = key.chain.order_key.body;
        not_after.duration_since(now) < not_after.duration_since(not_before) / 2 || self.issued() != key.issued
    }
}

impl OrderKey {
    /// Signs an order.
    ///
    /// # Errors
    /// When the order has no canonical form.
    pub fn sign(&self, order: Order) -> Result<Signed<Order>, SignError> {
        Signed::new(order, &self.key)
    }
}

/// The folder of the keys, made if it is not there.
fn folder_of(data_dir: &Path) -> Result<PathBuf, KeyError> {
    let folder = data_dir.join("keys");
    let file = |source| KeyError::File { path: folder.clone(), source };
    if !folder.try_exists().map_err(file)? {
        fs::DirBuilder::new().mode(0o700).recursive(true).create(&folder).map_err(file)?;
    }
    match strange(&folder).map_err(file)? {
        Some(why) => Err(KeyError::Folder { path: folder, why }),
        None => Ok(folder),
    }
}

fn key(seed: &[u8; 32]) -> Result<SigningKey, KeyError> {
    SigningKey::from_seed(seed).map_err(KeyError::Refused)
}

/// The root that a server has, here or elsewhere; none before its first start.
fn root_at(folder: &Path) -> Result<Option<Root>, KeyError> {
    let path = folder.join(ROOT);
    if let Some(seed) = kept(&path)? {
        let seed = <[u8; 32]>::try_from(seed.as_slice()).map_err(|_| KeyError::Damaged { path })?;
        return Ok(Some(Root::Here(key(&seed)?)));
    }
    let path = folder.join(ROOT_PUBLIC);
    let Some(text) = kept(&path)? else { return Ok(None) };
    let text = String::from_utf8(text).map_err(|_| KeyError::Damaged { path: path.clone() })?;
    let root = VerifyingKey::try_from(text.trim().to_owned()).map_err(|_| KeyError::Damaged { path })?;
    Ok(Some(Root::Away(root)))
}

fn issuer_at(folder: &Path) -> Result<Option<Issuer>, KeyError> {
    let path = folder.join(ISSUER);
    let Some(text) = kept(&path)? else { return Ok(None) };
    serde_json::from_slice(&text).map(Some).map_err(|_| KeyError::Damaged { path })
}

fn put_issuer(folder: &Path, issuer: &Issuer) -> Result<(), KeyError> {
    let path = folder.join(ISSUER);
    let text = serde_json::to_vec(issuer).map_err(|_| KeyError::Damaged { path: path.clone() })?;
    keep(&path, &text)
}

/// The serial of a certificate that is made now, after one with this serial. Seconds since 1970, so that a root needs to
/// remember nothing, and a server that was set back asks for one above all that it ever had.
fn serial_after(last: u64, now: Timestamp) -> u64 {
    u64::try_from(now.as_second()).unwrap_or(0).max(last.saturating_add(1))
}

/// Has a root that is at hand certify an issuer with a key of its own.
fn certify_issuer(
    folder: &Path,
    root: &SigningKey,
    life: SignedDuration,
    now: Timestamp,
    entropy: &dyn Entropy,
) -> Result<(), KeyError> {
    let last = issuer_at(folder)?.map_or(0, |issuer| issuer.certificate.body.serial);
    let seed = thirty_two(entropy).map_err(KeyError::Entropy)?;
    let word = IssuerCertificate {
        key: key(&seed)?.verifying_key(),
        serial: serial_after(last, now),
        not_before: now.saturating_sub(SKEW).unwrap_or(now),
        not_after: now.saturating_add(life).unwrap_or(now),
    };
    let certificate = Signed::new(word, root).map_err(KeyError::Sign)?;
    put_issuer(folder, &Issuer::new(&seed, certificate))
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
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(file)
}

#[cfg(test)]
mod tests {
    use super::offline::{KeyKind, TrustError, adopt, certify, install, new_key, request, standing, take_offline};
    use super::*;
    use crate::clock::SystemEntropy;

    const PASSPHRASE: &str = "correct horse battery staple";

    fn now() -> Timestamp {
        "2026-11-23T12:00:00Z".parse().unwrap()
    }

    fn open(data: &Path) -> Result<Keys, KeyError> {
        Keys::open(data, now(), &SystemEntropy)
    }

    fn new_root(path: &Path, passphrase: &str) -> Result<VerifyingKey, TrustError> {
        new_key(path, KeyKind::Root, passphrase, &SystemEntropy)
    }

    fn days(days: i64) -> Timestamp {
        now() + SignedDuration::from_hours(24 * days)
    }

    #[test]
    fn keys_are_kept_and_only_their_owner_can_read_them() {
        let folder = tempfile::tempdir().unwrap();
        let first = open(folder.path()).unwrap().root();
        assert_eq!(open(folder.path()).unwrap().root(), first);
        for name in ["root", "issuer"] {
            let path = folder.path().join("keys").join(name);
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
            assert!(matches!(open(folder.path()), Err(KeyError::Exposed { mode: 0o640, .. })), "{name}");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        }
    }

    #[test]
    fn keys_in_a_folder_that_others_can_write_to_are_not_used() {
        let data = tempfile::tempdir().unwrap();
        open(data.path()).unwrap();
        fs::set_permissions(data.path().join("keys"), fs::Permissions::from_mode(0o730)).unwrap();
        let refused = open(data.path()).map(drop).unwrap_err();
        assert!(matches!(&refused, KeyError::Folder { why, .. } if why.contains("mode 730")), "{refused}");
    }

    #[test]
    fn the_root_vouches_for_the_order_key_and_for_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let keys = open(folder.path()).unwrap();
        let order_key = keys.certify(3, now(), &SystemEntropy).unwrap();
        let (_, body) = order_key.chain.open(&keys.root()).unwrap();
        assert_eq!(body.epoch, 3);
        assert!(body.not_before < now() && body.not_after > now());
        assert!(order_key.chain.open(&keys.signer().unwrap().verifying_key()).is_err());
        assert!(!keys.is_spent(&order_key, now()));
        assert!(keys.is_spent(&order_key, now() + SignedDuration::from_hours(13)));
    }

    #[test]
    fn serials_rise_with_every_start_also_of_a_folder_that_was_set_back() {
        let folder = tempfile::tempdir().unwrap();
        let serial = |keys: &Keys| keys.certify(1, now(), &SystemEntropy).unwrap().chain.issuer.body.serial;
        let first = serial(&open(folder.path()).unwrap());
        let old = fs::read(folder.path().join("keys/issuer")).unwrap();
        let second = serial(&open(folder.path()).unwrap());
        assert!(second > first, "though the clock stood still");
        keep(&folder.path().join("keys/issuer"), &old).unwrap();
        let later = Keys::open(folder.path(), now() + SignedDuration::from_secs(60), &SystemEntropy).unwrap();
        assert!(serial(&later) > second);
    }

    #[test]
    fn a_root_that_never_was_on_the_server_certifies_its_issuer() {
        let (data, safe) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let file = safe.path().join("root.stanch");
        assert!(matches!(new_root(&file, "short"), Err(TrustError::Short)));
        let root = new_root(&file, PASSPHRASE).unwrap();
        assert!(matches!(new_root(&file, PASSPHRASE), Err(TrustError::Exists(_))));
        adopt(data.path(), root).unwrap();
        let keys = open(data.path()).unwrap();
        assert_eq!(keys.root(), root);
        assert!(matches!(keys.certify(1, now(), &SystemEntropy), Err(KeyError::NoIssuer)));

        let asked = request(data.path(), now(), &SystemEntropy).unwrap();
        let mut ahead = asked.body.clone();
        ahead.after = 1 << 52;
        let next = fs::read(data.path().join("keys/issuer.next")).unwrap();
        let ahead = Signed::new(ahead, &key(next.as_slice().try_into().unwrap()).unwrap()).unwrap();
        assert!(matches!(certify(&ahead, &file, PASSPHRASE, 30, now()), Err(TrustError::Ahead { .. })));
        assert!(matches!(certify(&asked, &file, "something else entirely", 30, now()), Err(TrustError::Closed)));
        let certificate = certify(&asked, &file, PASSPHRASE, 30, now()).unwrap();
        keep(&data.path().join("keys/issuer.kept"), &next).unwrap();
        install(data.path(), &certificate, now()).unwrap();
        // Broken off before its end, it is ended when it is said again.
        fs::rename(data.path().join("keys/issuer.kept"), data.path().join("keys/issuer.next")).unwrap();
        install(data.path(), &certificate, now()).unwrap();
        assert!(!standing(data.path()).unwrap().asked);
        let order_key = keys.certify(1, now(), &SystemEntropy).unwrap();
        order_key.chain.open(&root).unwrap();
        let last = keys.certify(1, days(30) - SignedDuration::from_hours(1), &SystemEntropy).unwrap();
        assert_eq!(last.chain.order_key.body.not_after, days(30), "no longer than its issuer");
        assert!(matches!(keys.certify(1, days(30), &SystemEntropy), Err(KeyError::IssuerOver(_))));

        // The next one is in force as soon as it is there, and what was before it does not come back.
        let next = certify(&request(data.path(), days(20), &SystemEntropy).unwrap(), &file, PASSPHRASE, 30, days(20));
        let next = next.unwrap();
        install(data.path(), &next, days(20)).unwrap();
        assert!(keys.is_spent(&order_key, now()), "the server makes an order key anew");
        assert!(matches!(install(data.path(), &certificate, days(20)), Err(TrustError::Old { .. })));
        assert_eq!(standing(data.path()).unwrap().issuer.unwrap().serial, next.body.serial);
    }

    #[test]
    fn what_another_root_certifies_or_for_another_key_is_not_installed() {
        let (data, safe) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (ours, theirs) = (safe.path().join("ours"), safe.path().join("theirs"));
        let root = new_root(&ours, PASSPHRASE).unwrap();
        let other = new_root(&theirs, PASSPHRASE).unwrap();
        adopt(data.path(), root).unwrap();
        assert!(matches!(adopt(data.path(), other), Err(TrustError::OtherRoot { .. })));
        let asked = request(data.path(), now(), &SystemEntropy).unwrap();
        assert!(matches!(certify(&asked, &theirs, PASSPHRASE, 30, now()), Err(TrustError::OtherRoot { .. })));
        let mut forged = asked.clone();
        forged.body.root = other;
        assert!(matches!(certify(&forged, &theirs, PASSPHRASE, 30, now()), Err(TrustError::Signature { .. })));
        let good = certify(&asked, &ours, PASSPHRASE, 30, now()).unwrap();
        let mut longer = good.clone();
        longer.body.not_after = days(900);
        assert!(matches!(install(data.path(), &longer, now()), Err(TrustError::Signature { .. })));
        assert!(matches!(install(data.path(), &good, days(31)), Err(TrustError::Time { .. })));

        let elsewhere = tempfile::tempdir().unwrap();
        adopt(elsewhere.path(), root).unwrap();
        assert!(matches!(install(elsewhere.path(), &good, now()), Err(TrustError::NotAsked)));
        request(elsewhere.path(), now(), &SystemEntropy).unwrap();
        assert!(matches!(install(elsewhere.path(), &good, now()), Err(TrustError::OtherKey)));
        // A key that was asked for before may be known to others: only the last counts.
        request(data.path(), now(), &SystemEntropy).unwrap();
        assert!(matches!(install(data.path(), &good, now()), Err(TrustError::OtherKey)));
        assert!(matches!(certify(&asked, &ours, PASSPHRASE, 0, now()), Err(TrustError::Days)));
        let person = safe.path().join("person");
        new_key(&person, KeyKind::Approver, PASSPHRASE, &SystemEntropy).unwrap();
        let refused = certify(&asked, &person, PASSPHRASE, 30, now()).unwrap_err();
        assert!(refused.to_string().contains("holds the approver's key"), "{refused}");
    }

    #[test]
    fn a_root_is_taken_away_and_the_server_goes_on_with_its_issuer() {
        let (data, safe) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let root = open(data.path()).unwrap().root();
        assert!(matches!(request(data.path(), now(), &SystemEntropy), Err(TrustError::RootIsHere)));
        let file = safe.path().join("root.stanch");
        let running = open(data.path()).unwrap();
        let taken = take_offline(data.path(), &file, PASSPHRASE, 30, now(), &SystemEntropy).unwrap();
        assert_eq!(taken, root);
        // A server that runs on does not certify itself any more.
        let ordered = running.certify(1, days(1), &SystemEntropy).unwrap().chain.issuer.body;
        assert_eq!(ordered, standing(data.path()).unwrap().issuer.unwrap());
        assert!(matches!(running.certify(1, days(31), &SystemEntropy), Err(KeyError::IssuerOver(_))));
        assert!(!data.path().join("keys/root").exists());
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains(&root.to_string()) && !text.contains("correct"), "{text}");
        let keys = open(data.path()).unwrap();
        assert_eq!(keys.root(), root);
        keys.certify(1, now(), &SystemEntropy).unwrap().chain.open(&root).unwrap();
        assert!(!standing(data.path()).unwrap().root_is_here);
        let again = take_offline(data.path(), &safe.path().join("b"), PASSPHRASE, 30, now(), &SystemEntropy);
        assert!(matches!(again, Err(TrustError::RootIsAway)));
        // And certifies the next one from where it is.
        let asked = request(data.path(), days(10), &SystemEntropy).unwrap();
        install(data.path(), &certify(&asked, &file, PASSPHRASE, 30, days(10)).unwrap(), days(10)).unwrap();
    }
}
