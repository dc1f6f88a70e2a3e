//! The greedy arc-eager dependency parser. The runtime uses only the sentence starts of its result.

mod features;
mod state;
mod tree;

use std::collections::HashMap;

pub(super) use self::features::Features;
use self::state::{Kind, State};
use self::tree::{Decorated, Tree};
use super::tables::{ParserTables, STATE_TOKENS};
use super::update_maximum;
use crate::BridgeError;
use crate::families::spacy_ner::section::SpacyParser;

/// The separator between the two labels of a decorated label `X||Y`: the token's own label, and the label of its true
/// head.
const DELIMITER: &str = "||";

/// The moves of a parser, parsed from their names in the manifest.
#[derive(Debug)]
pub(super) struct Moves {
    /// The kind and the label id of each move, in the order in which the network computes the moves' scores.
    moves: Vec<(Kind, u16)>,
    /// The two labels of each decorated label `X||Y`, by the id of the decorated label.
    decorated: HashMap<u16, Decorated>,
}

impl Moves {
    /// Parses the names of a parser's moves.
    ///
    /// # Errors
    /// The message for the first invalid name, or for too many labels.
    pub(super) fn new(names: &[String]) -> Result<Self, String> {
        let mut labels = Labels::default();
        let moves = names.iter().map(|name| labels.read(name)).collect::<Result<_, _>>()?;
        let known: Vec<(String, u16)> = labels.ids.iter().map(|(label, id)| (label.clone(), *id)).collect();
        let mut decorated = HashMap::new();
        for (name, id) in known {
            if let Some((label, head)) = name.split_once(DELIMITER) {
                decorated.insert(id, Decorated { label: labels.id(label)?, head: labels.id(head)? });
            }
        }
        Ok(Self { moves, decorated })
    }
}

/// Assigns ids to labels, in the order of their first occurrence.
#[derive(Default)]
struct Labels {
    ids: HashMap<String, u16>,
}

impl Labels {
    fn read(&mut self, name: &str) -> Result<(Kind, u16), String> {
        let (kind, label) = name.split_once('-').unwrap_or((name, ""));
        let kind = match kind {
            "S" => Kind::Shift,
            "D" => Kind::Reduce,
            "L" => Kind::Left,
            "R" => Kind::Right,
            "B" => Kind::Break,
            _ => return Err(format!("parser.moves has {name:?}, expected S, D, L-label, R-label or B-label")),
        };
        Ok((kind, self.id(label)?))
    }

    fn id(&mut self, label: &str) -> Result<u16, String> {
        let next = u16::try_from(self.ids.len()).map_err(|_| "parser.moves has too many labels".to_owned())?;
        Ok(*self.ids.entry(label.to_owned()).or_insert(next))
    }
}

/// A dependency parser with buffers that it reuses for every state.
pub(super) struct Parser<'a> {
    tables: &'a ParserTables,
    moves: &'a Moves,
    hidden: usize,
    /// The sum of the features of the current state's tokens, flat `[pieces * hidden]`.
    sum: Vec<f32>,
    /// The hidden layer for the current state, `[hidden]`.
    state: Vec<f32>,
    /// The score of each move in the current state, `[moves]`.
    scores: Vec<f32>,
}

impl<'a> Parser<'a> {
    pub(super) fn new(tables: &'a ParserTables, moves: &'a Moves, network: &SpacyParser) -> Self {
        let (sum, state) = (tables.bias.clone(), vec![0.0; network.hidden]);
        Self { tables, moves, hidden: network.hidden, sum, state, scores: tables.output_bias.clone() }
    }

    /// Parses a document and returns whether each of its tokens starts a sentence. `is_space` returns whether a token
    /// is whitespace.
    ///
    /// # Errors
    /// The error of computing the features of the tokens, or `inference` if a score is not finite.
    pub(super) fn sentence_starts(
        &mut self,
        length: usize,
        features: &mut Features<'_>,
        is_space: impl Fn(u32) -> bool,
    ) -> Result<Vec<bool>, BridgeError> {
        let mut state = State::new(length);
        while !state.is_final() {
            self.score(&state.tokens(), features)?;
            let Some((kind, label)) = self.best(state.valid())? else { break };
            state.apply(kind, label);
        }
        let (heads, labels) = state.into_arcs();
        let decorated = |label: u16| self.moves.decorated.get(&label).copied();
        Ok(Tree { heads, labels }.sentence_starts(decorated, is_space))
    }

    /// Scores all moves in the current state. `tokens` are the indices of the tokens whose features determine the
    /// scores; `None` for a missing token.
    fn score(&mut self, tokens: &[Option<u32>; STATE_TOKENS], features: &mut Features<'_>) -> Result<(), BridgeError> {
        let width = self.sum.len();
        // As in spaCy, the biases are added last: the order of additions changes how sums are rounded, which can decide
        // between two moves with nearly equal scores.
        self.sum.fill(0.0);
        for (slot, token) in tokens.iter().enumerate() {
            let values = match token {
                Some(token) => features.of(*token as usize)?,
                None => &self.tables.pad,
            };
            let values = &values[slot * width..(slot + 1) * width];
            self.sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
        }
        self.sum.iter_mut().zip(&self.tables.bias).for_each(|(sum, bias)| *sum += bias);
        self.state.fill(f32::NEG_INFINITY);
        for piece in self.sum.chunks_exact(self.hidden) {
            self.state.iter_mut().zip(piece).for_each(|(state, value)| update_maximum(state, *value));
        }
        self.scores.fill(0.0);
        for (state, weights) in self.state.iter().zip(self.tables.weight.chunks_exact(self.scores.len())) {
            self.scores.iter_mut().zip(weights).for_each(|(score, weight)| *score += state * weight);
        }
        self.scores.iter_mut().zip(&self.tables.output_bias).for_each(|(score, bias)| *score += bias);
        Ok(())
    }

    /// The valid move with the highest score, with its label; the first one among moves with equal scores.
    fn best(&self, valid: [bool; Kind::COUNT]) -> Result<Option<(Kind, u16)>, BridgeError> {
        let mut best: Option<((Kind, u16), f32)> = None;
        for (&(kind, label), &score) in self.moves.moves.iter().zip(&self.scores) {
            if !score.is_finite() {
                return Err(BridgeError::inference(None, format!("a move of the parser has the score {score}")));
            }
            if valid[kind as usize] && best.is_none_or(|(_, best)| score > best) {
                best = Some(((kind, label), score));
            }
        }
        Ok(best.map(|best| best.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::families::spacy_ner::testing::spec;

    const WIDTH: usize = 4;

    fn tables() -> ParserTables {
        ParserTables {
            // The bias of the second maxout piece is so low that the first of the two pieces is always the larger one.
            bias: vec![0.0, 0.0, -100.0, -100.0],
            pad: vec![0.0; STATE_TOKENS * WIDTH],
            // The first value of the hidden layer raises the score of the move S (shift) and lowers that of R (right
            // arc); the second value raises the score of D (reduce).
            weight: vec![1.0, 0.0, 0.0, -1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0],
            output_bias: vec![0.0, 0.0, -10.0, 0.0, 0.5],
        }
    }

    /// The features of tokens, which are zero for all roles in a state except the front of the buffer, `B0`.
    fn features(tokens: &[[f32; 2]]) -> Vec<f32> {
        let padded =
            |values: &[f32; 2]| values.iter().copied().chain([0.0; STATE_TOKENS * WIDTH - 2]).collect::<Vec<_>>();
        tokens.iter().flat_map(padded).collect()
    }

    fn starts(tables: &ParserTables, features: &mut Features<'_>, length: usize) -> Result<Vec<bool>, BridgeError> {
        let network = spec().parser.expect("a parser");
        let moves = Moves::new(&network.moves).expect("moves");
        Parser::new(tables, &moves, &network).sentence_starts(length, features, |_| false)
    }

    /// The expected moves, where S is shift, R is right arc, B is break and D is reduce: S (score 1, above the 0.5 of
    /// B), R (score 2), B (score 0.5; token 3 starts a sentence), S (the first of several moves with the score 0), D
    /// (token 2 returns to the buffer), D (the same score as R, but first), D, S, D, S, D. Only token 1 has a head,
    /// which is token 0.
    #[test]
    fn the_first_of_the_best_valid_moves_is_applied() {
        let values = features(&[[1.0, 0.0], [-2.0, 0.0], [0.0, 0.0], [0.0, 0.0]]);
        let width = STATE_TOKENS * WIDTH;
        let expected = Ok(vec![true, false, true, true]);
        assert_eq!(starts(&tables(), &mut Features::all(&values, width), 4), expected);
        let load = |tokens: std::ops::Range<usize>| Ok(values[tokens.start * width..tokens.end * width].to_vec());
        assert_eq!(starts(&tables(), &mut Features::in_blocks(4, 1, width, load), 4), expected);
        assert_eq!(starts(&tables(), &mut Features::all(&[], width), 0), Ok(vec![]));
    }

    #[test]
    fn scores_that_are_not_finite_are_refused() {
        for first in [f32::NAN, f32::INFINITY] {
            let values = features(&[[first, 0.0], [0.0, 0.0]]);
            let starts = starts(&tables(), &mut Features::all(&values, STATE_TOKENS * WIDTH), 2);
            assert_eq!(starts.map_err(|error| error.code().as_str()), Err("inference"), "{first}");
        }
    }

    #[test]
    fn names_of_moves_are_parsed() {
        let names = ["S", "D", "L-nsubj||conj", "R-nsubj", "B-ROOT"].map(str::to_owned);
        let moves = Moves::new(&names).expect("moves");
        let kinds: Vec<Kind> = moves.moves.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(kinds, [Kind::Shift, Kind::Reduce, Kind::Left, Kind::Right, Kind::Break]);
        let decorated = moves.decorated[&moves.moves[2].1];
        assert_eq!(decorated.label, moves.moves[3].1);
        assert_ne!(decorated.head, decorated.label);
        assert!(Moves::new(&["X-y".to_owned()]).is_err_and(|error| error.contains("X-y")));
    }
}
