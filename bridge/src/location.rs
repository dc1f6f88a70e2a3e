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
    #[cfg(feature = "store")]
    store: Option<String>,
    #[cfg(feature = "store")]
    local_only: bool,
    pub(crate) trust: Trust,
}

impl Locator {
    /// # Errors
    /// `dependency` for a store or trusted keys in a build without the feature `store`; `io` or `config` for a key that cannot
    /// be read.
    pub(crate) fn new(options: &BridgeOptions) -> Result<Self, BridgeError> {
        let trust = Trust::read(&options.trusted_keys)?;
        #[cfg(not(feature = "store"))]
        if options.store.is_some() {
            return Err(BridgeError::Feature { what: "the option store".to_owned(), feature: "store" });
        }
        Ok(Self {
            #[cfg(feature = "store")]
            store: options.store.clone(),
            #[cfg(feature = "store")]
            local_only: options.is_local_only(),
            trust,
        })
    }

    /// The model with the folder of its artifact instead of its name in a store, and with the identity that it has there.
    ///
    /// # Errors
    /// `dependency` for a name in a store in a build without the feature `store`; `not_local` for one in a store elsewhere, if
    /// `local_only` is set; the errors of the store; `identity` if the model names another one.
    pub(crate) fn locate(&self, model: &Model) -> Result<Model, BridgeError> {
        self.locate_reporting(model, &|_, _| ())
    }

    /// Like [`locate`](Self::locate). `report` gets the number of bytes that are there, and that of all, while an artifact is
    /// copied.
    pub(crate) fn locate_reporting(&self, model: &Model, report: &dyn Fn(u64, u64)) -> Result<Model, BridgeError> {
        let Some(spec) = name_in_store(&model.path) else { return Ok(model.clone()) };
        let (path, identity) = self.find(spec, model.identity.as_deref(), report)?;
        match model.identity.as_ref().filter(|expected| **expected != identity) {
            Some(expected) => Err(BridgeError::Identity { path, expected: expected.clone(), actual: identity }),
            None => Ok(Model { path, identity: Some(identity), ..model.clone() }),
        }
    }

    #[cfg(feature = "store")]
    fn find(&self, spec: &str, pin: Option<&str>, report: &dyn Fn(u64, u64)) -> Result<(PathBuf, String), BridgeError> {
        use crate::store::{Checks, Spec, Store};
        let spec: Spec = spec.parse()?;
        if self.local_only {
            Store::check_local(self.store.as_deref())?;
        }
        let store = Store::of(self.store.as_deref(), &self.trust)?;
        let located = store.locate(&spec.pinned(pin), Checks::Layout, report)?;
        Ok((located.path, located.resolved.identity))
    }

    #[cfg(not(feature = "store"))]
    fn find(&self, spec: &str, _: Option<&str>, _: &dyn Fn(u64, u64)) -> Result<(PathBuf, String), BridgeError> {
        Err(BridgeError::Feature { what: format!("the model {spec}"), feature: "store" })
    }
}

/// The name in a store that a path is, with its prefix.
pub(crate) fn name_in_store(path: &Path) -> Option<&str> {
    path.to_str().filter(|path| path.starts_with(PREFIX))
}

#[cfg(all(test, not(feature = "store")))]
mod tests {
    use super::*;

    #[test]
    fn what_needs_the_feature_is_an_error_that_names_it() {
        let needing =
            [BridgeOptions::default().trusted_key("key.pem"), BridgeOptions::default().store("s3://models/prod")];
        for options in needing {
            let error = Locator::new(&options).err().expect("an error");
            assert_eq!(error.code().as_str(), "dependency");
            assert!(error.to_string().contains("cargo feature store"), "{error}");
        }
        let error = Locator::default().locate(&Model::new("store:minilm")).expect_err("an error");
        assert_eq!(error.code().as_str(), "dependency");
    }
}
