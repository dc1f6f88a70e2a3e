//! `embed`: texts in, vectors out, both as JSON lines.

use std::io::{self, BufReader, BufWriter, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use onnx_ml_bridge::{BridgeError, EmbedOptions, Embedding, OnnxMlBridge};
use serde::Serialize;

use super::lines::next_text;
use super::model::ModelArguments;
use super::{Failure, Outcome, output_failed};

/// Lines answered together at most, and lines read ahead.
const CHUNK: usize = 256;

/// Embed texts: JSON lines on standard input, one answer per line on standard output, in order.
///
/// A line is a JSON string or an object {"text": "..."}. Its answer is {"embedding": [...], "truncated": false}, or
/// {"error": {"code", "line", "message"}} for a line that failed; the others go on. Answers are printed as soon as they
/// are ready: as many lines as are there already are run together.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  echo '\"Hello world\"' | onnx-ml-bridge embed --model dist/all-minilm-l6-v2\n  \
    onnx-ml-bridge embed --model DIR --variant int8 --prompt-name query < texts.jsonl > vectors.jsonl")]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    /// The prompt put before every text (default: the artifact's default prompt)
    #[arg(long, value_name = "NAME")]
    prompt_name: Option<String>,
}

/// A line's text, or why it has none.
type Line = Result<String, BridgeError>;

#[derive(Serialize)]
#[serde(untagged)]
enum Answer {
    Vector { embedding: Vec<f32>, truncated: bool },
    Failed { error: LineError },
}

#[derive(Serialize)]
struct LineError {
    code: &'static str,
    line: u64,
    message: String,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Outcome, Failure> {
    let bridge = arguments.model.open()?;
    let options = EmbedOptions { prompt_name: arguments.prompt_name.clone() };
    // Wrong options and a missing library are told once, before any line.
    bridge.embed_each(&[""; 0], &options)?;
    bridge.warm_up()?;
    let (sender, receiver) = sync_channel(CHUNK);
    let limit = arguments.model.text_limit;
    // Not joined: it may wait for a line that never comes when the output is closed.
    thread::spawn(move || read_lines(&sender, limit));
    answer_all(&bridge, &options, &receiver)
}

/// Sends every line until the end of the input, or until nobody listens. An input that cannot be read ends with its error.
fn read_lines(sender: &SyncSender<io::Result<Line>>, limit: usize) {
    let mut input = BufReader::new(io::stdin().lock());
    while let Some(line) = next_text(&mut input, limit).transpose() {
        let broken = line.is_err();
        if sender.send(line).is_err() || broken {
            return;
        }
    }
}

fn answer_all(
    bridge: &OnnxMlBridge,
    options: &EmbedOptions,
    lines: &Receiver<io::Result<Line>>,
) -> Result<Outcome, Failure> {
    let mut out = BufWriter::new(io::stdout().lock());
    let (mut done, mut failed) = (0_u64, false);
    while let Some(chunk) = next_chunk(lines)? {
        for outcome in embed_chunk(bridge, options, chunk)? {
            done += 1;
            failed |= outcome.is_err();
            if !write_answer(&mut out, &answer(outcome, done))? {
                return Ok(Outcome::Done);
            }
        }
        if !still_open(out.flush())? {
            return Ok(Outcome::Done);
        }
    }
    Ok(if failed { Outcome::SomeLinesFailed } else { Outcome::Done })
}

/// Waits for one line, and takes those that are there already besides.
fn next_chunk(lines: &Receiver<io::Result<Line>>) -> Result<Option<Vec<Line>>, Failure> {
    let Ok(first) = lines.recv() else {
        return Ok(None);
    };
    let chunk: io::Result<Vec<Line>> = std::iter::once(first).chain(lines.try_iter().take(CHUNK - 1)).collect();
    let failed = |error: io::Error| BridgeError::Io { path: "standard input".into(), problem: error.to_string() };
    Ok(Some(chunk.map_err(failed)?))
}

fn embed_chunk(
    bridge: &OnnxMlBridge,
    options: &EmbedOptions,
    chunk: Vec<Line>,
) -> Result<Vec<Result<Embedding, BridgeError>>, Failure> {
    let texts: Vec<&str> = chunk.iter().flatten().map(String::as_str).collect();
    let mut outcomes = bridge.embed_each(&texts, options)?.into_iter();
    let missing = || Err(BridgeError::Inference { index: None, problem: "gave no vector".to_owned() });
    let outcome = |line: Line| line.and_then(|_| outcomes.next().unwrap_or_else(missing));
    Ok(chunk.into_iter().map(outcome).collect())
}

fn answer(outcome: Result<Embedding, BridgeError>, line: u64) -> Answer {
    match outcome {
        Ok(embedding) => Answer::Vector { embedding: embedding.vector, truncated: embedding.truncated },
        Err(error) => {
            // The line says where; an index in a chunk would say nothing to a user.
            let error = error.with_index(None);
            Answer::Failed { error: LineError { code: error.code(), line, message: error.to_string() } }
        }
    }
}

fn write_answer(out: &mut impl Write, answer: &Answer) -> Result<bool, Failure> {
    let text = serde_json::to_string(answer).map_err(|error| output_failed(&error.into()))?;
    still_open(writeln!(out, "{text}"))
}

/// False where the reader closed the pipe.
fn still_open(written: io::Result<()>) -> Result<bool, Failure> {
    match written {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(output_failed(&error)),
    }
}
