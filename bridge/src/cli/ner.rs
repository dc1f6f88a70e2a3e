//! `ner`: texts in, named entities out, as JSON lines or for people.

use std::io::{self, IsTerminal};

use clap::ValueEnum;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use onnx_ml_bridge::{AggregationStrategy, BridgeError, Entities, Entity, NerOptions, OnnxMlBridge};
use serde::Serialize;

use super::lines::{Besides, Input, Rules};
use super::model::ModelArguments;
use super::paint::Painter;
use super::stream::{Answers, LineError, answer_all, to_json};
use super::{Failure, Outcome};

/// Find named entities: JSON lines on standard input, one answer per line on standard output, in order.
///
/// A line is a JSON string or an object {"text": "..."}; for a spaCy pipeline whose sentences are given it is {"text":
/// "...", "sentence_starts": [0, ...]}, in characters. Its answer is {"entities": [{"text", "label", "start", "end",
/// "start_byte", "end_byte", "score"}], "truncated": false}: places in characters and in bytes of UTF-8, the ends
/// exclusive, no "score" from spaCy. A line that failed gives {"error": {"code", "line", "message"}}; the others go on.
/// Answers are printed as soon as they are ready: as many lines as are there already are run together.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  echo '\"Ada Lovelace lived in London.\"' | onnx-ml-bridge ner --model \
    dist/en_core_web_sm --format table\n  onnx-ml-bridge ner --model DIR --aggregation-strategy max --stride 64 < \
    texts.jsonl > entities.jsonl\n  echo '{\"text\": \"Hi Ann. I am Bob.\", \"sentence_starts\": [0, 8]}' | \
    onnx-ml-bridge ner --model DIR")]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    /// How tokens become entities, for token classification (default: the artifact's)
    #[arg(long, value_name = "STRATEGY", value_parser = strategy())]
    aggregation_strategy: Option<AggregationStrategy>,
    /// Read long texts whole, in windows that share N tokens, for token classification (default: the artifact's)
    #[arg(long, value_name = "N")]
    stride: Option<usize>,
    /// JSON lines for programs, or texts with coloured entities for people (NO_COLOR is respected)
    #[arg(long, value_enum, default_value_t = Format::Jsonl)]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Jsonl,
    Table,
}

fn strategy() -> impl TypedValueParser<Value = AggregationStrategy> {
    let by_name = |name: String| AggregationStrategy::ALL.into_iter().find(|strategy| strategy.name() == name);
    PossibleValuesParser::new(AggregationStrategy::ALL.map(AggregationStrategy::name))
        .try_map(move |name| by_name(name).ok_or("unknown strategy"))
}

struct Ner {
    bridge: OnnxMlBridge,
    options: NerOptions,
    /// Where people read the answers.
    painter: Option<Painter>,
}

#[derive(Serialize)]
struct Answer {
    entities: Vec<Entity>,
    truncated: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Outcome, Failure> {
    let bridge = arguments.model.open_ner()?;
    let options = NerOptions {
        aggregation_strategy: arguments.aggregation_strategy,
        stride: arguments.stride,
        ..NerOptions::default()
    };
    // Wrong options and a missing library are told once, before any line. Sentence starts come with the lines.
    match bridge.ner_each(&[""; 0], &options) {
        Err(BridgeError::SentenceStarts { .. }) | Ok(_) => {}
        Err(error) => return Err(error.into()),
    }
    bridge.warm_up()?;
    let painter = (arguments.format == Format::Table).then(|| Painter::new(io::stdout().is_terminal()));
    let rules = Rules { limit: arguments.model.text_limit, besides: Besides::SentenceStarts };
    answer_all(&Ner { bridge, options, painter }, rules)
}

impl Answers for Ner {
    type Answer = Entities;

    /// Lines with sentence starts and lines without are two calls: a model wants them for every text, or for none.
    fn answer(&self, inputs: &[&Input]) -> Result<Vec<Result<Entities, BridgeError>>, Failure> {
        let (with, without): (Vec<usize>, Vec<usize>) =
            (0..inputs.len()).partition(|&at| inputs[at].sentence_starts.is_some());
        let mut outcomes: Vec<(usize, Result<Entities, BridgeError>)> = Vec::with_capacity(inputs.len());
        for group in [with, without] {
            let answers = self.call(&group.iter().map(|&at| inputs[at]).collect::<Vec<_>>())?;
            outcomes.extend(group.into_iter().zip(answers));
        }
        outcomes.sort_by_key(|(at, _)| *at);
        Ok(outcomes.into_iter().map(|(_, outcome)| outcome).collect())
    }

    fn line(&self, input: &Input, answer: Entities) -> Result<String, Failure> {
        match &self.painter {
            Some(painter) => Ok(painter.paint(input.text(), &answer.entities, answer.truncated)),
            None => to_json(&Answer { entities: answer.entities, truncated: answer.truncated }),
        }
    }

    fn failure(&self, error: &LineError) -> Result<String, Failure> {
        match &self.painter {
            Some(painter) => Ok(painter.failure(error)),
            None => to_json(&serde_json::json!({"error": error})),
        }
    }
}

impl Ner {
    /// Lines that are alike. Where the model wants sentence starts and they have none, or the other way round, every one
    /// of them fails for itself.
    fn call(&self, inputs: &[&Input]) -> Result<Vec<Result<Entities, BridgeError>>, Failure> {
        if inputs.is_empty() {
            return Ok(Vec::new());
        }
        let texts: Vec<&str> = inputs.iter().map(|input| input.text()).collect();
        let sentence_starts = inputs.iter().map(|input| input.sentence_starts.clone()).collect();
        let options = NerOptions { sentence_starts, ..self.options.clone() };
        match self.bridge.ner_each(&texts, &options) {
            Err(error @ BridgeError::SentenceStarts { .. }) => Ok(inputs.iter().map(|_| Err(error.clone())).collect()),
            outcomes => Ok(outcomes?),
        }
    }
}
