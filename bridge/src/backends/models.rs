//! What an application says of a model of a server, and of the server.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::prompt::Prompt;
use super::remote::chat::Chat;
use super::remote::entities::{ONTONOTES, Recognition, checked_labels};
use super::remote::summaries::{Summarization, check_temperature};
use super::remote::{Remote, RemoteModel, Size};
use super::wire::Limits;
use crate::BridgeError;
use crate::tasks::Task;
use crate::tasks::backend::AnyBackend;

/// The number of tokens that a model of a server reads and writes by default.
const CONTEXT: usize = 8192;
/// The base URL of OpenAI's own servers.
const OPENAI: &str = "https://api.openai.com/v1";

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

/// A server with OpenAI's protocol, and how it is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ApiServer {
    /// The base URL: http or https, without user, query and fragment.
    pub base_url: String,
    /// The name of the environment variable that has the key; `None` sends no key.
    pub api_key_env: Option<String>,
    /// How often one request is sent at most, 1 to 10.
    pub max_attempts: u32,
    /// Limit on the requests at the same time, 1 to 1024.
    pub max_in_flight: usize,
    /// Spaces the starts of requests evenly, 1 to 1,000,000; `None` is no limit.
    pub requests_per_minute: Option<u32>,
    /// The time limit of a connection.
    pub connect_timeout: Duration,
    /// The time in which a request must bring the next bytes.
    pub read_timeout: Duration,
    /// The longest random wait before a request is sent again.
    pub max_backoff: Duration,
}

impl Default for ApiServer {
    fn default() -> Self {
        let Limits { max_attempts, max_backoff, connect_timeout, read_timeout } = Limits::default();
        let (base_url, api_key_env, max_in_flight, requests_per_minute) = (OPENAI.to_owned(), None, 8, None);
        Self {
            base_url,
            api_key_env,
            max_attempts,
            max_in_flight,
            requests_per_minute,
            connect_timeout,
            read_timeout,
            max_backoff,
        }
    }
}

impl ApiServer {
    /// The server with a base URL.
    pub fn new(base_url: impl Into<String>) -> Self {
        Self { base_url: base_url.into(), ..Self::default() }
    }

    /// Sets the name of the environment variable that has the key.
    #[must_use]
    pub fn api_key_env(mut self, variable: impl Into<String>) -> Self {
        self.api_key_env = Some(variable.into());
        self
    }

    /// Limits how often one request is sent, 1 to 10.
    #[must_use]
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = attempts;
        self
    }

    /// Limits the requests at the same time, 1 to 1024.
    #[must_use]
    pub fn max_in_flight(mut self, requests: usize) -> Self {
        self.max_in_flight = requests;
        self
    }

    /// Spaces the starts of requests evenly, 1 to 1,000,000.
    #[must_use]
    pub fn requests_per_minute(mut self, requests: u32) -> Self {
        self.requests_per_minute = Some(requests);
        self
    }

    /// Sets the time limit of a connection.
    #[must_use]
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.connect_timeout = limit;
        self
    }

    /// Sets the time in which a request must bring the next bytes.
    #[must_use]
    pub fn read_timeout(mut self, limit: Duration) -> Self {
        self.read_timeout = limit;
        self
    }

    /// Sets the longest random wait before a request is sent again.
    #[must_use]
    pub fn max_backoff(mut self, limit: Duration) -> Self {
        self.max_backoff = limit;
        self
    }

    /// Checks everything but the base URL and the key.
    ///
    /// # Errors
    /// `config`, with all problems at once.
    pub(super) fn check(&self) -> Result<(), BridgeError> {
        let ranges = [
            ("max_attempts", u64::from(self.max_attempts), 10),
            ("max_in_flight", self.max_in_flight as u64, 1024),
            ("requests_per_minute", u64::from(self.requests_per_minute.unwrap_or(1)), 1_000_000),
        ];
        let wrong = ranges.iter().filter(|(_, value, max)| *value == 0 || value > max);
        let mut problems: Vec<String> =
            wrong.map(|(name, value, max)| format!("{name} is {value}, expected 1 to {max}")).collect();
        let times = [
            ("connect_timeout", self.connect_timeout),
            ("read_timeout", self.read_timeout),
            ("max_backoff", self.max_backoff),
        ];
        let zero = times.iter().filter(|(_, time)| time.is_zero());
        problems.extend(zero.map(|(name, _)| format!("{name} is 0 s, expected more than 0")));
        if problems.is_empty() { Ok(()) } else { Err(BridgeError::config(problems.join("; "))) }
    }

    pub(super) fn limits(&self) -> Limits {
        let Self { max_attempts, max_backoff, connect_timeout, read_timeout, .. } = *self;
        Limits { max_attempts, max_backoff, connect_timeout, read_timeout }
    }
}

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
    fn invalid_fields_are_refused() {
        assert_eq!(code(ApiModel::new("m").check(Task::Ner)), None);
        assert_eq!(code(ApiModel::new("m").check(Task::Embedding)), Some("config"));
        assert_eq!(code(ApiModel::new("m").dimensions(4).check(Task::Embedding)), None);
        for bad in [ApiModel::new(""), ApiModel::new("a\n"), ApiModel::new("m").context(0)] {
            assert_eq!(code(bad.check(Task::Ner)), Some("config"), "{bad:?}");
        }
        let server = ApiServer::default().max_attempts(11).max_in_flight(0).read_timeout(Duration::ZERO);
        let error = server.check().expect_err("three problems").to_string();
        assert_eq!(error.matches("expected").count(), 3, "{error}");
        assert_eq!(code(ApiServer::default().check()), None);
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
