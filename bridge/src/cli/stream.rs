//! JSON lines in, one answer per line out: in order, and as soon as it is ready.

use std::io::{self, BufReader, BufWriter, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use onnx_ml_bridge::BridgeError;
use serde::Serialize;

use super::lines::{Input, Line, Rules, next_line};
use super::{Failure, Outcome, output_failed};

/// Lines answered together at most where a command does not say otherwise, and lines read ahead.
const CHUNK: usize = 256;

/// What a command does with its lines.
pub(crate) trait Answers {
    /// The answer to one line.
    type Answer;

    /// Lines answered together at most: what the first of them waits for.
    fn chunk(&self) -> usize {
        CHUNK
    }

    /// Answers some inputs, each with its own outcome. An error of its own ends the command.
    fn answer(&self, inputs: &[&Input]) -> Result<Vec<Result<Self::Answer, BridgeError>>, Failure>;

    /// One line of output, without its end.
    fn line(&self, input: &Input, answer: Self::Answer) -> Result<String, Failure>;

    /// One line of output for a line that failed.
    fn failure(&self, error: &LineError) -> Result<String, Failure> {
        to_json(&Failed { error })
    }
}

/// Why a line has no answer.
#[derive(Debug, Serialize)]
pub(crate) struct LineError {
    pub(crate) code: &'static str,
    pub(crate) line: u64,
    pub(crate) message: String,
}

#[derive(Serialize)]
struct Failed<'a> {
    error: &'a LineError,
}

/// One JSON object.
pub(crate) fn to_json(answer: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string(answer).map_err(|error| output_failed(&error.into()))
}

/// Answers standard input line by line. As many lines as are there already are answered together.
pub(crate) fn answer_all(command: &impl Answers, rules: Rules) -> Result<Outcome, Failure> {
    let (sender, receiver) = sync_channel(CHUNK);
    // Not joined: it may wait for a line that never comes when the output is closed.
    thread::spawn(move || read_lines(&sender, rules));
    let mut out = BufWriter::new(io::stdout().lock());
    let (mut done, mut failed) = (0_u64, false);
    while let Some(chunk) = next_chunk(&receiver, command.chunk())? {
        for (line, outcome) in answer_chunk(command, chunk)? {
            done += 1;
            failed |= outcome.is_err();
            let text = match (line, outcome) {
                (Some(input), Ok(answer)) => command.line(&input, answer)?,
                (_, Err(error)) => command.failure(&line_error(error, done))?,
                (None, Ok(_)) => continue,
            };
            if !still_open(writeln!(out, "{text}"))? {
                return Ok(Outcome::Done);
            }
        }
        if !still_open(out.flush())? {
            return Ok(Outcome::Done);
        }
    }
    Ok(if failed { Outcome::SomeLinesFailed } else { Outcome::Done })
}

/// Sends every line until the end of the input, or until nobody listens. An input that cannot be read ends with its error.
fn read_lines(sender: &SyncSender<io::Result<Line>>, rules: Rules) {
    let mut input = BufReader::new(io::stdin().lock());
    while let Some(line) = next_line(&mut input, rules).transpose() {
        let broken = line.is_err();
        if sender.send(line).is_err() || broken {
            return;
        }
    }
}

/// Waits for one line, and takes those that are there already besides.
fn next_chunk(lines: &Receiver<io::Result<Line>>, most: usize) -> Result<Option<Vec<Line>>, Failure> {
    let Ok(first) = lines.recv() else {
        return Ok(None);
    };
    let chunk: io::Result<Vec<Line>> =
        std::iter::once(first).chain(lines.try_iter().take(most.saturating_sub(1))).collect();
    let failed = |error: io::Error| BridgeError::Io { path: "standard input".into(), problem: error.to_string() };
    Ok(Some(chunk.map_err(failed)?))
}

/// Every line's input and its outcome.
fn answer_chunk<C: Answers>(command: &C, chunk: Vec<Line>) -> Result<Vec<Answered<C::Answer>>, Failure> {
    let inputs: Vec<&Input> = chunk.iter().flatten().collect();
    let mut outcomes = command.answer(&inputs)?.into_iter();
    let missing = || Err(BridgeError::Inference { index: None, problem: "gave no answer".to_owned() });
    let answered = |line: Line| match line {
        Ok(input) => (Some(input), outcomes.next().unwrap_or_else(missing)),
        Err(error) => (None, Err(error)),
    };
    Ok(chunk.into_iter().map(answered).collect())
}

type Answered<A> = (Option<Input>, Result<A, BridgeError>);

fn line_error(error: BridgeError, line: u64) -> LineError {
    // The line says where; an index in a chunk would say nothing to a user.
    let error = error.with_index(None);
    LineError { code: error.code(), line, message: error.to_string() }
}

/// False where the reader closed the pipe.
fn still_open(written: io::Result<()>) -> Result<bool, Failure> {
    match written {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(output_failed(&error)),
    }
}
