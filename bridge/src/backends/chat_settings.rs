//! [`ChatSettings`]: the checked settings of a language model of a server or in a GGUF file.

use std::path::PathBuf;

use super::prompt::Prompt;
use super::remote::chat::Chat;
use super::remote::entities::{ONTONOTES, Recognition, checked_labels};
use super::remote::summaries::{Summarization, check_temperature};
use super::remote::{Remote, RemoteModel, Size};
use crate::BridgeError;
use crate::tasks::Task;
use crate::tasks::backend::AnyBackend;

/// Refuses counts that are 0.
///
/// # Errors
/// `config`.
pub(super) fn check_counts(counts: &[(&str, Option<usize>)]) -> Result<(), BridgeError> {
    match counts.iter().find(|(_, count)| *count == Some(0)) {
        Some((name, _)) => Err(BridgeError::config(format!("{name} is 0, expected at least 1"))),
        None => Ok(()),
    }
}

/// The settings of a language model for named entities or summaries.
#[derive(Debug, Clone)]
pub(super) struct ChatSettings {
    chat: Chat,
    labels: Vec<String>,
}

/// The fields that models of servers and GGUF files share.
pub(super) struct ChatFields<'a> {
    pub(super) context: usize,
    pub(super) prompt: Option<&'a PathBuf>,
    pub(super) max_output_tokens: Option<usize>,
    pub(super) labels: &'a [String],
    pub(super) temperature: Option<f64>,
    pub(super) limit_key: &'static str,
}

impl ChatFields<'_> {
    /// Checks the fields and reads the prompt.
    ///
    /// # Errors
    /// `config`; `io` for a prompt that cannot be read.
    pub(super) fn settings(&self, task: Task) -> Result<ChatSettings, BridgeError> {
        let labels = match self.labels {
            [] => ONTONOTES.map(str::to_owned).to_vec(),
            labels => checked_labels(labels)?,
        };
        let default = if task == Task::Ner { 2048 } else { 256 };
        let (context, max_output_tokens) = (self.context, self.max_output_tokens.unwrap_or(default));
        check_counts(&[("max_output_tokens", Some(max_output_tokens))])?;
        if max_output_tokens >= context {
            let problem =
                format!("max_output_tokens is {max_output_tokens}, expected less than the context of {context}");
            return Err(BridgeError::config(problem));
        }
        check_temperature(self.temperature)?;
        let prompt = Prompt::read(self.prompt.map(PathBuf::as_path), task)?;
        let (limit_key, temperature, seed) = (self.limit_key, self.temperature, None);
        let chat =
            Chat { context, max_output_tokens, prompt, limit_key, temperature, seed, extra: serde_json::Map::new() };
        Ok(ChatSettings { chat, labels })
    }
}

impl ChatSettings {
    /// Makes answers the same every time, and independent of the calls before.
    #[cfg(feature = "llama-cpp")]
    pub(super) fn deterministic(mut self) -> Self {
        self.chat.seed = Some(0);
        self.chat.extra.insert("cache_prompt".to_owned(), false.into());
        self
    }

    /// The model of a task: named entities, or summaries.
    pub(super) fn backend(self, task: Task, remote: std::sync::Arc<Remote>, size: Size) -> AnyBackend {
        let (chat, labels) = (std::sync::Arc::new(self.chat), self.labels);
        match task {
            Task::Ner => AnyBackend::Recognize(RemoteModel::new(remote, Recognition { chat, labels, size })),
            Task::Embedding | Task::Summarization | Task::Rerank => {
                AnyBackend::Summarize(RemoteModel::new(remote, Summarization { chat, size }))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code<T>(result: Result<T, BridgeError>) -> Option<&'static str> {
        result.err().map(|error| error.code().as_str())
    }

    fn fields(labels: &[String], max_output_tokens: Option<usize>) -> ChatFields<'_> {
        let (context, prompt, temperature, limit_key) = (300, None, None, "max_tokens");
        ChatFields { context, prompt, max_output_tokens, labels, temperature, limit_key }
    }

    #[test]
    fn an_answer_leaves_room_for_the_text() {
        assert_eq!(code(fields(&[], None).settings(Task::Summarization)), None);
        assert_eq!(code(fields(&[], None).settings(Task::Ner)), Some("config"));
        assert_eq!(code(fields(&[], Some(299)).settings(Task::Ner)), None);
        assert_eq!(code(fields(&[], Some(300)).settings(Task::Ner)), Some("config"));
    }

    #[test]
    fn labels_are_different_names() {
        let labels = |names: &[&str]| {
            let labels: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            fields(&labels, Some(100)).settings(Task::Ner).map(|settings| settings.labels.len()).ok()
        };
        assert_eq!((labels(&[]), labels(&["A", "B"])), (Some(18), Some(2)));
        assert_eq!((labels(&["A", "A"]), labels(&[""])), (Some(1), None));
    }
}
