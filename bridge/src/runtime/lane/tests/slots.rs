//! Tests of runs beside each other, of which large ones take several slots.

use proptest::prelude::*;

use super::*;

/// Runs of up to three times 100 tokens beside each other.
fn with_slots() -> LaneOptions {
    LaneOptions { workers: 3, overlaps: true, merges: false, slot_tokens: Some(100), ..options() }
}

#[test]
fn a_large_run_waits_for_its_slots() {
    let (subject, gate) = blocked(with_slots());
    let calls = [subject.start("a", &[&[100]]), subject.start("large", &[&[201]]), subject.start("b", &[&[5]])]
        .map(|call| call.1);
    // The other threads have looked at the queue, and the small call does not overtake the large one.
    until(|| subject.lane.shared.idle() == 2);
    assert_eq!((subject.lane.status().running, subject.lane.shared.queued()), (1, 2));
    drop(gate);
    assert!(calls.into_iter().all(|thread| answer(thread).is_ok()));
    assert_eq!(subject.names(), ["a", "large", "b"]);
}

#[test]
fn a_small_call_starts_when_the_large_one_before_it_is_stopped() {
    let (subject, gate) = blocked(with_slots());
    let first = subject.start("a", &[&[100]]);
    let large = subject.start("large", &[&[300]]);
    let small = subject.start("b", &[&[5]]);
    until(|| subject.lane.shared.idle() == 2);
    large.0.stop(BridgeError::Cancelled);
    until(|| subject.names() == ["a", "b"]);
    assert_eq!(answer(small.1), Ok(vec![Ok(5)]));
    assert_eq!((answer(large.1), subject.lane.status().running), (Ok(vec![Err(BridgeError::Cancelled)]), 1));
    drop(gate);
    assert_eq!(answer(first.1), Ok(vec![Ok(100)]));
}

#[test]
fn the_end_of_a_large_run_starts_as_many_runs_as_fit() {
    let (open, gate) = channel::<()>();
    let (arrived, arrivals) = channel::<()>();
    let (open_small, small_gate) = channel::<()>();
    let ends = (Mutex::new(gate), Mutex::new(arrived), Mutex::new(small_gate));
    let subject = subject(with_slots(), move |rows| {
        if rows[0].0 == "large" {
            let _ = ends.0.lock().expect("not poisoned").recv();
        } else {
            ends.1.lock().expect("not poisoned").send(()).expect("a receiver");
            let _ = ends.2.lock().expect("not poisoned").recv();
        }
        Ok(())
    });
    let large = subject.start("large", &[&[300]]);
    let others: Vec<_> = (0..4).map(|_| subject.start("small", &[&[5]])).collect();
    until(|| subject.lane.shared.idle() == 2);
    drop(open);
    for _ in 0..3 {
        arrivals.recv_timeout(LIMIT).expect("three runs at a time");
    }
    assert_eq!((subject.lane.status().running, subject.lane.shared.queued()), (3, 1));
    drop(open_small);
    assert!(others.into_iter().chain([large]).all(|(_, thread)| answer(thread).is_ok()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn all_rows_are_answered_within_the_slots(
        calls in proptest::collection::vec(proptest::collection::vec(1_usize..400, 1..12), 1..8),
        workers in 1_usize..5,
        merges in proptest::bool::ANY,
    ) {
        let options = LaneOptions { workers, overlaps: workers > 1, merges, ..with_slots() };
        let (used, most) = (AtomicUsize::new(0), Arc::<AtomicUsize>::default());
        let seen = Arc::clone(&most);
        let subject = subject(options, move |rows| {
            let slots = options.slots(rows.iter().map(|row| Load::of(row.1)).reduce(Load::with));
            seen.fetch_max(used.fetch_add(slots, Ordering::SeqCst) + slots, Ordering::SeqCst);
            thread::sleep(Duration::from_micros(rows[0].1 as u64));
            used.fetch_sub(slots, Ordering::SeqCst);
            Ok(())
        });
        let answers: Vec<Answer> = thread::scope(|scope| {
            let start = |lengths: &Vec<usize>| {
                let runs: Vec<&[usize]> = lengths.chunks(1).collect();
                let (lane, job) = (Arc::clone(&subject.lane), job("x", &runs));
                scope.spawn(move || call(&lane, job, &Caller::blocking()))
            };
            let threads: Vec<_> = calls.iter().map(start).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        let expected: Vec<Answer> = calls.iter().map(|rows| Ok(rows.iter().map(|row| Ok(*row)).collect())).collect();
        prop_assert_eq!(answers, expected);
        prop_assert!(most.load(Ordering::SeqCst) <= workers);
        prop_assert_eq!(subject.lane.status().running, 0);
    }
}
