//! Decodes the outputs of the graph `spacy_ner` to entities, in linear time.

use std::ops::Range;

use super::section::{SpacyNer, Tie};
use super::tables::{Move, NerTables};
use super::update_maximum;
use crate::BridgeError;

/// An entity: a range of tokens of a document, and its label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) tokens: Range<usize>,
    /// The index of the entity's label in the manifest's list of labels.
    pub(super) label: usize,
}

/// The graph's outputs for the tokens of one slice of a document.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outputs<'a> {
    /// The index of the label of the entity that starts at each token, `[tokens]`; negative if no entity starts there.
    pub(super) label: &'a [i32],
    /// Whether the entity that starts at each token has more than one token, `[tokens]`.
    pub(super) begins: &'a [bool],
    /// The features of each token for its role as the current token, `[tokens, pieces * hidden]`.
    pub(super) current: &'a [f32],
    /// The features of each token for its role as the first token of the entity, `[tokens, pieces * hidden]`.
    pub(super) first: &'a [f32],
    /// The features of each token for its role as the token before the current one, `[tokens, pieces * hidden]`.
    pub(super) previous: &'a [f32],
}

impl Outputs<'_> {
    /// The outputs for a range of the tokens. `width` is the number of features of a token, `pieces * hidden`.
    pub(super) fn slice(self, tokens: Range<usize>, width: usize) -> Self {
        let features = tokens.start * width..tokens.end * width;
        Self {
            label: &self.label[tokens.clone()],
            begins: &self.begins[tokens],
            current: &self.current[features.clone()],
            first: &self.first[features.clone()],
            previous: &self.previous[features],
        }
    }
}

/// An open entity: its first token is decoded, but its last token is not known yet.
struct Open {
    start: usize,
    label: usize,
    /// The values of [`Outputs::first`] for the first token of the entity, `[pieces * hidden]`.
    first: Vec<f32>,
    /// The values of [`Outputs::previous`] for the last token of the entity so far, `[pieces * hidden]`.
    previous: Vec<f32>,
}

/// Decodes the entities of one document, slice by slice; an entity may extend over several slices.
pub(super) struct Decoder<'a> {
    tables: &'a NerTables,
    hidden: usize,
    tie: Tie,
    /// The number of labels that entities can have; labels are indices below it.
    labels: usize,
    /// The number of tokens of the document that were decoded so far.
    done: usize,
    open: Option<Open>,
    spans: Vec<Span>,
    /// The hidden layer of the state, computed from the features of the current token, the entity's first token and the
    /// token before the current one, `[hidden]`.
    state: Vec<f32>,
}

impl<'a> Decoder<'a> {
    pub(super) fn new(tables: &'a NerTables, network: &SpacyNer) -> Self {
        let labels = tables.inside.bias.len();
        let state = vec![0.0; network.hidden];
        Self { tables, hidden: network.hidden, tie: network.tie, labels, done: 0, open: None, spans: Vec::new(), state }
    }

    /// Decodes the document's next tokens. `is_last` returns whether a token, given by its index in the document, ends
    /// a sentence.
    ///
    /// # Errors
    /// `inference`, if the graph returned an unknown label or a score that is not finite.
    pub(super) fn feed(&mut self, outputs: Outputs<'_>, is_last: impl Fn(usize) -> bool) -> Result<(), BridgeError> {
        let before = self.done;
        for (index, (&label, &begins)) in outputs.label.iter().zip(outputs.begins).enumerate() {
            match self.open.take() {
                Some(open) => self.extend(open, outputs, index, is_last(before + index))?,
                None if label < 0 => {}
                None => self.begin(outputs, index, label as usize, begins)?,
            }
            self.done += 1;
        }
        Ok(())
    }

    /// The entities of the document. All of its tokens have to be decoded before.
    pub(super) fn finish(self) -> Vec<Span> {
        self.spans
    }

    fn width(&self) -> usize {
        self.tables.bias.len()
    }

    fn begin(&mut self, outputs: Outputs<'_>, index: usize, label: usize, begins: bool) -> Result<(), BridgeError> {
        if label >= self.labels {
            let problem = format!("the graph returned the label {label}, expected at most {}", self.labels - 1);
            return Err(BridgeError::inference(None, problem));
        }
        let start = self.done;
        if !begins {
            self.spans.push(Span { tokens: start..start + 1, label });
            return Ok(());
        }
        let range = index * self.width()..(index + 1) * self.width();
        let (first, previous) = (outputs.first[range.clone()].to_vec(), outputs.previous[range].to_vec());
        self.open = Some(Open { start, label, first, previous });
        Ok(())
    }

    fn extend(&mut self, mut open: Open, outputs: Outputs<'_>, index: usize, is_last: bool) -> Result<(), BridgeError> {
        let range = index * self.width()..(index + 1) * self.width();
        if is_last || !self.continues(&open, &outputs.current[range.clone()])? {
            self.spans.push(Span { tokens: open.start..self.done + 1, label: open.label });
            return Ok(());
        }
        open.previous.copy_from_slice(&outputs.previous[range]);
        self.open = Some(open);
        Ok(())
    }

    /// Whether the open entity continues after the current token, whose features are `current`, instead of ending with
    /// it.
    fn continues(&mut self, open: &Open, current: &[f32]) -> Result<bool, BridgeError> {
        self.state.fill(f32::NEG_INFINITY);
        let features = current.iter().zip(&open.first).zip(&open.previous).zip(&self.tables.bias);
        // As in spaCy, the bias is added last: the order of additions changes how sums are rounded, which can decide
        // between two moves with nearly equal scores.
        for (index, (((current, first), previous), bias)) in features.enumerate() {
            update_maximum(&mut self.state[index % self.hidden], current + first + previous + bias);
        }
        let inside = score(&self.tables.inside, open.label, &self.state);
        let last = score(&self.tables.last, open.label, &self.state);
        if !inside.is_finite() || !last.is_finite() {
            return Err(BridgeError::inference(
                None,
                format!("the moves of an entity have the scores {inside} and {last}"),
            ));
        }
        Ok(inside > last || (inside == last && self.tie == Tie::In))
    }
}

/// The score of one of the two moves of an open entity, which continue or end it. `label` is the index of the entity's
/// label, and `state` is the hidden layer.
fn score(output: &Move, label: usize, state: &[f32]) -> f32 {
    let weight = &output.weight[label * state.len()..(label + 1) * state.len()];
    weight.iter().zip(state).map(|(weight, value)| weight * value).sum::<f32>() + output.bias[label]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::families::spacy_ner::testing::{spec, tables};

    const WIDTH: usize = 4;

    /// The graph's outputs for the tokens of a test. The features of each token set the first of the two values of the
    /// hidden layer to a given value, and the second one to 1.
    struct Case {
        label: Vec<i32>,
        begins: Vec<bool>,
        current: Vec<f32>,
        zeros: Vec<f32>,
    }

    impl Case {
        /// The graph's outputs for tokens that are given as `(label, begins, first value of the hidden layer)`.
        fn new(tokens: &[(i32, bool, f32)]) -> Self {
            Self {
                label: tokens.iter().map(|token| token.0).collect(),
                begins: tokens.iter().map(|token| token.1).collect(),
                // The second value of the hidden layer is 1, because it is the larger one of the values -1 and 1 of its
                // two maxout pieces.
                current: tokens.iter().flat_map(|token| [token.2, -1.0, token.2 - 1.0, 1.0]).collect(),
                zeros: vec![0.0; tokens.len() * WIDTH],
            }
        }

        fn outputs(&self) -> Outputs<'_> {
            let Self { label, begins, current, zeros } = self;
            Outputs { label, begins, current, first: zeros, previous: zeros }
        }
    }

    /// Decodes a document and returns its entities as `(start, end, label)`. The slices of the document end before the
    /// tokens `slice_ends`, and its sentences end after the tokens `last`.
    fn spans(
        case: Outputs<'_>,
        slice_ends: &[usize],
        last: &[usize],
        tie: Tie,
    ) -> Result<Vec<(usize, usize, usize)>, BridgeError> {
        let (tables, mut network) = (tables(), spec().ner);
        network.tie = tie;
        let mut decoder = Decoder::new(&tables.ner, &network);
        let ends = slice_ends.iter().copied().chain([case.label.len()]);
        let mut start = 0;
        for end in ends {
            decoder
                .feed(case.slice(start..end, WIDTH), |token| last.contains(&token) || token + 1 == case.label.len())?;
            start = end;
        }
        Ok(decoder.finish().into_iter().map(|span| (span.tokens.start, span.tokens.end, span.label)).collect())
    }

    /// With the weights of this test, an entity with the label 0 continues if the first value of the hidden layer is
    /// above 1, an entity with the label 1 if that value is below 1.5.
    #[test]
    fn entities_do_not_depend_on_the_slices_of_the_document() {
        let case = Case::new(&[
            (-1, false, 0.0),
            (1, false, 0.0),
            (0, true, 0.0),
            (1, true, 3.0),
            (-1, false, 2.0),
            (0, false, 0.0),
            (1, true, 0.0),
            (-1, false, 1.0),
            (-1, false, 2.0),
            (0, true, 9.0),
            (0, true, 9.0),
        ]);
        let expected = vec![(1, 2, 1), (2, 6, 0), (6, 9, 1), (9, 11, 0)];
        for slice_ends in [&[][..], &[3], &[4], &[5, 6, 7], &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]] {
            assert_eq!(spans(case.outputs(), slice_ends, &[], Tie::In), Ok(expected.clone()), "{slice_ends:?}");
        }
        // If a sentence ends with token 3, the entity ends there as well, and another entity can start after it.
        let expected = vec![(1, 2, 1), (2, 4, 0), (5, 6, 0), (6, 9, 1), (9, 11, 0)];
        assert_eq!(spans(case.outputs(), &[], &[3], Tie::In), Ok(expected));
    }

    #[test]
    fn the_state_has_the_features_of_the_first_and_the_previous_token() {
        let mut case = Case::new(&[(0, true, 0.0), (-1, false, 0.0), (-1, false, 0.0), (-1, false, 0.0)]);
        let first = [0.5_f32, 0.0, 0.0, 0.0].into_iter().chain([0.0; 12]).collect::<Vec<_>>();
        // In its role as the previous token, token 0 adds 0.75 to the first value of the hidden layer at token 1. The
        // features of the other tokens for this role are zero.
        let previous = [0.75_f32, 0.0, 0.0, 0.0].into_iter().chain([0.0; 12]).collect::<Vec<_>>();
        case.current[4] = 0.0;
        let outputs = Outputs { first: &first, previous: &previous, ..case.outputs() };
        assert_eq!(spans(outputs, &[1], &[], Tie::In), Ok(vec![(0, 3, 0)]));
        assert_eq!(spans(case.outputs(), &[1], &[], Tie::In), Ok(vec![(0, 2, 0)]));
    }

    #[test]
    fn the_manifest_decides_ties() {
        let case = Case::new(&[(0, true, 0.0), (-1, false, 1.0), (-1, false, 0.0), (-1, false, 0.0)]);
        assert_eq!(spans(case.outputs(), &[], &[], Tie::In), Ok(vec![(0, 3, 0)]));
        assert_eq!(spans(case.outputs(), &[], &[], Tie::Last), Ok(vec![(0, 2, 0)]));
    }

    #[test]
    fn unknown_labels_and_scores_that_are_not_finite_are_refused() {
        let code = |case: &Case| spans(case.outputs(), &[], &[], Tie::In).map_err(|error| error.code().as_str());
        assert_eq!(code(&Case::new(&[(2, false, 0.0)])), Err("inference"));
        assert_eq!(code(&Case::new(&[(0, true, 0.0), (-1, false, f32::INFINITY), (-1, false, 0.0)])), Err("inference"));
        for index in 4..8 {
            // One maxout piece of the second token
            let mut case = Case::new(&[(0, true, 0.0), (-1, false, 0.0), (-1, false, 0.0)]);
            case.current[index] = f32::NAN;
            assert_eq!(code(&case), Err("inference"), "{index}");
        }
    }
}
