//! The command `ner`, which reads texts and prints their named entities as JSON lines or as marked texts.

use std::io::{self, IsTerminal};

use clap::ValueEnum;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use serde::Serialize;
use serde_json::{Value, json};

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
/// {"text": "...", "sentence_starts": [0, ...]} with offsets in characters. For GLiNER, "labels", "threshold", "nested" and
/// "multi_label" of a line replace the options of the command. The answer is {"entities": [{"text", "label", "start", "end",
/// "start_byte", "end_byte", "score"}], "truncated": false}: offsets in characters and in bytes of UTF-8, the ends
/// exclusive, no "score" from spaCy. A line that fails has the answer {"error": {"code", "line", "message"}} and does not
/// end the command. Answers are printed as soon as they are ready; lines that are available at the same time run together.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  echo '\"Ada Lovelace lived in London.\"' | onnx-ml-bridge ner --model \
    dist/en-core-web-sm --format table\n  onnx-ml-bridge ner --model DIR --aggregation-strategy max --stride 64 < \
    texts.jsonl > entities.jsonl\n  echo '{\"text\": \"Hi Ann. I am Bob.\", \"sentence_starts\": [0, 8]}' | \
    onnx-ml-bridge ner --model DIR")]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    /// How tokens become entities, for token classification (default: the artifact's)
    #[arg(long, value_name = "STRATEGY", value_parser = strategy())]
    aggregation_strategy: Option<AggregationStrategy>,
    /// Read long texts in windows that overlap by N tokens (token classification) or words (GLiNER) (default: the artifact's)
    #[arg(long, value_name = "N")]
    stride: Option<usize>,
    /// Labels to find, separated by commas, for GLiNER (default: the artifact's)
    #[arg(long, value_name = "A,B")]
    labels: Option<String>,
    /// Score that entities must exceed, 0 to 1, for GLiNER (default: the artifact's)
    #[arg(long, value_name = "P", allow_hyphen_values = true)]
    threshold: Option<f64>,
    /// Allow entities inside of others, for GLiNER (default: the artifact's)
    #[arg(long, overrides_with = "flat")]
    nested: bool,
    /// Allow no entities inside of others, for GLiNER
    #[arg(long, overrides_with = "nested")]
    flat: bool,
    /// Allow several labels for the same words, for GLiNER (default: the artifact's)
    #[arg(long, overrides_with = "single_label")]
    multi_label: bool,
    /// Allow one label for the same words, for GLiNER
    #[arg(long, overrides_with = "multi_label")]
    single_label: bool,
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
    let options = arguments.options();
    check(&recognizer, &options)?;
    recognizer.warm_up_blocking()?;
    let style = (arguments.format == Format::Table).then(|| Style::new(io::stdout().is_terminal()));
    let command = Ner { recognizer, options, style };
    let Some(paths) = arguments.bulk.paths() else {
        return answer_all(&command, arguments.model.text_limit);
    };
    let pinned = Pinned {
        command: "ner",
        info: &command.recognizer.info(),
        options: arguments.pinned_options(),
        text_limit: arguments.model.text_limit,
        part_rows: 1024,
    };
    answer_file(&command, &arguments.bulk, paths, &pinned)
}

/// The value of two flags, of which at most one is set.
fn either(yes: bool, no: bool) -> Option<bool> {
    (yes || no).then_some(yes)
}

impl Arguments {
    fn options(&self) -> RecognizeOptions {
        let names = |labels: &String| -> Vec<String> {
            labels.split(',').map(str::trim).filter(|label| !label.is_empty()).map(str::to_owned).collect()
        };
        RecognizeOptions {
            aggregation_strategy: self.aggregation_strategy,
            stride: self.stride,
            labels: self.labels.as_ref().map(names),
            threshold: self.threshold,
            nested: either(self.nested, self.flat),
            multi_label: either(self.multi_label, self.single_label),
            ..RecognizeOptions::default()
        }
    }

    /// The options in the state of a run over a file. Those of labels are left out if they are not given.
    fn pinned_options(&self) -> Value {
        let options = self.options();
        let strategy = self.aggregation_strategy.map(AggregationStrategy::name);
        let mut pinned = json!({"aggregation_strategy": strategy, "stride": self.stride});
        let labels = json!({"labels": options.labels, "threshold": options.threshold, "nested": options.nested,
            "multi_label": options.multi_label});
        for (name, value) in labels.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null()) {
            pinned[name.as_str()] = value.clone();
        }
        pinned
    }
}

/// Reports wrong options and a missing library before the first line is read, by calls without any text. An error for
/// missing sentence starts or labels is ignored, because lines can have their own.
fn check(recognizer: &Recognizer, options: &RecognizeOptions) -> Result<(), BridgeError> {
    let call = |options: &RecognizeOptions| match recognizer.recognize_each_blocking(&[""; 0], options) {
        Err(BridgeError::SentenceStarts { .. }) | Ok(_) => Ok(()),
        Err(error) => Err(error),
    };
    let error = match call(options) {
        Err(error @ BridgeError::Config { .. }) if options.labels.is_none() => error,
        outcome => return outcome,
    };
    call(&options.clone().labels(["a"])).map_err(|_| error)
}

impl Answers for Ner {
    type Input = Line;
    type Answer = Entities;

    /// Lines with different options need different calls, and so do lines with and without sentence starts, because a call
    /// has sentence starts for all texts or for none.
    fn answer(&self, inputs: &[&Line]) -> Result<Vec<Result<Entities, BridgeError>>, Failure> {
        let mut groups: Vec<Vec<usize>> = Vec::new();
        for (index, input) in inputs.iter().enumerate() {
            match groups.iter_mut().find(|group| inputs[group[0]].is_like(input)) {
                Some(group) => group.push(index),
                None => groups.push(vec![index]),
            }
        }
        let mut outcomes: Vec<(usize, Result<Entities, BridgeError>)> = Vec::with_capacity(inputs.len());
        for indices in groups {
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
    /// Answers lines with the same options, which all have sentence starts or all have none. If the model refuses them, every
    /// line fails.
    fn call(&self, inputs: &[&Line]) -> Result<Vec<Result<Entities, BridgeError>>, Failure> {
        let Some(first) = inputs.first() else { return Ok(Vec::new()) };
        let all = |error: &BridgeError| inputs.iter().map(|_| Err(error.clone())).collect();
        let options = match first.options(&self.options) {
            Ok(options) => options,
            Err(error) => return Ok(all(&error)),
        };
        let texts: Vec<&str> = inputs.iter().map(|input| input.text.as_str()).collect();
        let sentence_starts = inputs.iter().map(|input| input.sentence_starts.clone()).collect();
        let options = RecognizeOptions { sentence_starts, ..options };
        match self.recognizer.recognize_each_blocking(&texts, &options) {
            Err(error @ (BridgeError::SentenceStarts { .. } | BridgeError::Config { .. })) => Ok(all(&error)),
            outcomes => Ok(outcomes?),
        }
    }
}
