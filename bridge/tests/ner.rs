//! Tests of named entities with the tiny token classifier, whose scores are computed by hand.
#![cfg(all(feature = "token-classification", feature = "spacy"))]

mod common;

use std::sync::Arc;

use onnx_ml_bridge::{
    AggregationStrategy, BridgeError, Entity, MlBridge, NerOptions, OnnxMlBridge, OnnxMlBridgeBuilder,
};
use serde_json::json;
use tempfile::TempDir;

use common::ner::sure;

const LONG: &str = "ann lives in oslo fjord";

fn bridge(configure: impl Fn(OnnxMlBridgeBuilder) -> OnnxMlBridgeBuilder) -> (TempDir, OnnxMlBridge) {
    let dir = common::ner::tiny();
    let bridge = configure(OnnxMlBridge::builder().ner(dir.path())).build().expect("a valid artifact");
    (dir, bridge)
}

fn with(strategy: AggregationStrategy, stride: Option<usize>) -> NerOptions {
    NerOptions { aggregation_strategy: Some(strategy), stride, ..NerOptions::default() }
}

/// The text, the label, and the offsets in characters of each entity in an answer.
fn brief(entities: &[Entity]) -> Vec<(&str, &str, usize, usize)> {
    entities.iter().map(|entity| (entity.text.as_str(), entity.label.as_str(), entity.start, entity.end)).collect()
}

fn code<T>(result: Result<T, BridgeError>) -> Option<&'static str> {
    result.err().map(|error| error.code())
}

#[test]
fn entities_have_offsets_in_all_units() {
    let (_dir, bridge) = bridge(|builder| builder);
    let text = "👩 Anna\u{a0}in Oslo";
    let answer = bridge.ner(&[text], &NerOptions::default()).expect("entities").remove(0);
    assert_eq!(brief(&answer.entities), [("Anna", "PER", 2, 6)]);
    assert_eq!((answer.tokens, answer.truncated), (6, true));
    let entity = &answer.entities[0];
    assert_eq!((&text[entity.start_byte..entity.end_byte], entity.utf16_range(text)), ("Anna", Some((3, 7))));
    assert!((f64::from(entity.score.expect("a score")) - sure()).abs() < 1e-6);
}

#[test]
fn options_set_the_strategy_and_the_stride() {
    let (_dir, bridge) = bridge(|builder| builder);
    let entities = |options| bridge.ner(&[LONG, "oslo anna"], &options).expect("entities");
    let truncated = entities(with(AggregationStrategy::Simple, None));
    assert_eq!(brief(&truncated[0].entities), [("ann", "PER", 0, 3), ("oslo", "LOC", 13, 17)]);
    assert_eq!(brief(&truncated[1].entities), [("oslo", "LOC", 0, 4), ("ann", "PER", 5, 8)]);
    let counts: Vec<_> = truncated.iter().map(|answer| (answer.tokens, answer.truncated)).collect();
    assert_eq!(counts, [(6, true), (5, false)]);
    // Both windows have "oslo". The longer entity "oslo fjord" of one window is kept.
    for stride in [1, 2, 3] {
        let answers = entities(with(AggregationStrategy::Simple, Some(stride)));
        assert_eq!(brief(&answers[0].entities), [("ann", "PER", 0, 3), ("oslo fjord", "LOC", 13, 23)]);
        assert!(!answers[0].truncated);
    }
    let separate = entities(with(AggregationStrategy::Max, Some(0)));
    assert_eq!(brief(&separate[0].entities), [("ann", "PER", 0, 3), ("oslo", "LOC", 13, 17), ("fjord", "LOC", 18, 23)]);
    let tokens = entities(with(AggregationStrategy::None, None));
    assert_eq!(brief(&tokens[1].entities), [("oslo", "B-LOC", 0, 4), ("ann", "B-PER", 5, 8)]);
    // The two tokens of "anna" have high scores for different classes. The mean scores of B-PER and O are equal, and O, the
    // first of them, wins.
    let mean = entities(with(AggregationStrategy::Average, None));
    assert_eq!(brief(&mean[1].entities), [("oslo", "LOC", 0, 4)]);
}

#[test]
fn an_answer_does_not_depend_on_other_texts() {
    let (_dir, bridge) = bridge(|builder| builder.sessions(2).threads(2));
    let words = ["ann", "Anna", "oslo fjord", "in", "lives", ""];
    let texts: Vec<String> = (0..300).map(|index| words[index % 6].to_owned() + " " + words[index % 5]).collect();
    let options = with(AggregationStrategy::First, Some(1));
    let together = bridge.ner(&texts, &options).expect("entities");
    for (text, answer) in texts.iter().zip(&together).take(40) {
        assert_eq!(&bridge.ner(&[text], &options).expect("entities")[0], answer, "{text}");
    }
}

#[test]
fn a_long_text_is_read_to_its_end() {
    let (_dir, bridge) = bridge(|builder| builder);
    let text = "in Oslo lives 👩 Ann, ".repeat(2_000);
    let answer = bridge.ner(&[&text], &with(AggregationStrategy::First, Some(1))).expect("entities").remove(0);
    assert_eq!((answer.entities.len(), answer.truncated), (4_000, false));
    for entity in &answer.entities {
        assert_eq!(&text[entity.start_byte..entity.end_byte], entity.text);
        assert!(entity.text == "Oslo" || entity.text == "Ann");
    }
}

#[test]
fn one_bad_text_fails_and_the_others_are_answered() {
    let (_dir, bridge) = bridge(|builder| builder.text_limit(20));
    let long = "a".repeat(21);
    let texts = ["ann", "nan", "oslo", &long, ""];
    let outcomes = bridge.ner_each(&texts, &NerOptions::default()).expect("outcomes");
    let codes: Vec<_> = outcomes.iter().map(|outcome| outcome.as_ref().err().map(BridgeError::code)).collect();
    assert_eq!(codes, [None, Some("inference"), None, Some("input_too_large"), None]);
    let indices: Vec<_> = outcomes.iter().map(|outcome| outcome.as_ref().err().and_then(BridgeError::index)).collect();
    assert_eq!(indices, [None, Some(1), None, Some(3), None]);
    assert_eq!(outcomes[0].as_ref().map(|answer| answer.entities.len()), Ok(1));
    let error = bridge.ner(&texts, &NerOptions::default()).expect_err("a bad text");
    assert_eq!((error.code(), error.index()), ("inference", Some(1)));
    assert_eq!(bridge.ner(&[""; 0], &NerOptions::default()), Ok(vec![]));
}

#[test]
fn unusual_texts_do_not_cause_a_panic() {
    let (_dir, bridge) = bridge(|builder| builder);
    let (marks, word) = (format!("a{}", "\u{301}".repeat(100_000)), "x".repeat(200_000));
    let texts = [
        "",
        " ",
        "\u{200b}",
        "\u{a0}",
        "\u{1c}",
        "\0",
        "\u{feff}",
        "\u{202e} ann",
        "İΣς",
        "👩\u{200d}👩",
        &marks,
        &word,
    ];
    for options in [NerOptions::default(), with(AggregationStrategy::Max, Some(1))] {
        let answers = bridge.ner(&texts, &options).expect("entities");
        assert_eq!(brief(&answers[7].entities), [("ann", "PER", 2, 5)]);
    }
}

#[test]
fn invalid_options_are_refused() {
    let (_dir, bridge) = bridge(|builder| builder);
    let answer = |options: &NerOptions| code(bridge.ner(&["ann"], options));
    assert_eq!(answer(&with(AggregationStrategy::None, Some(1))), Some("config"));
    // A window has four tokens in addition to the special tokens.
    assert_eq!(answer(&with(AggregationStrategy::First, Some(4))), Some("config"));
    assert_eq!(answer(&with(AggregationStrategy::First, Some(3))), None);
    let starts = NerOptions { sentence_starts: Some(vec![vec![0]]), ..NerOptions::default() };
    assert_eq!(answer(&starts), Some("sentence_starts"));
}

#[test]
fn defaults_are_those_of_the_manifest() {
    let dir = common::ner::tiny();
    let mut manifest = common::ner::manifest();
    manifest["token_classification"]["stride"] = json!(2);
    manifest["token_classification"]["ignore_labels"] = json!(["PER", "O"]);
    common::seal(dir.path(), manifest);
    let bridge = OnnxMlBridge::open_ner(dir.path()).expect("a valid artifact");
    let entities = bridge.extract_entities_blocking(LONG).expect("entities");
    assert_eq!(brief(&entities), [("oslo fjord", "LOC", 13, 23)]);
    assert_eq!(code(bridge.ner(&["ann"], &with(AggregationStrategy::None, None))), Some("config"));
}

#[test]
fn models_are_chosen_by_name() {
    let (one, two) = (common::ner::tiny(), common::ner::tiny());
    let mut manifest = common::ner::manifest();
    manifest["token_classification"]["labels"] = json!(["O", "B-PERSONNE", "I-PERSONNE", "B-LIEU", "I-LIEU"]);
    common::seal(two.path(), manifest);
    let bridge = OnnxMlBridge::builder().ner(one.path()).ner_named("fr", two.path()).build().expect("two models");
    assert_eq!(bridge.ner_models().collect::<Vec<_>>(), ["fr", "tiny-ner"]);
    let label = |name: &str| {
        let answers = bridge.ner(&["oslo"], &NerOptions::with_model(name)).expect("entities");
        answers[0].entities[0].label.clone()
    };
    assert_eq!((label("fr"), label("tiny-ner")), ("LIEU".to_owned(), "LOC".to_owned()));
    assert_eq!(code(bridge.ner(&["a"], &NerOptions::with_model("de"))), Some("model_not_found"));
    assert_eq!(code(bridge.ner(&["a"], &NerOptions::default())), Some("model_not_found"));
    assert_eq!(code(bridge.extract_entities_batch(&["a"])), Some("model_not_found"));
    assert_eq!(bridge.ner_manifest(Some("fr")).map(|manifest| manifest.name.as_str()), Ok("tiny-ner"));
    assert_eq!(bridge.ner_variant(Some("fr")), Ok("fp32"));
    assert!(bridge.health_check_blocking());
    let twins = OnnxMlBridge::builder().ner(one.path()).ner(two.path()).build();
    assert_eq!(code(twins), Some("config"));
}

#[test]
fn calls_without_a_model_for_their_task_fail() {
    let (_dir, ner) = bridge(|builder| builder);
    assert_eq!(code(ner.generate_embedding_blocking("a")), Some("task_not_loaded"));
    assert_eq!(
        (code(ner.embedding_manifest()), code(ner.embedding_variant())),
        (Some("task_not_loaded"), Some("task_not_loaded"))
    );
    let embedding = common::tiny();
    let bridge = OnnxMlBridge::open_embedding(embedding.path()).expect("a valid artifact");
    assert_eq!(code(bridge.ner(&["a"], &NerOptions::default())), Some("task_not_loaded"));
    assert_eq!(code(bridge.ner(&["a"], &NerOptions::with_model("x"))), Some("task_not_loaded"));
}

#[test]
fn an_artifact_of_another_task_is_refused() {
    let (embedding, ner) = (common::tiny(), common::ner::tiny());
    assert_eq!(code(OnnxMlBridge::open_ner(embedding.path())), Some("variant"));
    assert_eq!(code(OnnxMlBridge::open_embedding(ner.path())), Some("variant"));
}

#[test]
fn variants_are_chosen_by_task() {
    let (embedding, ner) = (common::tiny(), common::ner::tiny());
    let both = || OnnxMlBridge::builder().embedding(embedding.path()).ner(ner.path());
    assert!(both().variant("int4").embedding_variant("fp32").ner_variant("auto").build().is_ok());
    assert_eq!(code(both().embedding_variant("int4").build()), Some("variant"));
    assert_eq!(code(both().ner_variant("int4").build()), Some("variant"));
    let bridge = both().build().expect("two models");
    bridge.warm_up().expect("sessions");
    bridge.unload();
    assert!(bridge.health_check_blocking());
}

#[tokio::test]
async fn the_trait_finds_entities() {
    let (_dir, bridge) = bridge(|builder| builder);
    let object: Arc<dyn MlBridge> = Arc::new(bridge);
    assert!(object.health_check().await);
    assert_eq!(brief(&object.extract_entities("Ann").await.expect("entities")), [("Ann", "PER", 0, 3)]);
    let answers = object.extract_entities_batch(&["in".to_owned(), "oslo".to_owned()]).await.expect("entities");
    assert_eq!((answers.len(), brief(&answers[1])), (2, vec![("oslo", "LOC", 0, 4)]));
    assert_eq!(code(object.generate_embedding("a").await), Some("task_not_loaded"));
    assert_eq!(code(object.get_embedding_model_name().await), Some("task_not_loaded"));
}
