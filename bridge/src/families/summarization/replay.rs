//! Replays the golden cases of summaries. The metrics are computed over all cases together.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

use super::model::SummaryModel;
use super::section::GenerationDefaults;
use crate::BridgeError;
use crate::artifact::manifest::Variant;
use crate::families::golden_cases::{
    Bound, Report, check_gate, model_error, read_cases, refused_case, refused_variant, reporting,
};
use crate::families::model::FamilyModel;
use crate::families::report::{VariantReport, count, measurement};
use crate::tasks::backend::Backend;
use crate::tasks::{SummarizeOptions, Summary};

/// One golden case: messages, the settings of the call, the original's summary, and the summary that each variant had when
/// the artifact was sealed.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    expected: Expected,
    input: Vec<String>,
    sealed: BTreeMap<String, Sealed>,
    settings: GenerationDefaults,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    text: String,
    token_ids: Vec<u64>,
    truncated: bool,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed {
    #[serde(rename = "text")]
    _text: String,
    token_ids: Vec<u64>,
}

/// The metrics that compare the summaries of a variant with those of the original, over all cases.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Metrics {
    cases: usize,
    /// The number of cases whose token ids or text differ from the original's.
    differing: usize,
    /// The fraction of the cases whose token ids are equal to those of the sealed summary; `None` if no case has a
    /// sealed summary.
    sealed_same: Option<f64>,
}

/// Reads the cases, for fuzzing.
#[cfg(fuzzing)]
pub(crate) fn read_golden(bytes: &[u8], manifest: &crate::artifact::Manifest) -> Result<(), BridgeError> {
    read_cases::<Case>(manifest, bytes).map(drop)
}

/// Replays the cases with one variant, and compares the metrics with its gate.
///
/// # Errors
/// `golden` if the gate is not met or a case cannot be read, or an error of the model.
pub(super) fn replay(
    model: &Arc<SummaryModel>,
    bytes: &[u8],
    report: Report<'_>,
) -> Result<VariantReport, BridgeError> {
    let (manifest, variant) = (model.manifest(), model.variant());
    let cases: Vec<Case> = read_cases(manifest, bytes)?;
    let mut tally = Tally::default();
    model.warm_up()?;
    for (index, case) in reporting(&cases, report) {
        let summaries = model.summarize(vec![case.input.clone()], options(&case.settings));
        for summary in summaries.map_err(|error| model_error(manifest, variant, error))? {
            let counted = tally.add(case, variant, &summary);
            counted.map_err(|problem| refused_case(manifest, index, variant, &problem))?;
        }
    }
    let metrics = tally.metrics();
    check(&metrics, &manifest.variants[variant]).map_err(|problem| refused_variant(manifest, variant, &problem))?;
    Ok(VariantReport::new([
        ("cases", count(metrics.cases)),
        ("differing", count(metrics.differing)),
        ("sealed_same", metrics.sealed_same.and_then(measurement)),
    ]))
}

fn options(settings: &GenerationDefaults) -> SummarizeOptions {
    SummarizeOptions {
        num_beams: Some(settings.num_beams),
        min_length: Some(settings.min_length),
        max_length: Some(settings.max_length),
        length_penalty: Some(settings.length_penalty as f32),
        ..SummarizeOptions::default()
    }
}

fn check(metrics: &Metrics, gate: &Variant) -> Result<(), String> {
    check_gate(gate, "differing", metrics.differing as f64, Bound::Max)?;
    // If no case has a sealed summary of the variant, a gate for them fails: the value is NaN, which meets no gate.
    check_gate(gate, "sealed_same", metrics.sealed_same.unwrap_or(f64::NAN), Bound::Min)
}

/// The counts over the cases that were compared so far.
#[derive(Default)]
struct Tally {
    cases: usize,
    differing: usize,
    /// The number of cases with a sealed summary of the variant.
    sealed: usize,
    /// The number of cases whose token ids are equal to those of the sealed summary.
    same: usize,
}

impl Tally {
    /// Adds a case to the counts. Fails if `truncated` differs from the original's, which no gate allows.
    fn add(&mut self, case: &Case, variant: &str, actual: &Summary) -> Result<(), String> {
        let expected = &case.expected;
        if actual.truncated != expected.truncated {
            return Err(format!("truncated is {}, expected {}", actual.truncated, expected.truncated));
        }
        let has = |ids: &[u64]| {
            actual.token_ids.iter().flatten().map(|id| u64::try_from(*id)).eq(ids.iter().map(|id| Ok(*id)))
        };
        self.cases += 1;
        self.differing += usize::from(!has(&expected.token_ids) || actual.text != expected.text);
        if let Some(sealed) = case.sealed.get(variant) {
            self.sealed += 1;
            self.same += usize::from(has(&sealed.token_ids));
        }
        Ok(())
    }

    fn metrics(&self) -> Metrics {
        let sealed_same = (self.sealed > 0).then(|| self.same as f64 / self.sealed as f64);
        Metrics { cases: self.cases, differing: self.differing, sealed_same }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn record() -> Value {
        json!({"expected": {"text": "a b", "token_ids": [2, 0, 7, 2], "truncated": false}, "input": ["a", "b"],
            "sealed": {"int8": {"text": "a", "token_ids": [2, 0, 2]}},
            "settings": {"length_penalty": 2.0, "max_length": 9, "min_length": 0, "num_beams": 2}})
    }

    fn case() -> Case {
        serde_json::from_value(record()).expect("a case")
    }

    fn summary(text: &str, token_ids: &[i64], truncated: bool) -> Summary {
        Summary::of_tokens(text.to_owned(), token_ids.to_vec(), -0.5, truncated)
    }

    fn metrics(variant: &str, summaries: &[Summary]) -> Metrics {
        let mut tally = Tally::default();
        summaries.iter().for_each(|summary| tally.add(&case(), variant, summary).expect("counted"));
        tally.metrics()
    }

    #[test]
    fn other_tokens_or_another_text_differ() {
        let same = summary("a b", &[2, 0, 7, 2], false);
        let others = [summary("a c", &[2, 0, 7, 2], false), summary("a b", &[2, 0, 7], false)];
        let metrics = metrics("fp32", &[same, others[0].clone(), others[1].clone()]);
        assert_eq!(metrics, Metrics { cases: 3, differing: 2, sealed_same: None });
        assert!(Tally::default().add(&case(), "fp32", &summary("a b", &[2, 0, 7, 2], true)).is_err());
    }

    #[test]
    fn a_variant_is_compared_with_its_sealed_tokens() {
        let (own, original) = (summary("a", &[2, 0, 2], false), summary("a b", &[2, 0, 7, 2], false));
        let metrics = metrics("int8", &[own.clone(), original, own]);
        assert_eq!((metrics.differing, metrics.sealed_same), (2, Some(2.0 / 3.0)));
    }

    #[test]
    fn only_metrics_of_the_gate_are_checked() {
        let variant = |gate: Value| -> Variant {
            serde_json::from_value(json!({"gate": gate, "graphs": {}, "quantization": null})).expect("a variant")
        };
        let metrics = Metrics { cases: 9, differing: 1, sealed_same: Some(0.9) };
        for (gate, is_met) in [
            (json!({"differing": 1, "sealed_same": 0.9}), true),
            (json!({"rouge_l_drop": 0.5}), true),
            (json!({"differing": 0}), false),
            (json!({"sealed_same": 1.0}), false),
        ] {
            assert_eq!(check(&metrics, &variant(gate.clone())).is_ok(), is_met, "{gate}");
        }
        let unsealed = Metrics { sealed_same: None, ..metrics };
        assert!(check(&unsealed, &variant(json!({"sealed_same": 0.0}))).is_err());
        assert!(check(&unsealed, &variant(json!({"differing": 1}))).is_ok());
    }

    #[test]
    fn invalid_cases_are_refused() {
        assert!(serde_json::from_value::<Case>(record()).is_ok());
        let refused = |path: &str, value: Option<Value>| {
            let mut case = record();
            let (parent, key) = path.rsplit_once('/').expect("a path");
            let parent = case.pointer_mut(parent).expect("a value").as_object_mut().expect("an object");
            match value {
                Some(value) => parent.insert(key.to_owned(), value),
                None => parent.remove(key),
            };
            assert!(serde_json::from_value::<Case>(case).is_err(), "{path}");
        };
        for path in ["/input", "/sealed", "/settings/num_beams", "/expected/truncated", "/sealed/int8/text"] {
            refused(path, None);
        }
        for path in ["/x", "/settings/x", "/expected/x", "/sealed/int8/truncated"] {
            refused(path, Some(json!(1)));
        }
        refused("/input", Some(json!("a")));
        refused("/expected/token_ids", Some(json!([2, -1])));
        refused("/settings/max_length", Some(json!(9.0)));
        refused("/sealed", Some(Value::Null));
    }
}
