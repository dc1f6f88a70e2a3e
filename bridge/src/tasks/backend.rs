//! What the models behind the handles do. ONNX artifacts are one implementation, in `families/`.

use std::sync::Arc;

use async_trait::async_trait;

use super::text_windows::TextWindows;
use super::{
    EmbedOptions, Embedding, Entities, Ranked, RecognizeOptions, RerankOptions, SummarizeOptions, Summary, Task,
};
use crate::BridgeError;
use crate::error_code::ErrorCode;
use crate::runtime::batch::Outcome;
use crate::runtime::blocking::block_on;
use crate::runtime::lane::Caller;
use crate::runtime::meter::Meter;
use crate::status::{LaneStatus, ModelState};

/// What models of all tasks can do. The asynchronous methods wait without blocking; only for a caller that may be blocked,
/// they prepare inputs of any size on the calling thread.
#[async_trait]
pub(crate) trait Backend: Send + Sync {
    /// Loads everything that the first call needs.
    ///
    /// # Errors
    /// `dependency` without a usable ONNX Runtime, `graph` if it refuses a graph, or the reason why the call was stopped.
    async fn load(&self, caller: &Caller) -> Result<(), BridgeError>;

    /// The blocking twin of [`load`](Self::load).
    ///
    /// # Errors
    /// The errors of [`load`](Self::load).
    fn warm_up(&self) -> Result<(), BridgeError> {
        block_on(self.load(&Caller::blocking()))
    }

    /// Frees the memory that no call uses at the moment. The next call loads the model again.
    fn unload(&self);

    /// Answers a short text.
    ///
    /// # Errors
    /// The error of the call, or the reason why it was stopped.
    async fn self_test(self: Arc<Self>, caller: Caller) -> Result<(), BridgeError>;

    /// What the lane of the model does at the moment. Does not wait.
    fn status(&self) -> LaneStatus;

    /// The memory in bytes that the model takes in another process of this machine, as measured when that had started.
    fn resident_bytes(&self) -> u64 {
        0
    }

    /// Asks the server of the model whether it works, without spending tokens; `None` for a model without a server, of which
    /// the status says all.
    async fn probe(&self) -> Option<(ModelState, Option<ErrorCode>)> {
        None
    }

    /// The number of tokens that a text is truncated to by default; `None` if texts are never truncated.
    fn max_tokens(&self) -> Option<usize>;
}

/// A model that embeds texts.
#[async_trait]
pub(crate) trait EmbedBackend: Backend {
    /// Checks the options of a call.
    ///
    /// # Errors
    /// `config` or `prompt_not_found`.
    fn check_options(&self, options: &EmbedOptions) -> Result<(), BridgeError>;

    /// The number of elements of the vectors of a call.
    fn dim(&self, options: &EmbedOptions) -> usize;

    /// The outcome of every text. If the call is stopped, no further run starts, and the texts without an answer fail with
    /// the reason.
    ///
    /// # Errors
    /// An error that concerns every text.
    async fn embed_each(
        self: Arc<Self>,
        texts: Vec<String>,
        options: EmbedOptions,
        caller: Caller,
    ) -> Result<Vec<Outcome<Embedding>>, BridgeError>;

    /// The metrics of the model.
    fn meter(&self) -> &Meter;

    /// The windows of long texts; `None` if the backend cannot tokenize texts itself.
    fn windows(self: Arc<Self>) -> Option<Arc<dyn WindowBackend>>;
}

/// A model that embeds the windows of long texts.
#[async_trait]
pub(crate) trait WindowBackend: EmbedBackend {
    /// The model that computes the vectors at the moment, which is not this one for a chain. A reload replaces it.
    ///
    /// # Errors
    /// `closed`, or `config` for a chain without such a model.
    fn model(self: Arc<Self>) -> Result<Arc<dyn WindowBackend>, BridgeError>;

    /// Whether the vectors have the length 1.
    fn normalized(&self) -> bool;

    /// Checks a text and the options of a call that embeds its windows.
    ///
    /// # Errors
    /// `input_too_large`, `prompt_not_found` or `config`.
    fn check(&self, text: &str, options: &EmbedOptions) -> Result<(), BridgeError>;

    /// Tokenizes a text and splits it into windows that share `stride` tokens.
    ///
    /// # Errors
    /// `config` for a stride that does not fit into a window, or the errors of the tokenizer.
    async fn split(
        self: Arc<Self>,
        text: Arc<str>,
        options: EmbedOptions,
        stride: usize,
        caller: &Caller,
    ) -> Result<TextWindows, BridgeError>;

    /// The vectors of some windows that [`split`](Self::split) returned.
    ///
    /// # Errors
    /// The error of any window, or the reason why the call was stopped.
    async fn embed_windows(
        self: Arc<Self>,
        windows: Vec<Vec<i64>>,
        options: &EmbedOptions,
        caller: &Caller,
    ) -> Result<Vec<Vec<f32>>, BridgeError>;
}

/// A model that finds named entities.
#[async_trait]
pub(crate) trait RecognizeBackend: Backend {
    /// Checks the options of a call with a number of texts.
    ///
    /// # Errors
    /// `config` or `sentence_starts`.
    fn check_options(&self, options: &RecognizeOptions, texts: usize) -> Result<(), BridgeError>;

    /// The outcome of every text, as [`EmbedBackend::embed_each`] returns it.
    ///
    /// # Errors
    /// An error that concerns every text.
    async fn recognize_each(
        self: Arc<Self>,
        texts: Vec<String>,
        options: RecognizeOptions,
        caller: Caller,
    ) -> Result<Vec<Outcome<Entities>>, BridgeError>;
}

/// A model that summarizes lists of messages.
#[async_trait]
pub(crate) trait SummarizeBackend: Backend {
    /// Checks the options of a call.
    ///
    /// # Errors
    /// `config`.
    fn check_options(&self, options: &SummarizeOptions) -> Result<(), BridgeError>;

    /// The outcome of every input, as [`EmbedBackend::embed_each`] returns it.
    ///
    /// # Errors
    /// An error that concerns every input.
    async fn summarize_each(
        self: Arc<Self>,
        inputs: Vec<Vec<String>>,
        options: SummarizeOptions,
        caller: Caller,
    ) -> Result<Vec<Outcome<Summary>>, BridgeError>;
}

/// A model that ranks documents.
#[async_trait]
pub(crate) trait RerankBackend: Backend {
    /// The documents in the order of descending scores for a query.
    ///
    /// # Errors
    /// The error of the query or of a document, or the reason why the call was stopped.
    async fn rerank(
        self: Arc<Self>,
        query: String,
        documents: Vec<String>,
        options: RerankOptions,
        caller: Caller,
    ) -> Result<Vec<Ranked>, BridgeError>;
}

/// A model of any task.
#[derive(Clone)]
pub(crate) enum AnyBackend {
    Embed(Arc<dyn EmbedBackend>),
    Recognize(Arc<dyn RecognizeBackend>),
    Summarize(Arc<dyn SummarizeBackend>),
    Rerank(Arc<dyn RerankBackend>),
}

impl AnyBackend {
    /// The backend of any task.
    pub(crate) fn any(&self) -> &dyn Backend {
        match self {
            Self::Embed(backend) => &**backend,
            Self::Recognize(backend) => &**backend,
            Self::Summarize(backend) => &**backend,
            Self::Rerank(backend) => &**backend,
        }
    }
}

/// The backends of one task.
pub(crate) trait OfTask: Backend {
    const TASK: Task;

    /// The backend, if it is one of this task.
    fn of(backend: &AnyBackend) -> Option<&Arc<Self>>;
}

macro_rules! of_task {
    ($backend:ident, $task:ident, $variant:ident) => {
        impl OfTask for dyn $backend {
            const TASK: Task = Task::$task;

            fn of(backend: &AnyBackend) -> Option<&Arc<Self>> {
                if let AnyBackend::$variant(backend) = backend { Some(backend) } else { None }
            }
        }
    };
}

of_task!(EmbedBackend, Embedding, Embed);
of_task!(RecognizeBackend, Ner, Recognize);
of_task!(SummarizeBackend, Summarization, Summarize);
of_task!(RerankBackend, Rerank, Rerank);

/// All results of a call; else the reason why the call was stopped; else the first error.
///
/// # Errors
/// The error of the call.
pub(crate) fn all<T>(outcomes: Vec<Outcome<T>>) -> Result<Vec<T>, BridgeError> {
    let stopped = outcomes.iter().find_map(|outcome| outcome.as_ref().err().filter(|error| error.is_stop()));
    if let Some(reason) = stopped {
        return Err(reason.clone());
    }
    outcomes.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_is_returned_before_other_errors() {
        let bad = || Err(BridgeError::inference(Some(0), "bad"));
        assert_eq!(all(vec![Ok(1), Ok(2)]), Ok(vec![1, 2]));
        assert_eq!(all(vec![bad(), Ok(2)]), bad().map(|_: i32| vec![]));
        assert_eq!(all(vec![bad(), Ok(2), Err(BridgeError::Cancelled)]), Err(BridgeError::Cancelled));
    }
}
