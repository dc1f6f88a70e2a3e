//! Tests with the valid artifacts of tests/golden: each is verified and runs, and a corrupt copy is refused.
#![cfg(all(
    feature = "sentence-embedding",
    feature = "token-classification",
    feature = "spacy",
    feature = "summarization",
    feature = "rerank"
))]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use onnx_ml_bridge::artifact::Manifest;
use onnx_ml_bridge::families::{Artifact, parse_manifest, replay};
use onnx_ml_bridge::{
    BridgeError, EmbedOptions, MlBridge, Model, OnnxMlBridge, RecognizeOptions, SummarizeOptions, Task,
};
use proptest::prelude::*;
use serde::de::DeserializeOwned;

type Code = Option<String>;

fn entries(folder: &str) -> BTreeMap<String, PathBuf> {
    let entries = fs::read_dir(common::golden().join(folder)).expect("tests/golden is made by its make.py");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths.map(|path| (path.file_name().unwrap_or_default().to_string_lossy().into_owned(), path)).collect()
}

fn code<T>(result: Result<T, BridgeError>) -> Code {
    result.err().map(|error| error.code().to_string())
}

fn verify(path: &Path) -> Code {
    code(Artifact::verify(path).and_then(|artifact| replay(artifact, None)))
}

fn manifest(path: &Path) -> Manifest {
    Artifact::verify(path).expect("a valid artifact").manifest().clone()
}

fn task(path: &Path) -> Task {
    Artifact::verify(path).expect("a valid artifact").family().task()
}

/// One variant of an artifact.
fn open(path: &Path, variant: &str) -> OnnxMlBridge {
    OnnxMlBridge::builder().model(Model::new(path).variant(variant)).build().expect("a valid artifact")
}

/// All variants of the valid artifacts of a task, each as the artifact's path and the variant's name.
fn variants(expected: Task) -> Vec<(PathBuf, String)> {
    let of_task = entries("valid").into_values().filter(|path| task(path) == expected);
    of_task.flat_map(|path| manifest(&path).variants.into_keys().map(move |name| (path.clone(), name))).collect()
}

#[test]
fn every_valid_artifact_verifies_and_runs() {
    let valid = entries("valid");
    assert!(!valid.is_empty());
    for (name, path) in valid {
        assert_eq!(verify(&path), None, "{name}");
        for variant in manifest(&path).variants.keys() {
            assert!(open(&path, variant).self_test_blocking().is_ok(), "{name} {variant}");
        }
    }
}

/// The vectors of texts of many lengths are equal if the texts run alone or together. The activations of int8 have one scale
/// per row, so that padding has no effect.
#[test]
fn a_vector_depends_neither_on_its_batch_nor_on_its_padding() {
    let texts: Vec<String> = (1..60).map(|words| "the old mill by the river ".repeat(words % 9 + 1)).collect();
    for (path, variant) in variants(Task::Embedding) {
        let embedder = open(&path, &variant).embedder(None).expect("an embedder");
        let together = embedder.embed_blocking(&texts, &EmbedOptions::default()).expect("vectors");
        for (text, expected) in texts.iter().zip(&together.vectors) {
            let alone = embedder.embed_blocking(&[text], &EmbedOptions::default()).expect("a vector").vectors.remove(0);
            let close = alone.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5);
            assert!(close, "{variant}: {text}");
        }
    }
}

/// The inputs of an artifact's golden cases.
fn golden_inputs<T: DeserializeOwned>(path: &Path) -> Vec<T> {
    let lines = fs::read_to_string(path.join(&manifest(path).golden.file)).expect("cases");
    let input = |line: &str| {
        let case: serde_json::Value = serde_json::from_str(line).expect("a case");
        serde_json::from_value(case["input"].clone()).expect("an input")
    };
    lines.lines().map(input).collect()
}

#[test]
fn entities_depend_neither_on_their_batch_nor_on_their_padding() {
    for (path, variant) in variants(Task::Ner) {
        let recognizer = open(&path, &variant).recognizer(None).expect("a recognizer");
        let texts = golden_inputs::<String>(&path);
        let starts = |count: usize| {
            let given = manifest(&path).sections.get("spacy").is_some_and(|spacy| spacy["sentences"] == "given");
            let options = RecognizeOptions::default();
            if given { options.sentence_starts(vec![vec![]; count]) } else { options }
        };
        let together = recognizer.recognize_blocking(&texts, &starts(texts.len())).expect("entities");
        for (text, expected) in texts.iter().zip(&together) {
            let alone = &recognizer.recognize_blocking(&[text], &starts(1)).expect("entities")[0];
            assert_eq!((alone.tokens, alone.truncated), (expected.tokens, expected.truncated), "{variant}: {text}");
            assert_eq!(alone.entities.len(), expected.entities.len(), "{variant}: {text}");
            for (a, b) in alone.entities.iter().zip(&expected.entities) {
                assert_eq!((&a.label, a.start, a.end), (&b.label, b.start, b.end), "{variant}: {text}");
                assert!((a.score.unwrap_or(0.0) - b.score.unwrap_or(0.0)).abs() < 1e-5, "{variant}: {text}");
                assert_eq!((&text[a.start_byte..a.end_byte], a.utf16_range(text).is_some()), (a.text.as_str(), true));
            }
        }
    }
}

#[test]
fn summaries_depend_neither_on_their_batch_nor_on_their_padding() {
    let variants = variants(Task::Summarization);
    assert!(!variants.is_empty());
    for (path, variant) in variants {
        let summarizer = open(&path, &variant).summarizer(None).expect("a summarizer");
        let inputs = golden_inputs::<Vec<String>>(&path);
        let options = |num_beams| SummarizeOptions::default().num_beams(num_beams);
        for num_beams in [1, 3] {
            let together = summarizer.summarize_blocking(&inputs, &options(num_beams)).expect("summaries");
            for (input, expected) in inputs.iter().zip(&together) {
                let alone = summarizer.summarize_blocking(std::slice::from_ref(input), &options(num_beams));
                let alone = alone.expect("a summary").remove(0);
                assert_eq!(
                    (alone.tokens, alone.truncated),
                    (alone.token_ids.as_ref().map(|ids| ids.len() - 1), expected.truncated)
                );
                let tie = (alone.score.expect("a score") - expected.score.expect("a score")).abs() < 1e-5;
                assert!(tie, "{variant}, {num_beams} beams: {input:?}");
                assert_eq!((alone.token_ids, alone.text), (expected.token_ids.clone(), expected.text.clone()));
            }
        }
    }
}

#[test]
fn a_flipped_bit_in_a_small_file_is_refused() {
    for path in entries("valid").into_values() {
        let copy = common::copy(&path);
        for name in common::files(copy.path()).iter().filter(|name| !name.ends_with("_data")) {
            let file = copy.path().join(name);
            let good = fs::read(&file).expect("a file");
            for offset in (0..good.len()).step_by(good.len().div_ceil(50).max(1)) {
                let mut bad = good.clone();
                bad[offset] ^= 1 << (offset % 8);
                fs::write(&file, &bad).expect("a file");
                assert!(Artifact::verify(copy.path()).is_err(), "{name} byte {offset}");
            }
            fs::write(&file, &good).expect("a file");
        }
    }
}

fn valid_manifest() -> Vec<u8> {
    fs::read(common::golden().join("valid/tiny-embedding/manifest.json")).expect("a manifest")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// A corrupt manifest is accepted, or refused with the code of a check that reads only the manifest.
    #[test]
    fn corrupt_manifests_never_panic(edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let mut bytes = valid_manifest();
        for (index, byte) in edits {
            let offset = index.index(bytes.len());
            if byte % 3 == 0 { bytes.remove(offset); } else { bytes[offset] = byte; }
        }
        let code = code(parse_manifest(&bytes));
        prop_assert!(matches!(code.as_deref(), None | Some("json" | "format_version" | "unknown_task" | "schema")), "{code:?}");
    }
}
