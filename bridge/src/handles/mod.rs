//! Handles of open models, one type per task. The backend behind a handle is a trait object.

pub(crate) mod any;
mod embedder;
mod handle;
mod recognizer;
mod reranker;
mod summarizer;

pub use self::embedder::Embedder;
pub use self::recognizer::Recognizer;
pub use self::reranker::Reranker;
pub use self::summarizer::Summarizer;

use std::path::PathBuf;

use crate::families::loading::{self, Opened};
use crate::tasks::Task;
use crate::{BridgeError, BridgeOptions, Model};

/// A handle of the models of one task.
pub(crate) trait FromOpened: Sized {
    /// Makes the handle of an open model.
    ///
    /// # Errors
    /// `variant`, if the model is for another task.
    fn from_opened(opened: Opened) -> Result<Self, BridgeError>;
}

/// Opens a model alone. Its graphs are only loaded if it has `preload`.
///
/// # Errors
/// `config`, the errors of opening the artifact, or `variant` for an artifact of another task; with `preload` also the
/// errors of loading the graphs.
fn open<H: FromOpened>(model: Model, options: &BridgeOptions) -> Result<H, BridgeError> {
    options.check()?;
    let opened = loading::open(&model, &options.model_options())?;
    let backend = opened.backend.clone();
    let handle = H::from_opened(opened.with_default_timeout(options.timeout))?;
    if model.preload {
        backend.warm_up()?;
    }
    Ok(handle)
}

/// The error for a model that is for another task than the handle.
fn other_task(opened: &Opened, expected: Task) -> BridgeError {
    let (path, actual): (PathBuf, _) = (opened.info.path.clone(), opened.info.task.name().to_owned());
    BridgeError::Task { path, expected: expected.name(), actual }
}

/// Copies the texts of a blocking call, which the threads of the model get.
fn owned(texts: &[impl AsRef<str>]) -> Vec<String> {
    texts.iter().map(|text| text.as_ref().to_owned()).collect()
}
