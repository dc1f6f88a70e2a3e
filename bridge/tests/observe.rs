//! Tests that metrics have the expected values and labels, and that concurrent first calls load a model only once.
#![cfg(feature = "sentence-embedding")]

mod common;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;

use metrics::{
    Counter, CounterFn, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};
use onnx_ml_bridge::{BridgeOptions, EmbedOptions, Embedder, Model};

static TOTALS: OnceLock<Mutex<BTreeMap<String, u64>>> = OnceLock::new();

fn totals() -> &'static Mutex<BTreeMap<String, u64>> {
    TOTALS.get_or_init(Mutex::default)
}

/// Sums the increments of a counter, or counts the recorded values of a histogram.
struct Total(String);

impl Total {
    fn add(&self, value: u64) {
        *totals().lock().expect("not poisoned").entry(self.0.clone()).or_default() += value;
    }
}

impl CounterFn for Total {
    fn increment(&self, value: u64) {
        self.add(value);
    }
    fn absolute(&self, _: u64) {}
}

impl HistogramFn for Total {
    fn record(&self, seconds: f64) {
        assert!(seconds > 0.0);
        self.add(1);
    }
}

struct Totals;

fn total(key: &Key) -> Arc<Total> {
    let labels: Vec<String> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
    Arc::new(Total(format!("{} {}", key.name(), labels.join(" "))))
}

impl Recorder for Totals {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(total(key))
    }
    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }
    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(total(key))
    }
}

#[test]
fn requests_are_counted_and_a_model_is_loaded_once() {
    metrics::set_global_recorder(Totals).expect("the only recorder");
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
    assert_eq!(*totals().lock().expect("not poisoned"), expected);
}
