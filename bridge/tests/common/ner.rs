//! Builds a small token classifier, whose logits for each token are a row of a table.

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{node, number, part, seal, tensor, value, write};

/// The entries of the vocabulary, each with the index of the class that has the highest logit for it.
const WORDS: [(&str, usize); 11] = [
    ("[PAD]", 0),
    ("[UNK]", 0),
    ("[CLS]", 0),
    ("[SEP]", 0),
    ("ann", 1),
    ("##a", 0),
    ("oslo", 3),
    ("fjord", 4),
    ("lives", 0),
    ("in", 0),
    ("nan", 0),
];
pub const LABELS: [&str; 5] = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"];
/// The highest logit of a vocabulary entry; the logits of all other classes are 0.
const LOGIT: f32 = 4.0;
/// The maximum number of tokens of a window, including two special tokens.
pub const MAX_TOKENS: usize = 6;

/// The score of the class with the highest logit, which is the same for every token.
pub fn sure() -> f64 {
    let e = f64::from(LOGIT).exp();
    e / (e + (LABELS.len() - 1) as f64)
}

fn table() -> Vec<u8> {
    let row = |(word, class): (&str, usize)| {
        let cell = |index| match index == class {
            _ if word == "nan" => f32::NAN,
            true => LOGIT,
            false => 0.0,
        };
        (0..LABELS.len()).map(cell).collect::<Vec<f32>>()
    };
    WORDS.into_iter().flat_map(row).flat_map(f32::to_le_bytes).collect()
}

fn model() -> Vec<u8> {
    let size = |count: usize| number(1, count as u64);
    let table =
        part(5, [size(WORDS.len()), size(LABELS.len()), number(2, 1), part(8, "table"), part(9, table())].concat());
    let graph = [
        node("Gather", &["table", "input_ids"], "logits", &[]),
        part(2, "tiny-ner"),
        table,
        value(11, "input_ids", 7, &["batch", "tokens"]),
        value(11, "attention_mask", 7, &["batch", "tokens"]),
        value(11, "token_type_ids", 7, &["batch", "tokens"]),
        value(12, "logits", 1, &["batch", "tokens", "labels"]),
    ];
    [number(1, 8), part(7, graph.concat()), part(8, [part(1, ""), number(2, 17)].concat())].concat()
}

fn tokenizer() -> String {
    let vocab: Value = WORDS.iter().enumerate().map(|(id, (word, _))| ((*word).to_owned(), json!(id))).collect();
    let model = json!({"type": "WordPiece", "vocab": vocab, "unk_token": "[UNK]", "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 100});
    json!({"version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
        "normalizer": {"type": "Lowercase"}, "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "BertProcessing", "cls": ["[CLS]", 2], "sep": ["[SEP]", 3]},
        "decoder": null, "model": model})
    .to_string()
}

/// The manifest of the tiny classifier, without its files. Its only variant is `fp32`.
pub fn manifest() -> Value {
    let ids = |name| tensor(name, "int64", &["batch", "tokens"]);
    let graph = json!({"file": "onnx/model.onnx", "ir_version": 8, "domains": {"": 17}, "min_onnxruntime": "1.18",
        "inputs": [ids("input_ids"), ids("attention_mask"), ids("token_type_ids")],
        "outputs": [tensor("logits", "float32", &["batch", "tokens", "labels"])]});
    let gate = json!({"differing": 0, "entity_f1": 1.0, "score_max_abs": 1e-5, "token_mismatches": 0});
    json!({
        "format_version": 1, "task": "ner", "task_revision": 1, "engine": "transformers",
        "name": "tiny-ner", "version": "1", "builder": {"onnx-ml-bridge": "0.1.0"},
        "source": {"kind": "path", "id": "tiny", "revision": null, "weights_sha256": "0".repeat(64), "license": null},
        "variants": {"fp32": {"gate": gate, "graphs": {"token_classifier": graph}, "quantization": null}},
        "tokenizer": {"file": "tokenizer.json", "vocab_size": WORDS.len(), "max_tokens": MAX_TOKENS,
            "truncation_side": "right", "pad_token": "[PAD]", "pad_token_id": 0},
        "token_classification": {"labels": LABELS, "ignore_labels": ["O"], "aggregation_strategy": "first",
            "stride": null, "subwords": "length", "unk_token_id": 1, "language": "en"},
        "golden": {"file": "golden.jsonl", "cases": 3},
        "parity": {"file": "parity.json", "texts": 1, "variants": {},
            "machine": {"cpu": "none", "instruction_set": [], "threads": 1}},
        "files": {},
    })
}

fn case(
    input: &str,
    settings: (Option<&str>, Option<usize>),
    tokens: usize,
    truncated: bool,
    entities: Value,
) -> String {
    json!({"expected": {"entities": entities, "tokens": tokens, "truncated": truncated}, "input": input,
        "settings": {"aggregation_strategy": settings.0, "sentence_starts": null, "stride": settings.1}})
    .to_string()
}

fn entity(start: usize, end: usize, label: &str) -> Value {
    json!({"start": start, "end": end, "label": label, "score": sure()})
}

/// Writes the tiny artifact and seals it.
pub fn tiny() -> TempDir {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let put = |name: &str, bytes: &[u8]| write(dir.path(), name, bytes);
    put("onnx/model.onnx", &model());
    put("tokenizer.json", tokenizer().as_bytes());
    let cases = [
        case("👩 Anna\r\nlives", (None, None), 6, false, json!([entity(2, 6, "PER")])),
        case("ann lives in oslo fjord", (None, None), 6, true, json!([entity(0, 3, "PER"), entity(13, 17, "LOC")])),
        case(
            "ann lives in oslo fjord",
            (Some("simple"), Some(2)),
            11,
            false,
            json!([entity(0, 3, "PER"), entity(13, 23, "LOC")]),
        ),
    ];
    put("golden.jsonl", format!("{}\n", cases.join("\n")).as_bytes());
    put("parity.json", b"{}\n");
    seal(dir.path(), manifest());
    dir
}
