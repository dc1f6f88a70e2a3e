//! `bench`: how fast a model loads and runs in this process.

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;
use std::time::Instant;

use onnx_ml_bridge::artifact::manifest::{NER, SUMMARIZATION};
use onnx_ml_bridge::artifact::parse_manifest;
use onnx_ml_bridge::{BridgeError, EmbedOptions, NerOptions, OnnxMlBridge, SummarizeOptions};

use super::lines::{Besides, Input, Rules, next_line};
use super::model::ModelArguments;
use super::{Failure, print_line};

/// Time a model on a file of texts: loading, the first answer, and rounds over the whole file.
///
/// Prints one JSON object: "load_s", the seconds to check and load the model; "first_s", from there to the answer to the
/// first text; "seconds", a list with the seconds of every round; "words", what blanks divide the texts into;
/// "words_per_s", of the fastest round; "peak_bytes", the peak of resident memory, or null where the system does not tell
/// it. A text that fails ends it.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  onnx-ml-bridge bench --model DIR --variant int8 --texts texts.jsonl --batch 32")]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    /// The texts: JSON lines as of the commands embed, ner and summarize
    #[arg(long, value_name = "FILE")]
    texts: PathBuf,
    /// Texts of one call
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..))]
    batch: u32,
    /// Rounds over all texts; the first one warms up
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
}

/// An opened model and what is asked of it.
enum Model {
    Embedding(OnnxMlBridge),
    Ner(OnnxMlBridge),
    Summarization(OnnxMlBridge),
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let task = task(arguments);
    let inputs = read_inputs(arguments, &task)?;
    let started = Instant::now();
    let model = match task.as_str() {
        NER => Model::Ner(arguments.model.open_ner()?),
        SUMMARIZATION => Model::Summarization(arguments.model.open_summarization()?),
        _ => Model::Embedding(arguments.model.open_embedding()?),
    };
    model.bridge().warm_up()?;
    let load_s = started.elapsed().as_secs_f64();
    let first_s = model.round(inputs.get(..1).unwrap_or_default(), 1)?;
    let batch = usize::try_from(arguments.batch).unwrap_or(usize::MAX);
    let seconds = (0..arguments.rounds).map(|_| model.round(&inputs, batch)).collect::<Result<Vec<f64>, _>>()?;
    let messages = inputs.iter().flat_map(|input| &input.messages);
    let words: usize = messages.map(|message| message.split_whitespace().count()).sum();
    let fastest = seconds.iter().copied().fold(f64::INFINITY, f64::min);
    let figures = serde_json::json!({
        "load_s": load_s, "first_s": first_s, "seconds": seconds, "words": words,
        "words_per_s": words as f64 / fastest, "peak_bytes": peak_bytes(),
    });
    print_line(&figures.to_string())
}

/// The artifact's task. One that cannot be read is refused when it is opened, with its code.
fn task(arguments: &Arguments) -> String {
    let bytes = std::fs::read(arguments.model.model.join("manifest.json")).unwrap_or_default();
    parse_manifest(&bytes).map(|manifest| manifest.task).unwrap_or_default()
}

impl Model {
    fn bridge(&self) -> &OnnxMlBridge {
        match self {
            Self::Embedding(bridge) | Self::Ner(bridge) | Self::Summarization(bridge) => bridge,
        }
    }

    /// Seconds for all texts in batches of that size.
    fn round(&self, inputs: &[Input], batch: usize) -> Result<f64, BridgeError> {
        let started = Instant::now();
        inputs.chunks(batch).try_for_each(|chunk| self.call(chunk))?;
        Ok(started.elapsed().as_secs_f64())
    }

    fn call(&self, inputs: &[Input]) -> Result<(), BridgeError> {
        let texts: Vec<&str> = inputs.iter().map(Input::text).collect();
        match self {
            Self::Embedding(bridge) => bridge.embed(&texts, &EmbedOptions::default()).map(|_| ()),
            Self::Ner(bridge) => {
                // `None` where any line has none: the model tells what it misses.
                let sentence_starts = inputs.iter().map(|input| input.sentence_starts.clone()).collect();
                bridge.ner(&texts, &NerOptions { sentence_starts, ..NerOptions::default() }).map(|_| ())
            }
            Self::Summarization(bridge) => {
                let inputs: Vec<Vec<String>> = inputs.iter().map(|input| input.messages.clone()).collect();
                bridge.summarize_detailed(&inputs, &SummarizeOptions::default()).map(|_| ())
            }
        }
    }
}

fn read_inputs(arguments: &Arguments, task: &str) -> Result<Vec<Input>, Failure> {
    let failed = |error: std::io::Error| BridgeError::Io { path: arguments.texts.clone(), problem: error.to_string() };
    let besides = match task {
        NER => Besides::SentenceStarts,
        SUMMARIZATION => Besides::Messages,
        _ => Besides::Nothing,
    };
    let rules = Rules { limit: arguments.model.text_limit, besides };
    let mut file = BufReader::new(File::open(&arguments.texts).map_err(failed)?);
    let mut inputs = Vec::new();
    while let Some(line) = next_line(&mut file, rules).map_err(failed)? {
        inputs.push(line?);
    }
    Ok(inputs)
}

/// The process's peak of resident memory in bytes, from Linux's `/proc`.
fn peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().trim_end_matches("kB").trim_end().parse().ok()?;
    Some(kibibytes * 1024)
}
