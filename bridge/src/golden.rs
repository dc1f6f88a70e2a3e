//! Replaying an artifact's golden cases on this machine.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::BridgeError;
use crate::artifact::manifest::Variant;
use crate::artifact::{Artifact, Manifest, json};
use crate::runtime::cpu::available_threads;
use crate::runtime::embedding::EmbeddingModel;
use crate::runtime::session::EngineOptions;
use crate::runtime::{DEFAULT_TEXT_LIMIT, EmbedOptions, Embeddings};

/// Threads of a replay at most: every thread takes address space, which the command `verify` limits.
const MAX_THREADS: usize = 8;

/// One golden case: an input and what the original model answered.
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

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    #[serde(deserialize_with = "Option::deserialize")]
    prompt_name: Option<String>,
}

/// How close a variant came to the original on the golden cases.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct VariantReport {
    /// How many cases were replayed.
    pub cases: usize,
    /// Largest absolute difference of an element.
    pub max_abs: f64,
    /// Smallest cosine between a vector and the original's.
    pub cosine_min: f64,
}

/// Replays the golden cases with every variant of an artifact, in this process.
///
/// Loading a graph is no security boundary: the command `verify` does this in a child process with limits.
///
/// # Errors
/// `golden` where an answer leaves its variant's gate, a case's input is refused, or the cases cannot be read; `dependency` without a usable ONNX
/// Runtime (`library`, else `ORT_DYLIB_PATH`); `graph` where it refuses a graph or a run fails.
pub fn replay(artifact: Artifact, library: Option<PathBuf>) -> Result<BTreeMap<String, VariantReport>, BridgeError> {
    let cases = read_cases(&artifact)?;
    let root = artifact.root().to_path_buf();
    let (manifest, tokenizer) = artifact.into_parts();
    let (manifest, tokenizer) = (Arc::new(manifest), Arc::new(tokenizer));
    let threads = Some(available_threads().min(MAX_THREADS));
    let engine = EngineOptions { library, threads, ..EngineOptions::default() };
    let mut reports = BTreeMap::new();
    for (name, variant) in &manifest.variants {
        let (manifest, tokenizer) = (Arc::clone(&manifest), Arc::clone(&tokenizer));
        let model = EmbeddingModel::new(&root, manifest, tokenizer, name, engine.clone(), DEFAULT_TEXT_LIMIT)?;
        reports.insert(name.clone(), replay_variant(&model, variant, &cases)?);
    }
    Ok(reports)
}

fn refuse(manifest: &Manifest, problem: String) -> BridgeError {
    BridgeError::Golden { file: manifest.golden.file.clone(), problem }
}

fn read_cases(artifact: &Artifact) -> Result<Vec<Case>, BridgeError> {
    let manifest = artifact.manifest();
    let bytes = artifact.read(&manifest.golden.file)?;
    let lines = bytes.strip_suffix(b"\n").unwrap_or(&bytes).split(|byte| *byte == b'\n');
    let mut cases = Vec::new();
    for (at, line) in lines.enumerate() {
        let value =
            json::parse(line).and_then(|value| serde_json::from_value(value).map_err(|error| error.to_string()));
        cases.push(value.map_err(|problem| refuse(manifest, format!("line {}: {problem}", at + 1)))?);
    }
    if cases.len() != manifest.golden.cases {
        let problem = format!("has {} cases, the manifest says {}", cases.len(), manifest.golden.cases);
        return Err(refuse(manifest, problem));
    }
    Ok(cases)
}

fn replay_variant(model: &EmbeddingModel, variant: &Variant, cases: &[Case]) -> Result<VariantReport, BridgeError> {
    let mut report = VariantReport { cases: cases.len(), max_abs: 0.0, cosine_min: 1.0 };
    let mut by_settings: BTreeMap<&Settings, Vec<usize>> = BTreeMap::new();
    for (at, case) in cases.iter().enumerate() {
        by_settings.entry(&case.settings).or_default().push(at);
    }
    for (settings, members) in by_settings {
        let texts: Vec<&str> = members.iter().map(|&at| cases[at].input.as_str()).collect();
        let options = EmbedOptions { prompt_name: settings.prompt_name.clone() };
        let answer = model.embed(&texts, &options).map_err(|error| match error {
            // A case whose input is refused is a wrong case.
            BridgeError::PromptNotFound { .. } | BridgeError::InputTooLarge { .. } => {
                refuse(&model.manifest, error.to_string())
            }
            // Here nobody but the artifact chose the input: a graph that fails on it is to blame.
            BridgeError::Inference { problem, .. } => {
                BridgeError::Graph { file: model.graph_file().to_owned(), problem }
            }
            other => other,
        })?;
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
    report: &mut VariantReport,
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

/// Fails where the variant's gate has the metric and the value does not hold it; a value that is no number never does.
fn within(variant: &Variant, metric: &str, value: f64, holds: fn(f64, f64) -> bool) -> Result<(), String> {
    match variant.gate.get(metric) {
        Some(gate) if !holds(value, *gate) => Err(format!("{metric} is {value:e}, the gate is {gate:e}")),
        _ => Ok(()),
    }
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
