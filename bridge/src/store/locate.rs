//! The folder of an artifact of a store: in the store itself, or in the cache.

use std::path::{Path, PathBuf};

use super::folder::Folder;
use super::layout::artifact;
use super::source::Source;
use super::spec::{Spec, Which};
use super::{Located, Resolved, Store};
use crate::BridgeError;
use crate::artifact::Manifest;
use crate::families::artifact::{Artifact, check_layout};

/// A function that gets the number of bytes that are there, and that of all.
pub(crate) type Report<'a> = &'a dyn Fn(u64, u64);

/// Which files of an artifact are hashed before its folder is returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Checks {
    /// None, because the caller hashes those that it uses.
    Layout,
    /// All of them; all graphs are parsed, too.
    All,
}

impl Store {
    /// The folder of the artifact that a name stands for. Whether it is signed is checked only before a download.
    ///
    /// # Errors
    /// Those of [`pull_blocking`](Self::pull_blocking).
    #[cfg_attr(not(feature = "store-remote"), expect(unused_variables, reason = "only a download reports"))]
    pub(crate) fn locate(&self, spec: &Spec, checks: Checks, report: Report<'_>) -> Result<Located, BridgeError> {
        match &self.source {
            Source::Folder { folder, .. } => self.locate_in_folder(folder, spec, checks),
            #[cfg(feature = "store-remote")]
            Source::Remote(remote) => self.locate_in_cache(remote, spec, checks, report),
        }
    }

    fn locate_in_folder(&self, folder: &Folder, spec: &Spec, checks: Checks) -> Result<Located, BridgeError> {
        let resolved = self.resolve_spec(spec)?;
        let path = folder.root().join(artifact(&resolved.identity));
        let (manifest, identity) = check(&path, checks)?;
        check_identity(&path, &identity, &resolved.identity)?;
        check_name(&manifest, &resolved)?;
        Ok(Located { path, resolved })
    }
}

/// Runs checks on an artifact, and returns its manifest and its identity.
fn check(path: &Path, checks: Checks) -> Result<(Manifest, String), BridgeError> {
    match checks {
        Checks::Layout => check_layout(path),
        Checks::All => {
            Artifact::verify(path).map(|artifact| (artifact.manifest().clone(), artifact.identity().to_owned()))
        }
    }
}

fn check_identity(path: &Path, actual: &str, expected: &str) -> Result<(), BridgeError> {
    match actual == expected {
        true => Ok(()),
        false => {
            let (path, expected, actual) = (path.to_path_buf(), expected.to_owned(), actual.to_owned());
            Err(BridgeError::Identity { path, expected, actual })
        }
    }
}

/// Checks that an artifact has the name and the version of the record.
fn check_name(manifest: &Manifest, resolved: &Resolved) -> Result<(), BridgeError> {
    match (&manifest.name, &manifest.version) == (&resolved.name, &resolved.version) {
        true => Ok(()),
        false => Err(BridgeError::store(format!(
            "the artifact of {} {} is {} {}: the record is wrong",
            resolved.name, resolved.version, manifest.name, manifest.version
        ))),
    }
}

#[cfg(feature = "store-remote")]
mod copies {
    use super::*;
    use crate::families::parse_manifest;
    use crate::store::cache::{Cache, MAX_BYTES, remove_folder, write};
    use crate::store::download::{download, fetch_manifest};
    use crate::store::layout::signature;
    use crate::store::remote::Remote;
    use crate::trust::{MAX_BUNDLE_BYTES, check_bundle, unsigned};

    impl Store {
        pub(super) fn locate_in_cache(
            &self,
            remote: &Remote,
            spec: &Spec,
            checks: Checks,
            report: Report<'_>,
        ) -> Result<Located, BridgeError> {
            let cache = self.open_cache()?;
            if let Some(pin) = &spec.identity
                && let Some((path, manifest)) = cached(&cache, pin, checks)
            {
                let resolved = pinned(spec, pin, &manifest);
                check_name(&manifest, &resolved)?;
                self.fetch_bundle(remote, &cache, &manifest, pin)?;
                return Ok(Located { path, resolved });
            }
            let resolved = self.resolve_spec(spec)?;
            let (path, manifest) = match cached(&cache, &resolved.identity, checks) {
                Some(found) => found,
                None if self.offline => return Err(not_cached(&resolved)),
                None => self.copy(remote, &cache, &resolved, report)?,
            };
            check_name(&manifest, &resolved)?;
            self.fetch_bundle(remote, &cache, &manifest, &resolved.identity)?;
            Ok(Located { path, resolved })
        }

        /// Downloads an artifact, unless somebody else does so first.
        fn copy(
            &self,
            remote: &Remote,
            cache: &Cache,
            resolved: &Resolved,
            report: Report<'_>,
        ) -> Result<(PathBuf, Manifest), BridgeError> {
            let identity = &resolved.identity;
            let lock = cache.lock(identity)?;
            if let Some(found) = cached(cache, identity, Checks::All) {
                return Ok(found);
            }
            cache.remove(identity)?; // a damaged one
            let raw = fetch_manifest(remote, identity)?;
            let manifest = parse_manifest(&raw)?;
            check_name(&manifest, resolved)?;
            self.fetch_bundle(remote, cache, &manifest, identity)?;
            let bundle = |hash: &str| cache.path(&signature(identity, hash));
            self.trust.check_manifest(&manifest, identity, &|hash| vec![bundle(hash)])?;
            let staging = cache.staging(identity);
            let written = download(remote, &manifest, &raw, &staging, report)?;
            if let Err(error) = Artifact::verify_written(&staging, written) {
                remove_folder(&staging)?; // another try would end the same way
                return Err(error);
            }
            let path = cache.add(identity)?;
            drop(lock);
            if let Err(error) = cache.shrink(MAX_BYTES) {
                tracing::warn!("the cache could not be made smaller: {error}");
            }
            Ok((path, manifest))
        }

        /// Copies a valid bundle of a trusted key to the cache, unless it has one. An invalid one in the cache is replaced.
        ///
        /// # Errors
        /// `signature`, if the store has only invalid bundles; `store`; `io`.
        fn fetch_bundle(
            &self,
            remote: &Remote,
            cache: &Cache,
            manifest: &Manifest,
            identity: &str,
        ) -> Result<(), BridgeError> {
            let cached = |hash: &str| vec![cache.path(&signature(identity, hash))];
            if self.offline || self.trust.check_manifest(manifest, identity, &cached).is_ok() {
                return Ok(());
            }
            let mut problems = Vec::new();
            for key in self.trust.keys() {
                let name = signature(identity, key.hash());
                let Some(bundle) = remote.get(&name, MAX_BUNDLE_BYTES)? else { continue };
                match check_bundle(&bundle, key, manifest, identity) {
                    Ok(()) => return write(&cache.path(&name), &bundle),
                    Err(problem) => problems.push(format!("{name} in {}: {problem}", remote.address())),
                }
            }
            if problems.is_empty() { Ok(()) } else { Err(unsigned(manifest, &problems)) }
        }
    }

    /// An artifact that is in the cache; `None` if it is not there, or damaged.
    fn cached(cache: &Cache, identity: &str, checks: Checks) -> Option<(PathBuf, Manifest)> {
        let path = cache.find(identity)?;
        let (manifest, actual) = check(&path, checks).ok()?;
        (actual == identity).then_some((path, manifest))
    }

    /// What a pinned name stands for, given the manifest of the artifact.
    fn pinned(spec: &Spec, identity: &str, manifest: &Manifest) -> Resolved {
        let (tag, version) = match &spec.which {
            Which::Version(version) => (None, version.clone()),
            Which::Tag(tag) => (Some(tag.clone()), manifest.version.clone()),
        };
        Resolved { name: spec.name.clone(), tag, version, identity: identity.to_owned() }
    }

    fn not_cached(resolved: &Resolved) -> BridgeError {
        let Resolved { name, version, identity, .. } = resolved;
        BridgeError::Offline { problem: format!("{name} {version} ({identity}) is not in the cache") }
    }
}
