//! What the handles of all tasks have in common: how a call is stopped, and how it runs on a blocking thread.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use crate::BridgeError;
use crate::life::slot::Slot;
use crate::model::ModelInfo;
use crate::runtime::cancellation::{CancelToken, Stop, TimeLimit, stoppable};
use crate::tasks::backend::OfTask;

/// A model of the task of a backend. Clones share it.
pub(crate) struct Handle<B: ?Sized> {
    slot: Arc<Slot>,
    backend: PhantomData<fn() -> Box<B>>,
}

impl<B: ?Sized> Clone for Handle<B> {
    fn clone(&self) -> Self {
        Self { slot: Arc::clone(&self.slot), backend: PhantomData }
    }
}

impl<B: ?Sized> fmt::Debug for Handle<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Handle").field(&self.slot.info()).finish()
    }
}

impl<B: OfTask + ?Sized + 'static> Handle<B> {
    /// # Errors
    /// `variant`, if the model is for another task.
    pub(super) fn new(slot: Arc<Slot>) -> Result<Self, BridgeError> {
        if slot.task == B::TASK {
            return Ok(Self { slot, backend: PhantomData });
        }
        let (path, actual) = (slot.info().path.clone(), slot.task.name().to_owned());
        Err(BridgeError::Task { path, expected: B::TASK.name(), actual })
    }

    pub(super) fn info(&self) -> ModelInfo {
        (*self.slot.info()).clone()
    }

    pub(super) fn resident_bytes(&self) -> u64 {
        self.slot.resident_bytes()
    }

    /// `None` also for a closed model.
    pub(super) fn max_tokens(&self) -> Option<usize> {
        self.slot.current().ok()?.opened.backend.any().max_tokens()
    }

    pub(super) fn unload(&self) {
        self.slot.unload();
    }

    pub(super) fn warm_up_blocking(&self) -> Result<(), BridgeError> {
        self.call(None, None, |_, _| Ok(()))
    }

    pub(super) async fn warm_up(&self) -> Result<(), BridgeError> {
        self.call_async(None, None, |_, _| Ok(())).await
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
    /// `config` for a time limit of 0, `closed`, the errors of loading the model, or those of the call.
    pub(super) fn call<T>(
        &self,
        cancel: Option<&CancelToken>,
        timeout: Option<Duration>,
        call: impl FnOnce(&B, &Stop) -> Result<T, BridgeError>,
    ) -> Result<T, BridgeError> {
        let limit = self.limit(timeout)?;
        let _span = self.span().entered();
        stoppable(cancel.as_slice(), limit, |stop| answer(&self.slot, stop, call))
    }

    /// Makes a call on a blocking thread. Dropping the future stops the call; a call that waits for a thread then starts
    /// no run at all. The time limit includes the wait for a thread.
    ///
    /// # Errors
    /// `config` for a time limit of 0 or without a tokio runtime, `closed`, the errors of loading the model, `internal` if the
    /// call panics, or the errors of the call.
    pub(super) async fn call_async<T: Send + 'static>(
        &self,
        cancel: Option<CancelToken>,
        timeout: Option<Duration>,
        call: impl FnOnce(&B, &Stop) -> Result<T, BridgeError> + Send + 'static,
    ) -> Result<T, BridgeError> {
        let limit = self.limit(timeout)?;
        self.slot.current()?;
        let (slot, span) = (Arc::clone(&self.slot), self.span());
        let dropped = CancelToken::new();
        let _cancel_on_drop = dropped.on_drop();
        let tokens: Vec<CancelToken> = cancel.into_iter().chain([dropped.clone()]).collect();
        on_blocking_thread(move || {
            let _span = span.entered();
            let tokens: Vec<&CancelToken> = tokens.iter().collect();
            stoppable(&tokens, limit, |stop| answer(&slot, stop, call))
        })
        .await
    }

    /// The span of a call. It has no text.
    fn span(&self) -> tracing::Span {
        tracing::info_span!("call", model = %self.slot.name, task = %self.slot.task)
    }

    fn limit(&self, timeout: Option<Duration>) -> Result<Option<TimeLimit>, BridgeError> {
        TimeLimit::of(timeout.or(self.slot.timeout))
    }
}

/// Makes a call with the generation that the slot has now.
fn answer<B: OfTask + ?Sized, T>(
    slot: &Arc<Slot>,
    stop: &Stop,
    call: impl FnOnce(&B, &Stop) -> Result<T, BridgeError>,
) -> Result<T, BridgeError> {
    let running = slot.enter(stop)?;
    let other = || BridgeError::Internal { problem: format!("the model {:?} is for another task", slot.name) };
    call(B::of(running.backend()).ok_or_else(other)?, stop)
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
