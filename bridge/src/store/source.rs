//! Where the objects of a store are.

use std::path::Path;

use super::folder::Folder;
#[cfg(feature = "store-remote")]
use super::remote::Remote;
use crate::BridgeError;

/// A folder, a bucket or a web server.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    Folder {
        folder: Folder,
        address: String,
    },
    #[cfg(feature = "store-remote")]
    Remote(std::sync::Arc<Remote>),
}

impl Source {
    /// # Errors
    /// `config` for an address of another form; `dependency` for a URL in a build without the feature `store-remote`;
    /// `store`, if a folder does not exist.
    pub(crate) fn open(address: &str) -> Result<Self, BridgeError> {
        if address.is_empty() {
            return Err(BridgeError::config("the address of the store is empty, expected a folder or a URL"));
        }
        if address.contains("://") {
            return Self::open_url(address);
        }
        let folder = Folder::open(Path::new(address))?;
        let address = folder.root().display().to_string();
        Ok(Self::Folder { folder, address })
    }

    #[cfg(feature = "store-remote")]
    fn open_url(address: &str) -> Result<Self, BridgeError> {
        Ok(Self::Remote(std::sync::Arc::new(Remote::open(address)?)))
    }

    #[cfg(not(feature = "store-remote"))]
    fn open_url(address: &str) -> Result<Self, BridgeError> {
        let scheme = address.split("://").next().unwrap_or_default();
        Err(BridgeError::Feature { what: format!("a store at {scheme}://"), feature: "store-remote" })
    }

    /// The address without credentials.
    pub(crate) fn address(&self) -> &str {
        match self {
            Self::Folder { address, .. } => address,
            #[cfg(feature = "store-remote")]
            Self::Remote(remote) => remote.address(),
        }
    }

    /// Whether reading needs requests.
    pub(crate) fn is_remote(&self) -> bool {
        match self {
            Self::Folder { .. } => false,
            #[cfg(feature = "store-remote")]
            Self::Remote(_) => true,
        }
    }

    /// A small object; `None` if it is missing.
    ///
    /// # Errors
    /// `store`.
    pub(crate) fn get(&self, key: &str, limit: u64) -> Result<Option<Vec<u8>>, BridgeError> {
        match self {
            Self::Folder { folder, .. } => folder.get(key, limit),
            #[cfg(feature = "store-remote")]
            Self::Remote(remote) => remote.get(key, limit),
        }
    }

    /// The names directly below a prefix, sorted.
    ///
    /// # Errors
    /// `store`, also for a web server, which cannot list names.
    pub(crate) fn names(&self, prefix: &str) -> Result<Vec<String>, BridgeError> {
        match self {
            Self::Folder { folder, .. } => folder.names(prefix),
            #[cfg(feature = "store-remote")]
            Self::Remote(remote) => remote.names(prefix),
        }
    }

    /// Small objects in the order of their keys; `None` for those that are missing. A bucket is asked for several at a time.
    ///
    /// # Errors
    /// `store`.
    pub(crate) fn get_all(&self, keys: &[String], limit: u64) -> Result<Vec<Option<Vec<u8>>>, BridgeError> {
        match self {
            Self::Folder { folder, .. } => keys.iter().map(|key| folder.get(key, limit)).collect(),
            #[cfg(feature = "store-remote")]
            Self::Remote(remote) => remote.get_all(keys, limit),
        }
    }
}
