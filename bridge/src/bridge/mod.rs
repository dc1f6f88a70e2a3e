//! [`OnnxMlBridge`]: open models behind the calls of [`MlBridge`]. Each task has a file with its blocking calls.

pub(crate) mod builder;
#[cfg(feature = "sentence-embedding")]
mod embedding;
#[cfg(any(feature = "token-classification", feature = "spacy"))]
mod ner;
#[cfg(feature = "rerank")]
mod rerank;
#[cfg(feature = "summarization")]
mod summarization;

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::runtime::Handle;

use crate::BridgeError;
use crate::api::MlBridge;
use crate::artifact::Manifest;
use crate::bridge::builder::OnnxMlBridgeBuilder;
use crate::families::Task;
use crate::families::model::Model;
use crate::families::ner::Entity;
#[cfg(feature = "rerank")]
use crate::{Ranked, RerankOptions};

/// The open models by task and by the names with which calls select them.
pub(crate) type Models = BTreeMap<Task, BTreeMap<String, Box<dyn Model>>>;

/// Open models. Clones share them; all calls take `&self` and may come from many threads at once.
///
/// The blocking calls are for threads that may wait. The calls of [`MlBridge`] run the same code on tokio's blocking
/// threads. Dropping the future of a summary cancels the call; dropping another future does not stop a run that has begun.
#[derive(Clone)]
pub struct OnnxMlBridge {
    models: Arc<Models>,
}

impl OnnxMlBridge {
    /// A builder, which opens models.
    pub fn builder() -> OnnxMlBridgeBuilder {
        OnnxMlBridgeBuilder::default()
    }

    pub(crate) fn new(models: Models) -> Self {
        Self { models: Arc::new(models) }
    }

    /// Creates the first session of every graph now, so that the first call does not wait for it.
    ///
    /// # Errors
    /// `dependency` without a usable ONNX Runtime, `graph` if it refuses a graph.
    pub fn warm_up(&self) -> Result<(), BridgeError> {
        self.all().try_for_each(Model::warm_up)
    }

    /// Drops the sessions that no call uses at the moment; the next call creates new ones.
    pub fn unload(&self) {
        self.all().for_each(Model::unload);
    }

    /// Whether every open model answers a short text without an error, and with finite vectors and scores.
    pub fn health_check_blocking(&self) -> bool {
        self.all().all(Model::is_healthy)
    }

    fn all(&self) -> impl Iterator<Item = &dyn Model> {
        self.models.values().flat_map(BTreeMap::values).map(Box::as_ref)
    }

    /// The names of the open models of a task.
    fn names(&self, task: Task) -> impl Iterator<Item = &str> {
        self.models.get(&task).into_iter().flat_map(BTreeMap::keys).map(String::as_str)
    }

    /// The model of a task with that name. Without a name it is the only open model of the task.
    ///
    /// # Errors
    /// `task_not_loaded`, or `model_not_found` for an unknown name, or if the call names none of several open models.
    fn model<M: Model>(&self, call: &'static str, task: Task, name: Option<&str>) -> Result<&M, BridgeError> {
        let not_loaded = || BridgeError::TaskNotLoaded { call, task: task.name() };
        let models = self.models.get(&task).ok_or_else(not_loaded)?;
        let only = || models.values().next().filter(|_| models.len() == 1);
        let known = || models.keys().cloned().collect();
        let model: &dyn Any = name
            .map_or_else(only, |name| models.get(name))
            .ok_or_else(|| BridgeError::ModelNotFound { requested: name.map(str::to_owned), known: known() })?
            .as_ref();
        // The conversion does not fail, because all models of a task have the same Rust type.
        model.downcast_ref().ok_or_else(not_loaded)
    }

    /// Runs a blocking call on one of tokio's threads for blocking code.
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
    #[cfg(feature = "sentence-embedding")]
    async fn generate_embedding(&self, text: &str) -> Result<Vec<f32>, BridgeError> {
        let text = text.to_owned();
        self.on_blocking_thread(move |bridge| bridge.generate_embedding_blocking(&text)).await
    }

    #[cfg(feature = "sentence-embedding")]
    async fn generate_embeddings(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, BridgeError> {
        let texts = texts.to_vec();
        self.on_blocking_thread(move |bridge| bridge.generate_embeddings_batch(&texts)).await
    }

    #[cfg(any(feature = "token-classification", feature = "spacy"))]
    async fn extract_entities(&self, text: &str) -> Result<Vec<Entity>, BridgeError> {
        let text = text.to_owned();
        self.on_blocking_thread(move |bridge| bridge.extract_entities_blocking(&text)).await
    }

    #[cfg(any(feature = "token-classification", feature = "spacy"))]
    async fn extract_entities_batch(&self, texts: &[String]) -> Result<Vec<Vec<Entity>>, BridgeError> {
        let texts = texts.to_vec();
        self.on_blocking_thread(move |bridge| OnnxMlBridge::extract_entities_batch(bridge, &texts)).await
    }

    #[cfg(feature = "summarization")]
    async fn summarize(&self, messages: &[String]) -> Result<String, BridgeError> {
        summarization::only(self.summarize_async("summarize", vec![messages.to_vec()]).await?)
    }

    #[cfg(feature = "summarization")]
    async fn summarize_batch(&self, inputs: &[Vec<String>]) -> Result<Vec<String>, BridgeError> {
        self.summarize_async("summarize_batch", inputs.to_vec()).await
    }

    #[cfg(feature = "rerank")]
    async fn rerank(
        &self,
        query: &str,
        documents: &[String],
        top_k: Option<usize>,
    ) -> Result<Vec<Ranked>, BridgeError> {
        let (query, documents, options) = (query.to_owned(), documents.to_vec(), RerankOptions { top_k });
        self.on_blocking_thread(move |bridge| bridge.rerank_blocking(&query, &documents, &options)).await
    }

    #[cfg(feature = "summarization")]
    async fn get_summarization_model_name(&self) -> Result<String, BridgeError> {
        Ok(self.summarizer("get_summarization_model_name")?.manifest().name.clone())
    }

    #[cfg(feature = "sentence-embedding")]
    async fn get_embedding_model_name(&self) -> Result<String, BridgeError> {
        Ok(self.embedder("get_embedding_model_name")?.manifest().name.clone())
    }

    async fn health_check(&self) -> bool {
        self.on_blocking_thread(|bridge| Ok(bridge.health_check_blocking())).await.unwrap_or(false)
    }
}

fn borrow(texts: &[impl AsRef<str>]) -> Vec<&str> {
    texts.iter().map(AsRef::as_ref).collect()
}

/// Logs a warning with the indices of truncated texts, because the shortcuts do not return which texts were truncated.
fn warn_of_truncation(manifest: &Manifest, max_tokens: Option<usize>, truncated: impl Iterator<Item = bool>) {
    let indices: Vec<usize> =
        truncated.enumerate().filter(|(_, truncated)| *truncated).map(|(index, _)| index).collect();
    if !indices.is_empty() {
        tracing::warn!(model = %manifest.name, max_tokens, texts = ?indices, "texts were truncated");
    }
}
