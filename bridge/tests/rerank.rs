//! Tests of rankings with the small reranker of tests/golden, which the Python tests use as well.
#![cfg(feature = "rerank")]

mod common;

use std::path::PathBuf;

use onnx_ml_bridge::{BridgeError, BridgeOptions, MlBridge, Model, OnnxMlBridge, Ranked, RerankOptions, Reranker};

const QUERY: &str = "a cat";
const DOCUMENTS: [&str; 5] =
    ["the dog runs", "a red house", "a cat sleeps", "", "the big cat sings and runs in a tree"];

fn artifact() -> PathBuf {
    common::golden().join("valid/tiny-rerank")
}

fn open(variant: &str, options: BridgeOptions) -> Reranker {
    Reranker::open(Model::new(artifact()).variant(variant), options).expect("a valid artifact")
}

fn auto() -> Reranker {
    open("auto", BridgeOptions::default())
}

fn rank(reranker: &Reranker, documents: &[&str], top_k: Option<usize>) -> Result<Vec<Ranked>, BridgeError> {
    let options = top_k.map_or_else(RerankOptions::default, |top_k| RerankOptions::default().top_k(top_k));
    reranker.rerank_blocking(QUERY, documents, &options)
}

fn code<T>(result: Result<T, BridgeError>) -> Option<(&'static str, Option<usize>)> {
    result.err().map(|error| (error.code().as_str(), error.index()))
}

#[test]
fn documents_are_ranked_by_descending_score() {
    for variant in ["fp32", "int8"] {
        let reranker = open(variant, BridgeOptions::default());
        assert_eq!(reranker.info().variant, variant);
        let ranked = rank(&reranker, &DOCUMENTS, None).expect("a ranking");
        assert!(ranked.windows(2).all(|pair| pair[0].score >= pair[1].score));
        let mut indices: Vec<usize> = ranked.iter().map(|document| document.index).collect();
        indices.sort_unstable();
        assert_eq!(indices, [0, 1, 2, 3, 4]);
        assert!(ranked.iter().all(|document| document.score > 0.0 && document.score < 1.0 && !document.truncated));
        assert_eq!(rank(&reranker, &DOCUMENTS, Some(2)), Ok(ranked[..2].to_vec()));
        assert_eq!(rank(&reranker, &DOCUMENTS, Some(9)), Ok(ranked));
    }
}

#[test]
fn equal_documents_keep_their_order() {
    let ranked = rank(&auto(), &["a cat"; 7], None).expect("a ranking");
    assert_eq!(ranked.iter().map(|document| document.index).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5, 6]);
}

/// A pair has the same score alone and in a run with longer documents. The activations of int8 have one scale per row,
/// so that padding has no effect.
#[test]
fn the_score_of_a_pair_does_not_depend_on_its_batch() {
    let texts: Vec<String> = (0..40).map(|words| "the big cat runs ".repeat(words % 13)).collect();
    let documents: Vec<&str> = texts.iter().map(String::as_str).collect();
    for variant in ["fp32", "int8"] {
        let reranker = open(variant, BridgeOptions::default());
        for document in rank(&reranker, &documents, None).expect("a ranking") {
            let alone = rank(&reranker, &[documents[document.index]], None).expect("a ranking")[0];
            assert!((alone.score - document.score).abs() <= 1e-6, "{variant}: {document:?}");
            assert_eq!(alone.truncated, document.truncated);
        }
    }
}

#[test]
fn long_texts_are_truncated() {
    let (reranker, long) = (auto(), "a cat ".repeat(1000));
    let ranked = rank(&reranker, &[&long, "a cat"], None).expect("a ranking");
    assert!(ranked.iter().all(|document| document.truncated == (document.index == 0)));
    let of_long_query = reranker.rerank_blocking(&long, &["a cat"], &RerankOptions::default()).expect("a ranking");
    assert!(of_long_query[0].truncated);
}

#[test]
fn wrong_calls_have_their_codes() {
    let reranker = open("auto", BridgeOptions::default().text_limit(20));
    assert_eq!(rank(&reranker, &[], None), Ok(vec![]));
    assert_eq!(code(rank(&reranker, &DOCUMENTS[..1], Some(0))), Some(("config", None)));
    let large = "x".repeat(21);
    assert_eq!(code(rank(&reranker, &["a", &large], None)), Some(("input_too_large", Some(1))));
    let query = reranker.rerank_blocking(&large, &["a"], &RerankOptions::default());
    assert_eq!(code(query), Some(("input_too_large", None)));
}

#[tokio::test]
async fn the_trait_ranks_documents() {
    let bridge: Box<dyn MlBridge> = Box::new(OnnxMlBridge::builder().model(artifact()).build().expect("valid"));
    assert!(bridge.health_check().await);
    assert_eq!(code(bridge.generate_embedding("a").await), Some(("task_not_loaded", None)));
    let documents = || DOCUMENTS.map(str::to_owned).to_vec();
    let ranked = bridge.rerank(QUERY, documents(), Some(2)).await.expect("a ranking");
    assert_eq!(ranked.len(), 2);
    assert_eq!(bridge.rerank(QUERY, documents(), None).await.expect("a ranking")[..2], ranked);
}
