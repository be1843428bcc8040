//! Scripts and the keys that sign them.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use minisign::KeyPair;
use stanch_model::script::{MANIFEST_FILE, Part, Script};

use crate::workspace_root;

/// A key pair whose secret half only tests have.
#[derive(Debug)]
pub struct ScriptKey(KeyPair);

impl ScriptKey {
    /// A fresh one.
    ///
    /// # Errors
    /// When there is no entropy.
    pub fn new() -> Result<Self> {
        Ok(Self(KeyPair::generate_unencrypted_keypair()?))
    }

    /// Its public half, as a host's rules name it.
    pub fn public(&self) -> String {
        self.0.pk.to_base64()
    }

    /// A script of these files, its manifest sealed and signed.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn sign(&self, manifest: &str, files: &BTreeMap<Part, String>) -> Result<Script> {
        let draft = Script { manifest: manifest.to_owned(), signature: String::new(), files: files.clone() };
        let manifest = draft.sealed()?;
        let signature = minisign::sign(Some(&self.0.pk), &self.0.sk, manifest.as_bytes(), None, None)?;
        Ok(Script { manifest, signature: signature.into_string(), ..draft })
    }

    /// A script of the shipped library, signed.
    ///
    /// # Errors
    /// When it cannot be read or signed.
    pub fn shipped(&self, name: &str) -> Result<Script> {
        let folder = workspace_root().join("policies/scripts").join(name);
        let read = |file: &str| {
            std::fs::read_to_string(folder.join(file)).with_context(|| format!("{file} of the script {name}"))
        };
        let there = Part::ALL.into_iter().filter(|part| folder.join(part.name()).exists());
        let files: Result<BTreeMap<Part, String>> = there.map(|part| Ok((part, read(part.name())?))).collect();
        self.sign(&read(MANIFEST_FILE)?, &files?)
    }
}
