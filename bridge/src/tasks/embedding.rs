//! The options and the results of calls that embed texts.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::seconds;
use crate::runtime::cancellation::CancelToken;

/// Options of a call that embeds texts. A field that is `None` has the default of the model or of the bridge.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct EmbedOptions {
    /// The prompt put before every text, by its name in the manifest; `None` for the manifest's `default_prompt`.
    pub prompt_name: Option<String>,
    /// The number of elements of the vectors, one of those that the manifest lists under `embedding.dimensions`; `None`
    /// for whole vectors.
    pub dimensions: Option<usize>,
    /// Time limit of the whole call, above 0. JSON has seconds.
    #[serde(with = "seconds")]
    pub timeout: Option<Duration>,
    /// The token through which another thread can cancel the call. JSON omits it.
    #[serde(skip)]
    pub cancel: Option<CancelToken>,
}

impl EmbedOptions {
    /// Sets the prompt put before every text, by its name in the manifest.
    #[must_use]
    pub fn prompt_name(mut self, name: impl Into<String>) -> Self {
        self.prompt_name = Some(name.into());
        self
    }

    /// Sets the number of elements of the vectors, one of those that the manifest lists.
    #[must_use]
    pub fn dimensions(mut self, dimensions: usize) -> Self {
        self.dimensions = Some(dimensions);
        self
    }

    /// Sets the time limit of the whole call, above 0.
    #[must_use]
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = Some(limit);
        self
    }

    /// Sets the token through which another thread can cancel the call.
    #[must_use]
    pub fn cancel(mut self, token: CancelToken) -> Self {
        self.cancel = Some(token);
        self
    }
}

/// The answer for one text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Embedding {
    /// The vector: `dim` finite float32 values, or `dimensions` of the options.
    pub vector: Vec<f32>,
    /// The number of tokens that the model read, including special tokens and the prompt, without padding.
    pub token_count: usize,
    /// Whether the text was truncated to the model's `max_tokens`.
    pub truncated: bool,
}

impl Embedding {
    pub(crate) fn new(vector: Vec<f32>, token_count: usize, truncated: bool) -> Self {
        Self { vector, token_count, truncated }
    }
}

/// The answers for a batch, each field in the order of the texts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Embeddings {
    /// One vector of `dim` finite float32 values per text, or `dimensions` of the options.
    pub vectors: Vec<Vec<f32>>,
    /// The number of tokens that the model read of each text, including special tokens and the prompt, without padding.
    pub token_counts: Vec<usize>,
    /// Whether each text was truncated to the model's `max_tokens`.
    pub truncated: Vec<bool>,
    /// The number of elements of a vector.
    pub dim: usize,
}

impl Embeddings {
    pub(crate) fn new(answers: Vec<Embedding>, dim: usize) -> Self {
        let mut all = Self {
            vectors: Vec::with_capacity(answers.len()),
            token_counts: Vec::with_capacity(answers.len()),
            truncated: Vec::with_capacity(answers.len()),
            dim,
        };
        for Embedding { vector, token_count, truncated } in answers {
            all.vectors.push(vector);
            all.token_counts.push(token_count);
            all.truncated.push(truncated);
        }
        all
    }
}

/// The embedding of one window of a text. Both ends are exclusive.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EmbeddingWindow {
    /// The offset of the window's start in the text, in characters.
    pub start: usize,
    /// The offset of the window's end in the text, in characters.
    pub end: usize,
    /// The offset of the window's start in the text, in bytes of UTF-8.
    pub start_byte: usize,
    /// The offset of the window's end in the text, in bytes of UTF-8.
    pub end_byte: usize,
    /// The number of tokens that the model read, including special tokens and the prompt.
    pub token_count: usize,
    /// The vector: `dim` finite float32 values, or `dimensions` of the options.
    pub vector: Vec<f32>,
}
