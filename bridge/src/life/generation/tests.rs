//! Tests of loads that wait for their turn.

use std::fs;
use std::pin::Pin;
use std::sync::mpsc::channel;
use std::task::{Context, Waker};
use std::thread;

use tempfile::TempDir;

use super::*;
use crate::artifact::copied::copied_artifact;
use crate::life::slot::{self, Opening, Slot};
use crate::runtime::blocking::block_on;
use crate::{BridgeOptions, Model};

const LIMIT: Duration = Duration::from_secs(120);

/// A model whose loads wait for their turn, which another model has.
struct Subject {
    artifact: TempDir,
    slot: Arc<Slot>,
    other: Arc<Slot>,
}

fn subject() -> Subject {
    let artifact = copied_artifact();
    let options = BridgeOptions::default().threads(1).memory_mb(1000);
    let opening = Opening::new(&options, options.model_options()).expect("options");
    let open = || Slot::open(Model::new(artifact.path()).variant("fp32"), &opening).expect("an artifact");
    Subject { slot: open(), other: open(), artifact }
}

/// Waits until a condition holds.
fn until(condition: impl Fn() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < LIMIT);
        thread::sleep(Duration::from_millis(1));
    }
}

impl Subject {
    fn model(&self) -> Arc<Generation> {
        self.slot.current().expect("open")
    }

    /// Starts a call while it is not its turn to load the model, does something then, and lets the load go on.
    fn enter(&self, stop: &Stop, meanwhile: impl FnOnce()) -> Result<slot::Call, BridgeError> {
        let (model, other) = (self.model(), self.other.current().expect("open"));
        let turn = model.conditions.budget.make_room(&other, &Stop::default()).expect("a turn");
        thread::scope(|scope| {
            let call = scope.spawn(|| self.slot.enter(stop));
            until(|| model.lock().load == LoadState::Loading);
            meanwhile();
            drop(turn);
            call.join().expect("no panic")
        })
    }
}

#[test]
fn an_unload_during_a_load_frees_the_graphs_after_the_call() {
    let subject = subject();
    let call = subject.enter(&Stop::default(), || subject.slot.unload()).expect("a call");
    assert!(subject.model().is_loaded());
    drop(call);
    assert!(!subject.model().is_loaded());
}

#[test]
fn an_unload_during_a_load_that_fails_does_not_concern_the_next_one() {
    let subject = subject();
    let stop = Stop::default();
    let stopped = subject.enter(&stop, || {
        subject.slot.unload();
        stop.stop(BridgeError::Cancelled);
        until(|| subject.model().lock().load == LoadState::Unloaded);
    });
    drop(stopped.expect("a call without graphs"));
    drop(subject.slot.enter(&Stop::default()).expect("a call"));
    assert!(subject.model().is_loaded());
}

/// The thread that holds the lock does not exist in the fork.
#[test]
fn a_fork_does_not_wait_for_the_lock_of_a_thread() {
    let subject = subject();
    let model = subject.model();
    model.owner.set_other();
    let guard = model.lock();
    let (sender, answers) = channel();
    let slot = Arc::clone(&subject.slot);
    thread::spawn(move || {
        let codes = [slot.enter(&Stop::default()), block_on(slot.enter_async(&Arc::default()))]
            .map(|call| call.err().map(|error| error.code().as_str()));
        let state = slot.status().state;
        slot.close();
        sender.send((codes, state)).expect("a receiver");
    });
    assert_eq!(answers.recv_timeout(LIMIT), Ok(([Some("inference"); 2], ModelState::Failed)));
    drop(guard);
}

#[test]
fn files_that_change_while_a_load_waits_are_refused() {
    let subject = subject();
    let path = subject.artifact.path().join("onnx/model.onnx");
    let mut bytes = fs::read(&path).expect("a graph");
    *bytes.last_mut().expect("bytes") ^= 1;
    let refused = subject.enter(&Stop::default(), || fs::write(&path, &bytes).expect("a file"));
    assert_eq!(refused.err().map(|error| error.code().as_str()), Some("file_hash"));
    assert!(!subject.model().is_loaded());
}

/// There is no runtime, so that no call has a thread of one.
#[test]
fn asynchronous_calls_wait_for_one_load_without_threads() {
    let subject = subject();
    let (model, other) = (subject.model(), subject.other.current().expect("open"));
    let turn = model.conditions.budget.make_room(&other, &Stop::default()).expect("a turn");
    let stops: Vec<Arc<Stop>> = (0..20).map(|_| Arc::default()).collect();
    let mut calls: Vec<Pin<Box<_>>> = stops.iter().map(|stop| Box::pin(subject.slot.enter_async(stop))).collect();
    let mut context = Context::from_waker(Waker::noop());
    assert!(calls.iter_mut().all(|call| call.as_mut().poll(&mut context).is_pending()));
    assert_eq!(model.lock().load, LoadState::Loading);
    // A call that is stopped does not wait for the load, nor does one that is dropped.
    let (stopped, stop) = (calls.remove(7), stops[7].clone());
    let stopper = thread::spawn(move || stop.stop(BridgeError::Cancelled));
    assert!(block_on(stopped).expect("a call without graphs").running.is_none());
    stopper.join().expect("no panic");
    drop(calls.pop());
    drop(turn);
    let running: Vec<slot::Call> = calls.into_iter().map(|call| block_on(call).expect("a call")).collect();
    assert_eq!((model.lock().calls, running.len()), (18, 18));
    drop(running);
    assert_eq!(model.lock().calls, 0);
    assert!(model.is_loaded());
}
