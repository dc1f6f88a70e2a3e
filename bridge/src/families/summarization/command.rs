//! The command `summarize`, which reads messages and prints their summaries as JSON lines or as plain text.

use std::io::{self, IsTerminal};
use std::time::Duration;

use clap::ValueEnum;
use serde::Serialize;

use super::messages::Messages;
use super::progress_bar::Bar;
use crate::command::bulk::{BulkArguments, Pinned, answer_file};
use crate::command::model::ModelArguments;
use crate::command::stream::{Answers, answer_all, to_json};
use crate::command::{Failure, Outcome, seconds};
use crate::jsonl::LineError;
use crate::terminal::{Style, visible};
use crate::{BridgeError, SummarizeOptions, Summarizer, Summary};

/// Limit on the lines that are answered together. The limit is low because summaries take long, and the first line is
/// answered only when the last one is.
const MAX_BATCH: usize = 8;
/// The default number of rows of a part, and the limit on the rows of a file that are answered together.
const PART_ROWS: u16 = 64;

/// Summarize messages: JSON lines on standard input, one summary per line on standard output, in order.
///
/// A line is a JSON string, an object {"text": "..."}, or an object {"messages": ["...", "..."]} whose messages belong
/// together. Its answer is {"summary": "...", "tokens": 9, "truncated": false}, where "tokens" is the number of generated
/// tokens and "truncated" says whether a part of the input was not read. A line that fails has the answer {"error":
/// {"code", "line", "message"}} and does not end the command. Options that are not passed have the artifact's defaults.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  echo '{\"messages\": [\"The meeting is on Friday.\", \"Bring the figures.\"]}' | \
    onnx-ml-bridge summarize --model dist/distilbart-cnn-12-6\n  onnx-ml-bridge summarize --model DIR --num-beams 1 \
    --format text < texts.jsonl\n  onnx-ml-bridge summarize --model DIR --map-reduce --timeout 60 < texts.jsonl"
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    /// Beams of the search; 1 is greedy search
    #[arg(long, value_name = "N")]
    num_beams: Option<usize>,
    /// Minimum length of a summary in tokens, including the start token
    #[arg(long, value_name = "N")]
    min_length: Option<usize>,
    /// Maximum length of a summary in tokens, including the start token
    #[arg(long, value_name = "N")]
    max_length: Option<usize>,
    /// Exponent of the length that divides a summary's score: above 0 favors longer summaries
    #[arg(long, value_name = "F", allow_hyphen_values = true)]
    length_penalty: Option<f32>,
    /// Read longer texts in chunks and summarize their summaries, instead of truncating the texts
    #[arg(long)]
    map_reduce: bool,
    /// Time limit for one line in seconds; lines are then answered one by one
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    timeout: Option<Duration>,
    /// JSON lines for programs, or plain summaries, one per line
    #[arg(long, value_enum, default_value_t = Format::Jsonl)]
    format: Format,
    #[command(flatten)]
    bulk: BulkArguments,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Jsonl,
    Text,
}

struct Summarize {
    summarizer: Summarizer,
    options: SummarizeOptions,
    bar: Option<Bar>,
    /// How answers are formatted for people; `None` if they are printed as JSON.
    style: Option<Style>,
}

#[derive(Serialize)]
struct Answer {
    summary: String,
    tokens: Option<usize>,
    truncated: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Outcome, Failure> {
    arguments.bulk.require_json(arguments.format == Format::Jsonl)?;
    let summarizer: Summarizer = arguments.model.open()?;
    // A run over a file has a bar of its own.
    let bar = Bar::new(io::stderr().is_terminal() && arguments.bulk.paths().is_none());
    let options = SummarizeOptions {
        num_beams: arguments.num_beams,
        min_length: arguments.min_length,
        max_length: arguments.max_length,
        length_penalty: arguments.length_penalty,
        map_reduce: arguments.map_reduce,
        timeout: arguments.timeout,
        cancel: None,
        progress: bar.as_ref().map(Bar::progress),
        ..SummarizeOptions::default()
    };
    // This call without texts reports wrong options and a missing library once, before any line is read.
    summarizer.summarize_each_blocking(&[], &options)?;
    summarizer.warm_up_blocking()?;
    let style = (arguments.format == Format::Text).then(|| Style::new(io::stdout().is_terminal()));
    let command = Summarize { summarizer, options, bar, style };
    let Some(paths) = arguments.bulk.paths() else {
        return answer_all(&command, arguments.model.text_limit);
    };
    let pinned = Pinned {
        command: "summarize",
        info: &command.summarizer.info(),
        options: arguments.pinned(),
        text_limit: arguments.model.text_limit,
        part_rows: PART_ROWS.into(),
    };
    answer_file(&command, &arguments.bulk, paths, &pinned)
}

impl Arguments {
    /// The options on which summaries depend.
    fn pinned(&self) -> serde_json::Value {
        serde_json::json!({
            "num_beams": self.num_beams,
            "min_length": self.min_length,
            "max_length": self.max_length,
            "length_penalty": self.length_penalty.map(decimal),
            "map_reduce": self.map_reduce,
            "timeout": self.timeout.map(|limit| limit.as_secs_f64()),
        })
    }
}

/// The float64 with the shortest decimal form of a float32, as people write it.
fn decimal(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::from(value))
}

impl Answers for Summarize {
    type Input = Messages;
    type Answer = Summary;

    fn max_batch(&self) -> usize {
        if self.options.timeout.is_some() { 1 } else { MAX_BATCH }
    }

    fn max_rows(&self) -> usize {
        if self.options.timeout.is_some() { 1 } else { PART_ROWS.into() }
    }

    fn answer(&self, inputs: &[&Messages]) -> Result<Vec<Result<Summary, BridgeError>>, Failure> {
        let inputs: Vec<Vec<String>> = inputs.iter().map(|input| input.0.clone()).collect();
        let answers = self.summarizer.summarize_each_blocking(&inputs, &self.options);
        self.bar.iter().for_each(Bar::clear);
        Ok(answers?)
    }

    fn line(&self, _: &Messages, summary: Summary) -> Result<String, Failure> {
        match self.style {
            Some(_) => Ok(visible(&summary.text)),
            None => {
                let Summary { text, tokens, truncated, .. } = summary;
                to_json(&Answer { summary: text, tokens, truncated })
            }
        }
    }

    fn failure(&self, error: &LineError) -> Result<String, Failure> {
        match self.style {
            Some(style) => Ok(style.failure(error)),
            None => to_json(&serde_json::json!({"error": error})),
        }
    }
}
