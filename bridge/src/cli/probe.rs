//! Replays golden cases in a child process, because an untrusted graph may crash or hang the process that loads it, or
//! exhaust its memory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::child::{Exceeded, Limits, Supervised};
use crate::BridgeError;
use crate::command::{Failure, print_line};
use crate::families::loading::replay_reporting;
use crate::families::{Artifact, VariantReport};

/// Limit on the time in which the child process loads the graphs of a variant, or runs one case. An endless loop in a
/// graph has no other sign: the child is alive, and its CPU is busy.
const SILENCE_LIMIT: Duration = Duration::from_secs(120);
/// The lowest limit on the child process's address space, in bytes. Its threads and ONNX Runtime's library use a part
/// of the address space before any graph is loaded.
const MIN_MEMORY: u64 = 8 << 30;
/// The bytes of address space that the child process gets per byte of the artifact: for the file, the initializers,
/// their prepacked copies and a reserve.
const MEMORY_PER_BYTE: u64 = 4;
/// What the child process does, for error messages.
const WHAT: &str = "the replay of the golden cases";

/// Replay an artifact's golden cases in this process.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    dir: PathBuf,
    #[arg(long)]
    library: Option<PathBuf>,
    /// 0 is no limit
    #[arg(long)]
    memory: u64,
    #[arg(long)]
    device: String,
    #[arg(long)]
    variant: Option<String>,
}

type Variants = BTreeMap<String, VariantReport>;

/// The last line of the child process: the error that refuses the artifact, or the reports of all variants.
enum Answer {
    Refused(Reason),
    Replayed(Variants),
}

/// What the child process prints when the graphs of a variant are loaded, and after every case.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Progress {
    pub(crate) variant: String,
    pub(crate) done: usize,
    pub(crate) cases: usize,
}

#[derive(Deserialize)]
struct Reason {
    code: String,
    message: String,
}

/// Runs in the child process: sets the limits, then replays the golden cases. Prints the progress, then the answer.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    Some(arguments.memory)
        .filter(|memory| *memory > 0)
        .map_or(Ok(()), limit)
        .map_err(|error| BridgeError::config(format!("the limit on memory cannot be set: {error}")))?;
    let artifact = Artifact::verify(&arguments.dir)?;
    let report = |variant: &str, done, cases| {
        // If printing fails, the parent has ended and nobody waits for the result.
        let _ = print_line(&serde_json::json!({"variant": variant, "done": done, "cases": cases}).to_string());
    };
    let only = arguments.variant.as_deref();
    let variants = replay_reporting(artifact, arguments.library.clone(), &arguments.device, only, &report)?;
    print_line(&serde_json::json!({"variants": variants}).to_string())
}

// Systems other than Linux have no limit on the address space, or refuse to set it.
#[cfg(target_os = "linux")]
fn limit(bytes: u64) -> std::io::Result<()> {
    use rlimit::Resource;
    Resource::CORE.set(0, 0)?;
    let (_, hard) = Resource::AS.get()?;
    let bytes = bytes.min(hard);
    Resource::AS.set(bytes, bytes)
}

#[cfg(not(target_os = "linux"))]
fn limit(_: u64) -> std::io::Result<()> {
    Ok(())
}

/// What the parent process replays.
pub(crate) struct Request<'a> {
    pub(crate) dir: &'a Path,
    pub(crate) library: Option<&'a Path>,
    /// The device that runs the graphs.
    pub(crate) device: &'a str,
    /// The variant that is replayed; `None` means all of them.
    pub(crate) variant: Option<&'a str>,
    /// The size of the artifact.
    pub(crate) bytes: u64,
    /// The time at which the replay is stopped.
    pub(crate) deadline: Option<Instant>,
}

/// Runs in the parent process: starts the child and returns its answer.
pub(crate) fn replay_in_child(request: &Request<'_>, progress: &dyn Fn(&Progress)) -> Result<Variants, Failure> {
    // The drivers of GPUs reserve far more address space than they use.
    let memory = match request.device {
        "cpu" => MIN_MEMORY.max(request.bytes.saturating_mul(MEMORY_PER_BYTE)),
        _ => 0,
    };
    let mut child = Supervised(spawn(request, memory).map_err(not_started)?);
    let limits = Limits { silence: SILENCE_LIMIT, deadline: request.deadline };
    let mut answer = None;
    let status = child.follow(limits, |line| match serde_json::from_str(line) {
        Ok(event) => progress(&event),
        Err(_) => answer = parse(line),
    });
    interpret(status.map_err(not_started)?, answer)
}

/// The answer in a line of the child's output.
fn parse(line: &str) -> Option<Answer> {
    let mut value: Value = serde_json::from_str(line).ok()?;
    if let Some(error) = value.get_mut("error") {
        return serde_json::from_value(error.take()).ok().map(Answer::Refused);
    }
    serde_json::from_value(value.get_mut("variants")?.take()).ok().map(Answer::Replayed)
}

/// The outcome of a child, given its exit status, or the limit that it exceeded, and its answer.
fn interpret(status: Result<ExitStatus, Exceeded>, answer: Option<Answer>) -> Result<Variants, Failure> {
    let status = status.map_err(|exceeded| match exceeded {
        Exceeded::Silence(limit) => stopped(&format!("made no progress for {} seconds", limit.as_secs_f64())),
        Exceeded::Deadline => stopped("exceeded its time limit"),
    })?;
    match answer {
        Some(Answer::Replayed(variants)) if status.success() => Ok(variants),
        Some(Answer::Refused(Reason { code, message })) => Err(Failure { code, message }),
        _ => {
            let problem = format!("ended without an answer ({status}): a graph crashed ONNX Runtime");
            Err(BridgeError::Graph { file: WHAT.to_owned(), problem }.into())
        }
    }
}

fn stopped(problem: &str) -> Failure {
    Failure { code: "timeout".to_owned(), message: format!("{WHAT} {problem}") }
}

fn not_started(error: std::io::Error) -> Failure {
    BridgeError::io(Path::new("the replay's process"), &error).into()
}

fn spawn(request: &Request<'_>, memory: u64) -> std::io::Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("replay").arg("--memory").arg(memory.to_string()).arg("--device").arg(request.device);
    if let Some(library) = request.library {
        command.arg("--library").arg(library);
    }
    if let Some(variant) = request.variant {
        command.arg("--variant").arg(variant);
    }
    // The parent reports the child's answer. The standard error of a crashing library does not help users.
    command.arg("--").arg(request.dir).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    fn code(status: i32, output: &str) -> Result<usize, String> {
        let outcome = interpret(Ok(ExitStatus::from_raw(status)), parse(output));
        outcome.map(|variants| variants.len()).map_err(|failure| failure.code)
    }

    #[test]
    fn a_child_that_crashes_is_reported_as_a_refused_graph() {
        let report = r#"{"variants":{"fp32":{"cases":1,"max_abs":0.0,"cosine_min":1.0}}}"#;
        let refused = r#"{"ok":false,"error":{"code":"golden","message":"x"}}"#;
        assert_eq!(code(0, report), Ok(1));
        assert_eq!(code(3 << 8, refused), Err("golden".to_owned()));
        let (abort, segmentation_fault, killed) = (6, 11, 9);
        for status in [abort, segmentation_fault, killed, 0] {
            assert_eq!(code(status, ""), Err("graph".to_owned()));
        }
        assert_eq!(code(abort, report), Err("graph".to_owned()));
    }

    #[test]
    fn a_child_that_was_stopped_does_not_refuse_the_artifact() {
        for exceeded in [Exceeded::Silence(SILENCE_LIMIT), Exceeded::Deadline] {
            let failure = interpret(Err(exceeded), None).expect_err("a failure");
            assert_eq!((failure.code.as_str(), failure.exit_status()), ("timeout", 5));
        }
    }
}
