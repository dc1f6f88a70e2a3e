//! The sessions of the threads of a lane: how they are loaded, kept for further runs, and freed.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{Shared, State};
use crate::BridgeError;
use crate::runtime::freed_memory::return_free_memory;
use crate::runtime::lane::Runner;
use crate::runtime::panics;

/// The sessions and caches of a thread during a run.
pub(in crate::runtime::lane) struct Sessions<R: Runner> {
    /// `None` before they are loaded, and after a panic.
    pub(in crate::runtime::lane) worker: Option<R::Worker>,
    /// The epoch of the lane when the run started.
    epoch: u64,
}

impl<R: Runner> State<R> {
    /// Takes sessions that no run uses. Without any, the thread loads its own, and counts as loading.
    pub(super) fn take_sessions(&mut self) -> Sessions<R> {
        let worker = self.workers.pop();
        self.loading += usize::from(worker.is_none());
        Sessions { worker, epoch: self.epoch }
    }

    /// Keeps the sessions of a run that has ended. Returns those that an unload could not free while the run used them.
    pub(super) fn keep(&mut self, sessions: Sessions<R>) -> Option<R::Worker> {
        if sessions.epoch != self.epoch {
            return sessions.worker;
        }
        self.workers.extend(sessions.worker);
        None
    }
}

impl<R: Runner> Shared<R> {
    /// Creates the sessions of a thread, which counts as loading.
    pub(super) fn load(&self, sessions: &Sessions<R>) -> Result<R::Worker, BridgeError> {
        let loaded =
            catch_unwind(AssertUnwindSafe(|| self.runner.load())).unwrap_or_else(|panic| Err(panics::error(&*panic)));
        let mut state = self.lock();
        state.loading -= 1;
        state.loaded += usize::from(loaded.is_ok() && sessions.epoch == state.epoch);
        state.error = loaded.as_ref().err().map(BridgeError::code);
        loaded
    }

    /// Creates the sessions of a thread again, after a panic.
    pub(in crate::runtime::lane) fn reload(&self, sessions: &Sessions<R>) -> Result<R::Worker, BridgeError> {
        self.lock().loading += 1;
        self.load(sessions)
    }

    /// Drops the sessions of a thread after a panic.
    pub(in crate::runtime::lane) fn lose(&self, sessions: &mut Sessions<R>) {
        sessions.worker = None;
        let mut state = self.lock();
        state.loaded -= usize::from(sessions.epoch == state.epoch);
    }

    pub(in crate::runtime::lane) fn is_loaded(&self) -> bool {
        self.lock().loaded > 0
    }

    /// Frees the sessions. Those of a run that is still going, because its calls were stopped, are freed when it ends.
    pub(in crate::runtime::lane) fn unload(&self) {
        if self.owner.is_other() {
            return;
        }
        let mut state = self.lock();
        let workers = std::mem::take(&mut state.workers);
        state.loaded = 0;
        state.epoch += 1;
        drop(state);
        drop(workers);
    }

    /// Frees the sessions of a run that ended after an unload.
    pub(super) fn free(&self, outdated: Option<R::Worker>) {
        if outdated.is_some() {
            drop(outdated);
            return_free_memory();
        }
    }
}
