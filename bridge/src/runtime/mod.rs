//! Runs graphs: ONNX Runtime and its sessions, the lanes of models, batches of inputs, metrics and cancellation.

pub(crate) mod batch;
pub(crate) mod blocking;
pub(crate) mod cancellation;
pub mod cpu;
pub(crate) mod deadlines;
pub(crate) mod devices;
pub(crate) mod environment;
pub(crate) mod execution_providers;
pub(crate) mod file_check;
pub(crate) mod freed_memory;
pub(crate) mod graph_session;
pub(crate) mod lane;
#[cfg(feature = "load-dynamic")]
mod library;
pub(crate) mod memory;
pub(crate) mod meter;
pub(crate) mod options;
pub(crate) mod outputs;
pub(crate) mod panics;
pub(crate) mod providers;
pub(crate) mod random;
pub(crate) mod scope;
pub(crate) mod session;
pub(crate) mod trace;
pub(crate) mod transformer;

pub use self::cancellation::CancelToken;
pub use self::environment::LIBRARY_VARIABLE;
pub use self::options::{DEFAULT_BEAM_LIMIT, DEFAULT_MAX_WAITING, DEFAULT_TEXT_LIMIT};
