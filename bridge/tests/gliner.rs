//! Calls that name the labels of the entities to find.
#![cfg(feature = "gliner")]

mod common;

use std::path::PathBuf;

use onnx_ml_bridge::{AggregationStrategy, BridgeError, BridgeOptions, Model, RecognizeOptions, Recognizer};

const TEXT: &str = "the cat sleeps in a big house";

fn folder(name: &str) -> PathBuf {
    common::golden().join("valid").join(name)
}

fn recognizer(name: &str, variant: &str) -> Recognizer {
    let model = Model::new(folder(name)).variant(variant);
    Recognizer::open(model, BridgeOptions::default()).expect("a recognizer")
}

fn code<T>(result: Result<T, BridgeError>) -> Option<&'static str> {
    result.err().map(|error| error.code().as_str())
}

fn call(recognizer: &Recognizer, options: &RecognizeOptions) -> Result<Vec<String>, BridgeError> {
    let answers = recognizer.recognize_blocking(&[TEXT], options)?;
    Ok(answers[0].entities.iter().map(|entity| format!("{} {}", entity.text, entity.label)).collect())
}

#[test]
fn labels_are_those_of_the_call_or_of_the_artifact() {
    // By default, the processor decides which variant is opened.
    for variant in ["fp32", "int8"] {
        finds_labels_of_the_call_or_of_the_artifact(&recognizer("tiny-gliner", variant));
    }
}

fn finds_labels_of_the_call_or_of_the_artifact(model: &Recognizer) {
    let labels = |names: &[&str]| RecognizeOptions::default().labels(names.iter().copied()).threshold(0.3);
    let once = call(model, &labels(&["cat", "dog"])).expect("entities");
    assert!(!once.is_empty() && once.iter().all(|entity| entity.ends_with(" cat") || entity.ends_with(" dog")));
    assert_eq!(call(model, &labels(&["cat", "dog", "cat"])).expect("entities"), once);
    let own = call(model, &RecognizeOptions::default().threshold(0.3)).expect("entities");
    assert!(own.iter().all(|entity| entity.ends_with(" person") || entity.ends_with(" big house")));
    let nested = call(model, &labels(&["cat", "dog"]).nested(true).multi_label(true)).expect("entities");
    assert!(nested.len() > once.len());
    assert!(call(model, &labels(&["cat"]).threshold(1.0)).expect("entities").is_empty());
    model.self_test_blocking().expect("a healthy model");
}

#[test]
fn invalid_options_are_refused() {
    let model = recognizer("tiny-gliner", "auto");
    let options = RecognizeOptions::default;
    let many: Vec<String> = (0..1000).map(|number| format!("label {number}")).collect();
    for (invalid, expected) in [
        (options().labels([""; 0]), "config"),
        (options().labels(many), "config"),
        (options().labels(["long ".repeat(2000)]), "config"),
        (options().labels(["a <<ENT>> b"]), "config"),
        (options().threshold(1.01), "config"),
        (options().threshold(-0.01), "config"),
        (options().threshold(f64::NAN), "config"),
        (options().stride(24), "config"),
        (options().aggregation_strategy(AggregationStrategy::Max), "config"),
        (options().sentence_starts(vec![vec![0]]), "sentence_starts"),
    ] {
        assert_eq!(code(call(&model, &invalid)), Some(expected), "{invalid:?}");
    }
}

#[cfg(feature = "token-classification")]
#[test]
fn models_with_fixed_labels_refuse_them() {
    let model = recognizer("tiny-ner", "auto");
    let options = RecognizeOptions::default;
    for invalid in
        [options().labels(["a"]), options().threshold(0.5), options().nested(false), options().multi_label(true)]
    {
        assert_eq!(code(call(&model, &invalid)), Some("config"), "{invalid:?}");
    }
}
