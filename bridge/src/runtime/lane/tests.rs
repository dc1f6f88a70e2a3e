//! Tests of lanes with a runner that computes nothing and records its runs. They count runs and do not measure time.

mod slots;
mod unload;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::*;
use crate::runtime::blocking::block_on;
use crate::runtime::environment::environment;
use crate::status::ModelState;

const LIMIT: Duration = Duration::from_secs(120);

/// A row: the name of its call, and its length.
type Row = (&'static str, usize);

/// What happens in a run, given its rows.
type Hook = Box<dyn Fn(&[Row], &RunScope<'_>) -> Result<(), BridgeError> + Send + Sync>;

struct Recorder {
    runs: Arc<Mutex<Vec<Vec<Row>>>>,
    loads: Arc<AtomicUsize>,
    fails_to_load: usize,
    /// Every loaded worker has a clone.
    sessions: Arc<()>,
    hook: Hook,
}

impl Runner for Recorder {
    type Worker = Arc<()>;
    type Key = u8;
    type Row = Row;
    type Answer = usize;

    fn load(&self) -> Result<Arc<()>, BridgeError> {
        match self.loads.fetch_add(1, Ordering::SeqCst) {
            load if load < self.fails_to_load => Err(BridgeError::Dependency { problem: "no library".to_owned() }),
            _ => Ok(Arc::clone(&self.sessions)),
        }
    }

    fn len(row: &Row) -> usize {
        row.1
    }

    fn run(
        &self,
        _: &mut Arc<()>,
        _: &u8,
        rows: &[&Row],
        scope: &RunScope<'_>,
    ) -> Result<Vec<Outcome<usize>>, BridgeError> {
        let rows: Vec<Row> = rows.iter().copied().copied().collect();
        self.runs.lock().expect("not poisoned").push(rows.clone());
        (self.hook)(&rows, scope)?;
        Ok(rows.iter().map(|row| Ok(row.1)).collect())
    }
}

/// A lane, and what its runner has recorded.
struct Subject {
    lane: Arc<Lane<Recorder>>,
    runs: Arc<Mutex<Vec<Vec<Row>>>>,
    loads: Arc<AtomicUsize>,
}

fn options() -> LaneOptions {
    LaneOptions {
        workers: 1,
        max_waiting: 99,
        run_tokens: 100,
        merges: true,
        overlaps: false,
        slot_tokens: None,
        shrinks: false,
    }
}

fn subject_with(options: LaneOptions, fails_to_load: usize, hook: Hook) -> Subject {
    environment(None).expect("ORT_DYLIB_PATH names ONNX Runtime");
    let (runs, loads) = (Arc::<Mutex<Vec<_>>>::default(), Arc::<AtomicUsize>::default());
    let runner =
        Recorder { runs: Arc::clone(&runs), loads: Arc::clone(&loads), fails_to_load, sessions: Arc::default(), hook };
    Subject { lane: Arc::new(Lane::new(runner, options, Meter::default())), runs, loads }
}

fn subject(options: LaneOptions, hook: impl Fn(&[Row]) -> Result<(), BridgeError> + Send + Sync + 'static) -> Subject {
    subject_with(options, 0, Box::new(move |rows, _| hook(rows)))
}

/// A lane whose first run waits until the sender is dropped.
fn blocked(options: LaneOptions) -> (Subject, Sender<()>) {
    let (open, gate) = channel::<()>();
    let gate: Mutex<Receiver<()>> = Mutex::new(gate);
    let is_first = Mutex::new(true);
    let hook = move |_: &[Row]| {
        if std::mem::take(&mut *is_first.lock().expect("not poisoned")) {
            let _ = gate.lock().expect("not poisoned").recv();
        }
        Ok(())
    };
    (subject(options, hook), open)
}

fn job(name: &'static str, runs: &[&[usize]]) -> Job<Recorder> {
    let rows: Vec<Row> = runs.concat().into_iter().map(|length| (name, length)).collect();
    let mut indices = 0..rows.len();
    let runs = runs.iter().map(|run| indices.by_ref().take(run.len()).collect()).collect();
    Job { key: 0, rows, runs, is_last: true }
}

type Answer = Result<Vec<Outcome<usize>>, BridgeError>;

fn call(lane: &Lane<Recorder>, job: Job<Recorder>, caller: &Caller) -> Answer {
    block_on(lane.admit()?.run(job, caller, |_| ()))
}

/// Waits until a condition holds.
fn until(condition: impl Fn() -> bool) {
    let started = std::time::Instant::now();
    while !condition() {
        assert!(started.elapsed() < LIMIT);
        thread::sleep(Duration::from_millis(1));
    }
}

impl Subject {
    /// Makes a call on another thread, and waits until it is in the queue. The first call waits until it runs.
    fn start(&self, name: &'static str, runs: &[&[usize]]) -> (Arc<Stop>, thread::JoinHandle<Answer>) {
        let caller = Caller::blocking();
        let (stop, lane, job) = (Arc::clone(&caller.stop), Arc::clone(&self.lane), job(name, runs));
        let before = self.lane.shared.jobs();
        let thread = thread::spawn(move || call(&lane, job, &caller));
        until(|| self.lane.shared.jobs() > before && !self.runs.lock().expect("not poisoned").is_empty());
        (stop, thread)
    }

    /// The names of the calls of every run.
    fn names(&self) -> Vec<String> {
        let runs = self.runs.lock().expect("not poisoned");
        runs.iter().map(|run| run.iter().map(|row| row.0).collect()).collect()
    }
}

fn answer(thread: thread::JoinHandle<Answer>) -> Answer {
    thread.join().expect("no panic")
}

#[test]
fn a_long_call_gives_way_after_every_run() {
    let (subject, gate) = blocked(LaneOptions { merges: false, ..options() });
    let calls = [
        subject.start("bulk", &[&[90], &[80], &[70], &[60]]),
        subject.start("a", &[&[5]]),
        subject.start("b", &[&[5], &[4]]),
        subject.start("c", &[&[5]]),
    ];
    drop(gate);
    for (_, thread) in calls {
        assert!(answer(thread).is_ok_and(|rows| rows.iter().all(Result::is_ok)));
    }
    assert_eq!(subject.names(), ["bulk", "a", "b", "c", "bulk", "b", "bulk", "bulk"]);
}

#[test]
fn rows_of_waiting_calls_run_together() {
    let (subject, gate) = blocked(options());
    let first = subject.start("x", &[&[50]]);
    let others: Vec<_> = (0..30).map(|_| subject.start("y", &[&[10]])).collect();
    drop(gate);
    assert_eq!(answer(first.1), Ok(vec![Ok(50)]));
    for (_, thread) in others {
        assert_eq!(answer(thread), Ok(vec![Ok(10)]));
    }
    let lengths: Vec<usize> = subject.runs.lock().expect("not poisoned").iter().map(Vec::len).collect();
    assert_eq!(lengths, [1, 10, 10, 10]);
}

#[test]
fn a_bad_row_fails_alone() {
    for panics in [false, true] {
        let (open, gate) = channel::<()>();
        let gate = Mutex::new(gate);
        let subject = subject(options(), move |rows| {
            if rows[0].0 == "first" {
                let _ = gate.lock().expect("not poisoned").recv();
            }
            match rows.iter().any(|row| row.0 == "bad") {
                true if panics => panic!("on purpose"),
                true => Err(BridgeError::inference(None, "bad")),
                false => Ok(()),
            }
        });
        let calls = ["first", "good", "bad", "good"].map(|name| (name, subject.start(name, &[&[10]])));
        drop(open);
        for (name, (_, thread)) in calls {
            let outcome = answer(thread).expect("outcomes").remove(0).map_err(|error| error.code().as_str());
            let code = if panics { "internal" } else { "inference" };
            assert_eq!(outcome, if name == "bad" { Err(code) } else { Ok(10) });
        }
        assert_eq!(subject.names(), ["first", "goodbadgood", "good", "bad", "good"]);
        // After a panic, the sessions may be in any state: they are created again.
        assert_eq!(subject.loads.load(Ordering::SeqCst), if panics { 3 } else { 1 });
        assert!(answer(subject.start("last", &[&[7]]).1).is_ok());
    }
}

#[test]
fn a_full_queue_refuses_calls_at_once() {
    let (subject, gate) = blocked(LaneOptions { max_waiting: 2, merges: false, ..options() });
    let calls = [subject.start("bulk", &[&[9], &[8]]), subject.start("a", &[&[5]])];
    // The long call waits for its second run, the other one for its first.
    assert_eq!(subject.lane.status().waiting, 2);
    let refused = call(&subject.lane, job("b", &[&[5]]), &Caller::blocking());
    assert_eq!(refused, Err(BridgeError::Overloaded { limit: 2 }));
    drop(gate);
    for (_, thread) in calls {
        assert!(answer(thread).is_ok());
    }
    assert_eq!((subject.lane.status().waiting, subject.names().concat()), (0, "bulkabulk".to_owned()));
    assert!(call(&subject.lane, job("c", &[&[5]]), &Caller::blocking()).is_ok());
}

#[test]
fn a_stopped_call_leaves_the_queue() {
    let (subject, gate) = blocked(LaneOptions { merges: false, ..options() });
    let first = subject.start("first", &[&[9]]);
    let waiting = subject.start("stopped", &[&[5], &[4]]);
    let last = subject.start("last", &[&[5]]);
    waiting.0.stop(BridgeError::Cancelled);
    // The answer does not wait for the run of the other call.
    assert_eq!(answer(waiting.1), Ok(vec![Err(BridgeError::Cancelled); 2]));
    assert_eq!(subject.lane.shared.queued(), 1);
    drop(gate);
    assert!(answer(first.1).is_ok() && answer(last.1).is_ok());
    assert_eq!(subject.names(), ["first", "last"]);
}

#[test]
fn a_future_that_is_dropped_leaves_the_queue() {
    let (subject, gate) = blocked(options());
    let first = subject.start("first", &[&[90]]);
    let permit = subject.lane.admit().expect("a permit");
    let caller = Caller::blocking();
    {
        let mut future = Box::pin(permit.run(job("dropped", &[&[5]]), &caller, |_| ()));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(future.as_mut().poll(&mut context).is_pending());
        assert_eq!(subject.lane.shared.queued(), 1);
    }
    drop(permit);
    assert_eq!((subject.lane.shared.queued(), subject.lane.status().waiting), (0, 0));
    drop(gate);
    assert!(answer(first.1).is_ok());
    assert_eq!(subject.names(), ["first"]);
}

#[test]
fn a_shared_run_goes_on_until_all_its_calls_are_stopped() {
    let (open, gate) = channel::<()>();
    let (ask, questions) = channel::<()>();
    let (reply, replies) = channel::<bool>();
    let ends = Mutex::new((gate, questions, reply));
    let hook = move |rows: &[Row], scope: &RunScope<'_>| {
        let (gate, questions, reply) = &*ends.lock().expect("not poisoned");
        if rows[0].0 == "first" {
            let _ = gate.recv();
            return Ok(());
        }
        while questions.recv().is_ok() {
            reply.send(scope.check().is_ok()).expect("a receiver");
        }
        scope.check()
    };
    let subject = subject_with(options(), 0, Box::new(hook));
    let first = subject.start("first", &[&[10]]);
    let (one, two) = (subject.start("one", &[&[10]]), subject.start("two", &[&[10]]));
    drop(open);
    let goes_on = || {
        ask.send(()).expect("a receiver");
        replies.recv_timeout(LIMIT).expect("a reply")
    };
    assert!(goes_on());
    one.0.stop(BridgeError::Cancelled);
    // The stopped call has its answer while the run goes on for the other one.
    assert_eq!(answer(one.1), Ok(vec![Err(BridgeError::Cancelled)]));
    assert!(goes_on());
    two.0.stop(BridgeError::Cancelled);
    assert!(!goes_on());
    drop(ask);
    assert_eq!((answer(two.1), answer(first.1)), (Ok(vec![Err(BridgeError::Cancelled)]), Ok(vec![Ok(10)])));
    assert_eq!(subject.names(), ["first", "onetwo"]);
}

#[test]
fn a_model_that_cannot_be_loaded_is_tried_again() {
    let subject = subject_with(options(), 1, Box::new(|_, _| Ok(())));
    let status = || (subject.lane.status().state, subject.lane.status().error.map(|code| code.as_str()));
    assert_eq!(status(), (ModelState::Unloaded, None));
    let caller = Caller::blocking();
    let failed = call(&subject.lane, job("a", &[&[5], &[4]]), &caller);
    assert_eq!(failed.map_err(|error| error.code().as_str()), Err("dependency"));
    assert_eq!(status(), (ModelState::Failed, Some("dependency")));
    assert!(subject.lane.status().last_success.is_none());
    assert_eq!(call(&subject.lane, job("a", &[&[5], &[4]]), &caller), Ok(vec![Ok(5), Ok(4)]));
    assert_eq!(status(), (ModelState::Ready, None));
    assert!(subject.lane.status().last_success.is_some());
    subject.lane.unload();
    assert_eq!(status().0, ModelState::Unloaded);
    assert_eq!(block_on(subject.lane.warm_up(0, &caller)), Ok(()));
    assert_eq!((status().0, subject.loads.load(Ordering::SeqCst)), (ModelState::Ready, 3));
    assert_eq!(subject.names().len(), 2);
}

#[test]
fn runs_of_one_call_overlap_on_several_threads() {
    let (arrived, arrivals) = channel::<()>();
    let (open, gate) = channel::<()>();
    let ends = (Mutex::new(arrived), Mutex::new(gate));
    let overlapping = LaneOptions { workers: 3, overlaps: true, merges: false, ..options() };
    let subject = subject(overlapping, move |_| {
        ends.0.lock().expect("not poisoned").send(()).expect("a receiver");
        let _ = ends.1.lock().expect("not poisoned").recv();
        Ok(())
    });
    let (_, thread) = subject.start("a", &[&[5], &[4], &[3], &[2], &[1]]);
    for _ in 0..3 {
        arrivals.recv_timeout(LIMIT).expect("three runs at a time");
    }
    assert_eq!(subject.lane.status().running, 3);
    assert!(arrivals.try_recv().is_err());
    drop(open);
    assert_eq!(answer(thread), Ok(vec![Ok(5), Ok(4), Ok(3), Ok(2), Ok(1)]));
    assert_eq!(subject.loads.load(Ordering::SeqCst), 3);
}

/// The caller may look at the memory, or end the process.
#[test]
fn the_sessions_are_freed_before_the_drop_of_a_lane_returns() {
    let Subject { lane, .. } = subject(options(), |_| Ok(()));
    call(&lane, job("a", &[&[1]]), &Caller::blocking()).expect("an answer");
    let sessions = Arc::clone(&lane.runner().sessions);
    let _as_a_thread = Arc::clone(&lane.shared);
    assert_eq!(Arc::strong_count(&sessions), 3);
    drop(lane);
    assert_eq!(Arc::strong_count(&sessions), 2);
}

#[test]
fn the_threads_end_with_the_lane() {
    let subject = subject(options(), |_| Ok(()));
    assert!(call(&subject.lane, job("a", &[&[5]]), &Caller::blocking()).is_ok());
    let shared = Arc::downgrade(&subject.lane.shared);
    drop(subject);
    until(|| shared.upgrade().is_none());
}
