//! Handles of open models, one type per task. The backend behind a handle is a trait object.

pub(crate) mod any;
mod embedder;
mod embedding_windows;
pub(crate) mod handle;
mod recognizer;
mod reranker;
pub(crate) mod source;
mod summarizer;

pub use self::embedder::Embedder;
pub use self::embedding_windows::{EmbeddingWindows, EmbeddingWindowsBlocking};
pub use self::recognizer::Recognizer;
pub use self::reranker::Reranker;
pub use self::summarizer::Summarizer;

use std::sync::Arc;

use self::source::Source;
use crate::life::slot::{Opening, Slot};
use crate::{BridgeError, BridgeOptions, Model};

/// A handle of the models of one task.
pub(crate) trait FromSource: Sized {
    /// Makes the handle of an open model.
    ///
    /// # Errors
    /// `variant`, if the model is for another task.
    fn from_source(source: Source) -> Result<Self, BridgeError>;
}

/// Opens a model alone. Its graphs are only loaded if it has `preload`.
///
/// # Errors
/// `config`, the errors of opening the artifact, or `variant` for an artifact of another task; with `preload` also the
/// errors of loading the graphs.
fn open<H: FromSource>(model: Model, options: &BridgeOptions) -> Result<H, BridgeError> {
    options.check()?;
    let slot = Slot::open(model, &Opening::new(options, options.model_options())?)?;
    let handle = H::from_source(Source::Artifact(Arc::clone(&slot)))?;
    slot.preload()?;
    Ok(handle)
}

/// Copies the texts of a blocking call, which the threads of the model get.
fn owned(texts: &[impl AsRef<str>]) -> Vec<String> {
    texts.iter().map(|text| text.as_ref().to_owned()).collect()
}
