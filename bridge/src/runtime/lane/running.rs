//! One run of a lane: the outcomes of its rows, whatever happens.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tracing::Span;

use super::Runner;
use super::queue::Part;
use super::worker::Shared;
use super::worker::sessions::Sessions;
use crate::BridgeError;
use crate::error_code::ErrorCode;
use crate::runtime::batch::{Load, Outcome};
use crate::runtime::cancellation::Stop;
use crate::runtime::panics;
use crate::runtime::scope::RunScope;

/// Whether a run succeeded, or the code of its error; `None` if its calls were stopped.
pub(super) type RunResult = Option<Result<(), ErrorCode>>;

impl<R: Runner> Shared<R> {
    /// The outcomes of all rows, within the span of the run.
    pub(super) fn outcomes_in_span(
        &self,
        sessions: &mut Sessions<R>,
        key: &R::Key,
        parts: &[Part<R>],
    ) -> (Vec<Outcome<R::Answer>>, RunResult) {
        let mut traces = parts.iter().filter(|part| !part.rows.is_empty()).map(|part| &part.trace);
        let span = traces.next().map_or_else(Span::none, |first| first.run(traces));
        span.in_scope(|| self.outcomes(sessions, key, parts))
    }

    /// The outcomes of all rows, and the result of the run. If the run fails, every row runs alone, so that one bad row does
    /// not lose the others.
    fn outcomes(
        &self,
        sessions: &mut Sessions<R>,
        key: &R::Key,
        parts: &[Part<R>],
    ) -> (Vec<Outcome<R::Answer>>, RunResult) {
        let rows: Vec<&R::Row> = parts.iter().flat_map(|part| &part.rows).map(|(_, row)| row).collect();
        if rows.is_empty() {
            // The model was only loaded.
            return (Vec::new(), None);
        }
        let calls = parts.iter().map(|part| Arc::clone(&part.stop)).collect();
        match self.run(sessions, key, &rows, calls) {
            Ok(outcomes) => (outcomes, Some(Ok(()))),
            Err(error) if error.is_stop() => (rows.iter().map(|_| Err(error.clone())).collect(), None),
            Err(error) => {
                let alone = |(row, call): (&R::Row, &Arc<Stop>)| {
                    if rows.len() == 1 {
                        return Err(error.clone());
                    }
                    self.run(sessions, key, &[row], vec![Arc::clone(call)])?.pop().unwrap_or_else(super::not_run)
                };
                let calls = parts.iter().flat_map(|part| part.rows.iter().map(|(_, row)| (row, &part.stop)));
                let outcomes: Vec<Outcome<R::Answer>> = calls.map(alone).collect();
                let has_answer = outcomes.iter().any(Result::is_ok);
                (outcomes, Some(if has_answer { Ok(()) } else { Err(error.code()) }))
            }
        }
    }

    /// Runs some rows together. After a panic, the sessions are created again.
    fn run(
        &self,
        sessions: &mut Sessions<R>,
        key: &R::Key,
        rows: &[&R::Row],
        calls: Vec<Arc<Stop>>,
    ) -> Result<Vec<Outcome<R::Answer>>, BridgeError> {
        let load = rows.iter().map(|row| Load::of(R::len(row))).reduce(Load::with);
        let scope = RunScope::new(
            calls,
            self.options.shrinks && load.is_some_and(|load| R::shrinks(load.padded())),
            &self.meter,
        )?;
        let worker = match sessions.worker.take() {
            Some(worker) => worker,
            None => self.reload(sessions)?,
        };
        let current = sessions.worker.insert(worker);
        match catch_unwind(AssertUnwindSafe(|| self.runner.run(current, key, rows, &scope))) {
            Ok(Ok(outcomes)) if outcomes.len() != rows.len() => Err(BridgeError::Internal {
                problem: format!("a run of {} rows has {} outcomes", rows.len(), outcomes.len()),
            }),
            Ok(outcomes) => outcomes,
            Err(panic) => {
                self.lose(sessions);
                Err(panics::error(&*panic))
            }
        }
    }
}
