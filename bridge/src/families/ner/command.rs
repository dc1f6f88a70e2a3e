//! The command `ner`, which reads texts and prints their named entities as JSON lines or as marked texts.

use std::io::{self, IsTerminal};

use clap::ValueEnum;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use serde::Serialize;

use super::entity_markup::marked;
use super::line::Line;
use crate::command::bulk::{BulkArguments, Pinned, answer_file};
use crate::command::model::ModelArguments;
use crate::command::stream::{Answers, answer_all, to_json};
use crate::command::{Failure, Outcome};
use crate::jsonl::LineError;
use crate::tasks::{AggregationStrategy, Entities, Entity, RecognizeOptions};
use crate::terminal::Style;
use crate::{BridgeError, Recognizer};

/// Find named entities: JSON lines on standard input, one answer per line on standard output, in order.
///
/// A line is a JSON string or an object {"text": "..."}. A spaCy pipeline that requires sentence starts needs objects
/// {"text": "...", "sentence_starts": [0, ...]} with offsets in characters. The answer is {"entities": [{"text", "label", "start", "end",
/// "start_byte", "end_byte", "score"}], "truncated": false}: offsets in characters and in bytes of UTF-8, the ends
/// exclusive, no "score" from spaCy. A line that fails has the answer {"error": {"code", "line", "message"}} and does not
/// end the command. Answers are printed as soon as they are ready; lines that are available at the same time run together.
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
    /// Read long texts in windows that overlap by N tokens, for token classification (default: the artifact's)
    #[arg(long, value_name = "N")]
    stride: Option<usize>,
    /// JSON lines for programs, or texts with colored entities for people (NO_COLOR is respected)
    #[arg(long, value_enum, default_value_t = Format::Jsonl)]
    format: Format,
    #[command(flatten)]
    bulk: BulkArguments,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Jsonl,
    Table,
}

fn strategy() -> impl TypedValueParser<Value = AggregationStrategy> {
    PossibleValuesParser::new(AggregationStrategy::ALL.map(AggregationStrategy::name))
        .try_map(|name| name.parse::<AggregationStrategy>())
}

struct Ner {
    recognizer: Recognizer,
    options: RecognizeOptions,
    /// How answers are formatted for people, as texts with marked entities; `None` if answers are printed as JSON.
    style: Option<Style>,
}

#[derive(Serialize)]
struct Answer {
    entities: Vec<Entity>,
    truncated: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Outcome, Failure> {
    arguments.bulk.require_json(arguments.format == Format::Jsonl)?;
    let recognizer: Recognizer = arguments.model.open()?;
    let options = RecognizeOptions {
        aggregation_strategy: arguments.aggregation_strategy,
        stride: arguments.stride,
        ..RecognizeOptions::default()
    };
    // This call without any text reports wrong options and a missing library before the first line is read. Its error
    // for missing sentence starts is ignored, because only the lines have them.
    match recognizer.recognize_each_blocking(&[""; 0], &options) {
        Err(BridgeError::SentenceStarts { .. }) | Ok(_) => {}
        Err(error) => return Err(error.into()),
    }
    recognizer.warm_up_blocking()?;
    let style = (arguments.format == Format::Table).then(|| Style::new(io::stdout().is_terminal()));
    let command = Ner { recognizer, options, style };
    let Some(paths) = arguments.bulk.paths() else {
        return answer_all(&command, arguments.model.text_limit);
    };
    let strategy = arguments.aggregation_strategy.map(AggregationStrategy::name);
    let pinned = Pinned {
        command: "ner",
        info: &command.recognizer.info(),
        options: serde_json::json!({"aggregation_strategy": strategy, "stride": arguments.stride}),
        text_limit: arguments.model.text_limit,
        part_rows: 1024,
    };
    answer_file(&command, &arguments.bulk, paths, &pinned)
}

impl Answers for Ner {
    type Input = Line;
    type Answer = Entities;

    /// Lines with sentence starts and lines without them need two calls, because a call has sentence starts for all texts or
    /// for none.
    fn answer(&self, inputs: &[&Line]) -> Result<Vec<Result<Entities, BridgeError>>, Failure> {
        let (with, without): (Vec<usize>, Vec<usize>) =
            (0..inputs.len()).partition(|&index| inputs[index].sentence_starts.is_some());
        let mut outcomes: Vec<(usize, Result<Entities, BridgeError>)> = Vec::with_capacity(inputs.len());
        for indices in [with, without] {
            let answers = self.call(&indices.iter().map(|&index| inputs[index]).collect::<Vec<_>>())?;
            outcomes.extend(indices.into_iter().zip(answers));
        }
        outcomes.sort_by_key(|(index, _)| *index);
        Ok(outcomes.into_iter().map(|(_, outcome)| outcome).collect())
    }

    fn line(&self, input: &Line, answer: Entities) -> Result<String, Failure> {
        match self.style {
            Some(style) => Ok(marked(&input.text, &answer.entities, answer.truncated, style)),
            None => to_json(&Answer { entities: answer.entities, truncated: answer.truncated }),
        }
    }

    fn failure(&self, error: &LineError) -> Result<String, Failure> {
        match self.style {
            Some(style) => Ok(style.failure(error)),
            None => to_json(&serde_json::json!({"error": error})),
        }
    }
}

impl Ner {
    /// Answers lines that all have sentence starts or all have none. If the model requires the opposite, every line fails.
    fn call(&self, inputs: &[&Line]) -> Result<Vec<Result<Entities, BridgeError>>, Failure> {
        if inputs.is_empty() {
            return Ok(Vec::new());
        }
        let texts: Vec<&str> = inputs.iter().map(|input| input.text.as_str()).collect();
        let sentence_starts = inputs.iter().map(|input| input.sentence_starts.clone()).collect();
        let options = RecognizeOptions { sentence_starts, ..self.options.clone() };
        match self.recognizer.recognize_each_blocking(&texts, &options) {
            Err(error @ BridgeError::SentenceStarts { .. }) => Ok(inputs.iter().map(|_| Err(error.clone())).collect()),
            outcomes => Ok(outcomes?),
        }
    }
}
