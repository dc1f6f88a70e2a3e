//! Reads JSON lines from standard input and prints one answer per line, in order and as soon as it is ready.

use std::io::{self, BufWriter, Write};

use serde::Serialize;

use super::batches::Batches;
use super::{Failure, Outcome, output_failed};
use crate::BridgeError;
use crate::jsonl::{LineError, LineInput};

/// The default limit on the lines that are answered together.
const MAX_BATCH: usize = 256;

/// A command that reads lines from standard input and prints an answer to each.
pub(crate) trait Answers {
    /// The input of one line.
    type Input: LineInput + Send + 'static;
    /// The answer to one line.
    type Answer;

    /// Limit on the lines that are answered together. The first of them is answered only when all of them are.
    fn max_batch(&self) -> usize {
        MAX_BATCH
    }

    /// Limit on the rows of a file that are answered together.
    fn max_rows(&self) -> usize {
        1024
    }

    /// Answers the inputs of several lines and returns the outcome of each.
    ///
    /// # Errors
    /// An error that concerns every line and ends the command.
    fn answer(&self, inputs: &[&Self::Input]) -> Result<Vec<Result<Self::Answer, BridgeError>>, Failure>;

    /// The line of output with the answer to an input, without a newline.
    fn line(&self, input: &Self::Input, answer: Self::Answer) -> Result<String, Failure>;

    /// The line of output with the error of a line that failed, without a newline.
    fn failure(&self, error: &LineError) -> Result<String, Failure> {
        to_json(&Failed { error })
    }
}

#[derive(Serialize)]
struct Failed<'a> {
    error: &'a LineError,
}

/// Formats an answer as JSON in one line.
pub(crate) fn to_json(answer: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string(answer).map_err(|error| output_failed(&error.into()))
}

/// Answers the lines of standard input. `limit` is the maximum size of a text in bytes of UTF-8. Lines that are available at
/// the same time are answered together.
pub(crate) fn answer_all<C: Answers>(command: &C, limit: usize) -> Result<Outcome, Failure> {
    let mut batches = Batches::of(io::stdin(), command.max_batch(), limit)?;
    let mut out = BufWriter::new(io::stdout().lock());
    let (mut done, mut failed) = (0_u64, false);
    while let Some(batch) = batches.next()? {
        for (line, outcome) in answer_batch(command, batch)? {
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

/// Answers a batch of lines. Returns the input and the outcome of every line.
pub(super) fn answer_batch<C: Answers>(
    command: &C,
    batch: Vec<Result<C::Input, BridgeError>>,
) -> Result<Vec<Answered<C>>, Failure> {
    let inputs: Vec<&C::Input> = batch.iter().flatten().collect();
    let mut outcomes = command.answer(&inputs)?.into_iter();
    let missing = || Err(BridgeError::inference(None, "returned no answer"));
    let answered = |line: Result<C::Input, BridgeError>| match line {
        Ok(input) => (Some(input), outcomes.next().unwrap_or_else(missing)),
        Err(error) => (None, Err(error)),
    };
    Ok(batch.into_iter().map(answered).collect())
}

pub(super) type Answered<C> = (Option<<C as Answers>::Input>, Result<<C as Answers>::Answer, BridgeError>);

fn line_error(error: BridgeError, line: u64) -> LineError {
    // The message has the number of the line. The index in a batch means nothing to users.
    let error = error.with_index(None);
    LineError { code: error.code().as_str(), line, message: error.to_string() }
}

/// Whether the output is still open after a write: false if its reader has closed the pipe.
fn still_open(written: io::Result<()>) -> Result<bool, Failure> {
    match written {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(output_failed(&error)),
    }
}
