//! Sentence embeddings, named entities, summaries and rankings from sealed ONNX artifacts, without Python.
//!
//! An *artifact* is a directory with a model's graphs, its tokenizer and a manifest that lists every file with its hash.
//! This crate opens artifacts and checks their files before ONNX Runtime loads them. A bridge ([`OnnxMlBridge`]) holds any
//! number of models by name. A handle ([`Embedder`], [`Recognizer`], [`Summarizer`], [`Reranker`]) has the full calls of a
//! task; the trait [`MlBridge`] has shortcuts to the default model of each task.
//!
//! ONNX Runtime is loaded at run time: set `ORT_DYLIB_PATH` to the path of its shared library, or pass the path to
//! [`Builder::library`]. Nothing is downloaded.
//!
//! # Example
//!
//! The example needs the environment variable `ONNX_ML_BRIDGE_ARTIFACT` with the directory of an artifact:
//!
//! ```
//! use onnx_ml_bridge::{BridgeError, BridgeOptions, EmbedOptions, Embedder, Model};
//!
//! fn main() -> Result<(), BridgeError> {
//!     let Some(artifact) = std::env::var_os("ONNX_ML_BRIDGE_ARTIFACT") else {
//!         eprintln!("set ONNX_ML_BRIDGE_ARTIFACT to an artifact's directory to run this example");
//!         return Ok(());
//!     };
//!     let embedder = Embedder::open(Model::new(artifact).variant("auto"), BridgeOptions::default())?;
//!
//!     // One vector per text, in the order of the texts. Each has `dim` finite float32 values.
//!     let answer = embedder.embed_blocking(&["Hello world", "Bonjour le monde"], &EmbedOptions::default())?;
//!     assert_eq!(answer.vectors.len(), 2);
//!     assert_eq!(answer.vectors[0].len(), answer.dim);
//!     assert_eq!(answer.truncated, [false, false]);
//!     println!("{} dimensions from the variant {}", answer.dim, embedder.info().variant);
//!     Ok(())
//! }
//! ```
//!
//! # Several models
//!
//! The manifest of an artifact says which task it is for. Every model has a unique name: that of its manifest, or a given
//! one. Calls select a model by its name, or use the default model of their task. [`open_bridge`] opens the models that a
//! file lists.
//!
//! ```no_run
//! use onnx_ml_bridge::{MlBridge, Model, OnnxMlBridge, Task};
//!
//! # async fn example() -> Result<(), onnx_ml_bridge::BridgeError> {
//! let bridge = OnnxMlBridge::builder()
//!     .model("dist/all-minilm-l6-v2")
//!     .model(Model::new("dist/en-core-web-sm").name("en"))
//!     .model(Model::new("dist/fr-core-news-sm").name("fr"))
//!     .default_model(Task::Ner, "en")
//!     .build_async()
//!     .await?;
//! let vector = bridge.generate_embedding("The lease was signed.").await?;
//! let entities = bridge.extract_entities("Ada Lovelace lived in London.").await?;
//! let french = bridge.recognizer(Some("fr"))?;
//! # Ok(())
//! # }
//! ```
//!
//! # Named entities
//!
//! The same calls work for spaCy pipelines, for token classifiers of transformers and for GLiNER, whose calls can name the
//! labels to find ([`RecognizeOptions::labels`]). Offsets count characters and bytes of UTF-8; [`Entity::utf16_range`]
//! returns offsets in UTF-16 code units, as JavaScript counts.
//!
//! ```no_run
//! use onnx_ml_bridge::{AggregationStrategy, BridgeOptions, RecognizeOptions, Recognizer};
//!
//! # fn main() -> Result<(), onnx_ml_bridge::BridgeError> {
//! let recognizer = Recognizer::open("dist/bert-base-ner", BridgeOptions::default())?;
//! let options = RecognizeOptions::default().aggregation_strategy(AggregationStrategy::Max).stride(64);
//! for entity in &recognizer.recognize_blocking(&["Ada Lovelace lived in London."], &options)?[0] {
//!     println!("{} {} {}..{}", entity.label, entity.text, entity.start, entity.end);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Summaries
//!
//! The beam search is part of the graph. The options of a call set the number of beams, the lengths and the length penalty.
//! They can also split longer inputs into chunks:
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use onnx_ml_bridge::{BridgeOptions, SummarizeOptions, Summarizer};
//!
//! # async fn example() -> Result<(), onnx_ml_bridge::BridgeError> {
//! let summarizer = Summarizer::open("dist/distilbart-cnn-12-6", BridgeOptions::default())?;
//! let messages = vec!["The meeting is moved to Friday.".to_owned(), "Bring the figures.".to_owned()];
//! let options = SummarizeOptions::default().map_reduce(true).timeout(Duration::from_secs(30));
//! for summary in summarizer.summarize(vec![messages], options).await? {
//!     println!("{} ({:?} tokens)", summary.text, summary.tokens);
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
//! use onnx_ml_bridge::{BridgeOptions, RerankOptions, Reranker};
//!
//! # fn main() -> Result<(), onnx_ml_bridge::BridgeError> {
//! let reranker = Reranker::open("dist/cross-encoder-package-descriptions", BridgeOptions::default())?;
//! let documents = ["A server that streams music.", "A chess game with an opponent."];
//! let options = RerankOptions::default().top_k(1);
//! for ranked in reranker.rerank_blocking("play a board game", &documents, &options)? {
//!     println!("{:.3} {}", ranked.score, documents[ranked.index]);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Many calls at a time
//!
//! Every model has a queue of its own, and up to [`workers`](Model::workers()) runs at a time. Calls take turns, run by run, and
//! inputs of waiting calls share runs. On a CPU, a run that is alone uses all [`threads`](BridgeOptions::threads()), and runs
//! beside each other use one each, with the same weights. A run of a long text counts as several, so that long texts do not
//! multiply the memory. When [`max_waiting`](BridgeOptions::max_waiting()) calls wait, the next one fails with the code
//! `overloaded`. Asynchronous calls hold no thread while they wait. `status` says what a model does at the moment.
//!
//! # Time limits and cancellation
//!
//! Every call can be stopped: by its time limit (`timeout` in its options, else that of the model, else that of the bridge),
//! by a [`CancelToken`] in its options, or by dropping its future. ONNX Runtime ends the running graph after its current
//! node, and no further run starts. A call with a `_each` in its name keeps the answers that were finished. The model can
//! still be used.
//!
//! # Errors
//!
//! Every call fails with a [`BridgeError`], whose [`code`](BridgeError::code) is one of those that `FORMAT.md` lists, and
//! whose [`source`](std::error::Error::source) is the error of the system or of another library, if that is the cause.
//!
//! # Observability
//!
//! Warnings are logged with `tracing`. Every call has a span named `call`, with a span for each of its stages: `tokenize`,
//! `queue` (the wait for the first run), `run` and `decode` (summaries and token classification). A run for several calls is
//! a child of the first one's span and follows from those of the others. All spans have the fields `model` and `task`. No
//! text is in a span, a log or a metric.
//!
//! Metrics are recorded with the `metrics` facade and have the labels `model` and `version`. `docs/metrics.md` defines them
//! for both languages. The counters are `onnx_ml_bridge_requests_total`, `onnx_ml_bridge_items_total`,
//! `onnx_ml_bridge_tokens_total`, `onnx_ml_bridge_runs_total` (runs of graphs), `onnx_ml_bridge_errors_total` (with the
//! additional label `code`), `onnx_ml_bridge_unloads_total` (with the additional label `reason`: `idle`, `memory_mb`,
//! `pressure` or `call`), and for other backends `onnx_ml_bridge_retries_total`, `onnx_ml_bridge_fallbacks_total` (both with
//! the additional label `code`) and `onnx_ml_bridge_dropped_entities_total`. The histograms are `onnx_ml_bridge_request_seconds`, `onnx_ml_bridge_queue_seconds` (the wait for
//! the first run of a call), `onnx_ml_bridge_run_seconds`, `onnx_ml_bridge_run_tokens` (the tokens of a run, padding
//! included) and `onnx_ml_bridge_load_seconds`. The gauges are `onnx_ml_bridge_waiting` (calls of which a run has not
//! started), `onnx_ml_bridge_loaded` (models whose graphs are loaded) and `onnx_ml_bridge_resident_bytes` (the memory that
//! these take).
//!
//! `metrics-exporter-prometheus` exports summaries unless it gets buckets. These are the buckets of Python:
//!
//! ```ignore
//! use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
//!
//! let seconds = [
//!     0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0,
//! ];
//! let tokens: Vec<f64> = (0..=16).map(|power| f64::from(1 << power)).collect();
//! PrometheusBuilder::new()
//!     .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &seconds)?
//!     .set_buckets_for_metric(Matcher::Suffix("_run_tokens".to_owned()), &tokens)?
//!     .install()?;
//! ```

// Two functions of the C library, in runtime/freed_memory.rs, have no safe wrappers. Those of ort do not let several threads
// run one session: runtime/graph_session/call.rs.
#![deny(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic))]
#![deny(missing_docs)]
// In a build without the command, without some families, without other backends or with stores in folders only, a part of
// the code that they share is unused.
#![cfg_attr(
    not(all(
        feature = "cli",
        feature = "families",
        feature = "llama-cpp",
        any(feature = "store-remote", not(feature = "store"))
    )),
    allow(dead_code, unused_imports)
)]
#![deny(clippy::wildcard_enum_match_arm)]

mod api;
pub mod artifact;
#[cfg(feature = "openai")]
mod backends;
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
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod handles;
mod health;
#[cfg(feature = "cli")]
mod jsonl;
mod life;
mod location;
mod model;
mod open;
mod options;
pub mod runtime;
mod status;
#[cfg(feature = "store")]
mod store;
mod tasks;
#[cfg(feature = "cli")]
mod terminal;
mod tokenizer;
mod trust;
mod unknown_name;

pub use api::{MlBridge, Outcomes};
#[cfg(feature = "openai")]
pub use backends::{ApiModel, ApiServer, CompositeBuilder, CompositeMlBridge, OpenAiBuilder, OpenAiMlBridge};
#[cfg(feature = "llama-cpp")]
pub use backends::{Gguf, LlamaCppBuilder, LlamaCppMlBridge};
pub use bridge::OnnxMlBridge;
pub use bridge::builder::Builder;
pub use cause::Cause;
pub use error::BridgeError;
pub use error_code::ErrorCode;
pub use handles::{Embedder, EmbeddingWindows, EmbeddingWindowsBlocking, Recognizer, Reranker, Summarizer};
pub use health::Health;
pub use model::{Model, ModelInfo};
pub use open::{open_bridge, open_bridge_local_only};
pub use options::{BridgeOptions, ReloadOptions};
/// The bindings to ONNX Runtime, for [`Builder::environment`] and [`Builder::execution_providers`].
pub use ort;
pub use runtime::CancelToken;
pub use runtime::providers::Providers;
pub use status::{ModelState, ModelStatus};
#[cfg(feature = "store")]
pub use store::{Resolved, Store, StoredTag, StoredVersion};
pub use tasks::{
    AggregationStrategy, EmbedOptions, Embedding, EmbeddingWindow, Embeddings, Entities, Entity, Fallback, Location,
    OnToken, Progress, Ranked, RecognizeOptions, RerankOptions, SummarizeOptions, Summary, Task, Usage,
};
pub use unknown_name::UnknownName;

/// Compiles the Rust code in the repository's README.md. Exists only in doc tests.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
