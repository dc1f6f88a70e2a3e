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
    /// The overlap of the windows of a long text: in tokens for token classification, in words for GLiNER.
    pub stride: Option<usize>,
    /// The offsets of the starts of each text's sentences, in characters; only for spaCy pipelines that require them.
    pub sentence_starts: Option<Vec<Vec<usize>>>,
    /// The labels to find, of which repetitions are ignored; only for GLiNER.
    pub labels: Option<Vec<String>>,
    /// The score that entities have to exceed, 0 to 1; only for GLiNER.
    pub threshold: Option<f64>,
    /// Whether entities may be inside of others; only for GLiNER.
    pub nested: Option<bool>,
    /// Whether the same words may have several labels; only for GLiNER.
    pub multi_label: Option<bool>,
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

    /// Sets the overlap of the windows of a long text, in tokens or words.
    #[must_use]
    pub fn stride(mut self, overlap: usize) -> Self {
        self.stride = Some(overlap);
        self
    }

    /// Sets the offsets of the starts of each text's sentences, in characters.
    #[must_use]
    pub fn sentence_starts(mut self, starts: Vec<Vec<usize>>) -> Self {
        self.sentence_starts = Some(starts);
        self
    }

    /// Sets the labels to find.
    #[must_use]
    pub fn labels(mut self, labels: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.labels = Some(labels.into_iter().map(Into::into).collect());
        self
    }

    /// Sets the score that entities have to exceed, 0 to 1.
    #[must_use]
    pub fn threshold(mut self, threshold: f64) -> Self {
        self.threshold = Some(threshold);
        self
    }

    /// Sets whether entities may be inside of others.
    #[must_use]
    pub fn nested(mut self, nested: bool) -> Self {
        self.nested = Some(nested);
        self
    }

    /// Sets whether the same words may have several labels.
    #[must_use]
    pub fn multi_label(mut self, multi_label: bool) -> Self {
        self.multi_label = Some(multi_label);
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

    /// The name of the first option that is set and that only models with labels per call have.
    pub(crate) fn label_option(&self) -> Option<&'static str> {
        let options = [
            ("labels", self.labels.is_some()),
            ("threshold", self.threshold.is_some()),
            ("nested", self.nested.is_some()),
            ("multi_label", self.multi_label.is_some()),
        ];
        options.into_iter().find(|(_, is_set)| *is_set).map(|(name, _)| name)
    }

    /// The sentence starts of one text, which is given by its index in the call.
    pub(crate) fn sentence_starts_of(&self, index: usize) -> Option<&[usize]> {
        Some(self.sentence_starts.as_ref()?.get(index)?)
    }
}
