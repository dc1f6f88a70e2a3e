//! Tests that a model is replaced by another version while calls run, and that a refused version changes nothing.
#![cfg(all(feature = "sentence-embedding", feature = "token-classification"))]

mod common;

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::life::{answer, bridge, code, options, reload, under_load, version};
use onnx_ml_bridge::{EmbedOptions, MlBridge, Model, OnnxMlBridge, ReloadOptions};
use serde_json::{Value, json};
use tempfile::TempDir;

#[test]
fn a_reload_changes_what_handles_answer() {
    let (first, second) = (version("1", 1.0), version("2", 2.0));
    let (bridge, embedder) = bridge(&first);
    let clone = embedder.clone();
    assert_eq!((answer(&embedder), embedder.info().version.as_str()), (Ok(0.5), "1"));
    let info = reload(&bridge, second.path()).expect("the second version");
    assert_eq!((answer(&embedder), answer(&clone)), (Ok(1.0), Ok(1.0)));
    assert_eq!((&info, &info), (&embedder.info(), &bridge.models()[0]));
    assert_eq!((info.name.as_str(), info.version.as_str()), ("tiny", "2"));
    // Without a path, the files of the open artifact are read again.
    assert_eq!(bridge.reload_blocking("tiny", &ReloadOptions::default()), Ok(info));
}

/// A loaded model is replaced by a loaded one, an unloaded model by an unloaded one.
#[test]
fn a_reload_keeps_whether_the_model_is_loaded() {
    let (first, second) = (version("1", 1.0), version("2", 2.0));
    let (bridge, embedder) = bridge(&first);
    reload(&bridge, second.path()).expect("the second version");
    assert_eq!(embedder.resident_bytes(), 0);
    embedder.warm_up_blocking().expect("graphs");
    reload(&bridge, first.path()).expect("the first version");
    assert!(embedder.resident_bytes() > 0);
}

/// An artifact whose golden cases its model does not answer, because a vector is NaN.
fn not_a_number() -> TempDir {
    let dir = common::tiny();
    let case = json!({"expected": {"tokens": 1, "truncated": false, "vector": [0.0, 0.0, 0.0, 0.0]}, "group": "plain",
        "input": "nan", "settings": {"prompt_name": null}});
    common::write(dir.path(), "golden.jsonl", format!("{case}\n").as_bytes());
    let mut manifest = common::manifest();
    manifest["golden"]["cases"] = json!(1);
    common::seal(dir.path(), manifest);
    dir
}

/// An artifact that was changed after it was sealed.
fn corrupt() -> TempDir {
    let dir = version("2", 2.0);
    let path = dir.path().join("onnx/model.onnx");
    let mut bytes = fs::read(&path).expect("a graph");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&path, bytes).expect("a graph");
    dir
}

#[test]
fn a_refused_reload_leaves_the_old_version() {
    let first = version("1", 1.0);
    let (bridge, embedder) = bridge(&first);
    embedder.warm_up_blocking().expect("graphs");
    let before = (embedder.info(), embedder.resident_bytes());
    let (corrupt, not_a_number, second) = (corrupt(), not_a_number(), version("2", 2.0));
    let wrong_answers = common::copy(second.path());
    let manifest: Value = serde_json::from_slice(&fs::read(second.path().join("manifest.json")).expect("a manifest"))
        .expect("a manifest");
    fs::copy(first.path().join("golden.jsonl"), wrong_answers.path().join("golden.jsonl")).expect("cases");
    common::seal(wrong_answers.path(), manifest);
    let path = |path: &Path| ReloadOptions::default().path(path);
    let other_task = common::golden().join("valid/tiny-ner");
    let refused = [
        ("file_hash", path(corrupt.path())),
        ("graph", path(not_a_number.path())),
        ("golden", path(wrong_answers.path())),
        ("variant", path(&other_task)),
        ("identity", path(second.path()).expect_identity("0".repeat(64))),
        ("path_kind", path(Path::new("no-such-artifact"))),
        ("timeout", path(second.path()).timeout(Duration::from_nanos(1))),
        ("config", path(second.path()).timeout(Duration::ZERO)),
        ("config", path(second.path()).expect_identity("x")),
    ];
    for (expected, options) in refused {
        let result = bridge.reload_blocking("tiny", &options);
        assert_eq!(code(result), Some(expected), "{options:?}");
        assert_eq!((answer(&embedder), (embedder.info(), embedder.resident_bytes())), (Ok(0.5), before.clone()));
    }
    assert_eq!(code(bridge.reload_blocking("x", &ReloadOptions::default())), Some("model_not_found"));
    let expected = common::sha256(&fs::read(second.path().join("manifest.json")).expect("a manifest"));
    assert_eq!(bridge.reload_blocking("tiny", &path(second.path()).expect_identity(expected)).map(|_| ()), Ok(()));
    assert_eq!(answer(&embedder), Ok(1.0));
}

/// A model that was opened with an identity keeps it, unless the reload has another one.
#[test]
fn a_pinned_model_is_only_reloaded_with_its_identity() {
    let (first, second) = (version("1", 1.0), version("2", 2.0));
    let identity = |dir: &TempDir| common::sha256(&fs::read(dir.path().join("manifest.json")).expect("a manifest"));
    let model = Model::new(first.path()).name("tiny").identity(identity(&first));
    let bridge = OnnxMlBridge::builder().model(model).options(options()).build().expect("a bridge");
    assert_eq!(code(reload(&bridge, second.path())), Some("identity"));
    let pinned = ReloadOptions::default().path(second.path()).expect_identity(identity(&second));
    assert_eq!(code(bridge.reload_blocking("tiny", &pinned)), None);
    assert_eq!(code(reload(&bridge, first.path())), Some("identity"));
}

/// The golden cases are replayed with the default limits, not with those of the bridge.
#[test]
fn limits_of_the_bridge_do_not_refuse_a_reload() {
    let first = version("1", 1.0);
    let model = Model::new(first.path()).name("tiny").max_tokens(2);
    let bridge = OnnxMlBridge::builder().model(model).options(options().text_limit(3)).build().expect("a bridge");
    assert_eq!(code(bridge.reload_blocking("tiny", &ReloadOptions::default())), None);
    let embedder = bridge.embedder(None).expect("an embedder");
    assert_eq!(answer(&embedder), Ok(0.5));
    let long = embedder.embed_blocking(&["a a"], &EmbedOptions::default()).map(|answer| answer.token_counts);
    assert_eq!(long, Ok(Some(vec![2])));
}

/// How long the tests with load run. `ONNX_ML_BRIDGE_LOAD_SECONDS` makes them longer.
fn duration() -> Duration {
    let seconds = std::env::var("ONNX_ML_BRIDGE_LOAD_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(2))
}

#[test]
fn reloads_under_load_lose_no_call() {
    let (first, second) = (version("1", 1.0), version("2", 2.0));
    let (bridge, embedder) = bridge(&first);
    let work = || match answer(&embedder) {
        Ok(0.5 | 1.0) => Ok(()),
        other => Err(format!("{other:?}")),
    };
    let reloads = AtomicUsize::new(0);
    let calls = under_load(work, |calls| {
        let started = Instant::now();
        let has_enough = || calls.load(Ordering::SeqCst) > 50 && reloads.load(Ordering::SeqCst) > 5;
        while started.elapsed() < duration() || !has_enough() {
            let limit = duration() + Duration::from_secs(300);
            assert!(started.elapsed() < limit, "{calls:?} calls, {reloads:?} reloads");
            for version in [&second, &first] {
                reload(&bridge, version.path()).expect("a reload");
                reloads.fetch_add(1, Ordering::SeqCst);
            }
        }
    });
    println!("{calls} calls, {} reloads", reloads.into_inner());
}
