//! The arguments that every command which runs a model has.

use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser};
use onnx_ml_bridge::runtime::DEFAULT_TEXT_LIMIT;
use onnx_ml_bridge::{BridgeError, OnnxMlBridge, OnnxMlBridgeBuilder};

/// Which model, and how it runs.
#[derive(clap::Args)]
pub(crate) struct ModelArguments {
    /// The artifact's directory
    #[arg(long, value_name = "DIR", value_parser = directory())]
    pub(crate) model: PathBuf,
    /// A variant of the artifact, or auto: int8 where the CPU runs it exactly at full speed, else fp32
    #[arg(long, default_value = "auto")]
    variant: String,
    /// Threads (default: those that affinity and the cgroup leave to the process)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// Largest text in bytes of UTF-8
    #[arg(long, value_name = "BYTES", default_value_t = DEFAULT_TEXT_LIMIT)]
    pub(crate) text_limit: usize,
    /// ONNX Runtime's shared library (default: the one that ORT_DYLIB_PATH names)
    #[arg(long, value_name = "PATH")]
    library: Option<PathBuf>,
}

/// Reads the path of a directory. An empty one, which clap would refuse as wrong usage, is for the check `path_kind`.
pub(crate) fn directory() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

impl ModelArguments {
    /// Checks an embedding artifact; its graph is loaded by the first call.
    pub(crate) fn open_embedding(&self) -> Result<OnnxMlBridge, BridgeError> {
        self.configure(OnnxMlBridge::builder().embedding(&self.model)).build()
    }

    /// Checks an artifact that finds named entities; its graphs are loaded by the first call.
    pub(crate) fn open_ner(&self) -> Result<OnnxMlBridge, BridgeError> {
        self.configure(OnnxMlBridge::builder().ner(&self.model)).build()
    }

    /// Checks an artifact that summarizes; its graph is loaded by the first call.
    pub(crate) fn open_summarization(&self) -> Result<OnnxMlBridge, BridgeError> {
        self.configure(OnnxMlBridge::builder().summarization(&self.model)).build()
    }

    fn configure(&self, builder: OnnxMlBridgeBuilder) -> OnnxMlBridgeBuilder {
        let mut builder = builder.variant(&self.variant).text_limit(self.text_limit);
        if let Some(threads) = self.threads {
            builder = builder.threads(threads.into());
        }
        if let Some(library) = &self.library {
            builder = builder.library(library);
        }
        builder
    }
}
