//! Metrics of a model, recorded with the `metrics` facade. Nothing is recorded until the application installs a recorder.
//!
//! `docs/metrics.md` lists their names, labels and meanings, which Python shares.

use std::time::Duration;

use crate::artifact::Manifest;
use crate::error_code::ErrorCode;

/// Why a model was unloaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UnloadReason {
    /// The model had no call for its `idle_unload`.
    Idle,
    /// Another model needed the memory, within the limit of the bridge.
    MemoryLimit,
    /// The memory of the system is scarce.
    Pressure,
    /// The application asked for it.
    Call,
}

impl UnloadReason {
    fn label(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::MemoryLimit => "memory_mb",
            Self::Pressure => "pressure",
            Self::Call => "call",
        }
    }
}

/// Records the metrics of one model, with the labels `model` and `version`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Meter {
    model: String,
    version: String,
}

impl Meter {
    pub(crate) fn of(manifest: &Manifest) -> Self {
        Self { model: manifest.name.clone(), version: manifest.version.clone() }
    }

    /// The metrics of a model of another backend: `model` is the name of the model, `version` that of the backend.
    pub(crate) fn of_backend(backend: &str, model: &str) -> Self {
        Self { model: model.to_owned(), version: backend.to_owned() }
    }

    /// Records a request that was answered: the number of its texts and of its tokens, and its duration.
    pub(crate) fn request(&self, items: usize, tokens: usize, elapsed: Duration) {
        let (model, version) = (self.model.clone(), self.version.clone());
        let labels = [("model", model), ("version", version)];
        metrics::counter!("onnx_ml_bridge_requests_total", &labels).increment(1);
        metrics::counter!("onnx_ml_bridge_items_total", &labels).increment(items as u64);
        metrics::counter!("onnx_ml_bridge_tokens_total", &labels).increment(tokens as u64);
        metrics::histogram!("onnx_ml_bridge_request_seconds", &labels).record(elapsed.as_secs_f64());
    }

    /// Records that a call starts to wait in the lane.
    pub(crate) fn waits(&self) {
        let labels = [("model", self.model.clone()), ("version", self.version.clone())];
        metrics::gauge!("onnx_ml_bridge_waiting", &labels).increment(1.0);
    }

    /// Records that a call does not wait any more: its last run has started, or it has left the lane.
    pub(crate) fn waits_no_more(&self) {
        let labels = [("model", self.model.clone()), ("version", self.version.clone())];
        metrics::gauge!("onnx_ml_bridge_waiting", &labels).decrement(1.0);
    }

    /// Records how long a call waited in the queue until its first run started.
    pub(crate) fn waited(&self, elapsed: Duration) {
        let labels = [("model", self.model.clone()), ("version", self.version.clone())];
        metrics::histogram!("onnx_ml_bridge_queue_seconds", &labels).record(elapsed.as_secs_f64());
    }

    /// Records that a run of a graph starts, and its size in tokens, padding included.
    pub(crate) fn run(&self, tokens: usize) {
        let labels = [("model", self.model.clone()), ("version", self.version.clone())];
        metrics::counter!("onnx_ml_bridge_runs_total", &labels).increment(1);
        metrics::histogram!("onnx_ml_bridge_run_tokens", &labels).record(tokens as f64);
    }

    /// Records that a request is sent to a server.
    pub(crate) fn sent(&self) {
        let labels = [("model", self.model.clone()), ("version", self.version.clone())];
        metrics::counter!("onnx_ml_bridge_runs_total", &labels).increment(1);
    }

    /// Records that a request is sent again, by the code of the error before.
    pub(crate) fn retry(&self, code: ErrorCode) {
        metrics::counter!("onnx_ml_bridge_retries_total", &self.with_code(code)).increment(1);
    }

    /// Records that a chain passed a text on, by the code of the error.
    pub(crate) fn fallback(&self, code: ErrorCode) {
        metrics::counter!("onnx_ml_bridge_fallbacks_total", &self.with_code(code)).increment(1);
    }

    /// Records entities of a language model that are not in the text.
    pub(crate) fn dropped(&self, entities: usize) {
        let labels = [("model", self.model.clone()), ("version", self.version.clone())];
        metrics::counter!("onnx_ml_bridge_dropped_entities_total", &labels).increment(entities as u64);
    }

    fn with_code(&self, code: ErrorCode) -> [(&'static str, String); 3] {
        [("model", self.model.clone()), ("version", self.version.clone()), ("code", code.as_str().to_owned())]
    }

    /// Records how long a run of a graph took, also one that failed.
    pub(crate) fn run_ended(&self, elapsed: Duration) {
        let labels = [("model", self.model.clone()), ("version", self.version.clone())];
        metrics::histogram!("onnx_ml_bridge_run_seconds", &labels).record(elapsed.as_secs_f64());
    }

    /// Records that a text or a whole request failed, by the code of the error.
    pub(crate) fn error(&self, code: ErrorCode) {
        metrics::counter!("onnx_ml_bridge_errors_total", &self.with_code(code)).increment(1);
    }

    /// Records how long it took to load the graphs.
    pub(crate) fn load(&self, elapsed: Duration) {
        let labels = [("model", self.model.clone()), ("version", self.version.clone())];
        metrics::histogram!("onnx_ml_bridge_load_seconds", &labels).record(elapsed.as_secs_f64());
    }

    /// Records that the model was loaded and takes this memory.
    pub(crate) fn loaded(&self, bytes: u64) {
        let labels = [("model", self.model.clone()), ("version", self.version.clone())];
        metrics::gauge!("onnx_ml_bridge_loaded", &labels).increment(1.0);
        metrics::gauge!("onnx_ml_bridge_resident_bytes", &labels).increment(bytes as f64);
    }

    /// Records that the memory of the loaded model was freed: by an unload with a reason, or with the model itself.
    pub(crate) fn unloaded(&self, bytes: u64, reason: Option<UnloadReason>) {
        let labels = [("model", self.model.clone()), ("version", self.version.clone())];
        metrics::gauge!("onnx_ml_bridge_loaded", &labels).decrement(1.0);
        metrics::gauge!("onnx_ml_bridge_resident_bytes", &labels).decrement(bytes as f64);
        if let Some(reason) = reason {
            let [model, version] = labels;
            let labels = [model, version, ("reason", reason.label().to_owned())];
            metrics::counter!("onnx_ml_bridge_unloads_total", &labels).increment(1);
        }
    }
}
