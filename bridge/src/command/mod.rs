//! The code that commands share: arguments, reading and answering lines, printing, and the exit status.

pub(crate) mod model;
pub(crate) mod stream;

use std::io::{self, Write};
use std::path::Path;

use crate::{BridgeError, ErrorCode};

/// The outcome of a command that does not fail as a whole.
pub(crate) enum Outcome {
    /// Everything succeeded.
    Done,
    /// Some lines failed; their errors are in the output.
    SomeLinesFailed,
}

/// An error that a command reports. It is an error of this process, or of the child process that replays golden cases.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: String,
    pub(crate) message: String,
}

impl From<BridgeError> for Failure {
    fn from(error: BridgeError) -> Self {
        Self { code: error.code().to_string(), message: error.to_string() }
    }
}

impl Failure {
    pub(crate) fn exit_status(&self) -> u8 {
        match self.code.as_str() {
            "dependency" => 4,
            code if code.parse().is_ok_and(ErrorCode::is_refusal) => 3,
            _ => 5,
        }
    }

    pub(crate) fn to_json(&self) -> serde_json::Value {
        serde_json::json!({"ok": false, "error": {"code": self.code, "message": self.message}})
    }
}

/// Prints one line and flushes it. A closed pipe is not an error, because the reader needs no more output.
pub(crate) fn print_line(line: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{line}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(output_failed(&error)),
        _ => Ok(()),
    }
}

pub(crate) fn output_failed(error: &io::Error) -> Failure {
    BridgeError::io(Path::new("standard output"), error).into()
}
