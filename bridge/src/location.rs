//! Where the artifact of a model is: in a folder, or in a store under a name.

use std::path::{Path, PathBuf};

use crate::BridgeError;
use crate::model::Model;
use crate::options::BridgeOptions;
use crate::trust::Trust;

/// The path of a model begins with this if it is a name in a store.
const PREFIX: &str = "store:";

/// Finds artifacts, and has the keys that they must be signed with.
#[derive(Clone, Default)]
pub(crate) struct Locator {
    /// The address of the store; `None` for that of the environment.
    store: Option<String>,
    pub(crate) trust: Trust,
}

impl Locator {
    /// # Errors
    /// `dependency` for trusted keys in a build without the feature `store`; `io` or `config` for a key that cannot be read.
    pub(crate) fn new(options: &BridgeOptions) -> Result<Self, BridgeError> {
        Ok(Self { store: options.store.clone(), trust: Trust::read(&options.trusted_keys)? })
    }

    /// The model with the folder of its artifact instead of its name in a store, and with the identity that it has there.
    ///
    /// # Errors
    /// `dependency` for a name in a store in a build without the feature `store`; the errors of the store; `identity` if the
    /// model names another one.
    pub(crate) fn locate(&self, model: &Model) -> Result<Model, BridgeError> {
        let Some(spec) = name_in_store(&model.path) else { return Ok(model.clone()) };
        let (path, identity) = self.find(spec)?;
        match model.identity.as_ref().filter(|expected| **expected != identity) {
            Some(expected) => Err(BridgeError::Identity { path, expected: expected.clone(), actual: identity }),
            None => Ok(Model { path, identity: Some(identity), ..model.clone() }),
        }
    }

    #[cfg(feature = "store")]
    fn find(&self, spec: &str) -> Result<(PathBuf, String), BridgeError> {
        use crate::store::{Checks, Store};
        let store = Store::of(self.store.as_deref(), &self.trust)?;
        let located = store.locate(&spec.parse()?, Checks::Layout, &|_, _| ())?;
        Ok((located.path, located.resolved.identity))
    }

    #[cfg(not(feature = "store"))]
    fn find(&self, spec: &str) -> Result<(PathBuf, String), BridgeError> {
        Err(BridgeError::Feature { what: format!("the model {spec}"), feature: "store" })
    }
}

/// The name in a store that a path is, with its prefix.
pub(crate) fn name_in_store(path: &Path) -> Option<&str> {
    path.to_str().filter(|path| path.starts_with(PREFIX))
}
