//! Answers the rows of a file in parts that can be resumed: `--input FILE --output DIR`.
//!
//! The parts and `state.json` are those that the Python command writes, byte for byte.

mod contents;
mod files;
mod part;
mod state;

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use self::contents::Contents;
use self::files::{Lock, remove_temporary};
use self::state::{State, Status, check_options};
use super::stream::Answers;
use super::{Failure, Outcome};
use crate::terminal::{CLEAR, bar, print_error};
use crate::{BridgeError, ModelInfo};

/// The arguments of a run over a file.
#[derive(clap::Args)]
#[command(next_help_heading = "Files")]
pub(crate) struct BulkArguments {
    /// Read a file of JSON lines instead of standard input, in parts; the run can be resumed
    #[arg(long, value_name = "FILE", requires = "output")]
    input: Option<PathBuf>,
    /// Directory for the parts of the output, which have the order of the rows: cat DIR/part-*.jsonl. The error of a row has
    /// no message
    #[arg(long, value_name = "DIR", requires = "input")]
    output: Option<PathBuf>,
    /// Continue the run of the output directory
    #[arg(long, requires = "input")]
    resume: bool,
    /// Number of rows of a part (default: 1024; 128 of rerank, 64 of summarize)
    #[arg(long, value_name = "N", requires = "input", value_parser = clap::value_parser!(u32).range(1..))]
    part_rows: Option<u32>,
}

/// What the output of a command depends on, besides the input.
pub(crate) struct Pinned<'a> {
    pub(crate) command: &'static str,
    pub(crate) info: &'a ModelInfo,
    /// The options of the calls, as a JSON object with the names that Python uses.
    pub(crate) options: Value,
    /// Limit on the size of a text in bytes of UTF-8.
    pub(crate) text_limit: usize,
    /// The number of rows of a part if `--part-rows` is not passed.
    pub(crate) part_rows: u64,
}

impl BulkArguments {
    /// The input and the output of a run over a file; `None` if the command reads standard input.
    pub(crate) fn paths(&self) -> Option<(&Path, &Path)> {
        Some((self.input.as_deref()?, self.output.as_deref()?))
    }

    /// Fails if the command also has an option for people who read its output.
    ///
    /// # Errors
    /// `config`.
    pub(crate) fn require_json(&self, is_json: bool) -> Result<(), BridgeError> {
        if self.input.is_some() && !is_json {
            return Err(BridgeError::config("--input writes JSON lines; leave out --format"));
        }
        Ok(())
    }
}

/// Answers the rows of a file. `paths` has the input and the output.
///
/// # Errors
/// `config` if the output has files of another run or an option is a number above 2^53, `io` if a file cannot be read or
/// written, or an error of all rows. The parts that are finished stay.
pub(crate) fn answer_file<C: Answers>(
    command: &C,
    arguments: &BulkArguments,
    (input, output): (&Path, &Path),
    pinned: &Pinned<'_>,
) -> Result<Outcome, Failure> {
    check_options(pinned)?;
    let stop = stop_signal()?;
    std::fs::create_dir_all(output).map_err(|error| BridgeError::io(output, &error))?;
    let _lock = Lock::acquire(output)?;
    let contents = Contents::read(input, arguments.part_rows.map_or(pinned.part_rows, u64::from))?;
    let state = State::new(pinned, &contents);
    state.begin(output, arguments.resume)?;
    remove_temporary(output)?;
    let failed = run_parts(command, &contents, output, pinned, &stop)?;
    state.write(output, if failed.is_some() { Status::Complete } else { Status::Stopped }, failed)?;
    Ok(report(&contents, output, failed))
}

/// A flag that SIGTERM and SIGINT set. A second signal ends the process as usual.
fn stop_signal() -> Result<Arc<AtomicBool>, BridgeError> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        flag::register_conditional_default(signal, Arc::clone(&flag))
            .and_then(|_| flag::register(signal, Arc::clone(&flag)))
            .map_err(|error| BridgeError::io(Path::new("signals"), &error))?;
    }
    Ok(flag)
}

/// Processes the missing parts. Returns the number of rows that failed in all parts; `None` if a signal stopped the run.
fn run_parts<C: Answers>(
    command: &C,
    contents: &Contents,
    output: &Path,
    pinned: &Pinned<'_>,
    stop: &AtomicBool,
) -> Result<Option<u64>, Failure> {
    let bar = Bar { label: pinned.command, rows: contents.rows, is_shown: io::stderr().is_terminal() };
    let mut failed = 0;
    for part in 0..contents.parts() {
        bar.show(part * contents.part_rows);
        let path = part::path(output, part);
        if path.exists() {
            failed += part::failed_rows(&path)?;
        } else if stop.load(Ordering::SeqCst) {
            bar.clear();
            return Ok(None);
        } else {
            failed += part::process(command, contents, part, &path, pinned.text_limit)?;
        }
    }
    bar.clear();
    Ok(Some(failed))
}

/// Prints a summary to standard error.
fn report(contents: &Contents, output: &Path, failed: Option<u64>) -> Outcome {
    let (rows, parts) = (contents.rows, contents.parts());
    if let Some(failed) = failed {
        print_error(&format!("{} in {}, {failed} failed\n", counted(rows, "row"), counted(parts, "part")));
        return if failed > 0 { Outcome::SomeLinesFailed } else { Outcome::Done };
    }
    let is_done = |part: &u64| part::path(output, *part).exists();
    let (done, finished) =
        (0..parts).filter(is_done).fold((0, 0_u64), |(rows, parts), part| (rows + contents.rows_of(part), parts + 1));
    let finished = counted(finished, "part");
    print_error(&format!("stopped by a signal: {done} of {rows} rows are in {finished}; continue with --resume\n"));
    Outcome::Stopped
}

/// A number with its noun, such as `1 part` or `2 parts`.
fn counted(number: u64, noun: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{ending}")
}

/// A progress bar over rows.
struct Bar {
    label: &'static str,
    rows: u64,
    is_shown: bool,
}

impl Bar {
    fn show(&self, done: u64) {
        if self.is_shown {
            let [done, rows] = [done, self.rows].map(|rows| usize::try_from(rows).unwrap_or(usize::MAX));
            print_error(&format!("{CLEAR}{}", bar(self.label, done, rows)));
        }
    }

    fn clear(&self) {
        if self.is_shown {
            print_error(CLEAR);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_is_singular() {
        assert_eq!([0, 1, 2].map(|number| counted(number, "part")), ["0 parts", "1 part", "2 parts"]);
    }
}
