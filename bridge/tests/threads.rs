//! Tests of calls while the system refuses new threads. The tests start this executable again, with stacks of threads that
//! are larger than the address space.
#![cfg(all(feature = "sentence-embedding", feature = "summarization", target_os = "linux"))]

mod common;

use std::process::Command;
use std::time::Duration;

use onnx_ml_bridge::{
    BridgeOptions, EmbedOptions, Embedder, ErrorCode, Model, ModelState, SummarizeOptions, Summarizer,
};

/// Set in a started process.
const STARTED: &str = "ONNX_ML_BRIDGE_NO_THREADS";
const STACK_BYTES: u64 = 1 << 60;

/// Runs one test of this executable in a process without new threads.
fn run(test: &str) {
    let mut command = Command::new(std::env::current_exe().expect("the path of the executable"));
    command.args(["--exact", test, "--test-threads=1"]);
    let command = command.env(STARTED, "1").env("RUST_MIN_STACK", STACK_BYTES.to_string());
    let output = command.output().expect("a process");
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn a_time_limit_that_nothing_would_watch_is_refused() {
    if std::env::var_os(STARTED).is_none() {
        return run("a_time_limit_that_nothing_would_watch_is_refused");
    }
    let dir = common::summary::tiny();
    let summarizer = Summarizer::open(dir.path(), BridgeOptions::default()).expect("a model");
    let inputs = [vec!["a b".to_owned()]];
    let options = SummarizeOptions::default().timeout(Duration::from_secs(60));
    let error = summarizer.summarize_blocking(&inputs, &options).expect_err("no thread");
    assert_eq!(error.code(), ErrorCode::Inference);
    assert!(error.to_string().contains("refused a thread"), "{error}");
    assert_eq!(summarizer.summarize_blocking(&inputs, &SummarizeOptions::default()).map(|all| all.len()), Ok(1));
}

#[tokio::test]
async fn an_asynchronous_call_without_a_thread_for_the_load_leaves_the_model_as_it_was() {
    if std::env::var_os(STARTED).is_none() {
        return run("an_asynchronous_call_without_a_thread_for_the_load_leaves_the_model_as_it_was");
    }
    let dir = common::tiny();
    let embedder = Embedder::open(dir.path(), BridgeOptions::default()).expect("a model");
    let error = embedder.embed(vec!["a b".to_owned()], EmbedOptions::default()).await.expect_err("no thread");
    assert_eq!(error.code(), ErrorCode::Inference);
    assert!(error.to_string().contains("refused a thread"), "{error}");
    assert_eq!((embedder.status().state, embedder.status().error), (ModelState::Unloaded, None));
    assert_eq!(embedder.embed_blocking(&["a b"], &EmbedOptions::default()).map(|answer| answer.vectors.len()), Ok(1));
}

#[test]
fn runs_of_several_threads_are_answered_by_one() {
    if std::env::var_os(STARTED).is_none() {
        return run("runs_of_several_threads_are_answered_by_one");
    }
    let dir = common::tiny();
    let options = BridgeOptions::default().threads(2);
    let embedder = Embedder::open(Model::new(dir.path()).workers(2), options).expect("a model");
    let texts = vec!["a b"; 1000];
    assert_eq!(embedder.embed_blocking(&texts, &EmbedOptions::default()).map(|answer| answer.vectors.len()), Ok(1000));
}
