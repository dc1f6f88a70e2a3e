//! One run of a model on behalf of one or several calls.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Instant;

use ort::logging::LogLevel;
use ort::session::RunOptions;

use super::cancellation::{Running, Stop};
use super::meter::Meter;
use super::outputs::failed;
use crate::BridgeError;

/// The run option that frees the memory of an arena that a run does not use at its end.
const SHRINKAGE: (&str, &str) = ("memory.enable_memory_arena_shrinkage", "cpu:0");

/// The calls of a run, and the options through which the run is terminated when all of them were stopped.
pub(crate) struct RunScope<'a> {
    running: Arc<Running>,
    calls: Vec<Arc<Stop>>,
    meter: &'a Meter,
}

impl<'a> RunScope<'a> {
    /// A run for some calls. `shrinks` says whether the session frees its unused memory after the run.
    ///
    /// # Errors
    /// The reason, if all calls were stopped; `inference` if ONNX Runtime cannot create the options.
    pub(crate) fn new(calls: Vec<Arc<Stop>>, shrinks: bool, meter: &'a Meter) -> Result<Self, BridgeError> {
        let mut options = RunOptions::new().map_err(failed)?;
        // ONNX Runtime would log an error for every stopped run. The log is switched off, because the run returns each
        // error to the caller.
        options.set_log_level(LogLevel::Fatal).map_err(failed)?;
        if shrinks {
            options.set(SHRINKAGE.0, SHRINKAGE.1).map_err(failed)?;
        }
        // The scope itself counts as a call until all calls have joined: a call that is stopped in between does not
        // terminate the run of the others.
        let scope = Self { running: Arc::new(Running { options, calls: AtomicUsize::new(1) }), calls, meter };
        scope.calls.iter().for_each(|call| call.join(&scope.running));
        scope.running.leave();
        scope.check()?;
        Ok(scope)
    }

    /// Fails if all calls of the run were stopped.
    ///
    /// # Errors
    /// The reason of the first call.
    pub(crate) fn check(&self) -> Result<(), BridgeError> {
        let mut reasons = self.calls.iter().map(|call| call.check());
        let Some(first) = reasons.next() else { return Ok(()) };
        if first.is_err() && reasons.any(|reason| reason.is_ok()) { Ok(()) } else { first }
    }

    /// Runs a graph with the options of this scope, and records the run. `tokens` is its size, padding included.
    ///
    /// # Errors
    /// The reason, if all calls were stopped before the run or during it; else the error of the run.
    pub(crate) fn run<T>(
        &self,
        tokens: usize,
        run: impl FnOnce(&RunOptions) -> Result<T, BridgeError>,
    ) -> Result<T, BridgeError> {
        self.check()?;
        self.meter.run(tokens);
        let started = Instant::now();
        let result = run(&self.running.options);
        self.meter.run_ended(started.elapsed());
        result.map_err(|error| self.check().err().unwrap_or(error))
    }
}

impl Drop for RunScope<'_> {
    fn drop(&mut self) {
        self.calls.iter().for_each(|call| call.end(&self.running));
    }
}
