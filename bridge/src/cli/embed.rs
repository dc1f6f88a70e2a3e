//! `embed`: texts in, vectors out, both as JSON lines.

use onnx_ml_bridge::{BridgeError, EmbedOptions, Embedding, OnnxMlBridge};
use serde::Serialize;

use super::lines::{Besides, Input, Rules};
use super::model::ModelArguments;
use super::stream::{Answers, answer_all, to_json};
use super::{Failure, Outcome};

/// Embed texts: JSON lines on standard input, one answer per line on standard output, in order.
///
/// A line is a JSON string or an object {"text": "..."}. Its answer is {"embedding": [...], "truncated": false}, or
/// {"error": {"code", "line", "message"}} for a line that failed; the others go on. Answers are printed as soon as they
/// are ready: as many lines as are there already are run together.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  echo '\"Hello world\"' | onnx-ml-bridge embed --model dist/all-minilm-l6-v2\n  \
    onnx-ml-bridge embed --model DIR --variant int8 --prompt-name query < texts.jsonl > vectors.jsonl")]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    /// The prompt put before every text (default: the artifact's default prompt)
    #[arg(long, value_name = "NAME")]
    prompt_name: Option<String>,
}

struct Embed {
    bridge: OnnxMlBridge,
    options: EmbedOptions,
}

#[derive(Serialize)]
struct Vector {
    embedding: Vec<f32>,
    truncated: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Outcome, Failure> {
    let bridge = arguments.model.open_embedding()?;
    let options = EmbedOptions { prompt_name: arguments.prompt_name.clone() };
    // Wrong options and a missing library are told once, before any line.
    bridge.embed_each(&[""; 0], &options)?;
    bridge.warm_up()?;
    answer_all(&Embed { bridge, options }, Rules { limit: arguments.model.text_limit, besides: Besides::Nothing })
}

impl Answers for Embed {
    type Answer = Embedding;

    fn answer(&self, inputs: &[&Input]) -> Result<Vec<Result<Embedding, BridgeError>>, Failure> {
        let texts: Vec<&str> = inputs.iter().map(|input| input.text()).collect();
        Ok(self.bridge.embed_each(&texts, &self.options)?)
    }

    fn line(&self, _: &Input, answer: Embedding) -> Result<String, Failure> {
        to_json(&Vector { embedding: answer.vector, truncated: answer.truncated })
    }
}
