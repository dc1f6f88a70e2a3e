//! Tests that all metrics have their names, that calls have spans, and that texts are in no metric, span or log.
#![cfg(all(
    feature = "sentence-embedding",
    feature = "token-classification",
    feature = "spacy",
    feature = "summarization",
    feature = "rerank"
))]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Mutex;

use common::recorder::{Change, on_change};
use metrics::Key;
use onnx_ml_bridge::{
    BridgeOptions, CancelToken, EmbedOptions, MlBridge, OnnxMlBridge, RecognizeOptions, ReloadOptions, RerankOptions,
    SummarizeOptions, Task,
};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};

/// A word of the texts of all calls.
const CANARY: &str = "zqxcanary";
const ARTIFACTS: [&str; 5] = ["tiny-embedding", "tiny-ner", "tiny-spacy", "tiny-summary", "tiny-rerank"];
/// The metrics, as the documentation of the crate lists them.
const METRICS: [&str; 14] = [
    "errors_total",
    "items_total",
    "load_seconds",
    "loaded",
    "queue_seconds",
    "request_seconds",
    "requests_total",
    "resident_bytes",
    "run_seconds",
    "run_tokens",
    "runs_total",
    "tokens_total",
    "unloads_total",
    "waiting",
];

/// The stages of a call that have spans in every task, and those of the tasks whose answers are decoded apart.
const STAGES: [&str; 4] = ["call", "queue", "run", "tokenize"];
const DECODED: [&str; 2] = ["tiny-ner", "tiny-summary"];

/// For each metric, the sum of its values by model, and for histograms the number of values.
static VALUES: Mutex<BTreeMap<String, BTreeMap<String, f64>>> = Mutex::new(BTreeMap::new());
/// Everything that was recorded or logged.
static SEEN: Mutex<Vec<String>> = Mutex::new(Vec::new());
/// The names of the spans, with the models and the tasks.
static SPANS: Mutex<BTreeSet<(String, String, String)>> = Mutex::new(BTreeSet::new());

fn record(key: &Key, change: Change) {
    let value = match change {
        Change::Count(count) => count as f64,
        Change::Add(value) => value,
        Change::Value(value) => {
            assert!(value >= 0.0);
            1.0
        }
    };
    let label = key.labels().find(|label| label.key() == "model").expect("a model");
    let mut values = VALUES.lock().expect("not poisoned");
    *values.entry(key.name().to_owned()).or_default().entry(label.value().to_owned()).or_default() += value;
    SEEN.lock().expect("not poisoned").push(format!("{key:?}"));
}

/// The fields of a span or an event.
#[derive(Default)]
struct Fields(Vec<(String, String)>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.push((field.name().to_owned(), format!("{value:?}")));
    }
}

impl Fields {
    fn keep(self) {
        SEEN.lock().expect("not poisoned").push(format!("{:?}", self.0));
    }
}

struct Logs;

impl Subscriber for Logs {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut fields = Fields::default();
        span.record(&mut fields);
        if span.metadata().target().starts_with("onnx_ml_bridge") {
            let value = |name| fields.0.iter().find(|(field, _)| field == name).expect("a field").1.clone();
            SPANS.lock().expect("not poisoned").insert((
                span.metadata().name().to_owned(),
                value("model"),
                value("task"),
            ));
        }
        fields.keep();
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, values: &Record<'_>) {
        let mut fields = Fields::default();
        values.record(&mut fields);
        fields.keep();
    }
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        fields.keep();
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

fn builder() -> onnx_ml_bridge::Builder {
    let path = |name| common::golden().join("valid").join(name);
    let builder = ARTIFACTS.iter().fold(OnnxMlBridge::builder(), |builder, name| builder.model(path(name)));
    builder.default_model(Task::Ner, "tiny-spacy").options(BridgeOptions::default().text_limit(4096))
}

/// Makes calls of every task: with answers, with truncated texts, with a text that is too large, and cancelled.
fn call(bridge: &OnnxMlBridge) {
    let texts = [format!("the old {CANARY} by the river"), CANARY.to_owned() + &" a".repeat(1000), CANARY.repeat(500)];
    let token = CancelToken::new();
    for _ in 0..2 {
        let embedder = bridge.embedder(None).expect("an embedder");
        let options = EmbedOptions::default().cancel(token.clone());
        drop(embedder.embed_each_blocking(&texts, &options));
        drop(embedder.embed_windows_blocking(texts[0].as_str(), &options, 0).map(|mut windows| windows.pool()));
        drop(embedder.embed_blocking(&texts, &options.prompt_name(CANARY)));
        for name in ["tiny-ner", "tiny-spacy"] {
            let recognizer = bridge.recognizer(Some(name)).expect("a recognizer");
            drop(recognizer.recognize_each_blocking(&texts, &RecognizeOptions::default().cancel(token.clone())));
        }
        let summarizer = bridge.summarizer(None).expect("a summarizer");
        let inputs = texts.clone().map(|text| vec![text]);
        drop(summarizer.summarize_each_blocking(&inputs, &SummarizeOptions::default().cancel(token.clone())));
        let reranker = bridge.reranker(None).expect("a reranker");
        let options = RerankOptions::default().cancel(token.clone());
        drop(reranker.rerank_blocking(CANARY, &texts[..2], &options));
        drop(reranker.rerank_blocking(CANARY, &texts, &options));
        token.cancel();
    }
}

/// Makes the calls that log which texts were truncated.
async fn shortcuts(bridge: &OnnxMlBridge) {
    let text = format!("{CANARY}{}", " a".repeat(1000));
    bridge.generate_embedding(&text).await.expect("a vector");
    bridge.extract_entities(&text).await.expect("entities");
    bridge.summarize(vec![text.clone()]).await.expect("a summary");
    bridge.rerank(CANARY, vec![text], None).await.expect("a ranking");
}

#[tokio::test]
async fn metrics_have_their_names_and_no_text_is_recorded() {
    on_change(record);
    tracing::subscriber::set_global_default(Logs).expect("the only subscriber");
    let bridge = builder().build().expect("five models");
    call(&bridge);
    shortcuts(&bridge).await;
    bridge.reload("tiny-embedding", ReloadOptions::default()).await.expect("the same model");
    bridge.recognizer(Some("tiny-ner")).expect("a recognizer").unload();
    bridge.close().await.expect("no call runs");

    let values = VALUES.lock().expect("not poisoned").clone();
    let names: BTreeSet<String> = values.keys().cloned().collect();
    assert_eq!(names, METRICS.map(|name| format!("onnx_ml_bridge_{name}")).into_iter().collect());
    let seen = SEEN.lock().expect("not poisoned");
    assert!(seen.iter().any(|line| line.contains("texts were truncated")));
    let leaks: Vec<&String> = seen.iter().filter(|line| line.contains(CANARY)).collect();
    assert!(leaks.is_empty(), "{leaks:?}");
    let spans = SPANS.lock().expect("not poisoned").clone();
    let tasks = [Task::Embedding, Task::Ner, Task::Ner, Task::Summarization, Task::Rerank];
    let expected = ARTIFACTS.iter().zip(tasks).flat_map(|(name, task)| {
        let decoded = DECODED.contains(name).then_some("decode");
        STAGES.into_iter().chain(decoded).map(move |stage| (stage.to_owned(), (*name).to_owned(), task.to_string()))
    });
    assert_eq!(spans, expected.collect());
    for name in ARTIFACTS {
        let loads = if name == "tiny-embedding" { 2.0 } else { 1.0 };
        check_values(loads, |metric| values[&format!("onnx_ml_bridge_{metric}")][name]);
    }
}

/// Checks the values of one model after all calls, given the number of its loads and its value of a metric.
fn check_values(loads: f64, value: impl Fn(&str) -> f64) {
    assert_eq!([value("waiting"), value("loaded"), value("resident_bytes")], [0.0; 3]);
    assert!(value("runs_total") > 0.0);
    assert_eq!([value("run_seconds"), value("run_tokens")], [value("runs_total"); 2]);
    assert_eq!(value("request_seconds"), value("requests_total"));
    assert!((1.0..=value("requests_total") + value("errors_total")).contains(&value("queue_seconds")));
    // A reload, an unload and the end of the bridge each free a loaded model.
    assert_eq!([value("load_seconds"), value("unloads_total")], [loads; 2]);
}

/// The documentation of the crate lists the metrics.
#[test]
fn metrics_are_documented() {
    let text = include_str!("../src/lib.rs");
    let start = text.find("# Observability").expect("a section");
    let section = &text[start..text[start..].find("\n#!").expect("the end") + start];
    for name in METRICS {
        assert!(section.contains(&format!("`onnx_ml_bridge_{name}`")), "{name}");
    }
}
