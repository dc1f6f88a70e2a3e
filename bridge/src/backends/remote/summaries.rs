//! Summaries by language models.

use std::sync::Arc;

use async_trait::async_trait;

use super::chat::Chat;
use super::rounds::Rounds;
use super::{RemoteModel, RemoteTask, Size};
use crate::BridgeError;
use crate::backends::prompt::Prompt;
use crate::runtime::batch::Outcome;
use crate::runtime::lane::Caller;
use crate::tasks::backend::SummarizeBackend;
use crate::tasks::{SummarizeOptions, Summary};

/// What is between the messages of an input, and between the summaries of its chunks.
pub(super) const SEPARATOR: &str = "\n";
/// The largest temperature of OpenAI's API.
pub(crate) const MAX_TEMPERATURE: f64 = 2.0;

/// The settings of a language model that summarizes.
pub(crate) struct Summarization {
    pub(crate) chat: Arc<Chat>,
    pub(crate) size: Size,
}

impl Summarization {
    fn prompt(&self, options: &SummarizeOptions) -> Result<Prompt, BridgeError> {
        options.prompt.as_ref().map_or_else(|| Ok(self.chat.prompt.clone()), |text| Prompt::parse(text))
    }
}

/// Checks a temperature.
///
/// # Errors
/// `config` unless it is from 0 to 2.
pub(crate) fn check_temperature(temperature: Option<f64>) -> Result<(), BridgeError> {
    match temperature.filter(|value| !(0.0..=MAX_TEMPERATURE).contains(value)) {
        Some(value) => Err(BridgeError::config(format!("temperature is {value}, expected 0 to {MAX_TEMPERATURE}"))),
        None => Ok(()),
    }
}

#[async_trait]
impl RemoteTask for Summarization {
    type Input = Vec<String>;
    type Options = SummarizeOptions;
    type Answer = Summary;

    fn check(&self, options: &SummarizeOptions) -> Result<(), BridgeError> {
        options.refuse_beams()?;
        check_temperature(options.temperature)?;
        let context = self.chat.context;
        if let Some(length) = options.max_length.filter(|length| *length == 0 || *length >= context) {
            return Err(BridgeError::config(format!("max_length is {length}, expected 1 to {}", context - 1)));
        }
        if let Some(seed) = options.seed.filter(|seed| *seed > u64::from(u32::MAX)) {
            return Err(BridgeError::config(format!("seed is {seed}, expected an integer of 32 bits")));
        }
        self.prompt(options).map(|_| ())
    }

    fn probe_input() -> (Vec<String>, SummarizeOptions) {
        (vec!["health check".to_owned()], SummarizeOptions::default().max_length(1))
    }

    fn tokens(answer: &Summary) -> usize {
        answer.tokens.unwrap_or(0)
    }

    async fn outcomes(
        model: &Arc<RemoteModel<Self>>,
        inputs: Vec<Vec<String>>,
        options: &SummarizeOptions,
        caller: &Caller,
    ) -> Result<Vec<Outcome<Summary>>, BridgeError> {
        let prompt = model.task.prompt(options)?;
        let texts = inputs.iter().map(|messages| model.joined(messages)).collect();
        Rounds { model, options, prompt, caller }.summaries(texts).await
    }
}

impl RemoteModel<Summarization> {
    fn joined(&self, messages: &[String]) -> Outcome<String> {
        let text = messages.join(SEPARATOR);
        self.remote.check_text(&text)?;
        Ok(text)
    }
}

#[async_trait]
impl SummarizeBackend for RemoteModel<Summarization> {
    fn check_options(&self, options: &SummarizeOptions) -> Result<(), BridgeError> {
        self.task.check(options)
    }

    async fn summarize_each(
        self: Arc<Self>,
        inputs: Vec<Vec<String>>,
        options: SummarizeOptions,
        caller: Caller,
    ) -> Result<Vec<Outcome<Summary>>, BridgeError> {
        self.each(inputs, &options, &caller).await
    }
}
