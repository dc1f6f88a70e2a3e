//! From arcs to sentence starts.

use std::collections::BTreeSet;

/// Passes over the tokens at most, in search of their edges.
const MAX_PASSES: usize = 12;

/// What a decorated label `X||Y` stands for, as numbers of labels: the label X, and Y, that of the head to look for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Decorated {
    pub(super) label: u16,
    pub(super) head: u16,
}

/// The arcs of one document.
#[derive(Debug)]
pub(super) struct Tree {
    /// Each token's head; `None` for a root.
    pub(super) heads: Vec<Option<u32>>,
    /// Each token's label; that of a root means nothing.
    pub(super) labels: Vec<u16>,
}

/// The first and the last token of what hangs on each token.
#[derive(Debug)]
struct Edges {
    left: Vec<u32>,
    right: Vec<u32>,
}

impl Tree {
    /// Which tokens start a sentence.
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

    /// Moves edges out to those of the children, forwards and backwards, until the sentences hold together.
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
            if self.holds_together(&self.starts(&edges)) {
                break;
            }
        }
        edges
    }

    /// The left edges of the roots.
    fn starts(&self, edges: &Edges) -> Vec<bool> {
        let mut starts = vec![false; self.heads.len()];
        for (at, _) in self.heads.iter().enumerate().filter(|(_, head)| head.is_none()) {
            starts[edges.left[at] as usize] = true;
        }
        starts
    }

    /// Whether no token has a head outside of its stretch, the last token of each stretch left out.
    fn holds_together(&self, starts: &[bool]) -> bool {
        let length = self.heads.len();
        let mut start = 0;
        for end in (0..length).filter(|&at| (at > 0 && starts[at]) || at + 1 == length) {
            let inside = |head: &Option<u32>| head.is_none_or(|head| (start..=end).contains(&(head as usize)));
            if !self.heads[start..end].iter().all(inside) {
                return false;
            }
            start = end;
        }
        true
    }

    /// Gives tokens with decorated labels the heads that these tell of; whether there were any.
    fn reattach(
        &mut self,
        edges: &Edges,
        decorated: impl Fn(u16) -> Option<Decorated>,
        is_space: impl Fn(u32) -> bool,
    ) -> bool {
        let mut children: Option<BTreeSet<(u32, u32)>> = None;
        for at in 0..self.heads.len() {
            let Some((head, wanted)) = self.heads[at].zip(decorated(self.labels[at])) else { continue };
            let token = at as u32;
            let children = children.get_or_insert_with(|| self.children());
            let passes = |child: u32| child != token && !is_space(child);
            if let Some(found) = self.search(children, edges, head, wanted.head, passes) {
                children.remove(&(head, token));
                children.insert((found, token));
                self.heads[at] = Some(found);
            }
            self.labels[at] = wanted.label;
        }
        children.is_some()
    }

    /// The arcs as (head, child), ascending.
    fn children(&self) -> BTreeSet<(u32, u32)> {
        let arcs = (0_u32..).zip(&self.heads).filter_map(|(child, head)| head.map(|head| (head, child)));
        arcs.collect()
    }

    /// The first token with a label below a head, breadth first.
    fn search(
        &self,
        children: &BTreeSet<(u32, u32)>,
        edges: &Edges,
        head: u32,
        label: u16,
        passes: impl Fn(u32) -> bool,
    ) -> Option<u32> {
        let mut queue = vec![head];
        let mut done = 0;
        while let Some(&parent) = queue.get(done) {
            done += 1;
            let (left, right) = (edges.left[parent as usize], edges.right[parent as usize]);
            let within = children.range((parent, left)..=(parent, right)).map(|arc| arc.1);
            for child in within.filter(|child| passes(*child)) {
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
    /// `X||Y`.
    const DECORATED: u16 = 3;

    fn tree(heads: &[Option<u32>], labels: &[u16]) -> Tree {
        Tree { heads: heads.to_vec(), labels: labels.to_vec() }
    }

    fn decorated(label: u16) -> Option<Decorated> {
        (label == DECORATED).then_some(Decorated { label: X, head: Y })
    }

    fn starts(heads: &[Option<u32>]) -> Vec<usize> {
        let starts = tree(heads, &vec![PLAIN; heads.len()]).sentence_starts(decorated, |_| false);
        (0..heads.len()).filter(|&at| starts[at]).collect()
    }

    #[test]
    fn sentences_start_at_the_left_edges_of_roots() {
        assert_eq!(starts(&[]), [0; 0]);
        assert_eq!(starts(&[None]), [0]);
        assert_eq!(starts(&[Some(1), None, Some(1), Some(1), Some(5), None]), [0, 4]);
        assert_eq!(starts(&[None, None, None]), [0, 1, 2]);
        // The edge of a root is that of what hangs on its children.
        assert_eq!(starts(&[None, Some(2), Some(3), Some(4), None]), [0, 1]);
        // Crossing arcs: the first sentence holds a token of the second.
        assert_eq!(starts(&[Some(2), Some(3), None, None]), [0, 1]);
    }

    /// One chain from token 0 to the root, 2, back and forth: after one pass the root's left edge is token 1, and token 0
    /// has a head outside of its stretch.
    #[test]
    fn edges_are_found_in_several_passes() {
        assert_eq!(starts(&[Some(4), Some(3), None, Some(2), Some(1)]), [0]);
    }

    /// No tree of arcs, but arcs have to be trusted to be one: a cycle ends after the last pass.
    #[test]
    fn a_cycle_does_not_hold_up() {
        assert_eq!(starts(&[Some(3), None, Some(0), Some(2)]), [1]);
    }

    fn reattached(heads: &[Option<u32>], labels: &[u16], spaces: &[u32]) -> (Vec<Option<u32>>, Vec<u16>) {
        let mut tree = tree(heads, labels);
        let edges = tree.edges();
        tree.reattach(&edges, decorated, |token| spaces.contains(&token));
        (tree.heads, tree.labels)
    }

    #[test]
    fn decorated_labels_tell_of_the_head() {
        // Breadth first: the child with the label comes before the grandchild that is further left.
        let heads = [None, Some(0), Some(1), Some(0), Some(0)];
        let (found, labels) = reattached(&heads, &[PLAIN, PLAIN, Y, Y, DECORATED], &[]);
        assert_eq!((found[4], labels[4]), (Some(3), X));
        // A space is passed over, with all that hangs on it.
        assert_eq!(reattached(&heads, &[PLAIN, PLAIN, Y, Y, DECORATED], &[3]).0[4], Some(2));
        assert_eq!(
            reattached(&heads, &[PLAIN, PLAIN, Y, Y, DECORATED], &[3, 1]),
            (heads.to_vec(), vec![PLAIN, PLAIN, Y, Y, X])
        );
        // A root has no label.
        assert_eq!(reattached(&[None, Some(0)], &[DECORATED, Y], &[]).1, [DECORATED, Y]);
    }

    #[test]
    fn later_tokens_see_what_earlier_ones_became() {
        // The token 2 hangs on 1 now, and 3 finds it there: its label is X by then.
        let heads = [None, Some(0), Some(0), Some(0)];
        let (found, labels) = reattached(&heads, &[PLAIN, Y, DECORATED, DECORATED], &[]);
        assert_eq!((found, labels), (vec![None, Some(0), Some(1), Some(1)], vec![PLAIN, Y, X, X]));
    }
}
