//! What a lane sends to one waiting call.
//!
//! A channel of tokio is not used: its receivers take part in tokio's budget of operations per poll, so that a blocking
//! call inside of an asynchronous task would never receive more than the budget allows.

use std::future::poll_fn;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use crate::BridgeError;
use crate::runtime::batch::Outcome;

/// A message to a call.
pub(super) enum Message<A> {
    /// The outcomes of some rows, by the index of the row.
    Outcomes(Vec<(usize, Outcome<A>)>),
    /// An error that ends the call: the reason why it was stopped, or why the model cannot be loaded.
    Failed(BridgeError),
}

/// The messages to one call, and who waits for them.
pub(super) struct Inbox<A>(Mutex<State<A>>);

struct State<A> {
    messages: Vec<Message<A>>,
    waker: Option<Waker>,
}

impl<A> Inbox<A> {
    pub(super) fn new() -> Self {
        Self(Mutex::new(State { messages: Vec::new(), waker: None }))
    }

    /// Sends a message and wakes the call.
    pub(super) fn send(&self, message: Message<A>) {
        let mut state = self.lock();
        state.messages.push(message);
        let waker = state.waker.take();
        drop(state);
        waker.into_iter().for_each(Waker::wake);
    }

    /// Waits for messages and takes all of them.
    pub(super) async fn receive(&self) -> Vec<Message<A>> {
        poll_fn(|context| {
            let mut state = self.lock();
            if state.messages.is_empty() {
                state.waker = Some(context.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(std::mem::take(&mut state.messages))
        })
        .await
    }

    fn lock(&self) -> MutexGuard<'_, State<A>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
