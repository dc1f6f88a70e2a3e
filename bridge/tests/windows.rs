//! Tests of the windows of long texts.
#![cfg(feature = "sentence-embedding")]

mod common;

use std::fs;
use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use futures_core::Stream;
use onnx_ml_bridge::{
    BridgeError, BridgeOptions, CancelToken, EmbedOptions, Embedder, EmbeddingWindow, EmbeddingWindows, MlBridge,
    Model, OnnxMlBridge, ReloadOptions,
};
use serde::Deserialize;
use serde_json::Value;

const TEXT: &str = "the cat sings, and the dog reads a book about Paris. Ωmega! 🙂é";

fn model() -> Model {
    Model::new(common::golden().join("valid").join("tiny-embedding")).variant("fp32")
}

fn embedder() -> Embedder {
    Embedder::open(model(), BridgeOptions::default()).expect("a valid artifact")
}

/// The windows of a text, and their pooled vector.
fn read(text: &str, options: &EmbedOptions, stride: usize) -> (Vec<EmbeddingWindow>, Vec<f32>) {
    let mut windows = embedder().embed_windows_blocking(text, options, stride).expect("windows");
    let all = windows.by_ref().collect::<Result<_, _>>().expect("vectors");
    (all, windows.pool().expect("a vector"))
}

fn close(left: &[f32], right: &[f32]) -> bool {
    left.len() == right.len() && left.iter().zip(right).all(|(left, right)| (left - right).abs() < 1e-5)
}

fn numbers(window: &EmbeddingWindow) -> [usize; 5] {
    [window.start, window.end, window.start_byte, window.end_byte, window.token_count]
}

async fn next(windows: &mut EmbeddingWindows) -> Option<Result<EmbeddingWindow, BridgeError>> {
    poll_fn(|context| Pin::new(&mut *windows).poll_next(context)).await
}

/// An answer of Python's `embed_windows`.
#[derive(Deserialize)]
struct Case {
    text: String,
    prompt_name: Option<String>,
    stride: usize,
    windows: Vec<EmbeddingWindow>,
    pooled: Vec<f32>,
}

#[test]
fn windows_are_equal_to_those_of_python() {
    let file = fs::read(common::golden().join("embedding-windows.json")).expect("Python's answers");
    let cases: Vec<Case> = serde_json::from_slice(&file).expect("JSON");
    assert!(cases.len() > 10 && cases.iter().any(|case| case.windows.len() > 16));
    for case in cases {
        let options =
            case.prompt_name.map_or_else(EmbedOptions::default, |name| EmbedOptions::default().prompt_name(name));
        let (windows, pooled) = read(&case.text, &options, case.stride);
        assert_eq!(windows.len(), case.windows.len(), "{:?}", case.text);
        for (window, expected) in windows.iter().zip(&case.windows) {
            assert!(close(&window.vector, &expected.vector), "{window:?}, expected {expected:?}");
            assert_eq!(numbers(window), numbers(expected));
        }
        assert!(close(&pooled, &case.pooled), "{pooled:?}, expected {:?}", case.pooled);
    }
}

#[test]
fn a_text_of_one_window_has_the_vector_of_the_model() {
    for text in ["", "cat", "the cat sings", "[CLS] cat [SEP]", "  ", "Ω \n 🙂"] {
        let options = EmbedOptions::default().prompt_name("query");
        let alone = embedder().embed_blocking(&[text], &options).expect("a vector");
        let (windows, pooled) = read(text, &options, 0);
        assert_eq!((windows.len(), Some(vec![windows[0].token_count])), (1, alone.token_counts), "{text:?}");
        assert_eq!((&windows[0].vector, &pooled), (&alone.vectors[0], &alone.vectors[0]), "{text:?}");
    }
}

#[test]
fn offsets_select_the_text_of_each_window() {
    for length in (0..2000).step_by(97) {
        let text: String = TEXT.chars().cycle().skip(length % 61).take(length).collect();
        let stride = length % 46;
        let mut covered = 0;
        for window in read(&text, &EmbedOptions::default(), stride).0 {
            let part: String = text.chars().skip(window.start).take(window.end - window.start).collect();
            assert_eq!(text[window.start_byte..window.end_byte], part);
            assert!(text.chars().skip(covered).take(window.start.saturating_sub(covered)).all(char::is_whitespace));
            covered = window.end;
        }
        assert!(text.chars().skip(covered).all(char::is_whitespace), "{length}");
    }
}

#[test]
fn invalid_calls_are_refused() {
    let (embedder, options) = (embedder(), EmbedOptions::default);
    let refused = |options| embedder.embed_windows_blocking("cat", &options, 0).expect_err("invalid").code().as_str();
    assert_eq!(refused(options().prompt_name("no")), "prompt_not_found");
    assert_eq!(refused(options().timeout(Duration::ZERO)), "config");
    let small = Embedder::open(model(), BridgeOptions::default().text_limit(2)).expect("an artifact");
    let large = small.embed_windows_blocking("cat", &options(), 0).expect_err("too large");
    assert_eq!((large.code().as_str(), large.index()), ("input_too_large", None));
    for stride in [46, 1000] {
        let mut windows = embedder.embed_windows_blocking("cat", &options(), stride).expect("windows");
        let error = windows.next().expect("an error").expect_err("no window");
        assert!(error.to_string().contains("from 0 to 45"), "{error}");
        assert!(windows.next().is_none());
        assert_eq!(windows.pool(), Err(error));
    }
}

#[test]
fn a_call_can_be_cancelled_between_windows() {
    let token = CancelToken::new();
    let options = EmbedOptions::default().cancel(token.clone());
    let mut windows = embedder().embed_windows_blocking(TEXT.repeat(200), &options, 0).expect("windows");
    windows.next().expect("a window").expect("a vector");
    token.cancel();
    let ready = windows.by_ref().take_while(Result::is_ok).count();
    assert!(ready < 16);
    assert_eq!(windows.pool(), Err(BridgeError::Cancelled));
}

#[test]
fn a_call_ends_with_its_time_limit() {
    let (embedder, limit) = (embedder(), Duration::from_secs(1));
    // The limit includes loading the model.
    embedder.warm_up_blocking().expect("a session");
    let options = EmbedOptions::default().timeout(limit);
    let mut windows = embedder.embed_windows_blocking(TEXT.repeat(200), &options, 0).expect("windows");
    let longer = limit + Duration::from_millis(100);
    std::thread::sleep(longer); // the time counts from the first window on
    windows.next().expect("a window").expect("a vector");
    std::thread::sleep(longer);
    assert_eq!(windows.pool().expect_err("stopped").code().as_str(), "timeout");
}

#[tokio::test]
async fn a_dropped_stream_starts_no_run() {
    common::runs::record();
    let dir = common::copy(&common::golden().join("valid").join("tiny-embedding"));
    let file = fs::read(dir.path().join("manifest.json")).expect("a manifest");
    let mut manifest: Value = serde_json::from_slice(&file).expect("JSON");
    manifest["name"] = "dropped-windows".into();
    common::write_manifest(dir.path(), format!("{manifest:#}\n").as_bytes());
    let embedder = Embedder::open(Model::new(dir.path()).variant("fp32"), BridgeOptions::default()).expect("a model");
    let mut windows = embedder.embed_windows(TEXT.repeat(1000), EmbedOptions::default(), 0).expect("windows");
    assert_eq!(common::runs::count("dropped-windows"), 0);
    next(&mut windows).await.expect("a window").expect("a vector");
    let started = common::runs::count("dropped-windows");
    assert!((1..=16).contains(&started), "{started}");
    drop(windows);
    embedder.embed(vec!["cat".to_owned()], EmbedOptions::default()).await.expect("a vector");
    assert_eq!(common::runs::count("dropped-windows"), started + 1);
}

#[tokio::test]
async fn the_stream_has_the_windows_of_its_blocking_twin() {
    let text = TEXT.repeat(40);
    let (expected, vector) = read(&text, &EmbedOptions::default(), 5);
    let mut windows = embedder().embed_windows(text, EmbedOptions::default(), 5).expect("windows");
    let mut all = Vec::new();
    while let Some(window) = next(&mut windows).await {
        all.push(window.expect("a vector"));
    }
    assert_eq!((all, windows.pool().await), (expected, Ok(vector)));
}

#[test]
fn a_reload_ends_the_windows() {
    let bridge = OnnxMlBridge::builder().model(model().name("m")).build().expect("a bridge");
    let embedder = bridge.embedder(Some("m")).expect("a handle");
    let mut windows = embedder.embed_windows_blocking(TEXT.repeat(200), &EmbedOptions::default(), 0).expect("windows");
    windows.next().expect("a window").expect("a vector");
    bridge.reload_blocking("m", &ReloadOptions::default()).expect("the same model");
    assert_eq!(windows.pool(), Err(BridgeError::Cancelled));
}

#[cfg(feature = "openai")]
#[test]
fn a_reload_of_the_member_of_a_chain_ends_the_windows() {
    use std::sync::Arc;

    let bridge = OnnxMlBridge::builder().model(model().name("m")).build().expect("a bridge");
    let member: Arc<dyn MlBridge> = Arc::new(bridge.clone());
    let chain = onnx_ml_bridge::CompositeMlBridge::builder().embedding([member]).build().expect("a chain");
    let embedder = chain.embedder(None).expect("a chain");
    let text = TEXT.repeat(200);
    let mut windows = embedder.embed_windows_blocking(text.as_str(), &EmbedOptions::default(), 0).expect("windows");
    windows.next().expect("a window").expect("a vector");
    bridge.unload(); // the next block loads the same version
    assert!(windows.by_ref().take(20).all(|window| window.is_ok()));
    bridge.reload_blocking("m", &ReloadOptions::default()).expect("the same model");
    assert_eq!(windows.pool(), Err(BridgeError::Cancelled));
    let whole =
        |embedder: Embedder| embedder.embed_windows_blocking(text.as_str(), &EmbedOptions::default(), 0)?.pool();
    let alone = whole(bridge.embedder(None).expect("a handle"));
    assert!(alone.is_ok());
    assert_eq!(whole(embedder), alone);
}

/// The peak of the memory of this process in bytes.
#[cfg(target_os = "linux")]
fn peak() -> usize {
    let status = fs::read_to_string("/proc/self/status").expect("the status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the peak");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") * 1024
}

/// Run in a process of its own, because the peak of this one is that of other tests.
#[cfg(target_os = "linux")]
#[test]
fn memory_grows_by_a_bounded_number_of_bytes_per_character() {
    const UNIT: &str = "ONNX_ML_BRIDGE_TEST_UNIT";
    if let Ok(unit) = std::env::var(UNIT) {
        let embedder = Embedder::open(model(), BridgeOptions::default().text_limit(100_000_000)).expect("a model");
        let run = |characters| {
            let text: String = unit.chars().cycle().take(characters).collect();
            let windows = embedder.embed_windows_blocking(text, &EmbedOptions::default(), 0).expect("windows");
            windows.for_each(|window| assert!(window.is_ok(), "{window:?}"));
            peak()
        };
        let base = run(2_000);
        let grown = (run(200_000) - base) / 200_000;
        println!("{unit:?}: {grown} bytes for a character");
        assert!(grown <= 1000, "{unit:?}: {grown}");
        return;
    }
    for unit in ["a ", "Ω", "cat sings ", ".", "日"] {
        let mut command = std::process::Command::new(std::env::current_exe().expect("this test"));
        command.args(["memory_grows_by_a_bounded_number_of_bytes_per_character", "--exact", "--nocapture"]);
        let done = command.env(UNIT, unit).output().expect("a process");
        print!("{}", String::from_utf8_lossy(&done.stdout));
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
}
