//! Metrics through the `metrics` facade: nothing is recorded until the application installs a recorder.
//!
//! All are labelled with `model` and `version`. Counters: `onnx_ml_bridge_requests_total`, `_items_total` (texts),
//! `_tokens_total` (without padding; of summaries those generated) and `_errors_total` (labelled with `code` as well).
//! Histograms in seconds: `onnx_ml_bridge_request_seconds` and `onnx_ml_bridge_load_seconds`.

use std::time::Duration;

use crate::artifact::Manifest;

/// The labels of one model.
#[derive(Debug, Clone)]
pub(crate) struct Meter {
    model: String,
    version: String,
}

impl Meter {
    pub(crate) fn of(manifest: &Manifest) -> Self {
        Self { model: manifest.name.clone(), version: manifest.version.clone() }
    }

    /// A request that was answered: its texts, its tokens and how long it took.
    pub(crate) fn request(&self, items: usize, tokens: usize, elapsed: Duration) {
        let (model, version) = (self.model.clone(), self.version.clone());
        let labels = [("model", model), ("version", version)];
        metrics::counter!("onnx_ml_bridge_requests_total", &labels).increment(1);
        metrics::counter!("onnx_ml_bridge_items_total", &labels).increment(items as u64);
        metrics::counter!("onnx_ml_bridge_tokens_total", &labels).increment(tokens as u64);
        metrics::histogram!("onnx_ml_bridge_request_seconds", &labels).record(elapsed.as_secs_f64());
    }

    /// A text or a request that failed.
    pub(crate) fn error(&self, code: &'static str) {
        let (model, version) = (self.model.clone(), self.version.clone());
        let labels = [("model", model), ("version", version), ("code", code.to_owned())];
        metrics::counter!("onnx_ml_bridge_errors_total", &labels).increment(1);
    }

    /// A session that was created.
    pub(crate) fn load(&self, elapsed: Duration) {
        let labels = [("model", self.model.clone()), ("version", self.version.clone())];
        metrics::histogram!("onnx_ml_bridge_load_seconds", &labels).record(elapsed.as_secs_f64());
    }
}
