//! The load of the graphs of a model.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::{Call, Conditions, Generation, LoadState, State};
use crate::BridgeError;
use crate::life::housekeeping;
use crate::runtime::cancellation::Stop;
use crate::runtime::environment::environment;
use crate::runtime::freed_memory::{map_large_blocks, return_free_memory};
use crate::runtime::memory;

/// A model with small files may take this memory beyond four times their size.
const SLACK: u64 = 64 << 20;

/// A load, whose result is stored when it is dropped.
pub(super) struct Attempt {
    generation: Arc<Generation>,
    /// `None` if the load panics.
    result: Option<Result<u64, BridgeError>>,
}

impl Attempt {
    /// The load of a model that counts as loading. If it does not start, another call may load the model.
    pub(super) fn new(generation: &Arc<Generation>) -> Self {
        Self { generation: Arc::clone(generation), result: Some(Err(BridgeError::Cancelled)) }
    }

    /// Loads the graphs and starts the call that needs them.
    pub(super) fn load(mut self, stop: &Stop) -> Result<Call, BridgeError> {
        let generation = Arc::clone(&self.generation);
        self.result = None;
        let result = generation.load_graphs(stop);
        self.result = Some(result.as_ref().map(|bytes| *bytes).map_err(BridgeError::clone));
        drop(self);
        result?;
        housekeeping::watch(&generation);
        Ok(Call { generation })
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let mut state = self.generation.lock();
        self.generation.is_urgent.store(false, Ordering::SeqCst);
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
        self.generation.notify(state);
    }
}

impl State {
    /// There is nothing to free any more.
    fn load_failed(&mut self) {
        self.load = LoadState::Unloaded;
        self.unloads_after_calls = false;
    }
}

impl Generation {
    /// Returns the memory that the graphs take.
    fn load_graphs(self: &Arc<Self>, stop: &Stop) -> Result<u64, BridgeError> {
        let Conditions { engine, budget, .. } = &self.conditions;
        self.note_use();
        // Sessions check the files when they read them, but other models may have been unloaded by then.
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

    /// Notes that the files are in use, so that no cache removes them.
    pub(in crate::life) fn note_use(&self) {
        #[cfg(feature = "store")]
        crate::store::note_use(&self.opened.info.path);
    }

    /// The memory of the graphs, given by how much the process grew. Memory that the process freed before is used again, so
    /// that it may grow by less than the graphs take; other work of the process makes it grow by more.
    fn plausible(&self, grown: u64) -> u64 {
        let files = self.opened.graph_bytes;
        grown.min(files * 4 + SLACK).max(files).max(self.lock().bytes)
    }
}
