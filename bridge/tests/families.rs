//! Tests that artifacts of families that this build does not have are refused with `unknown_task`.
//!
//! A build with all features has all families. `make test-rust` builds the crate without each family in turn.

mod common;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use onnx_ml_bridge::families::{Artifact, Family};
use serde_json::Value;

/// Whether this build has each feature. Every family has one feature and one artifact in tests/golden/valid.
const FEATURES: [bool; 6] = [
    cfg!(feature = "sentence-embedding"),
    cfg!(feature = "token-classification"),
    cfg!(feature = "spacy"),
    cfg!(feature = "summarization"),
    cfg!(feature = "rerank"),
    cfg!(feature = "gliner"),
];

/// The task and the engine of an artifact.
fn family_of(path: &Path) -> (String, String) {
    let manifest: Value =
        serde_json::from_slice(&std::fs::read(path.join("manifest.json")).expect("a manifest")).expect("JSON");
    let text = |key: &str| manifest[key].as_str().expect("a string").to_owned();
    (text("task"), text("engine"))
}

fn is_known(path: &Path) -> bool {
    let (task, engine) = family_of(path);
    Family::ALL.iter().any(|family| task == family.task().manifest_name() && engine == family.engine())
}

fn code(result: Result<(), onnx_ml_bridge::BridgeError>) -> Option<&'static str> {
    result.err().map(|error| error.code().as_str())
}

#[test]
fn every_feature_is_a_family_with_an_example() {
    let enabled = FEATURES.iter().filter(|enabled| **enabled).count();
    assert_eq!(Family::ALL.len(), enabled);
    let families = |paths: &[PathBuf]| paths.iter().map(|path| family_of(path)).collect::<BTreeSet<_>>().len();
    let all = common::valid_artifacts();
    let known: Vec<PathBuf> = all.iter().filter(|path| is_known(path)).cloned().collect();
    assert_eq!((families(&known), families(&all)), (enabled, FEATURES.len()));
}

#[test]
fn artifacts_of_other_families_are_refused() {
    for path in common::valid_artifacts() {
        let expected = if is_known(&path) { None } else { Some("unknown_task") };
        assert_eq!(code(Artifact::open(&path, "auto").map(|_| ())), expected, "{path:?}");
        assert_eq!(code(Artifact::verify(&path).map(|_| ())), expected, "{path:?}");
    }
}

#[cfg(feature = "cli")]
#[test]
fn commands_refuse_artifacts_of_other_families() {
    use common::command::{lines, run, text};

    for path in common::valid_artifacts().iter().filter(|path| !is_known(path)) {
        let verified = run(&["verify", "--json", text(path)], "");
        assert_eq!((verified.status.code(), &lines(&verified)[0]["error"]["code"]), (Some(3), &"unknown_task".into()));
        let timed = run(&["bench", "--model", text(path), "--texts", "texts.jsonl"], "");
        let message = String::from_utf8_lossy(&timed.stderr).into_owned();
        assert_eq!((timed.status.code(), message.contains("error[unknown_task]")), (Some(3), true), "{message}");
    }
}
