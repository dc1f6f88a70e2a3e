//! [`OnnxMlBridge`]: opened models behind the calls of [`MlBridge`].

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::runtime::Handle;

use crate::BridgeError;
use crate::api::MlBridge;
use crate::artifact::{Artifact, Manifest};
use crate::runtime::embedding::EmbeddingModel;
use crate::runtime::session::EngineOptions;
use crate::runtime::{DEFAULT_TEXT_LIMIT, EmbedOptions, Embedding, Embeddings};

/// Opened models. Cloning shares them; all calls take `&self` and may come from many threads at once.
///
/// The blocking calls are for threads that may wait. The calls of [`MlBridge`] do the same on tokio's blocking threads;
/// dropping their future does not stop a run that has begun.
#[derive(Clone)]
pub struct OnnxMlBridge {
    embedding: Arc<EmbeddingModel>,
}

impl OnnxMlBridge {
    /// Starts to open models.
    pub fn builder() -> OnnxMlBridgeBuilder {
        OnnxMlBridgeBuilder::default()
    }

    /// Opens an embedding artifact with the default options.
    ///
    /// # Errors
    /// Those of [`OnnxMlBridgeBuilder::build`].
    pub fn open_embedding(path: impl Into<PathBuf>) -> Result<Self, BridgeError> {
        Self::builder().embedding(path).build()
    }

    /// Embeds texts: one vector per text, in their order; no texts give no vectors.
    ///
    /// # Errors
    /// `prompt_not_found`, `input_too_large`, `dependency`, `graph` (at the first call) or `inference`. Where one text is
    /// to blame, [`BridgeError::index`] tells which.
    pub fn embed(&self, texts: &[impl AsRef<str>], options: &EmbedOptions) -> Result<Embeddings, BridgeError> {
        self.embedding.embed(&borrow(texts), options)
    }

    /// Embeds texts, each with its own outcome: one bad text does not lose the others.
    ///
    /// # Errors
    /// `prompt_not_found`, `dependency` or `graph`, which no text could escape.
    pub fn embed_each(
        &self,
        texts: &[impl AsRef<str>],
        options: &EmbedOptions,
    ) -> Result<Vec<Result<Embedding, BridgeError>>, BridgeError> {
        self.embedding.embed_each(&borrow(texts), options)
    }

    /// The vector of one text, with the manifest's default prompt. A text that had to be cut logs a warning.
    ///
    /// # Errors
    /// Those of [`embed`](Self::embed).
    pub fn generate_embedding_blocking(&self, text: &str) -> Result<Vec<f32>, BridgeError> {
        let vectors = self.generate_embeddings_batch(&[text])?;
        vectors.into_iter().next().ok_or_else(|| BridgeError::inference(Some(0), "gave no vector"))
    }

    /// The vectors of several texts, with the manifest's default prompt. Texts that had to be cut log a warning.
    ///
    /// # Errors
    /// Those of [`embed`](Self::embed).
    pub fn generate_embeddings_batch(&self, texts: &[impl AsRef<str>]) -> Result<Vec<Vec<f32>>, BridgeError> {
        let answer = self.embed(texts, &EmbedOptions::default())?;
        let cut: Vec<usize> = (0..answer.truncated.len()).filter(|&index| answer.truncated[index]).collect();
        if !cut.is_empty() {
            let max_tokens = self.embedding.manifest.tokenizer.max_tokens;
            tracing::warn!(model = %self.embedding.manifest.name, max_tokens, texts = ?cut, "texts were cut");
        }
        Ok(answer.vectors)
    }

    /// Creates the first session now, so that the first call does not wait for it.
    ///
    /// # Errors
    /// `dependency` without a usable ONNX Runtime, `graph` where it refuses the graph.
    pub fn warm_up(&self) -> Result<(), BridgeError> {
        self.embedding.warm_up()
    }

    /// Drops the sessions that no call uses at the moment; the next call creates them anew.
    pub fn unload(&self) {
        self.embedding.unload();
    }

    /// The variant of the embedding model that was chosen.
    pub fn variant(&self) -> &str {
        &self.embedding.variant
    }

    /// The manifest of the embedding model.
    pub fn embedding_manifest(&self) -> &Manifest {
        &self.embedding.manifest
    }

    /// Embeds a short text and checks the vector's length; that it is finite is checked for every vector.
    pub fn health_check_blocking(&self) -> bool {
        let dim = self.embedding.manifest.embedding.dim;
        self.embed(&["health"], &EmbedOptions::default()).is_ok_and(|answer| answer.vectors[0].len() == dim)
    }

    /// Runs a blocking call on tokio's threads for such calls.
    async fn on_blocking_thread<T: Send + 'static>(
        &self,
        call: impl FnOnce(&Self) -> Result<T, BridgeError> + Send + 'static,
    ) -> Result<T, BridgeError> {
        let runtime = Handle::try_current().map_err(|_| BridgeError::Config {
            problem: "the asynchronous calls need a tokio runtime; without one, use the blocking calls".to_owned(),
        })?;
        let bridge = self.clone();
        let ended = |error| BridgeError::inference(None, format!("the blocking thread ended early: {error}"));
        runtime.spawn_blocking(move || call(&bridge)).await.map_err(ended)?
    }
}

#[async_trait]
impl MlBridge for OnnxMlBridge {
    async fn generate_embedding(&self, text: &str) -> Result<Vec<f32>, BridgeError> {
        let text = text.to_owned();
        self.on_blocking_thread(move |bridge| bridge.generate_embedding_blocking(&text)).await
    }

    async fn generate_embeddings(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, BridgeError> {
        let texts = texts.to_vec();
        self.on_blocking_thread(move |bridge| bridge.generate_embeddings_batch(&texts)).await
    }

    async fn get_embedding_model_name(&self) -> Result<String, BridgeError> {
        Ok(self.embedding.manifest.name.clone())
    }

    async fn health_check(&self) -> bool {
        self.on_blocking_thread(|bridge| Ok(bridge.health_check_blocking())).await.unwrap_or(false)
    }
}

fn borrow(texts: &[impl AsRef<str>]) -> Vec<&str> {
    texts.iter().map(AsRef::as_ref).collect()
}

/// What to open, and how.
#[derive(Clone, Default)]
#[must_use = "call build()"]
pub struct OnnxMlBridgeBuilder {
    embedding: Option<PathBuf>,
    variant: Option<String>,
    text_limit: Option<usize>,
    engine: EngineOptions,
}

impl OnnxMlBridgeBuilder {
    /// The directory of the embedding artifact.
    pub fn embedding(mut self, path: impl Into<PathBuf>) -> Self {
        self.embedding = Some(path.into());
        self
    }

    /// The variant: a name of the manifest (`int8`, `fp32`), or `auto`, the default: `int8` where the CPU has VNNI or
    /// AMX, whose 8-bit products are exact and fast, else `fp32`, else the first by name.
    pub fn variant(mut self, variant: impl Into<String>) -> Self {
        self.variant = Some(variant.into());
        self
    }

    /// Threads of all sessions together. Default: those that affinity and the cgroup's quota leave to the process.
    pub fn threads(mut self, threads: usize) -> Self {
        self.engine.threads = Some(threads);
        self
    }

    /// Sessions at most, each created when it is needed; they share the threads. Default: 1. Several serve parallel
    /// calls better, and each keeps its own copy of the weights.
    pub fn sessions(mut self, sessions: usize) -> Self {
        self.engine.sessions = Some(sessions);
        self
    }

    /// ONNX Runtime's shared library. Default: the one that `ORT_DYLIB_PATH` names. A process loads one library: the
    /// first call that needs it decides.
    pub fn library(mut self, path: impl Into<PathBuf>) -> Self {
        self.engine.library = Some(path.into());
        self
    }

    /// The environment of an application that uses `ort` itself: a process can have only one.
    pub fn environment(mut self, environment: ort::environment::Environment) -> Self {
        self.engine.environment = Some(environment);
        self
    }

    /// Execution providers to try before the CPU, in this order; each needs its cargo feature.
    pub fn execution_providers(mut self, providers: impl Into<Vec<ort::ep::ExecutionProviderDispatch>>) -> Self {
        self.engine.providers = providers.into();
        self
    }

    /// Largest text in bytes of UTF-8. Default: [`DEFAULT_TEXT_LIMIT`].
    pub fn text_limit(mut self, bytes: usize) -> Self {
        self.text_limit = Some(bytes);
        self
    }

    /// Checks the artifact as the format's `open` says. ONNX Runtime is not touched: the session is created by the first
    /// call, or by [`OnnxMlBridge::warm_up`].
    ///
    /// # Errors
    /// `config` for a wrong option, a verdict about the artifact (`path_kind` to `variant`), or `io`.
    pub fn build(self) -> Result<OnnxMlBridge, BridgeError> {
        self.check_options()?;
        let path = self.embedding.as_deref().ok_or_else(|| config("nothing to open: give embedding(path)"))?;
        let (artifact, variant) = Artifact::open(path, self.variant.as_deref().unwrap_or("auto"))?;
        let limit = self.text_limit.unwrap_or(DEFAULT_TEXT_LIMIT);
        let embedding = open_variant(artifact, &variant, self.engine, limit)?;
        Ok(OnnxMlBridge { embedding: Arc::new(embedding) })
    }

    fn check_options(&self) -> Result<(), BridgeError> {
        for (name, value) in
            [("threads", self.engine.threads), ("sessions", self.engine.sessions), ("text_limit", self.text_limit)]
        {
            if value == Some(0) {
                return Err(config(&format!("{name} is 0, expected at least 1")));
            }
        }
        Ok(())
    }
}

fn config(problem: &str) -> BridgeError {
    BridgeError::Config { problem: problem.to_owned() }
}

/// The model of one variant of an artifact; ends the artifact.
fn open_variant(
    artifact: Artifact,
    variant: &str,
    engine: EngineOptions,
    text_limit: usize,
) -> Result<EmbeddingModel, BridgeError> {
    let root = artifact.root().to_path_buf();
    let (manifest, tokenizer) = artifact.into_parts();
    EmbeddingModel::new(&root, Arc::new(manifest), Arc::new(tokenizer), variant, engine, text_limit)
}
