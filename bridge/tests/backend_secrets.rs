//! Tests that nothing shows the key of a server or a text.
#![cfg(feature = "openai")]

mod common;

use std::collections::BTreeSet;
use std::error::Error;
use std::sync::Mutex;
use std::time::Duration;

use common::api::{KEY, VARIABLE, has_key, open, server};
use common::faulty::Faulty;
use common::recorder::on_change;
use onnx_ml_bridge::{EmbedOptions, MlBridge, SummarizeOptions};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};

/// Everything that is logged or recorded.
static SEEN: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Logs;

impl Visit for Logs {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        SEEN.lock().expect("a lock").push(format!("{field} {value:?}"));
    }
}

impl Subscriber for Logs {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, span: &Attributes<'_>) -> Id {
        span.record(&mut Logs);
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, values: &Record<'_>) {
        values.record(&mut Logs);
    }
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        event.record(&mut Logs);
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// A server that quotes the key and the whole request in its errors: 1,000 calls that fail, with all logs on.
#[test]
fn nothing_shows_the_key_or_a_text() {
    if !has_key("nothing_shows_the_key_or_a_text") {
        return;
    }
    const CANARY: &str = "canary-text-9c1f";
    tracing::subscriber::set_global_default(Logs).expect("no other subscriber");
    on_change(|key, _| SEEN.lock().expect("a lock").push(format!("{key:?}")));
    let faulty = Faulty::start();
    let settings = server(&faulty).api_key_env(VARIABLE).read_timeout(Duration::from_millis(100)).max_attempts(1);
    let bridge = open(settings.clone());
    let faults = [
        "400", "401", "403", "404", "429:s=0", "quota", "500", "400long", "garbage", "badb64", "close", "cut:60",
        "stall", "redirect",
    ];
    let mut shown = vec![format!("{bridge:?} {:?} {settings:?}", bridge.models())];
    let (embedder, summarizer) = (bridge.embedder(None).expect("a handle"), bridge.summarizer(None).expect("a handle"));
    let mut codes = BTreeSet::new();
    for number in 0..1000 {
        faulty.script(&[faults[number % faults.len()]]);
        let text = format!("{CANARY} {number}");
        let failed = if number % 2 == 0 {
            summarizer.summarize_blocking(&[vec![text]], &SummarizeOptions::default()).map(|_| ())
        } else {
            embedder.embed_blocking(&[text], &EmbedOptions::default()).map(|_| ())
        };
        // A stream that is corrupted as embeddings are is a good one.
        let Err(error) = failed else { continue };
        codes.insert(error.code());
        let mut cause: Option<&dyn Error> = Some(&error);
        while let Some(error) = cause {
            shown.push(format!("{error} {error:?}"));
            cause = error.source();
        }
    }
    shown.push(format!("{:?} {embedder:?}", bridge.status()));
    shown.append(&mut SEEN.lock().expect("a lock"));
    let bad: Vec<&String> = shown.iter().filter(|text| text.contains(CANARY) || text.contains(KEY)).collect();
    assert!(bad.is_empty(), "{bad:?}");
    assert!(codes.len() >= 7, "{codes:?}");
    assert!(shown.iter().any(|text| text.contains("onnx_ml_bridge_errors_total")) && shown.len() > 2000);
    println!("{} failing calls, {} codes, {} lines of logs, errors and metrics", 1000, codes.len(), shown.len());
}
