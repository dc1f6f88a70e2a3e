//! Tests of named entities with the tiny token classifier, whose scores are computed by hand, and with the tiny pipeline of
//! spaCy.
#![cfg(all(feature = "token-classification", feature = "spacy"))]

mod common;

use std::fs;
use std::sync::Arc;

use onnx_ml_bridge::{
    AggregationStrategy, BridgeError, BridgeOptions, Embedder, Entity, MlBridge, Model, OnnxMlBridge, RecognizeOptions,
    Recognizer,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use common::ner::sure;

const LONG: &str = "ann lives in oslo fjord";

fn open(options: BridgeOptions) -> (TempDir, Recognizer) {
    let dir = common::ner::tiny();
    let recognizer = Recognizer::open(dir.path(), options).expect("a valid artifact");
    (dir, recognizer)
}

fn with(strategy: AggregationStrategy, stride: Option<usize>) -> RecognizeOptions {
    let options = RecognizeOptions::default().aggregation_strategy(strategy);
    if let Some(stride) = stride { options.stride(stride) } else { options }
}

/// The text, the label, and the offsets in characters of each entity in an answer.
fn brief(entities: &[Entity]) -> Vec<(&str, &str, usize, usize)> {
    entities.iter().map(|entity| (entity.text.as_str(), entity.label.as_str(), entity.start, entity.end)).collect()
}

fn code<T>(result: Result<T, BridgeError>) -> Option<&'static str> {
    result.err().map(|error| error.code().as_str())
}

#[test]
fn entities_have_offsets_in_all_units() {
    let (_dir, recognizer) = open(BridgeOptions::default());
    let text = "👩 Anna\u{a0}in Oslo";
    let answer = recognizer.recognize_blocking(&[text], &RecognizeOptions::default()).expect("entities").remove(0);
    assert_eq!(brief(&answer.entities), [("Anna", "PER", 2, 6)]);
    assert_eq!((answer.tokens, answer.truncated), (Some(6), true));
    let entity = &answer.entities[0];
    assert_eq!((&text[entity.start_byte..entity.end_byte], entity.utf16_range(text)), ("Anna", Some((3, 7))));
    assert!((f64::from(entity.score.expect("a score")) - sure()).abs() < 1e-6);
}

#[test]
fn options_set_the_strategy_and_the_stride() {
    let (_dir, recognizer) = open(BridgeOptions::default());
    let entities = |options| recognizer.recognize_blocking(&[LONG, "oslo anna"], &options).expect("entities");
    let truncated = entities(with(AggregationStrategy::Simple, None));
    assert_eq!(brief(&truncated[0].entities), [("ann", "PER", 0, 3), ("oslo", "LOC", 13, 17)]);
    assert_eq!(brief(&truncated[1].entities), [("oslo", "LOC", 0, 4), ("ann", "PER", 5, 8)]);
    let counts: Vec<_> = truncated.iter().map(|answer| (answer.tokens, answer.truncated)).collect();
    assert_eq!(counts, [(Some(6), true), (Some(5), false)]);
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
    let dir = common::ner::tiny();
    let model = Model::new(dir.path()).workers(2);
    let recognizer = Recognizer::open(model, BridgeOptions::default().threads(2)).expect("a valid artifact");
    let words = ["ann", "Anna", "oslo fjord", "in", "lives", ""];
    let texts: Vec<String> = (0..300).map(|index| words[index % 6].to_owned() + " " + words[index % 5]).collect();
    let options = with(AggregationStrategy::First, Some(1));
    let together = recognizer.recognize_blocking(&texts, &options).expect("entities");
    for (text, answer) in texts.iter().zip(&together).take(40) {
        assert_eq!(&recognizer.recognize_blocking(&[text], &options).expect("entities")[0], answer, "{text}");
    }
}

#[test]
fn a_long_text_is_read_to_its_end() {
    let (_dir, recognizer) = open(BridgeOptions::default());
    let text = "in Oslo lives 👩 Ann, ".repeat(2_000);
    let answer = recognizer
        .recognize_blocking(&[&text], &with(AggregationStrategy::First, Some(1)))
        .expect("entities")
        .remove(0);
    assert_eq!((answer.entities.len(), answer.truncated), (4_000, false));
    for entity in &answer.entities {
        assert_eq!(&text[entity.start_byte..entity.end_byte], entity.text);
        assert!(entity.text == "Oslo" || entity.text == "Ann");
    }
}

#[test]
fn one_bad_text_fails_and_the_others_are_answered() {
    let (_dir, recognizer) = open(BridgeOptions::default().text_limit(20));
    let long = "a".repeat(21);
    let texts = ["ann", "nan", "oslo", &long, ""];
    let outcomes = recognizer.recognize_each_blocking(&texts, &RecognizeOptions::default()).expect("outcomes");
    let codes: Vec<_> =
        outcomes.iter().map(|outcome| outcome.as_ref().err().map(|error| error.code().as_str())).collect();
    assert_eq!(codes, [None, Some("inference"), None, Some("input_too_large"), None]);
    let indices: Vec<_> = outcomes.iter().map(|outcome| outcome.as_ref().err().and_then(BridgeError::index)).collect();
    assert_eq!(indices, [None, Some(1), None, Some(3), None]);
    assert_eq!(outcomes[0].as_ref().map(|answer| answer.entities.len()), Ok(1));
    let error = recognizer.recognize_blocking(&texts, &RecognizeOptions::default()).expect_err("a bad text");
    assert_eq!((error.code().as_str(), error.index()), ("inference", Some(1)));
    assert_eq!(recognizer.recognize_blocking(&[""; 0], &RecognizeOptions::default()), Ok(vec![]));
}

#[test]
fn unusual_texts_do_not_cause_a_panic() {
    let (_dir, recognizer) = open(BridgeOptions::default());
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
    for options in [RecognizeOptions::default(), with(AggregationStrategy::Max, Some(1))] {
        let answers = recognizer.recognize_blocking(&texts, &options).expect("entities");
        assert_eq!(brief(&answers[7].entities), [("ann", "PER", 2, 5)]);
    }
}

#[test]
fn invalid_options_are_refused() {
    let (_dir, recognizer) = open(BridgeOptions::default());
    let answer = |options: &RecognizeOptions| code(recognizer.recognize_blocking(&["ann"], options));
    assert_eq!(answer(&with(AggregationStrategy::None, Some(1))), Some("config"));
    // A window has four tokens in addition to the special tokens.
    assert_eq!(answer(&with(AggregationStrategy::First, Some(4))), Some("config"));
    assert_eq!(answer(&with(AggregationStrategy::First, Some(3))), None);
    let starts = RecognizeOptions::default().sentence_starts(vec![vec![0]]);
    assert_eq!(answer(&starts), Some("sentence_starts"));
}

#[test]
fn defaults_are_those_of_the_manifest() {
    let dir = common::ner::tiny();
    let mut manifest = common::ner::manifest();
    manifest["token_classification"]["stride"] = json!(2);
    manifest["token_classification"]["ignore_labels"] = json!(["PER", "O"]);
    common::seal(dir.path(), manifest);
    let recognizer = Recognizer::open(dir.path(), BridgeOptions::default()).expect("a valid artifact");
    let answers = recognizer.recognize_blocking(&[LONG], &RecognizeOptions::default()).expect("entities");
    assert_eq!(brief(&answers[0].entities), [("oslo fjord", "LOC", 13, 23)]);
    assert_eq!(code(recognizer.recognize_blocking(&["ann"], &with(AggregationStrategy::None, None))), Some("config"));
}

#[test]
fn run_tokens_limits_the_runs_of_a_pipeline_and_changes_no_entity() {
    common::runs::record();
    let path = common::golden().join("valid/tiny-spacy");
    let cases = fs::read_to_string(path.join("golden.jsonl")).expect("cases");
    let input =
        |line| serde_json::from_str::<Value>(line).expect("a case")["input"].as_str().expect("a text").to_owned();
    let mut texts: Vec<String> = cases.lines().map(input).collect();
    // This text has more tokens than a run with the default.
    texts.push(texts.join(" ").repeat(3));
    let answer = |model: Model| {
        let before = common::runs::count("tiny-spacy");
        let recognizer = Recognizer::open(model, BridgeOptions::default()).expect("a valid artifact");
        let answers = recognizer.recognize_blocking(&texts, &RecognizeOptions::default()).expect("entities");
        (answers, common::runs::count("tiny-spacy") - before)
    };
    let (expected, runs) = answer(Model::new(&path));
    assert!(expected.last().is_some_and(|answer| answer.tokens > Some(2_048) && !answer.entities.is_empty()));
    let (answers, many) = answer(Model::new(&path).run_tokens(16));
    assert!(answers == expected && many > 10 * runs, "{many} runs, {runs} with the default");
    let (answers, few) = answer(Model::new(&path).run_tokens(100_000));
    assert!(answers == expected && few < runs, "{few} runs, {runs} with the default");
}

#[test]
fn an_artifact_of_another_task_is_refused() {
    let (embedding, ner) = (common::tiny(), common::ner::tiny());
    assert_eq!(code(Recognizer::open(embedding.path(), BridgeOptions::default())), Some("variant"));
    assert_eq!(code(Embedder::open(ner.path(), BridgeOptions::default())), Some("variant"));
}

#[test]
fn entities_are_iterable() {
    let (_dir, recognizer) = open(BridgeOptions::default());
    let answers = recognizer.recognize_blocking(&["ann oslo"], &RecognizeOptions::default()).expect("entities");
    let by_reference: Vec<&str> = (&answers[0]).into_iter().map(|entity| entity.label.as_str()).collect();
    assert_eq!(by_reference, ["PER", "LOC"]);
    for answer in answers {
        assert_eq!(answer.into_iter().count(), 2);
    }
}

#[tokio::test]
async fn the_trait_finds_entities() {
    let dir = common::ner::tiny();
    let bridge = OnnxMlBridge::builder().model(dir.path()).build().expect("a valid artifact");
    let object: Arc<dyn MlBridge> = Arc::new(bridge);
    assert!(object.health_check().await);
    assert_eq!(brief(&object.extract_entities("Ann").await.expect("entities")), [("Ann", "PER", 0, 3)]);
    let answers = object.extract_entities_batch(vec!["in".to_owned(), "oslo".to_owned()]).await.expect("entities");
    assert_eq!((answers.len(), brief(&answers[1])), (2, vec![("oslo", "LOC", 0, 4)]));
    assert_eq!(code(object.generate_embedding("a").await), Some("task_not_loaded"));
    assert_eq!(code(object.get_embedding_model_name().await), Some("task_not_loaded"));
}
