//! Builds a small artifact, whose graph computes the mean of one-hot word vectors.
#![allow(dead_code)]

#[cfg(feature = "openai")]
pub mod api;
pub mod command;
#[cfg(feature = "openai")]
pub mod faulty;
pub mod life;
pub mod ner;
pub mod overlays;
pub mod recorder;
pub mod runs;
#[cfg(all(feature = "store", feature = "sentence-embedding"))]
pub mod store;
pub mod summary;
pub mod wait;
#[cfg(feature = "store-remote")]
pub mod web;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

/// The folder that the Python and the Rust tests share.
pub fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden")
}

/// The valid artifacts of the shared folder, ordered by name.
pub fn valid_artifacts() -> Vec<PathBuf> {
    let entries = fs::read_dir(golden().join("valid")).expect("tests/golden/valid");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths
}

/// The vocabulary of the tiny model. The vector of `[PAD]` is zero, that of `nan` is NaN, all others are one-hot.
const WORDS: [&str; 5] = ["[PAD]", "[UNK]", "a", "b", "nan"];
pub const DIM: usize = 4;

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// The bytes of a protobuf field with a varint.
pub fn number(field: u64, value: u64) -> Vec<u8> {
    [varint(field << 3), varint(value)].concat()
}

/// The bytes of a protobuf field with bytes, a string or a nested message.
pub fn part(field: u64, content: impl AsRef<[u8]>) -> Vec<u8> {
    let content = content.as_ref();
    [&varint(field << 3 | 2), &varint(content.len() as u64), content].concat()
}

/// The protobuf bytes of a node of an ONNX graph.
fn node(operator: &str, inputs: &[&str], output: &str, attributes: &[u8]) -> Vec<u8> {
    let inputs = inputs.iter().flat_map(|name| part(1, name)).collect();
    part(1, [inputs, part(2, output), part(4, operator), attributes.to_vec()].concat())
}

/// The protobuf bytes of an integer attribute of a node.
fn int(name: &str, value: u64) -> Vec<u8> {
    part(5, [part(1, name), number(3, value), number(20, 2)].concat())
}

/// The protobuf bytes of an input (field 11) or an output (field 12) of a graph.
fn value(field: u64, name: &str, dtype: u64, dims: &[&str]) -> Vec<u8> {
    let dims: Vec<u8> = dims.iter().flat_map(|dim| part(1, part(2, dim))).collect();
    part(field, [part(1, name), part(2, part(1, [number(1, dtype), part(2, dims)].concat()))].concat())
}

/// An initializer that contains the number of one axis, for nodes that have their axes as an input.
fn axis(name: &str, axis: i64) -> Vec<u8> {
    part(5, [number(1, 1), number(2, 7), part(8, name), part(9, axis.to_le_bytes())].concat())
}

/// The table of word vectors, row by row, as little-endian float32.
pub fn table() -> Vec<u8> {
    let cell = |row: usize, column: usize| match (row, column) {
        (4, _) => f32::NAN,
        (row, column) if row == column + 1 => 1.0,
        _ => 0.0,
    };
    (0..WORDS.len() * DIM).flat_map(|index| cell(index / DIM, index % DIM).to_le_bytes()).collect()
}

/// The initializer with the table of word vectors. `data` is either the field `raw_data`, or a reference to a file.
fn initializer(rows: usize, data: Vec<u8>) -> Vec<u8> {
    part(5, [number(1, rows as u64), number(1, DIM as u64), number(2, 1), part(8, "table"), data].concat())
}

/// The fields of an initializer that refer to a file with its data.
pub fn external(location: &str) -> Vec<u8> {
    [part(13, [part(1, "location"), part(2, location)].concat()), number(14, 1)].concat()
}

/// The bytes of the tiny model's ONNX file. `data` is the data of the table of word vectors, as [`initializer`]
/// describes it.
pub fn model(data: Vec<u8>) -> Vec<u8> {
    model_of(WORDS.len(), data)
}

/// Like [`model`], with a table of more rows than there are words.
fn model_of(rows: usize, data: Vec<u8>) -> Vec<u8> {
    let graph = [
        node("Gather", &["table", "input_ids"], "token_embeddings", &[]),
        node("Cast", &["attention_mask"], "mask", &int("to", 1)),
        node("Unsqueeze", &["mask", "two"], "wide", &[]),
        node("Mul", &["token_embeddings", "wide"], "kept", &[]),
        node("ReduceSum", &["kept", "one"], "sum", &int("keepdims", 0)),
        node("ReduceSum", &["wide", "one"], "count", &int("keepdims", 0)),
        node("Div", &["sum", "count"], "sentence_embedding", &[]),
        part(2, "tiny"),
        initializer(rows, data),
        axis("one", 1),
        axis("two", 2),
        value(11, "input_ids", 7, &["batch", "tokens"]),
        value(11, "attention_mask", 7, &["batch", "tokens"]),
        value(12, "token_embeddings", 1, &["batch", "tokens", "hidden"]),
        value(12, "sentence_embedding", 1, &["batch", "hidden"]),
    ];
    [number(1, 8), part(7, graph.concat()), part(8, [part(1, ""), number(2, 17)].concat())].concat()
}

fn tokenizer() -> String {
    let vocab: Value = WORDS.iter().enumerate().map(|(id, word)| ((*word).to_owned(), json!(id))).collect();
    let model = json!({"type": "WordLevel", "vocab": vocab, "unk_token": "[UNK]"});
    json!({"version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": {"type": "WhitespaceSplit"}, "post_processor": null, "decoder": null, "model": model})
    .to_string()
}

fn tensor(name: &str, dtype: &str, dims: &[&str]) -> Value {
    json!({"name": name, "dtype": dtype, "dims": dims})
}

/// The manifest of the tiny model, without its files. Its only variant is `fp32`.
pub fn manifest() -> Value {
    let graph = json!({"file": "onnx/model.onnx", "ir_version": 8, "domains": {"": 17}, "min_onnxruntime": "1.18",
        "inputs": [tensor("input_ids", "int64", &["batch", "tokens"]), tensor("attention_mask", "int64", &["batch", "tokens"])],
        "outputs": [tensor("token_embeddings", "float32", &["batch", "tokens", "hidden"]),
            tensor("sentence_embedding", "float32", &["batch", "hidden"])]});
    let gate = json!({"max_abs": 1e-6, "cosine_min": 0.9999, "cosine_min_hard": 0.999});
    json!({
        "format_version": 1, "task": "sentence-embedding", "task_revision": 1, "engine": "transformers",
        "name": "tiny", "version": "1", "builder": {"onnx-ml-bridge": "0.1.0"},
        "source": {"kind": "path", "id": "tiny", "revision": null, "weights_sha256": "0".repeat(64), "license": null},
        "variants": {"fp32": {"gate": gate, "graphs": {"encoder": graph}, "quantization": null}},
        "tokenizer": {"file": "tokenizer.json", "vocab_size": WORDS.len(), "max_tokens": 6, "truncation_side": "right",
            "pad_token": "[PAD]", "pad_token_id": 0},
        "embedding": {"dim": DIM, "pooling": ["mean"], "include_prompt": true, "normalized": false,
            "prompts": {"query": {"text": "b ", "tokens": 1}}, "default_prompt": null, "similarity": "cosine"},
        "golden": {"file": "golden.jsonl", "cases": 3},
        "parity": {"file": "parity.json", "texts": 1, "variants": {},
            "machine": {"cpu": "none", "instruction_set": [], "threads": 1}},
        "files": {},
    })
}

fn case(input: &str, prompt: Option<&str>, tokens: usize, truncated: bool, vector: [f32; DIM]) -> String {
    json!({"expected": {"tokens": tokens, "truncated": truncated, "vector": vector}, "group": "plain", "input": input,
        "settings": {"prompt_name": prompt}})
    .to_string()
}

/// Writes the tiny artifact and seals it.
pub fn tiny() -> TempDir {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let put = |name: &str, bytes: &[u8]| write(dir.path(), name, bytes);
    put("onnx/model.onnx", &model(part(9, table())));
    put("tokenizer.json", tokenizer().as_bytes());
    let cases = [
        case("a b", None, 2, false, [0.0, 0.5, 0.5, 0.0]),
        case("a", Some("query"), 2, false, [0.0, 0.5, 0.5, 0.0]),
        case("a a a a a a b", None, 6, true, [0.0, 1.0, 0.0, 0.0]),
    ];
    put("golden.jsonl", format!("{}\n", cases.join("\n")).as_bytes());
    put("parity.json", b"{}\n");
    put("1_Pooling/config.json", b"{}\n");
    seal(dir.path(), manifest());
    dir
}

/// Another version of the tiny model, whose vectors are `scale` times as long. Its graph has at least `bytes` bytes.
pub fn tiny_version(name: &str, version: &str, scale: f32, bytes: usize) -> TempDir {
    let dir = tiny();
    let exact = table();
    let scaled = exact.chunks_exact(4).flat_map(|cell| {
        let value = f32::from_le_bytes(cell.try_into().expect("4 bytes"));
        (value * scale).to_le_bytes()
    });
    let mut data: Vec<u8> = scaled.collect();
    let rows = (bytes / (4 * DIM)).max(WORDS.len());
    data.resize(rows * 4 * DIM, 0);
    write(dir.path(), "onnx/model.onnx", &model_of(rows, part(9, data)));
    let cases = fs::read_to_string(dir.path().join("golden.jsonl")).expect("cases");
    let cases = cases.lines().map(|line| {
        let mut case: Value = serde_json::from_str(line).expect("a case");
        for value in case["expected"]["vector"].as_array_mut().expect("a vector") {
            *value = json!(value.as_f64().expect("a number") * f64::from(scale));
        }
        format!("{case}\n")
    });
    write(dir.path(), "golden.jsonl", cases.collect::<String>().as_bytes());
    let mut manifest = manifest();
    manifest["name"] = json!(name);
    manifest["version"] = json!(version);
    seal(dir.path(), manifest);
    dir
}

pub fn write(root: &Path, name: &str, bytes: &[u8]) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().expect("inside of the root")).expect("a directory");
    fs::write(path, bytes).expect("a file");
}

fn visit(root: &Path, folder: &Path, names: &mut Vec<String>) {
    for entry in fs::read_dir(folder).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            visit(root, &path, names);
        } else {
            let name = path.strip_prefix(root).expect("inside").to_string_lossy().into_owned();
            names.push(name);
        }
    }
}

/// The relative paths of all files in a directory and its subdirectories, in order.
pub fn files(root: &Path) -> Vec<String> {
    let mut names = Vec::new();
    visit(root, root, &mut names);
    names.sort();
    names
}

pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Adds all files of a directory to the manifest, and writes the manifest and its hash.
pub fn seal(root: &Path, mut manifest: Value) {
    for name in files(root).iter().filter(|name| !name.starts_with("manifest.")) {
        let bytes = fs::read(root.join(name)).expect("a file");
        manifest["files"][name] = json!({"sha256": sha256(&bytes), "size": bytes.len()});
    }
    write_manifest(root, format!("{manifest:#}\n").as_bytes());
}

/// Writes the bytes of a manifest, and the file with their hash.
pub fn write_manifest(root: &Path, bytes: &[u8]) {
    write(root, "manifest.json", bytes);
    write(root, "manifest.sha256", format!("{}  manifest.json\n", sha256(bytes)).as_bytes());
}

/// Makes a blocking call inside of a task of tokio. A call that never ends fails.
pub fn in_task<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        sender.send(runtime.block_on(async { call() })).expect("the test waits");
    });
    receiver.recv_timeout(wait::LIMIT).expect("an answer")
}

/// Copies a directory, file by file.
pub fn copy(from: &Path) -> TempDir {
    let dir = tempfile::tempdir().expect("a temporary directory");
    for name in files(from) {
        write(dir.path(), &name, &fs::read(from.join(&name)).expect("a file"));
    }
    dir
}
