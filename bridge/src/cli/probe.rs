//! Replays golden cases in a child process, because an untrusted graph may crash or hang the process that loads it, or
//! exhaust its memory.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::BridgeError;
use crate::command::{Failure, print_line};
use crate::families::{Artifact, VariantReport, replay};

const TIME_LIMIT: Duration = Duration::from_secs(300);
/// The lowest limit on the child process's address space, in bytes. Its threads and ONNX Runtime's library use a part
/// of the address space before any graph is loaded.
const MIN_MEMORY: u64 = 8 << 30;
/// The bytes of address space that the child process gets per byte of the artifact: for the file, the initializers,
/// their prepacked copies and a reserve.
const MEMORY_PER_BYTE: u64 = 4;
/// Limit on the bytes of the child's answer that the parent reads.
const ANSWER_LIMIT: u64 = 16 << 20;

/// Replay an artifact's golden cases in this process.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    dir: PathBuf,
    #[arg(long)]
    library: Option<PathBuf>,
    #[arg(long)]
    memory: u64,
}

/// The JSON object that the child process prints: the error that refuses the artifact, or the reports of all variants.
#[derive(Deserialize)]
#[serde(untagged)]
enum Answer {
    Refused { error: Reason },
    Replayed { variants: BTreeMap<String, VariantReport> },
}

#[derive(Deserialize)]
struct Reason {
    code: String,
    message: String,
}

/// Runs in the child process: sets the limits, then replays the golden cases.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    limit(arguments.memory)
        .map_err(|error| BridgeError::config(format!("the limit on memory cannot be set: {error}")))?;
    let artifact = Artifact::verify(&arguments.dir)?;
    let variants = replay(artifact, arguments.library.clone())?;
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

/// Runs in the parent process: starts the child and returns its answer. `bytes` is the size of the artifact.
pub(crate) fn replay_in_child(
    dir: &Path,
    library: Option<&Path>,
    bytes: u64,
) -> Result<BTreeMap<String, VariantReport>, Failure> {
    let memory = MIN_MEMORY.max(bytes.saturating_mul(MEMORY_PER_BYTE));
    let mut child = spawn(dir, library, memory).map_err(not_started)?;
    let reader = child.stdout.take().map(read_in_background);
    let status = wait(&mut child).map_err(not_started)?;
    let output = reader.and_then(|reader| reader.join().ok()).unwrap_or_default();
    interpret(status, &output)
}

/// The outcome of a child, given its exit status and its output. The status is `None` if the parent stopped the child.
fn interpret(status: Option<ExitStatus>, output: &[u8]) -> Result<BTreeMap<String, VariantReport>, Failure> {
    let died = |problem: String| BridgeError::Graph { file: "the replay of golden cases".to_owned(), problem };
    let Some(status) = status else {
        return Err(died(format!("did not end within {} seconds and was stopped", TIME_LIMIT.as_secs())).into());
    };
    match serde_json::from_slice(output) {
        Ok(Answer::Replayed { variants }) if status.success() => Ok(variants),
        Ok(Answer::Refused { error }) => Err(Failure { code: error.code, message: error.message }),
        _ => Err(died(format!("ended without an answer ({status}): a graph crashed ONNX Runtime")).into()),
    }
}

fn not_started(error: std::io::Error) -> Failure {
    BridgeError::io(Path::new("the replay's process"), &error).into()
}

fn spawn(dir: &Path, library: Option<&Path>, memory: u64) -> std::io::Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("replay").arg("--memory").arg(memory.to_string());
    if let Some(library) = library {
        command.arg("--library").arg(library);
    }
    // The parent reports the child's answer. The standard error of a crashing library does not help users.
    command.arg("--").arg(dir).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()
}

fn read_in_background(output: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // If reading the child's output fails, the bytes that were read so far are its answer.
        let _ = output.take(ANSWER_LIMIT).read_to_end(&mut bytes);
        bytes
    })
}

/// Waits for the child. Returns its exit status, or `None` if it was stopped at the time limit.
fn wait(child: &mut Child) -> std::io::Result<Option<ExitStatus>> {
    let started = Instant::now();
    while started.elapsed() < TIME_LIMIT {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        thread::sleep(Duration::from_millis(20));
    }
    child.kill()?;
    child.wait()?;
    Ok(None)
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    fn code(status: Option<i32>, output: &str) -> Result<usize, String> {
        let outcome = interpret(status.map(ExitStatus::from_raw), output.as_bytes());
        outcome.map(|variants| variants.len()).map_err(|failure| failure.code)
    }

    #[test]
    fn a_child_that_crashes_is_reported_as_a_refused_graph() {
        let report = r#"{"variants":{"fp32":{"cases":1,"max_abs":0.0,"cosine_min":1.0}}}"#;
        let refused = r#"{"ok":false,"error":{"code":"golden","message":"x"}}"#;
        assert_eq!(code(Some(0), report), Ok(1));
        assert_eq!(code(Some(3 << 8), refused), Err("golden".to_owned()));
        let (abort, segmentation_fault, killed) = (Some(6), Some(11), Some(9));
        for status in [abort, segmentation_fault, killed, Some(0), None] {
            assert_eq!(code(status, ""), Err("graph".to_owned()));
        }
        assert_eq!(code(abort, report), Err("graph".to_owned()));
    }
}
