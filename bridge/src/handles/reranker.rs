//! [`Reranker`].

use std::sync::Arc;

use super::handle::Handle;
use super::source::Source;
use super::{FromSource, open, owned};
use crate::health::Health;
use crate::model::{Model, ModelInfo};
use crate::runtime::lane::Caller;
use crate::status::ModelStatus;
use crate::tasks::backend::RerankBackend;
use crate::tasks::{Ranked, RerankOptions};
use crate::{BridgeError, BridgeOptions};

/// A model that ranks documents for a query.
///
/// Clones share the model. All calls take `&self` and may come from many threads at once. Calls
/// wait in a queue and are served in turn. Asynchronous calls need a tokio runtime and hold no thread while they wait;
/// dropping the future of a call stops the call.
#[derive(Clone, Debug)]
pub struct Reranker(Handle<dyn RerankBackend>);

impl Reranker {
    /// Opens a model alone, without a bridge. Checks its artifact; no graph is loaded yet.
    ///
    /// # Errors
    /// `config` for an invalid option; the code of the first check that the artifact fails, from `path_kind` to `variant`;
    /// `variant` also for an artifact of another task; `io` if a file cannot be read.
    pub fn open(model: impl Into<Model>, options: BridgeOptions) -> Result<Self, BridgeError> {
        open(model.into(), &options)
    }

    /// The documents in the order of descending scores for a query; documents of equal scores keep their order. The
    /// result is empty if there are no documents.
    ///
    /// # Errors
    /// `config` (a `top_k` of 0), `input_too_large`, `dependency`, `graph` (at the first call) or `inference`; `cancelled` or
    /// `timeout` if the call was stopped. [`BridgeError::index`] is the index of the document that caused the error, if one
    /// did.
    pub async fn rerank(
        &self,
        query: String,
        documents: Vec<String>,
        options: RerankOptions,
    ) -> Result<Vec<Ranked>, BridgeError> {
        let (cancel, timeout) = (options.cancel.clone(), options.timeout);
        self.0
            .call_async(cancel.as_ref(), timeout, |backend, caller| rerank(backend, query, documents, options, caller))
            .await
    }

    /// The blocking twin of [`rerank`](Self::rerank).
    ///
    /// # Errors
    /// The errors of [`rerank`](Self::rerank).
    pub fn rerank_blocking(
        &self,
        query: &str,
        documents: &[impl AsRef<str>],
        options: &RerankOptions,
    ) -> Result<Vec<Ranked>, BridgeError> {
        self.0.call(options.cancel.as_ref(), options.timeout, |backend, caller| {
            rerank(backend, query.to_owned(), owned(documents), options.clone(), caller)
        })
    }

    /// The name, the task, the version and the variant of the model. A reload changes them.
    pub fn info(&self) -> ModelInfo {
        self.0.info()
    }

    /// The memory that the loaded graphs take, in bytes; 0 if they are not loaded. It is how much the process grew when they
    /// were loaded, at least the size of their files.
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

    pub(crate) fn max_tokens(&self) -> Option<usize> {
        self.0.max_tokens()
    }
}

async fn rerank(
    backend: Arc<dyn RerankBackend>,
    query: String,
    documents: Vec<String>,
    options: RerankOptions,
    caller: Caller,
) -> Result<Vec<Ranked>, BridgeError> {
    caller.stop.check()?;
    backend.rerank(query, documents, options, caller).await
}

impl FromSource for Reranker {
    fn from_source(source: Source) -> Result<Self, BridgeError> {
        Handle::new(source).map(Self)
    }
}
