//! Tests of the runtime with the tiny artifact, whose vectors are computed by hand.
#![cfg(feature = "sentence-embedding")]

mod common;

use std::error::Error;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use onnx_ml_bridge::{
    BridgeError, BridgeOptions, CancelToken, EmbedOptions, Embedder, Embeddings, ErrorCode, MlBridge, Model, ModelInfo,
    OnnxMlBridge,
};
use serde_json::json;
use tempfile::TempDir;

fn open(options: BridgeOptions) -> (TempDir, Embedder) {
    let dir = common::tiny();
    let embedder = Embedder::open(dir.path(), options).expect("a valid artifact");
    (dir, embedder)
}

fn with_two_workers() -> (TempDir, Embedder) {
    let dir = common::tiny();
    let model = Model::new(dir.path()).workers(2);
    let embedder = Embedder::open(model, BridgeOptions::default().threads(2)).expect("a valid artifact");
    (dir, embedder)
}

fn vectors(embedder: &Embedder, texts: &[impl AsRef<str>]) -> Vec<Vec<f32>> {
    embedder.embed_blocking(texts, &EmbedOptions::default()).expect("vectors").vectors
}

fn code<T>(result: Result<T, BridgeError>) -> Option<&'static str> {
    result.err().map(|error| error.code().as_str())
}

#[test]
fn vectors_keep_the_order_of_the_texts() {
    let (_dir, embedder) = open(BridgeOptions::default());
    let answer =
        embedder.embed_blocking(&["a", "b a b b", "?", "a a a a a a a"], &EmbedOptions::default()).expect("vectors");
    let expected = [[0.0, 1.0, 0.0, 0.0], [0.0, 0.25, 0.75, 0.0], [1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]];
    assert_eq!(answer.vectors, expected);
    assert_eq!(answer.token_counts, Some(vec![1, 4, 1, 6]));
    assert_eq!(answer.truncated, [false, false, false, true]);
    assert_eq!((answer.dim, embedder.info().variant.as_str()), (common::DIM, "fp32"));
    assert_eq!(vectors(&embedder, &[""; 0]), Vec::<Vec<f32>>::new());
}

#[test]
fn a_text_of_exactly_max_tokens_is_not_truncated() {
    let (_dir, embedder) = open(BridgeOptions::default());
    let answer = embedder
        .embed_blocking(&["a a a a a", "a a a a a a", "a a a a a a a"], &EmbedOptions::default())
        .expect("vectors");
    assert_eq!((answer.token_counts, answer.truncated), (Some(vec![5, 6, 6]), vec![false, false, true]));
}

#[test]
fn prompts_come_before_the_text() {
    let (_dir, embedder) = open(BridgeOptions::default());
    let answer = embedder.embed_blocking(&["a"], &EmbedOptions::default().prompt_name("query")).expect("vectors");
    assert_eq!(answer.vectors, [[0.0, 0.5, 0.5, 0.0]]);
    let unknown = embedder.embed_blocking(&["a"], &EmbedOptions::default().prompt_name("nobody"));
    assert_eq!(unknown.map_err(|error| error.code().as_str()), Err("prompt_not_found"));
}

#[test]
fn one_bad_text_fails_and_the_others_are_answered() {
    let (_dir, embedder) = open(BridgeOptions::default().text_limit(20));
    let long = "a".repeat(21);
    let texts = ["a", "nan", "b", &long];
    let outcomes = embedder.embed_each_blocking(&texts, &EmbedOptions::default()).expect("outcomes");
    let codes: Vec<_> =
        outcomes.iter().map(|outcome| outcome.as_ref().err().map(|error| error.code().as_str())).collect();
    assert_eq!(codes, [None, Some("inference"), None, Some("input_too_large")]);
    let error = embedder.embed_blocking(&texts, &EmbedOptions::default()).expect_err("a bad text");
    assert_eq!((error.code().as_str(), error.index()), ("inference", Some(1)));
    let error = embedder.embed_blocking(&["a", &long], &EmbedOptions::default()).expect_err("a long text");
    assert_eq!((error.code().as_str(), error.index()), ("input_too_large", Some(1)));
}

#[test]
fn a_vector_does_not_depend_on_other_texts() {
    let (_dir, embedder) = with_two_workers();
    let texts: Vec<String> =
        (0..700).map(|index| ["a", "b", "a b", "b b a", "x a b a"][index % 5].to_owned()).collect();
    let together = vectors(&embedder, &texts);
    for (text, vector) in texts.iter().zip(&together).take(20) {
        assert_eq!(&vectors(&embedder, &[text])[0], vector);
    }
}

#[test]
fn many_threads_share_one_model() {
    let (_dir, embedder) = with_two_workers();
    let expected = vectors(&embedder, &["a b", "b"]);
    let work = |embedder: Embedder| move || (0..50).map(|_| vectors(&embedder, &["a b", "b"])).collect::<Vec<_>>();
    let threads: Vec<_> = (0..8).map(|_| thread::spawn(work(embedder.clone()))).collect();
    embedder.unload();
    for answers in threads {
        assert!(answers.join().expect("no panic").iter().all(|answer| *answer == expected));
    }
}

#[test]
fn unusual_texts_do_not_cause_a_panic() {
    let (_dir, embedder) = open(BridgeOptions::default());
    let marks = format!("a{}", "\u{301}".repeat(100_000));
    let texts = ["", " ", "\0", "\u{feff}", "\u{202e}a", &marks];
    for outcome in embedder.embed_each_blocking(&texts, &EmbedOptions::default()).expect("outcomes") {
        // The empty text has no tokens, and this model's mean over no tokens is NaN.
        assert!(outcome.is_ok() || outcome.is_err_and(|error| error.code() == ErrorCode::Inference));
    }
}

#[tokio::test]
async fn the_trait_is_object_safe() {
    let dir = common::tiny();
    let bridge = OnnxMlBridge::builder().model(dir.path()).build_async().await.expect("a valid artifact");
    let object: Arc<dyn MlBridge> = Arc::new(bridge);
    object.warm_up().await.expect("a session");
    assert!(object.health_check().await);
    assert_eq!(object.get_embedding_model_name().await, Ok("tiny".to_owned()));
    assert_eq!(object.generate_embedding("a").await, Ok(vec![0.0, 1.0, 0.0, 0.0]));
    assert_eq!(object.generate_embeddings_batch(vec!["b".to_owned()]).await, Ok(vec![vec![0.0, 0.0, 1.0, 0.0]]));
    assert_eq!(code(object.extract_entities("a").await), Some("task_not_loaded"));
    assert_eq!(code(object.summarize(vec![]).await), Some("task_not_loaded"));
    assert_eq!(code(object.rerank("a", vec![], None).await), Some("task_not_loaded"));
}

#[test]
fn asynchronous_calls_need_a_runtime() {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    let (_dir, embedder) = open(BridgeOptions::default());
    let mut call = pin!(embedder.embed(vec!["a".to_owned()], EmbedOptions::default()));
    let Poll::Ready(answer) = call.as_mut().poll(&mut Context::from_waker(Waker::noop())) else {
        panic!("a call without a runtime does not wait")
    };
    assert_eq!(code(answer), Some("config"));
}

#[test]
fn a_graph_that_onnx_runtime_refuses_fails_at_the_first_call() {
    let dir = common::tiny();
    let mut bad = common::model(common::part(9, common::table()));
    let offset = bad.windows(6).position(|window| window == b"Gather").expect("a Gather");
    bad[offset..offset + 6].copy_from_slice(b"Gothic");
    common::write(dir.path(), "onnx/model.onnx", &bad);
    common::seal(dir.path(), common::manifest());
    let embedder = Embedder::open(dir.path(), BridgeOptions::default()).expect("nothing is loaded yet");
    assert_eq!(code(embedder.warm_up_blocking()), Some("graph"));
    assert_eq!(code(embedder.embed_blocking(&["a"], &EmbedOptions::default())), Some("graph"));
    let error = embedder.self_test_blocking().expect_err("a refused graph");
    assert!(error.source().is_some_and(|cause| cause.is::<onnx_ml_bridge::ort::Error>()), "{error:?}");
}

#[test]
fn invalid_options_are_refused() {
    let dir = common::tiny();
    let open = |model: Model, options| code(Embedder::open(model, options));
    assert_eq!(open(dir.path().into(), BridgeOptions::default().threads(0)), Some("config"));
    assert_eq!(open(Model::new(dir.path()).device("tpu"), BridgeOptions::default()), Some("config"));
    // Of the devices, tests may have cuda or openvino, but not this one.
    assert_eq!(open(Model::new(dir.path()).device("cpu,migraphx:1"), BridgeOptions::default()), Some("device"));
    assert_eq!(open(Model::new(dir.path()).variant("int4"), BridgeOptions::default()), Some("variant"));
    let (_dir, embedder) = self::open(BridgeOptions::default());
    let zero = EmbedOptions::default().timeout(Duration::ZERO);
    assert_eq!(code(embedder.embed_blocking(&["a"], &zero)), Some("config"));
}

#[test]
fn models_report_their_devices_and_providers() {
    let (dir, one) = open(BridgeOptions::default());
    let model = Model::new(dir.path()).device("cpu,cpu");
    let two = Embedder::open(model, BridgeOptions::default()).expect("a valid artifact");
    assert_eq!((one.info().device.as_str(), two.info().device.as_str()), ("cpu", "cpu,cpu"));
    assert!(two.info().providers.counts().is_empty());
    let texts: Vec<String> = (0..700).map(|index| ["a", "b", "a b", "b b a"][index % 4].to_owned()).collect();
    assert_eq!(vectors(&two, &texts), vectors(&one, &texts));
    assert_eq!(two.info().providers.counts(), [("CPUExecutionProvider".to_owned(), None)].into());
}

/// Options and results are the same values in JSON; tokens for cancellation are omitted.
#[test]
fn options_and_results_are_json() {
    let options = EmbedOptions::default().prompt_name("query").dimensions(64).timeout(Duration::from_millis(250));
    let options = options.cancel(CancelToken::new());
    let json = json!({"prompt_name": "query", "dimensions": 64, "timeout": 0.25});
    assert_eq!(serde_json::to_value(&options).expect("JSON"), json);
    let read: EmbedOptions = serde_json::from_value(json).expect("options");
    assert_eq!((read.dimensions, read.timeout), (options.dimensions, options.timeout));
    assert_eq!(read.prompt_name, options.prompt_name);
    assert!(serde_json::from_value::<EmbedOptions>(json!({"prompt": "query"})).is_err());
    let (_dir, embedder) = open(BridgeOptions::default());
    let answer = embedder.embed_blocking(&["a b"], &EmbedOptions::default()).expect("vectors");
    let read: Embeddings = serde_json::from_value(serde_json::to_value(&answer).expect("JSON")).expect("vectors");
    assert_eq!(read, answer);
    let info: ModelInfo =
        serde_json::from_value(serde_json::to_value(embedder.info()).expect("JSON")).expect("a description");
    assert_eq!(info, embedder.info());
}

#[test]
fn the_manifest_sets_the_truncation_side_and_the_default_prompt() {
    let dir = common::tiny();
    let mut manifest = common::manifest();
    manifest["tokenizer"]["truncation_side"] = json!("left");
    manifest["embedding"]["default_prompt"] = json!("query");
    common::seal(dir.path(), manifest);
    let embedder = Embedder::open(dir.path(), BridgeOptions::default()).expect("a valid artifact");
    let vectors = vectors(&embedder, &["a", "a a a", "a a a a a a"]);
    // The last text is truncated on the left, which removes the prompt.
    assert_eq!(vectors, [[0.0, 0.5, 0.5, 0.0], [0.0, 0.75, 0.25, 0.0], [0.0, 1.0, 0.0, 0.0]]);
}
