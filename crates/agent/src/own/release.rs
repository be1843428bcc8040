//! The word of whoever released a package of Stanch: a signature of minisign in the package itself, over every byte before
//! it. The key to it comes with the package that is installed, so that neither a server nor an archive can set another.
//!
//! A .deb is an `ar` archive, and dpkg passes over members behind its data whose names it does not know. So the signature
//! goes wherever the package goes.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use minisign_verify::{PublicKey, Signature};

/// The member that holds the signature, as `ar` pads it.
const MEMBER: &[u8; 16] = b"_stanch-release ";
/// What every `ar` archive begins with.
const MAGIC: &[u8; 8] = b"!<arch>\n";
/// Length of a member's header, in bytes.
const HEADER: usize = 60;
/// Largest signature taken, in bytes.
const MOST_SIGNATURE: u64 = 4096;
/// Largest file of keys taken, in bytes.
const MOST_KEYS: u64 = 64 << 10;
/// A package has three members and the signature; more than these are not read.
const MOST_MEMBERS: usize = 16;

/// Where the keys of releases lie on this host: below `/usr/share/PACKAGE`.
pub(crate) const SHARE: &str = "/usr/share";

/// Why the word for a package does not count.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// The installed package names no key.
    #[error("the installed {package} names no release key")]
    NoKey {
        /// The package.
        package: String,
    },
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is no package, or a broken one.
    #[error("{} is no .deb: {why}", path.display())]
    NoPackage {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: &'static str,
    },
    /// Nobody signed it.
    #[error("{} is not signed", path.display())]
    Unsigned {
        /// The file.
        path: PathBuf,
    },
    /// It was changed since it was signed, or signed by somebody else.
    #[error("{} is not signed by the release key of the installed version, or was changed since", path.display())]
    Forged {
        /// The file.
        path: PathBuf,
    },
}

impl ReleaseError {
    /// What a person can do.
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::NoKey { .. } => {
                "install a package by hand that was built with a release key (cargo xtask dist --release-key)"
            }
            Self::Read { .. } => "run it as root",
            Self::NoPackage { .. } | Self::Unsigned { .. } | Self::Forged { .. } => {
                "do not install it; ask whoever publishes the archive where the package comes from"
            }
        }
    }
}

/// The keys that vouch for the next version of an installed package. Lines that are no key are comments.
///
/// # Errors
/// When there is none.
pub fn keys(share: &Path, package: &str) -> Result<Vec<PublicKey>, ReleaseError> {
    let path = share.join(package).join("release.pub");
    let mut text = String::new();
    let read = File::open(&path).and_then(|file| file.take(MOST_KEYS).read_to_string(&mut text));
    match read {
        Err(source) if source.kind() != io::ErrorKind::NotFound => return Err(ReleaseError::Read { path, source }),
        _ => {}
    }
    let keys: Vec<PublicKey> = text.lines().filter_map(|line| PublicKey::from_base64(line.trim()).ok()).collect();
    if keys.is_empty() {
        return Err(ReleaseError::NoKey { package: package.to_owned() });
    }
    Ok(keys)
}

/// Checks that one of these keys has signed every byte of a package.
///
/// # Errors
/// When it did not, or the file is none.
pub fn check(deb: &Path, keys: &[PublicKey]) -> Result<(), ReleaseError> {
    let failed = |source| ReleaseError::Read { path: deb.to_owned(), source };
    let mut file = File::open(deb).map_err(failed)?;
    let (signed, signature) = split(&mut file, deb)?;
    let forged = || ReleaseError::Forged { path: deb.to_owned() };
    let signature = Signature::decode(&signature).map_err(|_| forged())?;
    for key in keys {
        let Ok(mut verifier) = key.verify_stream(&signature) else { continue };
        file.seek(SeekFrom::Start(0)).map_err(failed)?;
        let mut bytes = BufReader::new(&file).take(signed);
        let mut buffer = vec![0; 64 << 10];
        loop {
            let count = bytes.read(&mut buffer).map_err(failed)?;
            let Some(part) = buffer.get(..count).filter(|part| !part.is_empty()) else { break };
            verifier.update(part);
        }
        if verifier.finalize().is_ok() {
            return Ok(());
        }
    }
    Err(forged())
}

/// How many bytes come before the signature, and the signature. Nothing may come after it.
fn split(file: &mut File, path: &Path) -> Result<(u64, String), ReleaseError> {
    let failed = |source| ReleaseError::Read { path: path.to_owned(), source };
    let broken = |why| ReleaseError::NoPackage { path: path.to_owned(), why };
    let whole = file.metadata().map_err(failed)?.len();
    let mut magic = [0; MAGIC.len()];
    file.read_exact(&mut magic).map_err(|_| broken("it is too short"))?;
    if magic != *MAGIC {
        return Err(broken("it does not begin as one"));
    }
    let mut at = MAGIC.len() as u64;
    for _ in 0..MOST_MEMBERS {
        if at >= whole {
            return Err(ReleaseError::Unsigned { path: path.to_owned() });
        }
        file.seek(SeekFrom::Start(at)).map_err(failed)?;
        let mut header = [0; HEADER];
        file.read_exact(&mut header).map_err(|_| broken("it is cut off"))?;
        let size = header.get(48..58).and_then(|size| std::str::from_utf8(size).ok());
        let size: u64 =
            size.and_then(|size| size.trim_end().parse().ok()).ok_or_else(|| broken("a member has no size"))?;
        let end = (at + HEADER as u64).checked_add(size).filter(|end| *end <= whole);
        let end = end.ok_or_else(|| broken("it is cut off"))?;
        let next = end + size % 2;
        if header.starts_with(MEMBER) {
            if next < whole || size > MOST_SIGNATURE {
                return Err(broken("something stands behind its signature"));
            }
            let mut text = String::new();
            file.take(size).read_to_string(&mut text).map_err(|_| broken("its signature is no text"))?;
            return Ok((at, text));
        }
        at = next;
    }
    Err(broken("it has too many members"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use minisign::KeyPair;

    use super::*;

    /// The three members of a package.
    fn package() -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        for (name, content) in [("debian-binary", "2.0\n"), ("control.tar.xz", "control"), ("data.tar.xz", "data!")] {
            member(&mut bytes, name, content.as_bytes());
        }
        bytes
    }

    fn member(bytes: &mut Vec<u8>, name: &str, content: &[u8]) {
        bytes.extend(format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, 100_644, content.len()).bytes());
        bytes.extend(content);
        if content.len() % 2 == 1 {
            bytes.push(b'\n');
        }
    }

    fn key() -> KeyPair {
        KeyPair::generate_unencrypted_keypair().unwrap()
    }

    fn signed(by: &KeyPair) -> Vec<u8> {
        let mut bytes = package();
        let signature = minisign::sign(Some(&by.pk), &by.sk, bytes.as_slice(), None, None).unwrap();
        member(&mut bytes, "_stanch-release", signature.into_string().as_bytes());
        bytes
    }

    fn judged(bytes: &[u8], keys: &str) -> Result<(), String> {
        let folder = tempfile::tempdir().unwrap();
        let (deb, share) = (folder.path().join("x.deb"), folder.path().join("share"));
        fs::write(&deb, bytes).unwrap();
        fs::create_dir_all(share.join("stanch-agent")).unwrap();
        fs::write(share.join("stanch-agent/release.pub"), keys).unwrap();
        let keys = keys_of(&share)?;
        check(&deb, &keys).map_err(|error| error.to_string())
    }

    fn keys_of(share: &Path) -> Result<Vec<PublicKey>, String> {
        keys(share, "stanch-agent").map_err(|error| error.to_string())
    }

    #[test]
    fn what_the_release_key_signed_is_believed_also_while_keys_change() {
        let (key, next) = (key(), key());
        let (public, following) = (key.pk.to_box().unwrap().into_string(), next.pk.to_base64());
        assert_eq!(judged(&signed(&key), &public), Ok(()), "as minisign writes it");
        assert_eq!(judged(&signed(&key), &format!("{following}\n{public}")), Ok(()), "the next key stands beside it");
        assert_eq!(judged(&signed(&next), &format!("{following}\n{public}")), Ok(()));
    }

    #[test]
    fn what_nobody_released_is_refused() {
        let (key, other) = (key(), key());
        let (public, another) = (key.pk.to_base64(), other.pk.to_base64());
        assert!(judged(&package(), &public).unwrap_err().contains("is not signed"));
        assert!(judged(&signed(&key), &another).unwrap_err().contains("not signed by the release key"));
        assert!(judged(&signed(&key), "untrusted comment: no key\n").unwrap_err().contains("names no release key"));
    }

    #[test]
    fn every_byte_counts() {
        let key = key();
        let (whole, public) = (signed(&key), key.pk.to_base64());
        for at in 0..package().len() {
            let mut other = whole.clone();
            other[at] ^= 1;
            assert!(judged(&other, &public).is_err(), "byte {at} of what is installed does not count");
        }
    }

    #[test]
    fn nothing_hides_behind_the_signature() {
        let key = key();
        let public = key.pk.to_base64();
        let mut more = signed(&key);
        member(&mut more, "data.tar.xz", b"evil");
        assert!(judged(&more, &public).unwrap_err().contains("behind its signature"));
        for cut in [0, 7, 60, 100] {
            assert!(judged(&signed(&key)[..cut], &public).is_err(), "{cut}");
        }
        let endless = b"!<arch>\nx               0           0     0     100644  9999999999`\n";
        assert!(judged(endless, &public).unwrap_err().contains("cut off"));
    }
}
