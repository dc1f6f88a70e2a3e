//! What the handles of all tasks have in common: how a call is stopped, and how it waits.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::BridgeError;
use crate::model::ModelInfo;
use crate::runtime::blocking::{block_on, runtime};
use crate::runtime::cancellation::{CancelToken, Stoppable, TimeLimit};
use crate::runtime::lane::Caller;
use crate::runtime::panics::caught;
use crate::status::ModelStatus;
use crate::tasks::backend::Backend;

/// An open model. Clones share it.
pub(crate) struct Handle<B: ?Sized> {
    info: Arc<ModelInfo>,
    backend: Arc<B>,
    /// The time limit of calls that pass none.
    timeout: Option<Duration>,
}

impl<B: ?Sized> Clone for Handle<B> {
    fn clone(&self) -> Self {
        Self { info: Arc::clone(&self.info), backend: Arc::clone(&self.backend), timeout: self.timeout }
    }
}

impl<B: ?Sized> fmt::Debug for Handle<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Handle").field(&self.info).finish()
    }
}

impl<B: Backend + ?Sized + 'static> Handle<B> {
    pub(super) fn new(info: Arc<ModelInfo>, backend: Arc<B>, timeout: Option<Duration>) -> Self {
        Self { info, backend, timeout }
    }

    pub(super) fn info(&self) -> &ModelInfo {
        &self.info
    }

    pub(super) fn max_tokens(&self) -> Option<usize> {
        self.backend.max_tokens()
    }

    pub(super) fn unload(&self) {
        self.backend.unload();
    }

    pub(super) fn status(&self) -> ModelStatus {
        self.backend.status(&self.info.name)
    }

    pub(super) fn warm_up_blocking(&self) -> Result<(), BridgeError> {
        self.backend.warm_up()
    }

    pub(super) async fn warm_up(&self) -> Result<(), BridgeError> {
        self.call_async(None, None, |backend, caller| async move { backend.load(&caller).await }).await
    }

    pub(super) fn self_test_blocking(&self) -> Result<(), BridgeError> {
        self.call(None, None, B::self_test)
    }

    pub(super) async fn self_test(&self) -> Result<(), BridgeError> {
        self.call_async(None, None, B::self_test).await
    }

    /// Makes a call that its token and its time limit can stop. Blocks the calling thread.
    ///
    /// # Errors
    /// `config` for a time limit of 0, or the errors of the call.
    pub(super) fn call<T, F: Future<Output = Result<T, BridgeError>>>(
        &self,
        cancel: Option<&CancelToken>,
        timeout: Option<Duration>,
        call: impl FnOnce(Arc<B>, Caller) -> F,
    ) -> Result<T, BridgeError> {
        let stoppable = Stoppable::new(cancel, self.limit(timeout)?)?;
        let caller = Caller { stop: Arc::clone(stoppable.stop()), is_async: false };
        block_on(call(Arc::clone(&self.backend), caller))
    }

    /// Makes a call without blocking a thread. Dropping the future stops the call; a call that waits for its turn then
    /// starts no run at all. The time limit includes every wait.
    ///
    /// # Errors
    /// `config` for a time limit of 0 or without a tokio runtime, `internal` if the call panics, or the errors of the call.
    pub(super) async fn call_async<T, F: Future<Output = Result<T, BridgeError>> + Send>(
        &self,
        cancel: Option<&CancelToken>,
        timeout: Option<Duration>,
        call: impl FnOnce(Arc<B>, Caller) -> F + Send,
    ) -> Result<T, BridgeError> {
        runtime()?;
        let stoppable = Stoppable::new(cancel, self.limit(timeout)?)?;
        let caller = Caller { stop: Arc::clone(stoppable.stop()), is_async: true };
        caught(call(Arc::clone(&self.backend), caller)).await
    }

    fn limit(&self, timeout: Option<Duration>) -> Result<Option<TimeLimit>, BridgeError> {
        let timeout = timeout.or(self.timeout);
        if timeout.is_some_and(|limit| limit.is_zero()) {
            return Err(BridgeError::config("timeout is 0 s, expected more than 0"));
        }
        Ok(timeout.map(|limit| TimeLimit { started: Instant::now(), limit }))
    }
}
