//! Models behind OpenAI's protocol: what those of all tasks have in common.

pub(crate) mod chat;
pub(crate) mod embeddings;
pub(crate) mod entities;
mod rounds;
mod size;
pub(crate) mod summaries;

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::Value;

pub(crate) use self::size::Size;

use super::wire::{Endpoint, Wire};
use crate::BridgeError;
use crate::error_code::ErrorCode;
use crate::runtime::batch::Outcome;
use crate::runtime::lane::Caller;
use crate::status::{LaneStatus, ModelState};
use crate::tasks::Usage;
use crate::tasks::backend::{Backend, all};
use crate::tasks::chunks::is_whitespace;

/// A model behind OpenAI's protocol, without its task.
pub(crate) struct Remote {
    pub(crate) wire: Arc<Wire>,
    /// The largest input in bytes of UTF-8.
    pub(crate) text_limit: usize,
}

impl Remote {
    /// Checks the size of an input.
    ///
    /// # Errors
    /// `input_too_large`.
    fn check_size(&self, bytes: usize) -> Result<(), BridgeError> {
        match (bytes, self.text_limit) {
            (bytes, limit) if bytes > limit => Err(BridgeError::InputTooLarge { index: None, bytes, limit }),
            _ => Ok(()),
        }
    }

    /// Checks an input that the model must be able to read.
    ///
    /// # Errors
    /// `input_too_large` or `empty_input`.
    fn check_text(&self, text: &str) -> Result<(), BridgeError> {
        self.check_size(text.len())?;
        if is_whitespace(text) { Err(BridgeError::EmptyInput { index: None }) } else { Ok(()) }
    }
}

/// What the models of one task do with their inputs.
#[async_trait]
pub(crate) trait RemoteTask: Send + Sync + Sized + 'static {
    type Input: Send;
    type Options: Default + Send + Sync;
    type Answer: Send;

    /// A short input, and options for a short answer.
    fn probe_input() -> (Self::Input, Self::Options);

    /// The number of tokens of an answer, for metrics.
    fn tokens(answer: &Self::Answer) -> usize;

    /// Refuses options that the model cannot follow.
    ///
    /// # Errors
    /// `config` or `prompt_not_found`.
    fn check(&self, options: &Self::Options) -> Result<(), BridgeError>;

    /// The outcome of every input, for options that were checked.
    ///
    /// # Errors
    /// An error that concerns every input: `config` or `prompt_not_found` for the options, `io`.
    async fn outcomes(
        model: &Arc<RemoteModel<Self>>,
        inputs: Vec<Self::Input>,
        options: &Self::Options,
        caller: &Caller,
    ) -> Result<Vec<Outcome<Self::Answer>>, BridgeError>;
}

/// A model behind OpenAI's protocol for one task.
pub(crate) struct RemoteModel<T> {
    pub(crate) remote: Arc<Remote>,
    pub(crate) task: T,
}

impl<T: RemoteTask> RemoteModel<T> {
    pub(crate) fn new(remote: Arc<Remote>, task: T) -> Arc<Self> {
        Arc::new(Self { remote, task })
    }

    /// The outcomes of a call, which are counted in the metrics. Errors of one input have its index.
    ///
    /// # Errors
    /// The errors of [`RemoteTask::outcomes`].
    async fn each(
        self: Arc<Self>,
        inputs: Vec<T::Input>,
        options: &T::Options,
        caller: &Caller,
    ) -> Result<Vec<Outcome<T::Answer>>, BridgeError> {
        let (started, count, meter) = (Instant::now(), inputs.len(), &self.remote.wire.meter);
        let outcomes = match self.task.check(options) {
            Ok(()) => T::outcomes(&self, inputs, options, caller).await,
            Err(error) => Err(error),
        };
        let outcomes = outcomes.inspect_err(|error| meter.error(error.code()))?;
        outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).for_each(|error| meter.error(error.code()));
        let tokens = outcomes.iter().flatten().map(T::tokens).sum();
        meter.request(count, tokens, started.elapsed());
        let outcomes = outcomes.into_iter().enumerate();
        Ok(outcomes.map(|(index, outcome)| outcome.map_err(|error| error.with_index(Some(index)))).collect())
    }
}

#[async_trait]
impl<T: RemoteTask> Backend for RemoteModel<T> {
    /// Starts the child process of a model that has one.
    async fn load(&self, caller: &Caller) -> Result<(), BridgeError> {
        match &self.remote.wire.endpoint {
            Endpoint::Server(_) => caller.stop.check(),
            #[cfg(feature = "llama-cpp")]
            Endpoint::Child(supervisor, task) => supervisor.load(*task, caller).await,
        }
    }

    fn unload(&self) {
        match &self.remote.wire.endpoint {
            Endpoint::Server(_) => {}
            #[cfg(feature = "llama-cpp")]
            Endpoint::Child(supervisor, task) => supervisor.unload(*task),
        }
    }

    async fn self_test(self: Arc<Self>, caller: Caller) -> Result<(), BridgeError> {
        let (input, options) = T::probe_input();
        all(self.each(vec![input], &options, &caller).await?).map(|_| ())
    }

    fn status(&self) -> LaneStatus {
        self.remote.wire.status()
    }

    fn resident_bytes(&self) -> u64 {
        match &self.remote.wire.endpoint {
            Endpoint::Server(_) => 0,
            #[cfg(feature = "llama-cpp")]
            Endpoint::Child(supervisor, _) => supervisor.resident_bytes(),
        }
    }

    async fn probe(&self) -> Option<(ModelState, Option<ErrorCode>)> {
        self.remote.wire.probe().await
    }

    fn max_tokens(&self) -> Option<usize> {
        None
    }
}

/// What a server counted. Counts that are missing are 0; `None` for counts that are not numbers.
fn usage_of(usage: &Value) -> Option<Usage> {
    Usage::deserialize(usage).ok().filter(|_| usage.is_object())
}
