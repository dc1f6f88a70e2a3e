//! Tests of callbacks that use the bridge of their call.
#![cfg(all(feature = "sentence-embedding", feature = "summarization"))]

mod common;

use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use common::life::{answer, code, options};
use common::wait::LIMIT;
use onnx_ml_bridge::{
    BridgeError, Embedder, MlBridge, ModelState, OnnxMlBridge, Progress, SummarizeOptions, Summarizer,
};
use tempfile::TempDir;

/// A bridge whose memory limit holds one of its two models.
struct Subject {
    _artifacts: [TempDir; 2],
    bridge: OnnxMlBridge,
    summarizer: Summarizer,
    embedder: Embedder,
}

fn subject() -> Arc<Subject> {
    let artifacts = [common::summary::tiny(), common::tiny_version("large", "1", 1.0, 900 << 10)];
    let builder = artifacts.iter().fold(OnnxMlBridge::builder(), |builder, artifact| builder.model(artifact.path()));
    let bridge = builder.options(options().memory_mb(1)).build().expect("valid artifacts");
    let (summarizer, embedder) = (bridge.summarizer(None), bridge.embedder(None));
    let (summarizer, embedder) = (summarizer.expect("a summarizer"), embedder.expect("an embedder"));
    Arc::new(Subject { _artifacts: artifacts, bridge, summarizer, embedder })
}

fn summary(summarizer: &Summarizer, options: &SummarizeOptions) -> Result<String, BridgeError> {
    let summaries = summarizer.summarize_blocking(&[vec!["a b".to_owned()]], options)?;
    Ok(summaries[0].text.clone())
}

/// What a callback of a summary returns. Fails if the call does not end.
fn called_back<T: Send + 'static>(
    subject: &Arc<Subject>,
    callback: impl Fn(&Subject) -> T + Send + Sync + 'static,
) -> T {
    let (sender, receiver) = channel();
    let (calling, called) = (Arc::clone(subject), Arc::clone(subject));
    let returned = Arc::new(Mutex::new(None));
    let result = Arc::clone(&returned);
    let progress = Progress::new(move |_, _| *result.lock().expect("not poisoned") = Some(callback(&called)));
    let options = SummarizeOptions::default().progress(progress);
    thread::spawn(move || sender.send(summary(&calling.summarizer, &options)));
    let summary = receiver.recv_timeout(LIMIT).expect("the call ends");
    assert_eq!(summary, Ok("a b".to_owned()));
    returned.lock().expect("not poisoned").take().expect("a callback")
}

/// Makes a call on another thread, and waits until it waits for the memory of the summarizer.
fn waiting(subject: &Subject) -> JoinHandle<Result<f32, BridgeError>> {
    let embedder = subject.embedder.clone();
    let call = thread::spawn(move || answer(&embedder));
    while subject.embedder.status().state != ModelState::Loading {
        thread::sleep(Duration::from_millis(1));
    }
    thread::sleep(Duration::from_millis(50));
    call
}

#[test]
fn a_callback_uses_another_model_beyond_the_memory_limit() {
    let subject = subject();
    let is_loaded =
        |subject: &Subject| (subject.summarizer.resident_bytes() > 0, subject.embedder.resident_bytes() > 0);
    assert_eq!(
        called_back(&subject, move |subject| (answer(&subject.embedder), is_loaded(subject))),
        (Ok(0.5), (true, true))
    );
    // Other calls keep to the limit.
    subject.embedder.unload();
    assert_eq!((answer(&subject.embedder), is_loaded(&subject)), (Ok(0.5), (false, true)));
}

#[test]
fn a_callback_uses_a_model_that_waits_for_the_memory_of_its_call() {
    let own = called_back(&subject(), |subject| {
        let call = waiting(subject);
        (answer(&subject.embedder), call.join().expect("no panic"))
    });
    assert_eq!(own, (Ok(0.5), Ok(0.5)));
}

#[test]
fn a_callback_uses_the_model_of_its_call_while_another_one_waits_for_its_memory() {
    let subject = subject();
    let (own, call) = called_back(&subject, |subject| {
        let call = waiting(subject);
        (summary(&subject.summarizer, &SummarizeOptions::default()), call)
    });
    assert_eq!((own, call.join().expect("no panic")), (Ok("a b".to_owned()), Ok(0.5)));
}

fn close(bridge: &OnnxMlBridge) -> Result<(), BridgeError> {
    bridge.close_blocking()
}

fn close_async(bridge: &OnnxMlBridge) -> Result<(), BridgeError> {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(bridge.close())
}

fn remove(bridge: &OnnxMlBridge) -> Result<(), BridgeError> {
    bridge.models().iter().try_for_each(|info| bridge.remove_blocking(&info.name))
}

#[test]
fn a_callback_closes_the_bridge() {
    for close in [close, close_async, remove] {
        let subject = subject();
        assert_eq!(called_back(&subject, move |subject| close(&subject.bridge)), Ok(()));
        assert_eq!((subject.bridge.models().len(), subject.summarizer.resident_bytes()), (0, 0));
        let closed =
            (code(answer(&subject.embedder)), code(summary(&subject.summarizer, &SummarizeOptions::default())));
        assert_eq!(closed, (Some("closed"), Some("closed")));
    }
}

/// The call that waits is waited for, and gets the memory.
#[test]
fn a_callback_closes_the_bridge_while_a_call_waits_for_the_memory_of_its_own() {
    for close in [close, close_async] {
        let closed = called_back(&subject(), move |subject| {
            let call = waiting(subject);
            (close(&subject.bridge), call.join().expect("no panic"))
        });
        assert_eq!(closed, (Ok(()), Ok(0.5)));
    }
}
