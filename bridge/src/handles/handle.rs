//! What the handles of all tasks have in common: how a call is stopped, and how it runs on a blocking thread.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::BridgeError;
use crate::model::ModelInfo;
use crate::runtime::cancellation::{CancelToken, Stop, TimeLimit, stoppable};
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

    pub(super) fn warm_up_blocking(&self) -> Result<(), BridgeError> {
        self.backend.warm_up()
    }

    pub(super) async fn warm_up(&self) -> Result<(), BridgeError> {
        self.call_async(None, None, |backend, stop| {
            stop.check()?;
            backend.warm_up()
        })
        .await
    }

    pub(super) fn self_test_blocking(&self) -> Result<(), BridgeError> {
        self.call(None, None, |backend, stop| backend.self_test(stop))
    }

    pub(super) async fn self_test(&self) -> Result<(), BridgeError> {
        self.call_async(None, None, |backend, stop| backend.self_test(stop)).await
    }

    /// Makes a call that its token and its time limit can stop.
    ///
    /// # Errors
    /// `config` for a time limit of 0, or the errors of the call.
    pub(super) fn call<T>(
        &self,
        cancel: Option<&CancelToken>,
        timeout: Option<Duration>,
        call: impl FnOnce(&B, &Stop) -> Result<T, BridgeError>,
    ) -> Result<T, BridgeError> {
        let limit = self.limit(timeout)?;
        stoppable(cancel.as_slice(), limit, |stop| call(&self.backend, stop))
    }

    /// Makes a call on a blocking thread. Dropping the future stops the call; a call that waits for a thread then starts
    /// no run at all. The time limit includes the wait for a thread.
    ///
    /// # Errors
    /// `config` for a time limit of 0 or without a tokio runtime, `internal` if the call panics, or the errors of the call.
    pub(super) async fn call_async<T: Send + 'static>(
        &self,
        cancel: Option<CancelToken>,
        timeout: Option<Duration>,
        call: impl FnOnce(&B, &Stop) -> Result<T, BridgeError> + Send + 'static,
    ) -> Result<T, BridgeError> {
        let limit = self.limit(timeout)?;
        let backend = Arc::clone(&self.backend);
        let dropped = CancelToken::new();
        let _cancel_on_drop = dropped.on_drop();
        let tokens: Vec<CancelToken> = cancel.into_iter().chain([dropped.clone()]).collect();
        on_blocking_thread(move || {
            let tokens: Vec<&CancelToken> = tokens.iter().collect();
            stoppable(&tokens, limit, |stop| call(&backend, stop))
        })
        .await
    }

    fn limit(&self, timeout: Option<Duration>) -> Result<Option<TimeLimit>, BridgeError> {
        let timeout = timeout.or(self.timeout);
        if timeout.is_some_and(|limit| limit.is_zero()) {
            return Err(BridgeError::config("timeout is 0 s, expected more than 0"));
        }
        Ok(timeout.map(|limit| TimeLimit { started: Instant::now(), limit }))
    }
}

/// Runs blocking code on one of tokio's threads for it.
///
/// # Errors
/// `config` without a tokio runtime, `internal` if the code panics, `cancelled` if the runtime shuts down before it runs,
/// or the errors of the code.
pub(crate) async fn on_blocking_thread<T: Send + 'static>(
    call: impl FnOnce() -> Result<T, BridgeError> + Send + 'static,
) -> Result<T, BridgeError> {
    let runtime = tokio::runtime::Handle::try_current().map_err(|_| {
        BridgeError::config("the asynchronous calls need a tokio runtime; without one, use the blocking calls")
    })?;
    runtime.spawn_blocking(call).await.unwrap_or_else(|error| match error.try_into_panic() {
        Ok(panic) => Err(BridgeError::Internal { problem: format!("the call panicked: {}", message(&*panic)) }),
        Err(_) => Err(BridgeError::Cancelled),
    })
}

/// The message of a panic.
fn message(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}
