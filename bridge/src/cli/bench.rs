//! `bench`: how fast a model loads and runs in this process.

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;
use std::time::Instant;

use onnx_ml_bridge::{BridgeError, EmbedOptions, OnnxMlBridge};

use super::lines::next_text;
use super::model::ModelArguments;
use super::{Failure, print_line};

/// Time a model on a file of texts: loading, the first vector, and rounds over the whole file.
///
/// Prints one JSON object: "load_s", the seconds to check and load the model; "first_s", from there to the first vector;
/// "seconds", a list with the seconds of every round; "peak_bytes", the peak of resident memory, or null where the
/// system does not tell it. A text that fails ends it.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  onnx-ml-bridge bench --model DIR --variant int8 --texts texts.jsonl --batch 32")]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    /// The texts: JSON lines, each a string or an object {"text": "..."}
    #[arg(long, value_name = "FILE")]
    texts: PathBuf,
    /// Texts of one call
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..))]
    batch: u32,
    /// Rounds over all texts; the first one warms up
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let texts = read_texts(arguments)?;
    let started = Instant::now();
    let bridge = arguments.model.open()?;
    bridge.warm_up()?;
    let load_s = started.elapsed().as_secs_f64();
    let first = Instant::now();
    bridge.embed(texts.get(..1).unwrap_or_default(), &EmbedOptions::default())?;
    let first_s = first.elapsed().as_secs_f64();
    let batch = usize::try_from(arguments.batch).unwrap_or(usize::MAX);
    let seconds = (0..arguments.rounds).map(|_| round(&bridge, &texts, batch)).collect::<Result<Vec<f64>, _>>()?;
    let figures = serde_json::json!({
        "load_s": load_s, "first_s": first_s, "seconds": seconds, "peak_bytes": peak_bytes(),
    });
    print_line(&figures.to_string())
}

/// Seconds for all texts in batches of that size.
fn round(bridge: &OnnxMlBridge, texts: &[String], batch: usize) -> Result<f64, BridgeError> {
    let started = Instant::now();
    for chunk in texts.chunks(batch) {
        bridge.embed(chunk, &EmbedOptions::default())?;
    }
    Ok(started.elapsed().as_secs_f64())
}

fn read_texts(arguments: &Arguments) -> Result<Vec<String>, Failure> {
    let failed = |error: std::io::Error| BridgeError::Io { path: arguments.texts.clone(), problem: error.to_string() };
    let mut input = BufReader::new(File::open(&arguments.texts).map_err(failed)?);
    let mut texts = Vec::new();
    while let Some(text) = next_text(&mut input, arguments.model.text_limit).map_err(failed)? {
        texts.push(text?);
    }
    Ok(texts)
}

/// The process's peak of resident memory in bytes, from Linux's `/proc`.
fn peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().trim_end_matches("kB").trim_end().parse().ok()?;
    Some(kibibytes * 1024)
}
