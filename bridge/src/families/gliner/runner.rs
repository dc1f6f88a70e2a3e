//! Runs the graph of a GLiNER model on windows, and finds the possible entities of each.

use std::sync::Arc;

use ort::value::Tensor;

use super::decode::{Candidate, candidates, logits_per_word};
use super::preprocessor::Window;
use super::section::{GlinerSpec, Sections};
use super::{LABEL_POSITIONS, WORD_POSITIONS};
use crate::BridgeError;
use crate::artifact::manifest::Graph;
use crate::runtime::batch::{Outcome, pad};
use crate::runtime::graph_session::GraphSession;
use crate::runtime::lane::Runner;
use crate::runtime::scope::RunScope;
use crate::runtime::session::SessionFactory;
use crate::runtime::transformer::{Transformer, check_finite};

/// The name of the graph's output.
const OUTPUT: &str = "logits";
/// The position of padding after the words of a window.
const PADDING: i64 = -2;

/// A window and what of the call its run needs.
pub(super) struct Row {
    pub(super) window: Window,
    pub(super) label_positions: Arc<[i64]>,
    pub(super) threshold: f64,
}

/// Runs the graph on windows. All windows of a run have equally many labels, the key.
pub(super) struct SpanRunner {
    spec: GlinerSpec,
    pad_id: i64,
    graph: Transformer,
    sessions: SessionFactory,
}

impl SpanRunner {
    pub(super) fn new(graph: &Graph, sections: &Sections, sessions: SessionFactory) -> Self {
        let (spec, pad_id) = (sections.gliner.clone(), sections.tokenizer.pad_id());
        Self { spec, pad_id, graph: Transformer::new(graph, OUTPUT), sessions }
    }

    /// The candidates of a window that start at a word that it owns, with indices of words in the text.
    fn own(&self, row: &Row, logits: &[f32]) -> Result<Vec<Candidate>, BridgeError> {
        check_finite(logits)?;
        let words = row.window.words;
        let found = candidates(logits, &self.spec, row.label_positions.len(), row.threshold).into_iter();
        let shifted =
            found.map(|each| Candidate { first: each.first + words.start, last: each.last + words.start, ..each });
        Ok(shifted.filter(|each| (words.own_start..words.own_end).contains(&each.first)).collect())
    }
}

impl Runner for SpanRunner {
    type Worker = Arc<GraphSession>;
    type Key = usize;
    type Row = Row;
    type Answer = Vec<Candidate>;

    fn load(&self) -> Result<Arc<GraphSession>, BridgeError> {
        self.sessions.graph_session()
    }

    fn len(row: &Row) -> usize {
        row.window.ids.len()
    }

    /// Runs the graph once on several windows. The logits are decoded in the engine's memory, and only the candidates are
    /// kept.
    fn run(
        &self,
        session: &mut Arc<GraphSession>,
        labels: &usize,
        rows: &[&Row],
        scope: &RunScope<'_>,
    ) -> Result<Vec<Outcome<Vec<Candidate>>>, BridgeError> {
        let ids: Vec<&[i64]> = rows.iter().map(|row| row.window.ids.as_slice()).collect();
        let positions: Vec<&[i64]> = rows.iter().map(|row| row.window.word_positions.as_slice()).collect();
        let words = pad(&positions, PADDING);
        let of_labels: Vec<i64> = rows.iter().flat_map(|row| row.label_positions.iter().copied()).collect();
        let per_word = logits_per_word(&self.spec, *labels);
        let shape = match self.spec.max_width {
            Some(width) => [rows.len(), words.width, width, *labels],
            None => [rows.len(), words.width, *labels, 3],
        };
        let row_len = words.width * per_word;
        let other = |name: &str| match name {
            name if name == WORD_POSITIONS.0 => {
                Some(Tensor::from_array(([rows.len(), words.width], words.ids.clone())))
            }
            name if name == LABEL_POSITIONS.0 => Some(Tensor::from_array(([rows.len(), *labels], of_labels.clone()))),
            _ => None,
        };
        self.graph.run(session, scope, pad(&ids, self.pad_id), other, &shape, |values| {
            let decoded =
                |(row, logits): (&&Row, &[f32])| self.own(row, &logits[..row.window.word_positions.len() * per_word]);
            rows.iter().zip(values.chunks_exact(row_len)).map(decoded).collect()
        })
    }
}
