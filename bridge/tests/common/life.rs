//! Bridges of one small model, whose versions answer differently.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use onnx_ml_bridge::{
    BridgeError, BridgeOptions, EmbedOptions, Embedder, MlBridge, Model, ModelInfo, OnnxMlBridge, ReloadOptions,
};
use tempfile::TempDir;

use super::wait::OnDrop;

pub fn code<T>(result: Result<T, BridgeError>) -> Option<&'static str> {
    result.err().map(|error| error.code().as_str())
}

pub fn options() -> BridgeOptions {
    BridgeOptions::default().threads(1)
}

/// A bridge with one model named `tiny`.
pub fn bridge(artifact: &TempDir) -> (OnnxMlBridge, Embedder) {
    let model = Model::new(artifact.path()).name("tiny");
    let bridge = OnnxMlBridge::builder().model(model).options(options()).build().expect("a bridge");
    let embedder = bridge.embedder(None).expect("an embedder");
    (bridge, embedder)
}

/// The second element of the vector of `a b`: half of the scale of the model that answers.
pub fn answer(embedder: &Embedder) -> Result<f32, BridgeError> {
    embedder.embed_blocking(&["a b"], &EmbedOptions::default()).map(|answer| answer.vectors[0][1])
}

pub fn reload(bridge: &OnnxMlBridge, path: &Path) -> Result<ModelInfo, BridgeError> {
    bridge.reload_blocking("tiny", &ReloadOptions::default().path(path))
}

pub fn version(name: &str, scale: f32) -> TempDir {
    super::tiny_version("tiny", name, scale, 0)
}

/// Calls `work` from several threads until `run` has ended, which gets the number of calls until then. Returns how often it was
/// called; it may not fail.
pub fn under_load(work: impl Fn() -> Result<(), String> + Sync, run: impl FnOnce(&AtomicUsize)) -> usize {
    let (is_over, calls) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        // The scope waits for the threads, also if `run` panics.
        let ends = OnDrop(|| is_over.store(true, Ordering::SeqCst));
        let call = || {
            while !is_over.load(Ordering::SeqCst) {
                work().expect("an answer");
                calls.fetch_add(1, Ordering::SeqCst);
            }
        };
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(call)).collect();
        run(&calls);
        drop(ends);
        threads.into_iter().for_each(|thread| thread.join().expect("no call failed"));
    });
    calls.into_inner()
}
