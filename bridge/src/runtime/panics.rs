//! Converts panics to errors.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

use crate::BridgeError;

/// The error `internal` for a panic.
pub(crate) fn error(panic: &(dyn Any + Send)) -> BridgeError {
    let text = panic.downcast_ref::<&str>().copied();
    let message = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
    BridgeError::Internal { problem: format!("the call panicked: {message}") }
}

/// Runs a future and converts a panic to the error `internal`.
///
/// # Errors
/// `internal`, or the errors of the future.
pub(crate) async fn caught<T>(future: impl Future<Output = Result<T, BridgeError>>) -> Result<T, BridgeError> {
    let mut future = pin!(future);
    poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
        Ok(poll) => poll,
        Err(panic) => Poll::Ready(Err(error(&*panic))),
    })
    .await
}
