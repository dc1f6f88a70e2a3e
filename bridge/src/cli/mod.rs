//! The command line: arguments and exit status. The commands that run models are in the folders of their families.

mod bench;
mod child;
mod probe;
#[cfg(feature = "store")]
mod store;
mod verify;

use std::io;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::command::{Failure, Outcome, print_line};
#[cfg(feature = "ner")]
use crate::families::ner::command as ner;
#[cfg(feature = "rerank")]
use crate::families::rerank::command as rerank;
#[cfg(feature = "sentence-embedding")]
use crate::families::sentence_embedding::command as embed;
#[cfg(feature = "summarization")]
use crate::families::summarization::command as summarize;
use crate::terminal::print_error;

const EXIT_STATUS: &str = "Exit status: 0 success, 1 some lines failed, 2 usage, 3 artifact refused, 4 ONNX Runtime is \
                           missing, 5 any other error, 6 stopped by a signal.\n\nEnvironment: ORT_DYLIB_PATH is the path of ONNX Runtime's shared \
                           library, unless --library is passed; RUST_LOG sets the log level (default: warn).";

/// Verifies sealed ONNX models and runs them, without Python.
#[derive(Parser)]
#[command(name = "onnx-ml-bridge", version, about, after_help = EXIT_STATUS)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Verify(verify::Arguments),
    #[cfg(feature = "store")]
    Pull(store::PullArguments),
    #[cfg(feature = "store")]
    List(store::ListArguments),
    #[cfg(feature = "store")]
    Updates(store::UpdatesArguments),
    #[cfg(feature = "sentence-embedding")]
    Embed(embed::Arguments),
    #[cfg(feature = "ner")]
    Ner(ner::Arguments),
    #[cfg(feature = "summarization")]
    Summarize(summarize::Arguments),
    #[cfg(feature = "rerank")]
    Rerank(rerank::Arguments),
    Bench(bench::Arguments),
    #[command(hide = true)]
    Replay(probe::Arguments),
}

/// Parses the arguments and runs the command.
pub fn main() -> ExitCode {
    start_logging();
    let (json, result) = match Arguments::parse().command {
        Command::Verify(arguments) => (arguments.json, verify::run(&arguments).map(|()| Outcome::Done)),
        #[cfg(feature = "store")]
        Command::Pull(arguments) => (arguments.json, store::pull(&arguments).map(|()| Outcome::Done)),
        #[cfg(feature = "store")]
        Command::List(arguments) => (arguments.json, store::list(&arguments).map(|()| Outcome::Done)),
        #[cfg(feature = "store")]
        Command::Updates(arguments) => (arguments.json, store::updates(&arguments).map(|()| Outcome::Done)),
        #[cfg(feature = "sentence-embedding")]
        Command::Embed(arguments) => (false, embed::run(&arguments)),
        #[cfg(feature = "ner")]
        Command::Ner(arguments) => (false, ner::run(&arguments)),
        #[cfg(feature = "summarization")]
        Command::Summarize(arguments) => (false, summarize::run(&arguments)),
        #[cfg(feature = "rerank")]
        Command::Rerank(arguments) => (false, rerank::run(&arguments)),
        Command::Bench(arguments) => (false, bench::run(&arguments).map(|()| Outcome::Done)),
        Command::Replay(arguments) => (true, probe::run(&arguments).map(|()| Outcome::Done)),
    };
    match result {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::SomeLinesFailed) => ExitCode::from(1),
        Ok(Outcome::Stopped) => ExitCode::from(6),
        Err(failure) => report(&failure, json),
    }
}

fn report(failure: &Failure, json: bool) -> ExitCode {
    print_error(&format!("error[{}]: {}\n", failure.code, failure.message));
    if json {
        // If printing fails, nobody reads the output, and the exit status still reports the error.
        let _ = print_line(&failure.to_json().to_string());
    }
    ExitCode::from(failure.exit_status())
}

fn start_logging() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env();
    let filter = filter.unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    // By default, an event that cannot be written is reported with `eprintln!`, which panics.
    let events = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).log_internal_errors(false);
    events.init();
}
