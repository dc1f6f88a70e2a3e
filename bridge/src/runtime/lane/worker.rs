//! The threads of a lane.

pub(super) mod sessions;

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::SystemTime;

use self::sessions::Sessions;
use super::fork::Owner;
use super::inbox::Message;
use super::queue::{Batch, Call, Part, Queue};
use super::running::RunResult;
use super::{LaneOptions, Runner};
use crate::BridgeError;
use crate::error_code::ErrorCode;
use crate::runtime::batch::refused_thread;
use crate::runtime::meter::Meter;
use crate::status::{LaneStatus, ModelState};

/// What the callers and the threads of a lane share.
pub(super) struct Shared<R: Runner> {
    pub(super) runner: R,
    pub(super) options: LaneOptions,
    pub(super) owner: Owner,
    pub(super) meter: Meter,
    state: Mutex<State<R>>,
    changed: Condvar,
}

struct State<R: Runner> {
    queue: Queue<R>,
    /// The sessions and caches that no run uses at the moment.
    workers: Vec<R::Worker>,
    /// The number of threads, and how many of them have nothing to do.
    threads: usize,
    idle: usize,
    /// The number of threads that were started and have not looked at the queue yet.
    starting: usize,
    /// The number of runs at the moment, and the slots that they take.
    running: usize,
    slots: usize,
    /// The number of threads that load the model at the moment, and of those that have loaded it.
    loading: usize,
    loaded: usize,
    /// The number of unloads. Sessions of an earlier epoch count as freed, and are when their run ends.
    epoch: u64,
    next_id: u64,
    is_closed: bool,
    last_success: Option<SystemTime>,
    /// Why the last load or the last run failed; `None` after a success.
    error: Option<ErrorCode>,
}

impl<R: Runner> Shared<R> {
    pub(super) fn new(runner: R, options: LaneOptions, meter: Meter) -> Self {
        let state = State {
            queue: Queue::default(),
            workers: Vec::new(),
            threads: 0,
            idle: 0,
            starting: 0,
            running: 0,
            slots: 0,
            loading: 0,
            loaded: 0,
            epoch: 0,
            next_id: 0,
            is_closed: false,
            last_success: None,
            error: None,
        };
        Self { runner, options, owner: Owner::default(), meter, state: Mutex::new(state), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State<R>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a new call as a waiting one.
    pub(super) fn enter(&self) -> Result<Arc<AtomicBool>, BridgeError> {
        self.owner.check()?;
        let mut state = self.lock();
        let limit = self.options.max_waiting;
        if state.queue.waiting >= limit {
            return Err(BridgeError::Overloaded { limit });
        }
        state.queue.waiting += 1;
        drop(state);
        self.meter.waits();
        Ok(Arc::new(AtomicBool::new(true)))
    }

    /// A call that counted as a waiting one has ended.
    pub(super) fn left(&self) {
        self.lock().queue.waiting -= 1;
        self.meter.waits_no_more();
    }

    /// Removes a job from the queue. A smaller one that comes after it may start now.
    pub(super) fn leave(&self, id: u64) {
        let call = self.lock().queue.remove(id);
        self.changed.notify_one();
        drop(call);
    }

    /// Adds a job to the queue. Returns its number, and whether the calling thread has to run the queue, because the system
    /// refuses the first thread.
    ///
    /// # Errors
    /// `inference` for an asynchronous call if the system refuses the first thread.
    pub(super) fn submit(self: &Arc<Self>, mut call: Call<R>, is_async: bool) -> Result<(u64, bool), BridgeError> {
        let mut state = self.lock();
        let id = state.next_id;
        state.next_id += 1;
        call.id = id;
        state.queue.push(call);
        let refused = self.start_threads(&mut state).filter(|_| state.threads == 0);
        match refused {
            None => {
                self.changed.notify_one();
                Ok((id, false))
            }
            Some(_) if !is_async => {
                state.threads = 1;
                Ok((id, true))
            }
            Some(error) => {
                state.queue.remove(id);
                Err(error)
            }
        }
    }

    /// Starts threads for calls that wait, if all threads have something to do. Returns the error of a refused thread.
    fn start_threads(self: &Arc<Self>, state: &mut State<R>) -> Option<BridgeError> {
        while state.queue.len() > state.idle + state.starting && state.threads < self.options.workers {
            let shared = Arc::clone(self);
            let name = "onnx-lane".to_owned();
            if let Err(error) = thread::Builder::new().name(name).spawn(move || shared.work()) {
                tracing::warn!(%error, "the system refused a thread: a model runs on fewer threads");
                return Some(refused_thread(&error));
            }
            state.threads += 1;
            state.starting += 1;
        }
        None
    }

    /// The loop of a thread.
    fn work(self: Arc<Self>) {
        self.lock().starting -= 1;
        while let Some((batch, sessions)) = self.next() {
            self.process(batch, sessions);
        }
    }

    /// Waits for the next batch; `None` when the lane is closed.
    fn next(self: &Arc<Self>) -> Option<(Batch<R>, Sessions<R>)> {
        let mut state = self.lock();
        loop {
            if state.is_closed {
                state.threads -= 1;
                return None;
            }
            if let Some(batch) = self.take(&mut state) {
                return Some(batch);
            }
            state.idle += 1;
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
    }

    /// Runs the queue on the calling thread until nothing waits.
    pub(super) fn work_off(self: &Arc<Self>) {
        loop {
            let mut state = self.lock();
            let Some((batch, sessions)) = self.take(&mut state) else {
                state.threads -= 1;
                return;
            };
            drop(state);
            self.process(batch, sessions);
        }
    }

    /// Takes the next batch, and sessions that no run uses.
    fn take(self: &Arc<Self>, state: &mut State<R>) -> Option<(Batch<R>, Sessions<R>)> {
        let batch = state.queue.take(&self.options, self.options.workers.saturating_sub(state.slots))?;
        state.running += 1;
        state.slots += batch.slots;
        // Runs of one call that overlap need further threads. A refused one was logged.
        self.start_threads(state);
        // Each thread that takes a run wakes the next one, until no further run can start.
        if state.queue.len() > 0 {
            self.changed.notify_one();
        }
        Some((batch, state.take_sessions()))
    }

    /// Runs a batch and sends the outcomes to its calls.
    fn process(&self, batch: Batch<R>, mut sessions: Sessions<R>) {
        let Batch { key, slots, mut parts } = batch;
        self.record_waits(&mut parts);
        match sessions.worker.take().map_or_else(|| self.load(&sessions), Ok) {
            Ok(worker) => sessions.worker = Some(worker),
            Err(error) => return self.fail(parts, slots, &error),
        }
        let (outcomes, result) = self.outcomes_in_span(&mut sessions, &key, &parts);
        let parts = self.end(sessions, result, slots, parts);
        let mut outcomes = outcomes.into_iter();
        for part in parts {
            let rows = part.rows.into_iter().map(|(row, _)| row);
            part.inbox.send(Message::Outcomes(rows.zip(outcomes.by_ref()).collect()));
        }
    }

    /// Records which calls do not wait any more, now that their runs start.
    fn record_waits(&self, parts: &mut [Part<R>]) {
        for part in parts {
            if let Some(wait) = part.wait.take() {
                self.meter.waited(wait.since.elapsed());
            }
            if part.waits_no_more {
                self.meter.waits_no_more();
            }
        }
    }

    /// Notes that a run has ended, keeps its sessions for another one, and puts calls with further runs back into the queue.
    fn end(&self, sessions: Sessions<R>, result: RunResult, slots: usize, mut parts: Vec<Part<R>>) -> Vec<Part<R>> {
        let mut state = self.lock();
        let outdated = state.keep(sessions);
        state.running -= 1;
        state.slots -= slots;
        match result {
            Some(Ok(())) => (state.last_success, state.error) = (Some(SystemTime::now()), None),
            Some(Err(code)) => state.error = Some(code),
            None => {}
        }
        let rests: Vec<Call<R>> =
            parts.iter_mut().filter_map(|part| part.rest.take().filter(|call| call.stop.check().is_ok())).collect();
        // This thread itself takes the next turn.
        (1..rests.len()).for_each(|_| self.changed.notify_one());
        rests.into_iter().for_each(|call| state.queue.push(call));
        drop(state);
        self.free(outdated);
        parts
    }

    /// Sends an error that concerns all rows of some calls.
    fn fail(&self, parts: Vec<Part<R>>, slots: usize, error: &BridgeError) {
        let mut state = self.lock();
        state.running -= 1;
        state.slots -= slots;
        drop(state);
        parts.into_iter().for_each(|part| part.inbox.send(Message::Failed(error.clone())));
    }

    /// The number of jobs that wait for their turn.
    #[cfg(test)]
    pub(super) fn queued(&self) -> usize {
        self.lock().queue.len()
    }

    /// The number of threads that have nothing to do.
    #[cfg(test)]
    pub(super) fn idle(&self) -> usize {
        self.lock().idle
    }

    /// The number of jobs that were ever added.
    #[cfg(test)]
    pub(super) fn jobs(&self) -> u64 {
        self.lock().next_id
    }

    /// Ends the threads when their runs have ended, and frees the sessions that no run uses.
    ///
    /// The threads would free them too, but later: the memory would not be free yet when this function returns, and a GPU's
    /// library could crash if the process ended meanwhile.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_all();
        self.unload();
    }

    pub(super) fn status(&self) -> LaneStatus {
        if self.owner.is_other() {
            let error = Some(super::fork::forked().code());
            return LaneStatus { state: ModelState::Failed, last_success: None, waiting: 0, running: 0, error };
        }
        let state = self.lock();
        LaneStatus {
            state: state.model_state(),
            last_success: state.last_success,
            waiting: state.queue.waiting,
            running: state.running,
            error: state.error,
        }
    }
}

impl<R: Runner> State<R> {
    fn model_state(&self) -> ModelState {
        match (self.is_closed, self.loaded, self.loading) {
            (true, ..) => ModelState::Closed,
            (false, ..) if self.error.is_some() => ModelState::Failed,
            (false, 1.., _) => ModelState::Ready,
            (false, 0, 1..) => ModelState::Loading,
            (false, 0, 0) => ModelState::Unloaded,
        }
    }
}
