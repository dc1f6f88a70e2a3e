//! The greedy arc-eager parser, of which only the sentence starts are wanted.

mod features;
mod state;
mod tree;

use std::collections::HashMap;

pub(super) use self::features::Features;
use self::state::{Kind, State};
use self::tree::{Decorated, Tree};
use super::tables::{ParserTables, STATE_TOKENS};
use crate::BridgeError;
use crate::families::spacy_ner::section::SpacyParser;

/// What separates the two labels of a decorated one.
const DELIMITER: &str = "||";

/// A parser's moves.
#[derive(Debug)]
pub(super) struct Moves {
    /// Kind and label of each, in the order of the scores.
    moves: Vec<(Kind, u16)>,
    decorated: HashMap<u16, Decorated>,
}

impl Moves {
    /// # Errors
    /// A move that is none, or more labels than there can be.
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

/// Numbers labels.
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

/// Parses documents.
pub(super) struct Parser<'a> {
    tables: &'a ParserTables,
    moves: &'a Moves,
    hidden: usize,
    /// The sum of the features, the hidden layer, the scores of the moves.
    sum: Vec<f32>,
    state: Vec<f32>,
    scores: Vec<f32>,
}

impl<'a> Parser<'a> {
    pub(super) fn new(tables: &'a ParserTables, moves: &'a Moves, network: &SpacyParser) -> Self {
        let (sum, state) = (tables.bias.clone(), vec![0.0; network.hidden]);
        Self { tables, moves, hidden: network.hidden, sum, state, scores: tables.output_bias.clone() }
    }

    /// Which tokens of a document start a sentence.
    ///
    /// # Errors
    /// Those of loading features, or `inference` where a score is not finite.
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

    /// Scores all moves in a state that has these tokens.
    fn score(&mut self, tokens: &[Option<u32>; STATE_TOKENS], features: &mut Features<'_>) -> Result<(), BridgeError> {
        let width = self.sum.len();
        // In the original's order, the biases last: near ties are decided by how sums round.
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
            self.state.iter_mut().zip(piece).for_each(|(state, value)| *state = state.max(*value));
        }
        self.scores.fill(0.0);
        for (state, weights) in self.state.iter().zip(self.tables.weight.chunks_exact(self.scores.len())) {
            self.scores.iter_mut().zip(weights).for_each(|(score, weight)| *score += state * weight);
        }
        self.scores.iter_mut().zip(&self.tables.output_bias).for_each(|(score, bias)| *score += bias);
        Ok(())
    }

    /// The first of the best valid moves.
    fn best(&self, valid: [bool; Kind::COUNT]) -> Result<Option<(Kind, u16)>, BridgeError> {
        let mut best: Option<((Kind, u16), f32)> = None;
        for (&found, &score) in self.moves.moves.iter().zip(&self.scores) {
            if !score.is_finite() {
                return Err(BridgeError::inference(None, format!("a move of the parser got the score {score}")));
            }
            if valid[found.0 as usize] && best.is_none_or(|(_, best)| score > best) {
                best = Some((found, score));
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
            // The second piece never wins.
            bias: vec![0.0, 0.0, -100.0, -100.0],
            pad: vec![0.0; STATE_TOKENS * WIDTH],
            // The first value of the state speaks for S and against R, the second for D.
            weight: vec![1.0, 0.0, 0.0, -1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0],
            output_bias: vec![0.0, 0.0, -10.0, 0.0, 0.5],
        }
    }

    /// Features of tokens that count as B0 alone.
    fn features(tokens: &[[f32; 2]]) -> Vec<f32> {
        let of = |values: &[f32; 2]| values.iter().copied().chain([0.0; STATE_TOKENS * WIDTH - 2]).collect::<Vec<_>>();
        tokens.iter().flat_map(of).collect()
    }

    fn starts(tables: &ParserTables, features: &mut Features<'_>, length: usize) -> Result<Vec<bool>, BridgeError> {
        let network = spec().parser.expect("a parser");
        let moves = Moves::new(&network.moves).expect("moves");
        Parser::new(tables, &moves, &network).sentence_starts(length, features, |_| false)
    }

    /// By hand: S (1 over B's 0.5), R (2), B (0.5; token 3 starts a sentence), S (the first of the zeros), D (token 2 goes
    /// back), D (before R), D, S, D, S, D. Only token 1 has a head, token 0.
    #[test]
    fn the_first_of_the_best_valid_moves_is_made() {
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
        let values = features(&[[f32::NAN, 0.0], [f32::INFINITY, 0.0]]);
        let found = starts(&tables(), &mut Features::all(&values, STATE_TOKENS * WIDTH), 2);
        assert_eq!(found.map_err(|error| error.code()), Err("inference"));
    }

    #[test]
    fn moves_are_read_by_name() {
        let names = ["S", "D", "L-nsubj||conj", "R-nsubj", "B-ROOT"].map(str::to_owned);
        let moves = Moves::new(&names).expect("moves");
        let kinds: Vec<Kind> = moves.moves.iter().map(|found| found.0).collect();
        assert_eq!(kinds, [Kind::Shift, Kind::Reduce, Kind::Left, Kind::Right, Kind::Break]);
        let decorated = moves.decorated[&moves.moves[2].1];
        assert_eq!(decorated.label, moves.moves[3].1);
        assert_ne!(decorated.head, decorated.label);
        assert!(Moves::new(&["X-y".to_owned()]).is_err_and(|error| error.contains("X-y")));
    }
}
