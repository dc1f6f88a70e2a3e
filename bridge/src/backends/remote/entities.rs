//! Named entities by language models: a strict JSON schema, and copies that are found again in the text.

use std::sync::Arc;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};

use super::chat::{Chat, Completion, Question, ask};
use super::{RemoteModel, RemoteTask, Size};
use crate::BridgeError;
use crate::backends::align::{Copied, align};
use crate::backends::prompt::Prompt;
use crate::backends::wire::{Wire, fly};
use crate::runtime::batch::Outcome;
use crate::runtime::lane::Caller;
use crate::tasks::backend::RecognizeBackend;
use crate::tasks::chunks::is_whitespace;
use crate::tasks::{Entities, RecognizeOptions};

/// The types of entities of OntoNotes, which spaCy's English pipelines have.
pub(crate) const ONTONOTES: [&str; 18] = [
    "PERSON",
    "NORP",
    "FAC",
    "ORG",
    "GPE",
    "LOC",
    "PRODUCT",
    "EVENT",
    "WORK_OF_ART",
    "LAW",
    "LANGUAGE",
    "DATE",
    "TIME",
    "PERCENT",
    "MONEY",
    "QUANTITY",
    "ORDINAL",
    "CARDINAL",
];

/// The settings of a language model that finds entities.
pub(crate) struct Recognition {
    pub(crate) chat: Arc<Chat>,
    pub(crate) labels: Vec<String>,
    pub(crate) size: Size,
}

/// Labels without repetitions.
///
/// # Errors
/// `config` without labels, or for an empty one.
pub(crate) fn checked_labels(labels: &[String]) -> Result<Vec<String>, BridgeError> {
    if labels.is_empty() || labels.iter().any(String::is_empty) {
        return Err(BridgeError::config(format!(
            "labels are {labels:?}, expected at least one name, and no empty ones"
        )));
    }
    let is_first = |(index, label): &(usize, &String)| !labels[..*index].contains(label);
    Ok(labels.iter().enumerate().filter(is_first).map(|(_, label)| label.clone()).collect())
}

/// What all texts of a call share.
struct Request<'a> {
    labels: &'a [String],
    prompt: Prompt,
}

impl Recognition {
    /// The labels of a call, else those of the model.
    fn labels_of(&self, options: &RecognizeOptions) -> Result<Vec<String>, BridgeError> {
        options.labels.as_deref().map_or_else(|| Ok(self.labels.clone()), checked_labels)
    }

    fn question(&self, request: &Request<'_>, text: &str) -> Question {
        Question {
            content: request.prompt.with_text(text),
            max_tokens: self.chat.max_output_tokens,
            response_format: Some(response_format(request.labels)),
            ..Question::default()
        }
    }

    /// Reads the entities of an answer.
    ///
    /// # Errors
    /// `inference`, if it is cut or off its schema.
    fn read(&self, labels: &[String], answer: &Completion, wire: &Wire) -> Outcome<Vec<Copied>> {
        let refused = |_| match answer.is_cut {
            true => wire.off_schema("the limit of tokens cut the list of entities"),
            false => wire.off_schema("it is no list of entities"),
        };
        let List { entities } = serde_json::from_str(&answer.text).map_err(refused)?;
        let is_known = entities.iter().all(|copied| labels.contains(&copied.label));
        // Each entity has more tokens than one.
        if !is_known || entities.len() > self.chat.max_output_tokens {
            return Err(wire.off_schema("a label is unknown, or there are too many entities"));
        }
        Ok(entities)
    }
}

/// The strict JSON schema of an answer.
fn response_format(labels: &[String]) -> Value {
    let text = json!({"type": "string"});
    let properties = json!({"before": text, "text": text, "label": {"type": "string", "enum": labels}});
    let item = json!({"type": "object", "properties": properties, "required": ["before", "text", "label"],
        "additionalProperties": false});
    let schema = json!({"type": "object", "properties": {"entities": {"type": "array", "items": item}},
        "required": ["entities"], "additionalProperties": false});
    json!({"type": "json_schema", "json_schema": {"name": "entities", "strict": true, "schema": schema}})
}

#[derive(Deserialize)]
struct List {
    entities: Vec<Copied>,
}

#[async_trait]
impl RemoteTask for Recognition {
    type Input = String;
    type Options = RecognizeOptions;
    type Answer = Entities;

    fn check(&self, options: &RecognizeOptions) -> Result<(), BridgeError> {
        let set = [
            ("aggregation_strategy", options.aggregation_strategy.is_some()),
            ("stride", options.stride.is_some()),
            ("sentence_starts", options.sentence_starts.is_some()),
            ("threshold", options.threshold.is_some()),
            ("nested", options.nested.is_some()),
            ("multi_label", options.multi_label.is_some()),
        ];
        match set.into_iter().find(|(_, is_set)| *is_set) {
            None => self.labels_of(options).map(|_| ()),
            Some((name, _)) => Err(BridgeError::config(format!("{name} needs an ONNX model: omit it"))),
        }
    }

    fn probe_input() -> (String, RecognizeOptions) {
        ("health".to_owned(), RecognizeOptions::default())
    }

    fn tokens(answer: &Entities) -> usize {
        answer.tokens.unwrap_or(0)
    }

    async fn outcomes(
        model: &Arc<RemoteModel<Self>>,
        inputs: Vec<String>,
        options: &RecognizeOptions,
        caller: &Caller,
    ) -> Result<Vec<Outcome<Entities>>, BridgeError> {
        let labels = model.task.labels_of(options)?;
        let request = Request { labels: &labels, prompt: model.task.chat.prompt.with_labels(&labels) };
        let mut outcomes = Vec::with_capacity(inputs.len());
        for text in &inputs {
            outcomes.push(model.unasked(&request, text, caller).await);
        }
        let asked: Vec<usize> = (0..inputs.len()).filter(|index| matches!(outcomes[*index], Ok(None))).collect();
        let parts = asked.iter().map(|&index| {
            let (remote, chat) = (Arc::clone(&model.remote), Arc::clone(&model.task.chat));
            ask(remote, chat, model.task.question(&request, &inputs[index]), caller.deadline)
        });
        let mut answers = fly(parts.collect(), caller).await?.into_iter();
        let mut outcome = |(text, unasked): (&String, Outcome<Option<Entities>>)| match unasked? {
            Some(entities) => Ok(entities),
            None => model.entities(&labels, text, answers.next().unwrap_or_else(not_asked)?),
        };
        Ok(inputs.iter().zip(outcomes).map(&mut outcome).collect())
    }
}

fn not_asked() -> Outcome<Completion> {
    Err(BridgeError::inference(None, "was not requested"))
}

impl RemoteModel<Recognition> {
    /// The entities of a text that needs no request, because it is whitespace; `None` for other texts.
    ///
    /// # Errors
    /// `input_too_large`, `context_too_long`, or an error of the server that counts tokens.
    async fn unasked(&self, request: &Request<'_>, text: &str, caller: &Caller) -> Outcome<Option<Entities>> {
        self.remote.check_size(text.len())?;
        if is_whitespace(text) {
            let nothing = Entities::of_server(text, &[], &self.remote.wire.backend, None);
            return Ok(Some(Entities { tokens: Some(0), ..nothing }));
        }
        let chat = &self.task.chat;
        let size = self.task.size.of(request.prompt.with_text(text), &self.remote, caller).await?;
        let limit = chat.context - chat.max_output_tokens;
        if size <= limit {
            return Ok(None);
        }
        let problem = format!("the text and the prompt have {size} tokens, the limit is {limit}");
        Err(BridgeError::ContextTooLong { index: None, problem })
    }

    fn entities(&self, labels: &[String], text: &str, answer: Completion) -> Outcome<Entities> {
        let wire = &self.remote.wire;
        let copies = self.task.read(labels, &answer, wire)?;
        let aligned = align(text, &copies);
        if aligned.dropped > 0 {
            wire.meter.dropped(aligned.dropped);
        }
        Ok(Entities::of_server(text, &aligned.spans, &wire.backend, answer.usage))
    }
}

#[async_trait]
impl RecognizeBackend for RemoteModel<Recognition> {
    fn check_options(&self, options: &RecognizeOptions, _: usize) -> Result<(), BridgeError> {
        self.task.check(options)
    }

    async fn recognize_each(
        self: Arc<Self>,
        texts: Vec<String>,
        options: RecognizeOptions,
        caller: Caller,
    ) -> Result<Vec<Outcome<Entities>>, BridgeError> {
        self.each(texts, &options, &caller).await
    }
}
