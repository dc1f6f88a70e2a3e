//! Runs code that waits for calls on a thread of its own.
//!
//! Calls prepare long inputs on tokio's blocking threads, whose number is limited: if what waits for these calls had all of
//! those threads, neither would end.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::thread;

use super::calls;
use crate::BridgeError;
use crate::runtime::batch::refused_thread;
use crate::runtime::panics;

/// Runs blocking code on a new thread of a name, within the calls of the current thread. The code also runs to its end if the
/// future is dropped.
///
/// # Errors
/// `inference` if the system refuses the thread, `internal` if the code panics, or the errors of the code.
pub(crate) async fn on_own_thread<T: Send + 'static>(
    name: &str,
    code: impl FnOnce() -> Result<T, BridgeError> + Send + 'static,
) -> Result<T, BridgeError> {
    let (answer, calls) = (Arc::new(Answer::new()), calls::all());
    let sender = Arc::clone(&answer);
    let work = move || {
        let _scope = calls::Scope::enter(&calls);
        sender.send(catch_unwind(AssertUnwindSafe(code)).unwrap_or_else(|panic| Err(panics::error(&*panic))));
    };
    thread::Builder::new().name(name.to_owned()).spawn(work).map_err(|error| refused_thread(&error))?;
    answer.receive().await
}

/// The answer of a thread, and who waits for it.
struct Answer<T>(Mutex<State<T>>);

struct State<T> {
    value: Option<T>,
    waker: Option<Waker>,
}

impl<T> Answer<T> {
    fn new() -> Self {
        Self(Mutex::new(State { value: None, waker: None }))
    }

    fn send(&self, value: T) {
        let mut state = self.lock();
        state.value = Some(value);
        let waker = state.waker.take();
        drop(state);
        waker.into_iter().for_each(Waker::wake);
    }

    async fn receive(&self) -> T {
        poll_fn(|context| {
            let mut state = self.lock();
            match state.value.take() {
                Some(value) => Poll::Ready(value),
                None => {
                    state.waker = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::super::calls::{Current, within};
    use super::*;
    use crate::runtime::blocking::block_on;

    #[test]
    fn code_runs_on_a_thread_of_a_name_within_the_calls_of_this_one() {
        let owner = 1_u8;
        let call = Current::new(&owner, true);
        let look = || Ok((thread::current().name().map(str::to_owned), calls::all()));
        let answer = block_on(within(call, on_own_thread("onnx-test", look)));
        assert_eq!(answer, Ok((Some("onnx-test".to_owned()), vec![call])));
    }

    #[test]
    fn a_panic_and_an_error_are_returned() {
        let code = |result: Result<(), BridgeError>| result.map_err(|error| error.code().as_str());
        assert_eq!(code(block_on(on_own_thread("onnx-test", || panic!("on purpose")))), Err("internal"));
        assert_eq!(code(block_on(on_own_thread("onnx-test", || Err(BridgeError::Cancelled)))), Err("cancelled"));
    }
}
