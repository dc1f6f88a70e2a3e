//! The calls of [`OnnxMlBridge`] that find named entities.

use std::path::PathBuf;

use super::{OnnxMlBridge, borrow, warn_of_truncation};
use crate::artifact::Manifest;
use crate::families::Task;
use crate::families::model::Model;
use crate::families::ner::model::NerModel;
use crate::{BridgeError, Entities, Entity, NerOptions};

impl OnnxMlBridge {
    /// Opens an artifact of the task `ner` with the default options.
    ///
    /// # Errors
    /// The errors of [`OnnxMlBridgeBuilder::build`](crate::OnnxMlBridgeBuilder::build).
    pub fn open_ner(path: impl Into<PathBuf>) -> Result<Self, BridgeError> {
        Self::builder().ner(path).build()
    }

    /// Finds the named entities of texts. Returns one answer per text, in their order.
    ///
    /// # Errors
    /// `task_not_loaded`, `model_not_found`, `config` (an option that the model does not have), `sentence_starts`,
    /// `input_too_large`, `dependency`, `graph` (at the first call) or `inference`. [`BridgeError::index`] is the index of
    /// the text that caused the error, if one did.
    pub fn ner(&self, texts: &[impl AsRef<str>], options: &NerOptions) -> Result<Vec<Entities>, BridgeError> {
        self.recognizer("ner", options.model.as_deref())?.recognize(&borrow(texts), options)
    }

    /// Finds the named entities of texts and returns the outcome of each: one bad text does not lose the others.
    ///
    /// # Errors
    /// `task_not_loaded`, `model_not_found`, `config`, `sentence_starts` (missing or unexpected for all texts),
    /// `dependency` or `graph`, which concern every text.
    pub fn ner_each(
        &self,
        texts: &[impl AsRef<str>],
        options: &NerOptions,
    ) -> Result<Vec<Result<Entities, BridgeError>>, BridgeError> {
        self.recognizer("ner_each", options.model.as_deref())?.recognize_each(&borrow(texts), options)
    }

    /// The named entities of one text, with the manifest's defaults. Truncating the text logs a warning.
    ///
    /// # Errors
    /// The errors of [`ner`](Self::ner).
    pub fn extract_entities_blocking(&self, text: &str) -> Result<Vec<Entity>, BridgeError> {
        let answers = self.extract_entities_batch(&[text])?;
        answers.into_iter().next().ok_or_else(|| BridgeError::inference(Some(0), "returned no answer"))
    }

    /// The named entities of several texts, with the manifest's defaults. Truncating a text logs a warning.
    ///
    /// # Errors
    /// The errors of [`ner`](Self::ner).
    pub fn extract_entities_batch(&self, texts: &[impl AsRef<str>]) -> Result<Vec<Vec<Entity>>, BridgeError> {
        let model = self.recognizer("extract_entities_batch", None)?;
        let answers = model.recognize(&borrow(texts), &NerOptions::default())?;
        warn_of_truncation(model.manifest(), model.max_tokens(), answers.iter().map(|answer| answer.truncated));
        Ok(answers.into_iter().map(|answer| answer.entities).collect())
    }

    /// The names by which calls select the open models for named entities.
    pub fn ner_models(&self) -> impl Iterator<Item = &str> {
        self.names(Task::Ner)
    }

    /// The name of the variant that is open of a model for named entities. Without a name of a model, it is that of the
    /// only open model.
    ///
    /// # Errors
    /// `task_not_loaded` or `model_not_found`.
    pub fn ner_variant(&self, model: Option<&str>) -> Result<&str, BridgeError> {
        Ok(self.recognizer("ner_variant", model)?.variant())
    }

    /// The manifest of a model for named entities. Without a name of a model, it is that of the only open model.
    ///
    /// # Errors
    /// `task_not_loaded` or `model_not_found`.
    pub fn ner_manifest(&self, model: Option<&str>) -> Result<&Manifest, BridgeError> {
        Ok(self.recognizer("ner_manifest", model)?.manifest())
    }

    fn recognizer(&self, call: &'static str, name: Option<&str>) -> Result<&NerModel, BridgeError> {
        self.model(call, Task::Ner, name)
    }
}
