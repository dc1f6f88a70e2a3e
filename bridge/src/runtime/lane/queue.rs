//! The waiting calls of a lane: whose turn it is, and which rows run together.

#[cfg(test)]
mod tests;

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
    /// The slots that the run takes.
    pub(super) slots: usize,
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
    /// first run takes more than the free slots: no other one overtakes it.
    pub(super) fn take(&mut self, options: &LaneOptions, free_slots: usize) -> Option<Batch<R>> {
        let first = std::iter::from_fn(|| self.calls.pop_front()).find(|call| !call.is_stopped())?;
        let (key, load) = (first.key.clone(), first.load());
        // Other rows add no slots: they run together only up to the limit on tokens, which one slot holds.
        let slots = options.slots(load);
        if slots > free_slots {
            self.calls.push_front(first);
            return None;
        }
        let mut calls = vec![first];
        if let Some(load) = load.filter(|_| options.merges) {
            self.add_others(&mut calls, load, options.run_tokens);
        }
        let parts = calls.into_iter().map(|call| self.part(call, options)).collect();
        Some(Batch { key, slots, parts })
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
