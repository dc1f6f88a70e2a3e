//! Tests that a memory limit holds while calls use more models than fit, and that unloads give memory back. The tests have a
//! process of their own, because they look at its memory.
#![cfg(all(feature = "sentence-embedding", target_os = "linux", target_env = "gnu"))]

mod common;

use std::fs;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::thread;
use std::time::Duration;

use common::recorder::{Change, on_change};
use common::wait::until;
use metrics::Key;
use onnx_ml_bridge::{BridgeError, BridgeOptions, EmbedOptions, Embedder, MlBridge, Model, OnnxMlBridge};
use tempfile::TempDir;

const MEBIBYTE: u64 = 1 << 20;
/// The size of the graph of each model.
const GRAPH_BYTES: usize = 40 << 20;
const MODELS: usize = 5;

/// The sum of a gauge over all models, and its maximum.
#[derive(Default)]
struct Total {
    now: AtomicI64,
    maximum: AtomicI64,
}

impl Total {
    fn add(&self, value: i64) {
        let now = self.now.fetch_add(value, Ordering::SeqCst) + value;
        self.maximum.fetch_max(now, Ordering::SeqCst);
    }
}

static LOADED: Total = Total { now: AtomicI64::new(0), maximum: AtomicI64::new(0) };
static BYTES: Total = Total { now: AtomicI64::new(0), maximum: AtomicI64::new(0) };

fn record(key: &Key, change: Change) {
    let Change::Add(value) = change else { return };
    match key.name() {
        "onnx_ml_bridge_loaded" => LOADED.add(value as i64),
        "onnx_ml_bridge_resident_bytes" => BYTES.add(value as i64),
        _ => {}
    }
}

/// Waits until no other test of this process runs, and loads ONNX Runtime.
fn alone() -> MutexGuard<'static, ()> {
    static TEST: Mutex<()> = Mutex::new(());
    static RECORDER: Once = Once::new();
    let guard = TEST.lock().unwrap_or_else(PoisonError::into_inner);
    RECORDER.call_once(|| on_change(record));
    let small = common::tiny();
    assert_eq!(answer(&Embedder::open(small.path(), options()).expect("a model")), Ok(0.5));
    no_model_is_loaded();
    guard
}

/// Waits until no model is loaded. The thread that unloads idle models may be the last one that has a dropped model.
fn no_model_is_loaded() {
    until(|| (LOADED.now.load(Ordering::SeqCst), BYTES.now.load(Ordering::SeqCst)) == (0, 0));
}

fn options() -> BridgeOptions {
    BridgeOptions::default().threads(1)
}

fn answer(embedder: &Embedder) -> Result<f32, BridgeError> {
    embedder.embed_blocking(&["a b"], &EmbedOptions::default()).map(|answer| answer.vectors[0][1])
}

/// The memory of this process in bytes.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("a status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
    line.trim().trim_end_matches("kB").trim().parse::<u64>().expect("a number") * 1024
}

/// Numbers that look random, and are the same in every run.
fn random(seed: &mut u64) -> usize {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*seed >> 33) as usize
}

/// A bridge of models named `m0` to `m4`, whose answers differ.
fn bridge(artifacts: &[TempDir], mebibytes: u64) -> (OnnxMlBridge, Vec<Embedder>) {
    let models = artifacts.iter().map(|artifact| Model::new(artifact.path()));
    let builder = models.fold(OnnxMlBridge::builder(), |builder, model| builder.model(model));
    let bridge = builder.options(options().memory_mb(mebibytes as usize)).build().expect("a bridge");
    let embedder = |index| bridge.embedder(Some(&format!("m{index}"))).expect("an embedder");
    let embedders = (0..artifacts.len()).map(embedder).collect();
    (bridge, embedders)
}

#[test]
fn a_limit_that_holds_three_of_five_models_answers_all_calls() {
    let _alone = alone();
    let artifact = |index| common::tiny_version(&format!("m{index}"), "1", 2.0 + index as f32, GRAPH_BYTES);
    let artifacts: Vec<TempDir> = (0..MODELS).map(artifact).collect();
    let single = Embedder::open(artifacts[0].path(), options()).expect("a model");
    single.warm_up_blocking().expect("graphs");
    let each = single.resident_bytes();
    drop(single);
    assert!(each >= GRAPH_BYTES as u64, "{each}");
    no_model_is_loaded();
    // A load needs the memory of the graph's file besides that of the loaded graph.
    let limit = each * 4 / MEBIBYTE;
    let (bridge, embedders) = bridge(&artifacts, limit);
    let (base, peak) = (resident(), AtomicU64::new(0));
    thread::scope(|scope| {
        for thread in 0..3 {
            let (embedders, peak) = (&embedders, &peak);
            scope.spawn(move || {
                let mut seed = thread;
                for _ in 0..25 {
                    let index = random(&mut seed) % MODELS;
                    assert_eq!(answer(&embedders[index]), Ok((2.0 + index as f32) / 2.0));
                    peak.fetch_max(resident(), Ordering::SeqCst);
                }
            });
        }
    });
    let grown = peak.into_inner().saturating_sub(base) / MEBIBYTE;
    let counted = BYTES.maximum.load(Ordering::SeqCst) as u64 / MEBIBYTE;
    println!("{} MiB each, limit {limit} MiB, counted {counted} MiB, grew by {grown} MiB", each / MEBIBYTE);
    assert_eq!(LOADED.maximum.load(Ordering::SeqCst), 3);
    assert!(counted <= limit && grown <= limit * 11 / 10);
    bridge.close_blocking().expect("no call runs");
    no_model_is_loaded();
}

#[test]
fn a_model_that_exceeds_the_limit_alone_is_refused() {
    let _alone = alone();
    let artifact = common::tiny_version("large", "1", 1.0, GRAPH_BYTES);
    let embedder = Embedder::open(artifact.path(), options().memory_mb(8)).expect("a model");
    let error = answer(&embedder).expect_err("a model of 40 MiB");
    assert_eq!(error.code().as_str(), "config");
    assert!(error.to_string().contains("memory_mb is 8"), "{error}");
}

#[test]
fn a_limit_that_no_machine_has_is_none() {
    let _alone = alone();
    let artifact = common::tiny();
    for limit in [1 << 43, 1 << 44, usize::MAX] {
        let embedder = Embedder::open(artifact.path(), options().memory_mb(limit)).expect("a model");
        assert_eq!(answer(&embedder), Ok(0.5), "{limit}");
    }
}

/// From the second cycle on, an unload gives back what the load took, and the memory does not grow.
#[test]
fn unloads_give_the_memory_back() {
    let _alone = alone();
    let artifact = common::tiny_version("cycled", "1", 1.0, GRAPH_BYTES);
    let embedder = Embedder::open(artifact.path(), options()).expect("a model");
    let mut shares = Vec::new();
    let mut sizes = Vec::new();
    for _ in 0..20 {
        let before = resident();
        assert_eq!(answer(&embedder), Ok(0.5));
        let loaded = resident();
        embedder.unload();
        let after = resident();
        shares.push(loaded.saturating_sub(after) as f64 / loaded.saturating_sub(before) as f64);
        sizes.push(after);
    }
    let share = shares[1..].iter().copied().fold(f64::MAX, f64::min);
    let grown = sizes[19].saturating_sub(sizes[1]);
    println!("an unload gives back at least {share:.3} of the memory; 20 cycles grow by {} KiB", grown / 1024);
    assert!(share >= 0.9 && grown < 5 * MEBIBYTE, "{share} {grown}");
}

/// The number of blocks that the GNU C library maps on their own.
fn mapped_blocks() -> usize {
    /// `struct mallinfo2` of malloc.h: arena, ordblks, smblks, hblks and six more.
    #[repr(C)]
    struct Statistics([usize; 10]);
    #[allow(unsafe_code)]
    unsafe extern "C" {
        safe fn mallinfo2() -> Statistics;
    }
    mallinfo2().0[3]
}

/// By default, a large block that is freed lets later ones lie among small blocks, so that they cannot be returned.
#[test]
fn large_blocks_are_returned_to_the_system_after_a_larger_one_was_freed() {
    let _alone = alone();
    drop(vec![1_u8; 24 << 20]);
    let before = mapped_blocks();
    let blocks: Vec<Vec<u8>> = (0..20).map(|_| vec![1_u8; 2 << 20]).collect();
    assert_eq!(mapped_blocks(), before + blocks.len());
}

/// The library of tokenizers keeps the words of BPE models in every thread that used them, unless it is told not to.
#[test]
#[cfg(feature = "summarization")]
fn a_tokenizer_that_is_gone_leaves_no_words_in_the_threads_that_used_it() {
    use onnx_ml_bridge::{SummarizeOptions, Summarizer};

    let _alone = alone();
    let artifact = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/valid/tiny-summary");
    let mut seed = 7;
    let sizes: Vec<u64> = (0..6)
        .map(|_| {
            let words: Vec<String> = (0..10_000).map(|_| random(&mut seed).to_string()).collect();
            let summarizer = Summarizer::open(artifact, options()).expect("a model");
            let call = SummarizeOptions::default().max_length(4);
            summarizer.summarize_blocking(&[vec![words.join(" ")]], &call).expect("a summary");
            drop(summarizer);
            resident()
        })
        .collect();
    println!("{sizes:?}");
    assert!(sizes[5] < sizes[1] + 8 * MEBIBYTE, "{sizes:?}");
}

/// The threads of this process with the name of the one that unloads idle models.
fn housekeepers() -> usize {
    let threads = fs::read_dir("/proc/self/task").expect("threads").flatten();
    let name = |entry: fs::DirEntry| fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
    threads.filter(|entry| entry.metadata().is_ok()).map(name).filter(|name| name.trim() == "onnx-ml-bridge").count()
}

/// One thread looks after all models, and ends when none is loaded.
#[test]
fn the_thread_that_unloads_models_ends() {
    let _alone = alone();
    let artifact = common::tiny();
    let embedders = [0, 1].map(|_| Embedder::open(artifact.path(), options()).expect("a model"));
    for embedder in &embedders {
        assert_eq!(answer(embedder), Ok(0.5));
        // A thread has its name a moment after its start, and one that has ended may be seen a moment longer.
        thread::sleep(Duration::from_millis(50));
        until(|| housekeepers() == 1);
    }
    drop(embedders);
    until(|| housekeepers() == 0);
}
