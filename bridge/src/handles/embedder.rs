//! [`Embedder`].

use std::sync::Arc;

use super::embedding_windows::{EmbeddingWindows, EmbeddingWindowsBlocking};
use super::handle::Handle;
use super::source::Source;
use super::{FromSource, open, owned};
use crate::health::Health;
use crate::model::{Model, ModelInfo};
use crate::runtime::lane::Caller;
use crate::status::ModelStatus;
use crate::tasks::backend::{EmbedBackend, all};
use crate::tasks::{EmbedOptions, Embedding, Embeddings};
use crate::{BridgeError, BridgeOptions};

/// A model that embeds texts.
///
/// Clones share the model. All calls take `&self` and may come from many threads at once. Calls
/// wait in a queue and are served in turn. Asynchronous calls need a tokio runtime and hold no thread while they wait;
/// dropping the future of a call stops the call.
#[derive(Clone, Debug)]
pub struct Embedder(Handle<dyn EmbedBackend>);

impl Embedder {
    /// Opens a model alone, without a bridge. Checks its artifact; no graph is loaded yet.
    ///
    /// # Errors
    /// `config` for an invalid option; the code of the first check that the artifact fails, from `path_kind` to `variant`;
    /// `variant` also for an artifact of another task; `io` if a file cannot be read.
    pub fn open(model: impl Into<Model>, options: BridgeOptions) -> Result<Self, BridgeError> {
        open(model.into(), &options)
    }

    /// Embeds texts. Returns one vector per text, in their order.
    ///
    /// # Errors
    /// `config`, `prompt_not_found`, `input_too_large`, `dependency`, `graph` (at the first call) or `inference`;
    /// `cancelled` or `timeout` if the call was stopped. [`BridgeError::index`] is the index of the text that caused the
    /// error, if one did.
    pub async fn embed(&self, texts: Vec<String>, options: EmbedOptions) -> Result<Embeddings, BridgeError> {
        let (cancel, timeout) = (options.cancel.clone(), options.timeout);
        self.0.call_async(cancel.as_ref(), timeout, |backend, caller| embed(backend, texts, options, caller)).await
    }

    /// The blocking twin of [`embed`](Self::embed).
    ///
    /// # Errors
    /// The errors of [`embed`](Self::embed).
    pub fn embed_blocking(&self, texts: &[impl AsRef<str>], options: &EmbedOptions) -> Result<Embeddings, BridgeError> {
        self.0.call(options.cancel.as_ref(), options.timeout, |backend, caller| {
            embed(backend, owned(texts), options.clone(), caller)
        })
    }

    /// Like [`embed`](Self::embed), but returns the outcome of each text: one bad text does not lose the others. A call
    /// that is stopped keeps its finished answers; the other texts fail with the code `cancelled` or `timeout`.
    ///
    /// # Errors
    /// An error that concerns every text: `config`, `prompt_not_found`, `dependency` or `graph`.
    pub async fn embed_each(
        &self,
        texts: Vec<String>,
        options: EmbedOptions,
    ) -> Result<Vec<Result<Embedding, BridgeError>>, BridgeError> {
        let (cancel, timeout) = (options.cancel.clone(), options.timeout);
        self.0.call_async(cancel.as_ref(), timeout, |backend, caller| backend.embed_each(texts, options, caller)).await
    }

    /// The blocking twin of [`embed_each`](Self::embed_each).
    ///
    /// # Errors
    /// The errors of [`embed_each`](Self::embed_each).
    pub fn embed_each_blocking(
        &self,
        texts: &[impl AsRef<str>],
        options: &EmbedOptions,
    ) -> Result<Vec<Result<Embedding, BridgeError>>, BridgeError> {
        self.0.call(options.cancel.as_ref(), options.timeout, |backend, caller| {
            backend.embed_each(owned(texts), options.clone(), caller)
        })
    }

    /// Embeds a text of any length in windows of the model's `max_tokens`, which are computed while they are read. `stride` is
    /// the number of tokens that consecutive windows share.
    ///
    /// The text is tokenized when the first window is read, which needs up to 1,000 bytes of memory for a character; nothing
    /// else grows with the length of the text. `timeout` limits the time from the first window to the last one.
    ///
    /// # Errors
    /// `config` for a time limit of 0, `input_too_large`, `prompt_not_found`, `closed`.
    pub fn embed_windows(
        &self,
        text: impl Into<Arc<str>>,
        options: EmbedOptions,
        stride: usize,
    ) -> Result<EmbeddingWindows, BridgeError> {
        EmbeddingWindows::new(self.0.clone(), text.into(), options, stride, true)
    }

    /// The blocking twin of [`embed_windows`](Self::embed_windows).
    ///
    /// ```
    /// # use onnx_ml_bridge::{BridgeError, BridgeOptions, EmbedOptions, Embedder};
    /// # fn main() -> Result<(), BridgeError> {
    /// # let Some(artifact) = std::env::var("ONNX_ML_BRIDGE_ARTIFACT").ok() else { return Ok(()) };
    /// let embedder = Embedder::open(artifact.as_str(), BridgeOptions::default())?;
    /// let text = "The tenants signed the lease on Tuesday. ".repeat(100);
    /// let mut windows = embedder.embed_windows_blocking(text.as_str(), &EmbedOptions::default(), 8)?;
    /// for window in &mut windows {
    ///     let window = window?;
    ///     println!("{} tokens: {}", window.token_count, &text[window.start_byte..window.end_byte]);
    /// }
    /// let vector = windows.pool()?; // one vector for the whole text
    /// # assert!(!vector.is_empty());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The errors of [`embed_windows`](Self::embed_windows).
    pub fn embed_windows_blocking(
        &self,
        text: impl Into<Arc<str>>,
        options: &EmbedOptions,
        stride: usize,
    ) -> Result<EmbeddingWindowsBlocking, BridgeError> {
        EmbeddingWindows::new(self.0.clone(), text.into(), options.clone(), stride, false).map(EmbeddingWindowsBlocking)
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
    pub(crate) fn handle(&self) -> &Handle<dyn EmbedBackend> {
        &self.0
    }

    pub(crate) fn max_tokens(&self) -> Option<usize> {
        self.0.max_tokens()
    }
}

async fn embed(
    backend: Arc<dyn EmbedBackend>,
    texts: Vec<String>,
    options: EmbedOptions,
    caller: Caller,
) -> Result<Embeddings, BridgeError> {
    caller.stop.check()?;
    let embeddings = all(Arc::clone(&backend).embed_each(texts, options.clone(), caller).await?)?;
    Ok(Embeddings::new(embeddings, backend.dim(&options)))
}

impl FromSource for Embedder {
    fn from_source(source: Source) -> Result<Self, BridgeError> {
        Handle::new(source).map(Self)
    }
}
