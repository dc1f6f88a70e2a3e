//! Plans the runs of a network's graphs: several short documents run together, a long document runs in slices.

use std::ops::Range;

use super::tokenizer::Token;
use super::word_types::{NewTypes, Source, TypeCache};

/// A tokenized document.
pub(super) struct Tokens<'a> {
    pub(super) text: &'a str,
    pub(super) tokens: Vec<Token>,
    /// Whether each token starts a sentence; empty if the pipeline has no sentence starts.
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

/// A slice of a document: consecutive tokens whose outputs are computed in one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Slice {
    /// The index of the document in the list of documents that run together.
    pub(super) document: usize,
    /// The indices in the document of the tokens whose outputs this slice computes, without the context on both sides.
    pub(super) own: Range<usize>,
}

impl Slice {
    /// The indices in the document of the slice's own tokens and of the context: the tokens on both sides that the
    /// outputs of the slice's own tokens depend on.
    fn with_context(&self, length: usize, context: usize) -> Range<usize> {
        self.own.start.saturating_sub(context)..self.own.end.saturating_add(context).min(length)
    }
}

/// Splits documents into slices and packs the slices into runs of up to `limit` tokens.
///
/// A document without tokens is in no run.
pub(super) fn plan(lengths: impl Iterator<Item = usize>, limit: usize) -> Vec<Vec<Slice>> {
    let mut runs: Vec<Vec<Slice>> = Vec::new();
    let mut available = 0;
    for (document, length) in lengths.enumerate() {
        for start in (0..length).step_by(limit) {
            let own = start..length.min(start + limit);
            if own.len() > available {
                runs.push(Vec::new());
                available = limit;
            }
            available -= own.len();
            runs.last_mut().into_iter().for_each(|run| run.push(Slice { document, own: own.clone() }));
        }
    }
    runs
}

/// The tokens of one run: the tokens of all its slices, with padding tokens before, between and after the slices. The
/// number of tokens is always even.
#[derive(Debug, Default)]
pub(super) struct RunTokens {
    /// The type of each token, as its index in the cache of token types.
    pub(super) types: Vec<u32>,
    pub(super) is_space: Vec<bool>,
    pub(super) is_last: Vec<bool>,
    /// The range of each slice's own tokens (without context), as indices in the run.
    pub(super) ranges: Vec<Range<usize>>,
    /// The token types of the run whose outputs are not in the cache.
    pub(super) new: NewTypes,
}

impl RunTokens {
    /// Collects the tokens of some slices for one run, with `context` padding tokens before and after each slice.
    pub(super) fn new(
        slices: &[Slice],
        documents: &[Tokens<'_>],
        context: usize,
        source: Source<'_>,
        cache: &mut TypeCache,
    ) -> Self {
        cache.begin(source);
        let mut run = Self::default();
        run.add_padding(context, cache);
        for slice in slices {
            let document = &documents[slice.document];
            let tokens = slice.with_context(document.len(), context);
            let start = run.len() + slice.own.start - tokens.start;
            run.ranges.push(start..start + slice.own.len());
            for index in tokens {
                let (kind, is_space) = cache.number(source, document.text, document.tokens[index], &mut run.new);
                run.add(kind, is_space, document.is_last(index));
            }
            run.add_padding(context, cache);
        }
        run.add_padding(run.len() % 2, cache);
        run
    }

    /// The number of tokens of the run, including padding.
    pub(super) fn len(&self) -> usize {
        self.types.len()
    }

    fn add_padding(&mut self, count: usize, cache: &mut TypeCache) {
        for _ in 0..count {
            let kind = cache.padding(&mut self.new);
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
    use crate::families::spacy_ner::testing::{rules, spec, tables};
    use crate::families::spacy_ner::tokenizer::{ChunkCache, tokenize};

    fn slice(document: usize, own: Range<usize>) -> Slice {
        Slice { document, own }
    }

    #[test]
    fn documents_are_packed_and_long_ones_are_split() {
        let runs = plan([3, 0, 4, 25, 2].into_iter(), 10);
        assert_eq!(
            runs,
            [
                vec![slice(0, 0..3), slice(2, 0..4)],
                vec![slice(3, 0..10)],
                vec![slice(3, 10..20)],
                vec![slice(3, 20..25), slice(4, 0..2)],
            ]
        );
        assert!(plan([0, 0].into_iter(), 10).is_empty());
    }

    #[test]
    fn padding_and_context_surround_every_slice() {
        let (rules, tables, spec) = (rules(), tables(), spec());
        let source = Source { rules: &rules, tables: &tables, columns: &spec.ner.columns, vectors: true };
        let tokens = |text| tokenize(&rules, text, &mut ChunkCache::default());
        let document = |text, starts| Tokens { text, tokens: tokens(text), starts };
        let starts = vec![false, false, true, false, false, false];
        let documents = [document("a b\nc d e", starts), document("b", Vec::new())];
        let slices = [slice(0, 3..4), slice(1, 0..1)];
        let mut cache = TypeCache::default();
        let run = RunTokens::new(&slices, &documents, 2, source, &mut cache);
        // The run has two padding tokens, the tokens 1 to 5 of the first document, two padding tokens, the only token
        // of the second document, and two padding tokens.
        assert_eq!(run.types, [0, 0, 1, 2, 3, 4, 5, 0, 0, 1, 0, 0]);
        assert_eq!(run.ranges, [4..5, 9..10]);
        let spaces: Vec<usize> = (0..run.len()).filter(|&index| run.is_space[index]).collect();
        assert_eq!(spaces, [0, 1, 3, 7, 8, 10, 11]);
        // Marked as the last token of a sentence: the padding tokens, the token before the sentence start, and the last
        // token of each document.
        let last: Vec<usize> = (0..run.len()).filter(|&index| run.is_last[index]).collect();
        assert_eq!(last, [0, 1, 2, 6, 7, 8, 9, 10, 11]);
        assert_eq!(run.new.count(), 6);
        // This slice ends where its document ends. Therefore the run has one token of context less than the first run,
        // and one more padding token at its end, which makes its number of tokens even.
        let run = RunTokens::new(&[slice(0, 4..6), slice(1, 0..1)], &documents, 2, source, &mut cache);
        assert_eq!(run.types, [0, 0, 2, 3, 4, 5, 0, 0, 1, 0, 0, 0]);
        assert_eq!((run.ranges, run.new.count()), (vec![4..6, 8..9], 6));
    }

    proptest! {
        #[test]
        fn every_token_is_in_one_slice(lengths in proptest::collection::vec(0_usize..50, 0..20), limit in 1_usize..30) {
            let runs = plan(lengths.iter().copied(), limit);
            let mut done = vec![0; lengths.len()];
            for run in &runs {
                prop_assert!(!run.is_empty() && run.iter().map(|slice| slice.own.len()).sum::<usize>() <= limit);
                for slice in run {
                    prop_assert_eq!(slice.own.start, done[slice.document]);
                    prop_assert!(!slice.own.is_empty());
                    done[slice.document] = slice.own.end;
                }
            }
            prop_assert_eq!(done, lengths);
        }
    }
}
