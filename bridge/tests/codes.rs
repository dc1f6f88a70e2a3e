//! Compares the error codes of this crate with those in `FORMAT.md`.

use std::collections::BTreeSet;

use onnx_ml_bridge::ErrorCode;

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
    assert!(documented.len() >= ErrorCode::ALL.len(), "{documented:?}");
    for code in ErrorCode::ALL {
        assert!(documented.contains(code.as_str()), "{code} is not in FORMAT.md");
    }
}

#[test]
fn only_codes_of_the_builder_are_missing() {
    let known: BTreeSet<String> = ErrorCode::ALL.iter().map(ToString::to_string).collect();
    let missing: Vec<String> = documented().difference(&known).cloned().collect();
    assert_eq!(missing, ["gate", "input_text", "source", "unsafe_checkpoint", "unsupported_model"]);
}
