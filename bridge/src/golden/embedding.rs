//! The golden cases of sentence embeddings: a vector, the number of tokens, whether the text was cut.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{blame, refuse, within};
use crate::BridgeError;
use crate::artifact::manifest::Variant;
use crate::runtime::embedding::EmbeddingModel;
use crate::runtime::{EmbedOptions, Embeddings};

/// One golden case: an input and what the original model answered.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Case {
    expected: Expected,
    group: Group,
    input: String,
    settings: Settings,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    tokens: usize,
    truncated: bool,
    vector: Vec<f32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Group {
    Plain,
    Hard,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    #[serde(deserialize_with = "Option::deserialize")]
    prompt_name: Option<String>,
}

/// How close a variant of an embedding model came to the original on the golden cases.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct EmbeddingReport {
    /// How many cases were replayed.
    pub cases: usize,
    /// Largest absolute difference of an element.
    pub max_abs: f64,
    /// Smallest cosine between a vector and the original's.
    pub cosine_min: f64,
}

/// Replays the cases with one variant; the first that leaves the gate ends it.
pub(super) fn replay(
    model: &EmbeddingModel,
    variant: &Variant,
    cases: &[Case],
) -> Result<EmbeddingReport, BridgeError> {
    let mut report = EmbeddingReport { cases: cases.len(), max_abs: 0.0, cosine_min: 1.0 };
    let mut by_settings: BTreeMap<&Settings, Vec<usize>> = BTreeMap::new();
    for (at, case) in cases.iter().enumerate() {
        by_settings.entry(&case.settings).or_default().push(at);
    }
    for (settings, members) in by_settings {
        let texts: Vec<&str> = members.iter().map(|&at| cases[at].input.as_str()).collect();
        let options = EmbedOptions { prompt_name: settings.prompt_name.clone() };
        let answer = model.embed(&texts, &options);
        let answer = answer.map_err(|error| blame(&model.manifest, &model.variant, error))?;
        for (row, &at) in members.iter().enumerate() {
            let judged = judge(&cases[at], &answer, row, variant, &mut report);
            let place = |problem| format!("case {}, variant {:?}: {problem}", at + 1, model.variant);
            judged.map_err(|problem| refuse(&model.manifest, place(problem)))?;
        }
    }
    Ok(report)
}

fn judge(
    case: &Case,
    answer: &Embeddings,
    row: usize,
    variant: &Variant,
    report: &mut EmbeddingReport,
) -> Result<(), String> {
    let (expected, vector) = (&case.expected, &answer.vectors[row]);
    let found = (answer.token_counts[row], answer.truncated[row], vector.len());
    let wanted = (expected.tokens, expected.truncated, expected.vector.len());
    if found != wanted {
        return Err(format!("tokens, truncated and dimensions are {found:?}, expected {wanted:?}"));
    }
    let (max_abs, cosine) = (max_abs(vector, &expected.vector), cosine(vector, &expected.vector));
    report.max_abs = report.max_abs.max(max_abs);
    report.cosine_min = report.cosine_min.min(cosine);
    let cosine_gate = if case.group == Group::Plain { "cosine_min" } else { "cosine_min_hard" };
    within(variant, "max_abs", max_abs, |value, gate| value <= gate)?;
    within(variant, cosine_gate, cosine, |value, gate| value >= gate)
}

fn max_abs(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).abs()).fold(0.0, f64::max)
}

/// The cosine in float64; that of two equal vectors is 1 even where they are zero.
fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    if a == b { 1.0 } else { dot(a, b) / (dot(a, a) * dot(b, b)).sqrt() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measures() {
        assert_eq!(max_abs(&[1.0, -2.0], &[1.5, -2.0]), 0.5);
        assert!((cosine(&[1.0, 1.0], &[2.0, 2.0]) - 1.0).abs() < 1e-15);
        assert_eq!(cosine(&[0.0], &[0.0]), 1.0);
        assert!(cosine(&[0.0], &[1.0]).is_nan());
    }
}
