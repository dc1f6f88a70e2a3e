//! The trait that applications call, and its types.

use async_trait::async_trait;

use crate::BridgeError;
use crate::artifact::manifest::{NER, SENTENCE_EMBEDDING, SUMMARIZATION};
use crate::runtime::places::utf16_len;

/// A named entity in a text.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Entity {
    /// The entity as the text spells it.
    pub text: String,
    /// Its label (`PERSON`, `ORG`, ...).
    pub label: String,
    /// Where it starts, counted in Unicode characters (not bytes) from the start of the text.
    pub start: usize,
    /// Where it ends, in Unicode characters, exclusive.
    pub end: usize,
    /// Where it starts in bytes of UTF-8: what slicing a Rust string needs.
    pub start_byte: usize,
    /// Where it ends in bytes of UTF-8, exclusive.
    pub end_byte: usize,
    /// How sure the model is, from 0 to 1; `None` where it has no probability (spaCy). Left out of JSON then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<f32>,
}

impl Entity {
    /// Where it starts and ends in UTF-16 units, as JavaScript counts; the end is exclusive.
    ///
    /// `text` is the text that the entity was found in: how many units come before it depends on the characters there,
    /// which the entity does not keep. `None` where that text does not have the entity at its place.
    pub fn utf16_range(&self, text: &str) -> Option<(usize, usize)> {
        let found = text.get(self.start_byte..self.end_byte)?;
        let start = utf16_len(&text[..self.start_byte]);
        (found == self.text).then(|| (start, start + utf16_len(found)))
    }
}

/// The calls of an application to its models.
///
/// The calls are shortcuts: where an answer has more to say than a vector or a string can, the blocking methods of
/// [`OnnxMlBridge`](crate::OnnxMlBridge) return it. A task that was not opened answers with `task_not_loaded`; this is
/// what the default methods do.
///
/// The trait is object-safe: `Arc<dyn MlBridge>` works.
#[async_trait]
pub trait MlBridge: Send + Sync {
    /// The vector of a text: `dim` finite float32 values. A text that had to be cut logs a warning.
    ///
    /// # Errors
    /// `task_not_loaded`, `input_too_large`, `dependency`, `graph` (at the first call) or `inference`.
    async fn generate_embedding(&self, text: &str) -> Result<Vec<f32>, BridgeError> {
        let _ = text;
        Err(BridgeError::TaskNotLoaded { call: "generate_embedding", task: SENTENCE_EMBEDDING })
    }

    /// The vectors of several texts, in their order.
    ///
    /// # Errors
    /// Those of [`generate_embedding`](Self::generate_embedding), of the first text that has one, with its index.
    async fn generate_embeddings(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, BridgeError> {
        let _ = texts;
        Err(BridgeError::TaskNotLoaded { call: "generate_embeddings", task: SENTENCE_EMBEDDING })
    }

    /// The named entities of a text, in the order of the text.
    ///
    /// With the manifest's own settings. A text that had to be cut logs a warning.
    ///
    /// # Errors
    /// `task_not_loaded`, `model_not_found` (several models are open, and this call names none), `sentence_starts` (the
    /// model wants them), `input_too_large`, `dependency`, `graph` (at the first call) or `inference`.
    async fn extract_entities(&self, text: &str) -> Result<Vec<Entity>, BridgeError> {
        let _ = text;
        Err(BridgeError::TaskNotLoaded { call: "extract_entities", task: NER })
    }

    /// The named entities of several texts, in their order.
    ///
    /// # Errors
    /// Those of [`extract_entities`](Self::extract_entities), of the first text that has one, with its index.
    async fn extract_entities_batch(&self, texts: &[String]) -> Result<Vec<Vec<Entity>>, BridgeError> {
        let _ = texts;
        Err(BridgeError::TaskNotLoaded { call: "extract_entities_batch", task: NER })
    }

    /// A summary of messages that belong together, joined as the manifest says: with one blank.
    ///
    /// With the manifest's own settings. Messages that had to be cut log a warning.
    ///
    /// # Errors
    /// `task_not_loaded`, `empty_input` (no messages, or blank ones alone), `input_too_large`, `config` (the manifest's own
    /// settings exceed the beam limit), `dependency`, `graph` (at the first call) or `inference`.
    async fn summarize(&self, messages: &[String]) -> Result<String, BridgeError> {
        let _ = messages;
        Err(BridgeError::TaskNotLoaded { call: "summarize", task: SUMMARIZATION })
    }

    /// The summaries of several lists of messages, in their order.
    ///
    /// # Errors
    /// Those of [`summarize`](Self::summarize), of the first list that has one, with its index.
    async fn summarize_batch(&self, inputs: &[Vec<String>]) -> Result<Vec<String>, BridgeError> {
        let _ = inputs;
        Err(BridgeError::TaskNotLoaded { call: "summarize_batch", task: SUMMARIZATION })
    }

    /// The name of the embedding model, as its manifest has it.
    ///
    /// # Errors
    /// `task_not_loaded` where no embedding model is opened.
    async fn get_embedding_model_name(&self) -> Result<String, BridgeError> {
        Err(BridgeError::TaskNotLoaded { call: "get_embedding_model_name", task: SENTENCE_EMBEDDING })
    }

    /// The name of the model that summarizes, as its manifest has it.
    ///
    /// # Errors
    /// `task_not_loaded` where no model that summarizes is opened.
    async fn get_summarization_model_name(&self) -> Result<String, BridgeError> {
        Err(BridgeError::TaskNotLoaded { call: "get_summarization_model_name", task: SUMMARIZATION })
    }

    /// Whether every opened model answers as it should, tried on a short text. Never fails: an error means `false`.
    async fn health_check(&self) -> bool;
}
