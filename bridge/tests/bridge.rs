//! Tests of bridges with several models, opened from paths and from bridge.toml.
#![cfg(all(
    feature = "sentence-embedding",
    feature = "token-classification",
    feature = "spacy",
    feature = "summarization",
    feature = "rerank"
))]

mod common;

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use onnx_ml_bridge::{
    BridgeError, BridgeOptions, EmbedOptions, Embedder, Embeddings, Entities, MlBridge, Model, OnnxMlBridge,
    RecognizeOptions, Recognizer, RerankOptions, Reranker, SummarizeOptions, Summarizer, Summary, Task, open_bridge,
};

const TEXTS: [&str; 4] = ["the old mill by the river", "Ann lives in Oslo", "a cat", "the dog runs in a red house"];

fn valid(name: &str) -> PathBuf {
    common::golden().join("valid").join(name)
}

fn code<T>(result: Result<T, BridgeError>) -> Option<&'static str> {
    result.err().map(|error| error.code().as_str())
}

fn embed(embedder: &Embedder) -> Embeddings {
    embedder.embed_blocking(&TEXTS, &EmbedOptions::default()).expect("vectors")
}

fn recognize(recognizer: &Recognizer) -> Vec<Entities> {
    recognizer.recognize_blocking(&TEXTS, &RecognizeOptions::default()).expect("entities")
}

fn summarize(summarizer: &Summarizer) -> Vec<Summary> {
    let inputs = TEXTS.map(|text| vec![text.to_owned()]);
    summarizer.summarize_blocking(&inputs, &SummarizeOptions::default()).expect("summaries")
}

#[test]
fn every_bridge_toml_is_opened_or_refused_with_its_code() {
    let folder = common::golden().join("bridge_toml");
    let cases = fs::read_to_string(folder.join("cases.json")).expect("cases");
    let expected: BTreeMap<String, Option<String>> = serde_json::from_str(&cases).expect("codes by file");
    assert!(expected.values().flatten().count() >= 20 && expected.values().filter(|code| code.is_none()).count() >= 5);
    let read = |file: &String| code(open_bridge(folder.join(file))).map(str::to_owned);
    let actual: BTreeMap<String, Option<String>> = expected.keys().map(|file| (file.clone(), read(file))).collect();
    assert_eq!(actual, expected);
    let files = fs::read_dir(&folder).expect("a folder").map(|entry| entry.expect("an entry").file_name());
    let unlisted = files.filter(|file| !expected.contains_key(&*file.to_string_lossy()));
    assert_eq!(unlisted.collect::<Vec<_>>(), ["cases.json"]);
}

#[test]
fn all_problems_of_a_bridge_toml_are_in_one_error() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let text = "[bridge]\nthreads = 0\ndefaults = { ner = \"b\" }\n\n[models.a]\nprecision = 1.0\npath = 2026-01-31\n";
    fs::write(dir.path().join("bridge.toml"), text).expect("a file");
    let message = open_bridge(dir.path().join("bridge.toml")).err().expect("problems").to_string();
    for part in ["bridge.threads", "bridge.defaults.ner", "models.a", "precision", "2026-01-31"] {
        assert!(message.contains(part), "{part}: {message}");
    }
}

#[test]
fn causes_are_kept() {
    let folder = common::golden().join("bridge_toml");
    let missing = open_bridge(folder.join("no-such-file.toml")).err().expect("no file");
    let cause = missing.source().and_then(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind);
    assert_eq!((cause, missing.is_retryable()), (Some(io::ErrorKind::NotFound), true));
    let twice = open_bridge(folder.join("duplicate-key.toml")).err().expect("a duplicate key");
    assert!(twice.source().is_some() && !twice.is_retryable(), "{twice:?}");
    assert_eq!(twice.clone(), twice);
}

/// Two embedding models, two models for named entities and a summarizer answer as each of them answers alone.
#[test]
fn five_models_answer_as_each_of_them_alone() {
    let models = || {
        [
            Model::new(valid("tiny-embedding")).name("small").variant("int8"),
            Model::new(valid("tiny-embedding")).name("exact").variant("fp32"),
            Model::new(valid("tiny-spacy")).name("pipeline"),
            Model::new(valid("tiny-ner")).name("classifier").variant("fp32"),
            Model::new(valid("tiny-summary")).name("summarizer").variant("fp32"),
        ]
    };
    let builder = models().into_iter().fold(OnnxMlBridge::builder(), |builder, model| builder.model(model));
    let builder = builder.default_model(Task::Embedding, "small").default_model(Task::Ner, "pipeline");
    let from_paths: Arc<dyn MlBridge> = Arc::new(builder.build().expect("five models"));
    let from_file = open_bridge(common::golden().join("bridge_toml/valid-five-models.toml")).expect("five models");
    let [small, exact, pipeline, classifier, summarizer] = models();
    let options = BridgeOptions::default;
    let alone = |model: Model| embed(&Embedder::open(model, options()).expect("a model"));
    let (small, exact) = (alone(small), alone(exact));
    assert_ne!(small.vectors, exact.vectors);
    let alone = |model: Model| recognize(&Recognizer::open(model, options()).expect("a model"));
    let (pipeline, classifier) = (alone(pipeline), alone(classifier));
    let summaries = summarize(&Summarizer::open(summarizer, options()).expect("a model"));
    for bridge in [from_paths, from_file] {
        bridge.warm_up_blocking().expect("sessions");
        assert_eq!(bridge.models().len(), 5);
        let embedder = |name| bridge.embedder(name).expect("an embedder");
        assert_eq!(embed(&embedder(Some("exact"))), exact);
        assert_eq!((embed(&embedder(Some("small"))), embed(&embedder(None))), (small.clone(), small.clone()));
        let recognizer = |name| bridge.recognizer(name).expect("a recognizer");
        assert_eq!(recognize(&recognizer(Some("classifier"))), classifier);
        assert_eq!(recognize(&recognizer(Some("pipeline"))), pipeline);
        assert_eq!(recognize(&recognizer(None)), pipeline);
        assert_eq!(summarize(&bridge.summarizer(None).expect("a summarizer")), summaries);
        bridge.unload();
        assert_eq!(bridge.self_test_blocking(), Ok(()));
        assert!(bridge.health_check_blocking());
    }
}

#[test]
fn models_are_chosen_by_name_and_task() {
    let builder = OnnxMlBridge::builder().model(valid("tiny-embedding"));
    let two = builder.model(Model::new(valid("tiny-embedding")).name("b")).model(valid("tiny-ner")).build();
    let two = two.expect("three models");
    let infos: Vec<(String, Task)> = two.models().into_iter().map(|info| (info.name, info.task)).collect();
    let expected = [("tiny-embedding", Task::Embedding), ("b", Task::Embedding), ("tiny-ner", Task::Ner)];
    assert_eq!(infos, expected.map(|(name, task)| (name.to_owned(), task)));
    assert_eq!(code(two.embedder(None)), Some("model_not_found"));
    assert_eq!(code(two.embedder(Some("c"))), Some("model_not_found"));
    assert_eq!(code(two.embedder(Some("tiny-ner"))), Some("model_not_found"));
    assert_eq!(code(two.summarizer(Some("b"))), Some("task_not_loaded"));
    assert_eq!(code(two.reranker(None)), Some("task_not_loaded"));
    assert_eq!(two.embedder(Some("b")).expect("an embedder").info().name, "b");
    assert_eq!(two.recognizer(None).expect("a recognizer").info().name, "tiny-ner");
}

#[test]
fn wrong_builders_are_refused() {
    let builder = || OnnxMlBridge::builder().model(valid("tiny-embedding"));
    assert_eq!(code(OnnxMlBridge::builder().build()), Some("config"));
    assert_eq!(code(builder().model(valid("tiny-embedding")).build()), Some("config"));
    // Names are unique over all tasks.
    assert_eq!(code(builder().model(Model::new(valid("tiny-ner")).name("tiny-embedding")).build()), Some("config"));
    assert_eq!(code(builder().default_model(Task::Embedding, "x").build()), Some("config"));
    assert_eq!(code(builder().default_model(Task::Ner, "tiny-embedding").build()), Some("config"));
    assert_eq!(code(builder().model(Model::new(valid("tiny-ner")).name("")).build()), Some("config"));
    assert_eq!(code(builder().model(Model::new(valid("tiny-ner")).device("tpu")).build()), Some("config"));
    assert_eq!(code(builder().model(Model::new(valid("tiny-ner")).timeout(Duration::ZERO)).build()), Some("config"));
    assert_eq!(code(builder().options(BridgeOptions::default().beam_limit(0)).build()), Some("config"));
    assert_eq!(code(builder().model(valid("no-such-artifact")).build()), Some("path_kind"));
}

#[test]
fn the_description_of_a_model_is_that_of_its_artifact() {
    let reranker = Reranker::open(Model::new(valid("tiny-rerank")).name("x").variant("int8"), BridgeOptions::default());
    let reranker = reranker.expect("a reranker");
    let info = reranker.info();
    let named = (info.name.as_str(), info.task, info.engine.as_str(), info.variant.as_str());
    assert_eq!(named, ("x", Task::Rerank, "transformers", "int8"));
    let manifest = fs::read(valid("tiny-rerank/manifest.json")).expect("a manifest");
    assert_eq!(info.identity, common::sha256(&manifest));
    assert_eq!(info.path, fs::canonicalize(valid("tiny-rerank")).expect("a path"));
    assert_eq!(reranker.rerank_blocking("a", &["b"], &RerankOptions::default()).map(|ranking| ranking.len()), Ok(1));
}

/// A bridge with a single method, as applications and tests write it.
struct Empty;

impl MlBridge for Empty {
    fn models(&self) -> Vec<onnx_ml_bridge::ModelInfo> {
        Vec::new()
    }
}

#[tokio::test]
async fn a_bridge_needs_only_its_models() {
    let bridge: Arc<dyn MlBridge> = Arc::new(Empty);
    assert_eq!(code(bridge.generate_embedding("a").await), Some("task_not_loaded"));
    // A bridge without models answers no call.
    assert!(!bridge.health_check().await && !bridge.health_check_blocking());
    assert_eq!((bridge.self_test().await, bridge.self_test_blocking()), (Ok(()), Ok(())));
    assert_eq!((bridge.warm_up().await, bridge.warm_up_blocking()), (Ok(()), Ok(())));
    bridge.unload();
}

#[test]
fn handles_can_be_sent_and_shared() {
    fn check<T: Clone + Send + Sync + std::fmt::Debug>() {}
    check::<Embedder>();
    check::<Recognizer>();
    check::<Summarizer>();
    check::<Reranker>();
    check::<OnnxMlBridge>();
}
