//! Tests of the runtime with the tiny artifact, whose vectors are computed by hand.
#![cfg(feature = "sentence-embedding")]

mod common;

use std::sync::Arc;
use std::thread;

use onnx_ml_bridge::{BridgeError, EmbedOptions, MlBridge, OnnxMlBridge, OnnxMlBridgeBuilder};
use serde_json::json;
use tempfile::TempDir;

fn bridge(configure: impl Fn(OnnxMlBridgeBuilder) -> OnnxMlBridgeBuilder) -> (TempDir, OnnxMlBridge) {
    let dir = common::tiny();
    let bridge = configure(OnnxMlBridge::builder().embedding(dir.path())).build().expect("a valid artifact");
    (dir, bridge)
}

fn vectors(bridge: &OnnxMlBridge, texts: &[&str]) -> Vec<Vec<f32>> {
    bridge.embed(texts, &EmbedOptions::default()).expect("vectors").vectors
}

#[test]
fn vectors_keep_the_order_of_the_texts() {
    let (_dir, bridge) = bridge(|builder| builder);
    let answer = bridge.embed(&["a", "b a b b", "?", "a a a a a a a"], &EmbedOptions::default()).expect("vectors");
    let expected = [[0.0, 1.0, 0.0, 0.0], [0.0, 0.25, 0.75, 0.0], [1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]];
    assert_eq!(answer.vectors, expected);
    assert_eq!(answer.token_counts, [1, 4, 1, 6]);
    assert_eq!(answer.truncated, [false, false, false, true]);
    assert_eq!((answer.dim, bridge.embedding_variant()), (common::DIM, Ok("fp32")));
    assert_eq!(vectors(&bridge, &[]), Vec::<Vec<f32>>::new());
}

#[test]
fn a_text_of_exactly_max_tokens_is_not_truncated() {
    let (_dir, bridge) = bridge(|builder| builder);
    let answer =
        bridge.embed(&["a a a a a", "a a a a a a", "a a a a a a a"], &EmbedOptions::default()).expect("vectors");
    assert_eq!((answer.token_counts, answer.truncated), (vec![5, 6, 6], vec![false, false, true]));
}

#[test]
fn prompts_come_before_the_text() {
    let (_dir, bridge) = bridge(|builder| builder);
    let answer = bridge.embed(&["a"], &EmbedOptions::with_prompt("query")).expect("vectors");
    assert_eq!(answer.vectors, [[0.0, 0.5, 0.5, 0.0]]);
    let unknown = bridge.embed(&["a"], &EmbedOptions::with_prompt("nobody"));
    assert_eq!(unknown.map_err(|error| error.code()), Err("prompt_not_found"));
}

#[test]
fn one_bad_text_fails_and_the_others_are_answered() {
    let (_dir, bridge) = bridge(|builder| builder.text_limit(20));
    let long = "a".repeat(21);
    let texts = ["a", "nan", "b", &long];
    let outcomes = bridge.embed_each(&texts, &EmbedOptions::default()).expect("outcomes");
    let codes: Vec<_> = outcomes.iter().map(|outcome| outcome.as_ref().err().map(BridgeError::code)).collect();
    assert_eq!(codes, [None, Some("inference"), None, Some("input_too_large")]);
    let error = bridge.embed(&texts, &EmbedOptions::default()).expect_err("a bad text");
    assert_eq!((error.code(), error.index()), ("inference", Some(1)));
    let error = bridge.generate_embeddings_batch(&["a", &long]).expect_err("a long text");
    assert_eq!((error.code(), error.index()), ("input_too_large", Some(1)));
}

#[test]
fn a_vector_does_not_depend_on_other_texts() {
    let (_dir, bridge) = bridge(|builder| builder.sessions(2).threads(2));
    let texts: Vec<String> =
        (0..700).map(|index| ["a", "b", "a b", "b b a", "x a b a"][index % 5].to_owned()).collect();
    let together = bridge.generate_embeddings_batch(&texts).expect("vectors");
    for (text, vector) in texts.iter().zip(&together).take(20) {
        assert_eq!(&bridge.generate_embedding_blocking(text).expect("a vector"), vector);
    }
}

#[test]
fn many_threads_share_one_bridge() {
    let (_dir, bridge) = bridge(|builder| builder.sessions(2));
    let expected = vectors(&bridge, &["a b", "b"]);
    let work = |bridge: OnnxMlBridge| move || (0..50).map(|_| vectors(&bridge, &["a b", "b"])).collect::<Vec<_>>();
    let threads: Vec<_> = (0..8).map(|_| thread::spawn(work(bridge.clone()))).collect();
    bridge.unload();
    for answers in threads {
        assert!(answers.join().expect("no panic").iter().all(|answer| *answer == expected));
    }
}

#[test]
fn unusual_texts_do_not_cause_a_panic() {
    let (_dir, bridge) = bridge(|builder| builder);
    let marks = format!("a{}", "\u{301}".repeat(100_000));
    let texts = ["", " ", "\0", "\u{feff}", "\u{202e}a", &marks];
    for outcome in bridge.embed_each(&texts, &EmbedOptions::default()).expect("outcomes") {
        // The empty text has no tokens, and this model's mean over no tokens is NaN.
        assert!(outcome.is_ok() || outcome.is_err_and(|error| error.code() == "inference"));
    }
}

#[tokio::test]
async fn the_trait_is_object_safe() {
    let (_dir, bridge) = bridge(|builder| builder);
    bridge.warm_up().expect("a session");
    let object: Arc<dyn MlBridge> = Arc::new(bridge);
    assert!(object.health_check().await);
    assert_eq!(object.get_embedding_model_name().await, Ok("tiny".to_owned()));
    assert_eq!(object.generate_embedding("a").await, Ok(vec![0.0, 1.0, 0.0, 0.0]));
    assert_eq!(object.generate_embeddings(&["b".to_owned()]).await, Ok(vec![vec![0.0, 0.0, 1.0, 0.0]]));
    let code = |error: BridgeError| error.code();
    assert_eq!(object.extract_entities("a").await.map_err(code), Err("task_not_loaded"));
    assert_eq!(object.summarize(&[]).await.map_err(code), Err("task_not_loaded"));
}

#[test]
fn a_graph_that_onnx_runtime_refuses_fails_at_the_first_call() {
    let dir = common::tiny();
    let mut bad = common::model(common::part(9, common::table()));
    let offset = bad.windows(6).position(|window| window == b"Gather").expect("a Gather");
    bad[offset..offset + 6].copy_from_slice(b"Gothic");
    common::write(dir.path(), "onnx/model.onnx", &bad);
    common::seal(dir.path(), common::manifest());
    let bridge = OnnxMlBridge::open_embedding(dir.path()).expect("nothing is loaded yet");
    assert_eq!(bridge.warm_up().map_err(|error| error.code()), Err("graph"));
    assert_eq!(bridge.generate_embedding_blocking("a").map_err(|error| error.code()), Err("graph"));
    assert!(!bridge.health_check_blocking());
}

#[test]
fn invalid_options_are_refused() {
    let dir = common::tiny();
    let code = |builder: OnnxMlBridgeBuilder| builder.build().map(|_| ()).map_err(|error| error.code());
    assert_eq!(code(OnnxMlBridge::builder()), Err("config"));
    assert_eq!(code(OnnxMlBridge::builder().embedding(dir.path()).threads(0)), Err("config"));
    assert_eq!(code(OnnxMlBridge::builder().embedding(dir.path()).variant("int4")), Err("variant"));
}

#[test]
fn the_manifest_sets_the_truncation_side_and_the_default_prompt() {
    let dir = common::tiny();
    let mut manifest = common::manifest();
    manifest["tokenizer"]["truncation_side"] = json!("left");
    manifest["embedding"]["default_prompt"] = json!("query");
    common::seal(dir.path(), manifest);
    let bridge = OnnxMlBridge::open_embedding(dir.path()).expect("a valid artifact");
    let vectors = vectors(&bridge, &["a", "a a a", "a a a a a a"]);
    // The last text is truncated on the left, which removes the prompt.
    assert_eq!(vectors, [[0.0, 0.5, 0.5, 0.0], [0.0, 0.75, 0.25, 0.0], [0.0, 1.0, 0.0, 0.0]]);
}
