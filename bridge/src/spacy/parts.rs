//! Documents to runs of a network's graphs: several short ones together, a long one in parts.

use std::ops::Range;

use super::tokenizer::Token;
use super::types::{NewTypes, Source, TypeCache};

/// A tokenized document.
pub(super) struct Tokens<'a> {
    pub(super) text: &'a str,
    pub(super) tokens: Vec<Token>,
    /// Which tokens start a sentence; empty where sentences do not count.
    pub(super) starts: Vec<bool>,
}

impl Tokens<'_> {
    pub(super) fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether a token is the last one of its sentence.
    pub(super) fn is_last(&self, token: usize) -> bool {
        token + 1 == self.tokens.len() || self.starts.get(token + 1) == Some(&true)
    }
}

/// A part of a document in a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    /// The document's index.
    pub(super) document: usize,
    /// Its tokens, as their indices in the document.
    pub(super) own: Range<usize>,
}

impl Part {
    /// Its tokens and those beside it that its outputs depend on.
    fn with_context(&self, length: usize, context: usize) -> Range<usize> {
        self.own.start.saturating_sub(context)..self.own.end.saturating_add(context).min(length)
    }
}

/// Cuts documents into parts of at most `most` tokens, and packs the parts into runs of about as many tokens.
///
/// A document without tokens is in no run.
pub(super) fn plan(lengths: impl Iterator<Item = usize>, most: usize) -> Vec<Vec<Part>> {
    let mut runs: Vec<Vec<Part>> = Vec::new();
    let mut room = 0;
    for (document, length) in lengths.enumerate() {
        for start in (0..length).step_by(most) {
            let own = start..length.min(start + most);
            if own.len() > room {
                runs.push(Vec::new());
                room = most;
            }
            room -= own.len();
            runs.last_mut().into_iter().for_each(|run| run.push(Part { document, own: own.clone() }));
        }
    }
    runs
}

/// The tokens of one run: those of its parts with gaps before, between and after them, always an even number.
#[derive(Debug, Default)]
pub(super) struct Lineup {
    /// The type of each, as the cache numbers them.
    pub(super) types: Vec<u32>,
    pub(super) is_space: Vec<bool>,
    pub(super) is_last: Vec<bool>,
    /// Where the own tokens of each part are in the run.
    pub(super) places: Vec<Range<usize>>,
    /// The types that the cache has no outputs of.
    pub(super) new: NewTypes,
}

impl Lineup {
    /// Lines up the parts with `context` gaps around each.
    pub(super) fn new(
        parts: &[Part],
        documents: &[Tokens<'_>],
        context: usize,
        source: Source<'_>,
        cache: &mut TypeCache,
    ) -> Self {
        cache.begin(source);
        let mut lineup = Self::default();
        lineup.add_gaps(context, cache);
        for part in parts {
            let document = &documents[part.document];
            let shown = part.with_context(document.len(), context);
            let start = lineup.len() + part.own.start - shown.start;
            lineup.places.push(start..start + part.own.len());
            for at in shown {
                let (kind, is_space) = cache.number(source, document.text, document.tokens[at], &mut lineup.new);
                lineup.add(kind, is_space, document.is_last(at));
            }
            lineup.add_gaps(context, cache);
        }
        lineup.add_gaps(lineup.len() % 2, cache);
        lineup
    }

    /// Tokens and gaps.
    pub(super) fn len(&self) -> usize {
        self.types.len()
    }

    fn add_gaps(&mut self, gaps: usize, cache: &mut TypeCache) {
        for _ in 0..gaps {
            let kind = cache.gap(&mut self.new);
            self.add(kind, true, true);
        }
    }

    fn add(&mut self, kind: u32, is_space: bool, is_last: bool) {
        self.types.push(kind);
        self.is_space.push(is_space);
        self.is_last.push(is_last);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::spacy::testing::{rules, spec, tables};
    use crate::spacy::tokenizer::{ChunkCache, tokenize};

    fn part(document: usize, own: Range<usize>) -> Part {
        Part { document, own }
    }

    #[test]
    fn documents_are_packed_and_long_ones_are_cut() {
        let runs = plan([3, 0, 4, 25, 2].into_iter(), 10);
        assert_eq!(
            runs,
            [
                vec![part(0, 0..3), part(2, 0..4)],
                vec![part(3, 0..10)],
                vec![part(3, 10..20)],
                vec![part(3, 20..25), part(4, 0..2)],
            ]
        );
        assert!(plan([0, 0].into_iter(), 10).is_empty());
    }

    #[test]
    fn gaps_and_context_lie_around_every_part() {
        let (rules, tables, spec) = (rules(), tables(), spec());
        let source = Source { rules: &rules, tables: &tables, columns: &spec.ner.columns, vectors: true };
        let tokens = |text| tokenize(&rules, text, &mut ChunkCache::default());
        let document = |text, starts| Tokens { text, tokens: tokens(text), starts };
        let starts = vec![false, false, true, false, false, false];
        let documents = [document("a b\nc d e", starts), document("b", Vec::new())];
        let parts = [part(0, 3..4), part(1, 0..1)];
        let mut cache = TypeCache::default();
        let lineup = Lineup::new(&parts, &documents, 2, source, &mut cache);
        // Two gaps, the tokens 1 to 5, two gaps, the other document, two gaps.
        assert_eq!(lineup.types, [0, 0, 1, 2, 3, 4, 5, 0, 0, 1, 0, 0]);
        assert_eq!(lineup.places, [4..5, 9..10]);
        let spaces: Vec<usize> = (0..lineup.len()).filter(|&at| lineup.is_space[at]).collect();
        assert_eq!(spaces, [0, 1, 3, 7, 8, 10, 11]);
        // The token before the sentence start and the last ones.
        let last: Vec<usize> = (0..lineup.len()).filter(|&at| lineup.is_last[at]).collect();
        assert_eq!(last, [0, 1, 2, 6, 7, 8, 9, 10, 11]);
        assert_eq!(lineup.new.count(), 6);
        // One token fewer, one gap more.
        let lineup = Lineup::new(&[part(0, 4..6), part(1, 0..1)], &documents, 2, source, &mut cache);
        assert_eq!(lineup.types, [0, 0, 2, 3, 4, 5, 0, 0, 1, 0, 0, 0]);
        assert_eq!((lineup.places, lineup.new.count()), (vec![4..6, 8..9], 6));
    }

    proptest! {
        #[test]
        fn every_token_is_in_one_part(lengths in proptest::collection::vec(0_usize..50, 0..20), most in 1_usize..30) {
            let runs = plan(lengths.iter().copied(), most);
            let mut done = vec![0; lengths.len()];
            for run in &runs {
                prop_assert!(!run.is_empty() && run.iter().map(|part| part.own.len()).sum::<usize>() <= most);
                for part in run {
                    prop_assert_eq!(part.own.start, done[part.document]);
                    prop_assert!(!part.own.is_empty());
                    done[part.document] = part.own.end;
                }
            }
            prop_assert_eq!(done, lengths);
        }
    }
}
