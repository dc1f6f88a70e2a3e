//! [`Summarizer`].

use std::sync::Arc;

use super::handle::Handle;
use super::source::Source;
use super::{FromSource, open};
use crate::health::Health;
use crate::model::{Model, ModelInfo};
use crate::runtime::lane::Caller;
use crate::status::ModelStatus;
use crate::tasks::backend::{SummarizeBackend, all};
use crate::tasks::{SummarizeOptions, Summary};
use crate::{BridgeError, BridgeOptions};

/// A model that summarizes lists of messages.
///
/// Clones share the model. All calls take `&self` and may come from many threads at once. Calls
/// wait in a queue and are served in turn. Asynchronous calls need a tokio runtime and hold no thread while they wait;
/// dropping the future of a call stops the call.
#[derive(Clone, Debug)]
pub struct Summarizer(Handle<dyn SummarizeBackend>);

impl Summarizer {
    /// Opens a model alone, without a bridge. Checks its artifact; no graph is loaded yet.
    ///
    /// # Errors
    /// `config` for an invalid option; the code of the first check that the artifact fails, from `path_kind` to `variant`;
    /// `variant` also for an artifact of another task; `io` if a file cannot be read.
    pub fn open(model: impl Into<Model>, options: BridgeOptions) -> Result<Self, BridgeError> {
        open(model.into(), &options)
    }

    /// Summarizes inputs. Each input is a list of messages that belong together. Returns one summary per input, in their
    /// order.
    ///
    /// # Errors
    /// `config` (a setting out of its range, or beyond the beam limit), `empty_input`, `input_too_large`, `dependency`, `graph`
    /// (at the first call) or `inference`; `cancelled` or `timeout` if the call was stopped. [`BridgeError::index`] is the index of the input that
    /// caused the error, if one did.
    pub async fn summarize(
        &self,
        inputs: Vec<Vec<String>>,
        options: SummarizeOptions,
    ) -> Result<Vec<Summary>, BridgeError> {
        let (cancel, timeout) = (options.cancel.clone(), options.timeout);
        self.0.call_async(cancel.as_ref(), timeout, |backend, caller| summarize(backend, inputs, options, caller)).await
    }

    /// The blocking twin of [`summarize`](Self::summarize).
    ///
    /// # Errors
    /// The errors of [`summarize`](Self::summarize).
    pub fn summarize_blocking(
        &self,
        inputs: &[Vec<String>],
        options: &SummarizeOptions,
    ) -> Result<Vec<Summary>, BridgeError> {
        self.0.call(options.cancel.as_ref(), options.timeout, |backend, caller| {
            summarize(backend, inputs.to_vec(), options.clone(), caller)
        })
    }

    /// Like [`summarize`](Self::summarize), but returns the outcome of each input: one bad input does not lose the others. A call
    /// that is stopped keeps its finished answers; the other inputs fail with the code `cancelled` or `timeout`.
    ///
    /// # Errors
    /// An error that concerns every input: `config`, `dependency` or `graph`.
    pub async fn summarize_each(
        &self,
        inputs: Vec<Vec<String>>,
        options: SummarizeOptions,
    ) -> Result<Vec<Result<Summary, BridgeError>>, BridgeError> {
        let (cancel, timeout) = (options.cancel.clone(), options.timeout);
        self.0
            .call_async(cancel.as_ref(), timeout, |backend, caller| backend.summarize_each(inputs, options, caller))
            .await
    }

    /// The blocking twin of [`summarize_each`](Self::summarize_each).
    ///
    /// # Errors
    /// The errors of [`summarize_each`](Self::summarize_each).
    pub fn summarize_each_blocking(
        &self,
        inputs: &[Vec<String>],
        options: &SummarizeOptions,
    ) -> Result<Vec<Result<Summary, BridgeError>>, BridgeError> {
        self.0.call(options.cancel.as_ref(), options.timeout, |backend, caller| {
            backend.summarize_each(inputs.to_vec(), options.clone(), caller)
        })
    }

    /// The name, the task, the version and the variant of the model. A reload changes them.
    pub fn info(&self) -> ModelInfo {
        self.0.info()
    }

    /// The memory that the loaded graphs take, in bytes; 0 if they are not loaded. It is how much the process grew when they
    /// were loaded, at least the size of their files. For a GGUF file it is the memory of its server when that had started.
    pub fn resident_bytes(&self) -> u64 {
        self.0.resident_bytes()
    }

    /// Loads every graph now, so that the first call does not wait for it.
    ///
    /// # Errors
    /// `dependency` without a usable ONNX Runtime, `graph` if it refuses a graph.
    pub async fn warm_up(&self) -> Result<(), BridgeError> {
        self.0.warm_up().await
    }

    /// The blocking twin of [`warm_up`](Self::warm_up).
    ///
    /// # Errors
    /// The errors of [`warm_up`](Self::warm_up).
    pub fn warm_up_blocking(&self) -> Result<(), BridgeError> {
        self.0.warm_up_blocking()
    }

    /// Frees the graphs as soon as no call uses them; the next call loads them again.
    pub fn unload(&self) {
        self.0.unload();
    }

    /// What the model does at the moment. Runs nothing and does not wait for any call.
    pub fn status(&self) -> ModelStatus {
        self.0.status()
    }

    /// Whether the model works. Runs nothing and spends no tokens: the server of a model that has one is asked.
    pub async fn health(&self) -> Health {
        self.0.health().await
    }

    /// Answers a short text.
    ///
    /// # Errors
    /// The error of the call: the model cannot be used.
    pub async fn self_test(&self) -> Result<(), BridgeError> {
        self.0.self_test().await
    }

    /// The blocking twin of [`self_test`](Self::self_test).
    ///
    /// # Errors
    /// The errors of [`self_test`](Self::self_test).
    pub fn self_test_blocking(&self) -> Result<(), BridgeError> {
        self.0.self_test_blocking()
    }

    #[cfg(feature = "openai")]
    pub(crate) fn handle(&self) -> &Handle<dyn SummarizeBackend> {
        &self.0
    }

    pub(crate) fn max_tokens(&self) -> Option<usize> {
        self.0.max_tokens()
    }
}

async fn summarize(
    backend: Arc<dyn SummarizeBackend>,
    inputs: Vec<Vec<String>>,
    options: SummarizeOptions,
    caller: Caller,
) -> Result<Vec<Summary>, BridgeError> {
    caller.stop.check()?;
    all(backend.summarize_each(inputs, options, caller).await?)
}

impl FromSource for Summarizer {
    fn from_source(source: Source) -> Result<Self, BridgeError> {
        Handle::new(source).map(Self)
    }
}
