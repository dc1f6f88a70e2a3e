//! Tests that a stopped call starts no further run, for every task. The tests count runs and do not measure time.
#![cfg(all(
    feature = "sentence-embedding",
    feature = "token-classification",
    feature = "spacy",
    feature = "summarization",
    feature = "rerank"
))]

mod common;

use std::fs;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, channel, sync_channel};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use common::wait::{LIMIT, until};
use onnx_ml_bridge::{
    BridgeError, BridgeOptions, CancelToken, EmbedOptions, MlBridge, Model, OnnxMlBridge, RecognizeOptions,
    RerankOptions, SummarizeOptions, Task,
};
use serde_json::Value;
use tempfile::TempDir;

/// An open model, whose calls need many runs.
struct Subject {
    _dir: TempDir,
    bridge: OnnxMlBridge,
    task: Task,
    name: String,
}

const ARTIFACTS: [&str; 5] = ["tiny-embedding", "tiny-ner", "tiny-spacy", "tiny-summary", "tiny-rerank"];
/// The texts of a call. Together they need more than ten runs of every model.
const TEXTS: usize = 200;

/// Opens a copy of an artifact whose name is unique, so that its runs are counted separately.
fn subject(artifact: &str, test: &str, options: BridgeOptions) -> Subject {
    common::runs::record();
    let dir = common::copy(&common::golden().join("valid").join(artifact));
    let mut manifest: Value =
        serde_json::from_slice(&fs::read(dir.path().join("manifest.json")).expect("a manifest")).expect("JSON");
    let name = format!("{artifact}-{test}");
    manifest["name"] = name.clone().into();
    common::write_manifest(dir.path(), format!("{manifest:#}\n").as_bytes());
    let options = options.beam_limit(300);
    let builder = OnnxMlBridge::builder().model(Model::new(dir.path()).variant("fp32").workers(1)).options(options);
    let bridge = builder.build().expect("a valid artifact");
    bridge.warm_up_blocking().expect("sessions");
    let task = bridge.models()[0].task;
    Subject { _dir: dir, bridge, task, name }
}

fn subjects(test: &str, options: &BridgeOptions) -> Vec<Subject> {
    ARTIFACTS.iter().map(|artifact| subject(artifact, test, options.clone())).collect()
}

fn texts() -> Vec<String> {
    vec!["the old mill by the river ".repeat(10); TEXTS]
}

/// The codes of the outcomes of the texts of a call.
fn codes<T>(outcomes: Result<Vec<Result<T, BridgeError>>, BridgeError>) -> Vec<Option<&'static str>> {
    let code = |outcome: Result<T, BridgeError>| outcome.err().map(|error| error.code().as_str());
    outcomes.expect("outcomes").into_iter().map(code).collect()
}

impl Subject {
    /// Sets what happens when a run starts.
    fn on_run(&self, hook: impl Fn(u64) + Send + Sync + 'static) {
        common::runs::on_run(&self.name, hook);
    }

    /// The number of runs that have started.
    fn runs(&self) -> u64 {
        common::runs::count(&self.name)
    }

    /// Makes the full call of the task, without blocking. Returns the code of its error.
    fn call(
        &self,
        cancel: &CancelToken,
        timeout: Option<Duration>,
    ) -> Pin<Box<dyn Future<Output = Option<&'static str>> + Send>> {
        fn code<T>(result: Result<T, BridgeError>) -> Option<&'static str> {
            result.err().map(|error| error.code().as_str())
        }
        macro_rules! options {
            ($options:expr) => {{
                let options = $options.cancel(cancel.clone());
                if let Some(limit) = timeout { options.timeout(limit) } else { options }
            }};
        }
        match self.task {
            Task::Embedding => {
                let (model, options) =
                    (self.bridge.embedder(None).expect("a model"), options!(EmbedOptions::default()));
                Box::pin(async move { code(model.embed(texts(), options).await) })
            }
            Task::Ner => {
                let model = self.bridge.recognizer(None).expect("a model");
                let options = options!(RecognizeOptions::default());
                Box::pin(async move { code(model.recognize(texts(), options).await) })
            }
            Task::Summarization => {
                let model = self.bridge.summarizer(None).expect("a model");
                let options = options!(SummarizeOptions::default());
                let inputs = texts().into_iter().map(|text| vec![text]).collect();
                Box::pin(async move { code(model.summarize(inputs, options).await) })
            }
            Task::Rerank => {
                let (model, options) =
                    (self.bridge.reranker(None).expect("a model"), options!(RerankOptions::default()));
                Box::pin(async move { code(model.rerank("a mill".to_owned(), texts(), options).await) })
            }
            other => panic!("no call for {other}"),
        }
    }

    /// Makes the call that returns the outcome of each text. Returns their codes; `None` for a task without such a call.
    fn each(&self, cancel: &CancelToken) -> Option<Vec<Option<&'static str>>> {
        match self.task {
            Task::Embedding => {
                let options = EmbedOptions::default().cancel(cancel.clone());
                Some(codes(self.bridge.embedder(None).expect("a model").embed_each_blocking(&texts(), &options)))
            }
            Task::Ner => {
                let options = RecognizeOptions::default().cancel(cancel.clone());
                Some(codes(self.bridge.recognizer(None).expect("a model").recognize_each_blocking(&texts(), &options)))
            }
            Task::Summarization => {
                let options = SummarizeOptions::default().cancel(cancel.clone());
                let inputs: Vec<Vec<String>> = texts().into_iter().map(|text| vec![text]).collect();
                Some(codes(self.bridge.summarizer(None).expect("a model").summarize_each_blocking(&inputs, &options)))
            }
            _ => None,
        }
    }
}

#[tokio::test]
async fn a_cancelled_call_starts_no_run() {
    for subject in subjects("before", &BridgeOptions::default()) {
        let cancelled = CancelToken::new();
        cancelled.cancel();
        subject.on_run(|_| ());
        assert_eq!(subject.call(&cancelled, None).await, Some("cancelled"), "{}", subject.name);
        if let Some(codes) = subject.each(&cancelled) {
            assert_eq!(codes, [Some("cancelled"); TEXTS], "{}", subject.name);
        }
        assert_eq!(subject.runs(), 0, "{}", subject.name);
        assert_eq!(subject.call(&CancelToken::new(), None).await, None, "{}", subject.name);
        assert!(subject.runs() > 10, "{} has {} runs", subject.name, subject.runs());
    }
}

/// The seventh run is cancelled when it starts. The answers of the runs before it are kept.
#[tokio::test]
async fn no_run_starts_after_a_cancel() {
    for subject in subjects("during", &BridgeOptions::default()) {
        for each in [false, true] {
            let cancel = CancelToken::new();
            let token = cancel.clone();
            subject.on_run(move |run| {
                if run == 7 {
                    token.cancel()
                }
            });
            let code = if each { None } else { Some(subject.call(&cancel, None).await) };
            assert!(code.is_none_or(|code| code == Some("cancelled")), "{}", subject.name);
            let codes = if each { subject.each(&cancel) } else { None };
            if let Some(codes) = codes {
                let kept = codes.iter().filter(|code| code.is_none()).count();
                let stopped = codes.iter().filter(|code| **code == Some("cancelled")).count();
                assert!(kept > 0 && stopped > 0 && kept + stopped == TEXTS, "{} kept {kept}", subject.name);
            } else if each {
                continue;
            }
            assert_eq!(subject.runs(), 7, "{}", subject.name);
        }
    }
}

/// Makes a call that exceeds its time limit. Its third run lasts until the call has returned. Returns the number of runs.
async fn runs_of_late_call(subject: &Subject, timeout: Option<Duration>) -> u64 {
    let (returned, has_returned) = channel::<()>();
    let has_returned = Mutex::new(has_returned);
    subject.on_run(move |run| {
        if run == 3 {
            let _ = has_returned.lock().expect("not poisoned").recv_timeout(LIMIT);
        }
    });
    assert_eq!(subject.call(&CancelToken::new(), timeout).await, Some("timeout"), "{}", subject.name);
    drop(returned);
    let has_ended = || subject.bridge.status().iter().all(|model| (model.running, model.waiting) == (0, 0));
    until(has_ended);
    // Between two runs of a call, none runs: a further run starts at once.
    thread::sleep(Duration::from_millis(50));
    until(has_ended);
    let runs = subject.runs();
    assert!(runs <= 3, "{}: {runs} runs", subject.name);
    runs
}

/// The time limit is that of the call, of the bridge or of the model.
#[tokio::test]
async fn no_run_starts_after_the_time_limit() {
    // A short limit may be over before the third run if other processes slow down the call.
    let limits = [500, 2000, 8000, 32_000].map(Duration::from_millis);
    for subject in subjects("timeout", &BridgeOptions::default()) {
        let mut runs = 0;
        for limit in limits {
            if runs < 3 {
                runs = runs_of_late_call(&subject, Some(limit)).await;
            }
        }
        assert_eq!(runs, 3, "{}", subject.name);
    }
    let mut runs = 0;
    for limit in limits {
        if runs < 3 {
            let subject = subject("tiny-embedding", "default-timeout", BridgeOptions::default().timeout(limit));
            runs = runs_of_late_call(&subject, None).await;
            // The limit of a call replaces that of the bridge.
            subject.on_run(move |run| {
                if run == 3 {
                    thread::sleep(limit * 2);
                }
            });
            assert_eq!(subject.call(&CancelToken::new(), Some(Duration::from_secs(600))).await, None);
        }
    }
    assert_eq!(runs, 3);
}

/// A runtime with one blocking thread, and a sender whose drop frees this thread.
fn busy_runtime() -> (tokio::runtime::Runtime, SyncSender<()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).max_blocking_threads(1).build();
    let (runtime, (sender, receiver)) = (runtime.expect("a runtime"), sync_channel::<()>(0));
    runtime.spawn_blocking(move || receiver.recv());
    (runtime, sender)
}

/// Polls a future once.
async fn poll_once<F: Future + Unpin>(future: &mut F) -> bool {
    poll_fn(|context| Poll::Ready(Pin::new(&mut *future).poll(context).is_ready())).await
}

#[test]
fn a_future_that_is_dropped_before_its_run_starts_none() {
    for subject in subjects("dropped", &BridgeOptions::default()) {
        subject.on_run(|_| ());
        let (runtime, busy) = busy_runtime();
        runtime.block_on(async {
            let mut call = subject.call(&CancelToken::new(), None);
            assert!(!poll_once(&mut call).await);
            drop(call);
            drop(busy);
            // The only thread has taken up the dropped call before this code.
            tokio::task::spawn_blocking(|| ()).await.expect("no panic");
        });
        assert_eq!(subject.runs(), 0, "{}", subject.name);
    }
}

/// A call that waits for a blocking thread exceeds its time limit there.
#[test]
fn the_time_limit_includes_the_wait_for_a_thread() {
    let subject = subject("tiny-embedding", "waiting", BridgeOptions::default());
    subject.on_run(|_| ());
    let (runtime, busy) = busy_runtime();
    let call = runtime.block_on(started(subject.call(&CancelToken::new(), Some(Duration::from_millis(50)))));
    thread::sleep(Duration::from_secs(2));
    drop(busy);
    assert_eq!(runtime.block_on(call), Some("timeout"));
    assert_eq!(subject.runs(), 0);
}

/// Polls a future once. The returned one ends with it.
async fn started<F: Future + Unpin>(mut future: F) -> impl Future<Output = F::Output> {
    let first = poll_fn(|context| Poll::Ready(Pin::new(&mut future).poll(context))).await;
    async move {
        match first {
            Poll::Ready(output) => output,
            Poll::Pending => future.await,
        }
    }
}

/// Runs a test on a thread, and fails if it does not end.
fn in_time(test: impl FnOnce() + Send + 'static) {
    let (sender, ended) = channel();
    let thread = thread::spawn(move || {
        test();
        sender.send(()).expect("a receiver");
    });
    let end = ended.recv_timeout(LIMIT);
    assert_ne!(end, Err(RecvTimeoutError::Timeout), "the calls wait for each other");
    thread.join().expect("no panic");
}

/// A text that is tokenized on a blocking thread.
fn long_text() -> Vec<String> {
    vec!["a ".repeat(20_000)]
}

/// What waits for the calls of a model has none of the blocking threads that these calls need.
#[test]
fn closing_leaves_the_blocking_threads_to_the_calls() {
    for removes in [false, true] {
        let subject = subject("tiny-embedding", "closed", BridgeOptions::default());
        in_time(move || {
            let (runtime, busy) = busy_runtime();
            let (bridge, name) = (subject.bridge.clone(), subject.bridge.models()[0].name.clone());
            let embedder = bridge.embedder(None).expect("a model");
            runtime.block_on(async {
                let close = started(if removes { bridge.remove(&name) } else { bridge.close() }).await;
                let call = started(Box::pin(embedder.embed(long_text(), EmbedOptions::default()))).await;
                drop(busy);
                // The call comes before the close, or after it.
                let code = call.await.err().map(|error| error.code().as_str());
                assert!([None, Some("closed")].contains(&code), "{code:?}");
                assert_eq!(close.await, Ok(()));
            });
        });
    }
}

/// The load of a model waits for the memory of another one, and leaves the blocking threads to the calls of that one.
#[test]
fn a_load_leaves_the_blocking_threads_to_the_calls() {
    let artifacts = ["one", "two"].map(|name| common::tiny_version(name, "1", 1.0, 700 << 10));
    let builder = artifacts.iter().fold(OnnxMlBridge::builder(), |builder, artifact| builder.model(artifact.path()));
    let bridge = builder.options(BridgeOptions::default().memory_mb(1)).build().expect("valid artifacts");
    in_time(move || {
        let [one, two] = ["one", "two"].map(|name| bridge.embedder(Some(name)).expect("a model"));
        one.warm_up_blocking().expect("sessions");
        let (runtime, busy) = busy_runtime();
        runtime.block_on(async {
            let load = started(Box::pin(two.warm_up())).await;
            let call = started(Box::pin(one.embed(long_text(), EmbedOptions::default()))).await;
            drop(busy);
            let (answer, loaded) = tokio::join!(call, load);
            assert_eq!((answer.map(|answer| answer.vectors.len()), loaded), (Ok(1), Ok(())));
        });
    });
    drop(artifacts);
}

/// The future is dropped while the third run starts.
#[test]
fn no_run_starts_after_a_future_is_dropped() {
    for subject in subjects("dropped-later", &BridgeOptions::default()) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("a runtime");
        let (started, is_started) = sync_channel::<()>(0);
        let (dropped, is_dropped) = sync_channel::<()>(0);
        let is_dropped: Mutex<Receiver<()>> = Mutex::new(is_dropped);
        subject.on_run(move |run| {
            if run == 3 {
                started.send(()).expect("a receiver");
                is_dropped.lock().expect("not poisoned").recv().expect("a sender");
            }
        });
        let call = runtime.spawn(subject.call(&CancelToken::new(), None));
        is_started.recv().expect("the third run");
        call.abort();
        assert!(runtime.block_on(call).is_err());
        dropped.send(()).expect("a receiver");
        // Dropping the runtime waits for the blocking thread of the call.
        drop(runtime);
        assert_eq!(subject.runs(), 3, "{}", subject.name);
        subject.on_run(|_| ());
        assert!(subject.bridge.health_check_blocking(), "{}", subject.name);
    }
}
