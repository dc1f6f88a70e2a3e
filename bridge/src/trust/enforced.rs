//! The check that an artifact or a tag is signed by a trusted key.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::bundle;
use super::keys::TrustedKey;
use crate::BridgeError;
use crate::artifact::Manifest;
use crate::artifact::files::ArtifactFiles;
use crate::artifact::tree::{IDENTITY, MANIFEST, sha256};

/// Bundles above this size are not read.
pub(crate) const MAX_BUNDLE_BYTES: u64 = 1 << 20;

/// The public keys that a caller trusts. Without any key, everything is trusted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trust {
    keys: Arc<[TrustedKey]>,
}

impl Trust {
    /// Reads public keys in PEM.
    ///
    /// # Errors
    /// `io`, if a file cannot be read; `config`, if it is no public key on P-256.
    pub(crate) fn read(paths: &[PathBuf]) -> Result<Self, BridgeError> {
        let keys = paths.iter().map(|path| TrustedKey::read(path));
        Ok(Self { keys: keys.collect::<Result<Vec<TrustedKey>, BridgeError>>()?.into() })
    }

    /// The same keys and another one.
    pub(crate) fn with(&self, key: TrustedKey) -> Self {
        Self { keys: self.keys.iter().cloned().chain([key]).collect() }
    }

    pub(crate) fn keys(&self) -> &[TrustedKey] {
        &self.keys
    }

    /// Runs the check `signature`: the artifact has a valid bundle of one of the keys.
    ///
    /// # Errors
    /// `signature`.
    pub(crate) fn check(&self, artifact: &ArtifactFiles) -> Result<(), BridgeError> {
        let (root, identity) = (artifact.root(), artifact.identity());
        self.check_manifest(artifact.manifest(), identity, &|key_hash| bundles(root, identity, key_hash))
    }

    /// Runs the check `signature` on an artifact with this manifest. `bundles` returns where the bundle of a key can be, given
    /// the hash of the key.
    ///
    /// # Errors
    /// `signature`.
    pub(crate) fn check_manifest(
        &self,
        manifest: &Manifest,
        identity: &str,
        bundles: &dyn Fn(&str) -> Vec<PathBuf>,
    ) -> Result<(), BridgeError> {
        let files = signed_files(manifest, identity);
        let mut problems = Vec::new();
        for key in self.keys.iter() {
            for path in bundles(key.hash()) {
                match read(&path).and_then(|raw| bundle::verify(&raw, key, &files)) {
                    Ok(()) => return Ok(()),
                    Err(problem) => problems.push(format!("{}: {problem}", path.display())),
                }
            }
        }
        match problems.is_empty() {
            true => Ok(()), // no keys
            false => Err(unsigned(manifest, &problems)),
        }
    }
}

/// The error of an artifact whose bundles have these problems.
pub(crate) fn unsigned(manifest: &Manifest, problems: &[String]) -> BridgeError {
    let (Manifest { name, version, .. }, problems) = (manifest, problems.join("; "));
    BridgeError::signature(format!(
        "{name} {version} is not signed by a trusted key ({problems}); sign it, or trust the key that signed it"
    ))
}

/// Checks the bundle of a key for an artifact with this manifest.
///
/// # Errors
/// What is wrong with the bundle.
#[cfg(feature = "store-remote")]
pub(crate) fn check_bundle(raw: &[u8], key: &TrustedKey, manifest: &Manifest, identity: &str) -> Result<(), String> {
    bundle::verify(raw, key, &signed_files(manifest, identity))
}

/// The files that a bundle signs: those of the manifest, the manifest and the file with its hash.
fn signed_files(manifest: &Manifest, identity: &str) -> BTreeMap<String, String> {
    let identity = identity.to_owned();
    let line = format!("{identity}  {MANIFEST}\n");
    let files = manifest.files.iter().map(|(path, entry)| (path.clone(), entry.sha256.clone()));
    files.chain([(IDENTITY.to_owned(), sha256(line.as_bytes())), (MANIFEST.to_owned(), identity)]).collect()
}

/// Where the bundle of a key can be: beside the folder, and in the store or the cache that the folder belongs to.
fn bundles(root: &Path, identity: &str, key_hash: &str) -> Vec<PathBuf> {
    let file = format!("{key_hash}.json");
    let mut beside = root.as_os_str().to_owned();
    beside.push(".signatures");
    let mut paths = vec![PathBuf::from(beside).join(&file)];
    let store = root.parent().filter(|parent| parent.file_name().is_some_and(|name| name == "artifacts"));
    if let (Some(store), true) = (store.and_then(Path::parent), root.file_name().is_some_and(|name| name == identity)) {
        paths.push(store.join("signatures").join(identity).join(&file));
    }
    paths
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let problem = |error: io::Error| format!("{}: {error}", path.display());
    let file = File::open(path).map_err(problem)?;
    let mut bytes = Vec::new();
    file.take(MAX_BUNDLE_BYTES + 1).read_to_end(&mut bytes).map_err(problem)?;
    match bytes.len() as u64 > MAX_BUNDLE_BYTES {
        true => Err(format!("{} has more than {MAX_BUNDLE_BYTES} bytes", path.display())),
        false => Ok(bytes),
    }
}
