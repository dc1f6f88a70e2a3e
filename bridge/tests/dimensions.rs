//! Shorter vectors and static embeddings: the answers are those of Python, and other dimensions are refused.

#![cfg(feature = "sentence-embedding")]

mod common;

use std::fs;

use onnx_ml_bridge::{BridgeOptions, EmbedOptions, Embedder, Model};
use serde::Deserialize;

fn open(name: &str) -> Embedder {
    let model = Model::new(common::golden().join("valid").join(name)).variant("fp32");
    Embedder::open(model, BridgeOptions::default()).expect("an artifact")
}

fn close(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6)
}

/// An answer of Python with the option `dimensions`.
#[derive(Deserialize)]
struct Case {
    text: String,
    prompt_name: Option<String>,
    dimensions: usize,
    vector: Vec<f32>,
    pooled: Vec<f32>,
}

#[test]
fn vectors_and_pooled_windows_are_equal_to_those_of_python() {
    let file = fs::read(common::golden().join("embedding-dimensions.json")).expect("Python's answers");
    let cases: Vec<Case> = serde_json::from_slice(&file).expect("JSON");
    assert!(cases.len() > 20);
    let embedder = open("tiny-matryoshka");
    for case in cases {
        let options = EmbedOptions::default().dimensions(case.dimensions);
        let options = match &case.prompt_name {
            Some(name) => options.prompt_name(name),
            None => options,
        };
        let answer = embedder.embed_blocking(&[&case.text], &options).expect("a vector");
        assert!(close(&answer.vectors[0], &case.vector), "{:?}, expected {:?}", answer.vectors, case.vector);
        assert_eq!(answer.dim, case.dimensions);
        let mut windows = embedder.embed_windows_blocking(case.text.as_str(), &options, 3).expect("windows");
        let pooled = windows.pool().expect("a vector");
        assert!(close(&pooled, &case.pooled), "{pooled:?}, expected {:?}", case.pooled);
    }
}

#[test]
fn every_call_refuses_dimensions_that_are_not_listed() {
    for (embedder, asked) in [(open("tiny-matryoshka"), 5), (open("tiny-matryoshka"), 16), (open("tiny-embedding"), 8)]
    {
        let options = EmbedOptions::default().dimensions(asked);
        let codes = [
            embedder.embed_blocking(&["cat"], &options).map(|_| ()),
            embedder.embed_each_blocking(&["cat"], &options).map(|_| ()),
            embedder.embed_windows_blocking("cat", &options, 0).map(|_| ()),
        ];
        for refused in codes {
            let error = refused.expect_err("not listed");
            assert_eq!(error.code().as_str(), "config");
            assert!(error.to_string().contains("dimensions"), "{error}");
        }
    }
}

#[test]
fn static_embeddings_of_texts_without_tokens_are_zero_alone_and_in_a_batch() {
    let embedder = open("tiny-static");
    let texts = ["", " \n", "the cat"];
    let together = embedder.embed_blocking(&texts, &EmbedOptions::default()).expect("vectors");
    assert_eq!(together.token_counts, Some(vec![0, 0, 2]));
    for (text, vector) in texts.iter().zip(&together.vectors) {
        let alone = embedder.embed_blocking(&[text], &EmbedOptions::default()).expect("a vector");
        assert!(close(&alone.vectors[0], vector), "{text:?}");
        assert_eq!(vector.iter().all(|value| *value == 0.0), text.trim().is_empty(), "{text:?}");
    }
    let long = "the cat sings ".repeat(5000);
    let answer = embedder.embed_blocking(&[&long], &EmbedOptions::default()).expect("a vector");
    assert_eq!((answer.token_counts, answer.truncated[0]), (Some(vec![15_000]), false));
}
