//! [`Gguf`]: what an application says of a GGUF file.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::BridgeError;
use crate::artifact::tree::is_hash;
use crate::backends::chat_settings::{ChatFields, check_counts};
use crate::tasks::Task;

const CONTEXT: usize = 4096;
const EMBEDDING_CONTEXT: usize = 512;

/// A GGUF file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Gguf {
    /// The path of the file.
    pub path: PathBuf,
    /// The SHA-256 that the file must have, 64 hexadecimal digits in lower case; `None` for any.
    #[serde(default)]
    pub sha256: Option<String>,
    /// The number of tokens that the model reads and writes; `None` for 4,096, for embeddings 512.
    #[serde(default)]
    pub context: Option<usize>,
    /// The number of threads; `None` for those that llama.cpp chooses.
    #[serde(default)]
    pub threads: Option<usize>,
    /// The limit on the address space of the server in MiB, on Linux; `None` is no limit.
    #[serde(default)]
    pub memory_mb: Option<usize>,
    /// The number of elements of vectors; `None` accepts that of the first answer.
    #[serde(default)]
    pub dimensions: Option<usize>,
    /// The name of the space of an embedding model: vectors of models in the same space may replace each other.
    #[serde(default)]
    pub space: Option<String>,
    /// A UTF-8 file with one `{text}`, for named entities and summaries; `None` for the built-in prompt.
    #[serde(default)]
    pub prompt: Option<PathBuf>,
    /// The limit on the tokens of an answer, less than the context; `None` for 2048 with named entities, 256 with summaries.
    #[serde(default)]
    pub max_output_tokens: Option<usize>,
    /// The labels of named entities; empty for the 18 of OntoNotes.
    #[serde(default)]
    pub labels: Vec<String>,
}

impl Gguf {
    /// The file at a path.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            sha256: None,
            context: None,
            threads: None,
            memory_mb: None,
            dimensions: None,
            space: None,
            prompt: None,
            max_output_tokens: None,
            labels: Vec::new(),
        }
    }

    /// Sets the SHA-256 that the file must have.
    #[must_use]
    pub fn sha256(mut self, sha256: impl Into<String>) -> Self {
        self.sha256 = Some(sha256.into());
        self
    }

    /// Sets the number of tokens that the model reads and writes.
    #[must_use]
    pub fn context(mut self, tokens: usize) -> Self {
        self.context = Some(tokens);
        self
    }

    /// Sets the number of threads.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = Some(threads);
        self
    }

    /// Limits the address space of the server in MiB, on Linux.
    #[must_use]
    pub fn memory_mb(mut self, mebibytes: usize) -> Self {
        self.memory_mb = Some(mebibytes);
        self
    }

    /// Sets the number of elements of vectors.
    #[must_use]
    pub fn dimensions(mut self, dimensions: usize) -> Self {
        self.dimensions = Some(dimensions);
        self
    }

    /// Sets the name of the space of an embedding model.
    #[must_use]
    pub fn space(mut self, space: impl Into<String>) -> Self {
        self.space = Some(space.into());
        self
    }

    /// Sets the file of the prompt.
    #[must_use]
    pub fn prompt(mut self, path: impl Into<PathBuf>) -> Self {
        self.prompt = Some(path.into());
        self
    }

    /// Limits the tokens of an answer, less than the context.
    #[must_use]
    pub fn max_output_tokens(mut self, tokens: usize) -> Self {
        self.max_output_tokens = Some(tokens);
        self
    }

    /// Sets the labels of named entities.
    #[must_use]
    pub fn labels(mut self, labels: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.labels = labels.into_iter().map(Into::into).collect();
        self
    }

    /// Checks the fields that all tasks have.
    ///
    /// # Errors
    /// `config`.
    pub(super) fn check(&self) -> Result<(), BridgeError> {
        check_counts(&[
            ("context", self.context),
            ("threads", self.threads),
            ("memory_mb", self.memory_mb),
            ("dimensions", self.dimensions),
        ])?;
        if self.memory_mb.is_some() && !cfg!(target_os = "linux") {
            return Err(BridgeError::config("memory_mb works on Linux alone: omit it"));
        }
        match self.sha256.as_ref().filter(|text| !is_hash(text)) {
            Some(sha256) => {
                let expected = "expected 64 hexadecimal digits in lower case";
                Err(BridgeError::config(format!("sha256 is {sha256:?}, {expected}")))
            }
            None => Ok(()),
        }
    }

    pub(super) fn context_of(&self, task: Task) -> usize {
        self.context.unwrap_or(if task == Task::Embedding { EMBEDDING_CONTEXT } else { CONTEXT })
    }

    /// The fields of a language model; its answers are deterministic.
    pub(super) fn chat(&self, task: Task) -> ChatFields<'_> {
        ChatFields {
            context: self.context_of(task),
            prompt: self.prompt.as_ref(),
            max_output_tokens: self.max_output_tokens,
            labels: &self.labels,
            temperature: Some(0.0),
            limit_key: "max_tokens",
        }
    }
}
