//! [`Recognizer`].

use std::sync::Arc;

use super::handle::Handle;
use super::source::Source;
use super::{FromSource, open, owned};
use crate::health::Health;
use crate::model::{Model, ModelInfo};
use crate::runtime::lane::Caller;
use crate::status::ModelStatus;
use crate::tasks::backend::{RecognizeBackend, all};
use crate::tasks::{Entities, RecognizeOptions};
use crate::{BridgeError, BridgeOptions};

/// A model that finds named entities.
///
/// Clones share the model. All calls take `&self` and may come from many threads at once. Calls
/// wait in a queue and are served in turn. Asynchronous calls need a tokio runtime and hold no thread while they wait;
/// dropping the future of a call stops the call.
#[derive(Clone, Debug)]
pub struct Recognizer(Handle<dyn RecognizeBackend>);

impl Recognizer {
    /// Opens a model alone, without a bridge. Checks its artifact; no graph is loaded yet.
    ///
    /// # Errors
    /// `config` for an invalid option; the code of the first check that the artifact fails, from `path_kind` to `variant`;
    /// `variant` also for an artifact of another task; `io` if a file cannot be read.
    pub fn open(model: impl Into<Model>, options: BridgeOptions) -> Result<Self, BridgeError> {
        open(model.into(), &options)
    }

    /// Finds the named entities of texts. Returns one answer per text, in their order.
    ///
    /// # Errors
    /// `config` (an option that the model does not have), `sentence_starts`, `input_too_large`, `dependency`, `graph` (at the
    /// first call) or `inference`; `cancelled` or `timeout` if the call was stopped. [`BridgeError::index`] is the index of the text that
    /// caused the error, if one did.
    pub async fn recognize(&self, texts: Vec<String>, options: RecognizeOptions) -> Result<Vec<Entities>, BridgeError> {
        let (cancel, timeout) = (options.cancel.clone(), options.timeout);
        self.0.call_async(cancel.as_ref(), timeout, |backend, caller| recognize(backend, texts, options, caller)).await
    }

    /// The blocking twin of [`recognize`](Self::recognize).
    ///
    /// # Errors
    /// The errors of [`recognize`](Self::recognize).
    pub fn recognize_blocking(
        &self,
        texts: &[impl AsRef<str>],
        options: &RecognizeOptions,
    ) -> Result<Vec<Entities>, BridgeError> {
        self.0.call(options.cancel.as_ref(), options.timeout, |backend, caller| {
            recognize(backend, owned(texts), options.clone(), caller)
        })
    }

    /// Like [`recognize`](Self::recognize), but returns the outcome of each text: one bad text does not lose the others. A call
    /// that is stopped keeps its finished answers; the other texts fail with the code `cancelled` or `timeout`.
    ///
    /// # Errors
    /// An error that concerns every text: `config`, `sentence_starts` (missing or unexpected for all texts), `dependency` or `graph`.
    pub async fn recognize_each(
        &self,
        texts: Vec<String>,
        options: RecognizeOptions,
    ) -> Result<Vec<Result<Entities, BridgeError>>, BridgeError> {
        let (cancel, timeout) = (options.cancel.clone(), options.timeout);
        self.0
            .call_async(cancel.as_ref(), timeout, |backend, caller| backend.recognize_each(texts, options, caller))
            .await
    }

    /// The blocking twin of [`recognize_each`](Self::recognize_each).
    ///
    /// # Errors
    /// The errors of [`recognize_each`](Self::recognize_each).
    pub fn recognize_each_blocking(
        &self,
        texts: &[impl AsRef<str>],
        options: &RecognizeOptions,
    ) -> Result<Vec<Result<Entities, BridgeError>>, BridgeError> {
        self.0.call(options.cancel.as_ref(), options.timeout, |backend, caller| {
            backend.recognize_each(owned(texts), options.clone(), caller)
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
    pub(crate) fn handle(&self) -> &Handle<dyn RecognizeBackend> {
        &self.0
    }

    pub(crate) fn max_tokens(&self) -> Option<usize> {
        self.0.max_tokens()
    }
}

async fn recognize(
    backend: Arc<dyn RecognizeBackend>,
    texts: Vec<String>,
    options: RecognizeOptions,
    caller: Caller,
) -> Result<Vec<Entities>, BridgeError> {
    caller.stop.check()?;
    all(backend.recognize_each(texts, options, caller).await?)
}

impl FromSource for Recognizer {
    fn from_source(source: Source) -> Result<Self, BridgeError> {
        Handle::new(source).map(Self)
    }
}
