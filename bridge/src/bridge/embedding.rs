//! The calls of [`OnnxMlBridge`] that embed texts.

use std::path::PathBuf;

use super::{OnnxMlBridge, borrow, warn_of_truncation};
use crate::artifact::Manifest;
use crate::families::Task;
use crate::families::model::Model;
use crate::families::sentence_embedding::model::EmbeddingModel;
use crate::{BridgeError, EmbedOptions, Embedding, Embeddings};

impl OnnxMlBridge {
    /// Opens an embedding artifact with the default options.
    ///
    /// # Errors
    /// The errors of [`OnnxMlBridgeBuilder::build`](crate::OnnxMlBridgeBuilder::build).
    pub fn open_embedding(path: impl Into<PathBuf>) -> Result<Self, BridgeError> {
        Self::builder().embedding(path).build()
    }

    /// Embeds texts. Returns one vector per text, in their order.
    ///
    /// # Errors
    /// `task_not_loaded`, `prompt_not_found`, `input_too_large`, `dependency`, `graph` (at the first call) or
    /// `inference`. [`BridgeError::index`] is the index of the text that caused the error, if one did.
    pub fn embed(&self, texts: &[impl AsRef<str>], options: &EmbedOptions) -> Result<Embeddings, BridgeError> {
        self.embedder("embed")?.embed(&borrow(texts), options)
    }

    /// Embeds texts and returns the outcome of each: one bad text does not lose the others.
    ///
    /// # Errors
    /// `task_not_loaded`, `prompt_not_found`, `dependency` or `graph`, which concern every text.
    pub fn embed_each(
        &self,
        texts: &[impl AsRef<str>],
        options: &EmbedOptions,
    ) -> Result<Vec<Result<Embedding, BridgeError>>, BridgeError> {
        self.embedder("embed_each")?.embed_each(&borrow(texts), options)
    }

    /// The vector of one text, with the manifest's default prompt. Truncating the text logs a warning.
    ///
    /// # Errors
    /// The errors of [`embed`](Self::embed).
    pub fn generate_embedding_blocking(&self, text: &str) -> Result<Vec<f32>, BridgeError> {
        let vectors = self.generate_embeddings_batch(&[text])?;
        vectors.into_iter().next().ok_or_else(|| BridgeError::inference(Some(0), "returned no vector"))
    }

    /// The vectors of several texts, with the manifest's default prompt. Truncating a text logs a warning.
    ///
    /// # Errors
    /// The errors of [`embed`](Self::embed).
    pub fn generate_embeddings_batch(&self, texts: &[impl AsRef<str>]) -> Result<Vec<Vec<f32>>, BridgeError> {
        let model = self.embedder("generate_embeddings_batch")?;
        let answer = model.embed(&borrow(texts), &EmbedOptions::default())?;
        warn_of_truncation(model.manifest(), Some(model.max_tokens), answer.truncated.iter().copied());
        Ok(answer.vectors)
    }

    /// The name of the variant of the embedding model that is open.
    ///
    /// # Errors
    /// `task_not_loaded` without an open embedding model.
    pub fn embedding_variant(&self) -> Result<&str, BridgeError> {
        Ok(self.embedder("embedding_variant")?.variant())
    }

    /// The manifest of the embedding model.
    ///
    /// # Errors
    /// `task_not_loaded` without an open embedding model.
    pub fn embedding_manifest(&self) -> Result<&Manifest, BridgeError> {
        Ok(self.embedder("embedding_manifest")?.manifest())
    }

    pub(super) fn embedder(&self, call: &'static str) -> Result<&EmbeddingModel, BridgeError> {
        self.model(call, Task::SentenceEmbedding, None)
    }
}
