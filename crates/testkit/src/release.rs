//! Keys that release packages, for packages that tests make of others.

use std::fs;
use std::path::Path;

use anyhow::Result;
use minisign::{KeyPair, PublicKey, SecretKey, SecretKeyBox};

/// A key pair whose secret half only tests have.
#[derive(Debug)]
pub struct ReleaseKey(KeyPair);

impl ReleaseKey {
    /// One that lies in a file, without a passphrase.
    ///
    /// # Errors
    /// When it does not read.
    pub fn read(path: &Path) -> Result<Self> {
        let sk: SecretKey = SecretKeyBox::from_string(&fs::read_to_string(path)?)?.into_unencrypted_secret_key()?;
        Ok(Self(KeyPair { pk: PublicKey::from_secret_key(&sk)?, sk }))
    }

    /// Puts its signature behind the last member of a .deb.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn sign(&self, deb: &Path) -> Result<()> {
        let mut bytes = fs::read(deb)?;
        let signature = minisign::sign(Some(&self.0.pk), &self.0.sk, bytes.as_slice(), None, None)?.into_string();
        let (name, length) = ("_stanch-release", signature.len());
        bytes.extend(format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{length:<10}`\n", 0, 0, 0, 100_644).bytes());
        bytes.extend(signature.bytes());
        if length % 2 == 1 {
            bytes.push(b'\n');
        }
        Ok(fs::write(deb, bytes)?)
    }
}
