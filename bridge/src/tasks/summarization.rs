//! The options and the results of calls that summarize.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::seconds;
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
    /// Time limit of the whole call, above 0. JSON has seconds.
    #[serde(with = "seconds")]
    pub timeout: Option<Duration>,
    /// The token through which another thread can cancel the call. JSON omits it.
    #[serde(skip)]
    pub cancel: Option<CancelToken>,
    /// Receives the progress of the call. JSON omits it.
    #[serde(skip)]
    pub progress: Option<Progress>,
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
    /// run, in the thread that waits for the call.
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

/// The summary of one input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Summary {
    /// The text of the summary.
    pub text: String,
    /// The token ids of the summary; the first is the decoder's start token.
    pub token_ids: Vec<i64>,
    /// The number of generated tokens: all of `token_ids` but the first.
    pub tokens: usize,
    /// The score of the best finished beam. Scores are only comparable if their settings are the same.
    pub score: f32,
    /// Whether a part of the input was not read.
    pub truncated: bool,
}
