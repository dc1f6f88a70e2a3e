//! Tests of the turns of calls, of rows that run together, and of the slots of runs.

use proptest::prelude::*;

use super::*;
use crate::BridgeError;
use crate::runtime::batch::Outcome;
use crate::runtime::scope::RunScope;

struct Words;

impl Runner for Words {
    type Worker = ();
    type Key = u8;
    type Row = usize;
    type Answer = ();

    fn load(&self) -> Result<(), BridgeError> {
        Ok(())
    }

    fn len(row: &usize) -> usize {
        *row
    }

    fn run(&self, (): &mut (), _: &u8, rows: &[&usize], _: &RunScope<'_>) -> Result<Vec<Outcome<()>>, BridgeError> {
        Ok(rows.iter().map(|_| Ok(())).collect())
    }
}

fn call(id: u64, key: u8, runs: &[&[usize]]) -> Call<Words> {
    let rows: Vec<Option<usize>> = runs.concat().into_iter().map(Some).collect();
    let mut indices = 0..rows.len();
    let runs = runs.iter().map(|run| indices.by_ref().take(run.len()).collect()).collect();
    let (waits, stop, inbox) = (Arc::new(AtomicBool::new(true)), Arc::default(), Arc::new(Inbox::new()));
    Call { id, key, rows, runs, is_last: true, waits, wait: None, trace: Trace::default(), stop, inbox }
}

fn queue(calls: Vec<Call<Words>>) -> Queue<Words> {
    Queue { waiting: calls.len(), calls: calls.into() }
}

fn options(merges: bool, overlaps: bool) -> LaneOptions {
    LaneOptions { workers: 1, max_waiting: 9, run_tokens: 100, merges, overlaps, slot_tokens: None, shrinks: true }
}

/// The lengths of the rows of the next run by call. The calls return to the queue.
fn next(queue: &mut Queue<Words>, options: &LaneOptions) -> Vec<Vec<usize>> {
    let parts = queue.take(options, 1).map_or_else(Vec::new, |batch| batch.parts);
    let rows = |part: Part<Words>| {
        part.rest.into_iter().for_each(|rest| queue.push(rest));
        part.rows.into_iter().map(|(_, row)| row).collect()
    };
    parts.into_iter().map(rows).collect()
}

#[test]
fn calls_take_turns_run_by_run() {
    let mut queue =
        queue(vec![call(0, 0, &[&[50, 50], &[40, 40], &[30]]), call(1, 0, &[&[10]]), call(2, 0, &[&[20], &[5]])]);
    let options = options(false, false);
    let order: Vec<_> = (0..7).map(|_| next(&mut queue, &options)).collect();
    let expected: [&[&[usize]]; 7] = [&[&[50, 50]], &[&[10]], &[&[20]], &[&[40, 40]], &[&[5]], &[&[30]], &[]];
    assert_eq!(order, expected);
    assert_eq!((queue.waiting, queue.len()), (0, 0));
}

#[test]
fn a_call_waits_until_its_last_run_starts() {
    let mut queue = queue(vec![call(0, 0, &[&[5], &[4]])]);
    queue
        .take(&options(true, false), 1)
        .expect("a run")
        .parts
        .into_iter()
        .filter_map(|part| part.rest)
        .for_each(|rest| queue.push(rest));
    assert_eq!((queue.waiting, queue.len()), (1, 1));
    assert!(queue.take(&options(true, false), 1).is_some_and(|batch| batch.parts[0].rest.is_none()));
    assert_eq!(queue.waiting, 0);
}

#[test]
fn similar_rows_of_one_key_run_together() {
    let calls = vec![
        call(0, 0, &[&[10, 9]]),
        call(1, 0, &[&[10]]),
        call(2, 1, &[&[10]]),
        call(3, 0, &[&[40]]),
        call(4, 0, &[&[9], &[1]]),
    ];
    let mut queue = queue(calls);
    let options = options(true, false);
    let order: Vec<_> = (0..5).map(|_| next(&mut queue, &options)).collect();
    let expected: [&[&[usize]]; 5] = [&[&[10, 9], &[10], &[9]], &[&[10]], &[&[40]], &[&[1]], &[]];
    assert_eq!(order, expected);
}

#[test]
fn a_call_without_rows_runs_alone() {
    let mut queue = queue(vec![call(0, 0, &[&[]]), call(1, 0, &[&[5]])]);
    let options = options(true, false);
    assert_eq!(next(&mut queue, &options), [Vec::<usize>::new()]);
    assert_eq!(next(&mut queue, &options), [[5]]);
}

#[test]
fn runs_of_one_call_overlap_only_if_allowed() {
    let overlapping = options(false, true);
    let mut queue = queue(vec![call(0, 0, &[&[5], &[4]])]);
    let batches = [queue.take(&overlapping, 1), queue.take(&overlapping, 1)];
    assert!(batches.iter().flatten().all(|batch| batch.parts[0].rest.is_none()));
    assert_eq!(batches.map(|batch| batch.map(|batch| batch.parts[0].rows[0].1)), [Some(5), Some(4)]);
}

fn with_slots(workers: usize) -> LaneOptions {
    LaneOptions { workers, slot_tokens: Some(100), ..options(false, true) }
}

#[test]
fn a_run_takes_slots_by_its_tokens() {
    let slots = |lengths: &[usize]| {
        let load = lengths.iter().map(|length| Load::of(*length)).reduce(Load::with);
        with_slots(4).slots(load)
    };
    assert_eq!([slots(&[]), slots(&[0]), slots(&[100]), slots(&[101]), slots(&[60, 60])], [1, 1, 1, 2, 2]);
    assert_eq!([slots(&[400]), slots(&[401]), slots(&[9999, 9])], [4, 4, 4]);
    assert_eq!(LaneOptions { slot_tokens: None, ..with_slots(4) }.slots(Some(Load::of(400))), 1);
}

#[test]
fn a_large_run_waits_for_slots_and_is_not_overtaken() {
    let mut queue = queue(vec![call(0, 0, &[&[250]]), call(1, 0, &[&[10]])]);
    let options = with_slots(4);
    assert!(queue.take(&options, 2).is_none());
    assert_eq!((queue.len(), queue.waiting), (2, 2));
    assert_eq!(queue.take(&options, 3).map(|batch| (batch.slots, batch.parts[0].rows[0].1)), Some((3, 250)));
    assert_eq!(queue.take(&options, 1).map(|batch| (batch.slots, batch.parts[0].rows[0].1)), Some((1, 10)));
}

#[test]
fn stopped_calls_are_skipped() {
    let calls: Vec<_> = (0..4).map(|id| call(id, 0, &[&[5]])).collect();
    [0, 2].into_iter().for_each(|index: usize| calls[index].stop.stop(BridgeError::Cancelled));
    let mut queue = queue(calls);
    assert_eq!(queue.remove(3).map(|call| call.id), Some(3));
    assert_eq!(next(&mut queue, &options(true, false)), [[5]]);
    assert!(queue.take(&options(true, false), 1).is_none());
}

proptest! {
    #[test]
    fn merged_runs_are_within_the_bounds_and_lose_no_row(
        lengths in proptest::collection::vec(0_usize..120, 0..90),
    ) {
        let calls = lengths.iter().enumerate().map(|(id, length)| call(id as u64, 0, &[&[*length]])).collect();
        let mut queue = queue(calls);
        let options = options(true, false);
        let mut seen = Vec::new();
        while let Some(first) = queue.calls.front().map(|call| call.id) {
            let batch = queue.take(&options, 1).expect("a run");
            let rows: Vec<usize> = batch.parts.iter().flat_map(|part| &part.rows).map(|(_, row)| *row).collect();
            prop_assert_eq!(rows[0], lengths[first as usize]);
            let width = rows.iter().copied().max().unwrap_or(0).max(1);
            let (padded, tokens) = (rows.len() * width, rows.iter().map(|row| *row.max(&1)).sum::<usize>());
            prop_assert!(rows.len() == 1 || padded <= 100 && (padded - tokens) * 4 <= padded, "{:?}", rows);
            seen.extend(rows);
        }
        let mut expected = lengths;
        seen.sort_unstable();
        expected.sort_unstable();
        prop_assert_eq!(seen, expected);
        prop_assert_eq!(queue.waiting, 0);
    }

    #[test]
    fn runs_start_in_turn_within_the_slots(
        lengths in proptest::collection::vec(proptest::collection::vec(0_usize..500, 1..5), 1..20),
        workers in 1_usize..6,
        ends in proptest::collection::vec(0_usize..6, 1..9),
    ) {
        let calls = lengths.iter().enumerate().map(|(id, rows)| {
            let runs: Vec<&[usize]> = rows.chunks(1).collect();
            call(id as u64, 0, &runs)
        });
        let (mut queue, options) = (queue(calls.collect()), with_slots(workers));
        let (mut running, mut ends, mut seen) = (Vec::new(), ends.into_iter().cycle(), Vec::new());
        while let Some(first) = queue.calls.front().map(|call| call.id) {
            let used: usize = running.iter().sum();
            prop_assert!(used <= workers);
            if let Some(batch) = queue.take(&options, workers - used) {
                running.push(batch.slots);
                seen.push((first, batch.parts[0].rows[0].1));
            } else {
                // The queue waits for the end of a run, and for nothing else.
                prop_assert!(!running.is_empty());
                running.swap_remove(ends.next().unwrap_or(0) % running.len());
            }
        }
        let rows = |id: usize| seen.iter().filter(|run| run.0 == id as u64).map(|run| run.1).collect::<Vec<_>>();
        prop_assert_eq!((0..lengths.len()).map(rows).collect::<Vec<_>>(), lengths);
    }
}
