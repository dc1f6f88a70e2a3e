//! Running a model: ONNX Runtime sessions, batches and vectors.

pub(crate) mod batch;
pub mod cpu;
pub(crate) mod embedding;
pub(crate) mod environment;
pub(crate) mod observe;
pub(crate) mod run;
pub(crate) mod session;

pub use self::embedding::{DEFAULT_TEXT_LIMIT, EmbedOptions, Embedding, Embeddings};
pub use self::environment::LIBRARY_VARIABLE;
