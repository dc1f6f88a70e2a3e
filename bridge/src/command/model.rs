//! The arguments of every command that runs a model.

use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser};

use crate::families::Task;
use crate::families::loading::Artifact;
use crate::families::model::Model;
use crate::runtime::DEFAULT_TEXT_LIMIT;
use crate::runtime::options::{Limits, ModelOptions};
use crate::runtime::session::EngineOptions;
use crate::{BridgeError, OnnxMlBridge};

/// The model and its options.
#[derive(clap::Args)]
pub(crate) struct ModelArguments {
    /// The artifact's directory
    #[arg(long, value_name = "DIR", value_parser = directory())]
    pub(crate) model: PathBuf,
    /// A variant of the artifact, or auto: int8 if the CPU runs it exactly and fast, else fp32
    #[arg(long, default_value = "auto")]
    variant: String,
    /// Number of threads (default: the number of CPUs that affinity and the cgroup allow the process)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// Limit on the size of a text in bytes of UTF-8
    #[arg(long, value_name = "BYTES", default_value_t = DEFAULT_TEXT_LIMIT)]
    pub(crate) text_limit: usize,
    /// ONNX Runtime's shared library (default: the one that ORT_DYLIB_PATH names)
    #[arg(long, value_name = "PATH")]
    library: Option<PathBuf>,
}

/// Parses the path of a directory. It accepts an empty path, which the check `path_kind` refuses: clap's own parser would
/// report wrong usage instead.
pub(crate) fn directory() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

impl ModelArguments {
    /// Checks an artifact of a task; its graphs are loaded by the first call.
    pub(crate) fn open(&self, task: Task) -> Result<OnnxMlBridge, BridgeError> {
        let mut builder = OnnxMlBridge::builder().model(task, None, &self.model);
        builder = builder.variant(&self.variant).text_limit(self.text_limit);
        if let Some(threads) = self.threads {
            builder = builder.threads(threads.into());
        }
        if let Some(library) = &self.library {
            builder = builder.library(library);
        }
        builder.build()
    }

    /// Checks an artifact of any task and opens its model.
    pub(crate) fn open_any(&self) -> Result<Box<dyn Model>, BridgeError> {
        let (artifact, variant) = Artifact::open(&self.model, &self.variant)?;
        let threads = self.threads.map(usize::from);
        let engine = EngineOptions { threads, library: self.library.clone(), ..EngineOptions::default() };
        let limits = Limits { text: self.text_limit, ..Limits::default() };
        artifact.model(&variant, &ModelOptions { engine, limits })
    }
}
