//! Tests of what only models of servers and chains count.
#![cfg(feature = "openai")]

mod common;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::api::messages;
use common::faulty::Faulty;
use common::recorder::{Change, on_change};
use metrics::Key;
use onnx_ml_bridge::{
    ApiModel, ApiServer, CompositeMlBridge, MlBridge, OpenAiMlBridge, RecognizeOptions, SummarizeOptions,
};

/// The counters by their names and labels, as Prometheus writes them.
static TOTALS: Mutex<BTreeMap<String, u64>> = Mutex::new(BTreeMap::new());

fn record(key: &Key, change: Change) {
    let Change::Count(count) = change else { return };
    let mut labels: Vec<String> = key.labels().map(|label| format!("{}={:?}", label.key(), label.value())).collect();
    labels.sort();
    let sample = format!("{}{{{}}}", key.name(), labels.join(","));
    *TOTALS.lock().expect("a lock").entry(sample).or_default() += count;
}

fn member(server: &Faulty, name: &str) -> Arc<dyn MlBridge> {
    let settings = ApiServer::new(server.url()).max_attempts(2).max_backoff(Duration::from_millis(10));
    let builder = OpenAiMlBridge::builder().summarization(ApiModel::new("m")).ner(ApiModel::new("m"));
    Arc::new(builder.server(settings).name(name).build().expect("a bridge"))
}

/// The names and labels are those of the test of Python's scrape.
#[test]
fn requests_sent_again_fallbacks_and_dropped_entities_are_counted() {
    on_change(record);
    let servers = [Faulty::start(), Faulty::start()];
    servers[0].script(&["500", "500", "ok"]);
    let members = || [member(&servers[0], "first"), member(&servers[1], "second")];
    let bridge = CompositeMlBridge::builder().summarization(members()).ner(members()).build().expect("chains");
    let summarizer = bridge.summarizer(None).expect("a chain");
    summarizer.summarize_blocking(&[messages()], &SummarizeOptions::default()).expect("a summary");
    let recognizer = bridge.recognizer(None).expect("a chain");
    recognizer.recognize_blocking(&["The entity is elsewhere."], &RecognizeOptions::default()).expect("entities");
    let totals = TOTALS.lock().expect("a lock").clone();
    for (sample, count) in [
        (r#"retries_total{code="upstream",model="m",version="first"}"#, 1),
        (r#"fallbacks_total{code="upstream",model="m",version="composite"}"#, 1),
        (r#"dropped_entities_total{model="m",version="first"}"#, 1),
        // Two requests of the summary that failed, and one for entities
        (r#"runs_total{model="m",version="first"}"#, 3),
        (r#"runs_total{model="m",version="second"}"#, 1),
    ] {
        assert_eq!(totals.get(&format!("onnx_ml_bridge_{sample}")), Some(&count), "{sample} of {totals:?}");
    }
}
