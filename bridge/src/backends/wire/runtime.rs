//! The asynchronous runtime of all requests of the process. The first request starts it.

use std::sync::OnceLock;

use tokio::runtime::{Builder, Runtime};

use crate::BridgeError;

/// One thread reads an answer while the other one parses another.
const THREADS: usize = 2;

/// The runtime of all requests. Blocking callers and other runtimes than tokio's can wait for its tasks, too.
///
/// # Errors
/// `io`, if the system refuses its threads.
pub(crate) fn runtime() -> Result<&'static Runtime, BridgeError> {
    static RUNTIME: OnceLock<Result<Runtime, BridgeError>> = OnceLock::new();
    let build = || {
        let runtime =
            Builder::new_multi_thread().worker_threads(THREADS).thread_name("onnx-requests").enable_all().build();
        runtime.map_err(|error| BridgeError::io(std::path::Path::new("threads of requests"), &error))
    };
    RUNTIME.get_or_init(build).as_ref().map_err(BridgeError::clone)
}
