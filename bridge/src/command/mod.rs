//! The code that commands share: arguments, reading and answering lines, printing, and the exit status.

mod batches;
pub(crate) mod bulk;
pub(crate) mod model;
#[cfg(feature = "store")]
pub(crate) mod store;
pub(crate) mod stream;

use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use crate::{BridgeError, ErrorCode};

/// The outcome of a command that does not fail as a whole.
pub(crate) enum Outcome {
    /// Everything succeeded.
    Done,
    /// Some lines failed; their errors are in the output.
    SomeLinesFailed,
    /// A signal stopped a run over a file after the part that was running.
    Stopped,
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

/// Parses a time limit: a number of seconds above 0.
pub(crate) fn seconds(value: &str) -> Result<Duration, String> {
    let seconds: f64 = value.parse().map_err(|_| "expected a number of seconds".to_owned())?;
    let limit = Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())?;
    if limit.is_zero() { Err("expected more than 0 seconds".to_owned()) } else { Ok(limit) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_of_zero_or_less_are_refused() {
        assert_eq!(seconds("1.5"), Ok(Duration::from_millis(1500)));
        assert_eq!(seconds("1e-3"), Ok(Duration::from_millis(1)));
        for wrong in ["0", "-1", "nan", "inf", "1e300", "x", "", "1e-12"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
