//! Sentence embeddings, named entities, summaries and rankings from sealed ONNX artifacts, without Python.
//!
//! An *artifact* is a directory with a model's graphs, its tokenizer and a manifest that lists every file with its hash.
//! This crate opens artifacts, checks their files before ONNX Runtime loads them, and answers the calls of [`MlBridge`].
//!
//! ONNX Runtime is loaded at run time: set `ORT_DYLIB_PATH` to the path of its shared library, or pass the path to
//! [`OnnxMlBridgeBuilder::library`]. Nothing is downloaded.
//!
//! # Example
//!
//! The example needs the environment variable `ONNX_ML_BRIDGE_ARTIFACT` with the directory of an artifact:
//!
//! ```
//! use onnx_ml_bridge::{BridgeError, EmbedOptions, OnnxMlBridge};
//!
//! fn main() -> Result<(), BridgeError> {
//!     let Some(artifact) = std::env::var_os("ONNX_ML_BRIDGE_ARTIFACT") else {
//!         eprintln!("set ONNX_ML_BRIDGE_ARTIFACT to an artifact's directory to run this example");
//!         return Ok(());
//!     };
//!     let bridge = OnnxMlBridge::builder().embedding(artifact).variant("auto").build()?;
//!
//!     // One vector per text, in the order of the texts. Each has `dim` finite float32 values.
//!     let answer = bridge.embed(&["Hello world", "Bonjour le monde"], &EmbedOptions::default())?;
//!     assert_eq!(answer.vectors.len(), 2);
//!     assert_eq!(answer.vectors[0].len(), answer.dim);
//!     assert_eq!(answer.truncated, [false, false]);
//!
//!     // A shortcut for one text. Asynchronous code calls `MlBridge::generate_embedding(&bridge, text).await`.
//!     let vector = bridge.generate_embedding_blocking("Hello world")?;
//!     println!("{} dimensions from the variant {}", vector.len(), bridge.embedding_variant()?);
//!     Ok(())
//! }
//! ```
//!
//! # Named entities
//!
//! The same calls work for spaCy pipelines and for token classifiers of transformers. Offsets count characters and bytes of
//! UTF-8; [`Entity::utf16_range`] returns offsets in UTF-16 code units, as JavaScript counts. Several models can be open,
//! each with its own name:
//!
//! ```no_run
//! use onnx_ml_bridge::{AggregationStrategy, NerOptions, OnnxMlBridge};
//!
//! # fn main() -> Result<(), onnx_ml_bridge::BridgeError> {
//! let bridge = OnnxMlBridge::builder().ner("dist/en-core-web-sm").ner_named("fr", "dist/camembert-ner").build()?;
//! let options = NerOptions {
//!     model: Some("fr".to_owned()),
//!     aggregation_strategy: Some(AggregationStrategy::Max),
//!     stride: Some(64),
//!     ..NerOptions::default()
//! };
//! for entity in &bridge.ner(&["Ada Lovelace vivait à Londres."], &options)?[0].entities {
//!     println!("{} {} {}..{}", entity.label, entity.text, entity.start, entity.end);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Summaries
//!
//! The beam search is part of the graph. The options of a call set the number of beams, the lengths and the length penalty.
//! They can also split longer inputs into chunks, set a time limit, or stop the call from another thread:
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use onnx_ml_bridge::{OnnxMlBridge, SummarizeOptions};
//!
//! # fn main() -> Result<(), onnx_ml_bridge::BridgeError> {
//! let bridge = OnnxMlBridge::open_summarization("dist/distilbart-cnn-12-6")?;
//! let messages = vec!["The meeting is moved to Friday.".to_owned(), "Bring the figures.".to_owned()];
//! let options = SummarizeOptions { map_reduce: true, timeout: Some(Duration::from_secs(30)), ..Default::default() };
//! for summary in bridge.summarize_detailed(&[messages], &options)? {
//!     println!("{} ({} tokens)", summary.text, summary.tokens);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Rankings
//!
//! A reranker scores a query with each of several documents and returns the documents by descending score:
//!
//! ```no_run
//! use onnx_ml_bridge::{OnnxMlBridge, RerankOptions};
//!
//! # fn main() -> Result<(), onnx_ml_bridge::BridgeError> {
//! let bridge = OnnxMlBridge::open_rerank("dist/cross-encoder-package-descriptions")?;
//! let documents = ["A server that streams music.", "A chess game with an opponent."];
//! for ranked in bridge.rerank_blocking("play a board game", &documents, &RerankOptions::with_top_k(1))? {
//!     println!("{:.3} {}", ranked.score, documents[ranked.index]);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Errors
//!
//! Every call fails with a [`BridgeError`], whose [`code`](BridgeError::code) is one of those that `FORMAT.md` lists.
//!
//! # Observability
//!
//! Warnings are logged with `tracing`. Metrics are recorded with the `metrics` facade and have the labels `model` and
//! `version`. The counters are `onnx_ml_bridge_requests_total`, `onnx_ml_bridge_items_total`,
//! `onnx_ml_bridge_tokens_total` and `onnx_ml_bridge_errors_total` (with the additional label `code`). The histograms are
//! `onnx_ml_bridge_request_seconds` and `onnx_ml_bridge_load_seconds`.

#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic))]
#![deny(missing_docs)]
// In a build without the command or without some families, a part of the code that they share is unused.
#![cfg_attr(
    not(all(
        feature = "cli",
        feature = "sentence-embedding",
        feature = "token-classification",
        feature = "spacy",
        feature = "summarization"
    )),
    allow(dead_code, unused_imports)
)]
#![deny(clippy::wildcard_enum_match_arm)]

mod api;
pub mod artifact;
mod bridge;
mod cause;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;
#[cfg(feature = "cli")]
mod command;
mod error;
mod error_code;
pub mod families;
mod handles;
#[cfg(feature = "cli")]
mod jsonl;
mod model;
mod options;
pub mod runtime;
mod tasks;
#[cfg(feature = "cli")]
mod terminal;
mod tokenizer;
mod unknown_name;

pub use api::MlBridge;
pub use bridge::OnnxMlBridge;
pub use bridge::builder::Builder;
pub use bridge::config::open_bridge;
pub use cause::Cause;
pub use error::BridgeError;
pub use error_code::ErrorCode;
pub use handles::{Embedder, Recognizer, Reranker, Summarizer};
pub use model::{Model, ModelInfo};
pub use options::BridgeOptions;
/// The bindings to ONNX Runtime, for [`Builder::environment`] and [`Builder::execution_providers`].
pub use ort;
pub use runtime::CancelToken;
pub use tasks::{
    AggregationStrategy, EmbedOptions, Embedding, Embeddings, Entities, Entity, Progress, Ranked, RecognizeOptions,
    RerankOptions, SummarizeOptions, Summary, Task,
};
pub use unknown_name::UnknownName;

/// Compiles the Rust code in the repository's README.md. Exists only in doc tests.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
