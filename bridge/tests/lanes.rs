//! Tests of many calls of one model at a time: queues, shared runs, stopped calls, and processes that are forked. The tests
//! count runs and calls, and do not measure time.
#![cfg(all(feature = "sentence-embedding", feature = "token-classification", feature = "rerank"))]

mod common;

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use common::wait::{LIMIT, OnDrop, until};
use onnx_ml_bridge::{
    BridgeError, BridgeOptions, CancelToken, EmbedOptions, Embedder, Embeddings, Model, ModelState, RecognizeOptions,
    Recognizer, RerankOptions, Reranker,
};
use serde_json::Value;
use tempfile::TempDir;

const WORDS: [&str; 8] = ["the", "old", "mill", "by", "river", "Ann", "Oslo", "dog"];

/// A copy of an artifact with a unique name, so that its runs are counted separately.
fn copy(artifact: &str, name: &str) -> TempDir {
    common::runs::record();
    let dir = common::copy(&common::golden().join("valid").join(artifact));
    let manifest = fs::read(dir.path().join("manifest.json")).expect("a manifest");
    let mut manifest: Value = serde_json::from_slice(&manifest).expect("JSON");
    manifest["name"] = name.into();
    common::write_manifest(dir.path(), format!("{manifest:#}\n").as_bytes());
    dir
}

fn embedder(name: &str, change: impl FnOnce(Model) -> Model, options: BridgeOptions) -> (TempDir, Embedder) {
    let dir = copy("tiny-embedding", name);
    let model = change(Model::new(dir.path()).variant("fp32"));
    let embedder = Embedder::open(model, options).expect("a valid artifact");
    embedder.warm_up_blocking().expect("a session");
    (dir, embedder)
}

/// A text of 1 to 24 words.
fn text(index: usize) -> String {
    (0..=index * 7 % 24).map(|word| WORDS[(index + word * 3) % WORDS.len()]).collect::<Vec<_>>().join(" ")
}

fn embed(embedder: &Embedder, text: &str) -> Result<Vec<f32>, BridgeError> {
    embedder.embed_blocking(&[text], &EmbedOptions::default()).map(|mut answer| answer.vectors.remove(0))
}

fn is_close(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-6)
}

/// Lets the first run of a model wait until the sender is dropped.
fn block_first_run(model: &str) -> Sender<()> {
    let (open, gate) = channel::<()>();
    let gate: Mutex<Receiver<()>> = Mutex::new(gate);
    common::runs::on_run(model, move |run| {
        if run == 1 {
            let _ = gate.lock().expect("not poisoned").recv();
        }
    });
    open
}

/// 64 calls wait for a run that is blocked. With `merge`, they share runs afterwards.
fn concurrent(name: &str, merge: bool) -> (u64, bool, bool) {
    let (_dir, embedder) = embedder(name, |model| model.merge(merge).workers(1), BridgeOptions::default());
    let alone: Vec<Vec<f32>> = (0..64).map(|index| embed(&embedder, &text(index)).expect("a vector")).collect();
    let gate = block_first_run(name);
    let calls: Vec<_> = (0..65)
        .map(|index| {
            let handle = embedder.clone();
            let call = thread::spawn(move || embed(&handle, &text(index % 64)).expect("a vector"));
            // The first call runs alone. The others wait, if they are encoded in time.
            until(|| embedder.status().waiting >= index && common::runs::count(name) == 1);
            call
        })
        .collect();
    drop(gate);
    let answers: Vec<Vec<f32>> = calls.into_iter().map(|call| call.join().expect("no panic")).collect();
    let together = &answers[..64];
    let close = alone.iter().zip(together).all(|(a, b)| is_close(a, b));
    (common::runs::count(name), close, alone == together)
}

#[test]
fn waiting_calls_share_runs() {
    let (runs, close, _) = concurrent("merged", true);
    assert!(runs < 33, "65 calls have {runs} runs");
    assert!(close);
    assert_eq!(concurrent("unmerged", false), (65, true, true));
}

#[test]
fn all_mergeable_tasks_share_runs() {
    let dir = copy("tiny-ner", "merged-ner");
    let one_run = |dir: &TempDir| Model::new(dir.path()).variant("fp32").workers(1);
    let recognizer = Recognizer::open(one_run(&dir), BridgeOptions::default()).expect("a model");
    let other = copy("tiny-rerank", "merged-rerank");
    let reranker = Reranker::open(one_run(&other), BridgeOptions::default()).expect("a model");
    let recognize = |recognizer: &Recognizer| {
        recognizer.recognize_blocking(&["Ann lives in Oslo"], &RecognizeOptions::default()).expect("entities")
    };
    let rerank = |reranker: &Reranker| {
        reranker.rerank_blocking("a mill", &["the old mill", "a river"], &RerankOptions::default()).expect("a ranking")
    };
    let (entities, ranking) = (recognize(&recognizer), rerank(&reranker));
    let gates = [block_first_run("merged-ner"), block_first_run("merged-rerank")];
    let calls: Vec<_> = (0..21)
        .map(|index| {
            let (recognizer_2, reranker_2) = (recognizer.clone(), reranker.clone());
            let calls = (thread::spawn(move || recognize(&recognizer_2)), thread::spawn(move || rerank(&reranker_2)));
            let has_started = |model| common::runs::count(model) == 1;
            until(|| recognizer.status().waiting >= index && has_started("merged-ner"));
            until(|| reranker.status().waiting >= index && has_started("merged-rerank"));
            calls
        })
        .collect();
    drop(gates);
    for (recognized, ranked) in calls {
        let (recognized, ranked) = (recognized.join().expect("no panic"), ranked.join().expect("no panic"));
        assert_eq!(recognized[0].entities.len(), entities[0].entities.len());
        assert!(ranked.iter().zip(&ranking).all(|(a, b)| a.index == b.index && (a.score - b.score).abs() <= 1e-5));
    }
    for model in ["merged-ner", "merged-rerank"] {
        assert!(common::runs::count(model) < 8, "{model} has {} runs", common::runs::count(model));
    }
}

#[test]
fn a_full_queue_answers_at_once() {
    let name = "bounded";
    let (_dir, embedder) = embedder(name, |model| model.merge(false), BridgeOptions::default().max_waiting(128));
    let largest = Arc::new(AtomicUsize::new(0));
    let (handle, seen) = (embedder.clone(), Arc::clone(&largest));
    let is_open = Arc::new(AtomicBool::new(false));
    let gate = Arc::clone(&is_open);
    // The runs begin when all calls have arrived.
    common::runs::on_run(name, move |_| {
        until(|| gate.load(Ordering::SeqCst));
        seen.fetch_max(handle.status().waiting, Ordering::SeqCst);
    });
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).build().expect("a runtime");
    let refused = Arc::new(AtomicUsize::new(0));
    // Dropped before the runtime, also when an assertion fails.
    let opens = OnDrop(|| is_open.store(true, Ordering::SeqCst));
    let call = |index| {
        let (embedder, refused) = (embedder.clone(), Arc::clone(&refused));
        runtime.spawn(async move {
            match embedder.embed(vec![text(index)], EmbedOptions::default()).await {
                Ok(answer) => answer.vectors.len(),
                Err(error) => {
                    assert_eq!((error.code().as_str(), error.is_retryable()), ("overloaded", true));
                    refused.fetch_add(1, Ordering::SeqCst);
                    0
                }
            }
        })
    };
    // One call runs before the queue is full.
    let mut tasks = vec![call(0)];
    until(|| embedder.status().running == 1);
    tasks.extend((1..1000).map(call));
    let counts = || {
        let (refused, status) = (refused.load(Ordering::SeqCst), embedder.status());
        (refused, status.waiting, status.running)
    };
    until(|| {
        let (refused, waiting, running) = counts();
        refused + waiting + running == 1000
    });
    let (refused, waiting, running) = counts();
    drop(opens);
    // A second run may start when the queue is full, and leave it.
    assert!(waiting <= 128 && waiting + running > 128, "{waiting} calls wait, {running} run");
    let answered: usize = runtime.block_on(async {
        let mut answered = 0;
        for task in tasks {
            answered += task.await.expect("no panic");
        }
        answered
    });
    assert_eq!((answered, refused), (waiting + running, 1000 - waiting - running));
    assert_eq!(common::runs::count(name), answered as u64);
    assert!((1..=128).contains(&largest.load(Ordering::SeqCst)), "{largest:?} calls waited");
    assert_eq!((embedder.status().waiting, embedder.status().running), (0, 0));
}

/// What ends a call, and when.
type EndAction = (Duration, Box<dyn FnOnce() + Send>);

/// How a call ends early.
#[derive(Clone, Copy)]
enum End {
    Not,
    Cancel,
    Timeout,
    Drop,
}

/// 1,000 calls are cancelled, exceed their time limits or are dropped, at random moments, among 1,000 others.
#[test]
fn stopped_calls_lose_no_other_call() {
    let (_dir, embedder) = embedder("stopped", |model| model, BridgeOptions::default().max_waiting(10_000));
    let expected: Vec<Vec<f32>> = (0..24).map(|index| embed(&embedder, &text(index)).expect("a vector")).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).build().expect("a runtime");
    let mut random = 7_u64;
    let (mut calls, mut ends): (Vec<_>, Vec<EndAction>) = (Vec::new(), Vec::new());
    for index in 0..2000 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let delay = Duration::from_micros(1 + (random >> 33) % 300_000);
        let end = [End::Not, End::Cancel, End::Not, End::Timeout, End::Not, End::Drop][index % 6];
        let (handle, token) = (embedder.clone(), CancelToken::new());
        let options = EmbedOptions::default().cancel(token.clone());
        let options = if matches!(end, End::Timeout) { options.timeout(delay) } else { options };
        let texts = (0..3).map(|offset| text((index + offset) % 24)).collect();
        let call = runtime.spawn(async move { handle.embed(texts, options).await });
        let aborted = call.abort_handle();
        match end {
            End::Not | End::Timeout => {}
            End::Cancel => ends.push((delay, Box::new(move || token.cancel()))),
            End::Drop => ends.push((delay, Box::new(move || aborted.abort()))),
        }
        calls.push((index, end, call));
    }
    ends.sort_by_key(|(delay, _)| *delay);
    let started = Instant::now();
    for (delay, end) in ends {
        thread::sleep(delay.saturating_sub(started.elapsed()));
        end();
    }
    let stopped: Vec<&str> = runtime.block_on(async {
        let mut stopped = Vec::new();
        for (index, end, call) in calls {
            stopped.extend(check(index, end, call.await, &expected));
        }
        stopped
    });
    assert!(stopped.len() > 100, "only {} calls were stopped", stopped.len());
    assert_eq!((embedder.status().waiting, embedder.status().state), (0, ModelState::Ready));
    until(|| embedder.status().running == 0);
    assert!(embedder.self_test_blocking().is_ok());
}

/// Checks the answer of a call. Returns how the call was stopped; `None` if it was not.
fn check(
    index: usize,
    end: End,
    answer: Result<Result<Embeddings, BridgeError>, tokio::task::JoinError>,
    expected: &[Vec<f32>],
) -> Option<&'static str> {
    let reason = match answer {
        Ok(Ok(answer)) => {
            let mut vectors = answer.vectors.iter().enumerate();
            assert!(vectors.all(|(offset, vector)| is_close(vector, &expected[(index + offset) % 24])));
            return None;
        }
        Ok(Err(error)) => error.code().as_str(),
        Err(error) if error.is_cancelled() => "dropped",
        Err(error) => panic!("{error}"),
    };
    let allowed = match end {
        End::Not => "",
        End::Cancel => "cancelled",
        End::Timeout => "timeout",
        End::Drop => "dropped",
    };
    assert_eq!(reason, allowed);
    Some(reason)
}

#[test]
fn concurrent_calls_have_the_answers_of_serial_ones() {
    for merge in [false, true] {
        let name = if merge { "many-merged" } else { "many" };
        let (_dir, embedder) = embedder(name, |model| model.merge(merge).workers(2), BridgeOptions::default());
        let expected: Vec<Vec<f32>> = (0..24).map(|index| embed(&embedder, &text(index)).expect("a vector")).collect();
        let next = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    while let index @ 0..10_000 = next.fetch_add(1, Ordering::Relaxed) {
                        let vector = embed(&embedder, &text(index % 24)).expect("a vector");
                        let expected = &expected[index % 24];
                        assert!(if merge { is_close(&vector, expected) } else { vector == *expected });
                    }
                });
            }
        });
    }
}

/// The number of threads of this process.
#[cfg(target_os = "linux")]
fn threads() -> usize {
    fs::read_dir("/proc/self/task").expect("threads").count()
}

#[test]
#[cfg(target_os = "linux")]
fn waiting_calls_need_no_threads() {
    let name = "threads";
    let (_dir, embedder) = embedder(name, |model| model.workers(1), BridgeOptions::default());
    let gate = block_first_run(name);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let options = EmbedOptions::default().timeout(Duration::from_secs(600));
        let call = |index| {
            let (embedder, options) = (embedder.clone(), options.clone());
            tokio::spawn(async move { embedder.embed(vec![text(index)], options).await })
        };
        // The first run has one call: several in it would count as one.
        let mut calls = vec![call(0)];
        while embedder.status().running < 1 {
            tokio::task::yield_now().await;
        }
        calls.extend((1..500).map(call));
        while embedder.status().waiting + embedder.status().running < 500 {
            tokio::task::yield_now().await;
        }
        let waiting = threads();
        // The other tests of this executable have fewer than 400 threads.
        assert!(waiting < 400, "{waiting} threads");
        drop(gate);
        for call in calls {
            assert!(call.await.expect("no panic").is_ok());
        }
    });
}

/// The runs of this call outnumber the operations that tokio allows a task before it has to yield.
#[test]
fn a_blocking_call_works_inside_of_a_task() {
    let (_dir, embedder) = embedder("inside", |model| model.run_tokens(1), BridgeOptions::default());
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let texts: Vec<String> = (0..600).map(text).collect();
    let answer = runtime.block_on(async {
        tokio::spawn(async move { embedder.embed_blocking(&texts, &EmbedOptions::default()) }).await.expect("no panic")
    });
    assert_eq!(answer.map(|answer| answer.vectors.len()), Ok(600));
    assert!(common::runs::count("inside") >= 600);
}

/// A process that is forked after the first call has no threads: its calls fail, and opening the model again works.
#[test]
#[cfg(target_os = "linux")]
fn a_fork_answers_with_an_error() {
    unsafe extern "C" {
        fn fork() -> i32;
        fn waitpid(process: i32, status: *mut i32, options: i32) -> i32;
        fn kill(process: i32, signal: i32) -> i32;
        fn _exit(status: i32) -> !;
    }
    if std::env::var_os("ONNX_ML_BRIDGE_FORK").is_none() {
        // The other tests of this executable have threads, which may hold the locks of the memory allocator.
        let mut command = std::process::Command::new(std::env::current_exe().expect("the path of the executable"));
        command.args(["--exact", "a_fork_answers_with_an_error", "--test-threads=1"]);
        let output = command.env("ONNX_ML_BRIDGE_FORK", "1").output().expect("a process");
        assert!(output.status.success(), "{output:?}");
        return;
    }
    let (_dir, embedder) = embedder("forked", |model| model, BridgeOptions::default());
    let options = EmbedOptions::default().timeout(Duration::from_secs(60));
    embedder.embed_blocking(&["a"], &options).expect("a vector");
    // SAFETY: the child only makes calls that do not depend on other threads, and ends with `_exit`.
    let child = unsafe { fork() };
    if child == 0 {
        let error = embedder.embed_blocking(&["a"], &options).err();
        let is_typed = error.is_some_and(|error| error.to_string().contains("forked"));
        let is_failed = embedder.status().state == ModelState::Failed;
        drop(embedder);
        unsafe { _exit(if is_typed && is_failed { 7 } else { 8 }) }
    }
    let mut status = 0;
    let started = Instant::now();
    let mut ended = false;
    while !ended && started.elapsed() < LIMIT {
        thread::sleep(Duration::from_millis(100));
        ended = unsafe { waitpid(child, &mut status, 1) == child };
    }
    if !ended {
        unsafe { kill(child, 9) };
    }
    assert!(ended, "the child hangs");
    assert_eq!(status >> 8, 7);
    assert!(embedder.embed_blocking(&["a"], &options).is_ok());
}
