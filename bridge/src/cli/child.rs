//! Follows the output of a child process line by line, and stops the child if it makes no progress.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ExitStatus};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

/// Limit on the bytes of the child's output that the parent reads.
const OUTPUT_LIMIT: u64 = 64 << 20;

/// Limits on the time of a child.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Limit on the time between two lines.
    pub(crate) silence: Duration,
    /// The time at which the child is stopped.
    pub(crate) deadline: Option<Instant>,
}

/// The limit that a child exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exceeded {
    Silence(Duration),
    Deadline,
}

impl Limits {
    /// The time that the parent may wait for the next line, and the limit that is exceeded then.
    fn next(self) -> (Duration, Exceeded) {
        let silent = (self.silence, Exceeded::Silence(self.silence));
        let rest = self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        rest.filter(|rest| *rest <= self.silence).map_or(silent, |rest| (rest, Exceeded::Deadline))
    }
}

/// A child process, which is killed when this is dropped.
pub(crate) struct Supervised(pub(crate) Child);

impl Drop for Supervised {
    fn drop(&mut self) {
        // The child may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Supervised {
    /// Calls a function for every line of the child's standard output, then returns the child's exit status.
    ///
    /// # Errors
    /// The limit that the child exceeded, or the error of the operating system.
    pub(crate) fn follow(
        &mut self,
        limits: Limits,
        mut on_line: impl FnMut(&str),
    ) -> std::io::Result<Result<ExitStatus, Exceeded>> {
        let lines = self.0.stdout.take().map(lines_in_background).transpose()?;
        while let Some(lines) = &lines {
            let (wait, exceeded) = limits.next();
            match lines.recv_timeout(wait) {
                Ok(line) => on_line(&line),
                Err(RecvTimeoutError::Timeout) => return Ok(Err(exceeded)),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.wait(limits)
    }

    /// Waits for the end of a child that has closed its output.
    fn wait(&mut self, limits: Limits) -> std::io::Result<Result<ExitStatus, Exceeded>> {
        let (wait, exceeded) = limits.next();
        let started = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait()? {
                return Ok(Ok(status));
            }
            if started.elapsed() > wait {
                return Ok(Err(exceeded));
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

fn lines_in_background(output: impl Read + Send + 'static) -> std::io::Result<Receiver<String>> {
    let (sender, receiver) = channel();
    let read = move || {
        // If reading fails, the lines that were read so far are the output.
        for line in BufReader::new(output.take(OUTPUT_LIMIT)).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    };
    thread::Builder::new().spawn(read)?;
    Ok(receiver)
}

#[cfg(all(test, unix))]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    fn follow(script: &str, silence: u64, total: Option<u64>) -> (Result<Option<i32>, Exceeded>, usize) {
        let mut command = Command::new("sh");
        let child = command.args(["-c", script]).stdout(Stdio::piped()).spawn().expect("a child");
        let deadline = total.map(|total| Instant::now() + Duration::from_millis(total));
        let limits = Limits { silence: Duration::from_millis(silence), deadline };
        let mut lines = 0;
        let ended = Supervised(child).follow(limits, |_| lines += 1).expect("no error of the system");
        (ended.map(|status| status.code()), lines)
    }

    #[test]
    fn a_child_may_run_longer_than_the_limit_on_its_silence() {
        assert_eq!(follow("for i in 1 2 3 4 5 6; do echo $i; sleep 0.5; done", 2000, None), (Ok(Some(0)), 6));
        assert_eq!(follow("echo 1; exit 7", 5000, Some(5000)), (Ok(Some(7)), 1));
    }

    #[test]
    fn a_silent_child_is_stopped() {
        let started = Instant::now();
        let exceeded = Exceeded::Silence(Duration::from_millis(500));
        assert_eq!(follow("echo 1; exec sleep 60", 500, Some(60_000)), (Err(exceeded), 1));
        assert_eq!(follow("exec sleep 60 >&-", 500, None), (Err(exceeded), 0));
        assert!(started.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn a_child_that_exceeds_its_time_is_stopped() {
        let (ended, lines) = follow("while true; do echo 1; sleep 0.1; done", 60_000, Some(700));
        assert!(ended == Err(Exceeded::Deadline) && lines > 1, "{ended:?}, {lines} lines");
        assert_eq!(follow("echo 1; exec sleep 60", 60_000, Some(0)).0, Err(Exceeded::Deadline));
    }
}
