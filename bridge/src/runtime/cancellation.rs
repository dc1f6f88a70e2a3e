//! Ending a call before it has an answer: from another thread, or when its time is over.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use ort::logging::LogLevel;
use ort::session::RunOptions;

use super::outputs::failed;
use crate::BridgeError;

/// Cancels the calls that it was given to, those that run and those still to come. Clones share one fate; it cannot be
/// taken back.
///
/// A cancelled call ends with the code `cancelled` after the step of the graph that it is in, and the model can be used
/// on.
#[derive(Clone, Default)]
pub struct CancelToken {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    cancelled: AtomicBool,
    calls: Mutex<Vec<Weak<Stop>>>,
}

impl CancelToken {
    /// A token without any call.
    pub fn new() -> Self {
        Self::default()
    }

    /// Stops every call that has the token, and returns at once.
    pub fn cancel(&self) {
        self.shared.cancelled.store(true, Ordering::SeqCst);
        let calls: Vec<Arc<Stop>> = self.calls().iter().filter_map(Weak::upgrade).collect();
        calls.iter().for_each(|call| call.stop(BridgeError::Cancelled));
    }

    /// Whether it was cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.shared.cancelled.load(Ordering::SeqCst)
    }

    /// A guard that cancels when it is dropped, for calls whose caller may go away.
    pub(crate) fn on_drop(&self) -> CancelOnDrop {
        CancelOnDrop(self.clone())
    }

    fn attach(&self, call: &Arc<Stop>) {
        let mut calls = self.calls();
        calls.retain(|call| call.strong_count() > 0);
        calls.push(Arc::downgrade(call));
        drop(calls);
        if self.is_cancelled() {
            call.stop(BridgeError::Cancelled);
        }
    }

    fn calls(&self) -> MutexGuard<'_, Vec<Weak<Stop>>> {
        self.shared.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for CancelToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CancelToken").field("is_cancelled", &self.is_cancelled()).finish_non_exhaustive()
    }
}

/// Cancels its token when it is dropped.
pub(crate) struct CancelOnDrop(CancelToken);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// What may stop one call.
#[derive(Default)]
pub(crate) struct Stop {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Why the call is to end; the first reason counts.
    reason: Option<BridgeError>,
    /// Whether the call came to its end.
    ended: bool,
    runs: Vec<Arc<RunOptions>>,
}

impl Stop {
    /// # Errors
    /// The reason, if the call is to end: `cancelled` or `timeout`.
    pub(crate) fn check(&self) -> Result<(), BridgeError> {
        self.lock().reason.clone().map_or(Ok(()), Err)
    }

    /// Does a run of a graph with options that stopping terminates.
    ///
    /// # Errors
    /// The reason, if the call is to end already, or ends while the graph runs; else the run's own, or `inference` where
    /// ONNX Runtime gives no options.
    pub(crate) fn run<T>(&self, run: impl FnOnce(&RunOptions) -> Result<T, BridgeError>) -> Result<T, BridgeError> {
        let mut options = RunOptions::new().map_err(failed)?;
        // Every error is told by the run's outcome; ONNX Runtime would write one to standard error for every stop, too.
        options.set_log_level(LogLevel::Fatal).map_err(failed)?;
        let options = Arc::new(options);
        let mut state = self.lock();
        state.reason.clone().map_or(Ok(()), Err)?;
        state.runs.push(Arc::clone(&options));
        drop(state);
        let answer = run(&options);
        self.lock().runs.retain(|other| !Arc::ptr_eq(other, &options));
        answer.map_err(|error| self.check().err().unwrap_or(error))
    }

    fn stop(&self, reason: BridgeError) {
        let mut state = self.lock();
        state.reason.get_or_insert(reason);
        for options in &state.runs {
            if let Err(error) = options.terminate() {
                tracing::warn!(%error, "a run could not be told to end");
            }
        }
    }

    /// Waits until the call came to its end, or stops it when its time is over.
    fn watch(&self, started: Instant, limit: Duration) {
        let mut state = self.lock();
        while !state.ended {
            let Some(left) = limit.checked_sub(started.elapsed()).filter(|left| !left.is_zero()) else {
                drop(state);
                return self.stop(BridgeError::Timeout { limit });
            };
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells the watch that the call came to its end, also where it panicked.
struct Ended<'a>(&'a Stop);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.lock().ended = true;
        self.0.changed.notify_all();
    }
}

/// Does a call that the token or the time limit can stop. The time counts from here.
pub(crate) fn stoppable<T>(
    cancel: Option<&CancelToken>,
    timeout: Option<Duration>,
    call: impl FnOnce(&Stop) -> T,
) -> T {
    let (started, stop) = (Instant::now(), Arc::new(Stop::default()));
    if let Some(token) = cancel {
        token.attach(&stop);
    }
    let Some(limit) = timeout else {
        return call(&stop);
    };
    thread::scope(|scope| {
        scope.spawn(|| stop.watch(started, limit));
        let _ended = Ended(&stop);
        call(&stop)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a call without any graph comes to that looks again and again, for ten seconds at most.
    fn busy(cancel: Option<&CancelToken>, timeout: Option<Duration>) -> Option<&'static str> {
        stoppable(cancel, timeout, |stop| {
            for _ in 0..1_000 {
                if let Err(error) = stop.check() {
                    return Some(error.code());
                }
                thread::sleep(Duration::from_millis(10));
            }
            None
        })
    }

    #[test]
    fn the_first_reason_counts() {
        let token = CancelToken::new();
        assert_eq!(busy(Some(&token), Some(Duration::from_millis(30))), Some("timeout"));
        assert!(!token.is_cancelled());
        token.cancel();
        assert_eq!(busy(Some(&token), Some(Duration::from_secs(5))), Some("cancelled"));
        assert!(format!("{token:?}").contains("true"));
    }

    #[test]
    fn a_clone_on_another_thread_cancels() {
        let token = CancelToken::new();
        let other = token.clone();
        let canceller = thread::spawn(move || {
            thread::sleep(Duration::from_millis(30));
            other.cancel();
        });
        assert_eq!(busy(Some(&token), None), Some("cancelled"));
        canceller.join().expect("no panic");
    }

    #[test]
    fn a_call_that_ends_in_time_waits_for_nothing() {
        let started = Instant::now();
        let answer = stoppable(None, Some(Duration::from_secs(60)), |stop| stop.check().map(|()| 7));
        assert_eq!(answer, Ok(7));
        assert!(started.elapsed() < Duration::from_secs(5));
        let never = stoppable(None, Some(Duration::MAX), |stop| stop.check().is_ok());
        assert!(never);
    }

    #[test]
    fn ended_calls_are_forgotten() {
        let token = CancelToken::new();
        for _ in 0..100 {
            stoppable(Some(&token), None, |_| ());
        }
        assert!(token.calls().len() <= 1);
        drop(token.on_drop());
        assert!(token.is_cancelled());
    }
}
