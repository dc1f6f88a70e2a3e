//! The options and the results of calls that rank documents.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::seconds;
use crate::runtime::cancellation::CancelToken;

/// Options of a call that ranks documents. A field that is `None` has the default of the bridge.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct RerankOptions {
    /// The number of documents that are returned, at least 1; `None` returns all.
    pub top_k: Option<usize>,
    /// Time limit of the whole call, above 0. JSON has seconds.
    #[serde(with = "seconds")]
    pub timeout: Option<Duration>,
    /// The token through which another thread can cancel the call. JSON omits it.
    #[serde(skip)]
    pub cancel: Option<CancelToken>,
}

impl RerankOptions {
    /// Sets the number of documents that are returned, at least 1.
    #[must_use]
    pub fn top_k(mut self, documents: usize) -> Self {
        self.top_k = Some(documents);
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
}

/// A document of a ranking, with its score.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Ranked {
    /// The index of the document in the call.
    pub index: usize,
    /// The score of the query and the document; finite.
    pub score: f32,
    /// Whether the query or the document was truncated.
    pub truncated: bool,
}

impl Ranked {
    pub(crate) fn new(index: usize, score: f32, truncated: bool) -> Self {
        Self { index, score, truncated }
    }
}
