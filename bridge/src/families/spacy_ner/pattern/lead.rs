//! What a pattern's matches begin or end with: a cheap test that spares most runs of the machine.

use std::sync::Arc;

use super::syntax::Node;
use crate::families::spacy_ner::characters::CharSet;

/// Characters looked at.
const LONGEST: usize = 16;

/// The sets that the first characters of every match belong to, or the last ones, from the end.
#[derive(Debug, Default)]
pub(crate) struct Lead {
    pub(crate) sets: Vec<Arc<CharSet>>,
    /// Whether the pattern is nothing but these sets, so that the machine need not run.
    pub(crate) is_all: bool,
}

impl Lead {
    /// The first characters of a pattern's matches.
    pub(super) fn first(node: &Node) -> Self {
        Self::of(node, false)
    }

    /// The last characters of a pattern's matches.
    pub(super) fn last(node: &Node) -> Self {
        Self::of(node, true)
    }

    fn of(node: &Node, backwards: bool) -> Self {
        let mut lead = Self { sets: Vec::new(), is_all: true };
        lead.extend(node, backwards);
        lead
    }

    /// Whether the text begins with characters of the sets.
    pub(crate) fn begins(&self, text: &str) -> bool {
        self.accepts(text.chars())
    }

    /// Whether the text ends with characters of the sets.
    pub(crate) fn ends(&self, text: &str) -> bool {
        self.accepts(text.chars().rev())
    }

    fn accepts(&self, mut characters: impl Iterator<Item = char>) -> bool {
        self.sets.iter().all(|set| characters.next().is_some_and(|next| set.contains(next)))
    }

    /// Adds what a node begins with; whether what follows the node may be added too.
    fn extend(&mut self, node: &Node, backwards: bool) -> bool {
        match node {
            Node::Set(set) if self.sets.len() < LONGEST => {
                self.sets.push(Arc::clone(set));
                true
            }
            Node::Concat(nodes) if backwards => nodes.iter().rev().all(|node| self.extend(node, backwards)),
            Node::Concat(nodes) => nodes.iter().all(|node| self.extend(node, backwards)),
            Node::Repeat { node, min, max, .. } if *min > 0 => {
                let whole = (0..*min).all(|_| self.extend(node, backwards));
                self.goes_on(whole && *max == Some(*min))
            }
            Node::Alternatives(nodes) => self.extend_by_any(nodes, backwards),
            // They take no characters, but ask more than the sets.
            Node::Start | Node::End | Node::Look { .. } => {
                self.is_all = false;
                true
            }
            Node::Set(_) | Node::Repeat { .. } => self.goes_on(false),
        }
    }

    /// Adds for each character the union of what the alternatives have there, as far as all go.
    fn extend_by_any(&mut self, nodes: &[Node], backwards: bool) -> bool {
        let leads: Vec<Self> = nodes.iter().map(|node| Self::of(node, backwards)).collect();
        let room = LONGEST - self.sets.len();
        let shortest = leads.iter().map(|lead| lead.sets.len()).min().unwrap_or(0).min(room);
        for at in 0..shortest {
            let union = leads.iter().skip(1).fold((*leads[0].sets[at]).clone(), |all, lead| all.union(&lead.sets[at]));
            self.sets.push(union.into());
        }
        let single = leads.iter().all(|lead| lead.is_all && lead.sets.len() == 1);
        self.goes_on(single && shortest == 1)
    }

    fn goes_on(&mut self, whole: bool) -> bool {
        self.is_all &= whole;
        whole
    }
}
