//! Runs the parts of a call on the runtime of requests, and stops them with the call.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::task::{AbortHandle, JoinHandle};

use super::runtime::runtime;
use crate::BridgeError;
use crate::runtime::batch::Outcome;
use crate::runtime::cancellation::Stop;
use crate::runtime::lane::Caller;
use crate::runtime::panics;

/// Runs all parts of a call at the same time and returns their outcomes, in order. If the call is stopped, the parts without
/// an outcome end, which closes their connections, and have the reason as their outcome.
///
/// Dropping the future ends all parts, too.
///
/// # Errors
/// `io`, if the system refuses the threads of requests.
pub(crate) async fn fly<T: Send + 'static>(
    parts: Vec<impl Future<Output = Outcome<T>> + Send + 'static>,
    caller: &Caller,
) -> Result<Vec<Outcome<T>>, BridgeError> {
    fly_counted(parts, caller, |_| ()).await
}

/// Like [`fly`]. `report` gets the number of parts of which all outcomes up to there are known, after each of them.
///
/// # Errors
/// The errors of [`fly`].
pub(crate) async fn fly_counted<T: Send + 'static>(
    parts: Vec<impl Future<Output = Outcome<T>> + Send + 'static>,
    caller: &Caller,
    report: impl Fn(usize) + Send,
) -> Result<Vec<Outcome<T>>, BridgeError> {
    let parts = parts.into_iter().map(spawned).collect::<Result<Vec<_>, BridgeError>>()?;
    let aborts: Vec<AbortHandle> = parts.iter().map(|part| part.0.abort_handle()).collect();
    caller.stop.on_stop(move |_| aborts.iter().for_each(AbortHandle::abort));
    let _hook = Hook(&caller.stop);
    let mut outcomes = Vec::with_capacity(parts.len());
    for part in parts {
        let stopped = || Err(caller.stop.check().err().unwrap_or(BridgeError::Cancelled));
        outcomes.push(part.await.unwrap_or_else(stopped));
        report(outcomes.len());
    }
    Ok(outcomes)
}

/// Removes the hook of a call when it has ended.
struct Hook<'a>(&'a Arc<Stop>);

impl Drop for Hook<'_> {
    fn drop(&mut self) {
        self.0.forget();
    }
}

/// Starts a future on the runtime of requests. It ends when the value is dropped.
///
/// # Errors
/// `io`, if the system refuses the threads of requests.
pub(crate) fn spawned<T: Send + 'static>(
    future: impl Future<Output = Outcome<T>> + Send + 'static,
) -> Result<Spawned<T>, BridgeError> {
    Ok(Spawned(runtime()?.spawn(future)))
}

/// A future on the runtime of requests. Waiting for it returns `None` if it was aborted.
pub(crate) struct Spawned<T>(JoinHandle<Outcome<T>>);

impl<T> Future for Spawned<T> {
    type Output = Option<Outcome<T>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(|joined| match joined {
            Ok(outcome) => Some(outcome),
            Err(error) => error.try_into_panic().ok().map(|panic| Err(panics::error(&*panic))),
        })
    }
}

impl<T> Drop for Spawned<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
