//! Tests of models behind OpenAI's protocol against a server that corrupts its answers: codes, numbers of requests, waits, and
//! limits.
#![cfg(feature = "openai")]

mod common;

use std::thread;
use std::time::{Duration, Instant};

use common::api::{KEY, VARIABLE, embed, golden, has_key, open, server, summarize, texts, vector};
use common::faulty::Faulty;
use common::wait::{OnDrop, assert_below};
use onnx_ml_bridge::{
    BridgeError, CancelToken, EmbedOptions, ErrorCode, MlBridge, OnToken, OpenAiMlBridge, SummarizeOptions,
};
use serde_json::{Value, json};

/// Makes the call of a case with a multiple of its time limit, and checks its answer.
fn call(bridge: &OpenAiMlBridge, case: &Value, factor: u32) -> Result<(), BridgeError> {
    let timeout = case["timeout_ms"].as_u64().map(|limit| factor * Duration::from_millis(limit));
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
        let script: Vec<&str> =
            case["script"].as_array().expect("a list").iter().map(|fault| fault.as_str().expect("a name")).collect();
        let attempt = |factor: u32| {
            let limit = case["read_timeout_ms"].as_u64().map(|limit| factor * Duration::from_millis(limit));
            let limit = limit.unwrap_or(Duration::from_secs(60));
            let bridge = open(server(&faulty).api_key_env(VARIABLE).read_timeout(limit));
            faulty.script(&script);
            let started = Instant::now();
            let result = call(&bridge, case, factor);
            (result, started.elapsed().as_secs_f64(), faulty.requests())
        };
        let (mut result, mut seconds, mut seen) = attempt(1);
        let has_limit = ["read_timeout_ms", "timeout_ms"].iter().any(|key| !case[*key].is_null());
        // On a busy machine, a limit may be over before a request is sent.
        for factor in [4, 16] {
            if has_limit && json!(seen.len()).as_u64() < case["requests"].as_u64() {
                (result, seconds, seen) = attempt(factor);
            }
        }
        let code = result.as_ref().err().map(|error| error.code().as_str());
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

/// When a request arrived, in seconds.
fn at(request: &Value) -> f64 {
    request["at"].as_f64().expect("a time")
}

#[test]
fn retry_after_is_kept() {
    let faulty = Faulty::start();
    for (asked, seconds) in [("429:ms=300", 0.3), ("429:s=0.3", 0.3), ("429:s=1", 1.0)] {
        assert_below(Duration::from_millis(200), || {
            faulty.script(&[asked]);
            embed(&open(server(&faulty)), &EmbedOptions::default()).expect("vectors");
            let seen = faulty.requests();
            // The answer came after the first request.
            let wait = at(&seen[1]) - at(&seen[0]);
            assert!(wait >= seconds, "{asked}: {wait} s");
            Duration::from_secs_f64(wait - seconds)
        });
    }
}

#[test]
fn a_429_holds_back_the_other_calls_of_the_backend() {
    let faulty = Faulty::start();
    faulty.script(&["429:s=0.5"]);
    // With one attempt, the first call returns when the pause has begun.
    let bridge = open(server(&faulty).max_attempts(1));
    let answer = |text: &str| bridge.embedder(None)?.embed_blocking(&[text], &EmbedOptions::default()).map(|_| ());
    assert_eq!(answer("first").expect_err("a pause").code(), ErrorCode::RateLimited);
    thread::scope(|scope| {
        let others = ["second", "third"].map(|text| scope.spawn(move || answer(text)));
        others.into_iter().for_each(|thread| assert_eq!(thread.join().expect("no panic"), Ok(())));
    });
    let seen = faulty.requests();
    let later: Vec<f64> = seen[1..].iter().map(|request| at(request) - at(&seen[0])).collect();
    assert!(later.len() == 2 && later.iter().all(|wait| *wait >= 0.5), "{later:?}");
}

#[test]
fn a_call_that_ends_before_the_pause_does_fails_at_once() {
    let faulty = Faulty::start();
    faulty.script(&["429:s=59"]);
    let (bridge, options) = (open(server(&faulty)), EmbedOptions::default().timeout(Duration::from_secs(40)));
    assert!(embed(&bridge, &options).is_err());
    assert_below(Duration::from_secs(3), || {
        let started = Instant::now();
        let error = embed(&bridge, &options).expect_err("a pause");
        assert_eq!((error.code(), error.is_retryable()), (ErrorCode::RateLimited, true));
        let wait = error.retry_after().expect("a wait").as_secs_f64();
        assert!(wait > 40.0 && wait <= 59.0, "{wait}");
        started.elapsed()
    });
    assert_eq!(faulty.requests().len(), 1);
}

#[test]
fn calls_at_the_same_time_keep_the_limit() {
    let faulty = Faulty::start();
    // The first five take long enough to meet on a busy machine.
    let (first, others) = (["slow:1"; 5], ["slow:0.02"; 59]);
    faulty.script(&[first.as_slice(), others.as_slice()].concat());
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

/// Stops a call whose request gets no answer. Returns the number of calls: one, unless time limits were over before a request
/// was sent.
fn stop(how: &str, faulty: &Faulty, bridge: &OpenAiMlBridge) -> usize {
    let embedder = bridge.embedder(None).expect("an embedder");
    let code = |options: &EmbedOptions| embedder.embed_blocking(&texts(), options).expect_err("a stop").code();
    match how {
        "cancel" => {
            let token = CancelToken::new();
            thread::scope(|scope| {
                scope.spawn(|| {
                    let _cancels = OnDrop(|| token.cancel());
                    faulty.arrived();
                });
                assert_eq!(code(&EmbedOptions::default().cancel(token.clone())), ErrorCode::Cancelled);
            });
            1
        }
        "timeout" => {
            let mut calls = 0;
            while calls < 4 && faulty.requests().is_empty() {
                let limit = Duration::from_millis(300) * 4_u32.pow(calls);
                assert_eq!(code(&EmbedOptions::default().timeout(limit)), ErrorCode::Timeout);
                calls += 1;
            }
            calls as usize
        }
        _ => {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            runtime.block_on(async {
                let mut call = Box::pin(embedder.embed(texts(), EmbedOptions::default()));
                let waits = std::future::poll_fn(|context| {
                    let is_pending = call.as_mut().poll(context).is_pending();
                    std::task::Poll::Ready(is_pending)
                });
                assert!(waits.await);
                faulty.arrived();
                drop(call);
            });
            1
        }
    }
}

#[test]
fn a_call_that_stops_closes_its_connection() {
    let faulty = Faulty::start();
    let bridge = open(server(&faulty));
    for how in ["cancel", "timeout", "drop"] {
        assert_below(Duration::from_secs(1), || {
            faulty.script(&["stall"; 4]);
            let calls = stop(how, &faulty, &bridge);
            let returned = Instant::now();
            faulty.ended();
            assert!((1..=calls).contains(&faulty.requests().len()), "{how}");
            returned.elapsed()
        });
    }
    // The slots are free again.
    faulty.script(&[]);
    assert!(embed(&bridge, &EmbedOptions::default()).is_ok());
}
