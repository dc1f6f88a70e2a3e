//! The cases that the Python and the Rust reader share: the same code for each of them.

mod common;

use std::collections::BTreeMap;

use common::overlays::{Case, cases};
use onnx_ml_bridge::BridgeError;
use onnx_ml_bridge::families::{Artifact, parse_manifest, replay};

type Code = Option<String>;

fn code<T>(result: Result<T, BridgeError>) -> Code {
    result.err().map(|error| error.code().to_owned())
}

/// Compares the code of every case of a folder with the one that a reader returns.
fn compare(folder: &str, read: impl Fn(&Case) -> Code) {
    let cases = cases(folder);
    let actual: BTreeMap<&str, Code> = cases.iter().map(|case| (case.name.as_str(), read(case))).collect();
    let expected: BTreeMap<&str, Code> = cases.iter().map(|case| (case.name.as_str(), case.code.clone())).collect();
    assert_eq!(expected.len(), cases.len(), "names are unique");
    let codes = |cases: &BTreeMap<&str, Code>| cases.values().flatten().cloned().collect::<Vec<_>>();
    assert!(codes(&expected).iter().all(|code| BridgeError::refuses_artifact(code)), "{:?}", codes(&expected));
    assert_eq!(actual, expected);
}

#[test]
fn every_manifest_is_accepted_or_refused_with_its_code() {
    compare("manifests", |case| code(parse_manifest(&case.manifest())));
}

#[test]
fn every_invalid_artifact_is_refused_with_its_code() {
    compare("invalid", |case| {
        let dir = case.artifact();
        code(Artifact::verify(dir.path()).and_then(|artifact| replay(artifact, None)))
    });
}
