//! The edges of a pattern: the sets of characters with which every match begins or ends. Comparing them with a text is
//! fast, and rules out most texts before the backtracking machine runs.

use std::sync::Arc;

use super::syntax::Node;
use crate::families::spacy_ner::characters::CharSet;

/// The maximum number of character positions that an edge describes.
const MAX_CHARS: usize = 16;

/// An edge of a pattern's matches: for each of the first characters, from left to right, or of the last characters,
/// from right to left, the set of characters that it can be.
#[derive(Debug, Default)]
pub(crate) struct Edge {
    pub(crate) sets: Vec<Arc<CharSet>>,
    /// Whether every text that fits these sets is a match. If so, the backtracking machine need not run.
    pub(crate) is_all: bool,
}

impl Edge {
    /// The edge with the first characters of a pattern's matches.
    pub(super) fn first(node: &Node) -> Self {
        Self::of(node, false)
    }

    /// The edge with the last characters of a pattern's matches.
    pub(super) fn last(node: &Node) -> Self {
        Self::of(node, true)
    }

    fn of(node: &Node, backwards: bool) -> Self {
        let mut edge = Self { sets: Vec::new(), is_all: true };
        edge.extend(node, backwards);
        edge
    }

    /// Whether a match can begin at the start of the text: the text's first characters are in the sets for their
    /// positions.
    pub(crate) fn begins(&self, text: &str) -> bool {
        self.accepts(text.chars())
    }

    /// Whether a match can end at the end of the text: the text's last characters are in the sets for their positions.
    pub(crate) fn ends(&self, text: &str) -> bool {
        self.accepts(text.chars().rev())
    }

    fn accepts(&self, mut characters: impl Iterator<Item = char>) -> bool {
        self.sets.iter().all(|set| characters.next().is_some_and(|next| set.contains(next)))
    }

    /// Appends the sets of characters that a node of the pattern can match. Returns whether the sets of the node after
    /// it may be appended as well.
    fn extend(&mut self, node: &Node, backwards: bool) -> bool {
        match node {
            Node::Set(set) if self.sets.len() < MAX_CHARS => {
                self.sets.push(Arc::clone(set));
                true
            }
            Node::Concat(nodes) if backwards => nodes.iter().rev().all(|node| self.extend(node, backwards)),
            Node::Concat(nodes) => nodes.iter().all(|node| self.extend(node, backwards)),
            Node::Repeat { node, min, max, .. } if *min > 0 => {
                let is_complete = (0..*min).all(|_| self.extend(node, backwards));
                self.continues(is_complete && *max == Some(*min))
            }
            Node::Alternatives(nodes) => self.extend_by_any(nodes, backwards),
            // Assertions are zero-width, and sets of characters do not describe their conditions. Therefore the
            // backtracking machine has to check every match of the pattern.
            Node::Start | Node::End | Node::Lookaround { .. } => {
                self.is_all = false;
                true
            }
            Node::Set(_) | Node::Repeat { .. } => self.continues(false),
        }
    }

    /// Appends the sets of characters that alternatives can match: for each position the union of the alternatives'
    /// sets, up to the length of the shortest alternative.
    fn extend_by_any(&mut self, nodes: &[Node], backwards: bool) -> bool {
        let edges: Vec<Self> = nodes.iter().map(|node| Self::of(node, backwards)).collect();
        let limit = MAX_CHARS - self.sets.len();
        let shortest = edges.iter().map(|edge| edge.sets.len()).min().unwrap_or(0).min(limit);
        for position in 0..shortest {
            let first = (*edges[0].sets[position]).clone();
            let union = edges.iter().skip(1).fold(first, |union, edge| union.union(&edge.sets[position]));
            self.sets.push(union.into());
        }
        let are_single = edges.iter().all(|edge| edge.is_all && edge.sets.len() == 1);
        self.continues(are_single && shortest == 1)
    }

    /// Records in `is_all` whether the sets describe a node completely. Returns the same value.
    fn continues(&mut self, is_complete: bool) -> bool {
        self.is_all &= is_complete;
        is_complete
    }
}
