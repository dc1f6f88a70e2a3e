//! The waiting calls of a lane: whose turn it is, and which rows run together.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use tracing::Span;

use super::inbox::Inbox;
use super::{LaneOptions, Runner};
use crate::runtime::batch::Load;
use crate::runtime::cancellation::Stop;
use crate::runtime::trace::Trace;

/// How many waiting calls are looked at for rows that can run together with those of the first call.
const MAX_LOOKED_AT: usize = 64;

/// A call that has runs left.
pub(super) struct Call<R: Runner> {
    pub(super) id: u64,
    pub(super) key: R::Key,
    /// The rows of the call; `None` for rows that were taken for a run.
    pub(super) rows: Vec<Option<R::Row>>,
    /// The runs that are left, as indices of rows.
    pub(super) runs: VecDeque<Vec<usize>>,
    /// Whether the call needs the lane no more after these runs.
    pub(super) is_last: bool,
    /// Whether the call counts as a waiting one. Calls do that until their last run starts.
    pub(super) waits: Arc<AtomicBool>,
    /// How long the call waits for its first run; `None` after that.
    pub(super) wait: Option<Wait>,
    pub(super) trace: Trace,
    pub(super) stop: Arc<Stop>,
    pub(super) inbox: Arc<Inbox<R::Answer>>,
}

/// The wait for the first run of a call, and its span.
pub(super) struct Wait {
    pub(super) since: Instant,
    _span: Span,
}

impl Wait {
    pub(super) fn start(trace: &Trace) -> Self {
        Self { since: Instant::now(), _span: trace.queue() }
    }
}

/// The rows of one call in a run, by their index in the call.
pub(super) struct Part<R: Runner> {
    pub(super) rows: Vec<(usize, R::Row)>,
    /// The wait that ends with this run.
    pub(super) wait: Option<Wait>,
    /// Whether the call does not count as a waiting one any more, from this run on.
    pub(super) waits_no_more: bool,
    pub(super) trace: Trace,
    pub(super) stop: Arc<Stop>,
    pub(super) inbox: Arc<Inbox<R::Answer>>,
    /// The call, if it has runs left and goes back to the queue when this run has ended.
    pub(super) rest: Option<Call<R>>,
}

/// The rows that run together.
pub(super) struct Batch<R: Runner> {
    pub(super) key: R::Key,
    /// The places that the run takes.
    pub(super) places: usize,
    pub(super) parts: Vec<Part<R>>,
}

impl<R: Runner> Call<R> {
    fn is_stopped(&self) -> bool {
        self.stop.check().is_err()
    }

    /// The size of the next run; `None` if the run has no rows.
    fn load(&self) -> Option<Load> {
        let rows = self.runs.front()?.iter().filter_map(|&row| self.rows[row].as_ref());
        rows.map(|row| Load::of(R::len(row))).reduce(Load::with)
    }

    /// Takes the rows of the next run.
    fn take(mut self) -> Part<R> {
        let run = self.runs.pop_front().unwrap_or_default();
        let rows = run.into_iter().filter_map(|row| Some((row, self.rows[row].take()?))).collect();
        let (stop, inbox, trace) = (Arc::clone(&self.stop), Arc::clone(&self.inbox), self.trace.clone());
        let wait = self.wait.take();
        Part {
            rows,
            wait,
            waits_no_more: false,
            trace,
            stop,
            inbox,
            rest: Some(self).filter(|call| !call.runs.is_empty()),
        }
    }
}

/// The waiting calls of a lane, in the order of their turns.
pub(super) struct Queue<R: Runner> {
    calls: VecDeque<Call<R>>,
    /// The number of calls that count as waiting ones. A call that will return to the queue is one of them.
    pub(super) waiting: usize,
}

impl<R: Runner> Default for Queue<R> {
    fn default() -> Self {
        Self { calls: VecDeque::new(), waiting: 0 }
    }
}

impl<R: Runner> Queue<R> {
    pub(super) fn len(&self) -> usize {
        self.calls.len()
    }

    /// Adds a call at the end.
    pub(super) fn push(&mut self, call: Call<R>) {
        self.calls.push_back(call);
    }

    /// Removes a call that waits for its turn.
    pub(super) fn remove(&mut self, id: u64) -> Option<Call<R>> {
        let index = self.calls.iter().position(|call| call.id == id)?;
        self.calls.remove(index)
    }

    /// Takes the next run of the first call, and the next runs of other calls that can run together with it. `None` if the
    /// first run takes more than the free places: no other one overtakes it.
    pub(super) fn take(&mut self, options: &LaneOptions, free_places: usize) -> Option<Batch<R>> {
        let first = std::iter::from_fn(|| self.calls.pop_front()).find(|call| !call.is_stopped())?;
        let (key, load) = (first.key.clone(), first.load());
        // Other rows add no places: they run together only up to the limit on tokens, which one place holds.
        let places = options.places(load);
        if places > free_places {
            self.calls.push_front(first);
            return None;
        }
        let mut calls = vec![first];
        if let Some(load) = load.filter(|_| options.merges) {
            self.add_others(&mut calls, load, options.run_tokens);
        }
        let parts = calls.into_iter().map(|call| self.part(call, options)).collect();
        Some(Batch { key, places, parts })
    }

    /// Takes other calls of the same key, first those whose rows have about the same length.
    fn add_others(&mut self, calls: &mut Vec<Call<R>>, mut load: Load, run_tokens: usize) {
        let looked_at = self.calls.iter().take(MAX_LOOKED_AT).enumerate();
        let same = looked_at.filter(|(_, call)| call.key == calls[0].key && !call.is_stopped());
        let mut others: Vec<(usize, Load)> = same.filter_map(|(index, call)| Some((index, call.load()?))).collect();
        others.sort_by_key(|(_, other)| other.width.abs_diff(load.width));
        let mut chosen = Vec::new();
        for (index, other) in others {
            let together = load.with(other);
            if together.can_merge(run_tokens) {
                load = together;
                chosen.push(index);
            }
        }
        chosen.sort_unstable();
        let taken: Vec<_> = chosen.iter().rev().filter_map(|&index| self.calls.remove(index)).collect();
        calls.extend(taken.into_iter().rev());
    }

    /// Takes the next run of a call. A call that may have several runs at a time returns to the queue at once.
    fn part(&mut self, call: Call<R>, options: &LaneOptions) -> Part<R> {
        let waits_no_more = call.is_last && call.runs.len() <= 1 && call.waits.swap(false, Ordering::Relaxed);
        self.waiting -= usize::from(waits_no_more);
        let mut part = call.take();
        part.waits_no_more = waits_no_more;
        if options.overlaps {
            part.rest.take().into_iter().for_each(|rest| self.push(rest));
        }
        part
    }
}

#[cfg(test)]
mod tests {
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
        LaneOptions { workers: 1, max_waiting: 9, run_tokens: 100, merges, overlaps, place_tokens: None, shrinks: true }
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

    fn with_places(workers: usize) -> LaneOptions {
        LaneOptions { workers, place_tokens: Some(100), ..options(false, true) }
    }

    #[test]
    fn a_run_takes_places_by_its_tokens() {
        let places = |lengths: &[usize]| {
            let load = lengths.iter().map(|length| Load::of(*length)).reduce(Load::with);
            with_places(4).places(load)
        };
        assert_eq!([places(&[]), places(&[0]), places(&[100]), places(&[101]), places(&[60, 60])], [1, 1, 1, 2, 2]);
        assert_eq!([places(&[400]), places(&[401]), places(&[9999, 9])], [4, 4, 4]);
        assert_eq!(LaneOptions { place_tokens: None, ..with_places(4) }.places(Some(Load::of(400))), 1);
    }

    #[test]
    fn a_large_run_waits_for_places_and_is_not_overtaken() {
        let mut queue = queue(vec![call(0, 0, &[&[250]]), call(1, 0, &[&[10]])]);
        let options = with_places(4);
        assert!(queue.take(&options, 2).is_none());
        assert_eq!((queue.len(), queue.waiting), (2, 2));
        assert_eq!(queue.take(&options, 3).map(|batch| (batch.places, batch.parts[0].rows[0].1)), Some((3, 250)));
        assert_eq!(queue.take(&options, 1).map(|batch| (batch.places, batch.parts[0].rows[0].1)), Some((1, 10)));
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
        fn runs_start_in_turn_within_the_places(
            lengths in proptest::collection::vec(proptest::collection::vec(0_usize..500, 1..5), 1..20),
            workers in 1_usize..6,
            ends in proptest::collection::vec(0_usize..6, 1..9),
        ) {
            let calls = lengths.iter().enumerate().map(|(id, rows)| {
                let runs: Vec<&[usize]> = rows.chunks(1).collect();
                call(id as u64, 0, &runs)
            });
            let (mut queue, options) = (queue(calls.collect()), with_places(workers));
            let (mut running, mut ends, mut seen) = (Vec::new(), ends.into_iter().cycle(), Vec::new());
            while let Some(first) = queue.calls.front().map(|call| call.id) {
                let used: usize = running.iter().sum();
                prop_assert!(used <= workers);
                if let Some(batch) = queue.take(&options, workers - used) {
                    running.push(batch.places);
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
}
