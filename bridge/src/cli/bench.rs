//! The command `bench`, which measures how fast a model loads and runs.

use std::ops::Range;
use std::path::PathBuf;
use std::time::Instant;

use crate::BridgeError;
use crate::command::model::ModelArguments;
use crate::command::{Failure, print_line};
use crate::families::model::Workload;

/// Time a model on a file of texts: loading, the first answer, and rounds over the whole file.
///
/// Prints one JSON object with these keys: "load_s", the seconds to check and load the model; "first_s", the seconds to
/// answer the first text; "seconds", the seconds of every round; "words", the number of words of all texts, separated by
/// whitespace; "words_per_s", the words per second of the fastest round; "peak_bytes", the peak of resident memory in bytes,
/// or null if the system does not report it. The command fails if any text fails.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  onnx-ml-bridge bench --model DIR --variant int8 --texts texts.jsonl --batch 32")]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    /// A file of JSON lines, as the command of the model's task reads them
    #[arg(long, value_name = "FILE")]
    texts: PathBuf,
    /// Number of texts per call
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..))]
    batch: u32,
    /// Number of rounds over all texts; the first round is a warm-up
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let started = Instant::now();
    let model = arguments.model.open_any()?;
    model.warm_up()?;
    let load_s = started.elapsed().as_secs_f64();
    let workload = model.workload(&arguments.texts, arguments.model.text_limit)?;
    let first_s = time(&*workload, 0..workload.len().min(1), 1)?;
    let batch = usize::try_from(arguments.batch).unwrap_or(usize::MAX);
    let round = |_| time(&*workload, 0..workload.len(), batch);
    let seconds = (0..arguments.rounds).map(round).collect::<Result<Vec<f64>, _>>()?;
    let fastest = seconds.iter().copied().fold(f64::INFINITY, f64::min);
    let words = workload.words();
    let figures = serde_json::json!({
        "load_s": load_s, "first_s": first_s, "seconds": seconds, "words": words,
        "words_per_s": words as f64 / fastest, "peak_bytes": peak_bytes(),
    });
    print_line(&figures.to_string())
}

/// The seconds that the model takes to answer some of the inputs in calls with `batch` inputs each.
fn time(workload: &dyn Workload, inputs: Range<usize>, batch: usize) -> Result<f64, BridgeError> {
    let started = Instant::now();
    let batches = inputs.clone().step_by(batch);
    batches.into_iter().try_for_each(|first| workload.run(first..inputs.end.min(first.saturating_add(batch))))?;
    Ok(started.elapsed().as_secs_f64())
}

/// The process's peak of resident memory in bytes, from Linux's `/proc`.
fn peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().trim_end_matches("kB").trim_end().parse().ok()?;
    Some(kibibytes * 1024)
}
