//! The options and the results of calls that embed texts.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::answers::{Fallback, FromBackend, Usage, onnx};
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
    /// The number of tokens that the model read, including special tokens and the prompt, without padding; `None` if a
    /// server counted several texts together.
    pub token_count: Option<usize>,
    /// Whether the text was truncated to the model's `max_tokens`.
    pub truncated: bool,
    /// The name of what gave the answer: `onnx`, `openai`, `llama-cpp`, or the member of a chain.
    #[serde(default = "onnx")]
    pub backend: String,
    /// What failed before in a chain, in its order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fallbacks: Vec<Fallback>,
    /// What a server counted; `None` for ONNX models. A request of several texts is counted at its first text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
}

impl Embedding {
    pub(crate) fn new(vector: Vec<f32>, token_count: usize, truncated: bool) -> Self {
        let (token_count, backend) = (Some(token_count), onnx());
        Self { vector, token_count, truncated, backend, fallbacks: Vec::new(), usage: None }
    }
}

impl Embedding {
    /// The answer of a server. `token_count` is `None` if it counted several texts together.
    #[cfg(feature = "openai")]
    pub(crate) fn of_server(vector: Vec<f32>, token_count: Option<usize>, backend: &str, usage: Option<Usage>) -> Self {
        let (truncated, backend) = (false, backend.to_owned());
        Self { vector, token_count, truncated, backend, fallbacks: Vec::new(), usage }
    }
}

impl FromBackend for Embedding {
    fn set_backend(&mut self, backend: &str, fallbacks: &[Fallback]) {
        backend.clone_into(&mut self.backend);
        fallbacks.clone_into(&mut self.fallbacks);
    }
}

/// The answers for a batch, each field in the order of the texts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Embeddings {
    /// One vector of `dim` finite float32 values per text, or `dimensions` of the options.
    pub vectors: Vec<Vec<f32>>,
    /// The number of tokens that the model read of each text, including special tokens and the prompt, without padding;
    /// `None` if a server did not count each text.
    pub token_counts: Option<Vec<usize>>,
    /// Whether each text was truncated to the model's `max_tokens`.
    pub truncated: Vec<bool>,
    /// The number of elements of a vector.
    pub dim: usize,
    /// The name of what gave each answer.
    #[serde(default)]
    pub backends: Vec<String>,
    /// What failed before in a chain, for each text.
    #[serde(default)]
    pub fallbacks: Vec<Vec<Fallback>>,
    /// The sum of what servers counted; `None` for ONNX models.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
}

impl Embeddings {
    pub(crate) fn new(answers: Vec<Embedding>, dim: usize) -> Self {
        let token_counts = answers.iter().map(|answer| answer.token_count).collect();
        let usage = Usage::total(answers.iter().map(|answer| answer.usage));
        let (vectors, truncated, backends, fallbacks) = Default::default();
        let mut all = Self { vectors, token_counts, truncated, dim, backends, fallbacks, usage };
        for answer in answers {
            all.vectors.push(answer.vector);
            all.truncated.push(answer.truncated);
            all.backends.push(answer.backend);
            all.fallbacks.push(answer.fallbacks);
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
