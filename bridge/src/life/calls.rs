//! The calls that the current thread makes at the moment.
//!
//! A callback runs within its call. It may use other models, or close the bridge: what waits for calls there must not wait for
//! those of its own thread, which end after the callback.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::pin;

thread_local! {
    static CALLS: RefCell<Vec<Current>> = const { RefCell::new(Vec::new()) };
}

/// A call of the current thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Current {
    /// The address of what counts the call.
    owner: usize,
    /// Whether the call keeps graphs loaded.
    keeps_graphs: bool,
}

impl Current {
    /// A call that an owner counts.
    pub(super) fn new<T>(owner: &T, keeps_graphs: bool) -> Self {
        Self { owner: address(owner), keeps_graphs }
    }
}

/// Makes some calls those of the current thread, besides others, until it is dropped.
pub(super) struct Scope {
    /// The number of the other calls.
    others: usize,
}

impl Scope {
    pub(super) fn enter(calls: &[Current]) -> Self {
        CALLS.with_borrow_mut(|current| {
            let others = current.len();
            current.extend_from_slice(calls);
            Self { others }
        })
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        CALLS.with_borrow_mut(|current| current.truncate(self.others));
    }
}

/// Runs a future as a call: what it does while it is polled, such as calling back, is within the call.
pub(crate) async fn within<F: Future>(call: Current, future: F) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|context| {
        let _scope = Scope::enter(&[call]);
        future.as_mut().poll(context)
    })
    .await
}

/// All calls of the current thread, the outer ones first.
pub(super) fn all() -> Vec<Current> {
    CALLS.with_borrow(Vec::clone)
}

/// The number of calls of the current thread that an owner counts.
pub(super) fn count<T>(owner: &T) -> usize {
    let owner = address(owner);
    CALLS.with_borrow(|calls| calls.iter().filter(|call| call.owner == owner).count())
}

/// Whether a call of the current thread keeps graphs loaded.
pub(super) fn keep_graphs() -> bool {
    CALLS.with_borrow(|calls| calls.iter().any(|call| call.keeps_graphs))
}

fn address<T>(owner: &T) -> usize {
    std::ptr::from_ref(owner).addr()
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;
    use crate::runtime::blocking::block_on;

    #[test]
    fn the_calls_of_a_thread_are_those_that_it_polls() {
        let (one, two) = (1_u8, 2_u8);
        let inner = within(Current::new(&two, true), async { (count(&one), count(&two), keep_graphs()) });
        let outer = within(Current::new(&one, false), async {
            assert_eq!((count(&one), count(&two), keep_graphs()), (1, 0, false));
            assert_eq!(inner.await, (1, 1, true));
            std::thread::scope(|scope| assert_eq!(scope.spawn(all).join().expect("no panic"), []));
            count(&two)
        });
        assert_eq!(block_on(outer), 0);
        assert_eq!(all(), []);
    }

    #[test]
    fn a_call_that_panics_is_over() {
        let owner = 1_u8;
        let call = within(Current::new(&owner, true), async { assert_eq!(owner, 2, "on purpose") });
        assert!(catch_unwind(AssertUnwindSafe(|| block_on(call))).is_err());
        assert_eq!(all(), []);
    }
}
