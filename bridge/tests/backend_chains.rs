//! Tests of chains of models.
#![cfg(feature = "openai")]

mod common;

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use common::faulty::Faulty;
use common::wait::OnDrop;
use onnx_ml_bridge::{
    ApiModel, ApiServer, CancelToken, CompositeMlBridge, EmbedOptions, ErrorCode, Fallback, MlBridge, OnToken,
    OpenAiMlBridge, RecognizeOptions, SummarizeOptions,
};
use serde_json::{Value, json};

fn golden() -> Value {
    let text = std::fs::read_to_string(common::golden().join("backends.json")).expect("cases");
    serde_json::from_str(&text).expect("JSON")
}

fn messages() -> Vec<Vec<String>> {
    vec![serde_json::from_value(golden()["messages"].clone()).expect("messages")]
}

struct Servers {
    first: Faulty,
    second: Faulty,
}

impl Servers {
    fn start() -> Self {
        Self { first: Faulty::start(), second: Faulty::start() }
    }

    fn counts(&self) -> [usize; 2] {
        [self.first.requests().len(), self.second.requests().len()]
    }

    /// The chain of both servers, for each task; the first one may have a time limit of its own.
    fn chain(&self, timeout: Option<Duration>, dimensions: usize) -> CompositeMlBridge {
        let options = onnx_ml_bridge::BridgeOptions::default();
        let options = timeout.map_or(options.clone(), |limit| options.timeout(limit));
        let first = opened(&self.first, "first", 4, options);
        let second = opened(&self.second, "second", dimensions, onnx_ml_bridge::BridgeOptions::default());
        let members = || [Arc::clone(&first), Arc::clone(&second)];
        let builder = CompositeMlBridge::builder().embedding(members()).ner(members());
        builder.summarization(members()).local_only(true).build().expect("chains")
    }
}

fn opened(server: &Faulty, name: &str, dimensions: usize, options: onnx_ml_bridge::BridgeOptions) -> Arc<dyn MlBridge> {
    let settings = ApiServer::new(server.url()).max_attempts(1).max_in_flight(1);
    let embedding = ApiModel::new("m").dimensions(dimensions).context(1000).space("m");
    let builder = OpenAiMlBridge::builder().embedding(embedding).ner(ApiModel::new("m"));
    let builder = builder.summarization(ApiModel::new("m")).server(settings).options(options);
    Arc::new(builder.name(name).build().expect("a bridge"))
}

fn script(case: &Value, key: &str) -> Vec<String> {
    serde_json::from_value(case[key].clone()).expect("faults")
}

fn set(server: &Faulty, faults: &[String]) {
    server.script(&faults.iter().map(String::as_str).collect::<Vec<_>>());
}

fn codes(fallbacks: &[Fallback]) -> Vec<&'static str> {
    fallbacks.iter().map(|fallback| fallback.code.as_str()).collect()
}

#[test]
fn every_error_falls_through_or_does_not() {
    let servers = Servers::start();
    let golden = golden();
    let cases = golden["chains"].as_array().expect("a list");
    assert!(cases.len() >= 14);
    for case in cases {
        let attempt = |factor: u32| {
            set(&servers.first, &script(case, "script"));
            set(&servers.second, &script(case, "second"));
            let limit = |key: &str| case[key].as_u64().map(|limit| factor * Duration::from_millis(limit));
            let bridge = servers.chain(limit("own_timeout_ms"), 4);
            let options = SummarizeOptions::default();
            let options = limit("timeout_ms").map_or(options.clone(), |limit| options.timeout(limit));
            bridge.summarizer(None).expect("a chain").summarize_blocking(&messages(), &options)
        };
        let mut result = attempt(1);
        let has_limit = ["own_timeout_ms", "timeout_ms"].iter().any(|key| !case[*key].is_null());
        let requests: [usize; 2] = serde_json::from_value(case["requests"].clone()).expect("two numbers");
        // On a busy machine, a limit may be over before a request is sent.
        for factor in [4, 16] {
            let seen = servers.counts();
            if has_limit && seen != requests && seen[0] <= requests[0] && seen[1] <= requests[1] {
                result = attempt(factor);
            }
        }
        let actual = match result {
            Ok(mut summaries) => {
                let summary = summaries.remove(0);
                assert_eq!(golden["summary"], summary.text);
                assert!(summary.fallbacks.iter().all(|fallback| fallback.backend == "first"));
                (Value::Null, json!(summary.backend), json!(codes(&summary.fallbacks)))
            }
            Err(error) => (json!(error.code().as_str()), Value::Null, json!([])),
        };
        let expected = (case["code"].clone(), case["backend"].clone(), case["fallbacks"].clone());
        assert_eq!(actual, expected, "{case}");
        assert_eq!(servers.counts(), requests, "{case}");
    }
}

#[test]
fn each_text_falls_through_alone() {
    let servers = Servers::start();
    servers.first.script(&["ok", "500"]);
    let bridge = servers.chain(None, 4);
    let embedder = bridge.embedder(None).expect("a chain");
    let texts = ["short".to_owned(), "x".repeat(2000), " ".to_owned(), "also short".to_owned()];
    let outcomes = embedder.embed_each_blocking(&texts, &EmbedOptions::default()).expect("outcomes");
    let moved = &servers.second.requests()[0]["body"]["input"];
    assert_eq!(servers.counts(), [2, 1]);
    for (index, (text, outcome)) in texts.iter().zip(outcomes).enumerate() {
        if text == " " {
            let error = outcome.expect_err("no text");
            assert_eq!((error.code(), error.index()), (ErrorCode::EmptyInput, Some(index)));
            continue;
        }
        let answer = outcome.expect("a vector");
        let is_moved = moved.as_array().is_some_and(|moved| moved.contains(&json!(text)));
        let expected = if is_moved { ("second", vec!["upstream"]) } else { ("first", vec![]) };
        assert_eq!((answer.backend.as_str(), codes(&answer.fallbacks)), expected);
    }
}

#[test]
fn entities_have_a_chain_too_and_labels_of_a_call() {
    let servers = Servers::start();
    servers.first.script(&["500"]);
    let bridge = servers.chain(None, 4);
    let recognizer = bridge.recognizer(None).expect("a chain");
    let options = RecognizeOptions::default().labels(["PERSON", "X", "PERSON"]);
    let found = recognizer.recognize_blocking(&["So Kofi came."], &options).expect("entities").remove(0);
    assert_eq!((found.backend.as_str(), found.entities[0].text.as_str()), ("second", "Kofi"));
    let body = servers.second.requests()[0]["body"].clone();
    assert!(body["messages"][0]["content"].as_str().expect("a text").contains("labels are: PERSON, X."));
    let items = &body["response_format"]["json_schema"]["schema"]["properties"]["entities"]["items"];
    assert_eq!(items["properties"]["label"]["enum"], json!(["PERSON", "X"]));
    let none = RecognizeOptions::default().labels(Vec::<String>::new());
    let error = recognizer.recognize_blocking(&["So Kofi came."], &none).expect_err("no labels");
    assert_eq!((error.code(), servers.counts()), (ErrorCode::Config, [1, 1]));
}

#[test]
fn a_member_that_fails_three_times_in_a_row_is_skipped() {
    let servers = Servers::start();
    servers.first.script(&["500", "500", "ok", "500", "500", "500"]);
    let bridge = servers.chain(None, 4);
    let summarizer = bridge.summarizer(None).expect("a chain");
    let answer =
        || summarizer.summarize_blocking(&messages(), &SummarizeOptions::default()).map(|mut all| all.remove(0));
    let backends: Vec<String> = (0..6).map(|_| answer().expect("a summary").backend).collect();
    assert_eq!(backends, ["second", "second", "first", "second", "second", "second"]);
    assert_eq!(servers.counts(), [6, 5]);
    let skipped = answer().expect("a summary");
    assert_eq!((skipped.backend.as_str(), codes(&skipped.fallbacks)), ("second", vec!["upstream"]));
    assert_eq!(servers.counts(), [6, 6]);
    servers.second.script(&["500"; 3]);
    assert!((0..3).all(|_| answer().is_err()));
    // Both are paused, so both are asked.
    assert_eq!(answer().expect("a summary").backend, "first");
}

#[test]
fn no_other_member_answers_when_a_part_was_shown() {
    let servers = Servers::start();
    servers.first.script(&["undone"]);
    let bridge = servers.chain(None, 4);
    let shown = Arc::new(Mutex::new(Vec::new()));
    let parts = Arc::clone(&shown);
    let on_token = OnToken::new(move |index, text| parts.lock().expect("a lock").push((index, text.to_owned())));
    let summarizer = bridge.summarizer(None).expect("a chain");
    let options = SummarizeOptions::default().on_token(on_token);
    let error = summarizer.summarize_blocking(&messages(), &options).expect_err("a cut stream");
    assert_eq!((error.code(), servers.counts()), (ErrorCode::Upstream, [1, 0]));
    assert_eq!(shown.lock().expect("a lock").first(), Some(&(0, "The".to_owned())));
    servers.first.script(&["500"]);
    shown.lock().expect("a lock").clear();
    assert_eq!(summarizer.summarize_blocking(&messages(), &options).expect("a summary")[0].backend, "second");
    let text: String = shown.lock().expect("a lock").iter().map(|(_, text)| text.as_str()).collect();
    assert_eq!(golden()["summary"], text);
}

#[test]
fn a_cancelled_call_does_not_fall_through() {
    let servers = Servers::start();
    servers.first.script(&["stall"]);
    let bridge = servers.chain(None, 4);
    let token = CancelToken::new();
    let options = SummarizeOptions::default().cancel(token.clone());
    let result = thread::scope(|scope| {
        scope.spawn(|| {
            let _cancels = OnDrop(|| token.cancel());
            servers.first.arrived();
        });
        bridge.summarizer(None).expect("a chain").summarize_blocking(&messages(), &options)
    });
    servers.first.ended();
    assert_eq!((result.expect_err("a stop").code(), servers.counts()), (ErrorCode::Cancelled, [1, 0]));
}

#[test]
fn vectors_of_another_length_are_an_error() {
    let servers = Servers::start();
    servers.first.script(&["500"]);
    servers.second.script(&["dims"]);
    let bridge = servers.chain(None, 3);
    let embedder = bridge.embedder(None).expect("a chain");
    let error = embedder.embed_blocking(&["a"], &EmbedOptions::default()).expect_err("3 elements");
    assert_eq!((error.code(), servers.counts()), (ErrorCode::Inference, [1, 1]));
    let error = embedder.embed_blocking(&["a"], &EmbedOptions::default().dimensions(2)).expect_err("an option");
    assert_eq!(error.code(), ErrorCode::Config);
}

#[test]
fn chains_that_cannot_be_are_refused() {
    let server = Faulty::start();
    let member = |name| opened(&server, name, 4, onnx_ml_bridge::BridgeOptions::default());
    let code = |builder: onnx_ml_bridge::CompositeBuilder| builder.build().expect_err("no chain").code();
    let builder = CompositeMlBridge::builder;
    assert_eq!(code(builder()), ErrorCode::Config);
    assert_eq!(code(builder().summarization([member("a"), member("a")])), ErrorCode::Config);
    assert_eq!(code(builder().rerank(member("a"))), ErrorCode::TaskNotLoaded);
    let other = ApiModel::new("m").dimensions(4).space("other");
    let settings = ApiServer::new(server.url());
    let other: Arc<dyn MlBridge> =
        Arc::new(OpenAiMlBridge::builder().embedding(other).server(settings).name("b").build().expect("a bridge"));
    assert_eq!(code(builder().embedding([member("a"), other])), ErrorCode::Config);
    let cloud = OpenAiMlBridge::builder().summarization(ApiModel::new("m")).name("cloud").build().expect("a bridge");
    let cloud: Arc<dyn MlBridge> = Arc::new(cloud);
    assert_eq!(code(builder().summarization([member("a"), cloud]).local_only(true)), ErrorCode::NotLocal);
}
