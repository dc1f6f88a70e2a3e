//! Reads golden cases, compares metrics with gates, and converts the errors of models to refusals of the artifact.

use std::ops::ControlFlow;

use serde::de::DeserializeOwned;

use crate::BridgeError;
use crate::artifact::manifest::Variant;
use crate::artifact::{Manifest, json};

/// Reads the cases of a family from the bytes of their file. Unknown or missing keys are refused.
///
/// # Errors
/// `golden`, if a line is not a case or the number of cases is not the one in the manifest.
pub(crate) fn read_cases<C: DeserializeOwned>(manifest: &Manifest, bytes: &[u8]) -> Result<Vec<C>, BridgeError> {
    let lines = bytes.strip_suffix(b"\n").unwrap_or(bytes).split(|byte| *byte == b'\n');
    let mut cases = Vec::new();
    for (index, line) in lines.enumerate() {
        let value =
            json::parse(line).and_then(|value| serde_json::from_value(value).map_err(|error| error.to_string()));
        cases.push(value.map_err(|problem| refused(manifest, format!("line {}: {problem}", index + 1)))?);
    }
    if cases.len() != manifest.golden.cases {
        let problem = format!("has {} cases, the manifest says {}", cases.len(), manifest.golden.cases);
        return Err(refused(manifest, problem));
    }
    Ok(cases)
}

/// The error `golden` with a description of what is wrong with the golden cases or the answers to them.
pub(crate) fn refused(manifest: &Manifest, problem: String) -> BridgeError {
    BridgeError::Golden { file: manifest.golden.file.clone(), problem }
}

/// The error `golden` with a description of what is wrong with the answers of one variant.
pub(crate) fn refused_variant(manifest: &Manifest, variant: &str, problem: &str) -> BridgeError {
    refused(manifest, format!("variant {variant:?}: {problem}"))
}

/// The error `golden` with a description of what is wrong with a variant's answer to one case, which is given by its
/// index.
pub(crate) fn refused_case(manifest: &Manifest, index: usize, variant: &str, problem: &str) -> BridgeError {
    refused(manifest, format!("case {}, variant {variant:?}: {problem}", index + 1))
}

/// Converts an error of a model in a replay to a refusal of the artifact, which contains the inputs of the replay. A
/// refused input results in the code `golden`, a failed run in the code `graph`.
pub(crate) fn model_error(manifest: &Manifest, variant: &str, error: BridgeError) -> BridgeError {
    if let BridgeError::Inference { problem, .. } = error {
        let graphs = manifest.variants.get(variant).into_iter().flat_map(|variant| variant.graphs.values());
        let files: Vec<&str> = graphs.map(|graph| graph.file.as_str()).collect();
        return BridgeError::Graph { file: files.join(" or "), problem };
    }
    let is_about_input = matches!(
        error,
        BridgeError::PromptNotFound { .. }
            | BridgeError::InputTooLarge { .. }
            | BridgeError::EmptyInput { .. }
            | BridgeError::SentenceStarts { .. }
            | BridgeError::Config { .. }
    );
    if is_about_input { refused(manifest, error.to_string()) } else { error }
}

/// A function that a replay calls with the number of cases that it has finished and the number of all cases. The replay ends
/// early if the function returns `Break`; what it then returns says nothing about the model.
pub(crate) type Report<'a> = &'a dyn Fn(usize, usize) -> ControlFlow<()>;

/// The cases of a replay, whose graphs are loaded, with their indices. Reports how many cases are finished: first 0, at
/// last all.
pub(crate) fn reporting<'a, C>(cases: &'a [C], report: Report<'a>) -> impl Iterator<Item = (usize, &'a C)> {
    let count = cases.len();
    let reported = (0..=count).take_while(move |finished| report(*finished, count).is_continue());
    reported.filter_map(|index| Some((index, cases.get(index)?)))
}

/// Whether a gate is an upper or a lower limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bound {
    /// The gate is an upper limit.
    Max,
    /// The gate is a lower limit.
    Min,
}

/// Compares the value of a metric with the variant's gate. A variant without a gate for the metric passes. NaN fails.
///
/// # Errors
/// A message with the value and the gate that it does not meet.
pub(crate) fn check_gate(variant: &Variant, metric: &str, value: f64, bound: Bound) -> Result<(), String> {
    let Some(gate) = variant.gate.get(metric) else { return Ok(()) };
    let is_met = match bound {
        Bound::Max => value <= *gate,
        Bound::Min => value >= *gate,
    };
    if is_met { Ok(()) } else { Err(format!("{metric} is {value:e}, the gate is {gate:e}")) }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn a_replay_ends_when_its_report_says_so() {
        let replay = |end: usize| {
            let reported = RefCell::new(Vec::new());
            let report = |finished, cases| {
                reported.borrow_mut().push((finished, cases));
                if finished < end { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            };
            let cases: Vec<usize> = reporting(&["a", "b"], &report).map(|(index, _)| index).collect();
            (cases, reported.into_inner())
        };
        assert_eq!(replay(9), (vec![0, 1], vec![(0, 2), (1, 2), (2, 2)]));
        assert_eq!(replay(1), (vec![0], vec![(0, 2), (1, 2)]));
    }
}
