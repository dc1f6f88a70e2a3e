//! A model of another backend than ONNX: what its handles refer to.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::calls::{self, Current};
use crate::BridgeError;
use crate::model::ModelInfo;
use crate::status::{ModelState, ModelStatus};
use crate::tasks::backend::AnyBackend;

/// A model under a name, until it is closed.
pub(crate) struct Service {
    pub(crate) info: ModelInfo,
    /// The time limit of calls that pass none.
    pub(crate) timeout: Option<Duration>,
    backend: AnyBackend,
    state: Mutex<State>,
    call_ended: Condvar,
}

#[derive(Default)]
struct State {
    is_closed: bool,
    calls: usize,
}

impl Service {
    pub(crate) fn new(info: ModelInfo, timeout: Option<Duration>, backend: AnyBackend) -> Arc<Self> {
        Arc::new(Self { info, timeout, backend, state: Mutex::default(), call_ended: Condvar::new() })
    }

    /// The backend of the model.
    ///
    /// # Errors
    /// `closed`.
    pub(crate) fn backend(&self) -> Result<&AnyBackend, BridgeError> {
        match self.lock().is_closed {
            true => Err(BridgeError::Closed { name: self.info.name.clone() }),
            false => Ok(&self.backend),
        }
    }

    /// Starts a call.
    ///
    /// # Errors
    /// `closed`.
    pub(crate) fn enter(self: &Arc<Self>) -> Result<ServiceCall, BridgeError> {
        let mut state = self.lock();
        if state.is_closed {
            return Err(BridgeError::Closed { name: self.info.name.clone() });
        }
        state.calls += 1;
        Ok(ServiceCall(Arc::clone(self)))
    }

    /// What the model does at the moment. Does not wait.
    pub(crate) fn status(&self) -> ModelStatus {
        let Ok(backend) = self.backend() else { return ModelStatus::closed(&self.info.name) };
        let lane = backend.any().status();
        ModelStatus {
            name: self.info.name.clone(),
            state: lane.state,
            last_success: lane.last_success,
            waiting: lane.waiting,
            running: lane.running,
            resident_bytes: backend.any().resident_bytes(),
            error: lane.error.filter(|_| lane.state != ModelState::Closed),
        }
    }

    /// The memory in bytes that the model takes on this machine; 0 for a closed one.
    pub(crate) fn resident_bytes(&self) -> u64 {
        self.backend().map_or(0, |backend| backend.any().resident_bytes())
    }

    /// Frees what no call uses.
    pub(crate) fn unload(&self) {
        self.backend.any().unload();
    }

    /// Refuses new calls, waits until the running calls of other threads have ended, and frees what the model uses.
    pub(crate) fn close(&self) {
        let own = calls::count(self);
        let mut state = self.lock();
        state.is_closed = true;
        while state.calls > own {
            state = self.call_ended.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        drop(state);
        self.unload();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running call of a service.
pub(crate) struct ServiceCall(Arc<Service>);

impl ServiceCall {
    /// The call as one of the thread that polls it.
    pub(crate) fn current(&self) -> Current {
        Current::new(&*self.0, false)
    }

    pub(crate) fn backend(&self) -> &AnyBackend {
        &self.0.backend
    }
}

impl Drop for ServiceCall {
    fn drop(&mut self) {
        self.0.lock().calls -= 1;
        self.0.call_ended.notify_all();
    }
}
