//! Tests that metrics have the expected values and labels, and that concurrent first calls load a model only once.
#![cfg(feature = "sentence-embedding")]

mod common;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::thread;

use common::recorder::{Change, on_change};
use metrics::Key;
use onnx_ml_bridge::{BridgeOptions, EmbedOptions, Embedder, Model};

static TOTALS: Mutex<BTreeMap<String, u64>> = Mutex::new(BTreeMap::new());

/// Sums the increments of counters, and counts the values of histograms.
fn record(key: &Key, change: Change) {
    let value = match change {
        Change::Count(count) => count,
        Change::Add(_) => return,
        Change::Value(seconds) => {
            assert!(seconds > 0.0);
            1
        }
    };
    let labels: Vec<String> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
    let sample = format!("{} {}", key.name(), labels.join(" "));
    *TOTALS.lock().expect("not poisoned").entry(sample).or_default() += value;
}

#[test]
fn requests_are_counted_and_a_model_is_loaded_once() {
    on_change(record);
    let dir = common::tiny();
    let embedder =
        Embedder::open(Model::new(dir.path()).merge(false), BridgeOptions::default()).expect("a valid artifact");
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| embedder.embed_each_blocking(&["a b", "nan"], &EmbedOptions::default()).expect("outcomes"));
        }
    });
    embedder.embed_blocking(&["a"], &EmbedOptions::default().prompt_name("nobody")).expect_err("no such prompt");
    let expected = [
        ("onnx_ml_bridge_errors_total model=tiny version=1 code=inference", 8),
        ("onnx_ml_bridge_errors_total model=tiny version=1 code=prompt_not_found", 1),
        ("onnx_ml_bridge_items_total model=tiny version=1", 16),
        ("onnx_ml_bridge_load_seconds model=tiny version=1", 1),
        ("onnx_ml_bridge_queue_seconds model=tiny version=1", 8),
        ("onnx_ml_bridge_request_seconds model=tiny version=1", 8),
        ("onnx_ml_bridge_requests_total model=tiny version=1", 8),
        ("onnx_ml_bridge_run_seconds model=tiny version=1", 8),
        ("onnx_ml_bridge_run_tokens model=tiny version=1", 8),
        // Without merging, each of the 8 calls needs one run: a vector that is not finite does not fail the run.
        ("onnx_ml_bridge_runs_total model=tiny version=1", 8),
        ("onnx_ml_bridge_tokens_total model=tiny version=1", 16),
    ];
    let expected: BTreeMap<String, u64> = expected.iter().map(|(name, total)| ((*name).to_owned(), *total)).collect();
    assert_eq!(*TOTALS.lock().expect("not poisoned"), expected);
}
