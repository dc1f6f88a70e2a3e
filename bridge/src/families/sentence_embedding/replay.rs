//! Replays the golden cases of sentence embeddings.

use std::sync::Arc;

use serde::{Deserialize, Deserializer};

use super::model::EmbeddingModel;
use crate::BridgeError;
use crate::artifact::manifest::Variant;
use crate::families::golden_cases::{Bound, Report, check_gate, model_error, read_cases, refused_case, reporting};
use crate::families::model::FamilyModel;
use crate::families::report::{VariantReport, count, measurement};
use crate::tasks::backend::Backend;
use crate::tasks::{EmbedOptions, Embeddings};

/// One golden case: an input, the settings of the call, and the original's answer.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
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

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    #[serde(deserialize_with = "Option::deserialize")]
    prompt_name: Option<String>,
    #[serde(default, deserialize_with = "present")]
    dimensions: Option<usize>,
}

/// Reads a key that may be missing but not null.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<usize>, D::Error> {
    usize::deserialize(deserializer).map(Some)
}

/// The metrics over the cases that were compared so far.
#[derive(Debug)]
struct Metrics {
    /// The maximum absolute difference of an element of a vector from the original's.
    max_abs: f64,
    /// The minimum cosine similarity of a vector and the original's.
    cosine_min: f64,
}

/// Reads the cases, for fuzzing.
#[cfg(fuzzing)]
pub(crate) fn read_golden(bytes: &[u8], manifest: &crate::artifact::Manifest) -> Result<(), BridgeError> {
    read_cases::<Case>(manifest, bytes).map(drop)
}

/// Replays the cases with one variant. Ends at the first case that does not meet the gate.
///
/// # Errors
/// `golden` for a case that does not meet the gate or cannot be read, or an error of the model.
pub(super) fn replay(
    model: &Arc<EmbeddingModel>,
    bytes: &[u8],
    report: Report<'_>,
) -> Result<VariantReport, BridgeError> {
    let manifest = model.manifest();
    let cases: Vec<Case> = read_cases(manifest, bytes)?;
    let gate = &manifest.variants[&model.variant];
    let mut metrics = Metrics { max_abs: 0.0, cosine_min: 1.0 };
    model.warm_up()?;
    for (index, case) in reporting(&cases, report) {
        let Settings { prompt_name, dimensions } = case.settings.clone();
        let options = EmbedOptions { prompt_name, dimensions, ..EmbedOptions::default() };
        let answer = model.embed(vec![case.input.clone()], options);
        let answer = answer.map_err(|error| model_error(manifest, &model.variant, error))?;
        let compared = compare(case, &answer, gate, &mut metrics);
        compared.map_err(|problem| refused_case(manifest, index, &model.variant, &problem))?;
    }
    Ok(VariantReport::new([
        ("cases", count(cases.len())),
        ("max_abs", measurement(metrics.max_abs)),
        ("cosine_min", measurement(metrics.cosine_min)),
    ]))
}

/// Compares one answer with the reference and with the gate, and updates the metrics.
fn compare(case: &Case, answer: &Embeddings, gate: &Variant, metrics: &mut Metrics) -> Result<(), String> {
    let (reference, vector) = (&case.expected, &answer.vectors[0]);
    let tokens = answer.token_counts.as_ref().map(|counts| counts[0]);
    let actual = (tokens, answer.truncated[0], vector.len());
    let expected = (Some(reference.tokens), reference.truncated, reference.vector.len());
    if actual != expected {
        return Err(format!("tokens, truncated and dimensions are {actual:?}, expected {expected:?}"));
    }
    let (max_abs, cosine) = (max_abs(vector, &reference.vector), cosine(vector, &reference.vector));
    metrics.max_abs = metrics.max_abs.max(max_abs);
    metrics.cosine_min = metrics.cosine_min.min(cosine);
    let cosine_metric = if case.group == Group::Plain { "cosine_min" } else { "cosine_min_hard" };
    check_gate(gate, &metric(gate, "max_abs", case), max_abs, Bound::Max)?;
    check_gate(gate, &metric(gate, cosine_metric, case), cosine, Bound::Min)
}

/// The metric whose threshold holds for a case: `BASE_at_N` for a vector of N elements if the gate has it, else `base`.
fn metric(gate: &Variant, base: &str, case: &Case) -> String {
    let own = case.settings.dimensions.map(|dimensions| format!("{base}_at_{dimensions}"));
    own.filter(|name| gate.gate.contains_key(name)).unwrap_or_else(|| base.to_owned())
}

fn max_abs(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).abs()).fold(0.0, f64::max)
}

/// The cosine of two vectors, computed in float64. The cosine of equal vectors is 1, even if they are zero.
fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    if a == b { 1.0 } else { dot(a, b) / (dot(a, a) * dot(b, b)).sqrt() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_of_known_vectors() {
        assert_eq!(max_abs(&[1.0, -2.0], &[1.5, -2.0]), 0.5);
        assert!((cosine(&[1.0, 1.0], &[2.0, 2.0]) - 1.0).abs() < 1e-15);
        assert_eq!(cosine(&[0.0], &[0.0]), 1.0);
        assert!(cosine(&[0.0], &[1.0]).is_nan());
    }
}
