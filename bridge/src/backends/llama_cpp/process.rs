//! [`ChildProcess`]: a command that ends with this process.

use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::process::{Child, ChildStderr, ChildStdin, Command};
use tokio::sync::watch;

use crate::BridgeError;
use crate::backends::wire::runtime;
use crate::runtime::memory;

/// Runs a command that the shell kills when its own standard input is closed. The first argument is the limit of the
/// command's address space in KiB, or empty. The command has the same standard input, which nobody writes to.
const SUPERVISOR: &str = r#"
test -z "$1" || ulimit -v "$1" || exit 126
shift
exec 3<&0
"$@" <&3 3<&- &
child=$!
{ cat >/dev/null; kill -9 "$child"; } <&3 3<&- 2>/dev/null &
watcher=$!
exec 3<&- </dev/null
wait "$child"
status=$?
kill "$watcher" 2>/dev/null
exit "$status"
"#;
/// The last part of the messages of a command that is kept, in bytes.
const MAX_MESSAGES: usize = 8192;
/// How long the messages of a command that has ended may arrive.
const MAX_READING: Duration = Duration::from_secs(10);
/// The statuses of a shell for a command that it cannot start.
const NOT_STARTED: [i32; 2] = [126, 127];

/// A running command. It ends when this value is dropped, and with this process, however that ends: both close the
/// standard input of the shell, which is never killed itself, because it could have started the command alone by then.
pub(super) struct ChildProcess {
    program: String,
    /// The group of the shell's processes; `None` for one that ended at once.
    group: Option<u32>,
    shell: Mutex<Child>,
    _input: ChildStdin,
    messages: Arc<Mutex<Vec<u8>>>,
    /// Has no sender when all messages are read.
    reading: watch::Receiver<()>,
}

impl ChildProcess {
    /// Starts a command. Needs a tokio runtime.
    ///
    /// # Errors
    /// `dependency` without a shell.
    pub(super) fn start(
        command: &[String],
        arguments: &[String],
        memory_mb: Option<usize>,
    ) -> Result<Self, BridgeError> {
        let program = command.first().cloned().unwrap_or_default();
        let refused = |problem: String| BridgeError::Program { program: "the shell sh".to_owned(), problem };
        let memory_kb = memory_mb.map_or_else(String::new, |size| size.saturating_mul(1024).to_string());
        let mut shell = Command::new("sh")
            .args(["-c", SUPERVISOR, "sh", &memory_kb])
            .args(command)
            .args(arguments)
            // A llama.cpp that crashes otherwise runs a debugger on itself and ends much later.
            .env("GGML_NO_BACKTRACE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(|error| refused(error.to_string()))?;
        let messages = Arc::<Mutex<Vec<u8>>>::default();
        let (input, errors) = (shell.stdin.take(), shell.stderr.take());
        let (Some(input), Some(errors)) = (input, errors) else { return Err(refused("has no pipes".to_owned())) };
        let (reads, reading) = watch::channel(());
        let kept = Arc::clone(&messages);
        runtime()?.spawn(async move {
            keep(errors, kept).await;
            drop(reads);
        });
        Ok(Self { program, group: shell.id(), shell: Mutex::new(shell), _input: input, messages, reading })
    }

    /// The memory of the command in bytes, with that of its shell; 0 where the system does not state it.
    pub(super) fn resident_bytes(&self) -> u64 {
        self.group.map_or(0, memory::group_bytes)
    }

    /// The status of a command that has ended, as the shell says it: 137 for one that was killed.
    pub(super) fn status(&self) -> Option<i32> {
        let mut shell = self.shell.lock().unwrap_or_else(PoisonError::into_inner);
        shell.try_wait().ok().flatten().map(|status| status.code().unwrap_or(-1))
    }

    /// The error of a command that ended before it was ready.
    pub(super) async fn ended(&self, status: i32) -> BridgeError {
        // Another process may have the pipe of the messages open.
        let _ = tokio::time::timeout(MAX_READING, self.reading.clone().changed()).await;
        let message = self.last_message();
        if NOT_STARTED.contains(&status) {
            let problem = format!("{message}; install it, or change `command`");
            return BridgeError::Program { program: self.program.clone(), problem };
        }
        BridgeError::inference(None, format!("llama.cpp ended with the status {status} when it started: {message}"))
    }

    /// The last line that the command wrote to its standard error.
    fn last_message(&self) -> String {
        let messages = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(&messages);
        let line = text.lines().rev().map(str::trim).find(|line| !line.is_empty());
        line.map_or_else(|| "no message".to_owned(), |line| line.chars().take(500).collect())
    }
}

/// Keeps the last part of what a command writes to its standard error.
async fn keep(mut errors: ChildStderr, messages: Arc<Mutex<Vec<u8>>>) {
    let mut buffer = [0; 4096];
    while let Ok(size @ 1..) = errors.read(&mut buffer).await {
        let mut messages = messages.lock().unwrap_or_else(PoisonError::into_inner);
        messages.extend_from_slice(&buffer[..size]);
        let excess = messages.len().saturating_sub(MAX_MESSAGES);
        messages.drain(..excess);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn run<T>(test: impl Future<Output = T>) -> T {
        runtime().expect("a runtime").block_on(test)
    }

    fn start(command: &[&str], memory_mb: Option<usize>) -> ChildProcess {
        let command: Vec<String> = command.iter().map(|part| (*part).to_owned()).collect();
        ChildProcess::start(&command, &[], memory_mb).expect("a shell")
    }

    async fn ended(child: &ChildProcess) -> i32 {
        for _ in 0..6000 {
            if let Some(status) = child.status() {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the child runs for over 60 s");
    }

    #[test]
    fn a_command_that_ends_has_a_status_and_a_message() {
        run(async {
            let child = start(&["sh", "-c", "echo first >&2; echo ' bad file ' >&2; exit 3"], None);
            let error = child.ended(ended(&child).await).await;
            assert_eq!(error.code().as_str(), "inference");
            assert!(error.to_string().contains("status 3 when it started: bad file"), "{error}");
            let missing = start(&["/no/such/llama-server"], None);
            let error = missing.ended(ended(&missing).await).await;
            assert_eq!(error.code().as_str(), "dependency");
            assert!(error.to_string().contains("/no/such/llama-server"), "{error}");
        });
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_memory_of_a_command_is_limited() {
        run(async {
            let child = start(&["sh", "-c", "test \"$(ulimit -v)\" = 65536 && exit 5"], Some(64));
            assert_eq!(ended(&child).await, 5);
        });
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_memory_of_a_command_is_counted() {
        run(async {
            let size = 32 << 20;
            let child = start(&["python3", "-c", "import time; x = b'x' * (32 << 20); time.sleep(600)"], None);
            for _ in 0..6000 {
                if child.resident_bytes() > size {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            panic!("the child has {} bytes", child.resident_bytes());
        });
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_command_ends_when_it_is_dropped() {
        run(async {
            let file = tempfile::NamedTempFile::new().expect("a file");
            let script = format!("echo $$ >{}; exec sleep 600", file.path().display());
            let child = start(&["sh", "-c", &script], None);
            let read = || std::fs::read_to_string(file.path()).ok().filter(|text| text.ends_with('\n'));
            while read().is_none() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            let path = format!("/proc/{}", read().expect("a process").trim());
            assert!(std::path::Path::new(&path).exists() && child.status().is_none());
            drop(child);
            let dropped = Instant::now();
            while std::path::Path::new(&path).exists() {
                assert!(dropped.elapsed() < Duration::from_secs(60), "{path} still runs");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
    }
}
