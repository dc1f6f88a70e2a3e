//! The trait that applications call, and its types.

use async_trait::async_trait;

use crate::BridgeError;
use crate::families::Task;
use crate::families::ner::Entity;
#[cfg(feature = "rerank")]
use crate::families::rerank::Ranked;

/// The calls that an application makes to its open models.
///
/// The calls are shortcuts. The blocking methods of [`OnnxMlBridge`](crate::OnnxMlBridge) return more: scores, numbers
/// of tokens, whether a text was truncated. A call for a task of which no model is open fails with `task_not_loaded`,
/// and so does the default implementation of every method.
///
/// The trait is object-safe: `Arc<dyn MlBridge>` works.
#[async_trait]
pub trait MlBridge: Send + Sync {
    /// The vector of a text: `dim` finite float32 values. Truncating the text logs a warning.
    ///
    /// # Errors
    /// `task_not_loaded`, `input_too_large`, `dependency`, `graph` (at the first call) or `inference`.
    async fn generate_embedding(&self, text: &str) -> Result<Vec<f32>, BridgeError> {
        let _ = text;
        Err(BridgeError::TaskNotLoaded { call: "generate_embedding", task: Task::SentenceEmbedding.name() })
    }

    /// The vectors of several texts, in their order.
    ///
    /// # Errors
    /// The errors of [`generate_embedding`](Self::generate_embedding) for the first text that fails, with its index.
    async fn generate_embeddings(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, BridgeError> {
        let _ = texts;
        Err(BridgeError::TaskNotLoaded { call: "generate_embeddings", task: Task::SentenceEmbedding.name() })
    }

    /// The named entities of a text, in the order of the text.
    ///
    /// Uses the manifest's defaults. Truncating the text logs a warning.
    ///
    /// # Errors
    /// `task_not_loaded`, `model_not_found` (several models are open, and this call names none), `sentence_starts` (the
    /// model requires them), `input_too_large`, `dependency`, `graph` (at the first call) or `inference`.
    async fn extract_entities(&self, text: &str) -> Result<Vec<Entity>, BridgeError> {
        let _ = text;
        Err(BridgeError::TaskNotLoaded { call: "extract_entities", task: Task::Ner.name() })
    }

    /// The named entities of several texts, in their order.
    ///
    /// # Errors
    /// The errors of [`extract_entities`](Self::extract_entities) for the first text that fails, with its index.
    async fn extract_entities_batch(&self, texts: &[String]) -> Result<Vec<Vec<Entity>>, BridgeError> {
        let _ = texts;
        Err(BridgeError::TaskNotLoaded { call: "extract_entities_batch", task: Task::Ner.name() })
    }

    /// The summary of messages that belong together, which are joined with the manifest's separator.
    ///
    /// Uses the manifest's defaults. Truncating the messages logs a warning.
    ///
    /// # Errors
    /// `task_not_loaded`, `empty_input` (no messages, or only whitespace), `input_too_large`, `config` (the manifest's
    /// defaults exceed the beam limit), `dependency`, `graph` (at the first call) or `inference`.
    async fn summarize(&self, messages: &[String]) -> Result<String, BridgeError> {
        let _ = messages;
        Err(BridgeError::TaskNotLoaded { call: "summarize", task: Task::Summarization.name() })
    }

    /// The summaries of several lists of messages, in their order.
    ///
    /// # Errors
    /// The errors of [`summarize`](Self::summarize) for the first list that fails, with its index.
    async fn summarize_batch(&self, inputs: &[Vec<String>]) -> Result<Vec<String>, BridgeError> {
        let _ = inputs;
        Err(BridgeError::TaskNotLoaded { call: "summarize_batch", task: Task::Summarization.name() })
    }

    /// The documents in the order of descending scores for a query: all of them, or the first `top_k`. Documents of
    /// equal scores keep their order.
    ///
    /// # Errors
    /// `task_not_loaded`, `config` (a `top_k` of 0), `input_too_large`, `dependency`, `graph` (at the first call) or
    /// `inference`.
    #[cfg(feature = "rerank")]
    async fn rerank(
        &self,
        query: &str,
        documents: &[String],
        top_k: Option<usize>,
    ) -> Result<Vec<Ranked>, BridgeError> {
        let _ = (query, documents, top_k);
        Err(BridgeError::TaskNotLoaded { call: "rerank", task: Task::Rerank.name() })
    }

    /// The embedding model's name in its manifest.
    ///
    /// # Errors
    /// `task_not_loaded` without an open embedding model.
    async fn get_embedding_model_name(&self) -> Result<String, BridgeError> {
        Err(BridgeError::TaskNotLoaded { call: "get_embedding_model_name", task: Task::SentenceEmbedding.name() })
    }

    /// The summarizer's name in its manifest.
    ///
    /// # Errors
    /// `task_not_loaded` without an open summarizer.
    async fn get_summarization_model_name(&self) -> Result<String, BridgeError> {
        Err(BridgeError::TaskNotLoaded { call: "get_summarization_model_name", task: Task::Summarization.name() })
    }

    /// Whether every open model answers a short text. Returns `false` for any error.
    async fn health_check(&self) -> bool;
}
