//! One version of a model: an opened artifact, whose graphs are loaded or not.

mod entry;
mod load;
#[cfg(test)]
#[cfg(feature = "sentence-embedding")]
mod tests;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use super::budget::Budget;
use super::housekeeping;
use crate::BridgeError;
use crate::families::loading::Opened;
use crate::runtime::cancellation::Stop;
use crate::runtime::freed_memory::return_free_memory;
use crate::runtime::lane::fork::Owner;
use crate::runtime::meter::UnloadReason;
use crate::runtime::session::EngineOptions;
use crate::status::{ModelState, ModelStatus};

/// How often a caller that waits for a model checks whether it was stopped.
const CHECK_INTERVAL: Duration = Duration::from_millis(20);

/// Whether the graphs of a model are loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LoadState {
    Unloaded,
    /// A call loads the graphs.
    Loading,
    Ready,
    /// The graphs are being freed.
    Unloading,
}

/// Where and how long the graphs of a model are loaded.
#[derive(Clone)]
pub(crate) struct Conditions {
    pub(crate) engine: EngineOptions,
    /// How long the model has no call before it is unloaded.
    pub(crate) idle_unload: Option<Duration>,
    pub(crate) budget: Arc<Budget>,
}

pub(crate) struct Generation {
    pub(crate) opened: Opened,
    conditions: Conditions,
    /// The process of the first call. In a fork of it, a thread that does not exist there may hold the lock of the state.
    owner: Owner,
    state: Mutex<State>,
    changed: Condvar,
    /// Whether calls wait for no memory: what has the memory may wait for them.
    is_urgent: AtomicBool,
}

struct State {
    load: LoadState,
    /// The calls that use the loaded graphs.
    calls: usize,
    /// When the last call ended.
    used: Instant,
    /// The memory of the loaded graphs, as measured at the last load; 0 before the first one.
    bytes: u64,
    /// The number of loads that failed, and the error of the last load; `None` if it succeeded.
    failures: u64,
    failure: Option<BridgeError>,
    /// Another model waits for the memory of this one. New calls wait until it is unloaded.
    is_leaving: bool,
    /// The application wants the graphs freed when no call uses them.
    unloads_after_calls: bool,
    /// The asynchronous calls that wait for a change.
    wakers: Vec<Waker>,
}

impl State {
    fn is_idle(&self) -> bool {
        self.load == LoadState::Ready && self.calls == 0
    }
}

impl Generation {
    pub(crate) fn new(opened: Opened, conditions: Conditions) -> Arc<Self> {
        let state = State {
            load: LoadState::Unloaded,
            calls: 0,
            used: Instant::now(),
            bytes: 0,
            failures: 0,
            failure: None,
            is_leaving: false,
            unloads_after_calls: false,
            wakers: Vec::new(),
        };
        let (state, changed) = (Mutex::new(state), Condvar::new());
        Arc::new(Self {
            opened,
            conditions,
            owner: Owner::default(),
            state,
            changed,
            is_urgent: AtomicBool::new(false),
        })
    }

    /// What the model, which has this name, does at the moment. Does not wait.
    pub(super) fn status(&self, name: &str) -> ModelStatus {
        let lane = self.opened.backend.any().status();
        if self.owner.is_other() {
            return ModelStatus::failed(name, lane.error);
        }
        let resident_bytes = self.resident_bytes();
        let state = self.lock();
        let failure = state.failure.as_ref().map(BridgeError::code);
        let model = match state.load {
            _ if lane.state == ModelState::Failed => ModelState::Failed,
            LoadState::Unloaded if failure.is_some() => ModelState::Failed,
            LoadState::Unloaded | LoadState::Unloading => ModelState::Unloaded,
            LoadState::Loading => ModelState::Loading,
            LoadState::Ready => ModelState::Ready,
        };
        ModelStatus {
            name: name.to_owned(),
            state: model,
            last_success: lane.last_success,
            waiting: lane.waiting,
            running: lane.running,
            resident_bytes,
            error: failure.or(lane.error),
        }
    }

    /// Frees the graphs if they are loaded and no call uses them.
    pub(super) fn unload(&self, reason: UnloadReason) {
        let state = self.lock();
        if state.is_idle() {
            self.free(state, reason);
        }
    }

    /// Frees the graphs of a model that gets no new calls, as soon as no call uses them.
    pub(super) fn close(&self) {
        if !self.owner.is_other() {
            self.unload_after_calls();
        }
    }

    /// Frees the graphs as soon as no call uses them.
    pub(super) fn unload_after_calls(&self) {
        let mut state = self.lock();
        if state.is_idle() {
            self.free(state, UnloadReason::Call);
        } else {
            state.unloads_after_calls = state.calls > 0 || state.load == LoadState::Loading;
        }
    }

    /// Frees the graphs if no call has used them for the `idle_unload` of the model.
    pub(super) fn unload_idle(&self, now: Instant) {
        let state = self.lock();
        if self.idle_end(&state).is_some_and(|at| at <= now) {
            self.free(state, UnloadReason::Idle);
        }
    }

    /// Frees the graphs for another model when the running calls have ended, unless the load of that one becomes urgent. New
    /// calls wait until then.
    ///
    /// # Errors
    /// The reason why the call that needs the memory was stopped.
    pub(super) fn leave(&self, other: &Self, stop: &Stop) -> Result<(), BridgeError> {
        let mut state = self.lock();
        state.is_leaving = true;
        loop {
            match state.load {
                LoadState::Ready if state.calls == 0 => {
                    self.free(state, UnloadReason::MemoryLimit);
                    return Ok(());
                }
                LoadState::Unloaded | LoadState::Loading => break,
                LoadState::Ready | LoadState::Unloading => {}
            }
            if other.is_urgent() || stop.check().is_err() {
                break;
            }
            state = self.wait(state);
        }
        state.is_leaving = false;
        self.notify(state);
        stop.check()
    }

    fn free(&self, mut state: MutexGuard<'_, State>, reason: UnloadReason) {
        state.load = LoadState::Unloading;
        state.unloads_after_calls = false;
        let bytes = state.bytes;
        drop(state);
        self.opened.backend.any().unload();
        return_free_memory();
        self.opened.meter.unloaded(bytes, Some(reason));
        let mut state = self.lock();
        state.load = LoadState::Unloaded;
        state.is_leaving = false;
        self.notify(state);
    }

    /// Lets calls that wait for memory start without waiting, until the next load has ended.
    pub(super) fn hurry(&self) {
        self.is_urgent.store(true, Ordering::SeqCst);
        self.notify(self.lock());
    }

    pub(super) fn is_urgent(&self) -> bool {
        self.is_urgent.load(Ordering::SeqCst)
    }

    /// The memory that loading the graphs needs: as much as last time, or an estimate.
    pub(super) fn needed_bytes(&self) -> u64 {
        match self.lock().bytes {
            0 => self.opened.graph_bytes / 5 * 6,
            measured => measured,
        }
    }

    /// The memory of the loaded graphs in bytes; 0 if they are not loaded.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let state = self.lock();
        match state.load {
            LoadState::Ready | LoadState::Unloading => state.bytes,
            LoadState::Unloaded | LoadState::Loading => 0,
        }
    }

    /// When the last call ended, and whether the model is loaded and no call uses it.
    pub(super) fn last_use(&self) -> (Instant, bool) {
        let state = self.lock();
        (state.used, state.is_idle())
    }

    pub(super) fn is_loaded(&self) -> bool {
        self.resident_bytes() > 0
    }

    /// When the model has had no call for its `idle_unload`; `None` if it is not idle.
    pub(super) fn idle_at(&self) -> Option<Instant> {
        self.idle_end(&self.lock())
    }

    fn idle_end(&self, state: &State) -> Option<Instant> {
        let limit = self.conditions.idle_unload.filter(|_| state.is_idle())?;
        state.used.checked_add(limit)
    }

    /// Tells everything that waits for the model that its state has changed.
    fn notify(&self, mut state: MutexGuard<'_, State>) {
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        self.changed.notify_all();
        wakers.into_iter().for_each(Waker::wake);
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait_timeout(state, CHECK_INTERVAL).unwrap_or_else(PoisonError::into_inner).0
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if state.load == LoadState::Ready {
            self.opened.backend.any().unload();
            return_free_memory();
            self.opened.meter.unloaded(state.bytes, None);
        }
    }
}

/// A running call. The graphs stay loaded until it is dropped.
pub(crate) struct Call {
    generation: Arc<Generation>,
}

impl Drop for Call {
    fn drop(&mut self) {
        let mut state = self.generation.lock();
        state.calls -= 1;
        state.used = Instant::now();
        if state.calls > 0 {
            return;
        }
        if state.unloads_after_calls && !state.is_leaving {
            self.generation.free(state, UnloadReason::Call);
            return;
        }
        self.generation.notify(state);
        housekeeping::call_ended(&self.generation);
    }
}
