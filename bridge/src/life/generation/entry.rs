//! How a call starts: at once, with a load of its own, or after the load of another call.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Poll, Waker};

use super::load::Attempt;
use super::{Call, Generation, LoadState, State};
use crate::BridgeError;
use crate::life::calls;
use crate::life::own_thread::on_own_thread;
use crate::runtime::cancellation::{Hook, Stop};

/// What a call does that does not wait for others.
enum Entry {
    Started(Call),
    /// The call has to load the graphs.
    Load(Attempt),
}

impl Generation {
    /// Starts a call. The first of several concurrent calls loads the graphs, and the others wait for it.
    ///
    /// # Errors
    /// The reason why the call was stopped; the errors of loading: `file_hash`, `path_kind` or `io` if a file has changed
    /// since the artifact was opened, `config` if the model exceeds the memory limit alone, `dependency` or `graph`;
    /// `inference` in a fork of the process of the first call.
    pub(in crate::life) fn enter(self: &Arc<Self>, stop: &Stop) -> Result<Call, BridgeError> {
        self.owner.check()?;
        let mut state = self.lock();
        let failures = state.failures;
        loop {
            match self.entry(&mut state, failures, stop)? {
                Some(Entry::Started(call)) => return Ok(call),
                Some(Entry::Load(attempt)) => {
                    drop(state);
                    return attempt.load(stop);
                }
                None => state = self.wait(state),
            }
        }
    }

    /// The asynchronous twin of [`enter`](Self::enter). Only the call that loads the graphs has a thread, which ends with the
    /// load; the others wait for it without one.
    ///
    /// # Errors
    /// The errors of [`enter`](Self::enter); `inference` if the system refuses the thread.
    pub(in crate::life) async fn enter_async(self: &Arc<Self>, stop: &Arc<Stop>) -> Result<Call, BridgeError> {
        self.owner.check()?;
        let failures = self.lock().failures;
        let hook = Hook(stop);
        let entry = poll_fn(|context| self.poll_entry(failures, stop, context.waker())).await?;
        drop(hook);
        match entry {
            Entry::Started(call) => Ok(call),
            Entry::Load(attempt) => {
                let stop = Arc::clone(stop);
                on_own_thread("onnx-load", move || attempt.load(&stop)).await
            }
        }
    }

    /// A call that waits is woken by a change of the model, and by what stops it.
    fn poll_entry(
        self: &Arc<Self>,
        failures: u64,
        stop: &Arc<Stop>,
        waker: &Waker,
    ) -> Poll<Result<Entry, BridgeError>> {
        let mut state = self.lock();
        if let Some(entry) = self.entry(&mut state, failures, stop).transpose() {
            return Poll::Ready(entry);
        }
        if !state.wakers.iter().any(|known| known.will_wake(waker)) {
            state.wakers.push(waker.clone());
        }
        drop(state);
        let waker = waker.clone();
        stop.on_stop(move |_| waker.wake());
        Poll::Pending
    }

    /// What a call does that came after a number of failed loads; `None` if it waits for a change. A call within another call
    /// does not wait for memory: those who have it may wait for the outer call.
    fn entry(self: &Arc<Self>, state: &mut State, failures: u64, stop: &Stop) -> Result<Option<Entry>, BridgeError> {
        stop.check()?;
        let is_within = calls::keep_graphs();
        match (state.load, &state.failure) {
            (LoadState::Ready, _) if is_within || self.is_urgent() || !state.is_leaving => {
                state.calls += 1;
                return Ok(Some(Entry::Started(Call { generation: Arc::clone(self) })));
            }
            // The load that this call waited for failed.
            (LoadState::Unloaded, Some(failure)) if state.failures > failures => return Err(failure.clone()),
            (LoadState::Unloaded | LoadState::Loading | LoadState::Ready | LoadState::Unloading, _) => {}
        }
        if is_within {
            self.is_urgent.store(true, Ordering::SeqCst);
        }
        if state.load != LoadState::Unloaded {
            return Ok(None);
        }
        state.load = LoadState::Loading;
        Ok(Some(Entry::Load(Attempt::new(self))))
    }
}
