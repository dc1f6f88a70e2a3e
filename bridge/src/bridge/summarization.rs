//! The calls of [`OnnxMlBridge`] that summarize.

use std::path::PathBuf;

use super::{OnnxMlBridge, borrow, warn_of_truncation};
use crate::artifact::Manifest;
use crate::families::Task;
use crate::families::model::Model;
use crate::families::summarization::model::Summarizer;
use crate::{BridgeError, CancelToken, SummarizeOptions, Summary};

impl OnnxMlBridge {
    /// Opens an artifact of the task `summarization` with the default options.
    ///
    /// # Errors
    /// The errors of [`OnnxMlBridgeBuilder::build`](crate::OnnxMlBridgeBuilder::build).
    pub fn open_summarization(path: impl Into<PathBuf>) -> Result<Self, BridgeError> {
        Self::builder().summarization(path).build()
    }

    /// Summarizes inputs. Each input is a list of messages that belong together. Returns one summary per input, in their
    /// order.
    ///
    /// # Errors
    /// `task_not_loaded`, `config` (a setting out of its range, or beyond the beam limit), `empty_input`,
    /// `input_too_large`, `cancelled`, `timeout`, `dependency`, `graph` (at the first call) or `inference`.
    /// [`BridgeError::index`] is the index of the input that caused the error, if one did.
    pub fn summarize_detailed(
        &self,
        inputs: &[Vec<String>],
        options: &SummarizeOptions,
    ) -> Result<Vec<Summary>, BridgeError> {
        self.summarizer("summarize_detailed")?.summarize(inputs, options)
    }

    /// Summarizes inputs and returns the outcome of each: one bad input does not lose the others. A call that is stopped
    /// keeps its finished summaries; the other inputs fail with the code `cancelled` or `timeout`.
    ///
    /// # Errors
    /// `task_not_loaded`, `config`, `dependency` or `graph`, which concern every input.
    pub fn summarize_each(
        &self,
        inputs: &[Vec<String>],
        options: &SummarizeOptions,
    ) -> Result<Vec<Result<Summary, BridgeError>>, BridgeError> {
        self.summarizer("summarize_each")?.summarize_each(inputs, options)
    }

    /// The summary of messages that belong together, with the manifest's defaults. Truncating them logs a warning.
    ///
    /// # Errors
    /// The errors of [`summarize_detailed`](Self::summarize_detailed).
    pub fn summarize_blocking(&self, messages: &[impl AsRef<str>]) -> Result<String, BridgeError> {
        let input = borrow(messages).into_iter().map(str::to_owned).collect();
        only(self.summaries("summarize_blocking", &[input], &SummarizeOptions::default())?)
    }

    /// The summaries of several inputs, with the manifest's defaults. Truncating an input logs a warning.
    ///
    /// # Errors
    /// The errors of [`summarize_detailed`](Self::summarize_detailed).
    pub fn summarize_batch(&self, inputs: &[Vec<String>]) -> Result<Vec<String>, BridgeError> {
        self.summaries("summarize_batch", inputs, &SummarizeOptions::default())
    }

    fn summaries(
        &self,
        call: &'static str,
        inputs: &[Vec<String>],
        options: &SummarizeOptions,
    ) -> Result<Vec<String>, BridgeError> {
        let model = self.summarizer(call)?;
        let summaries = model.summarize(inputs, options)?;
        warn_of_truncation(model.manifest(), Some(model.max_tokens), summaries.iter().map(|summary| summary.truncated));
        Ok(summaries.into_iter().map(|summary| summary.text).collect())
    }

    /// The name of the variant of the summarizer that is open.
    ///
    /// # Errors
    /// `task_not_loaded` without an open summarizer.
    pub fn summarization_variant(&self) -> Result<&str, BridgeError> {
        Ok(self.summarizer("summarization_variant")?.variant())
    }

    /// The manifest of the summarizer.
    ///
    /// # Errors
    /// `task_not_loaded` without an open summarizer.
    pub fn summarization_manifest(&self) -> Result<&Manifest, BridgeError> {
        Ok(self.summarizer("summarization_manifest")?.manifest())
    }

    pub(super) fn summarizer(&self, call: &'static str) -> Result<&Summarizer, BridgeError> {
        self.model(call, Task::Summarization, None)
    }

    /// Summarizes on a blocking thread; dropping the future cancels the call.
    pub(super) async fn summarize_async(
        &self,
        call: &'static str,
        inputs: Vec<Vec<String>>,
    ) -> Result<Vec<String>, BridgeError> {
        let cancel = CancelToken::new();
        let _cancel_on_drop = cancel.on_drop();
        let options = SummarizeOptions { cancel: Some(cancel), ..SummarizeOptions::default() };
        self.on_blocking_thread(move |bridge| bridge.summaries(call, &inputs, &options)).await
    }
}

/// The only summary in the result of a call with one input.
pub(super) fn only(summaries: Vec<String>) -> Result<String, BridgeError> {
    summaries.into_iter().next().ok_or_else(|| BridgeError::inference(Some(0), "returned no summary"))
}
