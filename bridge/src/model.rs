//! [`Model`], which says what to open, and [`ModelInfo`], which describes an open model.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::BridgeError;
use crate::tasks::{Task, seconds};

/// The value of [`Model::variant`] and [`Model::device`] that lets this crate choose.
pub(crate) const AUTO: &str = "auto";
/// The devices that this crate can run models on.
const DEVICES: [&str; 2] = [AUTO, "cpu"];

/// A model to open: an artifact, and how to open it.
///
/// The task of the model is in its artifact. The path of an artifact converts to a model, so that `Embedder::open` and
/// `Builder::model` accept a path as well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Model {
    /// The directory of the artifact.
    pub path: PathBuf,
    /// The name by which calls select the model; `None` for the name in its manifest.
    #[serde(default)]
    pub name: Option<String>,
    /// A variant of the artifact, or `auto`: `int8` if the artifact has it and the CPU has VNNI or AMX, whose 8-bit products
    /// are exact and fast; else `fp32`, else the first variant by name.
    #[serde(default = "auto")]
    pub variant: String,
    /// The device that runs the model: `auto` or `cpu`.
    #[serde(default = "auto")]
    pub device: String,
    /// The time limit of calls that pass none, above 0; `None` for that of the bridge. JSON has seconds.
    #[serde(default, with = "seconds")]
    pub timeout: Option<Duration>,
}

fn auto() -> String {
    AUTO.to_owned()
}

impl Model {
    /// The model of an artifact, given its directory.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), name: None, variant: auto(), device: auto(), timeout: None }
    }

    /// Sets the name by which calls select the model.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets the variant of the artifact, or `auto`.
    #[must_use]
    pub fn variant(mut self, variant: impl Into<String>) -> Self {
        self.variant = variant.into();
        self
    }

    /// Sets the device that runs the model: `auto` or `cpu`.
    #[must_use]
    pub fn device(mut self, device: impl Into<String>) -> Self {
        self.device = device.into();
        self
    }

    /// Sets the time limit of calls that pass none, above 0.
    #[must_use]
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = Some(limit);
        self
    }

    /// Checks the values that do not depend on the artifact.
    ///
    /// # Errors
    /// `config` for an empty name, an unknown device or a time limit of 0.
    pub(crate) fn check(&self) -> Result<(), BridgeError> {
        let path = self.path.display();
        if self.name.as_deref() == Some("") {
            return Err(BridgeError::config(format!("the name of the model at {path} is empty")));
        }
        if self.timeout.is_some_and(|limit| limit.is_zero()) {
            return Err(BridgeError::config(format!(
                "the timeout of the model at {path} is 0 s, expected more than 0"
            )));
        }
        if !DEVICES.contains(&self.device.as_str()) {
            let device = &self.device;
            return Err(BridgeError::config(format!(
                "the device of the model at {path} is {device:?}, expected one of {DEVICES:?}"
            )));
        }
        Ok(())
    }
}

impl From<PathBuf> for Model {
    fn from(path: PathBuf) -> Self {
        Self::new(path)
    }
}

impl From<&Path> for Model {
    fn from(path: &Path) -> Self {
        Self::new(path)
    }
}

impl From<&PathBuf> for Model {
    fn from(path: &PathBuf) -> Self {
        Self::new(path)
    }
}

impl From<&str> for Model {
    fn from(path: &str) -> Self {
        Self::new(path)
    }
}

impl From<String> for Model {
    fn from(path: String) -> Self {
        Self::new(path)
    }
}

/// An open model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ModelInfo {
    /// The name by which calls select the model.
    pub name: String,
    /// The task of the model.
    pub task: Task,
    /// The library of the original model: `transformers` or `spacy`.
    pub engine: String,
    /// The version of the model.
    pub version: String,
    /// The variant that is open.
    pub variant: String,
    /// SHA-256 of the artifact's `manifest.json`, hexadecimal. It identifies this version of the model.
    pub identity: String,
    /// The directory of the artifact, absolute and without symbolic links.
    pub path: PathBuf,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_models() {
        let expected = Model::new("a/b");
        let path = PathBuf::from("a/b");
        let converted: [Model; 5] =
            ["a/b".into(), "a/b".to_owned().into(), path.as_path().into(), (&path).into(), path.into()];
        assert!(converted.iter().all(|model| *model == expected));
        assert_eq!((expected.name, expected.variant.as_str(), expected.device.as_str()), (None, "auto", "auto"));
    }

    #[test]
    fn names_and_devices_are_checked() {
        let code = |model: Model| model.check().map_err(|error| error.code().as_str());
        assert_eq!(code(Model::new("a").name("x").variant("int8").device("cpu")), Ok(()));
        assert_eq!(code(Model::new("a").name("")), Err("config"));
        assert_eq!(code(Model::new("a").device("cuda")), Err("config"));
    }
}
