//! The golden cases of named entities, whose figures are those of all cases together.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::model::NerModel;
use super::{AggregationStrategy, Entities, Entity, NerOptions};
use crate::BridgeError;
use crate::artifact::manifest::Variant;
use crate::families::golden_cases::{Bound, check_gate, model_error, read_cases, refused_case, refused_variant};
use crate::families::model::Model;
use crate::families::report::{VariantReport, count, measurement};

/// One golden case: a text, the settings of the call, and what the original model answered.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    expected: Expected,
    input: String,
    settings: Settings,
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

/// The figures over all cases.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Figures {
    cases: usize,
    /// Cases with any other list of offsets and labels.
    differing: usize,
    /// F1 of the entities of all cases, an entity being its offsets and its label.
    entity_f1: f64,
    /// Largest difference of a score over the entities that both have; `None` where there are no scores.
    score_max_abs: Option<f64>,
}

/// Replays the cases with one variant, and compares the figures over all cases with its gate.
///
/// # Errors
/// `golden` where the gate is not met or a case cannot be read, or an error of the model.
pub(super) fn replay(model: &NerModel, bytes: &[u8]) -> Result<VariantReport, BridgeError> {
    let (manifest, variant) = (model.manifest(), model.variant());
    let cases: Vec<Case> = read_cases(manifest, bytes)?;
    let mut tally = Tally::default();
    for members in alike(&cases) {
        let texts: Vec<&str> = members.iter().map(|&index| cases[index].input.as_str()).collect();
        let answers = model.recognize(&texts, &options(&members, &cases));
        let answers = answers.map_err(|error| model_error(manifest, variant, error))?;
        for (&index, answer) in members.iter().zip(&answers) {
            let counted = tally.add(&cases[index].expected, answer);
            counted.map_err(|problem| refused_case(manifest, index, variant, &problem))?;
        }
    }
    let figures = tally.figures();
    check(&figures, &manifest.variants[variant]).map_err(|problem| refused_variant(manifest, variant, &problem))?;
    Ok(VariantReport::new([
        ("cases", count(figures.cases)),
        ("differing", count(figures.differing)),
        ("entity_f1", measurement(figures.entity_f1)),
        ("score_max_abs", figures.score_max_abs.and_then(measurement)),
    ]))
}

/// The indices of cases that can be run in one call.
fn alike(cases: &[Case]) -> Vec<Vec<usize>> {
    let mut groups: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    for (at, case) in cases.iter().enumerate() {
        let settings = &case.settings;
        let key = (settings.aggregation_strategy, settings.stride, settings.sentence_starts.is_some());
        groups.entry(key).or_default().push(at);
    }
    groups.into_values().collect()
}

fn options(members: &[usize], cases: &[Case]) -> NerOptions {
    let settings: Vec<&Settings> = members.iter().map(|&at| &cases[at].settings).collect();
    NerOptions {
        model: None,
        aggregation_strategy: settings.first().and_then(|settings| settings.aggregation_strategy),
        stride: settings.first().and_then(|settings| settings.stride),
        sentence_starts: settings.iter().map(|settings| settings.sentence_starts.clone()).collect(),
    }
}

fn check(figures: &Figures, gate: &Variant) -> Result<(), String> {
    check_gate(gate, "differing", figures.differing as f64, Bound::Max)?;
    check_gate(gate, "entity_f1", figures.entity_f1, Bound::Min)?;
    figures.score_max_abs.map_or(Ok(()), |score| check_gate(gate, "score_max_abs", score, Bound::Max))
}

/// What was counted over the cases so far.
#[derive(Debug, Default)]
struct Tally {
    cases: usize,
    differing: usize,
    /// Entities that both have, that the original has, and that the variant has.
    common: usize,
    expected: usize,
    found: usize,
    score_max_abs: Option<f64>,
}

/// Start, end and label.
type Triple<'a> = (usize, usize, &'a str);

impl Tally {
    /// Counts a case; fails where its tokens or whether it was cut differ, which no gate allows.
    fn add(&mut self, expected: &Expected, answer: &Entities) -> Result<(), String> {
        let actual = (answer.tokens, answer.truncated);
        let reference = (expected.tokens, expected.truncated);
        if actual != reference {
            return Err(format!("tokens and truncated are {actual:?}, expected {reference:?}"));
        }
        self.cases += 1;
        let theirs = expected.entities.iter().map(|entity| (entity.start, entity.end, entity.label.as_str()));
        self.differing += usize::from(!theirs.eq(answer.entities.iter().map(triple)));
        self.expected += expected.entities.len();
        self.found += answer.entities.len();
        self.pair(expected, answer);
        Ok(())
    }

    /// Pairs equal entities, each one once, and compares their scores.
    fn pair(&mut self, expected: &Expected, answer: &Entities) {
        let mut unpaired: BTreeMap<Triple<'_>, Vec<&Entity>> = BTreeMap::new();
        // The first of equals is taken from the end.
        for entity in answer.entities.iter().rev() {
            unpaired.entry(triple(entity)).or_default().push(entity);
        }
        for entity in &expected.entities {
            let key = (entity.start, entity.end, entity.label.as_str());
            let Some(found) = unpaired.get_mut(&key).and_then(Vec::pop) else { continue };
            self.common += 1;
            if let (Some(score), Some(found)) = (entity.score, found.score) {
                let difference = (score - f64::from(found)).abs();
                self.score_max_abs = Some(self.score_max_abs.unwrap_or(0.0).max(difference));
            }
        }
    }

    fn figures(&self) -> Figures {
        let total = self.expected + self.found;
        // No entities on either side: nothing was missed.
        let entity_f1 = if total == 0 { 1.0 } else { 2.0 * self.common as f64 / total as f64 };
        let (cases, differing) = (self.cases, self.differing);
        Figures { cases, differing, entity_f1, score_max_abs: self.score_max_abs }
    }
}

fn triple(entity: &Entity) -> Triple<'_> {
    (entity.start, entity.end, entity.label.as_str())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::families::ner::entities::EntitySpan;

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
        let found = |&(start, end, label, score): &(usize, usize, _, _)| EntitySpan { start, end, label, score };
        let found: Vec<EntitySpan<'_>> = entities.iter().map(found).collect();
        Entities::from_spans("some text or other", &found, 9, false)
    }

    #[test]
    fn figures_are_those_of_all_cases_together() {
        let mut tally = Tally::default();
        let two = [(0, 4, "A", Some(0.5)), (5, 9, "B", Some(0.75))];
        tally.add(&expected(&two), &answer(&[(0, 4, "A", Some(0.5)), (5, 9, "B", Some(0.5))])).expect("counted");
        let report = tally.figures();
        assert_eq!((report.cases, report.differing, report.entity_f1), (1, 0, 1.0));
        assert_eq!(report.score_max_abs, Some(0.25));
        // One of two is found, and one that is not there: 2 * (2 + 1) / (4 + 4).
        tally.add(&expected(&two), &answer(&[(0, 4, "A", Some(0.5)), (5, 8, "B", Some(0.0))])).expect("counted");
        let report = tally.figures();
        assert_eq!((report.cases, report.differing, report.entity_f1), (2, 1, 0.75));
        assert_eq!(report.score_max_abs, Some(0.25));
    }

    #[test]
    fn the_order_counts_and_every_entity_once() {
        let mut tally = Tally::default();
        tally.add(&expected(&[(0, 0, "A", None), (0, 0, "A", None)]), &answer(&[(0, 0, "A", None)])).expect("counted");
        tally
            .add(&expected(&[(0, 1, "A", None), (2, 3, "A", None)]), &answer(&[(2, 3, "A", None), (0, 1, "A", None)]))
            .expect("counted");
        let report = tally.figures();
        assert_eq!((report.differing, tally.common, report.score_max_abs), (2, 3, None));
        assert_eq!(Tally::default().figures().entity_f1, 1.0);
    }

    #[test]
    fn no_gate_allows_other_tokens_or_another_cut() {
        let mut other = answer(&[]);
        other.tokens = 8;
        assert!(Tally::default().add(&expected(&[]), &other).is_err());
        let mut cut = answer(&[]);
        cut.truncated = true;
        assert!(Tally::default().add(&expected(&[]), &cut).is_err());
    }

    #[test]
    fn only_scores_that_both_have_are_compared() {
        let mut tally = Tally::default();
        tally.add(&expected(&[(0, 4, "A", None)]), &answer(&[(0, 4, "A", Some(0.5))])).expect("counted");
        tally.add(&expected(&[(0, 4, "A", Some(0.5))]), &answer(&[(0, 4, "A", None)])).expect("counted");
        let report = tally.figures();
        assert_eq!((report.differing, report.score_max_abs), (0, None));
    }

    #[test]
    fn a_gate_holds_what_it_names() {
        let variant = |gate: Value| -> Variant {
            serde_json::from_value(json!({"gate": gate, "graphs": {}, "quantization": null})).expect("a variant")
        };
        let report = Figures { cases: 9, differing: 1, entity_f1: 0.9, score_max_abs: Some(0.01) };
        for (gate, holds) in [
            (json!({"differing": 1, "entity_f1": 0.9, "score_max_abs": 0.01}), true),
            (json!({"token_mismatches": 0}), true),
            (json!({"differing": 0}), false),
            (json!({"entity_f1": 0.95}), false),
            (json!({"score_max_abs": 0.001}), false),
        ] {
            assert_eq!(check(&report, &variant(gate.clone())).is_ok(), holds, "{gate}");
        }
        let unscored = Figures { score_max_abs: None, ..report };
        assert!(check(&unscored, &variant(json!({"score_max_abs": 0.0}))).is_ok());
    }

    #[test]
    fn cases_are_read_strictly() {
        let good = json!({"expected": {"entities": [{"start": 0, "end": 1, "label": "A", "score": null}], "tokens": 1,
            "truncated": false}, "input": "a",
            "settings": {"aggregation_strategy": null, "sentence_starts": null, "stride": null}});
        assert!(serde_json::from_value::<Case>(good.clone()).is_ok());
        let bad = |path: &str, value: Option<Value>| {
            let mut case = good.clone();
            let (parent, key) = path.rsplit_once('/').expect("a path");
            let parent = case.pointer_mut(parent).expect("a value").as_object_mut().expect("an object");
            match value {
                Some(value) => parent.insert(key.to_owned(), value),
                None => parent.remove(key),
            };
            assert!(serde_json::from_value::<Case>(case).is_err(), "{path}");
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
