//! Runs the graph of a summarizer on encoded texts.

use std::sync::Arc;

use super::generate::{Generated, SpecialTokens};
use super::options::Settings;
use crate::BridgeError;
use crate::runtime::batch::{Outcome, pad};
use crate::runtime::graph_session::GraphSession;
use crate::runtime::lane::Runner;
use crate::runtime::scope::RunScope;
use crate::runtime::session::SessionFactory;

/// Runs the graph on token ids. All texts of a run have the same settings.
pub(super) struct SummaryRunner {
    pub(super) sessions: SessionFactory,
    pub(super) special_tokens: SpecialTokens,
    pub(super) pad_id: i64,
}

impl Runner for SummaryRunner {
    type Worker = Arc<GraphSession>;
    type Key = Settings;
    type Row = Vec<i64>;
    type Answer = Generated;

    fn load(&self) -> Result<Arc<GraphSession>, BridgeError> {
        self.sessions.graph_session()
    }

    fn len(ids: &Vec<i64>) -> usize {
        ids.len()
    }

    /// The caches of the beam search grow with every generated token, so that every run frees what it leaves behind.
    fn shrinks(_: usize) -> bool {
        true
    }

    fn run(
        &self,
        session: &mut Arc<GraphSession>,
        settings: &Settings,
        rows: &[&Vec<i64>],
        scope: &RunScope<'_>,
    ) -> Result<Vec<Outcome<Generated>>, BridgeError> {
        let ids: Vec<&[i64]> = rows.iter().map(|ids| ids.as_slice()).collect();
        let batch = pad(&ids, self.pad_id);
        scope.run(batch.rows * batch.width, |options| self.special_tokens.run(session, batch, settings, options))
    }
}
