//! The calls of [`OnnxMlBridge`] that summarize.

use std::path::PathBuf;

use super::{OnnxMlBridge, borrow, warn_of_cuts};
use crate::BridgeError;
use crate::artifact::Manifest;
use crate::artifact::manifest::SUMMARIZATION;
use crate::runtime::summarization::Summarizer;
use crate::runtime::{CancelToken, SummarizeOptions, Summary};

impl OnnxMlBridge {
    /// Opens an artifact that summarizes with the default options.
    ///
    /// # Errors
    /// Those of [`OnnxMlBridgeBuilder::build`](crate::OnnxMlBridgeBuilder::build).
    pub fn open_summarization(path: impl Into<PathBuf>) -> Result<Self, BridgeError> {
        Self::builder().summarization(path).build()
    }

    /// Summarizes inputs, each of them messages that belong together, in their order; no inputs give no summaries.
    ///
    /// # Errors
    /// `task_not_loaded`, `config` (a setting out of its range, or beyond the beam limit), `empty_input`,
    /// `input_too_large`, `cancelled`, `timeout`, `dependency`, `graph` (at the first call) or `inference`. Where one input
    /// is to blame, [`BridgeError::index`] tells which.
    pub fn summarize_detailed(
        &self,
        inputs: &[Vec<String>],
        options: &SummarizeOptions,
    ) -> Result<Vec<Summary>, BridgeError> {
        self.summarizer("summarize_detailed")?.summarize(inputs, options)
    }

    /// Summarizes inputs, each with its own outcome: one bad input does not lose the others, nor does a call that was
    /// stopped lose the summaries that it had; the others have the code `cancelled` or `timeout` then.
    ///
    /// # Errors
    /// `task_not_loaded`, `config`, `dependency` or `graph`, which no input could escape.
    pub fn summarize_each(
        &self,
        inputs: &[Vec<String>],
        options: &SummarizeOptions,
    ) -> Result<Vec<Result<Summary, BridgeError>>, BridgeError> {
        self.summarizer("summarize_each")?.summarize_each(inputs, options)
    }

    /// The summary of messages that belong together, with the manifest's settings. Messages that had to be cut log a
    /// warning.
    ///
    /// # Errors
    /// Those of [`summarize_detailed`](Self::summarize_detailed).
    pub fn summarize_blocking(&self, messages: &[impl AsRef<str>]) -> Result<String, BridgeError> {
        let input = borrow(messages).into_iter().map(str::to_owned).collect();
        only(self.summaries("summarize_blocking", &[input], &SummarizeOptions::default())?)
    }

    /// The summaries of several inputs, with the manifest's settings. Inputs that had to be cut log a warning.
    ///
    /// # Errors
    /// Those of [`summarize_detailed`](Self::summarize_detailed).
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
        warn_of_cuts(&model.manifest, Some(model.max_tokens), summaries.iter().map(|summary| summary.truncated));
        Ok(summaries.into_iter().map(|summary| summary.text).collect())
    }

    /// The variant of the model that summarizes that was chosen.
    ///
    /// # Errors
    /// `task_not_loaded` where no model that summarizes is opened.
    pub fn summarization_variant(&self) -> Result<&str, BridgeError> {
        Ok(&self.summarizer("summarization_variant")?.variant)
    }

    /// The manifest of the model that summarizes.
    ///
    /// # Errors
    /// `task_not_loaded` where no model that summarizes is opened.
    pub fn summarization_manifest(&self) -> Result<&Manifest, BridgeError> {
        Ok(&self.summarizer("summarization_manifest")?.manifest)
    }

    pub(super) fn summarizer(&self, call: &'static str) -> Result<&Summarizer, BridgeError> {
        self.models.summarization.as_ref().ok_or(BridgeError::TaskNotLoaded { call, task: SUMMARIZATION })
    }

    /// Summarizes on a blocking thread; a caller who drops the future cancels the call.
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

/// The one summary of one input.
pub(super) fn only(summaries: Vec<String>) -> Result<String, BridgeError> {
    summaries.into_iter().next().ok_or_else(|| BridgeError::inference(Some(0), "gave no summary"))
}
