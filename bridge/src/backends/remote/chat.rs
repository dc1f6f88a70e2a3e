//! Answers of language models: one message of the user, streamed and read to the end.

use std::sync::Arc;
use std::time::Instant;

use reqwest::Response;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Remote, usage_of};
use crate::BridgeError;
use crate::backends::prompt::Prompt;
use crate::backends::wire::{Failure, Wire};
use crate::runtime::batch::Outcome;
use crate::tasks::{OnToken, Usage};

/// The data of the last event.
const DONE: &[u8] = b"[DONE]";

/// The settings of a language model for one task.
#[derive(Debug, Clone)]
pub(crate) struct Chat {
    /// The number of tokens that the model reads and writes.
    pub(crate) context: usize,
    /// The limit on the tokens of an answer; less than `context`.
    pub(crate) max_output_tokens: usize,
    pub(crate) prompt: Prompt,
    /// The key of requests that has the limit.
    pub(crate) limit_key: &'static str,
    /// The temperature of calls that pass none; `None` for that of the server.
    pub(crate) temperature: Option<f64>,
    /// The seed of calls that pass none; `None` for that of the server.
    pub(crate) seed: Option<u64>,
    /// Further keys of requests.
    pub(crate) extra: Map<String, Value>,
}

/// What one request asks.
#[derive(Debug, Clone, Default)]
pub(crate) struct Question {
    /// The content of the message.
    pub(crate) content: String,
    pub(crate) max_tokens: usize,
    pub(crate) temperature: Option<f64>,
    pub(crate) seed: Option<u64>,
    pub(crate) response_format: Option<Value>,
    /// Receives the text of the answer, with the index of an input.
    pub(crate) on_token: Option<(usize, OnToken)>,
}

impl Question {
    /// The body of the request. Texts are values of it, which cannot change its structure.
    fn body(&self, model: &str, chat: &Chat) -> Value {
        let message = json!({"role": "user", "content": self.content});
        let mut body = json!({"model": model, "messages": [message], "stream": true,
            "stream_options": {"include_usage": true}});
        body[chat.limit_key] = self.max_tokens.into();
        for (key, value) in &chat.extra {
            body[key] = value.clone();
        }
        let options = [
            ("temperature", self.temperature.or(chat.temperature).map(Value::from)),
            ("seed", self.seed.or(chat.seed).map(Value::from)),
            ("response_format", self.response_format.clone()),
        ];
        for (key, value) in options {
            if let Some(value) = value {
                body[key] = value;
            }
        }
        body
    }
}

/// A complete answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Completion {
    pub(crate) text: String,
    /// Whether the limit of tokens cut the answer.
    pub(crate) is_cut: bool,
    pub(crate) usage: Option<Usage>,
}

/// Asks a language model.
///
/// # Errors
/// The error of the last attempt.
pub(crate) async fn ask(
    remote: Arc<Remote>,
    chat: Arc<Chat>,
    question: Question,
    deadline: Option<Instant>,
) -> Outcome<Completion> {
    let (wire, on_token) = (&remote.wire, &question.on_token);
    let body = question.body(&wire.model, &chat).to_string().into_bytes();
    let read = |response| async move { read(wire, response, on_token.as_ref()).await };
    wire.post("/chat/completions", &body, deadline, read).await
}

/// Reads the answer of one attempt.
async fn read(wire: &Wire, response: Response, on_token: Option<&(usize, OnToken)>) -> Result<Completion, Failure> {
    let mut reader = Reader { wire, on_token, ..Reader::new(wire) };
    let ended = wire.events(response, |event| reader.feed(event)).await;
    let has_shown = reader.has_shown;
    // Who has seen a part of an answer must not see the beginning of another one.
    ended.and_then(|()| reader.result()).map_err(|failure| Failure { again: failure.again && !has_shown, ..failure })
}

/// Reads the events of an answer, which ends with a reason and `[DONE]`.
struct Reader<'a> {
    wire: &'a Wire,
    on_token: Option<&'a (usize, OnToken)>,
    text: String,
    has_shown: bool,
    finish_reason: Option<String>,
    usage: Option<Usage>,
    is_done: bool,
    is_refused: bool,
}

#[derive(Deserialize)]
struct Chunk {
    choices: Vec<Choice>,
    #[serde(default)]
    usage: Value,
}

#[derive(Deserialize)]
struct Choice {
    delta: Delta,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Delta {
    content: Option<String>,
    #[serde(default)]
    refusal: Value,
}

impl<'a> Reader<'a> {
    fn new(wire: &'a Wire) -> Self {
        let (text, finish_reason) = (String::new(), None);
        let (has_shown, is_done, is_refused) = (false, false, false);
        Self { wire, on_token: None, text, has_shown, finish_reason, usage: None, is_done, is_refused }
    }

    /// Reads the data of one event.
    fn feed(&mut self, event: &[u8]) -> Result<(), Failure> {
        if event == DONE {
            self.is_done = true;
            return Ok(());
        }
        let data: Value = serde_json::from_slice(event).map_err(|_| self.wire.unreadable("an event is not JSON"))?;
        if let Some(error) = data.get("error").filter(|error| !error.is_null()) {
            return Err(self.wire.error_event(error));
        }
        let chunk = Chunk::deserialize(data);
        self.add(chunk.map_err(|_| Failure::lasting(self.wire.off_schema("an event has an invalid value")))?);
        Ok(())
    }

    fn add(&mut self, chunk: Chunk) {
        self.usage = usage_of(&chunk.usage).or(self.usage);
        for Choice { delta, finish_reason } in chunk.choices {
            self.is_refused |= delta.refusal.as_str().is_some_and(|text| !text.is_empty());
            self.show(&delta.content.unwrap_or_default());
            self.finish_reason = finish_reason.or(self.finish_reason.take());
        }
    }

    fn show(&mut self, part: &str) {
        self.text.push_str(part);
        if let Some((input, on_token)) = self.on_token.filter(|_| !part.is_empty()) {
            self.has_shown = true;
            on_token.call(*input, part);
        }
    }

    /// The answer after the last event.
    fn result(self) -> Result<Completion, Failure> {
        let Some(reason) = self.finish_reason.filter(|_| self.is_done) else {
            return Err(Failure::passing(self.wire.upstream("the stream ended before the answer did", None)));
        };
        if self.is_refused || reason == "content_filter" {
            let problem = format!("{} refuses to answer", self.wire.backend);
            return Err(Failure::lasting(BridgeError::Refused { index: None, problem }));
        }
        Ok(Completion { text: self.text, is_cut: reason == "length", usage: self.usage })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chat() -> Chat {
        Chat {
            context: 100,
            max_output_tokens: 7,
            prompt: Prompt::parse("{text}").expect("a prompt"),
            limit_key: "max_tokens",
            temperature: Some(0.5),
            seed: None,
            extra: Map::from_iter([("cache_prompt".to_owned(), Value::Bool(false))]),
        }
    }

    /// A text with quotes, braces and tokens of templates is one value of the body.
    #[test]
    fn a_text_does_not_change_the_structure() {
        let text = "\"}], \"model\": \"x\" <|end|><|system|> [/INST] {text}\n\u{0}";
        let body = |content: &str| {
            let question = Question { content: content.to_owned(), max_tokens: 7, ..Question::default() };
            question.body("m", &chat())
        };
        let (mut body, plain) = (body(text), body("plain"));
        let sent: Value = serde_json::from_str(&body.to_string()).expect("JSON");
        assert_eq!(sent["messages"][0]["content"], text);
        body["messages"][0]["content"] = "plain".into();
        assert_eq!(body, plain);
    }

    #[test]
    fn options_of_a_call_replace_those_of_the_model() {
        let question = Question { temperature: Some(0.0), seed: Some(3), max_tokens: 5, ..Question::default() };
        let expected = json!({"model": "m", "messages": [{"role": "user", "content": ""}], "stream": true,
            "stream_options": {"include_usage": true}, "max_tokens": 5, "cache_prompt": false, "temperature": 0.0,
            "seed": 3});
        assert_eq!(question.body("m", &chat()), expected);
    }
}
