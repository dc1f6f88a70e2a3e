//! Opens a bridge.toml: its ONNX models alone, or with backends and chains.

use std::path::Path;
use std::sync::Arc;

use crate::BridgeError;
use crate::api::MlBridge;
use crate::bridge::config::{self, BridgeFile};

/// Opens the models that a `bridge.toml` lists:
///
/// ```toml
/// [bridge]
/// threads = 2                       # default: the CPUs that the process may use
/// memory_mb = 2048                  # of all loaded models; default: no limit
/// max_waiting = 1024                # calls that wait for one model
/// text_limit = 1000000              # bytes of UTF-8
/// beam_limit = 8192
/// timeout_ms = 30000                # default: no limit
/// defaults = { embedding = "minilm" }
/// store = "s3://models/prod"        # or a folder, relative to the file; default: ONNX_ML_BRIDGE_STORE
/// trusted_keys = ["release.pem"]    # relative to the file; with keys, what they did not sign is refused
/// local_only = true                 # default: false; refuses what would leave this machine
///
/// [models.minilm]
/// path = "all-minilm-l6-v2"         # relative to the file, or a name in the store: "store:minilm@1.2.0"
/// variant = "int8"                  # default: auto
/// device = "cpu"                    # default: auto
/// identity = "9f86d0..."            # SHA-256 of manifest.json; default: any
/// preload = true                    # default: false, the first call loads the graphs
/// timeout_ms = 500                  # default: that of the bridge
/// idle_unload_s = 900               # default: never
/// workers = 2                       # default: one per thread, for summaries at most 2, for spaCy 4; on GPUs one each
/// run_tokens = 512
/// max_tokens = 128                  # default: the model's limit
/// merge = false                     # default: true
/// ```
///
/// A file may also list models of servers and GGUF files in tables `[backend.NAME]`, and chains of models in `[tasks]`, as
/// `docs/backends.md` says; these need the features `openai` and `llama-cpp`.
///
/// # Errors
/// `io` if the file cannot be read; `config` with all problems of the file; then the errors of [`Builder::build`](crate::Builder::build); `not_local`
/// if the file has `local_only` and lists something that is not on this machine.
pub fn open_bridge(config: impl AsRef<Path>) -> Result<Arc<dyn MlBridge>, BridgeError> {
    open(config::read(config.as_ref())?)
}

/// Like [`open_bridge`]. Refuses what would leave this machine, whatever the file says.
///
/// # Errors
/// The errors of [`open_bridge`].
pub fn open_bridge_local_only(config: impl AsRef<Path>) -> Result<Arc<dyn MlBridge>, BridgeError> {
    let file = config::read(config.as_ref())?;
    let options = file.options.clone().local_only(true);
    open(BridgeFile { options, ..file })
}

fn open(file: BridgeFile) -> Result<Arc<dyn MlBridge>, BridgeError> {
    if !file.backends.is_empty() || !file.tasks.is_empty() {
        return open_composite(&file);
    }
    let defaults = file.defaults.iter();
    let builder = defaults.fold(file.builder(), |builder, (task, name)| builder.default_model(*task, name));
    Ok(Arc::new(builder.build()?))
}

#[cfg(feature = "openai")]
fn open_composite(file: &BridgeFile) -> Result<Arc<dyn MlBridge>, BridgeError> {
    Ok(Arc::new(crate::backends::config::open(file)?))
}

#[cfg(not(feature = "openai"))]
fn open_composite(_: &BridgeFile) -> Result<Arc<dyn MlBridge>, BridgeError> {
    Err(BridgeError::Feature { what: "a bridge.toml with backends or tasks".to_owned(), feature: "openai" })
}
