//! Sentence embeddings, named entities and summaries from sealed ONNX artifacts, without Python.
//!
//! An *artifact* is a directory with a model's graphs, its tokenizer and a manifest that lists every file with its hash.
//! This crate opens one, checks it before ONNX Runtime sees a byte of it, and answers the calls of [`MlBridge`].
//!
//! ONNX Runtime is loaded at run time: set `ORT_DYLIB_PATH` to its shared library, or name it with
//! [`OnnxMlBridgeBuilder::library`]. Nothing is downloaded.
//!
//! # Example
//!
//! It runs where the variable `ONNX_ML_BRIDGE_ARTIFACT` names an artifact:
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
//!     // A vector per text, in order; each has `dim` finite float32 values.
//!     let answer = bridge.embed(&["Hello world", "Bonjour le monde"], &EmbedOptions::default())?;
//!     assert_eq!(answer.vectors.len(), 2);
//!     assert_eq!(answer.vectors[0].len(), answer.dim);
//!     assert_eq!(answer.truncated, [false, false]);
//!
//!     // The shortcut for one text. In asynchronous code: `MlBridge::generate_embedding(&bridge, text).await`.
//!     let vector = bridge.generate_embedding_blocking("Hello world")?;
//!     println!("{} dimensions from the variant {}", vector.len(), bridge.embedding_variant()?);
//!     Ok(())
//! }
//! ```
//!
//! # Named entities
//!
//! From spaCy pipelines and from token classifiers of transformers, with the same calls. Positions are given in characters
//! and in bytes; [`Entity::utf16_range`] tells those of JavaScript. Several models may be open, each under its name:
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
//! The search is part of the graph; a call may choose beams, lengths and the length penalty, have longer inputs read in
//! parts, and can be stopped, by a time limit or from another thread:
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
//! # Errors
//!
//! Every call answers with [`BridgeError`], whose [`code`](BridgeError::code) is the one that the format's text lists.
//!
//! # Observability
//!
//! Warnings go through `tracing`, metrics through the `metrics` facade, labelled with `model` and `version`: counters
//! `onnx_ml_bridge_requests_total`, `onnx_ml_bridge_items_total`, `onnx_ml_bridge_tokens_total` and
//! `onnx_ml_bridge_errors_total` (with `code`), histograms `onnx_ml_bridge_request_seconds` and
//! `onnx_ml_bridge_load_seconds`.

#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic))]
#![deny(missing_docs)]
// Without the command or some of the families, code that they share is unused.
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
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;
#[cfg(feature = "cli")]
mod command;
mod error;
pub mod families;
#[cfg(feature = "cli")]
mod jsonl;
pub mod runtime;
#[cfg(feature = "cli")]
mod terminal;
mod tokenizer;

pub use api::MlBridge;
pub use bridge::OnnxMlBridge;
pub use bridge::builder::OnnxMlBridgeBuilder;
pub use error::BridgeError;
pub use families::exports::*;
/// The bindings to ONNX Runtime, for [`OnnxMlBridgeBuilder::environment`] and
/// [`OnnxMlBridgeBuilder::execution_providers`].
pub use ort;
pub use runtime::CancelToken;

/// Compiles the Rust block of the repository's README.md; exists in doc tests only.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
