//! Stops a call before it has an answer, from another thread or when its time limit is over.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use ort::session::RunOptions;

use super::deadlines::Deadline;
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

/// What happens when a call is stopped, given the reason.
type OnStop = Box<dyn FnOnce(BridgeError) + Send>;

/// The state of one call, through which other threads can stop it.
#[derive(Default)]
pub(crate) struct Stop {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Why the call was stopped: the first reason, if there are several.
    reason: Option<BridgeError>,
    /// The runs that compute something for the call.
    runs: Vec<Arc<Running>>,
    hook: Option<OnStop>,
}

impl Stop {
    /// Fails if the call was stopped by its cancellation token or its time limit.
    ///
    /// # Errors
    /// The reason: `cancelled` or `timeout`.
    pub(crate) fn check(&self) -> Result<(), BridgeError> {
        self.lock().reason.clone().map_or(Ok(()), Err)
    }

    /// Stops the call, unless it was stopped already. The hook is called without any lock.
    pub(crate) fn stop(&self, reason: BridgeError) {
        let mut state = self.lock();
        if state.reason.is_some() {
            return;
        }
        state.reason = Some(reason.clone());
        let (runs, hook) = (std::mem::take(&mut state.runs), state.hook.take());
        drop(state);
        runs.iter().for_each(|run| run.leave());
        hook.into_iter().for_each(|hook| hook(reason.clone()));
    }

    /// Sets what happens when the call is stopped. It happens at once if the call was stopped already.
    pub(crate) fn on_stop(&self, hook: impl FnOnce(BridgeError) + Send + 'static) {
        let mut state = self.lock();
        match state.reason.clone() {
            None => state.hook = Some(Box::new(hook)),
            Some(reason) => {
                drop(state);
                hook(reason);
            }
        }
    }

    /// Removes the hook.
    pub(crate) fn forget(&self) {
        let hook = self.lock().hook.take();
        drop(hook);
    }

    /// Adds a run that computes something for the call. A call that was stopped does not join a run.
    pub(super) fn join(&self, run: &Arc<Running>) {
        let mut state = self.lock();
        if state.reason.is_none() {
            run.calls.fetch_add(1, Ordering::SeqCst);
            state.runs.push(Arc::clone(run));
        }
    }

    /// Removes a run that has ended.
    pub(super) fn end(&self, run: &Arc<Running>) {
        self.lock().runs.retain(|other| !Arc::ptr_eq(other, run));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A run of a graph, which may be for several calls. It is terminated when all of them were stopped.
pub(super) struct Running {
    pub(super) options: RunOptions,
    /// The number of calls that have joined the run and were not stopped.
    pub(super) calls: AtomicUsize,
}

impl Running {
    pub(super) fn leave(&self) {
        if self.calls.fetch_sub(1, Ordering::SeqCst) == 1
            && let Err(error) = self.options.terminate()
        {
            tracing::warn!(%error, "a run could not be terminated");
        }
    }
}

/// Removes the hook of a call when it is dropped.
pub(crate) struct Hook<'a>(pub(crate) &'a Stop);

impl Drop for Hook<'_> {
    fn drop(&mut self) {
        self.0.forget();
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

/// A call that any of its cancellation tokens or its time limit can stop. Dropping this value stops the call, too.
pub(crate) struct Stoppable {
    stop: Arc<Stop>,
    at: Option<Instant>,
    _deadline: Option<Deadline>,
}

impl Stoppable {
    /// # Errors
    /// `inference` if the system refuses the thread that waits for time limits.
    pub(crate) fn new(cancel: Option<&CancelToken>, limit: Option<TimeLimit>) -> Result<Self, BridgeError> {
        let stop = Arc::new(Stop::default());
        let (mut at, mut deadline) = (None, None);
        cancel.into_iter().for_each(|token| token.attach(&stop));
        if let Some(TimeLimit { started, limit }) = limit {
            at = started.checked_add(limit);
            match at {
                Some(at) if at <= Instant::now() => stop.stop(BridgeError::Timeout { limit }),
                Some(at) => deadline = Some(Deadline::new(at, limit, &stop)?),
                // The time limit is never over.
                None => {}
            }
        }
        Ok(Self { stop, at, _deadline: deadline })
    }

    pub(crate) fn stop(&self) -> &Arc<Stop> {
        &self.stop
    }

    /// When the time limit is over; `None` without one.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.at
    }
}

impl Drop for Stoppable {
    fn drop(&mut self) {
        self.stop.stop(BridgeError::Cancelled);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    fn limit(limit: Duration) -> TimeLimit {
        TimeLimit { started: Instant::now(), limit }
    }

    /// Makes a call that waits until it is stopped, and returns its error code.
    fn busy(cancel: Option<&CancelToken>, timeout: Option<Duration>) -> &'static str {
        let call = Stoppable::new(cancel, timeout.map(limit)).expect("a thread");
        let (sender, receiver) = mpsc::channel();
        call.stop().on_stop(move |reason| sender.send(reason.code().as_str()).expect("a receiver"));
        receiver.recv_timeout(Duration::from_secs(120)).expect("a reason")
    }

    #[test]
    fn the_first_reason_is_returned() {
        let token = CancelToken::new();
        assert_eq!(busy(Some(&token), Some(Duration::from_millis(30))), "timeout");
        assert!(!token.is_cancelled());
        token.cancel();
        assert_eq!(busy(Some(&token), Some(Duration::from_secs(3600))), "cancelled");
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
        assert_eq!(busy(Some(&token), None), "cancelled");
        canceller.join().expect("no panic");
    }

    #[test]
    fn a_limit_that_is_over_stops_the_call_before_it_starts() {
        let started = Instant::now();
        thread::sleep(Duration::from_millis(2));
        let over = Stoppable::new(None, Some(TimeLimit { started, limit: Duration::from_millis(1) }));
        assert_eq!(over.expect("a call").stop().check().map_err(|error| error.code().as_str()), Err("timeout"));
        let never = Stoppable::new(None, Some(limit(Duration::MAX))).expect("a call");
        assert_eq!(never.stop().check(), Ok(()));
    }

    #[test]
    fn a_token_drops_ended_calls() {
        let token = CancelToken::new();
        for _ in 0..100 {
            Stoppable::new(Some(&token), None).expect("a call");
        }
        assert!(token.calls().len() <= 1);
    }

    #[test]
    fn a_call_that_is_dropped_is_stopped() {
        let call = Stoppable::new(None, None).expect("a call");
        let stop = Arc::clone(call.stop());
        drop(call);
        assert_eq!(stop.check(), Err(BridgeError::Cancelled));
    }
}
