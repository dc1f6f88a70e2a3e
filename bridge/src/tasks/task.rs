//! The enum [`Task`].

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::unknown_name::UnknownName;

/// A task: what a model does with its inputs.
///
/// In text, in JSON and in `bridge.toml`, a task is its [`name`](Self::name). Manifests have another name for embeddings,
/// which is [`manifest_name`](Self::manifest_name).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Task {
    /// Converts texts to vectors.
    Embedding,
    /// Finds named entities in texts.
    Ner,
    /// Summarizes messages.
    Summarization,
    /// Ranks documents for a query.
    Rerank,
}

impl Task {
    /// All tasks.
    pub const ALL: [Self; 4] = [Self::Embedding, Self::Ner, Self::Summarization, Self::Rerank];

    /// The name of the task: `embedding`, `ner`, `summarization` or `rerank`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Embedding => "embedding",
            Self::Ner => "ner",
            Self::Summarization => "summarization",
            Self::Rerank => "rerank",
        }
    }

    /// The name of the task in manifests: `sentence-embedding`, `ner`, `summarization` or `rerank`.
    pub const fn manifest_name(self) -> &'static str {
        match self {
            Self::Embedding => "sentence-embedding",
            Self::Ner | Self::Summarization | Self::Rerank => self.name(),
        }
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Task {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        Self::ALL.into_iter().find(|task| task.name() == name).ok_or_else(|| UnknownName::new(name, &Self::ALL))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_its_name() {
        for task in Task::ALL {
            assert_eq!((task.to_string().as_str(), task.name().parse()), (task.name(), Ok(task)));
            assert_eq!(serde_json::to_value(task).expect("JSON"), task.name());
            assert_eq!(serde_json::from_value::<Task>(task.name().into()).expect("a task"), task);
        }
        assert_eq!(Task::Embedding.manifest_name(), "sentence-embedding");
        let error = "sentence-embedding".parse::<Task>().expect_err("the name in manifests");
        assert!(error.to_string().contains("embedding, ner, summarization, rerank"), "{error}");
    }
}
