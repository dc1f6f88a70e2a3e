//! Counts the tokens of a message of the user within the chat template of a file.

use std::time::Instant;

use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::{Value, json};

use crate::backends::wire::{Failure, Wire};
use crate::runtime::batch::Outcome;

#[derive(Deserialize)]
struct Prompted {
    prompt: String,
}

#[derive(Deserialize)]
struct Tokenized {
    tokens: Vec<IgnoredAny>,
}

/// The number of tokens that a model reads for a message of the user.
///
/// # Errors
/// The errors of the server; `inference` for an answer off its schema.
pub(crate) async fn count(wire: &Wire, content: String, deadline: Option<Instant>) -> Outcome<usize> {
    let messages = json!({"messages": [{"role": "user", "content": content}]});
    let Prompted { prompt } = ask(wire, "//apply-template", &messages, deadline).await?;
    let text = json!({"content": prompt, "add_special": true, "parse_special": true});
    let Tokenized { tokens } = ask(wire, "//tokenize", &text, deadline).await?;
    Ok(tokens.len())
}

async fn ask<T: DeserializeOwned>(wire: &Wire, path: &str, body: &Value, deadline: Option<Instant>) -> Outcome<T> {
    let read = |response| async move {
        let body = wire.whole(response).await?;
        let invalid = |_| Failure::lasting(wire.off_schema("it is not what llama.cpp answers"));
        serde_json::from_slice(&body).map_err(invalid)
    };
    wire.post(path, &body.to_string().into_bytes(), deadline, read).await
}
