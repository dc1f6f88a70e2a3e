//! Tests that models are loaded, unloaded, added and closed while calls run.
#![cfg(feature = "sentence-embedding")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use common::life::{answer, bridge, code, options, reload, under_load, version};
use common::wait::until;
use onnx_ml_bridge::{
    BridgeError, CancelToken, EmbedOptions, Embedder, MlBridge, Model, ModelInfo, ModelState, OnnxMlBridge,
    ReloadOptions,
};
use tempfile::TempDir;

/// Writes a file beside the old one and renames it, so that the file is another one on disk.
fn replace(path: &Path, bytes: &[u8]) {
    let new = path.with_extension("new");
    fs::write(&new, bytes).expect("a file");
    fs::rename(&new, path).expect("a rename");
}

#[test]
fn unloads_under_load_lose_no_call() {
    let artifact = version("1", 1.0);
    let (_bridge, embedder) = bridge(&artifact);
    let work = || match answer(&embedder) {
        Ok(0.5) => {
            thread::sleep(Duration::from_millis(2)); // sometimes no call runs
            Ok(())
        }
        other => Err(format!("{other:?}")),
    };
    let freed = AtomicUsize::new(0);
    let calls = under_load(work, |calls| {
        let started = Instant::now();
        while freed.load(Ordering::SeqCst) < 200 || calls.load(Ordering::SeqCst) <= 50 {
            assert!(started.elapsed() < Duration::from_secs(300), "{freed:?} unloads, {calls:?} calls");
            embedder.unload();
            freed.fetch_add(usize::from(embedder.resident_bytes() == 0), Ordering::SeqCst);
            thread::sleep(Duration::from_millis(1));
        }
    });
    println!("{calls} calls, {} unloads", freed.into_inner());
}

/// A call of a model named `held` whose run waits until the test releases it.
struct Held {
    _artifact: TempDir,
    bridge: OnnxMlBridge,
    embedder: Embedder,
    release: Sender<()>,
    call: JoinHandle<Result<f32, BridgeError>>,
}

fn held() -> Held {
    common::runs::record();
    let artifact = common::tiny_version("held", "1", 1.0, 0);
    let (bridge, embedder) = bridge(&artifact);
    let (running, release) = hold("held");
    let handle = embedder.clone();
    let call = thread::spawn(move || answer(&handle));
    running.recv().expect("a run");
    Held { _artifact: artifact, bridge, embedder, release, call }
}

/// Lets the first run of a model wait. Returns what tells that it has started, and what lets it go on.
fn hold(model: &str) -> (Receiver<()>, Sender<()>) {
    let ((started, running), (release, released)) = (channel(), channel());
    let released = Mutex::new(released);
    common::runs::on_run(model, move |run| {
        if run == 1 {
            started.send(()).expect("a receiver");
            released.lock().expect("not poisoned").recv().expect("a sender");
        }
    });
    (running, release)
}

/// One test, because there is one call that waits.
#[test]
fn a_running_call_keeps_its_model() {
    // An unload frees the graphs when the call has ended.
    let Held { _artifact, embedder, release, call, .. } = held();
    embedder.unload();
    assert!(embedder.resident_bytes() > 0);
    release.send(()).expect("a call");
    assert_eq!(call.join().expect("no panic"), Ok(0.5));
    assert_eq!(embedder.resident_bytes(), 0);

    // A reload does not wait for the call, which ends with the old version.
    let Held { _artifact, bridge, embedder, release, call } = held();
    let second = version("2", 2.0);
    reload(&bridge, second.path()).expect("the second version");
    assert_eq!((answer(&embedder), call.is_finished()), (Ok(1.0), false));
    release.send(()).expect("a call");
    assert_eq!(call.join().expect("no panic"), Ok(0.5));

    // Closing waits for the call and refuses others.
    let Held { _artifact, bridge, embedder, release, call } = held();
    let other = bridge.clone();
    let closing = thread::spawn(move || other.close_blocking());
    // A call that is made before the model is closed would wait for the one that runs.
    until(|| code(bridge.embedder(None)) == Some("task_not_loaded") && embedder.status().state == ModelState::Closed);
    assert_eq!(code(answer(&embedder)), Some("closed"));
    thread::sleep(Duration::from_millis(30));
    assert!(!closing.is_finished() && !call.is_finished());
    release.send(()).expect("a call");
    assert_eq!(closing.join().expect("no panic"), Ok(()));
    assert_eq!((call.join().expect("no panic"), embedder.resident_bytes()), (Ok(0.5), 0));
}

#[test]
fn a_closed_bridge_answers_no_call() {
    let artifact = version("1", 1.0);
    let (bridge, embedder) = bridge(&artifact);
    assert_eq!(answer(&embedder), Ok(0.5));
    assert_eq!(bridge.close_blocking(), Ok(()));
    assert_eq!((code(answer(&embedder)), embedder.resident_bytes()), (Some("closed"), 0));
    assert_eq!(embedder.info().version, "1");
    assert_eq!(code(bridge.embedder(None)), Some("task_not_loaded"));
    assert_eq!(code(reload(&bridge, Path::new("x"))), Some("closed"));
    assert_eq!(code(bridge.add_blocking(Model::new("x"))), Some("closed"));
    assert_eq!((bridge.close_blocking(), bridge.models().len()), (Ok(()), 0));
}

#[tokio::test]
async fn models_are_added_and_removed() {
    let (first, second) = (version("1", 1.0), version("2", 2.0));
    let (bridge, embedder) = bridge(&first);
    let bridge: Arc<dyn MlBridge> = Arc::new(bridge);
    assert_eq!(code(bridge.add(Model::new(second.path())).await), Some("config"));
    assert_eq!(code(bridge.add(Model::new(second.path()).name("x").device("tpu")).await), Some("config"));
    let info = bridge.add(Model::new(second.path()).name("other").preload(true)).await.expect("a model");
    assert_eq!((info.name.as_str(), info.version.as_str()), ("other", "2"));
    assert_eq!(code(bridge.generate_embedding("a").await), Some("model_not_found"));
    let other = bridge.embedder(Some("other")).expect("an embedder");
    assert!(other.resident_bytes() > 0);
    assert_eq!((answer(&embedder), answer(&other)), (Ok(0.5), Ok(1.0)));
    assert_eq!(bridge.remove("tiny").await, Ok(()));
    assert_eq!(code(embedder.embed(vec!["a".to_owned()], EmbedOptions::default()).await), Some("closed"));
    assert_eq!(bridge.generate_embedding("a b").await.map(|vector| vector[1]), Ok(1.0));
    assert_eq!(code(bridge.remove("tiny").await), Some("model_not_found"));
    assert_eq!(code(bridge.reload("other", ReloadOptions::default().path(first.path())).await), None);
    assert_eq!(answer(&other), Ok(0.5));
    assert_eq!(bridge.close().await, Ok(()));
    assert_eq!(code(bridge.generate_embedding("a").await), Some("task_not_loaded"));
}

/// A bridge that implements none of the calls that change it.
struct Fixed;

impl MlBridge for Fixed {
    fn models(&self) -> Vec<ModelInfo> {
        Vec::new()
    }
}

#[tokio::test]
async fn a_bridge_may_not_support_changes() {
    let bridge: Arc<dyn MlBridge> = Arc::new(Fixed);
    let reload = ReloadOptions::default;
    let (add, added) = (bridge.add(Model::new("a")).await, bridge.add_blocking(Model::new("a")));
    let (remove, removed) = (bridge.remove("a").await, bridge.remove_blocking("a"));
    let (reload, reloaded) = (bridge.reload("a", reload()).await, bridge.reload_blocking("a", &reload()));
    let (close, closed) = (bridge.close().await, bridge.close_blocking());
    let codes = [code(add), code(added), code(remove), code(removed), code(reload), code(reloaded)];
    assert_eq!(codes, [Some("config"); 6]);
    assert_eq!((code(close), code(closed)), (Some("config"), Some("config")));
}

#[test]
fn files_that_changed_on_disk_are_hashed_again() {
    let artifact = version("1", 1.0);
    let (_bridge, embedder) = bridge(&artifact);
    let path: PathBuf = artifact.path().join("onnx/model.onnx");
    let bytes = fs::read(&path).expect("a graph");
    let mut other = bytes.clone();
    *other.last_mut().expect("bytes") ^= 1;
    // Before the first load, then after an unload.
    for _ in 0..2 {
        replace(&path, &other);
        assert_eq!((code(answer(&embedder)), embedder.resident_bytes()), (Some("file_hash"), 0));
        fs::remove_file(&path).expect("a file");
        assert_eq!(code(answer(&embedder)), Some("io"));
        replace(&path, &bytes);
        assert_eq!(answer(&embedder), Ok(0.5));
        embedder.unload();
    }
    // A loaded model does not look at its files.
    assert_eq!(answer(&embedder), Ok(0.5));
    fs::write(&path, &other).expect("a file");
    assert_eq!(answer(&embedder), Ok(0.5));
}

/// Every thread of a spaCy pipeline loads graphs of its own: the second one when two runs meet.
#[test]
#[cfg(feature = "spacy")]
fn a_thread_that_loads_later_refuses_files_that_have_changed() {
    use onnx_ml_bridge::{RecognizeOptions, Recognizer};

    common::runs::record();
    let artifact = common::copy(&common::golden().join("valid/tiny-spacy"));
    let recognizer = Recognizer::open(Model::new(artifact.path()).workers(2), options()).expect("a model");
    recognizer.warm_up_blocking().expect("sessions");
    let recognize = |recognizer: &Recognizer| {
        let answer = recognizer.recognize_blocking(&["Ann lives in Oslo."], &RecognizeOptions::default());
        answer.map(|texts| texts.len()).map_err(|error| error.code().as_str())
    };
    let (running, release) = hold("tiny-spacy");
    let handle = recognizer.clone();
    let first = thread::spawn(move || recognize(&handle));
    running.recv().expect("a run");
    let path = artifact.path().join("onnx/model.onnx");
    let mut bytes = fs::read(&path).expect("a graph");
    for expected in [Err("file_hash"), Ok(1)] {
        *bytes.last_mut().expect("bytes") ^= 1;
        replace(&path, &bytes);
        assert_eq!(recognize(&recognizer), expected);
    }
    release.send(()).expect("a call");
    assert_eq!(first.join().expect("no panic"), Ok(1));
}

/// The callers that wait for the same load get its error.
#[test]
fn concurrent_first_calls_of_a_changed_file_fail_alike() {
    let artifact = version("1", 1.0);
    let (_bridge, embedder) = bridge(&artifact);
    replace(&artifact.path().join("onnx/model.onnx"), b"x");
    let codes: Vec<_> = thread::scope(|scope| {
        let calls: Vec<_> = (0..8).map(|_| scope.spawn(|| code(answer(&embedder)))).collect();
        calls.into_iter().map(|call| call.join().expect("no panic")).collect()
    });
    assert_eq!(codes, [Some("file_hash"); 8]);
}

#[test]
fn a_stopped_call_loads_nothing() {
    let artifact = version("1", 1.0);
    let (_bridge, embedder) = bridge(&artifact);
    let token = CancelToken::new();
    token.cancel();
    let options = EmbedOptions::default().cancel(token);
    assert_eq!(code(embedder.embed_blocking(&["a"], &options)), Some("cancelled"));
    let outcomes = embedder.embed_each_blocking(&["a", "b"], &options).expect("outcomes");
    assert_eq!(outcomes, vec![Err(BridgeError::Cancelled), Err(BridgeError::Cancelled)]);
    assert_eq!(embedder.resident_bytes(), 0);
}

#[test]
fn an_idle_model_is_unloaded() {
    let artifact = version("1", 1.0);
    let idle = Model::new(artifact.path()).idle_unload(Duration::from_millis(100));
    let idle = Embedder::open(idle, options()).expect("a model");
    let kept = Embedder::open(artifact.path(), options()).expect("a model");
    for _ in 0..3 {
        let started = Instant::now();
        assert_eq!((answer(&kept), answer(&idle)), (Ok(0.5), Ok(0.5)));
        until(|| idle.resident_bytes() == 0);
        assert!(started.elapsed() >= Duration::from_millis(100), "{:?}", started.elapsed());
    }
    assert!(kept.resident_bytes() > 0);
}
