//! Detects that this process was forked after threads were started: a fork copies memory and locks, but no thread.

use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::BridgeError;

/// The process that uses a model first. Only this process can use it, because only this process has its threads.
#[derive(Debug, Default)]
pub(crate) struct Owner(AtomicU32);

impl Owner {
    /// Fails in a process that was forked from the owner. The first caller becomes the owner.
    ///
    /// # Errors
    /// `inference`, with the advice to open the model again.
    pub(crate) fn check(&self) -> Result<(), BridgeError> {
        let process = process::id();
        match self.0.compare_exchange(0, process, Ordering::SeqCst, Ordering::SeqCst) {
            Err(owner) if owner != process => Err(forked()),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Makes this process a fork of the owner, for tests.
    #[cfg(test)]
    pub(crate) fn set_other(&self) {
        self.0.store(process::id() + 1, Ordering::SeqCst);
    }

    /// Whether another process uses the model.
    pub(crate) fn is_other(&self) -> bool {
        ![0, process::id()].contains(&self.0.load(Ordering::SeqCst))
    }
}

/// The error of a process that was forked from one whose threads it would need.
pub(crate) fn forked() -> BridgeError {
    let problem = "this process was forked after the model was used, and a fork has none of the threads that run it: \
        open the model again in this process, or fork before the first call";
    BridgeError::inference(None, problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_process_is_the_owner() {
        let owner = Owner::default();
        assert!(!owner.is_other());
        assert_eq!((owner.check(), owner.check()), (Ok(()), Ok(())));
        owner.set_other();
        assert!(owner.is_other());
        assert_eq!(owner.check(), Err(forked()));
    }
}
