//! The keys of a store, relative to its root; see the section Layout of `STORE.md`.

pub(crate) const ARTIFACTS: &str = "artifacts";
pub(crate) const MODELS: &str = "models";
pub(crate) const STAGING: &str = ".staging";
pub(crate) const LOCKS: &str = ".locks";
/// The records of a cache: what the names of its stores resolved to.
pub(crate) const RESOLVED: &str = "resolved";
/// Records are refused above this size, before they are read.
pub(crate) const MAX_RECORD_BYTES: u64 = 1 << 16;

/// The key of an artifact.
pub(crate) fn artifact(identity: &str) -> String {
    format!("{ARTIFACTS}/{identity}")
}

/// The key of the folder with the versions of a model.
pub(crate) fn versions(name: &str) -> String {
    format!("{MODELS}/{name}/versions")
}

/// The key of the record of a version.
pub(crate) fn version(name: &str, version: &str) -> String {
    format!("{}/{version}.json", versions(name))
}

/// The key of the folder with the tags of a model.
pub(crate) fn tags(name: &str) -> String {
    format!("{MODELS}/{name}/refs")
}

/// The key of the record of a tag.
pub(crate) fn tag(name: &str, tag: &str) -> String {
    format!("{}/{tag}.json", tags(name))
}

/// The key of the bundle with the signature of one public key.
pub(crate) fn signature(identity: &str, key_hash: &str) -> String {
    format!("signatures/{identity}/{key_hash}.json")
}
