//! The session of a graph that several threads run at the same time, without a copy of the weights for each.
//!
//! A session has threads of its own, one fewer than the model may use. A run that is alone divides its work among the calling
//! thread and all of these. A run that meets another one is computed by one thread of the session while the calling thread
//! waits. The run that it has met then finds this thread busy, and also goes on with fewer threads. Two runs on one thread
//! each are faster than the same runs one after the other on two threads.

mod call;
#[cfg(test)]
mod tests;

use std::sync::{Mutex, MutexGuard, PoisonError};

use ort::session::{RunOptions, Session};
use ort::value::DynValue;

use self::call::Call;
use super::outputs::NamedValues;

/// A session that several threads run at the same time.
pub(crate) struct GraphSession {
    session: Session,
    /// Limit on the runs that the session's own threads compute at the same time: the number of these threads, or 0.
    own_threads: usize,
    runs: Mutex<Runs>,
}

/// The runs at the moment.
#[derive(Debug, Default)]
struct Runs {
    all: usize,
    /// How many of them the session's own threads compute.
    on_own_threads: usize,
    /// How many runs the session's own threads were ever asked to compute.
    #[cfg(test)]
    ever_on_own_threads: usize,
}

impl GraphSession {
    /// `threads` is the number of threads that a run may use: the calling one, and the session's own. It is 1 for a session
    /// without threads of its own.
    pub(super) fn new(session: Session, threads: usize) -> Self {
        Self { session, own_threads: threads.saturating_sub(1), runs: Mutex::default() }
    }

    /// Runs the graph and returns the outputs that are named.
    ///
    /// # Errors
    /// The error of ONNX Runtime.
    pub(crate) fn run<'a>(
        &self,
        inputs: Vec<(&str, DynValue)>,
        outputs: &[&'a str],
        options: &RunOptions,
    ) -> ort::Result<NamedValues<'a>> {
        let call = Call::new(&self.session, options, inputs, outputs)?;
        let guard = RunGuard::enter(self);
        let values = if guard.on_own_thread { call.on_session_thread() } else { call.on_this_thread() }?;
        Ok(outputs.iter().copied().zip(values).collect())
    }

    fn runs(&self) -> MutexGuard<'_, Runs> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A run at the moment. It ends when this value is dropped.
struct RunGuard<'a> {
    session: &'a GraphSession,
    /// Whether one of the session's own threads computes the run.
    on_own_thread: bool,
}

impl<'a> RunGuard<'a> {
    fn enter(session: &'a GraphSession) -> Self {
        let mut runs = session.runs();
        let has_other_caller = runs.all > runs.on_own_threads;
        let on_own_thread = has_other_caller && runs.on_own_threads < session.own_threads;
        runs.all += 1;
        runs.on_own_threads += usize::from(on_own_thread);
        #[cfg(test)]
        {
            runs.ever_on_own_threads += usize::from(on_own_thread);
        }
        Self { session, on_own_thread }
    }
}

impl Drop for RunGuard<'_> {
    fn drop(&mut self) {
        let mut runs = self.session.runs();
        runs.all -= 1;
        runs.on_own_threads -= usize::from(self.on_own_thread);
    }
}
