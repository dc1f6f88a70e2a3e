//! Tests of models behind OpenAI's protocol against a server that corrupts its answers: codes, numbers of requests, waits, and
//! limits.
#![cfg(feature = "openai")]

mod common;

use std::thread;
use std::time::{Duration, Instant};

use common::api::{KEY, VARIABLE, embed, golden, has_key, open, server, summarize, texts, vector};
use common::faulty::Faulty;
use onnx_ml_bridge::{
    BridgeError, CancelToken, EmbedOptions, ErrorCode, MlBridge, OnToken, OpenAiMlBridge, SummarizeOptions,
};
use serde_json::{Value, json};

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
