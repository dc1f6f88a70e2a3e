//! The parsers of outside data, for the fuzz targets in `fuzz/`. This module exists only in their build.

use std::path::Path;

use crate::BridgeError;
use crate::artifact::{Manifest, json, onnx};
use crate::families::{
    TokenizerSpec, gliner, ner, parse_manifest, rerank, sentence_embedding, spacy_ner, summarization,
};
use crate::store::{self, Spec};
use crate::tokenizer::TextEncoder;
use crate::trust;

/// A parser: it reads bytes, and the manifest that belongs to them.
pub type Parser = fn(&[u8], &Manifest) -> Result<(), BridgeError>;

/// Every parser, with the name of the valid artifact and the file that it reads. A new parser is one line.
pub const PARSERS: [(&str, &str, &str, Parser); 17] = [
    ("json", "tiny-ner", "parity.json", |bytes, _| json::parse(bytes).map(drop).map_err(refused)),
    ("manifest", "tiny-summary", "manifest.json", |bytes, _| parse_manifest(bytes).map(drop)),
    ("onnx", "tiny-rerank", "onnx/model.onnx", |bytes, _| onnx::Model::parse(bytes).map(drop).map_err(refused)),
    ("rules", "tiny-spacy", "spacy_tokenizer.json", |bytes, _| spacy_ner::read_rules(bytes)),
    ("tables", "tiny-spacy", "tables.safetensors", spacy_ner::read_tables),
    ("tokenizer", "tiny-embedding", "tokenizer.json", read_tokenizer),
    ("pair_tokenizer", "tiny-rerank", "tokenizer.json", rerank::read_tokenizer),
    ("bridge_toml", "tiny-ner", "../../bridge_toml/valid-all-keys.toml", |bytes, _| {
        crate::bridge::config::parse(bytes.to_vec(), Path::new("bridge.toml")).map(drop)
    }),
    ("golden_sentence_embedding", "tiny-matryoshka", "golden.jsonl", sentence_embedding::read_golden),
    ("golden_ner", "tiny-ner", "golden.jsonl", ner::read_golden),
    ("golden_gliner", "tiny-gliner", "golden.jsonl", gliner::read_golden),
    ("golden_rerank", "tiny-rerank", "golden.jsonl", rerank::read_golden),
    ("golden_summarization", "tiny-summary", "golden.jsonl", summarization::read_golden),
    ("version_record", "tiny-ner", "../../store/version.json", |bytes, _| store::read_version(bytes)),
    ("tag_record", "tiny-ner", "../../trust/tags/signed.json", |bytes, _| store::read_tag(bytes)),
    ("store_spec", "tiny-ner", "../../store/name.txt", |bytes, _| {
        String::from_utf8_lossy(bytes).parse::<Spec>().map(drop)
    }),
    ("bundle", "tiny-ner", "../../trust/bundles/signed.json", |bytes, _| trust::read_bundle(bytes).map_err(refused)),
];

fn read_tokenizer(bytes: &[u8], manifest: &Manifest) -> Result<(), BridgeError> {
    let encoder = TextEncoder::load(bytes, &TokenizerSpec::read(manifest)?)?;
    encoder.encode("the cat \u{e9}").map(drop).map_err(refused)
}

fn refused(problem: String) -> BridgeError {
    BridgeError::config(problem)
}
