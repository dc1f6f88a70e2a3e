//! A store of versions of artifacts, as `STORE.md` lays it out. This crate reads stores; the Python package also writes
//! them.

mod cache;
#[cfg(feature = "store-remote")]
mod client;
#[cfg(feature = "store-remote")]
mod download;
mod folder;
#[cfg(feature = "store-remote")]
mod hashed_file;
mod layout;
mod locate;
mod records;
#[cfg(feature = "store-remote")]
mod remote;
#[cfg(feature = "store-remote")]
mod requests;
mod resolve;
mod source;
mod spec;
mod version;

use std::env;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use self::cache::Cache;
pub(crate) use self::cache::note_use;
pub(crate) use self::locate::Checks;
use self::source::Source;
pub(crate) use self::spec::Spec;
use crate::BridgeError;
use crate::families::artifact::check_signed;
use crate::runtime::blocking::on_blocking_thread;
use crate::trust::{Trust, TrustedKey};

/// Reads the record of a version, for fuzzing.
#[cfg(fuzzing)]
pub(crate) fn read_version(bytes: &[u8]) -> Result<(), BridgeError> {
    records::VersionRecord::parse(bytes, "a version").map(drop)
}

/// Reads the record of a tag and what its signatures sign, for fuzzing.
#[cfg(fuzzing)]
pub(crate) fn read_tag(bytes: &[u8]) -> Result<(), BridgeError> {
    records::TagRecord::parse(bytes, "a tag").map(|record| drop(record.payload("minilm", "latest")))
}

const STORE_VARIABLE: &str = "ONNX_ML_BRIDGE_STORE";
const OFFLINE_VARIABLE: &str = "ONNX_ML_BRIDGE_OFFLINE";

/// A store of versions of artifacts: a folder, a bucket (`s3://`, `gs://`, `az://`) or a web server (`https://`).
///
/// Names in a store are `NAME`, `NAME@VERSION` or `NAME@TAG`, with `#sha256:IDENTITY` to pin the artifact. `NAME` alone is
/// the version with the tag `latest`. All but a folder need the feature `store-remote`.
///
/// ```no_run
/// use onnx_ml_bridge::{BridgeOptions, Embedder, Store};
///
/// # fn main() -> Result<(), onnx_ml_bridge::BridgeError> {
/// let store = Store::open("/srv/models")?.key("keys/release.pem")?;
/// let path = store.pull_blocking("minilm@1.2.0")?;
/// let embedder = Embedder::open(path, BridgeOptions::default())?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Store {
    source: Source,
    trust: Trust,
    /// The folder of the cache; `None` for that of the environment or the user.
    cache: Option<PathBuf>,
    offline: bool,
}

/// The artifact that a name in a store stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Resolved {
    /// The name of the model.
    pub name: String,
    /// The tag in the name; `None` if the name has a version.
    pub tag: Option<String>,
    /// The version.
    pub version: String,
    /// The SHA-256 of the artifact's `manifest.json`, hexadecimal.
    pub identity: String,
}

/// A version of a model in a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StoredVersion {
    /// The version, such as `1.2.0`.
    pub version: String,
    /// The SHA-256 of the artifact's `manifest.json`, hexadecimal.
    pub identity: String,
}

/// A tag of a model in a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StoredTag {
    /// The tag, such as `latest`.
    pub tag: String,
    /// The version that the tag is.
    pub version: String,
    /// The SHA-256 of the artifact's `manifest.json`, hexadecimal.
    pub identity: String,
    /// How often the tag was changed.
    pub revision: u64,
}

/// An artifact of a store in a folder of this machine.
pub(crate) struct Located {
    pub(crate) path: PathBuf,
    pub(crate) resolved: Resolved,
}

impl Store {
    /// The store at an address: a folder, or the URL of a bucket or a web server.
    ///
    /// # Errors
    /// `config` for another address; `dependency` for a URL without the feature `store-remote`; `store` for a folder that
    /// does not exist.
    pub fn open(address: impl AsRef<str>) -> Result<Self, BridgeError> {
        let source = Source::open(address.as_ref())?;
        let offline = env::var(OFFLINE_VARIABLE)
            .is_ok_and(|value| ["1", "true", "yes", "on"].contains(&value.to_lowercase().as_str()));
        Ok(Self { source, trust: Trust::default(), cache: None, offline })
    }

    /// The store at an address, else that of `ONNX_ML_BRIDGE_STORE`, with trusted keys.
    ///
    /// # Errors
    /// The errors of [`open`](Self::open); `config` without an address.
    pub(crate) fn of(address: Option<&str>, trust: &Trust) -> Result<Self, BridgeError> {
        Ok(Self { trust: trust.clone(), ..Self::open(address_of(address)?)? })
    }

    /// Refuses the store of [`of`](Self::of) if its address is a URL.
    ///
    /// # Errors
    /// `not_local`, or `config` without a store.
    pub(crate) fn check_local(address: Option<&str>) -> Result<(), BridgeError> {
        match address_of(address)?.split_once("://") {
            Some((scheme, _)) => Err(BridgeError::NotLocal { what: format!("the store at {scheme}://") }),
            None => Ok(()),
        }
    }

    /// Adds a trusted key: a public key in PEM (ECDSA on P-256). With keys, an artifact or a tag that none of them signed is
    /// refused.
    ///
    /// # Errors
    /// `io` if the file cannot be read, `config` if it is no such key.
    pub fn key(self, path: impl AsRef<Path>) -> Result<Self, BridgeError> {
        Ok(Self { trust: self.trust.with(TrustedKey::read(path.as_ref())?), ..self })
    }

    /// Sets the folder of the cache. Default: that of `ONNX_ML_BRIDGE_CACHE`, else that of the user.
    #[must_use]
    pub fn cache(self, folder: impl Into<PathBuf>) -> Self {
        Self { cache: Some(folder.into()), ..self }
    }

    /// Sets whether requests are off: then the cache answers. Default: whether `ONNX_ML_BRIDGE_OFFLINE` is 1.
    #[must_use]
    pub fn offline(self, offline: bool) -> Self {
        Self { offline, ..self }
    }

    /// The address of the store, without credentials.
    pub fn address(&self) -> &str {
        self.source.address()
    }

    /// Checks an artifact and returns its folder. The artifacts of a bucket or a web server are copied to the cache first;
    /// those of a folder stay where they are.
    ///
    /// # Errors
    /// `config` for an invalid name; `not_found`; `identity` for another artifact than the pinned one; `signature`; `store`;
    /// `offline`; `io`; the errors of [`Artifact::verify`](crate::families::Artifact::verify).
    pub fn pull_blocking(&self, spec: &str) -> Result<PathBuf, BridgeError> {
        self.pull_reporting(spec, &|_, _| ()).map(|located| located.path)
    }

    /// Like [`pull_blocking`](Self::pull_blocking). `report` gets the number of bytes that are there, and that of all, while
    /// an artifact is copied.
    pub(crate) fn pull_reporting(&self, spec: &str, report: &dyn Fn(u64, u64)) -> Result<Located, BridgeError> {
        let located = self.locate(&spec.parse()?, Checks::All, report)?;
        check_signed(&located.path, &self.trust)?;
        Ok(located)
    }

    /// Like [`pull_blocking`](Self::pull_blocking), on one of tokio's blocking threads.
    ///
    /// # Errors
    /// The errors of [`pull_blocking`](Self::pull_blocking), and `config` without a tokio runtime.
    pub async fn pull(&self, spec: &str) -> Result<PathBuf, BridgeError> {
        let spec = spec.to_owned();
        self.on_thread(move |store| store.pull_blocking(&spec)).await
    }

    /// Returns the artifact that a name stands for. Does not read the artifact.
    ///
    /// # Errors
    /// `config`, `not_found`, `identity`, `signature`, `store`, `offline` or `io`.
    pub fn resolve_blocking(&self, spec: &str) -> Result<Resolved, BridgeError> {
        self.resolve_spec(&spec.parse()?)
    }

    /// Like [`resolve_blocking`](Self::resolve_blocking), on one of tokio's blocking threads.
    ///
    /// # Errors
    /// The errors of [`resolve_blocking`](Self::resolve_blocking), and `config` without a tokio runtime.
    pub async fn resolve(&self, spec: &str) -> Result<Resolved, BridgeError> {
        let spec = spec.to_owned();
        self.on_thread(move |store| store.resolve_blocking(&spec)).await
    }

    /// Returns the names of the models in the store, sorted.
    ///
    /// # Errors
    /// `store`, also for a web server, which cannot list names; `offline`.
    pub fn models_blocking(&self) -> Result<Vec<String>, BridgeError> {
        let names = self.names(layout::MODELS)?;
        Ok(names.into_iter().filter(|name| spec::is_name(name)).collect())
    }

    /// Like [`models_blocking`](Self::models_blocking), on one of tokio's blocking threads.
    ///
    /// # Errors
    /// The errors of [`models_blocking`](Self::models_blocking), and `config` without a tokio runtime.
    pub async fn models(&self) -> Result<Vec<String>, BridgeError> {
        self.on_thread(Self::models_blocking).await
    }

    /// Returns the versions of a model by precedence. Yanked versions are not listed.
    ///
    /// # Errors
    /// `config` for an invalid name; `not_found`; `store`, also for a web server, which cannot list names; `offline`.
    pub fn versions_blocking(&self, name: &str) -> Result<Vec<StoredVersion>, BridgeError> {
        self.list_versions(name)
    }

    /// Like [`versions_blocking`](Self::versions_blocking), on one of tokio's blocking threads.
    ///
    /// # Errors
    /// The errors of [`versions_blocking`](Self::versions_blocking), and `config` without a tokio runtime.
    pub async fn versions(&self, name: &str) -> Result<Vec<StoredVersion>, BridgeError> {
        let name = name.to_owned();
        self.on_thread(move |store| store.versions_blocking(&name)).await
    }

    /// Returns the tags of a model, sorted.
    ///
    /// # Errors
    /// `config` for an invalid name; `not_found`; `store`, also for a web server, which cannot list names; `offline`.
    pub fn tags_blocking(&self, name: &str) -> Result<Vec<StoredTag>, BridgeError> {
        self.list_tags(name)
    }

    /// Like [`tags_blocking`](Self::tags_blocking), on one of tokio's blocking threads.
    ///
    /// # Errors
    /// The errors of [`tags_blocking`](Self::tags_blocking), and `config` without a tokio runtime.
    pub async fn tags(&self, name: &str) -> Result<Vec<StoredTag>, BridgeError> {
        let name = name.to_owned();
        self.on_thread(move |store| store.tags_blocking(&name)).await
    }

    /// Returns the versions that are newer than the one that a name stands for, by precedence. Pre-releases are listed only
    /// if that version is one.
    ///
    /// # Errors
    /// The errors of [`resolve_blocking`](Self::resolve_blocking) and [`versions_blocking`](Self::versions_blocking).
    pub fn updates_blocking(&self, spec: &str) -> Result<Vec<StoredVersion>, BridgeError> {
        self.list_updates(&spec.parse()?)
    }

    /// Like [`updates_blocking`](Self::updates_blocking), on one of tokio's blocking threads.
    ///
    /// # Errors
    /// The errors of [`updates_blocking`](Self::updates_blocking), and `config` without a tokio runtime.
    pub async fn updates(&self, spec: &str) -> Result<Vec<StoredVersion>, BridgeError> {
        let spec = spec.to_owned();
        self.on_thread(move |store| store.updates_blocking(&spec)).await
    }

    async fn on_thread<T: Send + 'static>(
        &self,
        call: impl FnOnce(&Self) -> Result<T, BridgeError> + Send + 'static,
    ) -> Result<T, BridgeError> {
        let store = self.clone();
        on_blocking_thread(move || call(&store)).await
    }

    fn open_cache(&self) -> Result<Cache, BridgeError> {
        Cache::open(self.cache.as_deref())
    }
}

/// The given address of a store, else that of the environment.
///
/// # Errors
/// `config` without any.
fn address_of(address: Option<&str>) -> Result<String, BridgeError> {
    let named = || env::var(STORE_VARIABLE).ok().filter(|address| !address.is_empty());
    let missing = || {
        let remedy = format!("set {STORE_VARIABLE}, the option store, or store in bridge.toml");
        BridgeError::config(format!("a name in a store was given, but no store: {remedy}"))
    };
    address.map(str::to_owned).or_else(named).ok_or_else(missing)
}
