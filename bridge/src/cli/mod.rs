//! The command line: arguments, exit status, and one file per command.

mod bench;
mod embed;
mod lines;
mod model;
mod ner;
mod paint;
mod probe;
mod progress;
mod stream;
mod summarize;
mod verify;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use onnx_ml_bridge::BridgeError;

const EXIT_STATUS: &str = "Exit status: 0 fine, 1 some lines failed, 2 usage, 3 artifact refused, 4 ONNX Runtime is \
                           missing, 5 any other error.\n\nEnvironment: ORT_DYLIB_PATH names ONNX Runtime's shared \
                           library where --library does not; RUST_LOG sets the log level (default: warn).";

/// Checks sealed ONNX models, and embeds texts, finds named entities and summarizes with them, without Python.
#[derive(Parser)]
#[command(name = "onnx-ml-bridge", version, about, after_help = EXIT_STATUS)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Verify(verify::Arguments),
    Embed(embed::Arguments),
    Ner(ner::Arguments),
    Summarize(summarize::Arguments),
    Bench(bench::Arguments),
    #[command(hide = true)]
    Replay(probe::Arguments),
}

/// What a command ends with where it did not fail.
pub(crate) enum Outcome {
    /// All is well.
    Done,
    /// Some lines failed; their errors are in the output.
    SomeLinesFailed,
}

/// An error as the command reports it: from this process, or from the child that replays golden cases.
#[derive(Debug)]
pub(crate) struct Failure {
    code: String,
    message: String,
}

impl From<BridgeError> for Failure {
    fn from(error: BridgeError) -> Self {
        Self { code: error.code().to_owned(), message: error.to_string() }
    }
}

impl Failure {
    fn exit_status(&self) -> u8 {
        match self.code.as_str() {
            "dependency" => 4,
            code if BridgeError::refuses_artifact(code) => 3,
            _ => 5,
        }
    }

    fn to_json(&self) -> serde_json::Value {
        serde_json::json!({"ok": false, "error": {"code": self.code, "message": self.message}})
    }
}

/// Runs the command that the arguments ask for.
pub(crate) fn main() -> ExitCode {
    start_logging();
    let (json, result) = match Arguments::parse().command {
        Command::Verify(arguments) => (arguments.json, verify::run(&arguments).map(|()| Outcome::Done)),
        Command::Embed(arguments) => (false, embed::run(&arguments)),
        Command::Ner(arguments) => (false, ner::run(&arguments)),
        Command::Summarize(arguments) => (false, summarize::run(&arguments)),
        Command::Bench(arguments) => (false, bench::run(&arguments).map(|()| Outcome::Done)),
        Command::Replay(arguments) => (true, probe::run(&arguments).map(|()| Outcome::Done)),
    };
    match result {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::SomeLinesFailed) => ExitCode::from(1),
        Err(failure) => report(&failure, json),
    }
}

fn report(failure: &Failure, json: bool) -> ExitCode {
    eprintln!("error[{}]: {}", failure.code, failure.message);
    if json {
        // Nobody reads the output any more where this fails; the status tells all the same.
        let _ = print_line(&failure.to_json().to_string());
    }
    ExitCode::from(failure.exit_status())
}

/// Prints one line and flushes. A closed pipe is the reader's way to say that it has enough.
pub(crate) fn print_line(line: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{line}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(output_failed(&error)),
        _ => Ok(()),
    }
}

pub(crate) fn output_failed(error: &io::Error) -> Failure {
    BridgeError::Io { path: PathBuf::from("standard output"), problem: error.to_string() }.into()
}

fn start_logging() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env();
    let filter = filter.unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).init();
}
