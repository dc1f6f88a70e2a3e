//! The options and the results of calls that summarize.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::answers::{Fallback, FromBackend, Usage, onnx};
use super::seconds;
use crate::BridgeError;
use crate::runtime::cancellation::CancelToken;

/// Options of a call that summarizes. A field that is `None` has the default of the model or of the bridge. Lengths count
/// tokens, including the decoder's start token.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct SummarizeOptions {
    /// Number of beams, at least 1; 1 is greedy search.
    pub num_beams: Option<usize>,
    /// Minimum length of a summary, 0 to `max_length`.
    pub min_length: Option<usize>,
    /// Maximum length of a summary, 2 to the manifest's `max_target_tokens`.
    pub max_length: Option<usize>,
    /// The length penalty: the score of a summary is divided by its length raised to this power. It must be finite.
    pub length_penalty: Option<f32>,
    /// Whether longer inputs are read in chunks, whose summaries are summarized again, instead of being truncated.
    pub map_reduce: bool,
    /// The prompt, a text with one `{text}`; for language models only.
    pub prompt: Option<String>,
    /// The temperature of sampling, at least 0; for language models only.
    pub temperature: Option<f64>,
    /// The seed of sampling; for language models only.
    pub seed: Option<u64>,
    /// Time limit of the whole call, above 0. JSON has seconds.
    #[serde(with = "seconds")]
    pub timeout: Option<Duration>,
    /// The token through which another thread can cancel the call. JSON omits it.
    #[serde(skip)]
    pub cancel: Option<CancelToken>,
    /// Receives the progress of the call. JSON omits it.
    #[serde(skip)]
    pub progress: Option<Progress>,
    /// Receives the text of summaries while it is generated; for language models only. JSON omits it.
    #[serde(skip)]
    pub on_token: Option<OnToken>,
}

impl SummarizeOptions {
    /// Sets the number of beams, at least 1; 1 is greedy search.
    #[must_use]
    pub fn num_beams(mut self, beams: usize) -> Self {
        self.num_beams = Some(beams);
        self
    }

    /// Sets the minimum length of a summary.
    #[must_use]
    pub fn min_length(mut self, tokens: usize) -> Self {
        self.min_length = Some(tokens);
        self
    }

    /// Sets the maximum length of a summary.
    #[must_use]
    pub fn max_length(mut self, tokens: usize) -> Self {
        self.max_length = Some(tokens);
        self
    }

    /// Sets the length penalty, which must be finite.
    #[must_use]
    pub fn length_penalty(mut self, exponent: f32) -> Self {
        self.length_penalty = Some(exponent);
        self
    }

    /// Sets whether longer inputs are read in chunks instead of being truncated.
    #[must_use]
    pub fn map_reduce(mut self, enabled: bool) -> Self {
        self.map_reduce = enabled;
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

    /// Sets the prompt, a text with one `{text}`; for language models only.
    #[must_use]
    pub fn prompt(mut self, prompt: impl Into<String>) -> Self {
        self.prompt = Some(prompt.into());
        self
    }

    /// Sets the temperature of sampling, at least 0; for language models only.
    #[must_use]
    pub fn temperature(mut self, temperature: f64) -> Self {
        self.temperature = Some(temperature);
        self
    }

    /// Sets the seed of sampling; for language models only.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Sets the receiver of the text of summaries; for language models only.
    #[must_use]
    pub fn on_token(mut self, on_token: OnToken) -> Self {
        self.on_token = Some(on_token);
        self
    }

    /// Refuses the options of language models, which other models cannot follow.
    ///
    /// # Errors
    /// `config`, with the names of the options.
    pub(crate) fn refuse_prompting(&self) -> Result<(), BridgeError> {
        let set = [
            ("prompt", self.prompt.is_some()),
            ("temperature", self.temperature.is_some()),
            ("seed", self.seed.is_some()),
            ("on_token", self.on_token.is_some()),
        ];
        refuse(&set, "an ONNX model, which has no prompt and no sampling")
    }

    /// Refuses the options of a beam search, which language models cannot follow.
    ///
    /// # Errors
    /// `config`, with the names of the options.
    pub(crate) fn refuse_beams(&self) -> Result<(), BridgeError> {
        let set = [
            ("num_beams", self.num_beams.is_some()),
            ("min_length", self.min_length.is_some()),
            ("length_penalty", self.length_penalty.is_some()),
        ];
        refuse(&set, "a language model, which has no beam search")
    }

    /// Sets the receiver of the call's progress.
    #[must_use]
    pub fn progress(mut self, progress: Progress) -> Self {
        self.progress = Some(progress);
        self
    }
}

/// Receives the progress of a call through a callback. Clones share the callback.
#[derive(Clone)]
pub struct Progress(Arc<dyn Fn(usize, usize) + Send + Sync>);

impl Progress {
    /// Passes the progress to a callback. The arguments of the callback are the number of finished texts and the number
    /// of all texts of a round. These texts are inputs, or the chunks of one input. The callback is called after every
    /// run, in the thread that waits for the call. It may use this model and others, which then do not wait for memory and
    /// may exceed `memory_mb`, and it may close the bridge, which does not wait for this call.
    pub fn new(callback: impl Fn(usize, usize) + Send + Sync + 'static) -> Self {
        Self(Arc::new(callback))
    }

    pub(crate) fn report(&self, done: usize, texts: usize) {
        (self.0)(done, texts);
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Progress")
    }
}

/// Refuses the options that are set.
fn refuse(options: &[(&str, bool)], model: &str) -> Result<(), BridgeError> {
    let names: Vec<&str> = options.iter().filter(|(_, is_set)| *is_set).map(|(name, _)| *name).collect();
    match names.is_empty() {
        true => Ok(()),
        false => Err(BridgeError::config(format!("{} cannot be used with {model}: omit it", names.join(", ")))),
    }
}

type TextCallback = dyn Fn(usize, &str) + Send + Sync;

/// Receives the text of summaries through a callback, while it is generated. Clones share the callback.
#[derive(Clone)]
pub struct OnToken(Arc<TextCallback>);

impl OnToken {
    /// Passes text to a callback. Its arguments are the index of the input and the next part of its summary. Of a longer
    /// input, whose chunks are summarized first, only the last round is passed. The callback is called on a thread that
    /// receives answers, so it must not block.
    pub fn new(callback: impl Fn(usize, &str) + Send + Sync + 'static) -> Self {
        Self(Arc::new(callback))
    }

    pub(crate) fn call(&self, input: usize, text: &str) {
        (self.0)(input, text);
    }
}

impl fmt::Debug for OnToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnToken")
    }
}

/// The summary of one input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Summary {
    /// The text of the summary.
    pub text: String,
    /// The token ids of the summary; the first is the decoder's start token. `None` for language models.
    pub token_ids: Option<Vec<i64>>,
    /// The number of generated tokens: all of `token_ids` but the first. `None` if a server did not count.
    pub tokens: Option<usize>,
    /// The score of the best finished beam. Scores are only comparable if their settings are the same. `None` for language
    /// models.
    pub score: Option<f32>,
    /// Whether a part of the input was not read.
    pub truncated: bool,
    /// The name of what gave the answer: `onnx`, `openai`, `llama-cpp`, or the member of a chain.
    #[serde(default = "onnx")]
    pub backend: String,
    /// What failed before in a chain, in its order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fallbacks: Vec<Fallback>,
    /// What a server counted in all requests for the input; `None` for ONNX models.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
}

impl Summary {
    /// The summary of a beam search. `token_ids` start with the decoder's start token.
    pub(crate) fn of_tokens(text: String, token_ids: Vec<i64>, score: f32, truncated: bool) -> Self {
        let (tokens, token_ids, score) = (Some(token_ids.len().saturating_sub(1)), Some(token_ids), Some(score));
        Self { text, token_ids, tokens, score, truncated, backend: onnx(), fallbacks: Vec::new(), usage: None }
    }

    /// The summary of a language model. `usage` is that of all requests, `last` that of the one for this text.
    #[cfg(feature = "openai")]
    pub(crate) fn of_server(text: String, backend: &str, usage: Option<Usage>, last: Option<Usage>) -> Self {
        let tokens = last.and_then(|usage| usize::try_from(usage.completion_tokens).ok());
        let (token_ids, score, truncated, backend) = (None, None, false, backend.to_owned());
        Self { text, token_ids, tokens, score, truncated, backend, fallbacks: Vec::new(), usage }
    }
}

impl FromBackend for Summary {
    fn set_backend(&mut self, backend: &str, fallbacks: &[Fallback]) {
        backend.clone_into(&mut self.backend);
        fallbacks.clone_into(&mut self.fallbacks);
    }
}
