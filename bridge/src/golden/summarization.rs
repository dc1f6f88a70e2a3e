//! The golden cases of summaries: all of them are judged together.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{blame, refuse, within};
use crate::BridgeError;
use crate::artifact::manifest::{GenerationDefaults, Variant};
use crate::runtime::summarization::Summarizer;
use crate::runtime::{SummarizeOptions, Summary};

/// One golden case: messages, the settings of the call, the original's summary, and those that variants of their own
/// are held to.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Case {
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

/// How close a variant of a summarizer came to the original on the golden cases.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct SummaryReport {
    /// How many cases were replayed.
    pub cases: usize,
    /// Cases with other token ids, text or `truncated` than the original's.
    pub differing: usize,
    /// Share of the cases whose token ids are those sealed for the variant; `None` where none are.
    #[serde(deserialize_with = "Option::deserialize")]
    pub sealed_same: Option<f64>,
}

/// Replays the cases with one variant, and holds its figures over all cases to its gate.
pub(super) fn replay(model: &Summarizer, variant: &Variant, cases: &[Case]) -> Result<SummaryReport, BridgeError> {
    let mut tally = Tally::default();
    for members in alike(cases) {
        let inputs: Vec<Vec<String>> = members.iter().map(|&at| cases[at].input.clone()).collect();
        let summaries = members.first().map(|&at| model.summarize(&inputs, &options(&cases[at].settings)));
        let summaries = summaries.transpose().map_err(|error| blame(&model.manifest, &model.variant, error))?;
        for (&at, summary) in members.iter().zip(summaries.iter().flatten()) {
            let place = |problem| format!("case {}, variant {:?}: {problem}", at + 1, model.variant);
            let counted = tally.add(&cases[at], &model.variant, summary);
            counted.map_err(|problem| refuse(&model.manifest, place(problem)))?;
        }
    }
    let report = tally.report();
    let place = |problem| format!("variant {:?}: {problem}", model.variant);
    judge(&report, variant).map_err(|problem| refuse(&model.manifest, place(problem)))?;
    Ok(report)
}

/// The indices of cases that can be run in one call.
fn alike(cases: &[Case]) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for (at, case) in cases.iter().enumerate() {
        match groups.iter_mut().find(|group| cases[group[0]].settings == case.settings) {
            Some(group) => group.push(at),
            None => groups.push(vec![at]),
        }
    }
    groups
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

fn judge(report: &SummaryReport, variant: &Variant) -> Result<(), String> {
    within(variant, "differing", report.differing as f64, |value, gate| value <= gate)?;
    // A gate on summaries that nobody sealed cannot be held: no number holds it.
    within(variant, "sealed_same", report.sealed_same.unwrap_or(f64::NAN), |value, gate| value >= gate)
}

/// What was counted so far.
#[derive(Default)]
struct Tally {
    cases: usize,
    differing: usize,
    /// Cases with summaries sealed for the variant.
    sealed: usize,
    same: usize,
}

impl Tally {
    /// Fails where the input was cut and the original's was not, or the other way round; no gate allows that.
    fn add(&mut self, case: &Case, variant: &str, found: &Summary) -> Result<(), String> {
        let expected = &case.expected;
        if found.truncated != expected.truncated {
            return Err(format!("truncated is {}, expected {}", found.truncated, expected.truncated));
        }
        let has = |ids: &[u64]| found.token_ids.iter().map(|id| u64::try_from(*id)).eq(ids.iter().map(|id| Ok(*id)));
        self.cases += 1;
        self.differing += usize::from(!has(&expected.token_ids) || found.text != expected.text);
        if let Some(sealed) = case.sealed.get(variant) {
            self.sealed += 1;
            self.same += usize::from(has(&sealed.token_ids));
        }
        Ok(())
    }

    fn report(&self) -> SummaryReport {
        let sealed_same = (self.sealed > 0).then(|| self.same as f64 / self.sealed as f64);
        SummaryReport { cases: self.cases, differing: self.differing, sealed_same }
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
        let tokens = token_ids.len() - 1;
        Summary { text: text.to_owned(), token_ids: token_ids.to_vec(), tokens, score: -0.5, truncated }
    }

    fn report(variant: &str, summaries: &[Summary]) -> SummaryReport {
        let mut tally = Tally::default();
        summaries.iter().for_each(|summary| tally.add(&case(), variant, summary).expect("counted"));
        tally.report()
    }

    #[test]
    fn other_tokens_or_another_text_differ() {
        let same = summary("a b", &[2, 0, 7, 2], false);
        let others = [summary("a c", &[2, 0, 7, 2], false), summary("a b", &[2, 0, 7], false)];
        let found = report("fp32", &[same, others[0].clone(), others[1].clone()]);
        assert_eq!(found, SummaryReport { cases: 3, differing: 2, sealed_same: None });
        assert!(Tally::default().add(&case(), "fp32", &summary("a b", &[2, 0, 7, 2], true)).is_err());
    }

    #[test]
    fn a_variant_is_held_to_its_own_tokens() {
        let (own, original) = (summary("a", &[2, 0, 2], false), summary("a b", &[2, 0, 7, 2], false));
        let found = report("int8", &[own.clone(), original, own]);
        assert_eq!((found.differing, found.sealed_same), (2, Some(2.0 / 3.0)));
    }

    #[test]
    fn a_gate_holds_what_it_names() {
        let variant = |gate: Value| -> Variant {
            serde_json::from_value(json!({"gate": gate, "graphs": {}, "quantization": null})).expect("a variant")
        };
        let report = SummaryReport { cases: 9, differing: 1, sealed_same: Some(0.9) };
        for (gate, holds) in [
            (json!({"differing": 1, "sealed_same": 0.9}), true),
            (json!({"rouge_l_drop": 0.5}), true),
            (json!({"differing": 0}), false),
            (json!({"sealed_same": 1.0}), false),
        ] {
            assert_eq!(judge(&report, &variant(gate.clone())).is_ok(), holds, "{gate}");
        }
        let unsealed = SummaryReport { sealed_same: None, ..report };
        assert!(judge(&unsealed, &variant(json!({"sealed_same": 0.0}))).is_err());
        assert!(judge(&unsealed, &variant(json!({"differing": 1}))).is_ok());
    }

    #[test]
    fn cases_of_the_same_settings_run_together() {
        let mut other = case();
        other.settings.length_penalty = -1.0;
        assert_eq!(alike(&[case(), other, case()]), [vec![0, 2], vec![1]]);
    }

    #[test]
    fn cases_are_read_strictly() {
        assert!(serde_json::from_value::<Case>(record()).is_ok());
        let refused = |path: &str, value: Option<Value>| {
            let mut case = record();
            let (parent, key) = path.rsplit_once('/').expect("a path");
            let parent = case.pointer_mut(parent).expect("a place").as_object_mut().expect("an object");
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
