//! [`Pause`]: a member of a chain that is skipped for a time, because it failed several times in a row.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const MAX_FAILURES: u32 = 3;
const PAUSE: Duration = Duration::from_secs(30);

/// Whether a member is skipped.
#[derive(Debug, Default)]
pub(super) struct Pause {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    failures: u32,
    until: Option<Instant>,
}

impl Pause {
    /// Whether the member is skipped at a time.
    pub(super) fn is_active(&self, now: Instant) -> bool {
        self.lock().until.is_some_and(|until| now < until)
    }

    /// Forgets the failures: the member works.
    pub(super) fn answered(&self) {
        self.lock().failures = 0;
    }

    /// Counts a call without any answer. After several in a row the member is skipped, and then has one new try.
    pub(super) fn failed(&self, now: Instant) {
        let mut state = self.lock();
        state.failures += 1;
        if state.failures >= MAX_FAILURES {
            state.until = Some(now + PAUSE);
            state.failures = MAX_FAILURES - 1;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_failures_in_a_row_pause_a_member() {
        let (pause, now) = (Pause::default(), Instant::now());
        pause.failed(now);
        pause.failed(now);
        pause.answered();
        pause.failed(now);
        pause.failed(now);
        assert!(!pause.is_active(now));
        pause.failed(now);
        let later = now + PAUSE;
        assert!(pause.is_active(now) && !pause.is_active(later));
        pause.failed(later); // one new try
        assert!(pause.is_active(later));
    }
}
