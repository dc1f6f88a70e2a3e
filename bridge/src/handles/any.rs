//! A handle of any task.

use super::{Embedder, Recognizer, Reranker, Summarizer};
use crate::BridgeError;
use crate::health::Health;
use crate::model::ModelInfo;
use crate::status::ModelStatus;

/// A handle of a model of any task, for the calls that all models have.
#[derive(Clone)]
pub(crate) enum AnyHandle {
    Embedder(Embedder),
    Recognizer(Recognizer),
    Summarizer(Summarizer),
    Reranker(Reranker),
}

impl AnyHandle {
    /// The error of a handle of another task than that of the call.
    #[cfg(feature = "openai")]
    pub(crate) fn unexpected(&self) -> BridgeError {
        BridgeError::Internal { problem: format!("the model {:?} is for another task", self.info().name) }
    }

    pub(crate) fn warm_up_blocking(&self) -> Result<(), BridgeError> {
        match self {
            Self::Embedder(handle) => handle.warm_up_blocking(),
            Self::Recognizer(handle) => handle.warm_up_blocking(),
            Self::Summarizer(handle) => handle.warm_up_blocking(),
            Self::Reranker(handle) => handle.warm_up_blocking(),
        }
    }

    pub(crate) async fn warm_up(&self) -> Result<(), BridgeError> {
        match self {
            Self::Embedder(handle) => handle.warm_up().await,
            Self::Recognizer(handle) => handle.warm_up().await,
            Self::Summarizer(handle) => handle.warm_up().await,
            Self::Reranker(handle) => handle.warm_up().await,
        }
    }

    pub(crate) fn self_test_blocking(&self) -> Result<(), BridgeError> {
        match self {
            Self::Embedder(handle) => handle.self_test_blocking(),
            Self::Recognizer(handle) => handle.self_test_blocking(),
            Self::Summarizer(handle) => handle.self_test_blocking(),
            Self::Reranker(handle) => handle.self_test_blocking(),
        }
    }

    pub(crate) async fn self_test(&self) -> Result<(), BridgeError> {
        match self {
            Self::Embedder(handle) => handle.self_test().await,
            Self::Recognizer(handle) => handle.self_test().await,
            Self::Summarizer(handle) => handle.self_test().await,
            Self::Reranker(handle) => handle.self_test().await,
        }
    }

    pub(crate) fn status(&self) -> ModelStatus {
        match self {
            Self::Embedder(handle) => handle.status(),
            Self::Recognizer(handle) => handle.status(),
            Self::Summarizer(handle) => handle.status(),
            Self::Reranker(handle) => handle.status(),
        }
    }

    pub(crate) fn unload(&self) {
        match self {
            Self::Embedder(handle) => handle.unload(),
            Self::Recognizer(handle) => handle.unload(),
            Self::Summarizer(handle) => handle.unload(),
            Self::Reranker(handle) => handle.unload(),
        }
    }

    pub(crate) fn info(&self) -> ModelInfo {
        match self {
            Self::Embedder(handle) => handle.info(),
            Self::Recognizer(handle) => handle.info(),
            Self::Summarizer(handle) => handle.info(),
            Self::Reranker(handle) => handle.info(),
        }
    }

    pub(crate) fn max_tokens(&self) -> Option<usize> {
        match self {
            Self::Embedder(handle) => handle.max_tokens(),
            Self::Recognizer(handle) => handle.max_tokens(),
            Self::Summarizer(handle) => handle.max_tokens(),
            Self::Reranker(handle) => handle.max_tokens(),
        }
    }

    pub(crate) async fn health(&self) -> Health {
        match self {
            Self::Embedder(handle) => handle.health().await,
            Self::Recognizer(handle) => handle.health().await,
            Self::Summarizer(handle) => handle.health().await,
            Self::Reranker(handle) => handle.health().await,
        }
    }
}
