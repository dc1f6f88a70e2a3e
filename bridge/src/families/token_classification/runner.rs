//! Runs the graph of token classification on windows, and decodes the entities of each.

use std::sync::Arc;

use super::decode::decode;
use super::section::{Sections, TokenClassificationSpec};
use super::windows::Window;
use crate::BridgeError;
use crate::artifact::manifest::Graph;
use crate::runtime::batch::{Outcome, pad};
use crate::runtime::graph_session::GraphSession;
use crate::runtime::lane::Runner;
use crate::runtime::scope::RunScope;
use crate::runtime::session::SessionFactory;
use crate::runtime::transformer::{Transformer, check_finite};
use crate::tasks::AggregationStrategy;
use crate::tasks::entities::EntitySpan;

/// The name of the graph's output that has the logits of every token.
const OUTPUT: &str = "logits";

/// An entity of a window. Its offsets count characters of the text.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Found {
    start: usize,
    end: usize,
    label: Arc<str>,
    score: Option<f32>,
}

impl Found {
    fn new(span: &EntitySpan<'_>) -> Self {
        Self { start: span.start, end: span.end, label: span.label.into(), score: span.score }
    }

    pub(super) fn span(&self) -> EntitySpan<'_> {
        EntitySpan { start: self.start, end: self.end, label: &self.label, score: self.score }
    }
}

/// Runs the graph on windows. All windows of a run have one strategy.
pub(super) struct WindowRunner {
    spec: TokenClassificationSpec,
    pad_id: i64,
    graph: Transformer,
    pub(super) sessions: SessionFactory,
}

impl WindowRunner {
    pub(super) fn new(graph: &Graph, sections: &Sections, sessions: SessionFactory) -> Self {
        let (spec, pad_id) = (sections.classes.clone(), sections.tokenizer.pad_id());
        Self { spec, pad_id, graph: Transformer::new(graph, OUTPUT), sessions }
    }
}

impl Runner for WindowRunner {
    type Worker = Arc<GraphSession>;
    type Key = AggregationStrategy;
    type Row = Window;
    type Answer = Vec<Found>;

    fn load(&self) -> Result<Arc<GraphSession>, BridgeError> {
        self.sessions.graph_session()
    }

    fn len(window: &Window) -> usize {
        window.ids.len()
    }

    /// Runs the graph once on several windows. The logits are decoded in the engine's memory, and only the entities are
    /// kept.
    fn run(
        &self,
        session: &mut Arc<GraphSession>,
        strategy: &AggregationStrategy,
        rows: &[&Window],
        scope: &RunScope<'_>,
    ) -> Result<Vec<Outcome<Vec<Found>>>, BridgeError> {
        let ids: Vec<&[i64]> = rows.iter().map(|window| window.ids.as_slice()).collect();
        let batch = pad(&ids, self.pad_id);
        let labels = self.spec.labels.len();
        let (shape, row_len) = ([rows.len(), batch.width, labels], batch.width * labels);
        self.graph.run(
            session,
            scope,
            batch,
            |_| None,
            &shape,
            |values| {
                let decoded = |(window, row): (&&Window, &[f32])| {
                    let logits = &row[..window.ids.len() * labels];
                    check_finite(logits)?;
                    Ok(decode(logits, window, &self.spec, *strategy).iter().map(Found::new).collect())
                };
                rows.iter().zip(values.chunks_exact(row_len)).map(decoded).collect()
            },
        )
    }
}
