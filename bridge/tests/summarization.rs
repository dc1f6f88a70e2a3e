//! Tests of summaries with the tiny summarizer, whose answers are computed by hand.
#![cfg(feature = "summarization")]

mod common;

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use common::wait::{LIMIT, OnDrop, assert_below, until};
use onnx_ml_bridge::{
    BridgeError, BridgeOptions, CancelToken, MlBridge, Model, OnnxMlBridge, Progress, SummarizeOptions, Summarizer,
    Summary,
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The maximum time from stopping a call until it returns.
const MAX_STOP_TIME: Duration = Duration::from_millis(200);
/// After this time, a run that has started is in the loop of its graph. Tests pass also if it is not.
const IN_GRAPH: Duration = Duration::from_millis(100);

fn open(options: BridgeOptions) -> (TempDir, Summarizer) {
    let dir = common::summary::tiny();
    let summarizer = Summarizer::open(dir.path(), options).expect("a valid artifact");
    (dir, summarizer)
}

/// A summarizer of two threads with this number of runs at the same time.
fn with_workers(workers: usize, options: BridgeOptions) -> (TempDir, Summarizer) {
    let dir = common::summary::tiny();
    let model = Model::new(dir.path()).workers(workers);
    let summarizer = Summarizer::open(model, options.threads(2)).expect("a valid artifact");
    (dir, summarizer)
}

fn inputs(texts: &[&str]) -> Vec<Vec<String>> {
    texts.iter().map(|text| vec![(*text).to_owned()]).collect()
}

fn of_length(max_length: usize) -> SummarizeOptions {
    SummarizeOptions::default().max_length(max_length)
}

fn code<T>(result: Result<T, BridgeError>) -> Option<&'static str> {
    result.err().map(|error| error.code().as_str())
}

/// The text, the token ids, the number of tokens and the flag `truncated` of a summary.
fn brief(summary: &Summary) -> (&str, &[i64], usize, bool) {
    let ids = summary.token_ids.as_deref().expect("token ids");
    (&summary.text, ids, summary.tokens.expect("a number"), summary.truncated)
}

#[test]
fn a_summary_has_tokens_a_text_and_a_score() {
    let (_dir, summarizer) = open(BridgeOptions::default());
    let texts = inputs(&["a b c", "d", "a b c d a b c d", "a b c d"]);
    let summaries = summarizer.summarize_blocking(&texts, &SummarizeOptions::default()).expect("summaries");
    assert_eq!(brief(&summaries[0]), ("a b c", [2, 4, 5, 6, 3].as_slice(), 4, false));
    assert_eq!(brief(&summaries[1]), ("d", [2, 7, 3].as_slice(), 2, false));
    assert_eq!(brief(&summaries[2]), ("a b c d a", [2, 4, 5, 6, 7, 4].as_slice(), 5, true));
    assert_eq!(brief(&summaries[3]), ("a b c d", [2, 4, 5, 6, 7, 3].as_slice(), 5, false));
    assert!(summaries.iter().all(|summary| summary.score == Some(3.0)));
    assert_eq!(summarizer.info().variant, "fp32");
    assert_eq!(summarizer.summarize_blocking(&[], &SummarizeOptions::default()), Ok(vec![]));
}

/// The text of the summary of some messages, with the default options.
fn summarize(summarizer: &Summarizer, messages: &[&str]) -> Result<String, BridgeError> {
    let messages = messages.iter().map(|message| (*message).to_owned()).collect();
    let summaries = summarizer.summarize_blocking(&[messages], &SummarizeOptions::default())?;
    Ok(summaries[0].text.clone())
}

#[test]
fn messages_are_joined() {
    let (_dir, summarizer) = open(BridgeOptions::default());
    assert_eq!(summarize(&summarizer, &["a", "b", "", "c"]), Ok("a b c".to_owned()));
    let dir = common::summary::tiny();
    let mut manifest = common::summary::manifest();
    manifest["summarization"]["join"] = json!(" d ");
    common::seal(dir.path(), manifest);
    let summarizer = Summarizer::open(dir.path(), BridgeOptions::default()).expect("a valid artifact");
    assert_eq!(summarize(&summarizer, &["a", "b"]), Ok("a d b".to_owned()));
}

#[test]
fn options_of_a_call_set_its_settings() {
    let (_dir, summarizer) = open(BridgeOptions::default());
    let summarize = |options: &SummarizeOptions| summarizer.summarize_blocking(&inputs(&["a b c d"]), options);
    let options = SummarizeOptions::default().num_beams(5).min_length(2).max_length(3).length_penalty(-0.5);
    let summaries = summarize(&options).expect("summaries");
    assert_eq!((brief(&summaries[0]), summaries[0].score), (("a b", [2, 4, 5].as_slice(), 2, false), Some(-0.5)));
    assert_eq!(code(summarize(&of_length(common::summary::MAX_TARGET_TOKENS))), None);
    for wrong in [
        of_length(1),
        of_length(common::summary::MAX_TARGET_TOKENS + 1),
        SummarizeOptions::default().num_beams(0),
        SummarizeOptions::default().min_length(7),
        SummarizeOptions::default().length_penalty(f32::NAN),
        SummarizeOptions::default().timeout(Duration::ZERO),
        SummarizeOptions::default().num_beams(8192),
    ] {
        assert_eq!(code(summarize(&wrong)), Some("config"), "{wrong:?}");
        assert_eq!(code(summarizer.summarize_each_blocking(&[], &wrong)), Some("config"), "{wrong:?}");
    }
}

#[test]
fn one_bad_input_fails_and_the_others_are_answered() {
    let (_dir, summarizer) = open(BridgeOptions::default().text_limit(20));
    let mut texts = inputs(&["a", "nan", "b", &"a".repeat(21), " \u{3000}\n"]);
    texts.push(vec![]);
    texts.push(vec![" ".to_owned(), String::new()]);
    // Joined with the separator, these two messages exceed the limit by one byte.
    texts.push(vec!["a".repeat(10), "a".repeat(10)]);
    let outcomes = summarizer.summarize_each_blocking(&texts, &SummarizeOptions::default()).expect("outcomes");
    let codes: Vec<_> =
        outcomes.iter().map(|outcome| outcome.as_ref().err().map(|error| error.code().as_str())).collect();
    let (large, empty) = (Some("input_too_large"), Some("empty_input"));
    assert_eq!(codes, [None, Some("inference"), None, large, empty, empty, empty, large]);
    for (index, outcome) in outcomes.iter().enumerate() {
        assert!(outcome.as_ref().err().is_none_or(|error| error.index() == Some(index)), "{outcome:?}");
    }
    let error = summarizer.summarize_blocking(&texts, &SummarizeOptions::default()).expect_err("a bad input");
    assert_eq!((error.code().as_str(), error.index()), ("inference", Some(1)));
    assert_eq!(code(summarize(&summarizer, &[])), Some("empty_input"));
}

#[test]
fn a_summary_does_not_depend_on_other_inputs() {
    // With 2 beams and a length of 4 tokens, the beam limit of 16 allows 2 texts per run.
    let dir = common::summary::tiny();
    let options = BridgeOptions::default().threads(2).beam_limit(16);
    let summarizer = Summarizer::open(Model::new(dir.path()).workers(2), options).expect("a valid artifact");
    let texts: Vec<Vec<String>> =
        (0..60).map(|index| vec!["a b c d ".repeat(index % 3 + 1) + ["a", "b"][index % 2]]).collect();
    let together = summarizer.summarize_blocking(&texts, &of_length(4)).expect("summaries");
    for (text, summary) in texts.iter().zip(&together) {
        let alone = summarizer.summarize_blocking(std::slice::from_ref(text), &of_length(4)).expect("a summary");
        assert_eq!(&alone[0], summary, "{text:?}");
    }
    assert_eq!(code(summarizer.summarize_blocking(&texts, &of_length(9))), Some("config"));
}

/// The summary of a text that is split into chunks if it is too long.
fn in_chunks(summarizer: &Summarizer, text: &str, max_length: usize) -> Summary {
    let options = of_length(max_length).map_reduce(true);
    summarizer.summarize_blocking(&inputs(&[text]), &options).expect("a summary").remove(0)
}

#[test]
fn longer_inputs_are_read_in_chunks() {
    let (_dir, summarizer) = open(BridgeOptions::default());
    let text = "a b. c d a. b c b. d a b.";
    let truncated = &summarizer.summarize_blocking(&inputs(&[text]), &of_length(3)).expect("summaries")[0];
    assert_eq!(brief(truncated), ("a b.", [2, 4, 9].as_slice(), 2, true));
    // The chunks are "a b. c d a." and "b c b. d a b.". Their joined summaries "a b. c d a." and "b c b. d a" are too long
    // as well and do not get shorter, so that they are truncated.
    let long = in_chunks(&summarizer, text, 6);
    assert_eq!(brief(&long), ("a b. c d a.", [2, 4, 9, 6, 7, 8].as_slice(), 5, true));
    // With this length the summaries of the chunks are "a b." and "b c", which fit together.
    let short = in_chunks(&summarizer, text, 3);
    assert_eq!(brief(&short), ("a b.", [2, 4, 9].as_slice(), 2, false));
    // A text that the model can read as a whole is not split.
    assert_eq!(brief(&in_chunks(&summarizer, "a b c d", 6)), ("a b c d", [2, 4, 5, 6, 7, 3].as_slice(), 5, false));
}

#[test]
fn a_sentence_that_does_not_fit_is_truncated() {
    let (_dir, summarizer) = open(BridgeOptions::default());
    let summary = in_chunks(&summarizer, "a b c d a b c d a.\nb c", 4);
    assert_eq!((summary.text.as_str(), summary.truncated), ("a b c", true));
}

#[test]
fn progress_counts_inputs_and_chunks() {
    let (_dir, summarizer) = open(BridgeOptions::default().beam_limit(12));
    let reports = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&reports);
    let progress = Progress::new(move |done, texts| sink.lock().expect("not poisoned").push((done, texts)));
    let options = of_length(3).map_reduce(true).progress(progress);
    summarizer.summarize_blocking(&inputs(&["a b. c d a. b c b. d a b.", "a"]), &options).expect("summaries");
    assert_eq!(*reports.lock().expect("not poisoned"), [(2, 2), (2, 2)]);
    reports.lock().expect("not poisoned").clear();
    let options = options.max_length(6);
    summarizer.summarize_each_blocking(&inputs(&["a b", "a", " ", "a b c"]), &options).expect("outcomes");
    assert_eq!(*reports.lock().expect("not poisoned"), [(2, 4), (3, 4), (4, 4)]);
}

/// Summarizes a text that does not end unless it is stopped. Returns the code of the error and the elapsed time.
fn stopped(summarizer: &Summarizer, options: &SummarizeOptions) -> (Option<&'static str>, Duration) {
    let started = Instant::now();
    (code(summarizer.summarize_blocking(&inputs(&["a slow b"]), options)), started.elapsed())
}

#[test]
fn a_call_ends_at_its_time_limit() {
    let (_dir, summarizer) = open(BridgeOptions::default());
    summarizer.warm_up_blocking().expect("a session");
    let limit = Duration::from_millis(100);
    let options = SummarizeOptions::default().timeout(limit);
    assert_below(MAX_STOP_TIME, || {
        let (code, took) = stopped(&summarizer, &options);
        assert_eq!(code, Some("timeout"));
        assert!(took >= limit, "{took:?}");
        took - limit
    });
    let options = SummarizeOptions::default().timeout(Duration::from_secs(60));
    assert_eq!(summarize(&summarizer, &["a b"]), Ok("a b".to_owned()));
    assert_eq!(summarizer.summarize_blocking(&inputs(&["a b"]), &options).map(|summaries| summaries.len()), Ok(1));
}

#[test]
fn a_token_cancels_a_running_and_a_waiting_call() {
    a_token_cancels_two_calls(1);
}

/// One of the two runs is on the calling thread, the other on a thread of the session.
#[test]
fn a_token_cancels_runs_beside_each_other() {
    a_token_cancels_two_calls(2);
}

fn a_token_cancels_two_calls(workers: usize) {
    let (_dir, summarizer) = with_workers(workers, BridgeOptions::default());
    summarizer.warm_up_blocking().expect("a session");
    assert_below(MAX_STOP_TIME, || {
        let cancel = CancelToken::new();
        let options = SummarizeOptions::default().cancel(cancel.clone());
        let took = thread::scope(|scope| {
            // The scope waits for the calls, which end only when they are cancelled.
            let _cancels = OnDrop(|| cancel.cancel());
            let calls: Vec<_> = (0..2).map(|_| scope.spawn(|| stopped(&summarizer, &options))).collect();
            until(|| {
                let status = summarizer.status();
                (status.running, status.waiting) == (workers, 2 - workers)
            });
            thread::sleep(IN_GRAPH);
            let cancelled = Instant::now();
            cancel.cancel();
            for call in calls {
                assert_eq!(call.join().expect("no panic").0, Some("cancelled"));
            }
            cancelled.elapsed()
        });
        assert_eq!(stopped(&summarizer, &options).0, Some("cancelled"));
        took
    });
    assert_eq!(summarize(&summarizer, &["a b"]), Ok("a b".to_owned()));
}

/// The longest text runs first and is finished before the slow one is stopped.
#[test]
fn a_stopped_call_keeps_its_finished_summaries() {
    let (_dir, summarizer) = with_workers(1, BridgeOptions::default().beam_limit(12));
    summarizer.warm_up_blocking().expect("a session");
    let codes = |options: &SummarizeOptions| -> Vec<Option<&'static str>> {
        let outcomes = summarizer.summarize_each_blocking(&inputs(&["a", "b slow", "a b c d"]), options);
        outcomes.expect("outcomes").into_iter().map(code).collect()
    };
    // The progress is reported when the first run has ended.
    let cancel = CancelToken::new();
    let token = cancel.clone();
    let options = SummarizeOptions::default().cancel(cancel).progress(Progress::new(move |_, _| token.cancel()));
    assert_eq!(codes(&options), [Some("cancelled"), Some("cancelled"), None]);
    // The first run needs longer than a limit if other processes slow it down.
    let timeout = Some("timeout");
    let mut limits =
        [2, 8, 32].map(|seconds| SummarizeOptions::default().timeout(Duration::from_secs(seconds))).into_iter();
    let found = limits.find_map(|options| Some(codes(&options)).filter(|codes| codes[2].is_none()));
    assert_eq!(found, Some(vec![timeout, timeout, None]));
}

#[tokio::test]
async fn dropping_the_future_cancels() {
    let (_dir, summarizer) = open(BridgeOptions::default());
    summarizer.warm_up().await.expect("a session");
    let mut times = Vec::new();
    while times.len() < 50 && times.last().is_none_or(|took| *took >= MAX_STOP_TIME) {
        let slow = summarizer.clone();
        let task = tokio::spawn(async move { slow.summarize(inputs(&["slow"]), SummarizeOptions::default()).await });
        let spawned = Instant::now();
        while summarizer.status().running < 1 {
            assert!(spawned.elapsed() < LIMIT, "the call never runs");
            tokio::task::yield_now().await;
        }
        thread::sleep(IN_GRAPH);
        task.abort();
        assert!(task.await.is_err());
        // This call needs the only session, which the cancelled call has to return.
        let started = Instant::now();
        let summaries = summarizer.summarize(inputs(&["a b"]), SummarizeOptions::default()).await;
        assert_eq!(summaries.map(|summaries| summaries[0].text.clone()), Ok("a b".to_owned()));
        times.push(started.elapsed());
    }
    assert!(times.last() < Some(&MAX_STOP_TIME), "{times:?}");
}

#[tokio::test]
async fn a_panic_in_a_call_is_internal() {
    let (_dir, summarizer) = open(BridgeOptions::default());
    let options = SummarizeOptions::default().progress(Progress::new(|_, _| panic!("on purpose")));
    let error = summarizer.summarize(inputs(&["a"]), options).await.expect_err("a panic");
    assert_eq!((error.code().as_str(), error.to_string().contains("on purpose")), ("internal", true), "{error}");
    assert!(summarizer.self_test().await.is_ok());
}

#[tokio::test]
async fn the_trait_summarizes() {
    let dir = common::summary::tiny();
    let bridge = OnnxMlBridge::builder().model(dir.path()).build().expect("a valid artifact");
    let object: Arc<dyn MlBridge> = Arc::new(bridge);
    assert!(object.health_check().await);
    assert_eq!(object.summarize_batch(inputs(&["c", "a b"])).await, Ok(vec!["c".to_owned(), "a b".to_owned()]));
    assert_eq!(object.summarize(vec!["a".to_owned(), "b".to_owned()]).await, Ok("a b".to_owned()));
    assert_eq!(code(object.summarize(vec![" ".to_owned()]).await), Some("empty_input"));
    assert_eq!(code(object.generate_embedding("a").await), Some("task_not_loaded"));
}

#[test]
fn lengths_that_contradict_each_other_are_refused() {
    let opened = |change: fn(&mut Value)| {
        let dir = common::summary::tiny();
        let mut manifest = common::summary::manifest();
        change(&mut manifest["summarization"]);
        common::seal(dir.path(), manifest);
        code(Summarizer::open(dir.path(), BridgeOptions::default()))
    };
    assert_eq!(opened(|_| ()), None);
    assert_eq!(opened(|spec| spec["defaults"]["min_length"] = json!(7)), Some("schema"));
    assert_eq!(opened(|spec| spec["defaults"]["max_length"] = json!(17)), Some("schema"));
    assert_eq!(opened(|spec| spec["fixed"]["early_stopping"] = json!("always")), Some("schema"));
    assert_eq!(opened(|spec| drop(spec.as_object_mut().map(|spec| spec.remove("join")))), Some("schema"));
}
