//! Answers requests with the models of a `bridge.toml`, whatever backends it lists:
//!
//! ```text
//! backends bridge.toml <<'EOF'
//! {"task": "embedding", "inputs": ["The lease was signed."]}
//! {"task": "ner", "inputs": ["Kofi signed the lease."], "options": {"labels": ["PERSON"]}}
//! {"task": "summarization", "inputs": [["Kofi signed the lease.", "The tenants moved in."]], "options": {"max_length": 60}}
//! EOF
//! ```
//!
//! The tasks `health`, `models` and `status` have no inputs. Prints a line for each request, with the answer or the error of every input.

use std::error::Error;
use std::io;
use std::sync::Arc;

use onnx_ml_bridge::{BridgeError, EmbedOptions, MlBridge, RecognizeOptions, SummarizeOptions, open_bridge};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// A line of the standard input.
#[derive(Deserialize)]
#[serde(tag = "task", rename_all = "snake_case")]
enum Request {
    Embedding {
        inputs: Vec<String>,
        #[serde(default)]
        options: EmbedOptions,
    },
    Ner {
        inputs: Vec<String>,
        #[serde(default)]
        options: RecognizeOptions,
    },
    Summarization {
        inputs: Vec<Vec<String>>,
        #[serde(default)]
        options: SummarizeOptions,
    },
    Health,
    Models,
    Status,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let config = std::env::args_os().nth(1).ok_or("pass the path of a bridge.toml")?;
    let bridge = match open_bridge(config) {
        Ok(bridge) => bridge,
        Err(error) => {
            println!("{}", failure(&error));
            return Ok(());
        }
    };
    for line in io::stdin().lines() {
        let request: Request = serde_json::from_str(&line?)?;
        println!("{}", answer(&bridge, request).await?);
    }
    bridge.close().await?;
    Ok(())
}

async fn answer(bridge: &Arc<dyn MlBridge>, request: Request) -> serde_json::Result<Value> {
    match request {
        Request::Embedding { inputs, options } => outcomes(bridge.embed_with(&inputs, &options).await),
        Request::Ner { inputs, options } => outcomes(bridge.ner_with(&inputs, &options).await),
        Request::Summarization { inputs, options } => outcomes(bridge.summarize_with(&inputs, &options).await),
        Request::Health => serde_json::to_value(bridge.health().await),
        Request::Models => serde_json::to_value(bridge.models()),
        Request::Status => serde_json::to_value(bridge.status()),
    }
}

fn outcomes<T: Serialize>(result: Result<Vec<Result<T, BridgeError>>, BridgeError>) -> serde_json::Result<Value> {
    match result {
        Ok(outcomes) => outcomes
            .into_iter()
            .map(|outcome| outcome.map_or_else(|error| Ok(failure(&error)), serde_json::to_value))
            .collect(),
        Err(error) => Ok(failure(&error)),
    }
}

fn failure(error: &BridgeError) -> Value {
    json!({"code": error.code().as_str(), "index": error.index(), "message": error.to_string()})
}
