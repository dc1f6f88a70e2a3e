//! What the handles of all tasks have in common: how a call is stopped, and how it waits.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;
#[cfg(feature = "openai")]
use std::time::Instant;

use tracing::Instrument;

use super::source::{Running, Source};
use crate::BridgeError;
use crate::health::Health;
use crate::life::calls;
use crate::model::ModelInfo;
use crate::runtime::blocking::{block_on, runtime};
#[cfg(feature = "openai")]
use crate::runtime::cancellation::Hook;
use crate::runtime::cancellation::{CancelToken, Stoppable, TimeLimit};
use crate::runtime::lane::Caller;
use crate::runtime::panics::caught;
use crate::runtime::trace::Trace;
use crate::status::ModelStatus;
use crate::tasks::backend::{AnyBackend, OfTask};

/// A model of the task of a backend. Clones share it.
pub(crate) struct Handle<B: ?Sized> {
    source: Source,
    backend: PhantomData<fn() -> Box<B>>,
}

impl<B: ?Sized> Clone for Handle<B> {
    fn clone(&self) -> Self {
        Self { source: self.source.clone(), backend: PhantomData }
    }
}

impl<B: ?Sized> fmt::Debug for Handle<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Handle").field(&self.source.info()).finish()
    }
}

impl<B: OfTask + ?Sized + 'static> Handle<B> {
    /// # Errors
    /// `variant`, if the model is for another task.
    pub(super) fn new(source: Source) -> Result<Self, BridgeError> {
        if source.task() == B::TASK {
            return Ok(Self { source, backend: PhantomData });
        }
        let (path, actual) = (source.info().path, source.task().name().to_owned());
        Err(BridgeError::Task { path, expected: B::TASK.name(), actual })
    }

    pub(crate) fn info(&self) -> ModelInfo {
        self.source.info()
    }

    pub(super) fn resident_bytes(&self) -> u64 {
        self.source.resident_bytes()
    }

    /// `None` also for a closed model.
    pub(crate) fn max_tokens(&self) -> Option<usize> {
        self.source.backend().ok()?.any().max_tokens()
    }

    pub(super) fn unload(&self) {
        self.source.unload();
    }

    pub(crate) fn status(&self) -> ModelStatus {
        self.source.status()
    }

    /// The time limit of calls that pass none.
    pub(super) fn timeout(&self) -> Option<Duration> {
        self.source.timeout()
    }

    /// Whether the model works, as its server says if it has one.
    pub(crate) async fn health(&self) -> Health {
        let (status, info) = (self.status(), self.info());
        let probed = match self.source.backend() {
            Ok(backend) => backend.any().probe().await,
            Err(_) => None,
        };
        let (state, error) = probed.unwrap_or((status.state, status.error));
        Health::new(&info, state, error)
    }

    pub(super) fn warm_up_blocking(&self) -> Result<(), BridgeError> {
        self.call(None, None, |backend, caller| async move { backend.load(&caller).await })
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
    /// `config` for a time limit of 0, `closed`, the errors of loading the model, or those of the call.
    pub(super) fn call<T, F: Future<Output = Result<T, BridgeError>>>(
        &self,
        cancel: Option<&CancelToken>,
        timeout: Option<Duration>,
        call: impl FnOnce(Arc<B>, Caller) -> F,
    ) -> Result<T, BridgeError> {
        let stoppable = self.stoppable(cancel, timeout)?;
        let caller = self.caller(&stoppable, false);
        let _span = caller.trace.call().entered();
        let running = self.source.enter(stoppable.stop())?;
        let backend = self.backend(&running)?;
        block_on(calls::within(running.current(), call(backend, caller)))
    }

    /// Makes a call without blocking a thread. Dropping the future stops the call; a call that waits for its turn then
    /// starts no run at all. The time limit includes every wait.
    ///
    /// # Errors
    /// `config` for a time limit of 0 or without a tokio runtime, `closed`, the errors of loading the model, `internal` if the
    /// call panics, or the errors of the call.
    pub(super) async fn call_async<T, F: Future<Output = Result<T, BridgeError>> + Send>(
        &self,
        cancel: Option<&CancelToken>,
        timeout: Option<Duration>,
        call: impl FnOnce(Arc<B>, Caller) -> F + Send,
    ) -> Result<T, BridgeError> {
        runtime()?;
        let stoppable = self.stoppable(cancel, timeout)?;
        let caller = self.caller(&stoppable, true);
        self.part(&caller, |backend| call(backend, caller.clone())).await
    }

    /// A caller that can be stopped.
    pub(super) fn caller(&self, stoppable: &Stoppable, is_async: bool) -> Caller {
        Caller { stop: Arc::clone(stoppable.stop()), is_async, trace: self.trace(), deadline: stoppable.deadline() }
    }

    /// What stops a call.
    ///
    /// # Errors
    /// `config` for a time limit of 0; `inference` if the system refuses the thread that waits for time limits.
    pub(super) fn stoppable(
        &self,
        cancel: Option<&CancelToken>,
        timeout: Option<Duration>,
    ) -> Result<Stoppable, BridgeError> {
        Stoppable::new(cancel, self.limit(timeout)?)
    }

    /// Makes a call, or one of the calls that share their token and their time limit. The model is in use only during it.
    ///
    /// # Errors
    /// `config` for an asynchronous caller without a tokio runtime, `closed`, the errors of loading the model, `internal` if
    /// the part panics, or its errors.
    pub(super) async fn part<T, F: Future<Output = Result<T, BridgeError>> + Send>(
        &self,
        caller: &Caller,
        part: impl FnOnce(Arc<B>) -> F + Send,
    ) -> Result<T, BridgeError> {
        if caller.is_async {
            runtime()?;
        }
        let answer = async {
            let running = match caller.is_async {
                true => self.source.enter_async(&caller.stop).await?,
                false => self.source.enter(&caller.stop)?,
            };
            let backend = self.backend(&running)?;
            calls::within(running.current(), part(backend)).await
        };
        caught(answer.instrument(caller.trace.call())).await
    }

    /// The backend of the current generation.
    ///
    /// # Errors
    /// `closed`.
    pub(crate) fn current(&self) -> Result<Arc<B>, BridgeError> {
        self.of_task(&self.source.backend()?)
    }

    /// Makes a call as a part of another one: what stops that one stops this one. The time limit is that of the model, if it
    /// is shorter than what is left of the other call.
    ///
    /// # Errors
    /// The errors of [`part`](Self::part).
    #[cfg(feature = "openai")]
    pub(crate) async fn within<T, F: Future<Output = Result<T, BridgeError>> + Send>(
        &self,
        parent: &Caller,
        call: impl FnOnce(Arc<B>, Caller) -> F + Send,
    ) -> Result<T, BridgeError> {
        let own = if self.is_shorter_than(parent) { self.limit(None)? } else { None };
        let stoppable = Stoppable::new(None, own)?;
        let stop = Arc::clone(stoppable.stop());
        parent.stop.on_stop(move |reason| stop.stop(reason));
        let _hook = Hook(&parent.stop);
        let caller = self.caller(&stoppable, parent.is_async);
        let caller = Caller { deadline: caller.deadline.or(parent.deadline), ..caller };
        self.part(&caller, |backend| call(backend, caller.clone())).await
    }

    /// Whether the time limit of the model is shorter than what is left of a call.
    #[cfg(feature = "openai")]
    pub(crate) fn is_shorter_than(&self, parent: &Caller) -> bool {
        let ends = |limit| Instant::now().checked_add(limit);
        let own = self.timeout().and_then(ends);
        own.is_some_and(|own| parent.deadline.is_none_or(|deadline| own < deadline))
    }

    /// The backend of the generation that a call runs on.
    fn backend(&self, running: &Running) -> Result<Arc<B>, BridgeError> {
        self.of_task(running.backend())
    }

    fn of_task(&self, backend: &AnyBackend) -> Result<Arc<B>, BridgeError> {
        let problem = || format!("the model {:?} is for another task", self.source.name());
        B::of(backend).cloned().ok_or_else(|| BridgeError::Internal { problem: problem() })
    }

    /// The spans of a call. They have no text.
    fn trace(&self) -> Trace {
        Trace::of(self.source.name(), self.source.task().name())
    }

    /// The time limit of a call that starts now.
    ///
    /// # Errors
    /// `config` for a limit of 0.
    pub(super) fn limit(&self, timeout: Option<Duration>) -> Result<Option<TimeLimit>, BridgeError> {
        TimeLimit::of(timeout.or(self.source.timeout()))
    }
}
