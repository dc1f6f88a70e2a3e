//! The command `embed`, which reads texts and prints their vectors as JSON lines.

use serde::Serialize;

use crate::command::bulk::{BulkArguments, Pinned, answer_file};
use crate::command::model::ModelArguments;
use crate::command::stream::{Answers, answer_all, to_json};
use crate::command::{Failure, Outcome};
use crate::{BridgeError, EmbedOptions, Embedder, Embedding};

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
    #[command(flatten)]
    bulk: BulkArguments,
}

struct Embed {
    embedder: Embedder,
    options: EmbedOptions,
}

#[derive(Serialize)]
struct Vector {
    embedding: Vec<f32>,
    truncated: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Outcome, Failure> {
    let embedder: Embedder = arguments.model.open()?;
    let options = EmbedOptions { prompt_name: arguments.prompt_name.clone(), ..EmbedOptions::default() };
    // This call without texts reports wrong options and a missing library once, before any line is read.
    embedder.embed_each_blocking(&[""; 0], &options)?;
    embedder.warm_up_blocking()?;
    let command = Embed { embedder, options };
    let Some(paths) = arguments.bulk.paths() else {
        return answer_all(&command, arguments.model.text_limit);
    };
    let pinned = Pinned {
        command: "embed",
        info: &command.embedder.info(),
        options: serde_json::json!({"prompt_name": arguments.prompt_name}),
        text_limit: arguments.model.text_limit,
        part_rows: 1024,
    };
    answer_file(&command, &arguments.bulk, paths, &pinned)
}

impl Answers for Embed {
    type Input = String;
    type Answer = Embedding;

    fn answer(&self, inputs: &[&String]) -> Result<Vec<Result<Embedding, BridgeError>>, Failure> {
        Ok(self.embedder.embed_each_blocking(inputs, &self.options)?)
    }

    fn line(&self, _: &String, answer: Embedding) -> Result<String, Failure> {
        to_json(&Vector { embedding: answer.vector, truncated: answer.truncated })
    }
}
