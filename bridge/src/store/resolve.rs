//! Which artifact a name stands for, and where it is.

use std::path::PathBuf;

use super::layout::{self, MAX_RECORD_BYTES};
use super::records::{TagRecord, VersionRecord};
use super::spec::{self, Spec, Which};
use super::version::{compare, is_prerelease, is_version};
use super::{Resolved, Store, StoredTag, StoredVersion};
use crate::BridgeError;
use crate::trust::TrustedKey;

/// The payload type of a signature of a tag.
const TAG_PAYLOAD_TYPE: &str = "application/vnd.onnx-ml-bridge.tag+json";
const ENDING: &str = ".json";

impl Store {
    pub(super) fn resolve_spec(&self, spec: &Spec) -> Result<Resolved, BridgeError> {
        let resolved = match &spec.which {
            Which::Version(version) => self.resolve_version(spec, version)?,
            Which::Tag(tag) => self.resolve_tag(spec, tag)?,
        };
        match &spec.identity {
            Some(expected) if *expected != resolved.identity => Err(BridgeError::Identity {
                path: PathBuf::from(spec.to_string()),
                expected: expected.clone(),
                actual: resolved.identity,
            }),
            _ => Ok(resolved),
        }
    }

    fn resolve_version(&self, spec: &Spec, version: &str) -> Result<Resolved, BridgeError> {
        let key = layout::version(&spec.name, version);
        let raw = self.record(&key, spec)?;
        let record = VersionRecord::parse(&raw, &key)?;
        if record.is_yanked {
            return Err(self.missing(&format!("the version {version} of {}, which was yanked", spec.name)));
        }
        if self.source.is_remote() && !self.offline {
            self.open_cache()?.keep(self.address(), &key, &raw);
        }
        let (name, version, identity) = (spec.name.clone(), version.to_owned(), record.identity);
        Ok(Resolved { name, tag: None, version, identity })
    }

    fn resolve_tag(&self, spec: &Spec, tag: &str) -> Result<Resolved, BridgeError> {
        let key = layout::tag(&spec.name, tag);
        let raw = self.record(&key, spec)?;
        let record = TagRecord::parse(&raw, &key)?;
        // A pinned artifact is the right one whoever wrote the record of the tag.
        let is_signed = !self.trust.keys().is_empty() && spec.identity.is_none();
        if is_signed {
            self.check_tag(&record, spec, tag)?;
            self.open_cache()?.keep_signed(self.address(), &key, &raw)?;
        } else if self.source.is_remote() && !self.offline {
            self.open_cache()?.keep(self.address(), &key, &raw);
        }
        let (name, version, identity) = (spec.name.clone(), record.version, record.identity);
        Ok(Resolved { name, tag: Some(tag.to_owned()), version, identity })
    }

    /// Runs the check `signature` on the record of a tag.
    fn check_tag(&self, record: &TagRecord, spec: &Spec, tag: &str) -> Result<(), BridgeError> {
        let payload = record.payload(&spec.name, tag);
        let verify = |key: &TrustedKey| match record.signature(key.hash()) {
            None => Err(format!("{}: no signature", key.hash())),
            Some(signature) => key
                .verify(TAG_PAYLOAD_TYPE, payload.as_bytes(), signature)
                .map_err(|problem| format!("{}: {problem}", key.hash())),
        };
        let mut problems = Vec::new();
        for checked in self.trust.keys().iter().map(verify) {
            match checked {
                Ok(()) => return Ok(()),
                Err(problem) => problems.push(problem),
            }
        }
        match problems.is_empty() {
            true => Ok(()),
            false => Err(BridgeError::signature(format!(
                "the tag {tag} of {} in {} is not signed by a trusted key ({}); sign it, or name the version",
                spec.name,
                self.address(),
                problems.join("; ")
            ))),
        }
    }

    /// The record with a key, from the cache if requests are off.
    fn record(&self, key: &str, spec: &Spec) -> Result<Vec<u8>, BridgeError> {
        if self.source.is_remote() && self.offline {
            let kept = self.open_cache()?.record(self.address(), key)?;
            let problem = || format!("{spec} of {} was never resolved with this cache", self.address());
            return kept.ok_or_else(|| BridgeError::Offline { problem: problem() });
        }
        self.source.get(key, MAX_RECORD_BYTES)?.ok_or_else(|| self.missing(&spec.to_string()))
    }

    fn missing(&self, what: &str) -> BridgeError {
        BridgeError::NotFound { problem: format!("{} has no {what}", self.address()) }
    }

    pub(super) fn names(&self, prefix: &str) -> Result<Vec<String>, BridgeError> {
        if self.source.is_remote() && self.offline {
            return Err(BridgeError::Offline { problem: format!("{} cannot be listed", self.address()) });
        }
        self.source.names(prefix)
    }

    /// The names of records below a prefix for which a check holds, without their ending.
    fn records(&self, prefix: &str, name: &str, is_valid: fn(&str) -> bool) -> Result<Vec<String>, BridgeError> {
        if !spec::is_name(name) {
            return Err(BridgeError::config(format!("the model is {name:?}, expected [a-z0-9][a-z0-9._-]{{0,127}}")));
        }
        let names = self.names(prefix)?;
        let names = names.iter().filter_map(|file| file.strip_suffix(ENDING)).filter(|name| is_valid(name));
        Ok(names.map(str::to_owned).collect())
    }

    pub(super) fn list_versions(&self, name: &str) -> Result<Vec<StoredVersion>, BridgeError> {
        let mut versions = self.records(&layout::versions(name), name, is_version)?;
        if versions.is_empty() {
            return Err(self.missing(&format!("model {name}")));
        }
        versions.sort_by(|left, right| compare(left, right));
        let keys: Vec<String> = versions.iter().map(|version| layout::version(name, version)).collect();
        let records = self.source.get_all(&keys, MAX_RECORD_BYTES)?;
        let mut listed = Vec::new();
        for ((version, key), raw) in versions.into_iter().zip(&keys).zip(records) {
            let record = raw.map(|raw| VersionRecord::parse(&raw, key)).transpose()?;
            let record = record.filter(|record| !record.is_yanked);
            listed.extend(record.map(|VersionRecord { identity, .. }| StoredVersion { version, identity }));
        }
        Ok(listed)
    }

    pub(super) fn list_updates(&self, spec: &Spec) -> Result<Vec<StoredVersion>, BridgeError> {
        let current = match &spec.which {
            Which::Version(version) => version.clone(), // it may have been yanked
            Which::Tag(tag) => self.resolve_tag(spec, tag)?.version,
        };
        let mut versions = self.list_versions(&spec.name)?;
        versions.retain(|StoredVersion { version, .. }| {
            compare(version, &current).is_gt() && (is_prerelease(&current) || !is_prerelease(version))
        });
        Ok(versions)
    }

    pub(super) fn list_tags(&self, name: &str) -> Result<Vec<StoredTag>, BridgeError> {
        let tags = self.records(&layout::tags(name), name, |tag| spec::is_tag(tag) && !is_version(tag))?;
        if tags.is_empty() && self.records(&layout::versions(name), name, is_version)?.is_empty() {
            return Err(self.missing(&format!("model {name}")));
        }
        let keys: Vec<String> = tags.iter().map(|tag| layout::tag(name, tag)).collect();
        let records = self.source.get_all(&keys, MAX_RECORD_BYTES)?;
        let mut listed = Vec::new();
        for ((tag, key), raw) in tags.into_iter().zip(&keys).zip(records) {
            let record = raw.map(|raw| TagRecord::parse(&raw, key)).transpose()?;
            listed.extend(record.map(|TagRecord { version, identity, revision, .. }| StoredTag {
                tag,
                version,
                identity,
                revision,
            }));
        }
        Ok(listed)
    }
}
