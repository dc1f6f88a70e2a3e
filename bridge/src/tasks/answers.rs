//! What every answer says about where it comes from: its backend, the fallbacks before it, and the tokens it took.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error_code::ErrorCode;

/// The name of the backend of ONNX artifacts in answers.
pub(crate) const ONNX: &str = "onnx";

pub(crate) fn onnx() -> String {
    ONNX.to_owned()
}

/// Where a model runs.
///
/// The order is by distance: `Process` is the smallest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Location {
    /// In this process.
    #[default]
    Process,
    /// In another process of this machine.
    Machine,
    /// Somewhere else: inputs leave this machine.
    Network,
}

impl Location {
    /// The name of the location, such as `machine`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Machine => "machine",
            Self::Network => "network",
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A member of a chain that gave no answer before another one did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Fallback {
    /// The name of the member.
    pub backend: String,
    /// The code of its error.
    pub code: ErrorCode,
}

impl Fallback {
    pub(crate) fn new(backend: impl Into<String>, code: ErrorCode) -> Self {
        Self { backend: backend.into(), code }
    }
}

/// The tokens that a server counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Usage {
    /// The tokens that the model read.
    #[serde(default)]
    pub prompt_tokens: u64,
    /// The tokens that the model generated; 0 for embeddings.
    #[serde(default)]
    pub completion_tokens: u64,
}

impl Usage {
    /// The sum of what servers counted; `None` if none of them did.
    pub(crate) fn total(usages: impl IntoIterator<Item = Option<Self>>) -> Option<Self> {
        usages.into_iter().flatten().reduce(|sum, each| Self {
            prompt_tokens: sum.prompt_tokens.saturating_add(each.prompt_tokens),
            completion_tokens: sum.completion_tokens.saturating_add(each.completion_tokens),
        })
    }
}

/// An answer that names its backend.
pub(crate) trait FromBackend {
    /// Sets the name of the backend that gave the answer, and what failed before.
    fn set_backend(&mut self, backend: &str, fallbacks: &[Fallback]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_the_sum_of_what_was_counted() {
        let usage = |prompt_tokens, completion_tokens| Some(Usage { prompt_tokens, completion_tokens });
        assert_eq!(Usage::total([usage(3, 1), None, usage(4, 0)]), usage(7, 1));
        assert_eq!(Usage::total([None, None]), None);
    }

    #[test]
    fn locations_are_sorted_by_distance() {
        assert!(Location::Process < Location::Machine && Location::Machine < Location::Network);
        for location in [Location::Process, Location::Machine, Location::Network] {
            assert_eq!(serde_json::to_value(location).expect("JSON"), location.as_str());
        }
    }
}
