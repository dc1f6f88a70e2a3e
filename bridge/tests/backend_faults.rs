//! Tests of models behind OpenAI's protocol against a server that corrupts its answers: codes, numbers of requests, waits,
//! limits, and that nothing shows the key or a text.
#![cfg(feature = "openai")]

mod common;

use std::collections::BTreeSet;
use std::error::Error;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use common::faulty::Faulty;
use metrics::{Counter, CounterFn, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use onnx_ml_bridge::{
    ApiModel, ApiServer, BridgeError, BridgeOptions, CancelToken, EmbedOptions, Embeddings, ErrorCode, Location,
    MlBridge, ModelState, OnToken, OpenAiMlBridge, RecognizeOptions, SummarizeOptions, Usage,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};

const KEY: &str = "sk-canary-0123456789abcdef";
const VARIABLE: &str = "ONNX_ML_BRIDGE_TEST_KEY";

fn golden() -> Value {
    let text = std::fs::read_to_string(common::golden().join("backends.json")).expect("cases");
    serde_json::from_str(&text).expect("JSON")
}

fn texts() -> Vec<String> {
    serde_json::from_value(golden()["texts"].clone()).expect("texts")
}

fn messages() -> Vec<String> {
    serde_json::from_value(golden()["messages"].clone()).expect("messages")
}

/// The vector of a text, as faulty.py computes it.
fn vector(text: &str) -> Vec<f32> {
    Sha256::digest(text)[..4].iter().map(|byte| f32::from(*byte) / 256.0).collect()
}

fn server(faulty: &Faulty) -> ApiServer {
    ApiServer::new(faulty.url()).max_backoff(Duration::from_millis(20))
}

fn open_with(server: ApiServer, chat: ApiModel) -> OpenAiMlBridge {
    let builder = OpenAiMlBridge::builder().embedding(ApiModel::new("m").dimensions(4));
    builder.ner(chat.clone()).summarization(chat).server(server).build().expect("a bridge")
}

fn open(server: ApiServer) -> OpenAiMlBridge {
    open_with(server, ApiModel::new("m"))
}

fn embed(bridge: &OpenAiMlBridge, options: &EmbedOptions) -> Result<Embeddings, BridgeError> {
    bridge.embedder(None)?.embed_blocking(&texts(), options)
}

fn summarize(bridge: &OpenAiMlBridge, options: &SummarizeOptions) -> Result<String, BridgeError> {
    let mut summaries = bridge.summarizer(None)?.summarize_blocking(&[messages()], options)?;
    let summary = summaries.remove(0);
    let usage = summary.usage.map(|usage| (usage.prompt_tokens, usage.completion_tokens));
    assert_eq!((usage, summary.tokens, summary.backend.as_str()), (Some((9, 4)), Some(4), "openai"));
    Ok(summary.text)
}

/// Runs a test of this file again in a process that has the key in its environment. Whether this is that process.
fn has_key(test: &str) -> bool {
    if std::env::var_os(VARIABLE).is_some() {
        return true;
    }
    let mut command = Command::new(std::env::current_exe().expect("this test"));
    let output = command.args(["--exact", test, "--nocapture"]).env(VARIABLE, KEY).output().expect("a process");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    false
}

/// Makes the call of a case, and checks its answer.
fn call(bridge: &OpenAiMlBridge, case: &Value) -> Result<(), BridgeError> {
    let timeout = case["timeout_ms"].as_u64().map(Duration::from_millis);
    if case["task"] == "embedding" {
        let options = timeout.map_or_else(EmbedOptions::default, |limit| EmbedOptions::default().timeout(limit));
        let answer = embed(bridge, &options)?;
        assert_eq!(answer.vectors, texts().iter().map(|text| vector(text)).collect::<Vec<_>>());
        assert_eq!(answer.usage.map(|usage| usage.prompt_tokens), Some(12));
        assert_eq!((answer.backends, answer.token_counts), (vec!["openai".to_owned(); 2], None));
        return Ok(());
    }
    let options = SummarizeOptions::default();
    let shows = case["on_token"] == true;
    let options = if shows { options.on_token(OnToken::new(|_, _| ())) } else { options };
    assert_eq!(golden()["summary"], summarize(bridge, &options)?);
    Ok(())
}

#[test]
fn every_fault_has_its_code_and_number_of_requests() {
    if !has_key("every_fault_has_its_code_and_number_of_requests") {
        return;
    }
    let (faulty, golden) = (Faulty::start(), golden());
    let cases = golden["cases"].as_array().expect("a list");
    assert!(cases.len() >= 50);
    for case in cases {
        let limit = Duration::from_millis(case["read_timeout_ms"].as_u64().unwrap_or(60_000));
        let bridge = open(server(&faulty).api_key_env(VARIABLE).read_timeout(limit));
        let script: Vec<&str> =
            case["script"].as_array().expect("a list").iter().map(|fault| fault.as_str().expect("a name")).collect();
        faulty.script(&script);
        let started = Instant::now();
        let result = call(&bridge, case);
        let seconds = started.elapsed().as_secs_f64();
        let (code, seen) = (result.as_ref().err().map(|error| error.code().as_str()), faulty.requests());
        assert_eq!((json!(code), json!(seen.len())), (case["code"].clone(), case["requests"].clone()), "{case}");
        assert!(seconds >= case["min_seconds"].as_f64().unwrap_or(0.0), "{case}: {seconds} s");
        assert!(seen.iter().all(|request| request["authorization"] == format!("Bearer {KEY}")), "{case}");
        let of_text = result.is_err_and(|error| {
            let code = error.code();
            matches!(code, ErrorCode::ContextTooLong | ErrorCode::Refused) && error.index() != Some(0)
        });
        assert!(!of_text, "{case}: the index is missing");
    }
    println!("{} cases", cases.len());
}

#[test]
fn retry_after_is_kept() {
    let faulty = Faulty::start();
    for (asked, seconds) in [("429:ms=300", 0.3), ("429:s=0.3", 0.3), ("429:s=1", 1.0)] {
        faulty.script(&[asked]);
        embed(&open(server(&faulty)), &EmbedOptions::default()).expect("vectors");
        let seen = faulty.requests();
        let wait = seen[1]["at"].as_f64().expect("a time") - seen[0]["ended"].as_f64().expect("a time");
        assert!((seconds..seconds + 0.2).contains(&wait), "{asked}: {wait} s");
    }
}

#[test]
fn a_429_holds_back_the_other_calls_of_the_backend() {
    let faulty = Faulty::start();
    faulty.script(&["429:s=0.5"]);
    let bridge = open(server(&faulty));
    let answer = |text: &str| bridge.embedder(None)?.embed_blocking(&[text], &EmbedOptions::default()).map(|_| ());
    thread::scope(|scope| {
        let first = scope.spawn(|| answer("first"));
        faulty.ended();
        thread::sleep(Duration::from_millis(50));
        let others = ["second", "third"].map(|text| scope.spawn(move || answer(text)));
        for thread in others.into_iter().chain([first]) {
            assert_eq!(thread.join().expect("no panic"), Ok(()));
        }
    });
    let seen = faulty.requests();
    let ended = seen[0]["ended"].as_f64().expect("a time");
    let later: Vec<f64> = seen[1..].iter().map(|request| request["at"].as_f64().expect("a time") - ended).collect();
    assert!(later.len() == 3 && later.iter().all(|wait| *wait >= 0.49), "{later:?}");
}

#[test]
fn a_call_that_ends_before_the_pause_does_fails_at_once() {
    let faulty = Faulty::start();
    faulty.script(&["429:s=30"]);
    let (bridge, options) = (open(server(&faulty)), EmbedOptions::default().timeout(Duration::from_secs(5)));
    assert!(embed(&bridge, &options).is_err());
    let started = Instant::now();
    let error = embed(&bridge, &options).expect_err("a pause");
    assert_eq!((error.code(), error.is_retryable()), (ErrorCode::RateLimited, true));
    let wait = error.retry_after().expect("a wait").as_secs_f64();
    assert!(wait > 20.0 && wait <= 30.0 && started.elapsed() < Duration::from_secs(3), "{wait}");
    assert_eq!(faulty.requests().len(), 1);
}

#[test]
fn calls_at_the_same_time_keep_the_limit() {
    let faulty = Faulty::start();
    faulty.script(&["slow:0.02"; 64]);
    let bridge = open(server(&faulty).max_in_flight(5));
    thread::scope(|scope| {
        let call = |number: usize| {
            let embedder = bridge.embedder(None).expect("an embedder");
            embedder.embed_blocking(&[number.to_string()], &EmbedOptions::default()).map(|_| ())
        };
        let threads: Vec<_> = (0..64).map(|number| scope.spawn(move || call(number))).collect();
        threads.into_iter().for_each(|thread| assert_eq!(thread.join().expect("no panic"), Ok(())));
    });
    let seen = faulty.seen();
    assert_eq!((seen["requests"].as_array().map(Vec::len), seen["max_in_flight"].as_u64()), (Some(64), Some(5)));
}

#[test]
fn a_call_that_stops_closes_its_connection() {
    let faulty = Faulty::start();
    let bridge = open(server(&faulty));
    for stop in ["cancel", "timeout", "drop"] {
        faulty.script(&["stall"]);
        let token = CancelToken::new();
        let options = EmbedOptions::default().cancel(token.clone());
        let options = if stop == "timeout" { options.timeout(Duration::from_millis(300)) } else { options };
        let embedder = bridge.embedder(None).expect("an embedder");
        let started = Instant::now();
        if stop == "drop" {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            runtime.block_on(async {
                let mut call = Box::pin(embedder.embed(texts(), options));
                let waits = std::future::poll_fn(|context| {
                    let is_pending = call.as_mut().poll(context).is_pending();
                    std::task::Poll::Ready(is_pending)
                });
                assert!(waits.await);
                while faulty.requests().is_empty() {
                    thread::sleep(Duration::from_millis(5));
                }
                drop(call);
            });
        } else {
            let canceller = token.clone();
            let is_cancel = stop == "cancel";
            let thread = thread::spawn(move || {
                thread::sleep(Duration::from_millis(300));
                if is_cancel {
                    canceller.cancel();
                }
            });
            let code = embedder.embed_blocking(&texts(), &options).expect_err("a stop").code();
            assert_eq!(code, if is_cancel { ErrorCode::Cancelled } else { ErrorCode::Timeout });
            thread.join().expect("no panic");
        }
        let (returned, _) = (Instant::now(), faulty.ended());
        assert!(
            returned.elapsed() < Duration::from_secs(1),
            "{stop}: {:?} of {:?}",
            returned.elapsed(),
            started.elapsed()
        );
        assert_eq!(faulty.requests().len(), 1, "{stop}");
    }
    // The slots are free again.
    faulty.script(&[]);
    assert!(embed(&bridge, &EmbedOptions::default()).is_ok());
}

#[test]
fn the_requests_are_those_of_the_contract() {
    let faulty = Faulty::start();
    let bridge = open_with(server(&faulty), ApiModel::new("m").labels(["PERSON"]).context(8000));
    embed(&bridge, &EmbedOptions::default()).expect("vectors");
    let inputs = [vec!["one".to_owned(), "two\"}], \"stream\": false, {{text}".to_owned()]];
    bridge.summarizer(None).expect("a handle").summarize_blocking(&inputs, &SummarizeOptions::default()).expect("text");
    let recognizer = bridge.recognizer(None).expect("a handle");
    let found = recognizer.recognize_blocking(&["Yesterday Kofi signed.", " "], &RecognizeOptions::default());
    let found = found.expect("entities");
    let entity = &found[0].entities[0];
    assert_eq!((entity.text.as_str(), entity.label.as_str(), entity.start), ("Kofi", "PERSON", 10));
    assert!(found[1].entities.is_empty());
    let bodies: Vec<Value> = faulty.requests().into_iter().map(|request| request["body"].clone()).collect();
    let [embedding, summary, ner] = bodies.as_slice() else { panic!("{} requests", bodies.len()) };
    assert_eq!(*embedding, json!({"model": "m", "input": texts(), "encoding_format": "base64"}));
    let content = summary["messages"][0]["content"].as_str().expect("a text");
    assert!(content.ends_with("\n\none\ntwo\"}], \"stream\": false, {{text}\n"), "{content:?}");
    let expected = json!({"model": "m", "messages": [{"role": "user", "content": content}], "stream": true,
        "stream_options": {"include_usage": true}, "max_tokens": 256});
    assert_eq!(*summary, expected);
    let schema = &ner["response_format"]["json_schema"];
    assert_eq!(schema["strict"], true);
    assert_eq!(schema["schema"]["properties"]["entities"]["items"]["properties"]["label"]["enum"], json!(["PERSON"]));
}

#[test]
fn many_texts_are_several_requests_and_bad_ones_do_not_lose_the_others() {
    let faulty = Faulty::start();
    let bridge = open(server(&faulty).max_in_flight(1));
    let embedder = bridge.embedder(None).expect("a handle");
    let mut many: Vec<String> = (0..5000).map(|number| format!("text {number}")).collect();
    many.push("x".repeat(9000));
    let answer = embedder.embed_blocking(&many, &EmbedOptions::default()).expect("vectors");
    assert_eq!(answer.vectors, many.iter().map(|text| vector(text)).collect::<Vec<_>>());
    let mut sizes: Vec<usize> =
        faulty.requests().iter().map(|request| request["body"]["input"].as_array().map_or(0, Vec::len)).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [1, 904, 2048, 2048]);
    faulty.script(&["400long", "400long"]);
    let texts = ["short".to_owned(), "x".repeat(9000), " ".to_owned(), "y".repeat(9000)];
    let outcomes = embedder.embed_each_blocking(&texts, &EmbedOptions::default()).expect("outcomes");
    let codes: Vec<Option<&str>> =
        outcomes.iter().map(|outcome| outcome.as_ref().err().map(|error| error.code().as_str())).collect();
    assert_eq!(codes.iter().filter(|code| **code == Some("context_too_long")).count(), 2, "{codes:?}");
    assert_eq!((codes[2], codes.iter().filter(|code| code.is_none()).count()), (Some("empty_input"), 1), "{codes:?}");
    let wrong = outcomes
        .iter()
        .enumerate()
        .filter(|(index, outcome)| outcome.as_ref().is_err_and(|error| error.index() != Some(*index)));
    assert_eq!(wrong.count(), 0);
}

#[test]
fn on_token_gets_the_parts_of_a_summary() {
    let faulty = Faulty::start();
    let parts = Arc::new(Mutex::new(Vec::new()));
    let shown = Arc::clone(&parts);
    let on_token = OnToken::new(move |index, text| shown.lock().expect("a lock").push((index, text.to_owned())));
    let text = summarize(&open(server(&faulty)), &SummarizeOptions::default().on_token(on_token)).expect("a summary");
    let parts = parts.lock().expect("a lock").clone();
    assert!(parts.len() == 4 && parts.iter().all(|(index, _)| *index == 0), "{parts:?}");
    assert_eq!(parts.into_iter().map(|(_, text)| text).collect::<String>(), text);
}

#[test]
fn a_long_input_is_read_in_chunks() {
    let faulty = Faulty::start();
    let bridge = open_with(server(&faulty), ApiModel::new("m").context(400).max_output_tokens(50));
    let messages: Vec<String> =
        (0..12).map(|number| format!("Message {number} says that the lease was signed.")).collect();
    let summarizer = bridge.summarizer(None).expect("a handle");
    let summary = summarizer
        .summarize_blocking(std::slice::from_ref(&messages), &SummarizeOptions::default())
        .expect("text")
        .remove(0);
    let contents: Vec<String> = faulty
        .requests()
        .iter()
        .map(|request| request["body"]["messages"][0]["content"].as_str().expect("a text").to_owned())
        .collect();
    let (last, chunks) = contents.split_last().expect("requests");
    assert!(chunks.len() > 2 && chunks.iter().all(|content| content.len() <= 350), "{chunks:?}");
    assert!(messages.iter().all(|message| chunks.iter().any(|content| content.contains(message))));
    let joined = vec![golden()["summary"].as_str().expect("a text"); chunks.len()].join("\n");
    assert!(last.ends_with(&format!("{joined}\n")), "{last}");
    let requests = contents.len() as u64;
    let usage = summary.usage.map(|usage: Usage| (usage.prompt_tokens, usage.completion_tokens));
    assert_eq!(usage, Some((9 * requests, 4 * requests)));
    let inputs = [vec!["short".to_owned()], vec!["x".repeat(500)], vec!["a b. ".repeat(80)]];
    let outcomes = summarizer.summarize_each_blocking(&inputs, &SummarizeOptions::default()).expect("outcomes");
    let codes: Vec<Option<ErrorCode>> = outcomes.into_iter().map(|outcome| outcome.err().map(|e| e.code())).collect();
    assert_eq!(codes, [None, Some(ErrorCode::ContextTooLong), None]);
}

#[test]
fn options_of_other_models_are_refused() {
    let faulty = Faulty::start();
    let bridge = open(server(&faulty));
    let options = SummarizeOptions::default;
    for options in [
        options().num_beams(2),
        options().min_length(1),
        options().length_penalty(1.0),
        options().prompt("no"),
        options().temperature(3.0),
    ] {
        let error = summarize(&bridge, &options).expect_err("an option");
        assert_eq!(error.code(), ErrorCode::Config, "{options:?}");
    }
    let code = |options| embed(&bridge, &options).expect_err("an option").code();
    assert_eq!(code(EmbedOptions::default().dimensions(2)), ErrorCode::Config);
    assert_eq!(code(EmbedOptions::default().prompt_name("query")), ErrorCode::PromptNotFound);
    let recognizer = bridge.recognizer(None).expect("a handle");
    for options in [RecognizeOptions::default().stride(2), RecognizeOptions::default().labels([""; 1])] {
        assert_eq!(recognizer.recognize_blocking(&["a"], &options).expect_err("an option").code(), ErrorCode::Config);
    }
    assert!(faulty.requests().is_empty());
}

#[test]
fn local_only_refuses_servers_elsewhere() {
    for url in ["https://api.openai.com/v1", "http://localhost:1/v1", "http://192.168.0.1/v1"] {
        let builder = OpenAiMlBridge::builder().summarization(ApiModel::new("m")).server(ApiServer::new(url));
        let refused = builder.clone().options(BridgeOptions::default().local_only(true)).build();
        assert_eq!(refused.expect_err(url).code(), ErrorCode::NotLocal, "{url}");
        let bridge = builder.build().expect("a bridge, which sends nothing");
        assert_eq!(bridge.location(onnx_ml_bridge::Task::Summarization), Some(Location::Network));
    }
}

#[tokio::test]
async fn health_costs_no_request_for_tokens() {
    let faulty = Faulty::start();
    let health = open(server(&faulty)).health().await;
    assert_eq!(health.len(), 3);
    assert!(health.iter().all(|health| health.state == ModelState::Ready && health.error.is_none()), "{health:?}");
    assert!(faulty.requests().is_empty());
    let gone = open(ApiServer::new("http://127.0.0.1:9/v1")).health().await;
    assert!(gone.iter().all(|health| health.error == Some(ErrorCode::Upstream)), "{gone:?}");
}

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

struct Counted(String);

impl CounterFn for Counted {
    fn increment(&self, _: u64) {
        SEEN.lock().expect("a lock").push(self.0.clone());
    }
    fn absolute(&self, _: u64) {}
}

struct Names;

impl Recorder for Names {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(Arc::new(Counted(format!("{key:?}"))))
    }
    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }
    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

/// A server that quotes the key and the whole request in its errors: 1,000 calls that fail, with all logs on.
#[test]
fn nothing_shows_the_key_or_a_text() {
    if !has_key("nothing_shows_the_key_or_a_text") {
        return;
    }
    const CANARY: &str = "canary-text-9c1f";
    tracing::subscriber::set_global_default(Logs).expect("no other subscriber");
    metrics::set_global_recorder(Names).expect("no other recorder");
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
