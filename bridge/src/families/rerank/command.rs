//! The command `rerank`, which reads queries with documents and prints the documents by descending score, as JSON
//! lines.

use serde::Serialize;

use super::line::Line;
use crate::command::bulk::{BulkArguments, Pinned, answer_file};
use crate::command::model::ModelArguments;
use crate::command::stream::{Answers, answer_all, to_json};
use crate::command::{Failure, Outcome};
use crate::{BridgeError, Ranked, RerankOptions, Reranker};

/// Rank documents: JSON lines on standard input, one ranking per line on standard output, in order.
///
/// A line is an object {"query": "...", "documents": ["...", ...]}. Its answer is {"ranking": [{"index", "score",
/// "truncated"}]}, best document first, where "index" is the index in "documents". A line that fails has the answer
/// {"error": {"code", "line", "message"}} and does not end the command.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  echo '{\"query\": \"play music\", \"documents\": [\"A chess game.\", \"A music player.\"]}' | \
    onnx-ml-bridge rerank --model dist/cross-encoder-package-descriptions"
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    /// Print only the best K documents
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..))]
    top_k: Option<u32>,
    #[command(flatten)]
    bulk: BulkArguments,
}

struct Rerank {
    reranker: Reranker,
    options: RerankOptions,
}

#[derive(Serialize)]
struct Answer {
    ranking: Vec<Ranked>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Outcome, Failure> {
    let reranker: Reranker = arguments.model.open()?;
    let top_k = arguments.top_k.and_then(|documents| usize::try_from(documents).ok());
    let options = RerankOptions { top_k, ..RerankOptions::default() };
    // This call reports a missing library once, before any line is read.
    reranker.warm_up_blocking()?;
    let command = Rerank { reranker, options };
    let Some(paths) = arguments.bulk.paths() else {
        return answer_all(&command, arguments.model.text_limit);
    };
    let pinned = Pinned {
        command: "rerank",
        info: &command.reranker.info(),
        options: serde_json::json!({"top_k": arguments.top_k}),
        text_limit: arguments.model.text_limit,
        // A row has many documents.
        part_rows: 128,
    };
    answer_file(&command, &arguments.bulk, paths, &pinned)
}

impl Answers for Rerank {
    type Input = Line;
    type Answer = Vec<Ranked>;

    /// Lines are answered one by one. The documents of a line already run together, so that several lines would only
    /// wait for each other.
    fn max_batch(&self) -> usize {
        1
    }

    fn answer(&self, inputs: &[&Line]) -> Result<Vec<Result<Vec<Ranked>, BridgeError>>, Failure> {
        let rank = |line: &&Line| self.reranker.rerank_blocking(&line.query, &line.documents(), &self.options);
        Ok(inputs.iter().map(rank).collect())
    }

    fn line(&self, _: &Line, ranking: Vec<Ranked>) -> Result<String, Failure> {
        to_json(&Answer { ranking })
    }
}
