//! Waits for a future on the calling thread, and runs blocking code for a future.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use super::panics;
use crate::BridgeError;

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs a future to its end on the calling thread, which it blocks. This also works inside of an asynchronous runtime,
/// where tokio's own blocking calls panic.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let (mut context, mut future) = (Context::from_waker(&waker), pin!(future));
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        thread::park();
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
    runtime()?.spawn_blocking(call).await.unwrap_or_else(|error| match error.try_into_panic() {
        Ok(panic) => Err(panics::error(&*panic)),
        Err(_) => Err(BridgeError::Cancelled),
    })
}

/// The current tokio runtime.
///
/// # Errors
/// `config`, if there is none.
pub(crate) fn runtime() -> Result<tokio::runtime::Handle, BridgeError> {
    tokio::runtime::Handle::try_current().map_err(|_| {
        BridgeError::config("the asynchronous calls need a tokio runtime; without one, use the blocking calls")
    })
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[test]
    fn a_future_is_polled_until_it_is_ready() {
        let mut polls = 0;
        let future = poll_fn(|context| {
            polls += 1;
            let waker = context.waker().clone();
            thread::spawn(move || waker.wake());
            if polls == 3 { Poll::Ready(7) } else { Poll::Pending }
        });
        assert_eq!(block_on(future), 7);
        assert_eq!(polls, 3);
    }
}
