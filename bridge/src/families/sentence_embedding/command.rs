//! The command `embed`, which reads texts and prints their vectors as JSON lines.

use serde::Serialize;

use super::{EmbedOptions, Embedding};
use crate::command::model::ModelArguments;
use crate::command::stream::{Answers, answer_all, to_json};
use crate::command::{Failure, Outcome};
use crate::families::Task;
use crate::{BridgeError, OnnxMlBridge};

/// Embed texts: JSON lines on standard input, one answer per line on standard output, in order.
///
/// A line is a JSON string or an object {"text": "..."}. Its answer is {"embedding": [...], "truncated": false}. A line
/// that fails has the answer {"error": {"code", "line", "message"}} and does not end the command. Answers are printed as
/// soon as they are ready; lines that are available at the same time run together.
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
    let bridge = arguments.model.open(Task::SentenceEmbedding)?;
    let options = EmbedOptions { prompt_name: arguments.prompt_name.clone() };
    // This call without texts reports wrong options and a missing library once, before any line is read.
    bridge.embed_each(&[""; 0], &options)?;
    bridge.warm_up()?;
    answer_all(&Embed { bridge, options }, arguments.model.text_limit)
}

impl Answers for Embed {
    type Input = String;
    type Answer = Embedding;

    fn answer(&self, inputs: &[&String]) -> Result<Vec<Result<Embedding, BridgeError>>, Failure> {
        Ok(self.bridge.embed_each(inputs, &self.options)?)
    }

    fn line(&self, _: &String, answer: Embedding) -> Result<String, Failure> {
        to_json(&Vector { embedding: answer.vector, truncated: answer.truncated })
    }
}
