//! Entities from the outputs of the graph `spacy_ner`, in linear time.

use std::ops::Range;

use super::section::{SpacyNer, Tie};
use super::tables::{Move, NerTables};
use crate::BridgeError;

/// An entity over tokens of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) tokens: Range<usize>,
    /// Index of the label.
    pub(super) label: usize,
}

/// The outputs for the tokens of one slice of a document.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outputs<'a> {
    /// `[tokens]`.
    pub(super) label: &'a [i32],
    /// `[tokens]`.
    pub(super) begins: &'a [bool],
    /// `[tokens, pieces * hidden]`, as the two below.
    pub(super) current: &'a [f32],
    pub(super) first: &'a [f32],
    pub(super) previous: &'a [f32],
}

impl Outputs<'_> {
    /// The outputs for some of the tokens; a token has `width` features.
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

/// An entity that continues.
struct Open {
    start: usize,
    label: usize,
    /// The features of its first token and of its last token so far.
    first: Vec<f32>,
    previous: Vec<f32>,
}

/// Decodes one document, slice by slice; an entity may extend over several slices.
pub(super) struct Decoder<'a> {
    tables: &'a NerTables,
    hidden: usize,
    tie: Tie,
    labels: usize,
    /// The number of tokens decoded.
    done: usize,
    open: Option<Open>,
    spans: Vec<Span>,
    /// The state's hidden layer.
    state: Vec<f32>,
}

impl<'a> Decoder<'a> {
    pub(super) fn new(tables: &'a NerTables, network: &SpacyNer) -> Self {
        let labels = tables.inside.bias.len();
        let state = vec![0.0; network.hidden];
        Self { tables, hidden: network.hidden, tie: network.tie, labels, done: 0, open: None, spans: Vec::new(), state }
    }

    /// Decodes the document's next tokens; `is_last` returns whether a token of the document ends a sentence.
    ///
    /// # Errors
    /// `inference`, if the graph returned an unknown label or a score that is not finite.
    pub(super) fn feed(&mut self, outputs: Outputs<'_>, is_last: impl Fn(usize) -> bool) -> Result<(), BridgeError> {
        let before = self.done;
        for (at, (&label, &begins)) in outputs.label.iter().zip(outputs.begins).enumerate() {
            match self.open.take() {
                Some(open) => self.extend(open, outputs, at, is_last(before + at))?,
                None if label < 0 => {}
                None => self.begin(outputs, at, label as usize, begins)?,
            }
            self.done += 1;
        }
        Ok(())
    }

    /// The document's entities.
    pub(super) fn finish(self) -> Vec<Span> {
        self.spans
    }

    fn width(&self) -> usize {
        self.tables.bias.len()
    }

    fn begin(&mut self, outputs: Outputs<'_>, at: usize, label: usize, begins: bool) -> Result<(), BridgeError> {
        if label >= self.labels {
            let problem = format!("the graph returned the label {label}, expected at most {}", self.labels - 1);
            return Err(BridgeError::inference(None, problem));
        }
        let start = self.done;
        if !begins {
            self.spans.push(Span { tokens: start..start + 1, label });
            return Ok(());
        }
        let range = at * self.width()..(at + 1) * self.width();
        let (first, previous) = (outputs.first[range.clone()].to_vec(), outputs.previous[range].to_vec());
        self.open = Some(Open { start, label, first, previous });
        Ok(())
    }

    fn extend(&mut self, mut open: Open, outputs: Outputs<'_>, at: usize, is_last: bool) -> Result<(), BridgeError> {
        let range = at * self.width()..(at + 1) * self.width();
        if is_last || !self.continues(&open, &outputs.current[range.clone()])? {
            self.spans.push(Span { tokens: open.start..self.done + 1, label: open.label });
            return Ok(());
        }
        open.previous.copy_from_slice(&outputs.previous[range]);
        self.open = Some(open);
        Ok(())
    }

    /// Whether an entity goes on behind a token with these features.
    fn continues(&mut self, open: &Open, current: &[f32]) -> Result<bool, BridgeError> {
        self.state.fill(f32::NEG_INFINITY);
        let features = current.iter().zip(&open.first).zip(&open.previous).zip(&self.tables.bias);
        // In the original's order, the bias last: near ties are decided by how sums round.
        for (at, (((current, first), previous), bias)) in features.enumerate() {
            let state = &mut self.state[at % self.hidden];
            *state = state.max(current + first + previous + bias);
        }
        let inside = score(&self.tables.inside, open.label, &self.state);
        let last = score(&self.tables.last, open.label, &self.state);
        if !inside.is_finite() || !last.is_finite() {
            return Err(BridgeError::inference(None, format!("an entity got the scores {inside} and {last}")));
        }
        Ok(inside > last || (inside == last && self.tie == Tie::In))
    }
}

/// The score of a move for a label.
fn score(output: &Move, label: usize, state: &[f32]) -> f32 {
    let weight = &output.weight[label * state.len()..(label + 1) * state.len()];
    weight.iter().zip(state).map(|(weight, value)| weight * value).sum::<f32>() + output.bias[label]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::families::spacy_ner::testing::{spec, tables};

    const WIDTH: usize = 4;

    /// Tokens as (label, begins), with features that make the first value of the state `current` and the other 1.
    struct Case {
        label: Vec<i32>,
        begins: Vec<bool>,
        current: Vec<f32>,
        zeros: Vec<f32>,
    }

    impl Case {
        fn new(tokens: &[(i32, bool, f32)]) -> Self {
            Self {
                label: tokens.iter().map(|token| token.0).collect(),
                begins: tokens.iter().map(|token| token.1).collect(),
                // The second piece is the larger one for the second value of the state.
                current: tokens.iter().flat_map(|token| [token.2, -1.0, token.2 - 1.0, 1.0]).collect(),
                zeros: vec![0.0; tokens.len() * WIDTH],
            }
        }

        fn outputs(&self) -> Outputs<'_> {
            let Self { label, begins, current, zeros } = self;
            Outputs { label, begins, current, first: zeros, previous: zeros }
        }
    }

    fn spans(
        case: Outputs<'_>,
        cuts: &[usize],
        last: &[usize],
        tie: Tie,
    ) -> Result<Vec<(usize, usize, usize)>, BridgeError> {
        let (tables, mut network) = (tables(), spec().ner);
        network.tie = tie;
        let mut decoder = Decoder::new(&tables.ner, &network);
        let ends = cuts.iter().copied().chain([case.label.len()]);
        let mut start = 0;
        for end in ends {
            decoder
                .feed(case.slice(start..end, WIDTH), |token| last.contains(&token) || token + 1 == case.label.len())?;
            start = end;
        }
        Ok(decoder.finish().into_iter().map(|span| (span.tokens.start, span.tokens.end, span.label)).collect())
    }

    /// For the label 0 the entity goes on where `current` is above 1, for the label 1 where it is below 1.5.
    #[test]
    fn entities_go_on_while_that_scores_higher_however_the_document_is_cut() {
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
        ]); // fmt: skip
        let expected = vec![(1, 2, 1), (2, 6, 0), (6, 9, 1), (9, 11, 0)];
        for cuts in [&[][..], &[3], &[4], &[5, 6, 7], &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]] {
            assert_eq!(spans(case.outputs(), cuts, &[], Tie::In), Ok(expected.clone()), "{cuts:?}");
        }
        // A sentence ends at the token 3, and so does the entity; what follows is asked for its own label.
        let cut = vec![(1, 2, 1), (2, 4, 0), (5, 6, 0), (6, 9, 1), (9, 11, 0)];
        assert_eq!(spans(case.outputs(), &[], &[3], Tie::In), Ok(cut));
    }

    #[test]
    fn features_of_the_first_and_the_previous_token_count() {
        let mut case = Case::new(&[(0, true, 0.0), (-1, false, 0.0), (-1, false, 0.0), (-1, false, 0.0)]);
        let first = [0.5_f32, 0.0, 0.0, 0.0].into_iter().chain([0.0; 12]).collect::<Vec<_>>();
        // Of the token before: 0.75 before the token 1, nothing before the token 2.
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
    fn labels_that_are_none_and_scores_that_are_not_finite_are_refused() {
        let code = |case: &Case| spans(case.outputs(), &[], &[], Tie::In).map_err(|error| error.code());
        assert_eq!(code(&Case::new(&[(2, false, 0.0)])), Err("inference"));
        assert_eq!(code(&Case::new(&[(0, true, 0.0), (-1, false, f32::INFINITY), (-1, false, 0.0)])), Err("inference"));
    }
}
