//! Running a model: ONNX Runtime sessions, batches, vectors, entities and summaries.

pub(crate) mod batch;
pub mod cpu;
pub(crate) mod embedding;
pub(crate) mod entities;
pub(crate) mod environment;
pub(crate) mod ner;
pub(crate) mod observe;
pub(crate) mod outputs;
pub(crate) mod places;
pub(crate) mod run;
pub(crate) mod session;
pub(crate) mod stop;
pub(crate) mod summarization;
pub(crate) mod token_classification;

pub use self::embedding::{DEFAULT_TEXT_LIMIT, EmbedOptions, Embedding, Embeddings};
pub use self::entities::{Entities, NerOptions};
pub use self::environment::LIBRARY_VARIABLE;
pub use self::stop::CancelToken;
pub use self::summarization::{DEFAULT_BEAM_LIMIT, Progress, SummarizeOptions, Summary};
