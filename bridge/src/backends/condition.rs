//! [`Condition`]: what a model of another backend does at the moment.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use crate::BridgeError;
use crate::error_code::ErrorCode;
use crate::status::{LaneStatus, ModelState};

/// Counts the requests of a model, and remembers how the last one ended.
#[derive(Debug, Default)]
pub(crate) struct Condition {
    waiting: AtomicUsize,
    running: AtomicUsize,
    last: Mutex<Last>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Last {
    success: Option<SystemTime>,
    error: Option<ErrorCode>,
}

impl Condition {
    /// Counts a request that waits, until the value is dropped.
    pub(crate) fn waits(&self) -> Counted<'_> {
        Counted::new(&self.waiting)
    }

    /// Counts a request that runs, until the value is dropped.
    pub(crate) fn runs(&self) -> Counted<'_> {
        Counted::new(&self.running)
    }

    /// Remembers how an attempt ended. Errors of a text say nothing about the model.
    pub(crate) fn ended(&self, error: Option<&BridgeError>) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match error.map(BridgeError::code) {
            None => *last = Last { success: Some(SystemTime::now()), error: None },
            Some(ErrorCode::ContextTooLong | ErrorCode::Refused | ErrorCode::Config) => {}
            Some(code) => last.error = Some(code),
        }
    }

    /// `idle` is the state without an error.
    pub(crate) fn status(&self, idle: ModelState) -> LaneStatus {
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        LaneStatus {
            state: if last.error.is_some() { ModelState::Failed } else { idle },
            last_success: last.success,
            waiting: self.waiting.load(Ordering::Relaxed),
            running: self.running.load(Ordering::Relaxed),
            error: last.error,
        }
    }
}

/// One of what a number counts.
#[derive(Debug)]
pub(crate) struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_attempt_decides() {
        let condition = Condition::default();
        assert_eq!(condition.status(ModelState::Ready).state, ModelState::Ready);
        condition.ended(Some(&BridgeError::RateLimited { backend: String::new(), retry_after: None }));
        let (status, running) = (condition.status(ModelState::Ready), condition.runs());
        assert_eq!((status.state, status.error), (ModelState::Failed, Some(ErrorCode::RateLimited)));
        assert_eq!(condition.status(ModelState::Ready).running, 1);
        drop(running);
        condition.ended(Some(&BridgeError::Refused { index: None, problem: String::new() }));
        assert_eq!(condition.status(ModelState::Ready).state, ModelState::Failed);
        condition.ended(None);
        let status = condition.status(ModelState::Unloaded);
        assert_eq!((status.state, status.error, status.running), (ModelState::Unloaded, None, 0));
        assert!(status.last_success.is_some());
    }
}
