//! The deadlines of all calls. One thread of the process waits for them; the first deadline starts it.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use super::batch::refused_thread;
use super::cancellation::Stop;
use super::lane::fork::forked;
use crate::BridgeError;

static TIMER: Mutex<Timer> = Mutex::new(Timer { entries: BTreeMap::new(), next: 0, process: 0 });
static CHANGED: Condvar = Condvar::new();
/// The process whose threads may hold the lock of the timer; 0 before the first deadline.
static OWNER: AtomicU32 = AtomicU32::new(0);
/// How often a process that was forked tries the lock, with a pause of 1 ms: a thread that does not exist here may hold it.
const MAX_TRIES: usize = 100;

/// When a deadline is over, and a number that makes it unique.
type Key = (Instant, u64);

struct Timer {
    entries: BTreeMap<Key, (Weak<Stop>, Duration)>,
    next: u64,
    /// The process in which the thread runs; 0 if it does not run.
    process: u32,
}

/// A deadline of a call, which is forgotten when this value is dropped.
pub(crate) struct Deadline(Key);

impl Deadline {
    /// Stops a call with `timeout` when a deadline is over. `limit` is the time limit that the error states.
    ///
    /// # Errors
    /// `inference` if the system refuses the thread that waits for deadlines.
    pub(crate) fn new(at: Instant, limit: Duration, stop: &Arc<Stop>) -> Result<Self, BridgeError> {
        let mut timer = lock()?;
        timer.start()?;
        let key = (at, timer.next);
        timer.next += 1;
        timer.entries.insert(key, (Arc::downgrade(stop), limit));
        if timer.entries.first_key_value().is_some_and(|(first, _)| *first == key) {
            CHANGED.notify_all();
        }
        Ok(Self(key))
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        if let Ok(mut timer) = lock() {
            timer.entries.remove(&self.0);
        }
    }
}

impl Timer {
    /// Starts the thread, unless it runs in this process.
    fn start(&mut self) -> Result<(), BridgeError> {
        let process = process::id();
        if self.process == process {
            return Ok(());
        }
        // After a fork, the deadlines are those of the parent's calls.
        self.entries.clear();
        let name = "onnx-deadlines".to_owned();
        thread::Builder::new().name(name).spawn(wait).map_err(|error| refused_thread(&error))?;
        self.process = process;
        Ok(())
    }

    /// Removes and returns the calls whose deadlines are over.
    fn take_due(&mut self, now: Instant) -> Vec<(Weak<Stop>, Duration)> {
        let later = self.entries.split_off(&(now + Duration::from_nanos(1), 0));
        std::mem::replace(&mut self.entries, later).into_values().collect()
    }
}

/// Locks the timer, also if this process was forked while a thread of its parent held the lock.
fn lock() -> Result<MutexGuard<'static, Timer>, BridgeError> {
    let process = process::id();
    match OWNER.compare_exchange(0, process, Ordering::SeqCst, Ordering::SeqCst) {
        Err(owner) if owner != process => {}
        Ok(_) | Err(_) => return Ok(TIMER.lock().unwrap_or_else(PoisonError::into_inner)),
    }
    for _ in 0..MAX_TRIES {
        match TIMER.try_lock() {
            Ok(timer) => return Ok(adopted(timer)),
            Err(TryLockError::Poisoned(error)) => return Ok(adopted(error.into_inner())),
            Err(TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(1)),
        }
    }
    Err(forked())
}

/// The timer that belongs to this process from now on.
fn adopted(timer: MutexGuard<'static, Timer>) -> MutexGuard<'static, Timer> {
    OWNER.store(process::id(), Ordering::SeqCst);
    timer
}

/// The loop of the thread: stops calls whose deadlines are over.
fn wait() {
    let mut timer = TIMER.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let now = Instant::now();
        let due = timer.take_due(now);
        if !due.is_empty() {
            drop(timer);
            due.into_iter().for_each(|(stop, limit)| end(&stop, limit));
            timer = TIMER.lock().unwrap_or_else(PoisonError::into_inner);
            continue;
        }
        let left = timer.entries.first_key_value().map(|((at, _), _)| at.saturating_duration_since(now));
        timer = match left {
            Some(left) => CHANGED.wait_timeout(timer, left).unwrap_or_else(PoisonError::into_inner).0,
            None => CHANGED.wait(timer).unwrap_or_else(PoisonError::into_inner),
        };
    }
}

fn end(stop: &Weak<Stop>, limit: Duration) {
    let Some(stop) = stop.upgrade() else { return };
    // A waker of an application may panic. The thread is for all calls.
    if catch_unwind(AssertUnwindSafe(|| stop.stop(BridgeError::Timeout { limit }))).is_err() {
        tracing::error!("the waker of a call panicked at its time limit");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stop_in(limit: Duration) -> (Arc<Stop>, Deadline) {
        let stop = Arc::new(Stop::default());
        let deadline = Deadline::new(Instant::now() + limit, limit, &stop).expect("a thread");
        (stop, deadline)
    }

    /// The number of threads of this process that wait for deadlines.
    #[cfg(target_os = "linux")]
    fn timers() -> usize {
        let tasks = std::fs::read_dir("/proc/self/task").expect("threads");
        let name =
            |task: std::io::Result<std::fs::DirEntry>| std::fs::read_to_string(task.ok()?.path().join("comm")).ok();
        tasks.filter_map(name).filter(|name| name.trim_end() == "onnx-deadlines").count()
    }

    #[test]
    fn calls_are_stopped_in_the_order_of_their_deadlines() {
        let hour = Duration::from_secs(3600);
        let calls: Vec<_> = [40, 20, 30, 10].map(|ms| stop_in(Duration::from_millis(ms))).into_iter().collect();
        let (late, _deadline) = stop_in(hour);
        let (forgotten, deadline) = stop_in(hour);
        let key = deadline.0;
        drop(deadline);
        assert!(!lock().expect("a lock").entries.contains_key(&key));
        for (stop, _) in &calls {
            while stop.check().is_ok() {
                thread::sleep(Duration::from_millis(1));
            }
            assert!(matches!(stop.check(), Err(BridgeError::Timeout { .. })));
        }
        assert_eq!((late.check(), forgotten.check()), (Ok(()), Ok(())));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn one_thread_waits_for_all_deadlines() {
        let calls: Vec<_> = (0..1000).map(|_| stop_in(Duration::from_secs(3600))).collect();
        // A thread gives itself its name after it has started.
        let started = Instant::now();
        while timers() == 0 && started.elapsed() < Duration::from_secs(20) {
            thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(timers(), 1);
        drop(calls);
        assert_eq!(timers(), 1);
    }
}
