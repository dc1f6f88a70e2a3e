//! [`Model`], which says what to open, and [`ModelInfo`], which describes an open model.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::BridgeError;
use crate::artifact::tree::is_hash;
use crate::options::number_problems;
use crate::runtime::devices::{AUTO, parse};
use crate::runtime::providers::Providers;
use crate::tasks::answers::onnx;
use crate::tasks::{Location, Task, seconds};

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
    /// are exact and fast; else `fp32`, else the first variant by name. On other devices `auto` is `fp16` if the artifact has
    /// it, else `fp32`, never `int8`.
    #[serde(default = "auto")]
    pub variant: String,
    /// The device that runs the model: `cpu`, `cuda`, `tensorrt`, `migraphx` (or `rocm`), `coreml`, `directml` or `openvino`,
    /// with an index as in `cuda:1` or a type as in `openvino:GPU`; or an execution provider of ONNX Runtime by its full name,
    /// which is untested. Each needs its cargo feature. `auto` uses a GPU if one works (`cuda`, `migraphx` or `directml`),
    /// else the CPU. Sessions take several devices, separated by commas, in turn.
    #[serde(default = "auto")]
    pub device: String,
    /// The time limit of calls that pass none, above 0; `None` for that of the bridge. JSON has seconds.
    #[serde(default, with = "seconds")]
    pub timeout: Option<Duration>,
    /// The SHA-256 of `manifest.json` that the artifact must have, 64 hexadecimal digits in lower case; `None` for any.
    #[serde(default)]
    pub identity: Option<String>,
    /// Loads the graphs when the model is opened, not in the first call.
    #[serde(default)]
    pub preload: bool,
    /// How long the model has no call before its graphs are freed, above 0; `None` to keep them. JSON has seconds.
    #[serde(default, with = "seconds")]
    pub idle_unload: Option<Duration>,
    /// How many runs of the model there are at the same time, 1 to 1,024. `None` for one per thread on the CPU, where all runs
    /// share a session, but at most 2 for summaries; for spaCy's small graphs one per thread, at most 4, each with its own
    /// session; else one per device, each with its own session.
    #[serde(default)]
    pub workers: Option<usize>,
    /// Limit on the tokens of a run, including padding, at least 1. `None` for 512; for summaries and spaCy's pipelines 2,048.
    /// A single longer text runs alone, in spaCy's pipelines in several runs.
    #[serde(default)]
    pub run_tokens: Option<usize>,
    /// Truncates texts to this number of tokens, which is at most the model's own limit; `None` for the model's limit.
    #[serde(default)]
    pub max_tokens: Option<usize>,
    /// Runs inputs of waiting calls together, which changes scores and vectors by rounding, about 1e-7.
    #[serde(default = "yes")]
    pub merge: bool,
    /// The name of the space of an embedding model: vectors of models in the same space may replace each other. Chains of
    /// embeddings need it.
    #[serde(default)]
    pub space: Option<String>,
}

fn auto() -> String {
    AUTO.to_owned()
}

fn yes() -> bool {
    true
}

impl Model {
    /// The model of an artifact, given its directory.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            name: None,
            variant: auto(),
            device: auto(),
            timeout: None,
            identity: None,
            preload: false,
            idle_unload: None,
            workers: None,
            run_tokens: None,
            max_tokens: None,
            merge: true,
            space: None,
        }
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

    /// Sets the device that runs the model, such as `auto`, `cpu` or `cuda:1`.
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

    /// Sets the SHA-256 of `manifest.json` that the artifact must have.
    #[must_use]
    pub fn identity(mut self, identity: impl Into<String>) -> Self {
        self.identity = Some(identity.into());
        self
    }

    /// Sets whether the graphs are loaded when the model is opened.
    #[must_use]
    pub fn preload(mut self, preload: bool) -> Self {
        self.preload = preload;
        self
    }

    /// Sets how long the model has no call before its graphs are freed, above 0.
    #[must_use]
    pub fn idle_unload(mut self, time: Duration) -> Self {
        self.idle_unload = Some(time);
        self
    }

    /// Sets how many runs of the model there are at the same time, 1 to 1,024.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = Some(workers);
        self
    }

    /// Limits the tokens of a run, including padding, at least 1.
    #[must_use]
    pub fn run_tokens(mut self, tokens: usize) -> Self {
        self.run_tokens = Some(tokens);
        self
    }

    /// Truncates texts to this number of tokens, at most the model's own limit.
    #[must_use]
    pub fn max_tokens(mut self, tokens: usize) -> Self {
        self.max_tokens = Some(tokens);
        self
    }

    /// Sets whether inputs of waiting calls run together.
    #[must_use]
    pub fn merge(mut self, merge: bool) -> Self {
        self.merge = merge;
        self
    }

    /// Sets the name of the space of an embedding model.
    #[must_use]
    pub fn space(mut self, space: impl Into<String>) -> Self {
        self.space = Some(space.into());
        self
    }

    /// Checks the values that do not depend on the artifact.
    ///
    /// # Errors
    /// `config`, with all problems at once.
    pub(crate) fn check(&self) -> Result<(), BridgeError> {
        let problems = self.problems();
        let path = self.path.display();
        match problems.is_empty() {
            true => Ok(()),
            false => Err(BridgeError::config(format!("the model at {path}: {}", problems.join("; ")))),
        }
    }

    fn problems(&self) -> Vec<String> {
        let numbers = [("workers", self.workers), ("run_tokens", self.run_tokens), ("max_tokens", self.max_tokens)];
        let mut problems = number_problems(&numbers);
        for (name, time) in [("timeout", self.timeout), ("idle_unload", self.idle_unload)] {
            if time.is_some_and(|time| time.is_zero()) {
                problems.push(format!("{name} is 0 s, expected more than 0"));
            }
        }
        if self.name.as_deref() == Some("") {
            problems.push("the name is empty".to_owned());
        }
        problems.extend(parse(&self.device).err());
        if let Some(identity) = self.identity.as_ref().filter(|text| !is_hash(text)) {
            problems.push(format!("identity is {identity:?}, expected 64 hexadecimal digits in lower case"));
        }
        problems
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
    /// The library of the original model, `transformers` or `spacy`; for other backends their kind, such as `openai`.
    pub engine: String,
    /// The version of the model; empty for other backends.
    pub version: String,
    /// The variant that is open; for other backends the name of the model at the server, or of its file.
    pub variant: String,
    /// SHA-256 of the artifact's `manifest.json` or of the GGUF file, hexadecimal. It identifies this version of the model.
    /// Empty for models of servers.
    pub identity: String,
    /// The directory of the artifact, absolute and without symbolic links; for other backends the GGUF file or the base URL.
    pub path: PathBuf,
    /// The device that was chosen, such as `cpu` or `cuda:0`. For models of servers it is their `location`, for a chain it
    /// is empty.
    pub device: String,
    /// The execution providers that run the nodes of the loaded graphs.
    pub providers: Providers,
    /// What answers calls: `onnx`, `openai`, `llama-cpp`, or the name of a member of a chain.
    #[serde(default = "onnx")]
    pub backend: String,
    /// Where the model runs.
    #[serde(default)]
    pub location: Location,
    /// The name of the space of an embedding model, if it declares one.
    #[serde(default)]
    pub space: Option<String>,
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
        assert_eq!(code(Model::new("a").device("tpu")), Err("config"));
        assert_eq!(code(Model::new("a").identity("0a".repeat(32))), Ok(()));
        assert_eq!(code(Model::new("a").identity("0A".repeat(32))), Err("config"));
        let zeros =
            Model::new("a").workers(0).run_tokens(0).max_tokens(0).timeout(Duration::ZERO).idle_unload(Duration::ZERO);
        let error = zeros.check().expect_err("zeros");
        assert_eq!((error.code().as_str(), error.to_string().matches(" is 0").count()), ("config", 5));
    }
}
