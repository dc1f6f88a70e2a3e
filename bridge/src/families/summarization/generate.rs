//! Runs a summarizer's graph, which returns the best sequence of each text.

use ort::session::RunOptions;
use ort::value::{DynValue, Tensor};

use super::options::Settings;
use super::section::SummarizationSpec;
use crate::BridgeError;
use crate::runtime::batch::{Outcome, Padded};
use crate::runtime::graph_session::GraphSession;
use crate::runtime::outputs::{failed, shaped_output};

/// The names of the graph's outputs.
const SEQUENCES: &str = "sequences";
const SCORES: &str = "sequences_scores";

/// The result of the beam search for one text.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Generated {
    /// The ids of the decoder's start token and of all generated tokens.
    pub(super) token_ids: Vec<i64>,
    pub(super) score: f32,
}

/// The ids of the special tokens in the sequences that a graph returns.
#[derive(Debug, Clone, Copy)]
pub(super) struct SpecialTokens {
    start: i64,
    end: i64,
    padding: i64,
}

impl SpecialTokens {
    pub(super) fn new(spec: &SummarizationSpec, padding: i64) -> Self {
        let id = |id| i64::try_from(id).unwrap_or(i64::MAX);
        Self { start: id(spec.decoder_start_token_id), end: id(spec.eos_token_id), padding }
    }

    /// Runs the graph on a batch of texts. Returns one outcome per text.
    ///
    /// # Errors
    /// `inference`, without an index, if the run failed, because any text may be the cause.
    pub(super) fn run(
        self,
        session: &GraphSession,
        batch: Padded,
        settings: &Settings,
        options: &RunOptions,
    ) -> Result<Vec<Outcome<Generated>>, BridgeError> {
        let rows = batch.rows;
        let inputs = feed(batch, settings).map_err(failed)?;
        let outputs = session.run(inputs, &[SEQUENCES, SCORES], options).map_err(failed)?;
        let (shape, sequences) = shaped_output::<i64>(&outputs, SEQUENCES)?;
        let (scores_shape, scores) = shaped_output::<f32>(&outputs, SCORES)?;
        let length = sequences.len() / rows.max(1);
        if shape != [rows as i64, length as i64] || length == 0 || scores_shape != [rows as i64] {
            let problem =
                format!("the graph returned sequences of shape {shape:?} and scores of shape {scores_shape:?}");
            return Err(BridgeError::inference(None, problem));
        }
        let texts = sequences.chunks_exact(length).zip(scores);
        Ok(texts.map(|(row, score)| self.read(row, *score)).collect())
    }

    fn read(self, row: &[i64], score: f32) -> Outcome<Generated> {
        let refuse = |problem: String| Err(BridgeError::inference(None, format!("the graph returned {problem}")));
        if !score.is_finite() {
            return refuse(format!("the score {score}"));
        }
        if row.first() != Some(&self.start) {
            return refuse(format!("a sequence that starts with {:?}, expected {}", row.first(), self.start));
        }
        Ok(Generated { token_ids: self.token_ids(row).to_vec(), score })
    }

    /// The tokens of a sequence from the start token to the first end token after it; without an end token, all tokens
    /// before the padding. The start token and the end token can have the same id.
    fn token_ids(self, row: &[i64]) -> &[i64] {
        if let Some(end) = row.iter().skip(1).position(|id| *id == self.end) {
            return &row[..end + 2];
        }
        let last = row.iter().skip(1).rposition(|id| *id != self.padding);
        &row[..last.map_or(1, |last| last + 2)]
    }
}

fn feed(batch: Padded, settings: &Settings) -> ort::Result<Vec<(&'static str, DynValue)>> {
    let shape = [batch.rows, batch.width];
    let integer = |value: usize| Tensor::from_array(([1], vec![i64::try_from(value).unwrap_or(i64::MAX)]));
    Ok(vec![
        ("input_ids", Tensor::from_array((shape, batch.ids))?.into_dyn()),
        ("attention_mask", Tensor::from_array((shape, batch.mask))?.into_dyn()),
        ("num_beams", integer(settings.num_beams)?.into_dyn()),
        ("min_length", integer(settings.min_length)?.into_dyn()),
        ("max_length", integer(settings.max_length)?.into_dyn()),
        ("length_penalty", Tensor::from_array(([1], vec![settings.length_penalty]))?.into_dyn()),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKENS: SpecialTokens = SpecialTokens { start: 2, end: 2, padding: 1 };

    #[test]
    fn a_summary_ends_with_its_end_token() {
        assert_eq!(TOKENS.token_ids(&[2, 0, 7, 2, 1, 1]), [2, 0, 7, 2]);
        assert_eq!(TOKENS.token_ids(&[2, 2, 7, 2]), [2, 2]);
        assert_eq!(TOKENS.token_ids(&[2, 1, 7, 2]), [2, 1, 7, 2]);
        let other = SpecialTokens { start: 0, ..TOKENS };
        assert_eq!(other.token_ids(&[0, 7, 2, 2]), [0, 7, 2]);
    }

    #[test]
    fn without_an_end_token_the_padding_is_removed() {
        assert_eq!(TOKENS.token_ids(&[2, 7, 1, 8, 1, 1]), [2, 7, 1, 8]);
        assert_eq!(TOKENS.token_ids(&[2, 7]), [2, 7]);
        assert_eq!(TOKENS.token_ids(&[2, 1, 1]), [2]);
        assert_eq!(TOKENS.token_ids(&[2]), [2]);
        let same = SpecialTokens { start: 1, end: 1, padding: 1 };
        assert_eq!(same.token_ids(&[1, 7, 1, 1]), [1, 7, 1]);
    }

    #[test]
    fn invalid_sequences_are_refused() {
        let code = |row: &[i64], score| {
            TOKENS.read(row, score).map(|generated| generated.token_ids).map_err(|error| error.code().as_str())
        };
        assert_eq!(code(&[2, 7, 2], -1.5), Ok(vec![2, 7, 2]));
        assert_eq!(code(&[0, 7, 2], -1.5), Err("inference"));
        for score in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert_eq!(code(&[2, 7, 2], score), Err("inference"));
        }
    }
}
