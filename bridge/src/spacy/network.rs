//! Documents to the inputs of a graph, and one run of it.

use std::ops::Range;

use ort::session::{Session, SessionInputValue, SessionOutputs};
use ort::value::Tensor;

use super::tokenizer::Token;
use super::types::{RunTypes, Source, TypeCache};
use crate::BridgeError;

/// The type of a gap.
const GAP: i32 = -1;

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

/// The inputs of one run.
#[derive(Debug, Default)]
pub(super) struct Inputs {
    types: RunTypes,
    /// `[tokens]`.
    token_types: Vec<i32>,
    is_space: Vec<bool>,
    is_last: Vec<bool>,
    /// Where the own tokens of each part are in the run.
    pub(super) places: Vec<Range<usize>>,
}

impl Inputs {
    /// Lines up the parts with `context` gaps before, between and after them.
    pub(super) fn new(
        parts: &[Part],
        documents: &[Tokens<'_>],
        context: usize,
        source: Source<'_>,
        cache: &mut TypeCache,
    ) -> Self {
        let mut inputs = Self { types: cache.begin(), ..Self::default() };
        inputs.add_gaps(context);
        for part in parts {
            let document = &documents[part.document];
            let shown = part.with_context(document.len(), context);
            let start = inputs.token_types.len() + part.own.start - shown.start;
            inputs.places.push(start..start + part.own.len());
            for at in shown {
                let (kind, is_space) = cache.place(source, document.text, document.tokens[at], &mut inputs.types);
                inputs.add(kind, is_space, document.is_last(at));
            }
            inputs.add_gaps(context);
        }
        inputs
    }

    fn add_gaps(&mut self, gaps: usize) {
        (0..gaps).for_each(|_| self.add(GAP, true, true));
    }

    fn add(&mut self, kind: i32, is_space: bool, is_last: bool) {
        self.token_types.push(kind);
        self.is_space.push(is_space);
        self.is_last.push(is_last);
    }

    /// Tokens and gaps.
    pub(super) fn len(&self) -> usize {
        self.token_types.len()
    }

    /// Runs the graph.
    ///
    /// # Errors
    /// `inference`, without an index: any document may be to blame.
    pub(super) fn run<'s>(self, session: &'s mut Session, feed: Feed) -> Result<SessionOutputs<'s>, BridgeError> {
        session.run(self.tensors(feed).map_err(failed)?).map_err(failed)
    }

    fn tensors(self, feed: Feed) -> ort::Result<Vec<(&'static str, SessionInputValue<'static>)>> {
        let (types, tokens) = (self.types.count(), self.token_types.len());
        let width = self.types.rows.len() / types.max(1);
        let mut tensors: Vec<(&'static str, SessionInputValue<'static>)> = vec![
            ("rows", Tensor::from_array(([types, width], self.types.rows))?.into()),
            ("token_types", Tensor::from_array(([tokens], self.token_types))?.into()),
        ];
        if feed.vectors {
            tensors.push(("vectors", Tensor::from_array(([types], self.types.vectors))?.into()));
        }
        if feed.marks {
            tensors.push(("is_space", Tensor::from_array(([tokens], self.is_space))?.into()));
            tensors.push(("is_last", Tensor::from_array(([tokens], self.is_last))?.into()));
        }
        Ok(tensors)
    }
}

/// Which inputs a graph has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Feed {
    pub(super) vectors: bool,
    /// Whether it is told which tokens are spaces and which are the last of their sentence.
    pub(super) marks: bool,
}

/// An output, whose shape has to be the given one.
///
/// # Errors
/// `inference`.
pub(super) fn output<'a, T: ort::value::PrimitiveTensorElementType>(
    outputs: &'a SessionOutputs<'_>,
    name: &str,
    shape: &[usize],
) -> Result<&'a [T], BridgeError> {
    let output = outputs.get(name).ok_or_else(|| BridgeError::inference(None, format!("the graph gave no {name}")))?;
    let (found, values) = output.try_extract_tensor::<T>().map_err(failed)?;
    let fits = found.iter().copied().eq(shape.iter().map(|size| *size as i64));
    if !fits {
        return Err(BridgeError::inference(None, format!("{name} has shape {found:?}, expected {shape:?}")));
    }
    Ok(values)
}

fn failed(error: ort::Error) -> BridgeError {
    BridgeError::inference(None, format!("ONNX Runtime failed: {error}"))
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
        let inputs = Inputs::new(&parts, &documents, 2, source, &mut TypeCache::default());
        // Two gaps, the tokens 1 to 5, two gaps, the other document, two gaps.
        assert_eq!(inputs.token_types, [-1, -1, 0, 1, 2, 3, 4, -1, -1, 0, -1, -1]);
        assert_eq!(inputs.places, [4..5, 9..10]);
        let spaces: Vec<usize> = (0..inputs.len()).filter(|&at| inputs.is_space[at]).collect();
        assert_eq!(spaces, [0, 1, 3, 7, 8, 10, 11]);
        // The token before the sentence start and the last ones.
        let last: Vec<usize> = (0..inputs.len()).filter(|&at| inputs.is_last[at]).collect();
        assert_eq!(last, [0, 1, 2, 6, 7, 8, 9, 10, 11]);
        assert_eq!((inputs.types.count(), inputs.types.vectors.len()), (5, 5));
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
