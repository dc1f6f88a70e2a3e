//! The lane of a model: the queue of its calls, and the threads that run its graphs.
//!
//! Calls wait in a queue and are served in turn, run by run: a call goes back to the end of the queue when its run has
//! ended, or at once if its runs may overlap. Rows of waiting calls run together if the model supports that. Only the threads
//! of the lane start runs, each with sessions and caches of its own or with a session that they share. The threads start with
//! the first calls.

pub(crate) mod fork;
mod inbox;
mod queue;
mod running;
#[cfg(test)]
mod tests;
mod worker;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use self::inbox::{Inbox, Message};
use self::queue::{Call, Wait};
use self::worker::Shared;
use super::batch::{Load, Outcome};
use super::blocking::on_blocking_thread;
use super::cancellation::Stop;
use super::meter::Meter;
use super::scope::RunScope;
use super::trace::Trace;
use crate::BridgeError;
use crate::status::LaneStatus;

/// Runs with more padded tokens than this free the memory that they leave behind.
const MAX_KEPT_TOKENS: usize = 512;
/// Asynchronous calls prepare inputs up to this size on their own thread, which takes a few milliseconds at worst.
const MAX_INLINE_BYTES: usize = 16 << 10;

/// What the threads of a lane do for one model.
pub(crate) trait Runner: Send + Sync + 'static {
    /// What one thread needs for a run: sessions, which threads may share, and caches.
    type Worker: Send;
    /// The options of a call that all rows of one run share.
    type Key: Clone + PartialEq + Send + Sync;
    /// One input of a run.
    type Row: Send + Sync;
    /// The answer to one row.
    type Answer: Send;

    /// Creates what one thread needs.
    ///
    /// # Errors
    /// `dependency` without a usable ONNX Runtime, `graph` if it refuses a graph.
    fn load(&self) -> Result<Self::Worker, BridgeError>;

    /// The length of a row in tokens, by which rows are grouped into runs.
    fn len(row: &Self::Row) -> usize;

    /// Whether a run of this many tokens, including padding, needs so much memory that it is freed after the run.
    fn shrinks(padded_tokens: usize) -> bool {
        padded_tokens > MAX_KEPT_TOKENS
    }

    /// Computes the answers to some rows, in their order.
    ///
    /// # Errors
    /// An error that any row may have caused: every row then runs alone. Or the reason why all calls were stopped.
    fn run(
        &self,
        worker: &mut Self::Worker,
        key: &Self::Key,
        rows: &[&Self::Row],
        scope: &RunScope<'_>,
    ) -> Result<Vec<Outcome<Self::Answer>>, BridgeError>;
}

/// The options of a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LaneOptions {
    /// The number of threads, at least 1.
    pub(crate) workers: usize,
    /// Limit on the calls that wait.
    pub(crate) max_waiting: usize,
    /// Limit on the tokens of rows of several calls that run together, including padding.
    pub(crate) run_tokens: usize,
    /// Whether rows of several calls run together.
    pub(crate) merges: bool,
    /// Whether runs of one call may overlap, one per thread.
    pub(crate) overlaps: bool,
    /// The tokens of a run, including padding, that take one of as many slots as there are threads. A larger run takes
    /// several, so that long rows beside each other do not multiply the memory. `None`: every run takes one slot.
    pub(crate) slot_tokens: Option<usize>,
    /// Whether the sessions free their unused memory after large runs.
    pub(crate) shrinks: bool,
}

impl LaneOptions {
    /// The slots that a run takes.
    fn slots(&self, load: Option<Load>) -> usize {
        let tokens = load.map_or(0, Load::padded);
        self.slot_tokens.map_or(1, |limit| tokens.div_ceil(limit.max(1)).clamp(1, self.workers.max(1)))
    }
}

/// How a call waits, and how it is stopped.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) stop: Arc<Stop>,
    /// Whether the calling thread must not be blocked.
    pub(crate) is_async: bool,
    pub(crate) trace: Trace,
    /// When the time limit of the call is over.
    pub(crate) deadline: Option<Instant>,
}

impl Caller {
    /// A caller that cannot be stopped and may be blocked.
    pub(crate) fn blocking() -> Self {
        Self { stop: Arc::default(), is_async: false, trace: Trace::default(), deadline: None }
    }

    /// Prepares the inputs of a call, of this total size in bytes. For an asynchronous call, large inputs are prepared on
    /// one of tokio's blocking threads.
    ///
    /// # Errors
    /// The errors of the work; `internal` if it panics on another thread.
    pub(crate) async fn prepare<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnOnce() -> Result<T, BridgeError> + Send + 'static,
    ) -> Result<T, BridgeError> {
        let span = self.trace.tokenize();
        let work = move || span.in_scope(work);
        if self.is_async && bytes > MAX_INLINE_BYTES { on_blocking_thread(work).await } else { work() }
    }
}

/// Some rows of a call, in runs.
pub(crate) struct Job<R: Runner> {
    pub(crate) key: R::Key,
    pub(crate) rows: Vec<R::Row>,
    /// The runs as indices of rows. Every row is in one run.
    pub(crate) runs: Vec<Vec<usize>>,
    /// Whether the call has no other job after this one.
    pub(crate) is_last: bool,
}

/// The lane of a model. When it is dropped, its threads end.
pub(crate) struct Lane<R: Runner> {
    shared: Arc<Shared<R>>,
}

impl<R: Runner> Lane<R> {
    /// A lane without threads: they start with the first call. The meter counts the runs.
    pub(crate) fn new(runner: R, options: LaneOptions, meter: Meter) -> Self {
        Self { shared: Arc::new(Shared::new(runner, options, meter)) }
    }

    /// What the threads of the lane share.
    pub(crate) fn runner(&self) -> &R {
        &self.shared.runner
    }

    /// Admits a call. All its jobs need the permit.
    ///
    /// # Errors
    /// `overloaded` if too many calls wait, `inference` in a process that was forked after the first call.
    pub(crate) fn admit(&self) -> Result<Permit<R>, BridgeError> {
        let waits = self.shared.enter()?;
        Ok(Permit { shared: Arc::clone(&self.shared), waits, has_jobs: AtomicBool::new(false) })
    }

    /// Loads the model in one thread, unless it is loaded.
    ///
    /// # Errors
    /// `dependency` without a usable ONNX Runtime, `graph` if it refuses a graph, or the reason why the call was stopped.
    pub(crate) async fn warm_up(&self, key: R::Key, caller: &Caller) -> Result<(), BridgeError> {
        self.shared.owner.check()?;
        if self.shared.is_loaded() {
            return Ok(());
        }
        let (waits, has_jobs) = (Arc::new(AtomicBool::new(false)), AtomicBool::new(true));
        let permit = Permit { shared: Arc::clone(&self.shared), waits, has_jobs };
        permit.submit(Job { key, rows: Vec::new(), runs: vec![Vec::new()], is_last: true }, caller, |_| ()).await?;
        caller.stop.check()
    }

    /// Frees what the threads need for runs; what a run uses at the moment is freed when it ends. The next call loads the model
    /// again.
    pub(crate) fn unload(&self) {
        self.shared.unload();
    }

    /// What the lane does at the moment. Does not wait for any run.
    pub(crate) fn status(&self) -> LaneStatus {
        self.shared.status()
    }
}

impl<R: Runner> Drop for Lane<R> {
    fn drop(&mut self) {
        if self.shared.owner.is_other() {
            // The sessions have threads that do not exist in this process: dropping them would wait for these.
            std::mem::forget(Arc::clone(&self.shared));
            return;
        }
        self.shared.close();
    }
}

/// A call that the lane has admitted.
pub(crate) struct Permit<R: Runner> {
    shared: Arc<Shared<R>>,
    /// Whether the call counts as a waiting one.
    waits: Arc<AtomicBool>,
    /// Whether the call has added a job to the queue.
    has_jobs: AtomicBool,
}

impl<R: Runner> Permit<R> {
    /// Runs a job and returns the outcome of every row. `on_run` gets the number of rows of each finished run. If the call
    /// is stopped, the rows without an answer fail with the reason.
    ///
    /// # Errors
    /// `dependency` or `graph`, which concern every row; `inference` if the system refuses the first thread.
    pub(crate) async fn run(
        &self,
        job: Job<R>,
        caller: &Caller,
        on_run: impl FnMut(usize),
    ) -> Result<Vec<Outcome<R::Answer>>, BridgeError> {
        if job.rows.is_empty() {
            return Ok(Vec::new());
        }
        self.submit(job, caller, on_run).await
    }

    async fn submit(
        &self,
        job: Job<R>,
        caller: &Caller,
        mut on_run: impl FnMut(usize),
    ) -> Result<Vec<Outcome<R::Answer>>, BridgeError> {
        let mut slots: Vec<Option<Outcome<R::Answer>>> = job.rows.iter().map(|_| None).collect();
        let mut runs = job.runs.len();
        let (mut pending, inbox) = self.enqueue(job, caller)?;
        while runs > 0 {
            for message in inbox.receive().await {
                match message {
                    Message::Outcomes(outcomes) => {
                        runs -= 1;
                        let rows = outcomes.len();
                        outcomes.into_iter().for_each(|(row, outcome)| slots[row] = Some(outcome));
                        on_run(rows);
                    }
                    Message::Failed(reason) if reason.is_stop() => {
                        return Ok(slots.into_iter().map(|slot| slot.unwrap_or_else(|| Err(reason.clone()))).collect());
                    }
                    Message::Failed(error) => return Err(error),
                }
            }
        }
        pending.has_ended = true;
        Ok(slots.into_iter().map(|slot| slot.unwrap_or_else(not_run)).collect())
    }

    /// Adds a job to the queue.
    fn enqueue(&self, job: Job<R>, caller: &Caller) -> Result<Enqueued<R>, BridgeError> {
        let Job { key, rows, runs, is_last } = job;
        let (rows, runs): (_, VecDeque<_>) = (rows.into_iter().map(Some).collect(), runs.into());
        let (stop, inbox) = (Arc::clone(&caller.stop), Arc::new(Inbox::new()));
        let wait = (!self.has_jobs.swap(true, Ordering::Relaxed)).then(|| Wait::start(&caller.trace));
        let (waits, trace) = (Arc::clone(&self.waits), caller.trace.clone());
        let call = Call { id: 0, key, rows, runs, is_last, waits, wait, trace, stop, inbox: Arc::clone(&inbox) };
        let (id, works) = self.shared.submit(call, caller.is_async)?;
        let pending =
            Pending { shared: Arc::clone(&self.shared), stop: Arc::clone(&caller.stop), id, has_ended: false };
        let (shared, messages) = (Arc::clone(&self.shared), Arc::clone(&inbox));
        caller.stop.on_stop(move |reason| {
            shared.leave(id);
            messages.send(Message::Failed(reason));
        });
        if works {
            self.shared.work_off();
        }
        Ok((pending, inbox))
    }
}

impl<R: Runner> Drop for Permit<R> {
    fn drop(&mut self) {
        if self.waits.swap(false, Ordering::Relaxed) {
            self.shared.left();
        }
    }
}

/// A job in the queue, and where its messages arrive.
type Enqueued<R> = (Pending<R>, Arc<Inbox<<R as Runner>::Answer>>);

/// A job of which some runs may be left. When this value is dropped, they leave the queue.
struct Pending<R: Runner> {
    shared: Arc<Shared<R>>,
    stop: Arc<Stop>,
    id: u64,
    has_ended: bool,
}

impl<R: Runner> Drop for Pending<R> {
    fn drop(&mut self) {
        self.stop.forget();
        if !self.has_ended {
            self.shared.leave(self.id);
        }
    }
}

fn not_run<A>() -> Outcome<A> {
    Err(BridgeError::inference(None, "was not run"))
}
