//! Replays the golden cases of rerankers. The metrics are computed over all cases together.

use std::sync::Arc;

use serde::Deserialize;

use super::agreement::{is_same_first, is_same_order, kendall_tau};
use super::model::{RerankModel, Scored};
use crate::BridgeError;
use crate::artifact::manifest::Variant;
use crate::families::golden_cases::{
    Bound, Report, check_gate, model_error, read_cases, refused_case, refused_variant, reporting,
};
use crate::families::model::FamilyModel;
use crate::families::report::{VariantReport, count, measurement};
use crate::runtime::blocking::block_on;
use crate::runtime::lane::Caller;
use crate::tasks::backend::Backend;

/// One golden case: a query, its documents, and the original's answer for each of them.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    expected: Vec<ExpectedScore>,
    input: Input,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    documents: Vec<String>,
    query: String,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectedScore {
    score: f64,
    tokens: usize,
    truncated: bool,
}

/// The metrics over the cases that were compared so far.
#[derive(Debug, PartialEq)]
struct Figures {
    cases: usize,
    /// The maximum absolute difference of a score from the original's.
    max_abs: f64,
    /// The number of cases in which the order of the documents differs from the original's.
    order_differing: usize,
    /// The sum of Kendall's tau over the cases.
    tau_sum: f64,
    /// The minimum of Kendall's tau over the cases.
    tau_min: f64,
    /// The number of cases whose first document is the original's.
    same_first: usize,
}

/// Reads the cases, for fuzzing.
#[cfg(fuzzing)]
pub(crate) fn read_golden(bytes: &[u8], manifest: &crate::artifact::Manifest) -> Result<(), BridgeError> {
    read_cases::<Case>(manifest, bytes).map(drop)
}

/// Replays the cases with one variant, and compares the metrics over all cases with its gate.
///
/// # Errors
/// `golden` where the gate is not met or a case cannot be read, or an error of the model.
pub(super) fn replay(model: &Arc<RerankModel>, bytes: &[u8], report: Report<'_>) -> Result<VariantReport, BridgeError> {
    let (manifest, variant) = (model.manifest(), model.variant());
    let cases: Vec<Case> = read_cases(manifest, bytes)?;
    let mut figures = Figures { cases: 0, max_abs: 0.0, order_differing: 0, tau_sum: 0.0, tau_min: 1.0, same_first: 0 };
    model.warm_up()?;
    for (index, case) in reporting(&cases, report) {
        let (query, documents) = (case.input.query.clone(), case.input.documents.clone());
        let scored = block_on(model.score(query, documents, &Caller::blocking()));
        let scored = scored.map_err(|error| model_error(manifest, variant, error))?;
        figures.add(case, &scored).map_err(|problem| refused_case(manifest, index, variant, &problem))?;
    }
    figures.check(&manifest.variants[variant]).map_err(|problem| refused_variant(manifest, variant, &problem))?;
    Ok(VariantReport::new([
        ("cases", count(figures.cases)),
        ("max_abs", measurement(figures.max_abs)),
        ("order_differing", count(figures.order_differing)),
        ("kendall_tau", measurement(figures.mean_tau())),
        ("top_1", measurement(figures.top_1())),
    ]))
}

impl Figures {
    /// Adds a case to the metrics. Fails if the tokens or the truncation differ from the original's, which no gate
    /// allows.
    fn add(&mut self, case: &Case, scored: &[Scored]) -> Result<(), String> {
        let actual: Vec<(usize, bool)> = scored.iter().map(|pair| (pair.tokens, pair.truncated)).collect();
        let expected: Vec<(usize, bool)> = case.expected.iter().map(|pair| (pair.tokens, pair.truncated)).collect();
        if actual != expected || expected.is_empty() {
            return Err(format!("tokens and truncated are {actual:?}, expected {expected:?}"));
        }
        let actual: Vec<f64> = scored.iter().map(|pair| f64::from(pair.score)).collect();
        let reference: Vec<f64> = case.expected.iter().map(|pair| pair.score).collect();
        let tau = kendall_tau(&reference, &actual);
        self.cases += 1;
        self.max_abs = reference.iter().zip(&actual).map(|(a, b)| (a - b).abs()).fold(self.max_abs, f64::max);
        self.order_differing += usize::from(!is_same_order(&reference, &actual));
        self.tau_sum += tau;
        self.tau_min = self.tau_min.min(tau);
        self.same_first += usize::from(is_same_first(&reference, &actual));
        Ok(())
    }

    fn mean_tau(&self) -> f64 {
        self.tau_sum / self.cases as f64
    }

    fn top_1(&self) -> f64 {
        self.same_first as f64 / self.cases as f64
    }

    fn check(&self, gate: &Variant) -> Result<(), String> {
        check_gate(gate, "max_abs", self.max_abs, Bound::Max)?;
        check_gate(gate, "order_differing", self.order_differing as f64, Bound::Max)?;
        check_gate(gate, "kendall_tau", self.mean_tau(), Bound::Min)?;
        check_gate(gate, "kendall_tau_min", self.tau_min, Bound::Min)?;
        check_gate(gate, "top_1", self.top_1(), Bound::Min)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn record() -> Value {
        json!({"expected": [{"score": 0.9, "tokens": 5, "truncated": false}, {"score": 0.1, "tokens": 4, "truncated": true}],
            "input": {"documents": ["a", "b"], "query": "q"}})
    }

    fn case() -> Case {
        serde_json::from_value(record()).expect("a case")
    }

    fn scored(scores: [f32; 2]) -> [Scored; 2] {
        [
            Scored { score: scores[0], tokens: 5, truncated: false },
            Scored { score: scores[1], tokens: 4, truncated: true },
        ]
    }

    fn figures(scores: [f32; 2]) -> Figures {
        let mut figures =
            Figures { cases: 0, max_abs: 0.0, order_differing: 0, tau_sum: 0.0, tau_min: 1.0, same_first: 0 };
        figures.add(&case(), &scored(scores)).expect("the same tokens");
        figures
    }

    #[test]
    fn figures_are_those_of_all_cases() {
        let mut figures = figures([0.8, 0.2]);
        figures.add(&case(), &scored([0.1, 0.2])).expect("the same tokens");
        assert_eq!((figures.cases, figures.order_differing, figures.same_first), (2, 1, 1));
        assert_eq!((figures.mean_tau(), figures.tau_min, figures.top_1()), (0.0, -1.0, 0.5));
        assert!((figures.max_abs - 0.8).abs() < 1e-6);
    }

    #[test]
    fn other_tokens_are_refused() {
        let mut other = scored([0.9, 0.1]);
        other[1].truncated = false;
        assert!(figures([0.9, 0.1]).add(&case(), &other).is_err());
        assert!(figures([0.9, 0.1]).add(&case(), &other[..1]).is_err());
    }

    #[test]
    fn a_gate_limits_its_metrics() {
        let check = |gate: Value, scores| {
            let variant = json!({"gate": gate, "graphs": {}, "quantization": null});
            figures(scores).check(&serde_json::from_value(variant).expect("a variant")).is_ok()
        };
        assert!(check(json!({"max_abs": 1e-5, "order_differing": 0, "kendall_tau": 0.9, "top_1": 1.0}), [0.9, 0.1]));
        assert!(!check(json!({"max_abs": 1e-5}), [0.8, 0.1]));
        for gate in [
            json!({"order_differing": 0}),
            json!({"kendall_tau": 0.9}),
            json!({"kendall_tau_min": 0.9}),
            json!({"top_1": 0.5}),
        ] {
            assert!(!check(gate.clone(), [0.1, 0.9]), "{gate}");
        }
        assert!(check(json!({"token_mismatches": 0}), [0.1, 0.9]));
    }

    #[test]
    fn cases_are_read_strictly() {
        for (path, value) in [
            ("/x", json!(1)),
            ("/input/x", json!(1)),
            ("/input/query", json!(1)),
            ("/input/documents", json!("a")),
            ("/expected/0/x", json!(1)),
            ("/expected/0/tokens", json!(1.0)),
            ("/expected/0/truncated", json!(null)),
            ("/expected/0/score", json!("1")),
        ] {
            let mut case = record();
            let (parent, key) = path.rsplit_once('/').expect("a path");
            case.pointer_mut(parent).and_then(Value::as_object_mut).expect("an object").insert(key.to_owned(), value);
            assert!(serde_json::from_value::<Case>(case).is_err(), "{path}");
        }
    }
}
