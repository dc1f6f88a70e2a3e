//! One version of a model: an opened artifact, whose graphs are loaded or not.

#[cfg(test)]
#[cfg(feature = "sentence-embedding")]
mod tests;

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::budget::Budget;
use super::housekeeping;
use crate::BridgeError;
use crate::families::loading::Opened;
use crate::runtime::cancellation::Stop;
use crate::runtime::environment::environment;
use crate::runtime::freed_memory::{map_large_blocks, return_free_memory};
use crate::runtime::memory;
use crate::runtime::meter::UnloadReason;
use crate::runtime::session::EngineOptions;
use crate::status::{ModelState, ModelStatus};

/// How often a caller that waits for a model checks whether it was stopped.
const CHECK_INTERVAL: Duration = Duration::from_millis(20);
/// A model with small files may take this memory beyond four times their size.
const SLACK: u64 = 64 << 20;

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
    state: Mutex<State>,
    changed: Condvar,
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
}

impl State {
    fn is_idle(&self) -> bool {
        self.load == LoadState::Ready && self.calls == 0
    }

    /// There is nothing to free any more.
    fn load_failed(&mut self) {
        self.load = LoadState::Unloaded;
        self.unloads_after_calls = false;
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
        };
        Arc::new(Self { opened, conditions, state: Mutex::new(state), changed: Condvar::new() })
    }

    /// Starts a call if the graphs are loaded; otherwise `None`.
    pub(super) fn try_enter(self: &Arc<Self>) -> Option<Call> {
        let mut state = self.lock();
        let is_ready = state.load == LoadState::Ready && !state.is_leaving;
        is_ready.then(|| self.start(&mut state))
    }

    /// What the model, which has this name, does at the moment. Does not wait.
    pub(super) fn status(&self, name: &str) -> ModelStatus {
        let lane = self.opened.backend.any().status();
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

    /// Starts a call. The first of several concurrent calls loads the graphs, and the others wait for it.
    ///
    /// # Errors
    /// The reason why the call was stopped; the errors of loading: `file_hash`, `path_kind` or `io` if a file has changed
    /// since the artifact was opened, `config` if the model exceeds the memory limit alone, `dependency` or `graph`.
    pub(super) fn enter(self: &Arc<Self>, stop: &Stop) -> Result<Call, BridgeError> {
        let mut state = self.lock();
        let failures = state.failures;
        loop {
            stop.check()?;
            match (state.load, &state.failure) {
                (LoadState::Ready, _) if !state.is_leaving => return Ok(self.start(&mut state)),
                // The load that this call waited for failed.
                (LoadState::Unloaded, Some(failure)) if state.failures > failures => return Err(failure.clone()),
                (LoadState::Unloaded, _) => {
                    state.load = LoadState::Loading;
                    drop(state);
                    return self.load(stop);
                }
                (LoadState::Ready | LoadState::Loading | LoadState::Unloading, _) => state = self.wait(state),
            }
        }
    }

    /// Loads the graphs and starts the call that needs them.
    fn load(self: &Arc<Self>, stop: &Stop) -> Result<Call, BridgeError> {
        let mut attempt = Attempt { generation: self, result: None };
        let result = self.load_graphs(stop);
        let outcome = result.as_ref().map(|bytes| *bytes).map_err(BridgeError::clone);
        attempt.result = Some(outcome);
        drop(attempt);
        result?;
        housekeeping::watch(self);
        Ok(Call { generation: Arc::clone(self) })
    }

    /// Returns the memory that the graphs take.
    fn load_graphs(self: &Arc<Self>, stop: &Stop) -> Result<u64, BridgeError> {
        let Conditions { engine, budget, .. } = &self.conditions;
        self.opened.files.check_changed()?;
        if engine.environment.is_none() {
            // The memory of the library is not that of the model.
            environment(engine.library.as_deref())?;
        }
        let _turn = budget.make_room(self, stop)?;
        map_large_blocks();
        let before = memory::resident_bytes();
        let started = Instant::now();
        self.opened.backend.any().warm_up()?;
        self.opened.meter.load(started.elapsed());
        return_free_memory();
        let grown = memory::resident_bytes().zip(before).map_or(0, |(after, before)| after.saturating_sub(before));
        let taken = self.plausible(grown);
        budget.settle(self, taken);
        Ok(taken)
    }

    /// The memory of the graphs, given by how much the process grew. Memory that the process freed before is used again, so
    /// that it may grow by less than the graphs take; other work of the process makes it grow by more.
    fn plausible(&self, grown: u64) -> u64 {
        let files = self.opened.graph_bytes;
        grown.min(files * 4 + SLACK).max(files).max(self.lock().bytes)
    }

    /// Frees the graphs if they are loaded and no call uses them.
    pub(super) fn unload(&self, reason: UnloadReason) {
        let state = self.lock();
        if state.is_idle() {
            self.free(state, reason);
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

    /// Frees the graphs when the running calls have ended. New calls wait until then.
    ///
    /// # Errors
    /// The reason why the call that needs the memory was stopped.
    pub(super) fn leave(&self, reason: UnloadReason, stop: &Stop) -> Result<(), BridgeError> {
        let mut state = self.lock();
        state.is_leaving = true;
        loop {
            match state.load {
                LoadState::Ready if state.calls == 0 => {
                    self.free(state, reason);
                    return Ok(());
                }
                LoadState::Unloaded | LoadState::Loading => break,
                LoadState::Ready | LoadState::Unloading => {}
            }
            if stop.check().is_err() {
                break;
            }
            state = self.wait(state);
        }
        state.is_leaving = false;
        drop(state);
        self.changed.notify_all();
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
        drop(state);
        self.changed.notify_all();
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

    fn start(self: &Arc<Self>, state: &mut State) -> Call {
        state.calls += 1;
        Call { generation: Arc::clone(self) }
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
        let bytes = self.resident_bytes();
        if bytes > 0 {
            self.opened.backend.any().unload();
            return_free_memory();
            self.opened.meter.unloaded(bytes, None);
        }
    }
}

/// A load, whose result is stored when it is dropped. A load that panics has none.
struct Attempt<'a> {
    generation: &'a Generation,
    result: Option<Result<u64, BridgeError>>,
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let mut state = self.generation.lock();
        match self.result.take() {
            Some(Ok(bytes)) => {
                state.load = LoadState::Ready;
                state.bytes = bytes.max(1);
                state.calls += 1;
                state.failure = None;
                self.generation.opened.meter.loaded(state.bytes);
            }
            // Another call may load the model.
            Some(Err(error)) if error.is_stop() => state.load_failed(),
            failed => {
                let panicked = || BridgeError::Internal { problem: "loading the model panicked".to_owned() };
                state.load_failed();
                state.failures += 1;
                state.failure = Some(failed.and_then(Result::err).unwrap_or_else(panicked));
            }
        }
        drop(state);
        self.generation.changed.notify_all();
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
        drop(state);
        self.generation.changed.notify_all();
        housekeeping::call_ended(&self.generation);
    }
}
