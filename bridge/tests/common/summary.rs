//! Builds a small summarizer, whose summary of a text is the first `max_length` tokens.

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{axis, int, node, number, part, seal, tensor, value, write};

/// The vocabulary. The score of a text with `nan` is NaN, and the run of a text with `slow` does not end.
const WORDS: [&str; 12] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "b", "c", "d", "a.", "b.", "nan", "slow"];
const SPECIAL: usize = 4;
/// The maximum number of tokens of a text, including two special tokens.
pub const MAX_TOKENS: usize = 8;
pub const MAX_TARGET_TOKENS: usize = 16;
/// The number of iterations of the graph's loop for a text with `slow`, so that its run does not end.
const ITERATIONS: i64 = 1 << 40;

fn initializer(name: &str, dtype: u64, dims: &[usize], data: Vec<u8>) -> Vec<u8> {
    let dims: Vec<u8> = dims.iter().flat_map(|size| number(1, *size as u64)).collect();
    part(5, [dims, number(2, dtype), part(8, name), part(9, data)].concat())
}

/// An initializer with one value per word of the vocabulary.
fn per_word(name: &str, value: impl Fn(&str) -> Vec<u8>, dtype: u64) -> Vec<u8> {
    initializer(name, dtype, &[WORDS.len()], WORDS.iter().flat_map(|word| value(word)).collect())
}

/// A loop node with `iterations` iterations, which returns 0.
fn delay() -> Vec<u8> {
    let body = [
        node("Identity", &["go_on"], "goes_on", &[]),
        node("Min", &["kept", "iteration"], "still", &[]),
        part(2, "delay"),
        value(11, "iteration", 7, &[]),
        value(11, "go_on", 9, &[]),
        value(11, "kept", 7, &[]),
        value(12, "goes_on", 9, &[]),
        value(12, "still", 7, &[]),
    ];
    let body = part(5, [part(1, "body"), part(6, body.concat()), number(20, 5)].concat());
    node("Loop", &["iterations", "", "zero"], "nothing", &body)
}

/// The score of a summary is `num_beams * length_penalty + min_length`, so that tests see the inputs of the graph.
fn model() -> Vec<u8> {
    let nan = |word: &str| if word == "nan" { f32::NAN } else { 0.0 }.to_le_bytes().to_vec();
    let slow = |word: &str| if word == "slow" { ITERATIONS } else { 0 }.to_le_bytes().to_vec();
    let settings = [("num_beams", 7), ("min_length", 7), ("max_length", 7), ("length_penalty", 1)];
    let settings: Vec<u8> = settings.iter().flat_map(|(name, dtype)| value(11, name, *dtype, &["one"])).collect();
    let graph = [
        node("Slice", &["input_ids", "start", "max_length", "second"], "sequences", &[]),
        node("Gather", &["slowness", "input_ids"], "slow", &[]),
        node("ReduceMax", &["slow"], "iterations", &int("keepdims", 0)),
        delay(),
        node("Gather", &["badness", "input_ids"], "bad", &[]),
        node("ReduceSum", &["bad", "second"], "bad_texts", &int("keepdims", 0)),
        node("Cast", &["num_beams"], "beams", &int("to", 1)),
        node("Mul", &["beams", "length_penalty"], "product", &[]),
        node("Add", &["min_length", "nothing"], "delayed_length", &[]),
        node("Cast", &["delayed_length"], "length_float", &int("to", 1)),
        node("Add", &["product", "length_float"], "score", &[]),
        node("Add", &["bad_texts", "score"], "sequences_scores", &[]),
        part(2, "tiny-summary"),
        axis("start", 0),
        axis("second", 1),
        initializer("zero", 7, &[], 0_i64.to_le_bytes().to_vec()),
        per_word("badness", nan, 1),
        per_word("slowness", slow, 7),
        value(11, "input_ids", 7, &["batch", "tokens"]),
        value(11, "attention_mask", 7, &["batch", "tokens"]),
        settings,
        value(12, "sequences", 7, &["batch", "length"]),
        value(12, "sequences_scores", 1, &["batch"]),
    ];
    [number(1, 8), part(7, graph.concat()), part(8, [part(1, ""), number(2, 17)].concat())].concat()
}

fn tokenizer() -> String {
    let vocab: Value = WORDS.iter().enumerate().map(|(id, word)| ((*word).to_owned(), json!(id))).collect();
    let added = |(id, word): (usize, &&str)| {
        json!({"id": id, "content": word, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
            "special": true})
    };
    let added: Vec<Value> = WORDS[..SPECIAL].iter().enumerate().map(added).collect();
    json!({"version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": null,
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": {"type": "BertProcessing", "cls": ["[CLS]", 2], "sep": ["[SEP]", 3]}, "decoder": null,
        "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "[UNK]"}})
    .to_string()
}

/// The manifest of the tiny summarizer, without its files. Its only variant is `fp32`.
pub fn manifest() -> Value {
    let ids = |name| tensor(name, "int64", &["batch", "tokens"]);
    let one = |name, dtype| tensor(name, dtype, &["one"]);
    let graph = json!({"file": "onnx/model.onnx", "ir_version": 8, "domains": {"": 17}, "min_onnxruntime": "1.18",
        "inputs": [ids("input_ids"), ids("attention_mask"), one("num_beams", "int64"), one("min_length", "int64"),
            one("max_length", "int64"), one("length_penalty", "float32")],
        "outputs": [tensor("sequences", "int64", &["batch", "length"]),
            tensor("sequences_scores", "float32", &["batch"])]});
    json!({
        "format_version": 1, "task": "summarization", "task_revision": 1, "engine": "transformers",
        "name": "tiny-summary", "version": "1", "builder": {"onnx-ml-bridge": "0.1.0"},
        "source": {"kind": "path", "id": "tiny", "revision": null, "weights_sha256": "0".repeat(64), "license": null},
        "variants": {"fp32": {"gate": {"differing": 0, "sealed_same": 1.0, "token_mismatches": 0},
            "graphs": {"generate": graph}, "quantization": null}},
        "tokenizer": {"file": "tokenizer.json", "vocab_size": WORDS.len(), "max_tokens": MAX_TOKENS,
            "truncation_side": "right", "pad_token": "[PAD]", "pad_token_id": 0},
        "summarization": {"join": " ", "decoder_start_token_id": 2, "eos_token_id": 3,
            "max_target_tokens": MAX_TARGET_TOKENS,
            "defaults": {"num_beams": 2, "min_length": 0, "max_length": 6, "length_penalty": 1.5},
            "fixed": {"no_repeat_ngram_size": 3, "early_stopping": "never", "forced_bos_token_id": null,
                "forced_eos_token_id": null}},
        "golden": {"file": "golden.jsonl", "cases": 3},
        "parity": {"file": "parity.json", "texts": 1, "variants": {},
            "machine": {"cpu": "none", "instruction_set": [], "threads": 1}},
        "files": {},
    })
}

fn case(input: &[&str], max_length: usize, text: &str, token_ids: &[u32], truncated: bool) -> String {
    json!({"expected": {"text": text, "token_ids": token_ids, "truncated": truncated}, "input": input,
        "sealed": {"fp32": {"text": text, "token_ids": token_ids}},
        "settings": {"length_penalty": 1.5, "max_length": max_length, "min_length": 0, "num_beams": 2}})
    .to_string()
}

/// Writes the tiny artifact and seals it.
pub fn tiny() -> TempDir {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let put = |name: &str, bytes: &[u8]| write(dir.path(), name, bytes);
    put("onnx/model.onnx", &model());
    put("tokenizer.json", tokenizer().as_bytes());
    let cases = [
        case(&["a", "b c"], 6, "a b c", &[2, 4, 5, 6, 3], false),
        case(&["a b c d a b c d"], 4, "a b c", &[2, 4, 5, 6], true),
        case(&["d"], 6, "d", &[2, 7, 3], false),
    ];
    put("golden.jsonl", format!("{}\n", cases.join("\n")).as_bytes());
    put("parity.json", b"{}\n");
    seal(dir.path(), manifest());
    dir
}
