//! Waits for a future on the calling thread, and runs blocking code for a future.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use tokio::task::unconstrained;

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
///
/// A task of such a runtime has a budget of operations, which is refilled only when the task returns. The future does not use
/// it: once it is empty, what tokio's futures wait for would never come.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let (mut context, mut future) = (Context::from_waker(&waker), pin!(unconstrained(future)));
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
    use std::sync::mpsc;
    use std::time::Duration;

    use tokio::runtime::Builder;

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

    #[test]
    fn a_task_can_wait_any_number_of_times() {
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            let others = Builder::new_multi_thread().worker_threads(1).build().expect("a runtime");
            let own = Builder::new_current_thread().build().expect("a runtime");
            let wait = |number: usize| block_on(others.spawn(async move { number })).expect("a number");
            let sum = own.block_on(async { (0..1000).map(wait).sum::<usize>() });
            sender.send(sum).expect("the test waits");
        });
        assert_eq!(receiver.recv_timeout(Duration::from_secs(120)), Ok(499_500));
    }
}
