//! The trait that applications call.

use async_trait::async_trait;

use crate::BridgeError;
use crate::handles::any::AnyHandle;
use crate::handles::{Embedder, Recognizer, Reranker, Summarizer};
use crate::health::Health;
use crate::model::{Model, ModelInfo};
use crate::options::ReloadOptions;
use crate::status::{ModelState, ModelStatus};
use crate::tasks::backend::all;
use crate::tasks::{
    EmbedOptions, Embedding, Entities, Entity, Location, Ranked, RecognizeOptions, RerankOptions, SummarizeOptions,
    Summary, Task,
};

/// The outcome of every input of a call, in their order; or an error that concerns all of them.
pub type Outcomes<T> = Result<Vec<Result<T, BridgeError>>, BridgeError>;

/// Open models, and shortcuts to the default model of each task.
///
/// A handle has the full calls of a task: with options, with the outcome of each text, asynchronous and blocking. The
/// shortcuts use the defaults of the model and of the bridge, and log a warning if a text was truncated.
///
/// The default model of a task is the one that the bridge was given as default, or the only open model of the task. Without
/// any model of the task, handles and shortcuts fail with `task_not_loaded`; with several and no default, with
/// `model_not_found`.
///
/// Asynchronous calls own their inputs or borrow them until they end. Dropping their future stops the call.
///
/// The trait is object-safe: `Arc<dyn MlBridge>` works. Only [`models`](Self::models) needs an implementation, and for each
/// task of the bridge either its handles or its core method, of which the shortcuts are made: [`embed_with`](Self::embed_with),
/// [`ner_with`](Self::ner_with) or [`summarize_with`](Self::summarize_with).
#[async_trait]
pub trait MlBridge: Send + Sync {
    /// The open models.
    fn models(&self) -> Vec<ModelInfo>;

    /// The handle of an embedding model. Without a name, it is the default model.
    ///
    /// # Errors
    /// `task_not_loaded` or `model_not_found`.
    fn embedder(&self, model: Option<&str>) -> Result<Embedder, BridgeError> {
        let _ = model;
        Err(not_loaded("embedder", Task::Embedding))
    }

    /// The handle of a model for named entities. Without a name, it is the default model.
    ///
    /// # Errors
    /// `task_not_loaded` or `model_not_found`.
    fn recognizer(&self, model: Option<&str>) -> Result<Recognizer, BridgeError> {
        let _ = model;
        Err(not_loaded("recognizer", Task::Ner))
    }

    /// The handle of a summarizer. Without a name, it is the default model.
    ///
    /// # Errors
    /// `task_not_loaded` or `model_not_found`.
    fn summarizer(&self, model: Option<&str>) -> Result<Summarizer, BridgeError> {
        let _ = model;
        Err(not_loaded("summarizer", Task::Summarization))
    }

    /// The handle of a reranker. Without a name, it is the default model.
    ///
    /// # Errors
    /// `task_not_loaded` or `model_not_found`.
    fn reranker(&self, model: Option<&str>) -> Result<Reranker, BridgeError> {
        let _ = model;
        Err(not_loaded("reranker", Task::Rerank))
    }

    /// The outcome of every text: its vector and where it comes from. All calls that embed texts with the default model are
    /// shortcuts for this one.
    ///
    /// # Errors
    /// An error that concerns every text: those of [`embedder`](Self::embedder) and [`Embedder::embed_each`].
    async fn embed_with(&self, texts: &[String], options: &EmbedOptions) -> Outcomes<Embedding> {
        self.embedder(None)?.embed_each(texts.to_vec(), options.clone()).await
    }

    /// The outcome of every text: its entities and where they come from. All calls that find entities with the default model
    /// are shortcuts for this one.
    ///
    /// # Errors
    /// An error that concerns every text: those of [`recognizer`](Self::recognizer) and [`Recognizer::recognize_each`].
    async fn ner_with(&self, texts: &[String], options: &RecognizeOptions) -> Outcomes<Entities> {
        self.recognizer(None)?.recognize_each(texts.to_vec(), options.clone()).await
    }

    /// The outcome of every list of messages: its summary and where it comes from. All calls that summarize with the default
    /// model are shortcuts for this one.
    ///
    /// # Errors
    /// An error that concerns every input: those of [`summarizer`](Self::summarizer) and [`Summarizer::summarize_each`].
    async fn summarize_with(&self, inputs: &[Vec<String>], options: &SummarizeOptions) -> Outcomes<Summary> {
        self.summarizer(None)?.summarize_each(inputs.to_vec(), options.clone()).await
    }

    /// Whether every open model works. Runs nothing and spends no tokens: servers of models are asked, once.
    async fn health(&self) -> Vec<Health> {
        let mut all = Vec::new();
        for handle in self.models().iter().filter_map(|info| handle(self, info).ok()) {
            all.push(handle.health().await);
        }
        all
    }

    /// Where the default model of a task runs; `None` without one.
    fn location(&self, task: Task) -> Option<Location> {
        default_handle(self, task).ok().map(|handle| handle.info().location)
    }

    /// The vector of a text: `dim` finite float32 values.
    ///
    /// # Errors
    /// The errors of [`embedder`](Self::embedder) and [`Embedder::embed`].
    async fn generate_embedding(&self, text: &str) -> Result<Vec<f32>, BridgeError> {
        only(self.generate_embeddings_batch(vec![text.to_owned()]).await?)
    }

    /// The vectors of several texts, in their order.
    ///
    /// # Errors
    /// The errors of [`embedder`](Self::embedder) and [`Embedder::embed`].
    async fn generate_embeddings_batch(&self, texts: Vec<String>) -> Result<Vec<Vec<f32>>, BridgeError> {
        let answers = all(self.embed_with(&texts, &EmbedOptions::default()).await?)?;
        warn_of_truncation(self, Task::Embedding, answers.iter().map(|answer| answer.truncated));
        Ok(answers.into_iter().map(|answer| answer.vector).collect())
    }

    /// The named entities of a text, in the order of the text.
    ///
    /// # Errors
    /// The errors of [`recognizer`](Self::recognizer) and [`Recognizer::recognize`].
    async fn extract_entities(&self, text: &str) -> Result<Vec<Entity>, BridgeError> {
        only(self.extract_entities_batch(vec![text.to_owned()]).await?)
    }

    /// The named entities of several texts, in their order.
    ///
    /// # Errors
    /// The errors of [`recognizer`](Self::recognizer) and [`Recognizer::recognize`].
    async fn extract_entities_batch(&self, texts: Vec<String>) -> Result<Vec<Vec<Entity>>, BridgeError> {
        let answers = all(self.ner_with(&texts, &RecognizeOptions::default()).await?)?;
        warn_of_truncation(self, Task::Ner, answers.iter().map(|answer| answer.truncated));
        Ok(answers.into_iter().map(|answer| answer.entities).collect())
    }

    /// The summary of messages that belong together, which are joined with the manifest's separator.
    ///
    /// # Errors
    /// The errors of [`summarizer`](Self::summarizer) and [`Summarizer::summarize`].
    async fn summarize(&self, messages: Vec<String>) -> Result<String, BridgeError> {
        only(self.summarize_batch(vec![messages]).await?)
    }

    /// The summaries of several lists of messages, in their order.
    ///
    /// # Errors
    /// The errors of [`summarizer`](Self::summarizer) and [`Summarizer::summarize`].
    async fn summarize_batch(&self, inputs: Vec<Vec<String>>) -> Result<Vec<String>, BridgeError> {
        let summaries = all(self.summarize_with(&inputs, &SummarizeOptions::default()).await?)?;
        warn_of_truncation(self, Task::Summarization, summaries.iter().map(|summary| summary.truncated));
        Ok(summaries.into_iter().map(|summary| summary.text).collect())
    }

    /// The documents in the order of descending scores for a query: all of them, or the first `top_k`. Documents of
    /// equal scores keep their order.
    ///
    /// # Errors
    /// The errors of [`reranker`](Self::reranker) and [`Reranker::rerank`].
    async fn rerank(
        &self,
        query: &str,
        documents: Vec<String>,
        top_k: Option<usize>,
    ) -> Result<Vec<Ranked>, BridgeError> {
        let reranker = self.reranker(None)?;
        let options = RerankOptions { top_k, ..RerankOptions::default() };
        let ranking = reranker.rerank(query.to_owned(), documents, options).await?;
        let truncated: Vec<usize> =
            ranking.iter().filter(|ranked| ranked.truncated).map(|ranked| ranked.index).collect();
        warn(&AnyHandle::Reranker(reranker), &truncated);
        Ok(ranking)
    }

    /// The name of the default embedding model.
    ///
    /// # Errors
    /// The errors of [`embedder`](Self::embedder).
    async fn get_embedding_model_name(&self) -> Result<String, BridgeError> {
        Ok(self.embedder(None)?.info().name)
    }

    /// Loads every graph of every model now, so that the first calls do not wait for it.
    ///
    /// # Errors
    /// `dependency` without a usable ONNX Runtime, `graph` if it refuses a graph.
    async fn warm_up(&self) -> Result<(), BridgeError> {
        for info in self.models() {
            handle(self, &info)?.warm_up().await?;
        }
        Ok(())
    }

    /// The blocking twin of [`warm_up`](Self::warm_up).
    ///
    /// # Errors
    /// The errors of [`warm_up`](Self::warm_up).
    fn warm_up_blocking(&self) -> Result<(), BridgeError> {
        self.models().iter().try_for_each(|info| handle(self, info)?.warm_up_blocking())
    }

    /// Frees the graphs of every model as soon as no call uses it; its next call loads them again.
    fn unload(&self) {
        self.models().iter().filter_map(|info| handle(self, info).ok()).for_each(|handle| handle.unload());
    }

    /// Opens a model and adds it to the bridge.
    ///
    /// # Errors
    /// The errors of [`Builder::build`](crate::Builder::build), `config` also if a model has its name; `closed` if the bridge
    /// was closed; `config` if the bridge cannot do this.
    async fn add(&self, model: Model) -> Result<ModelInfo, BridgeError> {
        let _ = model;
        Err(unsupported("add"))
    }

    /// The blocking twin of [`add`](Self::add).
    ///
    /// # Errors
    /// The errors of [`add`](Self::add).
    fn add_blocking(&self, model: Model) -> Result<ModelInfo, BridgeError> {
        let _ = model;
        Err(unsupported("add"))
    }

    /// Closes a model: its handles fail with `closed`. Waits until its running calls have ended, and frees it.
    ///
    /// # Errors
    /// `model_not_found`; `closed` if the bridge was closed; `config` if the bridge cannot do this.
    async fn remove(&self, name: &str) -> Result<(), BridgeError> {
        let _ = name;
        Err(unsupported("remove"))
    }

    /// The blocking twin of [`remove`](Self::remove).
    ///
    /// # Errors
    /// The errors of [`remove`](Self::remove).
    fn remove_blocking(&self, name: &str) -> Result<(), BridgeError> {
        let _ = name;
        Err(unsupported("remove"))
    }

    /// Replaces a model by another version of it, for the same task. Handles stay valid.
    ///
    /// All files of the new artifact are checked, and its golden cases are replayed in this process, with sessions of their
    /// own; meanwhile both versions take memory. The replay of an artifact that is not trusted belongs in another process:
    /// `onnx-ml-bridge verify` has limits. Then new calls go to the new version; the running ones end with the old one, which
    /// is then freed. After an error, the old version answers calls as before.
    ///
    /// # Errors
    /// `model_not_found`; the errors of opening an artifact; `golden`, `graph` or `dependency` if the new version does not
    /// answer its golden cases; `variant` if it is for another task; `identity` if it is not the expected one; `timeout`;
    /// `closed` if the model or the bridge was closed; `config` if the bridge cannot do this.
    async fn reload(&self, name: &str, options: ReloadOptions) -> Result<ModelInfo, BridgeError> {
        let _ = (name, options);
        Err(unsupported("reload"))
    }

    /// The blocking twin of [`reload`](Self::reload).
    ///
    /// # Errors
    /// The errors of [`reload`](Self::reload).
    fn reload_blocking(&self, name: &str, options: &ReloadOptions) -> Result<ModelInfo, BridgeError> {
        let _ = (name, options);
        Err(unsupported("reload"))
    }

    /// Closes all models: their handles fail with `closed`, and the bridge has no models. Waits until the running calls have
    /// ended, and frees the models. In a callback, the call that called back is not waited for. Closing a closed bridge does
    /// nothing.
    ///
    /// # Errors
    /// `config` if the bridge cannot do this, `inference` if the system refuses a thread.
    async fn close(&self) -> Result<(), BridgeError> {
        Err(unsupported("close"))
    }

    /// The blocking twin of [`close`](Self::close).
    ///
    /// # Errors
    /// The errors of [`close`](Self::close).
    fn close_blocking(&self) -> Result<(), BridgeError> {
        Err(unsupported("close"))
    }

    /// What every open model does at the moment. Runs nothing and does not wait for any call.
    fn status(&self) -> Vec<ModelStatus> {
        self.models().iter().filter_map(|info| handle(self, info).ok()).map(|handle| handle.status()).collect()
    }

    /// Whether a model is open, and none is `failed`. Runs nothing and does not wait for any call;
    /// [`self_test`](Self::self_test) runs the models.
    async fn health_check(&self) -> bool {
        self.health_check_blocking()
    }

    /// The same as [`health_check`](Self::health_check).
    fn health_check_blocking(&self) -> bool {
        let status = self.status();
        !status.is_empty() && status.iter().all(|model| model.state != ModelState::Failed)
    }

    /// Answers a short text with every open model.
    ///
    /// # Errors
    /// The error of the first model that cannot be used.
    async fn self_test(&self) -> Result<(), BridgeError> {
        for info in self.models() {
            handle(self, &info)?.self_test().await?;
        }
        Ok(())
    }

    /// The blocking twin of [`self_test`](Self::self_test).
    ///
    /// # Errors
    /// The errors of [`self_test`](Self::self_test).
    fn self_test_blocking(&self) -> Result<(), BridgeError> {
        self.models().iter().try_for_each(|info| handle(self, info)?.self_test_blocking())
    }
}

/// The handle of an open model.
fn handle<B: MlBridge + ?Sized>(bridge: &B, info: &ModelInfo) -> Result<AnyHandle, BridgeError> {
    let name = Some(info.name.as_str());
    match info.task {
        Task::Embedding => bridge.embedder(name).map(AnyHandle::Embedder),
        Task::Ner => bridge.recognizer(name).map(AnyHandle::Recognizer),
        Task::Summarization => bridge.summarizer(name).map(AnyHandle::Summarizer),
        Task::Rerank => bridge.reranker(name).map(AnyHandle::Reranker),
    }
}

/// The handle of the default model of a task.
fn default_handle<B: MlBridge + ?Sized>(bridge: &B, task: Task) -> Result<AnyHandle, BridgeError> {
    match task {
        Task::Embedding => bridge.embedder(None).map(AnyHandle::Embedder),
        Task::Ner => bridge.recognizer(None).map(AnyHandle::Recognizer),
        Task::Summarization => bridge.summarizer(None).map(AnyHandle::Summarizer),
        Task::Rerank => bridge.reranker(None).map(AnyHandle::Reranker),
    }
}

/// The error of a bridge that has no models of a task.
fn not_loaded(call: &'static str, task: Task) -> BridgeError {
    BridgeError::TaskNotLoaded { call, task: task.name() }
}

/// The error of a bridge whose models cannot be changed.
fn unsupported(call: &str) -> BridgeError {
    BridgeError::config(format!("this bridge does not support {call}"))
}

/// The only answer of a call with one input.
fn only<T>(answers: Vec<T>) -> Result<T, BridgeError> {
    answers.into_iter().next().ok_or_else(|| BridgeError::inference(Some(0), "returned no answer"))
}

/// Logs a warning with the indices of truncated texts, because the shortcuts do not return which texts were truncated.
fn warn_of_truncation<B: MlBridge + ?Sized>(bridge: &B, task: Task, truncated: impl Iterator<Item = bool>) {
    let indices: Vec<usize> =
        truncated.enumerate().filter(|(_, truncated)| *truncated).map(|(index, _)| index).collect();
    if let Ok(handle) = default_handle(bridge, task) {
        warn(&handle, &indices);
    }
}

fn warn(handle: &AnyHandle, indices: &[usize]) {
    if !indices.is_empty() {
        let (model, max_tokens) = (handle.info().name, handle.max_tokens());
        tracing::warn!(%model, max_tokens, texts = ?indices, "texts were truncated");
    }
}
