//! A valid artifact is corrupted in all ways that the format describes. Each corrupt artifact is refused with the expected
//! code.
#![cfg(feature = "sentence-embedding")]

mod common;

use std::fs;
use std::path::Path;

use onnx_ml_bridge::families::Artifact;
use serde_json::{Value, json};

fn verify(root: &Path) -> Result<(), &'static str> {
    Artifact::verify(root).map(|_| ()).map_err(|error| error.code().as_str())
}

fn open(root: &Path) -> Result<(), &'static str> {
    Artifact::open(root, "auto").map(|_| ()).map_err(|error| error.code().as_str())
}

/// Corrupts a new artifact. Verifying and opening have to refuse it with the given code.
fn refused(code: &'static str, corrupt: impl Fn(&Path)) {
    let dir = common::tiny();
    corrupt(dir.path());
    assert_eq!((verify(dir.path()), open(dir.path())), (Err(code), Err(code)));
}

/// Changes the files and the manifest of a new artifact and seals it again, so that the hashes match.
fn resealed(code: &'static str, change: impl Fn(&Path, &mut Value)) {
    refused(code, |root| {
        let mut manifest = common::manifest();
        change(root, &mut manifest);
        common::seal(root, manifest);
    });
}

#[test]
fn the_valid_artifact_is_accepted() {
    let dir = common::tiny();
    assert_eq!((verify(dir.path()), open(dir.path())), (Ok(()), Ok(())));
}

#[test]
fn invalid_directories_are_refused() {
    refused("path_kind", |root| fs::remove_file(root.join("manifest.json")).unwrap());
    refused("path_kind", |root| fs::remove_file(root.join("manifest.sha256")).unwrap());
    refused("path_kind", |root| fs::write(root.join("manifest.json"), vec![b' '; (1 << 20) + 1]).unwrap());
    refused("path_kind", |root| fs::create_dir_all(root.join("d/".repeat(16))).unwrap());
    refused("file_set", |root| fs::create_dir_all(root.join("d/".repeat(15))).unwrap());
    refused("path_kind", |root| (0..1000).for_each(|index| fs::write(root.join(format!("f{index}")), b"").unwrap()));
    for path in ["no/such/directory", "", "a\0b", "\0", "/\0/"] {
        assert_eq!((verify(Path::new(path)), open(Path::new(path))), (Err("path_kind"), Err("path_kind")), "{path:?}");
    }
    assert_eq!(verify(&common::tiny().path().join("manifest.json")), Err("path_kind"));
}

#[test]
#[cfg(unix)]
fn hard_links_are_accepted_and_their_content_is_checked() {
    let (dir, store) = (common::tiny(), tempfile::tempdir().unwrap());
    for (name, linked) in [("manifest.json", "a"), ("onnx/model.onnx", "b"), ("tokenizer.json", "c")] {
        fs::hard_link(dir.path().join(name), store.path().join(linked)).unwrap();
    }
    assert_eq!((verify(dir.path()), open(dir.path())), (Ok(()), Ok(())));
    let bytes = fs::read(store.path().join("c")).unwrap();
    fs::write(store.path().join("c"), bytes.to_ascii_uppercase()).unwrap();
    assert_eq!((verify(dir.path()), open(dir.path())), (Err("file_hash"), Err("file_hash")));
}

#[test]
#[cfg(unix)]
fn symbolic_links_and_devices_are_refused() {
    use std::os::unix::fs::symlink;
    refused("path_kind", |root| symlink("config.json", root.join("link")).unwrap());
    let (dir, other) = (common::tiny(), tempfile::tempdir().unwrap());
    symlink(dir.path(), other.path().join("link")).unwrap();
    assert_eq!(verify(&other.path().join("link")), Err("path_kind"));
    refused("path_kind", |root| symlink("/", root.join("onnx/out")).unwrap());
    refused("path_kind", |root| {
        fs::rename(root.join("tokenizer.json"), root.join("elsewhere")).unwrap();
        symlink("elsewhere", root.join("tokenizer.json")).unwrap();
    });
    refused("file_set", |root| fs::hard_link(root.join("parity.json"), root.join("twin")).unwrap());
    refused("path_kind", |root| {
        assert!(std::process::Command::new("mkfifo").arg(root.join("fifo")).status().unwrap().success());
    });
}

#[test]
fn missing_and_additional_files_are_refused() {
    refused("file_set", |root| fs::write(root.join("extra"), b"").unwrap());
    refused("file_set", |root| fs::create_dir(root.join("empty")).unwrap());
    refused("file_set", |root| fs::remove_file(root.join("parity.json")).unwrap());
    refused("file_set", |root| fs::rename(root.join("parity.json"), root.join("Parity.json")).unwrap());
}

#[test]
fn shortened_and_extended_files_are_refused() {
    for name in common::files(common::tiny().path()) {
        let code = if name.starts_with("manifest.") { "manifest_hash" } else { "size" };
        refused(code, |root| {
            let bytes = fs::read(root.join(&name)).unwrap();
            fs::write(root.join(&name), &bytes[..bytes.len() - 1]).unwrap();
        });
        refused(code, |root| {
            let bytes = fs::read(root.join(&name)).unwrap();
            fs::write(root.join(&name), [&bytes[..], b"\n"].concat()).unwrap();
        });
    }
}

#[test]
fn a_flipped_bit_in_any_byte_is_refused() {
    let dir = common::tiny();
    for name in common::files(dir.path()) {
        let path = dir.path().join(&name);
        let good = fs::read(&path).unwrap();
        let code = if name.starts_with("manifest.") { "manifest_hash" } else { "file_hash" };
        for offset in 0..good.len() {
            let mut bad = good.clone();
            bad[offset] ^= 1 << (offset % 8);
            fs::write(&path, &bad).unwrap();
            assert_eq!(verify(dir.path()), Err(code), "{name} byte {offset}");
        }
        fs::write(&path, &good).unwrap();
    }
    assert_eq!(verify(dir.path()), Ok(()));
}

#[test]
fn open_checks_only_the_hashes_of_files_that_it_uses() {
    let dir = common::tiny();
    fs::write(dir.path().join("parity.json"), b"[]\n").unwrap();
    assert_eq!((verify(dir.path()), open(dir.path())), (Err("file_hash"), Ok(())));
}

#[test]
fn invalid_manifests_are_refused() {
    resealed("format_version", |_, manifest| manifest["format_version"] = json!(2));
    resealed("format_version", |_, manifest| manifest["task_revision"] = json!(3));
    resealed("schema", |_, manifest| manifest["extra"] = json!(1));
    resealed("schema", |_, manifest| manifest["embedding"]["default_prompt"] = json!("nobody"));
    resealed("schema", |_, manifest| manifest["golden"]["file"] = json!("nowhere.jsonl"));
    resealed("schema", |_, manifest| manifest["embedding"]["dim"] = json!(4.0));
    resealed("schema", |root, _| common::write(root, "parity.JSON", b""));
    refused("json", |root| common::write_manifest(root, b"{\"a\":1,\"a\":1}"));
    refused("json", |root| common::write_manifest(root, b"[]"));
}

#[test]
fn graphs_that_differ_from_their_declaration_are_refused() {
    let graph = |change: fn(&mut Value)| {
        resealed("graph", move |_, manifest| change(&mut manifest["variants"]["fp32"]["graphs"]["encoder"]));
    };
    graph(|encoder| encoder["ir_version"] = json!(9));
    graph(|encoder| encoder["domains"][""] = json!(18));
    graph(|encoder| encoder["domains"]["com.microsoft"] = json!(1));
    graph(|encoder| encoder["inputs"][0]["name"] = json!("ids"));
    graph(|encoder| encoder["inputs"][0]["dtype"] = json!("int32"));
    graph(|encoder| encoder["outputs"][1]["dims"] = json!(["batch"]));
    resealed("graph", |root, _| common::write(root, "onnx/model.onnx", b"not a graph"));
    resealed("graph", |root, _| common::write(root, "onnx/model.onnx", b""));
}

#[test]
fn external_data_has_to_be_listed() {
    for location in ["../tokenizer.json", "/etc/hosts", "absent", "../../x", ""] {
        resealed("graph", |root, _| common::write(root, "onnx/model.onnx", &common::model(common::external(location))));
    }
    let dir = common::tiny();
    common::write(dir.path(), "onnx/model.onnx", &common::model(common::external("model.onnx_data")));
    common::write(dir.path(), "onnx/model.onnx_data", &common::table());
    common::seal(dir.path(), common::manifest());
    assert_eq!((verify(dir.path()), open(dir.path())), (Ok(()), Ok(())));
    fs::write(dir.path().join("onnx/model.onnx_data"), vec![0; common::table().len()]).unwrap();
    assert_eq!((verify(dir.path()), open(dir.path())), (Err("file_hash"), Err("file_hash")));
}

#[test]
fn tokenizers_that_differ_from_their_declaration_are_refused() {
    resealed("tokenizer", |_, manifest| manifest["tokenizer"]["vocab_size"] = json!(6));
    resealed("tokenizer", |_, manifest| manifest["tokenizer"]["pad_token"] = json!("[NONE]"));
    resealed("tokenizer", |_, manifest| manifest["tokenizer"]["pad_token_id"] = json!(1));
    resealed("tokenizer", |root, _| common::write(root, "tokenizer.json", b"{}"));
}

/// Seals an artifact whose tokenizer adds two special tokens.
fn with_special_tokens(root: &Path, manifest: &mut Value, max_tokens: u64) {
    let mut tokenizer: Value = serde_json::from_slice(&fs::read(root.join("tokenizer.json")).unwrap()).unwrap();
    tokenizer["post_processor"] = json!({"type": "BertProcessing", "cls": ["a", 2], "sep": ["b", 3]});
    common::write(root, "tokenizer.json", tokenizer.to_string().as_bytes());
    manifest["tokenizer"]["max_tokens"] = json!(max_tokens);
}

#[test]
fn max_tokens_has_to_exceed_the_number_of_special_tokens() {
    for max_tokens in [1, 2] {
        resealed("tokenizer", |root, manifest| with_special_tokens(root, manifest, max_tokens));
    }
    let dir = common::tiny();
    let mut manifest = common::manifest();
    with_special_tokens(dir.path(), &mut manifest, 3);
    common::seal(dir.path(), manifest);
    assert_eq!((verify(dir.path()), open(dir.path())), (Ok(()), Ok(())));
}

#[test]
fn an_unknown_variant_is_the_last_check() {
    let dir = common::tiny();
    let code = |root: &Path| Artifact::open(root, "int4").map(|_| ()).map_err(|error| error.code().as_str());
    assert_eq!(code(dir.path()), Err("variant"));
    fs::write(dir.path().join("extra"), b"").unwrap();
    assert_eq!(code(dir.path()), Err("file_set"));
}
