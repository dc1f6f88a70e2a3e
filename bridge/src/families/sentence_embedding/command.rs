//! The command `embed`, which reads texts and prints their vectors as JSON lines.

use std::collections::BTreeMap;

use serde::Serialize;

use super::line::Line;
use crate::command::bulk::{BulkArguments, Pinned, answer_file};
use crate::command::model::ModelArguments;
use crate::command::stream::{Answers, answer_all, to_json};
use crate::command::{Failure, Outcome};
use crate::{BridgeError, EmbedOptions, Embedder, Embedding};

/// Embed texts: JSON lines on standard input, one answer per line on standard output, in order.
///
/// A line is a JSON string or an object {"text": "..."}, which may also have "dimensions" in place of --dimensions. Its
/// answer is {"embedding": [...], "truncated": false}. A line that fails has the answer {"error": {"code", "line",
/// "message"}} and does not end the command. Answers are printed as soon as they are ready; lines that are available at the
/// same time run together.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  echo '\"Hello world\"' | onnx-ml-bridge embed --model dist/all-minilm-l6-v2\n  \
    onnx-ml-bridge embed --model DIR --variant int8 --prompt-name query < texts.jsonl > vectors.jsonl")]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    /// The prompt put before every text (default: the artifact's default prompt)
    #[arg(long, value_name = "NAME")]
    prompt_name: Option<String>,
    /// Number of elements of the vectors, one of those that the artifact lists (default: all)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    dimensions: Option<u32>,
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
    let dimensions = arguments.dimensions.map(usize::try_from).transpose().map_err(BridgeError::config)?;
    let options = EmbedOptions { prompt_name: arguments.prompt_name.clone(), dimensions, ..EmbedOptions::default() };
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
        options: serde_json::json!({"prompt_name": arguments.prompt_name, "dimensions": dimensions}),
        text_limit: arguments.model.text_limit,
        part_rows: 1024,
    };
    answer_file(&command, &arguments.bulk, paths, &pinned)
}

impl Answers for Embed {
    type Input = Line;
    type Answer = Embedding;

    /// Lines with equal dimensions share a call.
    fn answer(&self, inputs: &[&Line]) -> Result<Vec<Result<Embedding, BridgeError>>, Failure> {
        let mut groups: BTreeMap<Option<usize>, Vec<usize>> = BTreeMap::new();
        for (index, input) in inputs.iter().enumerate() {
            groups.entry(input.dimensions).or_default().push(index);
        }
        let mut outcomes = Vec::with_capacity(inputs.len());
        for (dimensions, indices) in groups {
            let texts: Vec<&str> = indices.iter().map(|&index| inputs[index].text.as_str()).collect();
            outcomes.extend(indices.into_iter().zip(self.embed(&texts, dimensions)?));
        }
        outcomes.sort_by_key(|(index, _)| *index);
        Ok(outcomes.into_iter().map(|(_, outcome)| outcome).collect())
    }

    fn line(&self, _: &Line, answer: Embedding) -> Result<String, Failure> {
        to_json(&Vector { embedding: answer.vector, truncated: answer.truncated })
    }
}

impl Embed {
    /// Embeds the texts of lines with equal dimensions. If the model does not list them, every line fails.
    fn embed(
        &self,
        texts: &[&str],
        dimensions: Option<usize>,
    ) -> Result<Vec<Result<Embedding, BridgeError>>, BridgeError> {
        let Some(own) = dimensions else { return self.embedder.embed_each_blocking(texts, &self.options) };
        match self.embedder.embed_each_blocking(texts, &self.options.clone().dimensions(own)) {
            Err(error @ BridgeError::Config { .. }) => Ok(texts.iter().map(|_| Err(error.clone())).collect()),
            outcomes => outcomes,
        }
    }
}
