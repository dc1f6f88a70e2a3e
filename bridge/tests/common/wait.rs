//! Waits for states that other threads reach, however slow the machine is.

use std::thread;
use std::time::{Duration, Instant};

/// How long a test waits for something that takes a moment. Only a test that fails waits this long.
pub const LIMIT: Duration = Duration::from_secs(120);

/// Waits until a condition holds, and fails if it never does.
#[track_caller]
pub fn until(condition: impl Fn() -> bool) {
    until_within(LIMIT, condition);
}

/// Waits until a condition holds, for this time at the longest.
#[track_caller]
pub fn until_within(limit: Duration, condition: impl Fn() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < limit, "the condition never holds");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Measures until a time is below a limit, because other processes may slow down some of the measurements.
#[track_caller]
pub fn assert_below(limit: Duration, measure: impl Fn() -> Duration) {
    let mut times = Vec::new();
    while times.len() < 50 {
        times.push(measure());
        if times.last() < Some(&limit) {
            return;
        }
    }
    panic!("no time is below {limit:?}: {times:?}");
}

/// Calls a function when it is dropped, so that an assertion that fails leaves no thread waiting.
pub struct OnDrop<F: Fn()>(pub F);

impl<F: Fn()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
