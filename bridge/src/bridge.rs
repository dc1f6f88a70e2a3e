//! [`OnnxMlBridge`]: opened models behind the calls of [`MlBridge`].

mod summaries;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::runtime::Handle;

use crate::BridgeError;
use crate::api::{Entity, MlBridge};
use crate::artifact::Manifest;
use crate::artifact::manifest::{NER, SENTENCE_EMBEDDING};
use crate::builder::OnnxMlBridgeBuilder;
use crate::runtime::embedding::EmbeddingModel;
use crate::runtime::ner::NerModel;
use crate::runtime::summarization::Summarizer;
use crate::runtime::{EmbedOptions, Embedding, Embeddings, Entities, NerOptions};

/// What was opened.
pub(crate) struct Models {
    pub(crate) embedding: Option<EmbeddingModel>,
    /// By the names that calls know them by.
    pub(crate) ner: BTreeMap<String, NerModel>,
    pub(crate) summarization: Option<Summarizer>,
}

/// Opened models. Cloning shares them; all calls take `&self` and may come from many threads at once.
///
/// The blocking calls are for threads that may wait. The calls of [`MlBridge`] do the same on tokio's blocking threads.
/// Dropping the future of a summary cancels the call; that of another call does not stop a run that has begun.
#[derive(Clone)]
pub struct OnnxMlBridge {
    models: Arc<Models>,
}

impl OnnxMlBridge {
    /// Starts to open models.
    pub fn builder() -> OnnxMlBridgeBuilder {
        OnnxMlBridgeBuilder::default()
    }

    pub(crate) fn new(models: Models) -> Self {
        Self { models: Arc::new(models) }
    }

    /// Opens an embedding artifact with the default options.
    ///
    /// # Errors
    /// Those of [`OnnxMlBridgeBuilder::build`].
    pub fn open_embedding(path: impl Into<PathBuf>) -> Result<Self, BridgeError> {
        Self::builder().embedding(path).build()
    }

    /// Opens an artifact that finds named entities with the default options.
    ///
    /// # Errors
    /// Those of [`OnnxMlBridgeBuilder::build`].
    pub fn open_ner(path: impl Into<PathBuf>) -> Result<Self, BridgeError> {
        Self::builder().ner(path).build()
    }

    /// Embeds texts: one vector per text, in their order; no texts give no vectors.
    ///
    /// # Errors
    /// `task_not_loaded`, `prompt_not_found`, `input_too_large`, `dependency`, `graph` (at the first call) or
    /// `inference`. Where one text is to blame, [`BridgeError::index`] tells which.
    pub fn embed(&self, texts: &[impl AsRef<str>], options: &EmbedOptions) -> Result<Embeddings, BridgeError> {
        self.embedding("embed")?.embed(&borrow(texts), options)
    }

    /// Embeds texts, each with its own outcome: one bad text does not lose the others.
    ///
    /// # Errors
    /// `task_not_loaded`, `prompt_not_found`, `dependency` or `graph`, which no text could escape.
    pub fn embed_each(
        &self,
        texts: &[impl AsRef<str>],
        options: &EmbedOptions,
    ) -> Result<Vec<Result<Embedding, BridgeError>>, BridgeError> {
        self.embedding("embed_each")?.embed_each(&borrow(texts), options)
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
        let model = self.embedding("generate_embeddings_batch")?;
        let answer = model.embed(&borrow(texts), &EmbedOptions::default())?;
        warn_of_cuts(&model.manifest, Some(model.max_tokens), answer.truncated.iter().copied());
        Ok(answer.vectors)
    }

    /// Finds the named entities of texts, in their order; no texts give no answers.
    ///
    /// # Errors
    /// `task_not_loaded`, `model_not_found`, `config` (an option that the model cannot follow), `sentence_starts`,
    /// `input_too_large`, `dependency`, `graph` (at the first call) or `inference`. Where one text is to blame,
    /// [`BridgeError::index`] tells which.
    pub fn ner(&self, texts: &[impl AsRef<str>], options: &NerOptions) -> Result<Vec<Entities>, BridgeError> {
        self.recognizer("ner", options.model.as_deref())?.recognize(&borrow(texts), options)
    }

    /// Finds the named entities of texts, each with its own outcome: one bad text does not lose the others.
    ///
    /// # Errors
    /// `task_not_loaded`, `model_not_found`, `config`, `sentence_starts` (where every text is concerned), `dependency` or
    /// `graph`, which no text could escape.
    pub fn ner_each(
        &self,
        texts: &[impl AsRef<str>],
        options: &NerOptions,
    ) -> Result<Vec<Result<Entities, BridgeError>>, BridgeError> {
        self.recognizer("ner_each", options.model.as_deref())?.recognize_each(&borrow(texts), options)
    }

    /// The named entities of one text, with the manifest's settings. A text that had to be cut logs a warning.
    ///
    /// # Errors
    /// Those of [`ner`](Self::ner).
    pub fn extract_entities_blocking(&self, text: &str) -> Result<Vec<Entity>, BridgeError> {
        let answers = self.extract_entities_batch(&[text])?;
        answers.into_iter().next().ok_or_else(|| BridgeError::inference(Some(0), "gave no answer"))
    }

    /// The named entities of several texts, with the manifest's settings. Texts that had to be cut log a warning.
    ///
    /// # Errors
    /// Those of [`ner`](Self::ner).
    pub fn extract_entities_batch(&self, texts: &[impl AsRef<str>]) -> Result<Vec<Vec<Entity>>, BridgeError> {
        let model = self.recognizer("extract_entities_batch", None)?;
        let answers = model.recognize(&borrow(texts), &NerOptions::default())?;
        warn_of_cuts(&model.manifest, model.max_tokens(), answers.iter().map(|answer| answer.truncated));
        Ok(answers.into_iter().map(|answer| answer.entities).collect())
    }

    /// Creates the first session of every graph now, so that the first call does not wait for it.
    ///
    /// # Errors
    /// `dependency` without a usable ONNX Runtime, `graph` where it refuses a graph.
    pub fn warm_up(&self) -> Result<(), BridgeError> {
        self.models.embedding.iter().try_for_each(EmbeddingModel::warm_up)?;
        self.models.ner.values().try_for_each(NerModel::warm_up)?;
        self.models.summarization.iter().try_for_each(Summarizer::warm_up)
    }

    /// Drops the sessions that no call uses at the moment; the next call creates them anew.
    pub fn unload(&self) {
        self.models.embedding.iter().for_each(EmbeddingModel::unload);
        self.models.ner.values().for_each(NerModel::unload);
        self.models.summarization.iter().for_each(Summarizer::unload);
    }

    /// The variant of the embedding model that was chosen.
    ///
    /// # Errors
    /// `task_not_loaded` where no embedding model is opened.
    pub fn embedding_variant(&self) -> Result<&str, BridgeError> {
        Ok(&self.embedding("embedding_variant")?.variant)
    }

    /// The manifest of the embedding model.
    ///
    /// # Errors
    /// `task_not_loaded` where no embedding model is opened.
    pub fn embedding_manifest(&self) -> Result<&Manifest, BridgeError> {
        Ok(&self.embedding("embedding_manifest")?.manifest)
    }

    /// The names of the models for named entities, as calls know them.
    pub fn ner_models(&self) -> impl Iterator<Item = &str> {
        self.models.ner.keys().map(String::as_str)
    }

    /// The variant that was chosen of a model for named entities; `None` for the only one that is open.
    ///
    /// # Errors
    /// `task_not_loaded` or `model_not_found`.
    pub fn ner_variant(&self, model: Option<&str>) -> Result<&str, BridgeError> {
        Ok(&self.recognizer("ner_variant", model)?.variant)
    }

    /// The manifest of a model for named entities; `None` for the only one that is open.
    ///
    /// # Errors
    /// `task_not_loaded` or `model_not_found`.
    pub fn ner_manifest(&self, model: Option<&str>) -> Result<&Manifest, BridgeError> {
        Ok(&self.recognizer("ner_manifest", model)?.manifest)
    }

    /// Tries every opened model on a short text. That vectors and scores are finite is checked in every call.
    pub fn health_check_blocking(&self) -> bool {
        self.models.embedding.iter().all(EmbeddingModel::is_healthy)
            && self.models.ner.values().all(NerModel::is_healthy)
            && self.models.summarization.iter().all(Summarizer::is_healthy)
    }

    fn embedding(&self, call: &'static str) -> Result<&EmbeddingModel, BridgeError> {
        self.models.embedding.as_ref().ok_or(BridgeError::TaskNotLoaded { call, task: SENTENCE_EMBEDDING })
    }

    /// The model of that name; without a name the only one that is open.
    fn recognizer(&self, call: &'static str, name: Option<&str>) -> Result<&NerModel, BridgeError> {
        let ner = &self.models.ner;
        if ner.is_empty() {
            return Err(BridgeError::TaskNotLoaded { call, task: NER });
        }
        let only = || ner.values().next().filter(|_| ner.len() == 1);
        let known = || ner.keys().cloned().collect();
        let found = name.map_or_else(only, |name| ner.get(name));
        found.ok_or_else(|| BridgeError::ModelNotFound { asked: name.map(str::to_owned), known: known() })
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

    async fn extract_entities(&self, text: &str) -> Result<Vec<Entity>, BridgeError> {
        let text = text.to_owned();
        self.on_blocking_thread(move |bridge| bridge.extract_entities_blocking(&text)).await
    }

    async fn extract_entities_batch(&self, texts: &[String]) -> Result<Vec<Vec<Entity>>, BridgeError> {
        let texts = texts.to_vec();
        self.on_blocking_thread(move |bridge| OnnxMlBridge::extract_entities_batch(bridge, &texts)).await
    }

    async fn summarize(&self, messages: &[String]) -> Result<String, BridgeError> {
        summaries::only(self.summarize_async("summarize", vec![messages.to_vec()]).await?)
    }

    async fn summarize_batch(&self, inputs: &[Vec<String>]) -> Result<Vec<String>, BridgeError> {
        self.summarize_async("summarize_batch", inputs.to_vec()).await
    }

    async fn get_summarization_model_name(&self) -> Result<String, BridgeError> {
        Ok(self.summarizer("get_summarization_model_name")?.manifest.name.clone())
    }

    async fn get_embedding_model_name(&self) -> Result<String, BridgeError> {
        Ok(self.embedding("get_embedding_model_name")?.manifest.name.clone())
    }

    async fn health_check(&self) -> bool {
        self.on_blocking_thread(|bridge| Ok(bridge.health_check_blocking())).await.unwrap_or(false)
    }
}

fn borrow(texts: &[impl AsRef<str>]) -> Vec<&str> {
    texts.iter().map(AsRef::as_ref).collect()
}

/// The shortcuts have no other way to tell that a text was cut.
fn warn_of_cuts(manifest: &Manifest, max_tokens: Option<usize>, truncated: impl Iterator<Item = bool>) {
    let cut: Vec<usize> = truncated.enumerate().filter(|(_, truncated)| *truncated).map(|(index, _)| index).collect();
    if !cut.is_empty() {
        tracing::warn!(model = %manifest.name, max_tokens, texts = ?cut, "texts were cut");
    }
}
