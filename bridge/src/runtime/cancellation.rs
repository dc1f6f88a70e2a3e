//! Stops a call before it has an answer, from another thread or when its time limit is over.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use ort::logging::LogLevel;
use ort::session::RunOptions;

use super::batch::refused_thread;
use super::outputs::failed;
use crate::BridgeError;

/// Cancels all calls whose options have this token or a clone of it, both current calls and later ones. A cancellation
/// cannot be undone.
///
/// A cancelled call fails with the code `cancelled` as soon as ONNX Runtime has finished the current node of the graph. The
/// model can still be used.
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
    /// A new cancellation token, which is not cancelled.
    pub fn new() -> Self {
        Self::default()
    }

    /// Stops every call that has this cancellation token. Does not wait for the calls to end.
    pub fn cancel(&self) {
        self.shared.cancelled.store(true, Ordering::SeqCst);
        let calls: Vec<Arc<Stop>> = self.calls().iter().filter_map(Weak::upgrade).collect();
        calls.iter().for_each(|call| call.stop(BridgeError::Cancelled));
    }

    /// Whether the cancellation token was cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.shared.cancelled.load(Ordering::SeqCst)
    }

    /// A guard that cancels this cancellation token when it is dropped, for asynchronous calls whose future may be
    /// dropped.
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

/// A guard that cancels its cancellation token when it is dropped.
pub(crate) struct CancelOnDrop(CancelToken);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// The state of one call, through which other threads can stop it.
#[derive(Default)]
pub(crate) struct Stop {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Why the call was stopped: the first reason, if there are several.
    reason: Option<BridgeError>,
    /// Whether the call has ended.
    ended: bool,
    runs: Vec<Arc<RunOptions>>,
}

impl Stop {
    /// Fails if the call was stopped by its cancellation token or its time limit.
    ///
    /// # Errors
    /// The reason: `cancelled` or `timeout`.
    pub(crate) fn check(&self) -> Result<(), BridgeError> {
        self.lock().reason.clone().map_or(Ok(()), Err)
    }

    /// Runs a graph with options through which the run can be terminated.
    ///
    /// # Errors
    /// The reason, if the call was stopped before the run or during it; else the error of the run, or `inference` if ONNX
    /// Runtime cannot create the options.
    pub(crate) fn run<T>(&self, run: impl FnOnce(&RunOptions) -> Result<T, BridgeError>) -> Result<T, BridgeError> {
        self.check()?;
        let mut options = RunOptions::new().map_err(failed)?;
        // ONNX Runtime would log an error for every stopped run. The log is switched off, because the run returns each
        // error to the caller.
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
                tracing::warn!(%error, "a run could not be terminated");
            }
        }
    }

    /// Waits until the call has ended, or stops it when its time limit is over.
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

/// A guard that tells the thread that watches the time limit that the call has ended, even if it ended by a panic.
struct Ended<'a>(&'a Stop);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.lock().ended = true;
        self.0.changed.notify_all();
    }
}

/// A time limit of a call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TimeLimit {
    /// When the call was made. An asynchronous call may wait for a thread afterwards.
    pub(crate) started: Instant,
    pub(crate) limit: Duration,
}

impl TimeLimit {
    /// The time limit of a call that is made now; `None` without a limit.
    ///
    /// # Errors
    /// `config` for a limit of 0.
    pub(crate) fn of(limit: Option<Duration>) -> Result<Option<Self>, BridgeError> {
        if limit.is_some_and(|limit| limit.is_zero()) {
            return Err(BridgeError::config("timeout is 0 s, expected more than 0"));
        }
        Ok(limit.map(|limit| Self { started: Instant::now(), limit }))
    }
}

/// Runs a call that any of its cancellation tokens or its time limit can stop.
pub(crate) fn stoppable<T>(cancel: &[&CancelToken], limit: Option<TimeLimit>, call: impl FnOnce(&Stop) -> T) -> T {
    let stop = Arc::new(Stop::default());
    for token in cancel {
        token.attach(&stop);
    }
    let Some(TimeLimit { started, limit }) = limit else {
        return call(&stop);
    };
    if started.elapsed() >= limit {
        stop.stop(BridgeError::Timeout { limit });
        return call(&stop);
    }
    thread::scope(|scope| {
        let watch = || stop.watch(started, limit);
        if let Err(error) = thread::Builder::new().spawn_scoped(scope, watch) {
            // Nothing would end the call at its time limit.
            stop.stop(refused_thread(&error));
        }
        let _ended = Ended(&stop);
        call(&stop)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(limit: Duration) -> TimeLimit {
        TimeLimit { started: Instant::now(), limit }
    }

    /// Runs a call that checks every 10 ms whether it was stopped, and returns its error code; `None` if it was not
    /// stopped within 10 s.
    fn busy(cancel: &[&CancelToken], timeout: Option<Duration>) -> Option<&'static str> {
        stoppable(cancel, timeout.map(limit), |stop| {
            for _ in 0..1_000 {
                if let Err(error) = stop.check() {
                    return Some(error.code().as_str());
                }
                thread::sleep(Duration::from_millis(10));
            }
            None
        })
    }

    #[test]
    fn the_first_reason_is_returned() {
        let token = CancelToken::new();
        assert_eq!(busy(&[&CancelToken::new(), &token], Some(Duration::from_millis(30))), Some("timeout"));
        assert!(!token.is_cancelled());
        token.cancel();
        assert_eq!(busy(&[&CancelToken::new(), &token], Some(Duration::from_secs(5))), Some("cancelled"));
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
        assert_eq!(busy(&[&CancelToken::new(), &token], None), Some("cancelled"));
        canceller.join().expect("no panic");
    }

    #[test]
    fn a_call_that_ends_in_time_does_not_wait_for_the_limit() {
        let started = Instant::now();
        let answer = stoppable(&[], Some(limit(Duration::from_secs(60))), |stop| stop.check().map(|()| 7));
        assert_eq!(answer, Ok(7));
        assert!(started.elapsed() < Duration::from_secs(5));
        let never = stoppable(&[], Some(limit(Duration::MAX)), |stop| stop.check().is_ok());
        assert!(never);
    }

    #[test]
    fn a_limit_that_is_over_stops_the_call_before_it_starts() {
        let over = TimeLimit { started: Instant::now() - Duration::from_secs(2), limit: Duration::from_secs(1) };
        let code = stoppable(&[], Some(over), |stop| stop.run(|_| Ok(())).map_err(|error| error.code().as_str()));
        assert_eq!(code, Err("timeout"));
    }

    #[test]
    fn a_token_drops_ended_calls() {
        let token = CancelToken::new();
        for _ in 0..100 {
            stoppable(&[&token], None, |_| ());
        }
        assert!(token.calls().len() <= 1);
        drop(token.on_drop());
        assert!(token.is_cancelled());
    }
}
