//! Replays the golden cases of named entities. The metrics are computed over all cases together.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use super::model::NerModel;
use crate::BridgeError;
use crate::artifact::manifest::Variant;
use crate::families::golden_cases::{
    Bound, Report, check_gate, model_error, read_cases, refused, refused_case, refused_variant, reporting,
};
use crate::families::model::FamilyModel;
use crate::families::report::{VariantReport, count, measurement};
use crate::tasks::backend::Backend;
use crate::tasks::{AggregationStrategy, Entities, Entity, RecognizeOptions};

/// One golden case: a text, the settings of the call, and the answer of the original model.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    expected: Expected,
    input: String,
    settings: Value,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    entities: Vec<ExpectedEntity>,
    tokens: usize,
    truncated: bool,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectedEntity {
    start: usize,
    end: usize,
    label: String,
    #[serde(deserialize_with = "Option::deserialize")]
    score: Option<f64>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    #[serde(deserialize_with = "Option::deserialize")]
    aggregation_strategy: Option<AggregationStrategy>,
    #[serde(deserialize_with = "Option::deserialize")]
    stride: Option<usize>,
    #[serde(deserialize_with = "Option::deserialize")]
    sentence_starts: Option<Vec<usize>>,
}

/// The metrics that compare the entities of a variant with those of the original, over all cases.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Metrics {
    cases: usize,
    /// The number of cases for which the entities' offsets or labels differ from the original model's.
    differing: usize,
    /// The F1 score of the entities of all cases. Two entities are equal if their offsets and labels are.
    entity_f1: f64,
    /// The maximum absolute difference between the scores of an entity that both the original model and the variant
    /// return; `None` if entities have no scores.
    score_max_abs: Option<f64>,
}

/// Reads the cases and the settings of their calls, for fuzzing.
#[cfg(fuzzing)]
pub(crate) fn read_golden_with(
    bytes: &[u8],
    manifest: &crate::artifact::Manifest,
    options: fn(Value) -> Result<RecognizeOptions, String>,
) -> Result<(), BridgeError> {
    let cases: Vec<Case> = read_cases(manifest, bytes)?;
    cases
        .into_iter()
        .try_for_each(|case| options(case.settings).map(drop).map_err(|problem| refused(manifest, problem)))
}

/// Replays the cases with one variant, and compares the metrics with its gate.
///
/// # Errors
/// `golden` if the gate is not met or a case cannot be read, or an error of the model.
pub(super) fn replay(model: &Arc<NerModel>, bytes: &[u8], report: Report<'_>) -> Result<VariantReport, BridgeError> {
    let (manifest, variant) = (model.manifest(), model.variant());
    let cases: Vec<Case> = read_cases(manifest, bytes)?;
    let options = cases.iter().enumerate().map(|(index, case)| {
        let options = model.case_options(case.settings.clone());
        options.map_err(|problem| refused(manifest, format!("line {}: {problem}", index + 1)))
    });
    let options = options.collect::<Result<Vec<_>, _>>()?;
    let mut tally = Tally::default();
    model.warm_up()?;
    for (index, case) in reporting(&cases, report) {
        let answers = model.recognize(vec![case.input.clone()], options[index].clone());
        for answer in answers.map_err(|error| model_error(manifest, variant, error))? {
            let counted = tally.add(&case.expected, &answer);
            counted.map_err(|problem| refused_case(manifest, index, variant, &problem))?;
        }
    }
    let metrics = tally.metrics();
    check(&metrics, &manifest.variants[variant]).map_err(|problem| refused_variant(manifest, variant, &problem))?;
    Ok(VariantReport::new([
        ("cases", count(metrics.cases)),
        ("differing", count(metrics.differing)),
        ("entity_f1", measurement(metrics.entity_f1)),
        ("score_max_abs", metrics.score_max_abs.and_then(measurement)),
    ]))
}

/// The options of the call, given the settings of a golden case of models with fixed labels. The error describes what is
/// wrong with them.
pub(super) fn case_options(settings: Value) -> Result<RecognizeOptions, String> {
    let settings: Settings = serde_json::from_value(settings).map_err(|error| error.to_string())?;
    Ok(RecognizeOptions {
        aggregation_strategy: settings.aggregation_strategy,
        stride: settings.stride,
        sentence_starts: settings.sentence_starts.map(|starts| vec![starts]),
        ..RecognizeOptions::default()
    })
}

fn check(metrics: &Metrics, gate: &Variant) -> Result<(), String> {
    check_gate(gate, "differing", metrics.differing as f64, Bound::Max)?;
    check_gate(gate, "entity_f1", metrics.entity_f1, Bound::Min)?;
    metrics.score_max_abs.map_or(Ok(()), |score| check_gate(gate, "score_max_abs", score, Bound::Max))
}

/// The counts from which the metrics are computed, over the cases that were compared so far.
#[derive(Debug, Default)]
struct Tally {
    cases: usize,
    differing: usize,
    /// The number of entities that both the original and the variant return.
    common: usize,
    /// The number of entities that the original model returns.
    expected: usize,
    /// The number of entities that the variant returns.
    actual: usize,
    score_max_abs: Option<f64>,
}

/// The start, the end and the label of an entity. Two entities are equal if these are.
type Triple<'a> = (usize, usize, &'a str);

impl Tally {
    /// Adds a case to the counts. Fails if the number of tokens or `truncated` differs from the original's, which no
    /// gate allows.
    fn add(&mut self, expected: &Expected, answer: &Entities) -> Result<(), String> {
        let actual = (answer.tokens, answer.truncated);
        let reference = (Some(expected.tokens), expected.truncated);
        if actual != reference {
            return Err(format!("tokens and truncated are {actual:?}, expected {reference:?}"));
        }
        self.cases += 1;
        let references = expected.entities.iter().map(|entity| (entity.start, entity.end, entity.label.as_str()));
        self.differing += usize::from(!references.eq(answer.entities.iter().map(triple)));
        self.expected += expected.entities.len();
        self.actual += answer.entities.len();
        self.pair(expected, answer);
        Ok(())
    }

    /// Pairs each entity of the original model with an equal one of the variant, and compares their scores. No entity
    /// is in two pairs.
    fn pair(&mut self, expected: &Expected, answer: &Entities) {
        let mut unpaired: BTreeMap<Triple<'_>, Vec<&Entity>> = BTreeMap::new();
        // The list is in reverse order, so that `pop` returns the first of equal entities.
        for entity in answer.entities.iter().rev() {
            unpaired.entry(triple(entity)).or_default().push(entity);
        }
        for entity in &expected.entities {
            let key = (entity.start, entity.end, entity.label.as_str());
            let Some(paired) = unpaired.get_mut(&key).and_then(Vec::pop) else { continue };
            self.common += 1;
            if let (Some(reference), Some(actual)) = (entity.score, paired.score) {
                let difference = (reference - f64::from(actual)).abs();
                self.score_max_abs = Some(self.score_max_abs.unwrap_or(0.0).max(difference));
            }
        }
    }

    fn metrics(&self) -> Metrics {
        let total = self.expected + self.actual;
        // If neither the original nor the variant has any entities, they agree, and F1 is 1.
        let entity_f1 = if total == 0 { 1.0 } else { 2.0 * self.common as f64 / total as f64 };
        let (cases, differing) = (self.cases, self.differing);
        Metrics { cases, differing, entity_f1, score_max_abs: self.score_max_abs }
    }
}

fn triple(entity: &Entity) -> Triple<'_> {
    (entity.start, entity.end, entity.label.as_str())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::tasks::entities::EntitySpan;

    fn expected(entities: &[(usize, usize, &str, Option<f64>)]) -> Expected {
        let entity = |&(start, end, label, score): &(usize, usize, &str, Option<f64>)| ExpectedEntity {
            start,
            end,
            label: label.to_owned(),
            score,
        };
        Expected { entities: entities.iter().map(entity).collect(), tokens: 9, truncated: false }
    }

    fn answer(entities: &[(usize, usize, &str, Option<f32>)]) -> Entities {
        let span = |&(start, end, label, score): &(usize, usize, _, _)| EntitySpan { start, end, label, score };
        let spans: Vec<EntitySpan<'_>> = entities.iter().map(span).collect();
        Entities::from_spans("some text or other", &spans, 9, false)
    }

    #[test]
    fn metrics_are_computed_over_all_cases() {
        let mut tally = Tally::default();
        let two = [(0, 4, "A", Some(0.5)), (5, 9, "B", Some(0.75))];
        tally.add(&expected(&two), &answer(&[(0, 4, "A", Some(0.5)), (5, 9, "B", Some(0.5))])).expect("counted");
        let metrics = tally.metrics();
        assert_eq!((metrics.cases, metrics.differing, metrics.entity_f1), (1, 0, 1.0));
        assert_eq!(metrics.score_max_abs, Some(0.25));
        // Over both cases, the original model and the variant have four entities each, of which 2 + 1 are equal.
        // Therefore F1 is 2 * (2 + 1) / (4 + 4).
        tally.add(&expected(&two), &answer(&[(0, 4, "A", Some(0.5)), (5, 8, "B", Some(0.0))])).expect("counted");
        let metrics = tally.metrics();
        assert_eq!((metrics.cases, metrics.differing, metrics.entity_f1), (2, 1, 0.75));
        assert_eq!(metrics.score_max_abs, Some(0.25));
    }

    #[test]
    fn another_order_differs_and_every_entity_is_paired_once() {
        let mut tally = Tally::default();
        tally.add(&expected(&[(0, 0, "A", None), (0, 0, "A", None)]), &answer(&[(0, 0, "A", None)])).expect("counted");
        tally
            .add(&expected(&[(0, 1, "A", None), (2, 3, "A", None)]), &answer(&[(2, 3, "A", None), (0, 1, "A", None)]))
            .expect("counted");
        let metrics = tally.metrics();
        assert_eq!((metrics.differing, tally.common, metrics.score_max_abs), (2, 3, None));
        assert_eq!(Tally::default().metrics().entity_f1, 1.0);
    }

    #[test]
    fn no_gate_allows_another_number_of_tokens_or_another_truncation() {
        let mut other = answer(&[]);
        other.tokens = Some(8);
        assert!(Tally::default().add(&expected(&[]), &other).is_err());
        let mut truncated = answer(&[]);
        truncated.truncated = true;
        assert!(Tally::default().add(&expected(&[]), &truncated).is_err());
    }

    #[test]
    fn only_scores_that_both_have_are_compared() {
        let mut tally = Tally::default();
        tally.add(&expected(&[(0, 4, "A", None)]), &answer(&[(0, 4, "A", Some(0.5))])).expect("counted");
        tally.add(&expected(&[(0, 4, "A", Some(0.5))]), &answer(&[(0, 4, "A", None)])).expect("counted");
        let metrics = tally.metrics();
        assert_eq!((metrics.differing, metrics.score_max_abs), (0, None));
    }

    #[test]
    fn only_metrics_of_the_gate_are_checked() {
        let variant = |gate: Value| -> Variant {
            serde_json::from_value(json!({"gate": gate, "graphs": {}, "quantization": null})).expect("a variant")
        };
        let metrics = Metrics { cases: 9, differing: 1, entity_f1: 0.9, score_max_abs: Some(0.01) };
        for (gate, is_met) in [
            (json!({"differing": 1, "entity_f1": 0.9, "score_max_abs": 0.01}), true),
            (json!({"token_mismatches": 0}), true),
            (json!({"differing": 0}), false),
            (json!({"entity_f1": 0.95}), false),
            (json!({"score_max_abs": 0.001}), false),
        ] {
            assert_eq!(check(&metrics, &variant(gate.clone())).is_ok(), is_met, "{gate}");
        }
        let unscored = Metrics { score_max_abs: None, ..metrics };
        assert!(check(&unscored, &variant(json!({"score_max_abs": 0.0}))).is_ok());
    }

    #[test]
    fn invalid_cases_are_refused() {
        let good = json!({"expected": {"entities": [{"start": 0, "end": 1, "label": "A", "score": null}], "tokens": 1,
            "truncated": false}, "input": "a",
            "settings": {"aggregation_strategy": null, "sentence_starts": null, "stride": null}});
        let is_valid =
            |case: Value| serde_json::from_value::<Case>(case).is_ok_and(|case| case_options(case.settings).is_ok());
        assert!(is_valid(good.clone()));
        let bad = |path: &str, value: Option<Value>| {
            let mut case = good.clone();
            let (parent, key) = path.rsplit_once('/').expect("a path");
            let parent = case.pointer_mut(parent).expect("a value").as_object_mut().expect("an object");
            match value {
                Some(value) => parent.insert(key.to_owned(), value),
                None => parent.remove(key),
            };
            assert!(!is_valid(case), "{path}");
        };
        for path in [
            "/input",
            "/settings/stride",
            "/settings/sentence_starts",
            "/settings/aggregation_strategy",
            "/expected/tokens",
            "/expected/entities/0/score",
            "/expected/entities/0/start",
        ] {
            bad(path, None);
        }
        for path in ["/x", "/settings/x", "/expected/x", "/expected/entities/0/x"] {
            bad(path, Some(json!(1)));
        }
        bad("/expected/tokens", Some(json!(1.0)));
        bad("/expected/entities/0/start", Some(json!(-1)));
        bad("/settings/stride", Some(json!(0.5)));
        bad("/settings/aggregation_strategy", Some(json!("best")));
        bad("/settings/sentence_starts", Some(json!([0, 1.0])));
    }
}
