//! The cases of tests/golden, for which the Python and the Rust reader have to return the same codes. Cases of families that
//! this build does not have are skipped.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use common::overlays::{Case, cases};
use common::valid_artifacts;
use onnx_ml_bridge::families::{Artifact, Family, parse_manifest, replay};
use onnx_ml_bridge::{BridgeError, ErrorCode};
use serde_json::Value;

type Code = Option<String>;

fn code<T>(result: Result<T, BridgeError>) -> Code {
    result.err().map(|error| error.code().to_string())
}

/// The task and the engine of a manifest; `None` if the manifest is not JSON or one of them is not a string.
fn pair(manifest: &[u8]) -> Option<(String, String)> {
    let manifest: Value = serde_json::from_slice(manifest).ok()?;
    Some((manifest["task"].as_str()?.to_owned(), manifest["engine"].as_str()?.to_owned()))
}

/// Whether this build has the families that the case needs: the family of the artifact that the case changes, and the
/// family of the changed manifest, unless no valid artifact has that family.
fn is_readable(case: &Case) -> bool {
    let known: BTreeSet<_> = Family::ALL
        .iter()
        .map(|family| (family.task().manifest_name().to_owned(), family.engine().to_owned()))
        .collect();
    let examples: BTreeSet<_> = valid_artifacts().iter().filter_map(|path| manifest_pair(path)).collect();
    let mut needed = [pair(&case.base_manifest()), pair(&case.manifest())].into_iter().flatten();
    needed.all(|pair| known.contains(&pair) || !examples.contains(&pair))
}

fn manifest_pair(artifact: &Path) -> Option<(String, String)> {
    pair(&fs::read(artifact.join("manifest.json")).ok()?)
}

/// Compares the code that a reader returns for every case of a folder with the expected code.
fn compare(folder: &str, read: impl Fn(&Case) -> Code) {
    let cases: Vec<Case> = cases(folder).into_iter().filter(is_readable).collect();
    assert!(cases.len() > 20, "{} cases", cases.len());
    let actual: BTreeMap<&str, Code> = cases.iter().map(|case| (case.name.as_str(), read(case))).collect();
    let expected: BTreeMap<&str, Code> = cases.iter().map(|case| (case.name.as_str(), case.code.clone())).collect();
    assert_eq!(expected.len(), cases.len(), "names are unique");
    let codes = |cases: &BTreeMap<&str, Code>| cases.values().flatten().cloned().collect::<Vec<_>>();
    assert!(
        codes(&expected).iter().all(|code| code.parse().is_ok_and(ErrorCode::is_refusal)),
        "{:?}",
        codes(&expected)
    );
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
