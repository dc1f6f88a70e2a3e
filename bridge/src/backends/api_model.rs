//! [`ApiModel`]: what an application says of a model of a server.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::chat_settings::check_counts;
use crate::BridgeError;
use crate::tasks::Task;

/// The number of tokens that a model of a server reads and writes by default.
const CONTEXT: usize = 8192;

/// A model of a server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ApiModel {
    /// The name of the model at the server.
    pub model: String,
    /// The number of tokens that the model reads and writes, at least 1.
    #[serde(default = "default_context")]
    pub context: usize,
    /// The number of elements of vectors, which embeddings require; an answer with others is an error.
    #[serde(default)]
    pub dimensions: Option<usize>,
    /// Whether requests ask for `dimensions`; then calls may ask for fewer.
    #[serde(default)]
    pub send_dimensions: bool,
    /// The name of the space of an embedding model: vectors of models in the same space may replace each other.
    #[serde(default)]
    pub space: Option<String>,
    /// A UTF-8 file with one `{text}`, for named entities and summaries; `None` for the built-in prompt.
    #[serde(default)]
    pub prompt: Option<PathBuf>,
    /// The limit on the tokens of an answer, less than `context`; `None` for 2048 with named entities, 256 with summaries.
    #[serde(default)]
    pub max_output_tokens: Option<usize>,
    /// The temperature of sampling, 0 to 2; `None` for that of the server.
    #[serde(default)]
    pub temperature: Option<f64>,
    /// The labels of named entities; empty for the 18 of OntoNotes.
    #[serde(default)]
    pub labels: Vec<String>,
}

fn default_context() -> usize {
    CONTEXT
}

impl ApiModel {
    /// The model with a name at the server.
    pub fn new(model: impl Into<String>) -> Self {
        Self {
            model: model.into(),
            context: CONTEXT,
            dimensions: None,
            send_dimensions: false,
            space: None,
            prompt: None,
            max_output_tokens: None,
            temperature: None,
            labels: Vec::new(),
        }
    }

    /// Sets the number of tokens that the model reads and writes, at least 1.
    #[must_use]
    pub fn context(mut self, tokens: usize) -> Self {
        self.context = tokens;
        self
    }

    /// Sets the number of elements of vectors.
    #[must_use]
    pub fn dimensions(mut self, dimensions: usize) -> Self {
        self.dimensions = Some(dimensions);
        self
    }

    /// Sets whether requests ask for the number of elements.
    #[must_use]
    pub fn send_dimensions(mut self, enabled: bool) -> Self {
        self.send_dimensions = enabled;
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

    /// Sets the temperature of sampling, 0 to 2.
    #[must_use]
    pub fn temperature(mut self, temperature: f64) -> Self {
        self.temperature = Some(temperature);
        self
    }

    /// Sets the labels of named entities.
    #[must_use]
    pub fn labels(mut self, labels: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.labels = labels.into_iter().map(Into::into).collect();
        self
    }

    /// Checks the fields that all tasks have, and that an embedding model has `dimensions`.
    ///
    /// # Errors
    /// `config`.
    pub(super) fn check(&self, task: Task) -> Result<(), BridgeError> {
        if self.model.is_empty() || self.model.chars().any(char::is_control) {
            return Err(BridgeError::config(format!("model is {:?}, expected the name of a model", self.model)));
        }
        check_counts(&[("context", Some(self.context)), ("dimensions", self.dimensions)])?;
        match task == Task::Embedding && self.dimensions.is_none() {
            true => Err(BridgeError::config(format!("the model {:?} needs dimensions", self.model))),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_fields_are_refused() {
        let code = |model: &ApiModel, task| model.check(task).err().map(|error| error.code().as_str());
        assert_eq!(code(&ApiModel::new("m"), Task::Ner), None);
        assert_eq!(code(&ApiModel::new("m"), Task::Embedding), Some("config"));
        assert_eq!(code(&ApiModel::new("m").dimensions(4), Task::Embedding), None);
        for bad in [ApiModel::new(""), ApiModel::new("a\n"), ApiModel::new("m").context(0)] {
            assert_eq!(code(&bad, Task::Ner), Some("config"), "{bad:?}");
        }
    }
}
