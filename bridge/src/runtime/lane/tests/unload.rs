//! Tests of unloads while the run of a stopped call is still going.

use super::*;

/// A lane whose call `stopped` has its answer, while its run goes on until the sender is dropped, and then may panic.
fn going_on(panics: bool) -> (Subject, Sender<()>) {
    let (open, gate) = channel::<()>();
    let gate = Mutex::new(gate);
    let subject = subject(options(), move |rows| {
        if rows[0].0 == "stopped" {
            let _ = gate.lock().expect("not poisoned").recv();
            assert!(!panics, "on purpose");
        }
        Ok(())
    });
    let (stop, thread) = subject.start("stopped", &[&[5]]);
    stop.stop(BridgeError::Cancelled);
    assert_eq!(answer(thread), Ok(vec![Err(BridgeError::Cancelled)]));
    (subject, open)
}

/// Besides the loaded sessions, the runner and the test have a clone.
fn loaded(subject: &Subject) -> usize {
    Arc::strong_count(&subject.lane.runner().sessions) - 1
}

fn state(subject: &Subject) -> ModelState {
    subject.lane.status().state
}

#[test]
fn an_unload_frees_the_sessions_of_a_stopped_run_when_it_ends() {
    for panics in [false, true] {
        let (subject, gate) = going_on(panics);
        assert_eq!((loaded(&subject), state(&subject)), (1, ModelState::Ready));
        subject.lane.unload();
        assert_eq!((loaded(&subject), state(&subject)), (1, ModelState::Unloaded));
        drop(gate);
        until(|| loaded(&subject) == 0 && subject.lane.status().running == 0);
        assert!(!subject.lane.shared.is_loaded());
        assert_eq!(call(&subject.lane, job("a", &[&[3]]), &Caller::blocking()), Ok(vec![Ok(3)]));
        assert_eq!((loaded(&subject), state(&subject)), (1, ModelState::Ready));
        assert_eq!(subject.loads.load(Ordering::SeqCst), 2);
    }
}

/// A load after the unload does not take the sessions of the old run for its own.
#[test]
fn a_model_is_loaded_again_while_the_stopped_run_goes_on() {
    let (subject, gate) = going_on(false);
    subject.lane.unload();
    let lane = Arc::clone(&subject.lane);
    let load = thread::spawn(move || block_on(lane.warm_up(0, &Caller::blocking())));
    until(|| subject.lane.shared.queued() == 1);
    assert_eq!((load.is_finished(), subject.loads.load(Ordering::SeqCst)), (false, 1));
    drop(gate);
    assert_eq!(load.join().expect("no panic"), Ok(()));
    until(|| loaded(&subject) == 1);
    assert_eq!((state(&subject), subject.loads.load(Ordering::SeqCst)), (ModelState::Ready, 2));
}
