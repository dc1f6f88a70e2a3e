//! Compares the error codes of this crate with those in `FORMAT.md`.

use std::collections::BTreeSet;

use onnx_ml_bridge::BridgeError;

/// The error codes in `FORMAT.md`: the first column of every table whose header starts with `code`.
fn documented() -> BTreeSet<String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../artifacts/FORMAT.md");
    let text = std::fs::read_to_string(path).expect("the format is in the folder next to the crate's");
    let mut codes = BTreeSet::new();
    let mut is_table = false;
    for line in text.lines() {
        is_table = line.starts_with("| code |") || (is_table && line.starts_with('|'));
        let cell = line.strip_prefix("| `").and_then(|rest| rest.split_once('`'));
        if let (true, Some((code, _))) = (is_table, cell) {
            codes.insert(code.to_owned());
        }
    }
    codes
}

#[test]
fn every_code_is_documented() {
    let documented = documented();
    assert!(documented.len() >= BridgeError::CODES.len(), "{documented:?}");
    for code in BridgeError::CODES {
        assert!(documented.contains(code), "{code} is not in FORMAT.md");
    }
}

#[test]
fn only_codes_of_the_builder_are_missing() {
    let known: BTreeSet<String> = BridgeError::CODES.iter().map(|code| (*code).to_owned()).collect();
    let missing: Vec<String> = documented().difference(&known).cloned().collect();
    assert_eq!(missing, ["gate", "input_text", "source", "unsafe_checkpoint", "unsupported_model"]);
}

#[test]
fn codes_that_refuse_artifacts_are_recognized() {
    assert!(BridgeError::refuses_artifact("path_kind") && BridgeError::refuses_artifact("golden"));
    assert!(!BridgeError::refuses_artifact("input_type") && !BridgeError::refuses_artifact("dependency"));
}
