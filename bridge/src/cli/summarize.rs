//! `summarize`: messages in, summaries out, as JSON lines or as plain text.

use std::io::{self, IsTerminal};
use std::time::Duration;

use clap::ValueEnum;
use onnx_ml_bridge::{BridgeError, OnnxMlBridge, SummarizeOptions, Summary};
use serde::Serialize;

use super::lines::{Besides, Input, Rules};
use super::model::ModelArguments;
use super::paint::Painter;
use super::progress::Bar;
use super::stream::{Answers, LineError, answer_all, to_json};
use super::{Failure, Outcome};

/// Lines answered together at most: a summary takes long, and the first line waits for the last of them.
const CHUNK: usize = 8;

/// Summarize messages: JSON lines on standard input, one summary per line on standard output, in order.
///
/// A line is a JSON string, an object {"text": "..."}, or an object {"messages": ["...", "..."]} whose messages belong
/// together. Its answer is {"summary": "...", "tokens": 9, "truncated": false}, where "tokens" counts what was generated
/// and "truncated" says that a part of the input was not read. A line that failed gives {"error": {"code", "line",
/// "message"}}; the others go on. Settings that are not given are the artifact's own.
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
    /// Tokens before which no summary ends, the start token included
    #[arg(long, value_name = "N")]
    min_length: Option<usize>,
    /// Tokens of a summary at most, the start token included
    #[arg(long, value_name = "N")]
    max_length: Option<usize>,
    /// The exponent of the length that a summary's score is divided by: above 0 for longer summaries
    #[arg(long, value_name = "F", allow_negative_numbers = true)]
    length_penalty: Option<f32>,
    /// Read longer texts in parts and summarize their summaries, instead of cutting them
    #[arg(long)]
    map_reduce: bool,
    /// Seconds that one line may take; lines are answered one by one then
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    timeout: Option<Duration>,
    /// JSON lines for programs, or plain summaries, one per line
    #[arg(long, value_enum, default_value_t = Format::Jsonl)]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Jsonl,
    Text,
}

fn seconds(value: &str) -> Result<Duration, String> {
    let seconds: f64 = value.parse().map_err(|_| "expected a number of seconds".to_owned())?;
    let limit = Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())?;
    if limit.is_zero() { Err("expected more than 0 seconds".to_owned()) } else { Ok(limit) }
}

struct Summarize {
    bridge: OnnxMlBridge,
    options: SummarizeOptions,
    bar: Option<Bar>,
    /// Where people read the answers.
    painter: Option<Painter>,
}

#[derive(Serialize)]
struct Answer {
    summary: String,
    tokens: usize,
    truncated: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Outcome, Failure> {
    let bridge = arguments.model.open_summarization()?;
    let bar = Bar::new(io::stderr().is_terminal());
    let options = SummarizeOptions {
        num_beams: arguments.num_beams,
        min_length: arguments.min_length,
        max_length: arguments.max_length,
        length_penalty: arguments.length_penalty,
        map_reduce: arguments.map_reduce,
        timeout: arguments.timeout,
        cancel: None,
        progress: bar.as_ref().map(Bar::progress),
    };
    // Wrong options and a missing library are told once, before any line.
    bridge.summarize_each(&[], &options)?;
    bridge.warm_up()?;
    let painter = (arguments.format == Format::Text).then(|| Painter::new(io::stdout().is_terminal()));
    let rules = Rules { limit: arguments.model.text_limit, besides: Besides::Messages };
    answer_all(&Summarize { bridge, options, bar, painter }, rules)
}

impl Answers for Summarize {
    type Answer = Summary;

    fn chunk(&self) -> usize {
        if self.options.timeout.is_some() { 1 } else { CHUNK }
    }

    fn answer(&self, inputs: &[&Input]) -> Result<Vec<Result<Summary, BridgeError>>, Failure> {
        let inputs: Vec<Vec<String>> = inputs.iter().map(|input| input.messages.clone()).collect();
        let answers = self.bridge.summarize_each(&inputs, &self.options);
        self.bar.iter().for_each(Bar::clear);
        Ok(answers?)
    }

    fn line(&self, _: &Input, summary: Summary) -> Result<String, Failure> {
        match &self.painter {
            Some(_) => Ok(Painter::text(&summary.text)),
            None => {
                let Summary { text, tokens, truncated, .. } = summary;
                to_json(&Answer { summary: text, tokens, truncated })
            }
        }
    }

    fn failure(&self, error: &LineError) -> Result<String, Failure> {
        match &self.painter {
            Some(painter) => Ok(painter.failure(error)),
            None => to_json(&serde_json::json!({"error": error})),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_above_zero() {
        assert_eq!(seconds("1.5"), Ok(Duration::from_millis(1500)));
        assert_eq!(seconds("1e-3"), Ok(Duration::from_millis(1)));
        for wrong in ["0", "-1", "nan", "inf", "1e300", "x", "", "1e-12"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
