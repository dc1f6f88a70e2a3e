//! The options of calls that find named entities.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{AggregationStrategy, seconds};
use crate::runtime::cancellation::CancelToken;

/// Options of a call that finds named entities. A field that is `None` has the default of the model or of the bridge.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct RecognizeOptions {
    /// How the classes of tokens become entities; only for token classification.
    pub aggregation_strategy: Option<AggregationStrategy>,
    /// The number of tokens by which the windows of a long text overlap; only for token classification.
    pub stride: Option<usize>,
    /// The offsets of the starts of each text's sentences, in characters; only for spaCy pipelines that require them.
    pub sentence_starts: Option<Vec<Vec<usize>>>,
    /// Time limit of the whole call, above 0. JSON has seconds.
    #[serde(with = "seconds")]
    pub timeout: Option<Duration>,
    /// The token through which another thread can cancel the call. JSON omits it.
    #[serde(skip)]
    pub cancel: Option<CancelToken>,
}

impl RecognizeOptions {
    /// Sets how the classes of tokens become entities.
    #[must_use]
    pub fn aggregation_strategy(mut self, strategy: AggregationStrategy) -> Self {
        self.aggregation_strategy = Some(strategy);
        self
    }

    /// Sets the number of tokens by which the windows of a long text overlap.
    #[must_use]
    pub fn stride(mut self, tokens: usize) -> Self {
        self.stride = Some(tokens);
        self
    }

    /// Sets the offsets of the starts of each text's sentences, in characters.
    #[must_use]
    pub fn sentence_starts(mut self, starts: Vec<Vec<usize>>) -> Self {
        self.sentence_starts = Some(starts);
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

    /// The sentence starts of one text, which is given by its index in the call.
    pub(crate) fn sentence_starts_of(&self, index: usize) -> Option<&[usize]> {
        Some(self.sentence_starts.as_ref()?.get(index)?)
    }
}
