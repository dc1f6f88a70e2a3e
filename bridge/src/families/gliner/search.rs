//! The greedy search over possible entities.

use std::collections::HashSet;

use super::decode::Candidate;

/// Whether entities may be inside of others, and whether the same words may have several labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Overlaps {
    pub(super) nested: bool,
    pub(super) multi_label: bool,
}

/// Keeps the candidates that fit together, those with a higher score first; the result is sorted by the first word.
///
/// Flat entities have no word in common. Nested ones are inside each other or have no word in common. Of the same words, only
/// one entity is kept, or with `multi_label` all. Of equal scores, the earlier candidate is kept. `words` is the number of
/// words of the text.
pub(super) fn search(mut candidates: Vec<Candidate>, words: usize, overlaps: Overlaps) -> Vec<Candidate> {
    candidates.sort_by(|a, b| b.score.total_cmp(&a.score));
    let mut kept = Kept::new(words, overlaps);
    candidates.retain(|candidate| kept.add(candidate.first, candidate.last));
    candidates.sort_by_key(|candidate| candidate.first);
    candidates
}

/// The entities that were kept so far, in arrays by word, so that a new one is compared with none of them.
struct Kept {
    overlaps: Overlaps,
    spans: HashSet<(usize, usize)>,
    covered: Vec<bool>,
    /// One more than the largest last word of the entities that start at each word; 0 if there are none.
    end_of_start: Vec<usize>,
    /// The smallest first word of the entities that end at each word; `words` if there are none.
    start_of_end: Vec<usize>,
}

impl Kept {
    fn new(words: usize, overlaps: Overlaps) -> Self {
        let (covered, end_of_start, start_of_end) = (vec![false; words], vec![0; words], vec![words; words]);
        Self { overlaps, spans: HashSet::new(), covered, end_of_start, start_of_end }
    }

    /// Keeps an entity if it fits, and returns whether it does.
    fn add(&mut self, first: usize, last: usize) -> bool {
        if self.spans.contains(&(first, last)) {
            return self.overlaps.multi_label;
        }
        if self.conflicts(first, last) {
            return false;
        }
        self.spans.insert((first, last));
        self.covered[first..=last].fill(true);
        self.end_of_start[first] = self.end_of_start[first].max(last + 1);
        self.start_of_end[last] = self.start_of_end[last].min(first);
        true
    }

    /// Whether the entity overlaps one with other words, and for nested ones, whether neither is inside the other.
    fn conflicts(&self, first: usize, last: usize) -> bool {
        if !self.overlaps.nested {
            return self.covered[first..=last].contains(&true);
        }
        self.end_of_start[first + 1..=last].iter().any(|end| *end > last + 1)
            || self.start_of_end[first..last].iter().any(|start| *start < first)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn candidate(first: usize, last: usize, label: usize, score: f32) -> Candidate {
        Candidate { first, last, label, score }
    }

    fn found(candidates: &[Candidate], nested: bool, multi_label: bool) -> Vec<(usize, usize, usize)> {
        let found = search(candidates.to_vec(), 9, Overlaps { nested, multi_label });
        found.iter().map(|each| (each.first, each.last, each.label)).collect()
    }

    #[test]
    fn entities_fit_together() {
        let all = [
            candidate(0, 3, 0, 0.9),
            candidate(1, 2, 0, 0.8),
            candidate(2, 4, 1, 0.7),
            candidate(0, 3, 1, 0.6),
            candidate(5, 5, 1, 0.5),
            candidate(5, 5, 0, 0.5),
        ];
        assert_eq!(found(&all, false, false), [(0, 3, 0), (5, 5, 1)]);
        assert_eq!(found(&all, false, true), [(0, 3, 0), (0, 3, 1), (5, 5, 1), (5, 5, 0)]);
        assert_eq!(found(&all, true, false), [(0, 3, 0), (1, 2, 0), (5, 5, 1)]);
        assert_eq!(found(&all, true, true), [(0, 3, 0), (0, 3, 1), (1, 2, 0), (5, 5, 1), (5, 5, 0)]);
    }

    /// Compares each candidate with all that were kept.
    fn slow_search(candidates: &[Candidate], overlaps: Overlaps) -> Vec<Candidate> {
        let mut ordered = candidates.to_vec();
        ordered.sort_by(|a, b| b.score.total_cmp(&a.score));
        let mut kept: Vec<Candidate> = Vec::new();
        for each in ordered {
            let conflicts = |other: &Candidate| {
                if (each.first, each.last) == (other.first, other.last) {
                    return !overlaps.multi_label;
                }
                let is_apart = each.first > other.last || other.first > each.last;
                let is_inside = each.first <= other.first && each.last >= other.last
                    || other.first <= each.first && other.last >= each.last;
                !(is_apart || overlaps.nested && is_inside)
            };
            if !kept.iter().any(conflicts) {
                kept.push(each);
            }
        }
        kept.sort_by_key(|each| each.first);
        kept
    }

    proptest! {
        #[test]
        fn the_search_equals_the_comparison_of_all_pairs(
            spans in proptest::collection::vec((0_usize..9, 0_usize..9, 0_usize..3, 0_u8..20), 0..40),
            nested in any::<bool>(), multi_label in any::<bool>(),
        ) {
            let all: Vec<Candidate> = spans
                .iter()
                .map(|&(a, b, label, score)| candidate(a.min(b), a.max(b), label, f32::from(score) / 20.0))
                .collect();
            let overlaps = Overlaps { nested, multi_label };
            prop_assert_eq!(search(all.clone(), 9, overlaps), slow_search(&all, overlaps));
        }
    }
}
