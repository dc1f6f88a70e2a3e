//! Computes sentence starts from the arcs of a parser. The tokens below a head are its descendants: its children, their
//! children, and so on.

use std::collections::BTreeSet;

/// Limit on the number of passes over the tokens that compute the left and right edges of their subtrees.
const MAX_PASSES: usize = 12;

/// A decorated label `X||Y` of a token, as label ids: `label` is `X`, the token's true label, and `head` is `Y`, the
/// label of the token to which it has to be attached. spaCy trains parsers with such labels to represent crossing arcs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Decorated {
    pub(super) label: u16,
    pub(super) head: u16,
}

/// The arcs of the parser for one document.
#[derive(Debug)]
pub(super) struct Tree {
    /// Each token's head; `None` for a root.
    pub(super) heads: Vec<Option<u32>>,
    /// Each token's label; undefined for a root.
    pub(super) labels: Vec<u16>,
}

/// The left and the right edge of each token: the first and the last token of the subtree that consists of the token
/// and the tokens below it.
#[derive(Debug)]
struct Edges {
    left: Vec<u32>,
    right: Vec<u32>,
}

impl Tree {
    /// Whether each token starts a sentence. `decorated` returns the two labels of a decorated label, given its id;
    /// `is_space` returns whether a token is whitespace.
    pub(super) fn sentence_starts(
        mut self,
        decorated: impl Fn(u16) -> Option<Decorated>,
        is_space: impl Fn(u32) -> bool,
    ) -> Vec<bool> {
        let mut edges = self.edges();
        if self.reattach(&edges, decorated, is_space) {
            edges = self.edges();
        }
        self.starts(&edges)
    }

    /// Computes the edges of all tokens. Each pass goes over the tokens forwards and then backwards, and extends the
    /// edges of heads to the edges of their children. The passes end when every head is in the same sentence as its
    /// children.
    fn edges(&self) -> Edges {
        let length = self.heads.len() as u32;
        let mut edges = Edges { left: (0..length).collect(), right: (0..length).collect() };
        for _ in 0..MAX_PASSES {
            for child in (0..self.heads.len()).chain((0..self.heads.len()).rev()) {
                if let Some(head) = self.heads[child] {
                    let head = head as usize;
                    edges.left[head] = edges.left[head].min(edges.left[child]);
                    edges.right[head] = edges.right[head].max(edges.right[child]);
                }
            }
            if self.heads_are_inside(&self.starts(&edges)) {
                break;
            }
        }
        edges
    }

    /// Whether each token starts a sentence: a sentence starts at the left edge of a root.
    fn starts(&self, edges: &Edges) -> Vec<bool> {
        let mut starts = vec![false; self.heads.len()];
        for (root, _) in self.heads.iter().enumerate().filter(|(_, head)| head.is_none()) {
            starts[edges.left[root] as usize] = true;
        }
        starts
    }

    /// Whether the head of every token is in the sentence of the token. As in spaCy, the last token of the document is
    /// not checked, and the first token of the next sentence counts as part of the sentence.
    fn heads_are_inside(&self, starts: &[bool]) -> bool {
        let length = self.heads.len();
        let mut start = 0;
        for end in (0..length).filter(|&token| (token > 0 && starts[token]) || token + 1 == length) {
            let is_inside = |head: &Option<u32>| head.is_none_or(|head| (start..=end).contains(&(head as usize)));
            if !self.heads[start..end].iter().all(is_inside) {
                return false;
            }
            start = end;
        }
        true
    }

    /// Attaches each token with a decorated label `X||Y` to the head with the label `Y`. Returns whether there are any
    /// such tokens.
    fn reattach(
        &mut self,
        edges: &Edges,
        decorated: impl Fn(u16) -> Option<Decorated>,
        is_space: impl Fn(u32) -> bool,
    ) -> bool {
        let mut children: Option<BTreeSet<(u32, u32)>> = None;
        for index in 0..self.heads.len() {
            let Some((head, decoration)) = self.heads[index].zip(decorated(self.labels[index])) else { continue };
            let token = index as u32;
            let children = children.get_or_insert_with(|| self.children());
            let is_candidate = |child: u32| child != token && !is_space(child);
            if let Some(new_head) = self.search(children, edges, head, decoration.head, is_candidate) {
                children.remove(&(head, token));
                children.insert((new_head, token));
                self.heads[index] = Some(new_head);
            }
            self.labels[index] = decoration.label;
        }
        children.is_some()
    }

    /// All arcs as pairs of head and child, sorted.
    fn children(&self) -> BTreeSet<(u32, u32)> {
        let arcs = (0_u32..).zip(&self.heads).filter_map(|(child, head)| head.map(|head| (head, child)));
        arcs.collect()
    }

    /// Searches the tokens below a head, breadth first, for the first token that has the given label. Tokens that
    /// cannot become heads are skipped, together with the tokens below them.
    fn search(
        &self,
        children: &BTreeSet<(u32, u32)>,
        edges: &Edges,
        head: u32,
        label: u16,
        is_candidate: impl Fn(u32) -> bool,
    ) -> Option<u32> {
        let mut queue = vec![head];
        let mut done = 0;
        while let Some(&parent) = queue.get(done) {
            done += 1;
            let (left, right) = (edges.left[parent as usize], edges.right[parent as usize]);
            let within = children.range((parent, left)..=(parent, right)).map(|arc| arc.1);
            for child in within.filter(|child| is_candidate(*child)) {
                if self.labels[child as usize] == label {
                    return Some(child);
                }
                queue.push(child);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: u16 = 0;
    const Y: u16 = 1;
    const X: u16 = 2;
    /// The id that a decorated label `X||Y` has in these tests.
    const DECORATED: u16 = 3;

    fn tree(heads: &[Option<u32>], labels: &[u16]) -> Tree {
        Tree { heads: heads.to_vec(), labels: labels.to_vec() }
    }

    fn decorated(label: u16) -> Option<Decorated> {
        (label == DECORATED).then_some(Decorated { label: X, head: Y })
    }

    fn starts(heads: &[Option<u32>]) -> Vec<usize> {
        let starts = tree(heads, &vec![PLAIN; heads.len()]).sentence_starts(decorated, |_| false);
        (0..heads.len()).filter(|&token| starts[token]).collect()
    }

    #[test]
    fn sentences_start_at_the_left_edges_of_roots() {
        assert_eq!(starts(&[]), [0; 0]);
        assert_eq!(starts(&[None]), [0]);
        assert_eq!(starts(&[Some(1), None, Some(1), Some(1), Some(5), None]), [0, 4]);
        assert_eq!(starts(&[None, None, None]), [0, 1, 2]);
        // The arcs form a chain from the root, token 4, over the tokens 3 and 2 to token 1. Therefore the left edge of
        // the root is token 1.
        assert_eq!(starts(&[None, Some(2), Some(3), Some(4), None]), [0, 1]);
        // Two arcs cross: token 1 belongs to the root 3, although token 2 between them is another root.
        assert_eq!(starts(&[Some(2), Some(3), None, None]), [0, 1]);
    }

    /// The arcs form a chain from token 0 over 4, 1 and 3 to the root 2. After one pass the left edge of the root is
    /// still token 1, and therefore token 0 has a head outside its sentence.
    #[test]
    fn edges_are_found_in_several_passes() {
        assert_eq!(starts(&[Some(4), Some(3), None, Some(2), Some(1)]), [0]);
    }

    /// The parser never makes cycles of arcs. If there were a cycle, the computation of the edges would end after the
    /// maximum number of passes.
    #[test]
    fn a_cycle_does_not_cause_an_endless_loop() {
        assert_eq!(starts(&[Some(3), None, Some(0), Some(2)]), [1]);
    }

    fn reattached(heads: &[Option<u32>], labels: &[u16], spaces: &[u32]) -> (Vec<Option<u32>>, Vec<u16>) {
        let mut tree = tree(heads, labels);
        let edges = tree.edges();
        tree.reattach(&edges, decorated, |token| spaces.contains(&token));
        (tree.heads, tree.labels)
    }

    #[test]
    fn decorated_labels_name_the_label_of_the_head() {
        // The search is breadth first: the child 3 comes before the grandchild 2, although the grandchild is further
        // left.
        let heads = [None, Some(0), Some(1), Some(0), Some(0)];
        let (new_heads, labels) = reattached(&heads, &[PLAIN, PLAIN, Y, Y, DECORATED], &[]);
        assert_eq!((new_heads[4], labels[4]), (Some(3), X));
        // The search skips whitespace tokens and the tokens below them.
        assert_eq!(reattached(&heads, &[PLAIN, PLAIN, Y, Y, DECORATED], &[3]).0[4], Some(2));
        assert_eq!(
            reattached(&heads, &[PLAIN, PLAIN, Y, Y, DECORATED], &[3, 1]),
            (heads.to_vec(), vec![PLAIN, PLAIN, Y, Y, X])
        );
        // If a root has a decorated label, the label is ignored.
        assert_eq!(reattached(&[None, Some(0)], &[DECORATED, Y], &[]).1, [DECORATED, Y]);
    }

    #[test]
    fn the_search_uses_the_new_heads_and_labels_of_earlier_tokens() {
        // Token 2 is attached to token 1 first and gets the label X. Therefore the search for the head of token 3 ends
        // at token 1 as well.
        let heads = [None, Some(0), Some(0), Some(0)];
        let (new_heads, labels) = reattached(&heads, &[PLAIN, Y, DECORATED, DECORATED], &[]);
        assert_eq!((new_heads, labels), (vec![None, Some(0), Some(1), Some(1)], vec![PLAIN, Y, X, X]));
    }
}
