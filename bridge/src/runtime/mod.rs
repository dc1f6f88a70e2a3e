//! Runs graphs: ONNX Runtime and its sessions, batches of inputs, metrics and cancellation.

pub(crate) mod batch;
pub(crate) mod cancellation;
pub mod cpu;
pub(crate) mod devices;
pub(crate) mod environment;
pub(crate) mod execution_providers;
#[cfg(feature = "load-dynamic")]
mod library;
pub(crate) mod meter;
pub(crate) mod options;
pub(crate) mod outputs;
pub(crate) mod providers;
pub(crate) mod session;
pub(crate) mod transformer;

pub use self::cancellation::CancelToken;
pub use self::environment::LIBRARY_VARIABLE;
pub use self::options::{DEFAULT_BEAM_LIMIT, DEFAULT_MAX_WAITING, DEFAULT_TEXT_LIMIT};
