//! The tasks of models: the options and the results of their calls, and what a backend has to answer.
//!
//! The types are part of every build. The cargo features decide which families of artifacts can be opened.

pub(crate) mod answers;
pub(crate) mod backend;
pub(crate) mod chunks;
pub(crate) mod embedding;
pub(crate) mod entities;
pub(crate) mod ner;
pub(crate) mod offsets;
pub(crate) mod rerank;
pub(crate) mod seconds;
mod strategy;
pub(crate) mod summarization;
mod task;
pub(crate) mod text_windows;

pub use self::answers::{Fallback, Location, Usage};
pub use self::embedding::{EmbedOptions, Embedding, EmbeddingWindow, Embeddings};
pub use self::entities::{Entities, Entity};
pub use self::ner::RecognizeOptions;
pub use self::rerank::{Ranked, RerankOptions};
pub use self::strategy::AggregationStrategy;
pub use self::summarization::{OnToken, Progress, SummarizeOptions, Summary};
pub use self::task::Task;
