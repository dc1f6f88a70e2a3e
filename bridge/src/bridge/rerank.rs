//! The calls of [`OnnxMlBridge`] that rank documents.

use std::path::PathBuf;

use super::{OnnxMlBridge, borrow};
use crate::artifact::Manifest;
use crate::families::Task;
use crate::families::model::Model;
use crate::families::rerank::model::Reranker;
use crate::{BridgeError, OnnxMlBridgeBuilder, Ranked, RerankOptions};

impl OnnxMlBridgeBuilder {
    /// Adds the artifact of a reranker, given its directory.
    pub fn rerank(self, path: impl Into<PathBuf>) -> Self {
        self.only_model(Task::Rerank, path)
    }

    /// Sets the variant of the reranker, if it differs from the variant of the other models.
    pub fn rerank_variant(self, variant: impl Into<String>) -> Self {
        self.task_variant(Task::Rerank, variant)
    }
}

impl OnnxMlBridge {
    /// Opens an artifact of the task `rerank` with the default options.
    ///
    /// # Errors
    /// The errors of [`OnnxMlBridgeBuilder::build`].
    pub fn open_rerank(path: impl Into<PathBuf>) -> Result<Self, BridgeError> {
        Self::builder().rerank(path).build()
    }

    /// The documents in the order of descending scores for a query; documents of equal scores keep their order. The
    /// result is empty if there are no documents.
    ///
    /// # Errors
    /// `task_not_loaded`, `config` (a `top_k` of 0), `input_too_large`, `dependency`, `graph` (at the first call) or
    /// `inference`. [`BridgeError::index`] is the index of the document that caused the error, where one did.
    pub fn rerank_blocking(
        &self,
        query: &str,
        documents: &[impl AsRef<str>],
        options: &RerankOptions,
    ) -> Result<Vec<Ranked>, BridgeError> {
        self.reranker("rerank")?.rerank(query, &borrow(documents), options)
    }

    /// The name of the variant of the reranker that is open.
    ///
    /// # Errors
    /// `task_not_loaded` without an open reranker.
    pub fn rerank_variant(&self) -> Result<&str, BridgeError> {
        Ok(self.reranker("rerank_variant")?.variant())
    }

    /// The manifest of the reranker.
    ///
    /// # Errors
    /// `task_not_loaded` without an open reranker.
    pub fn rerank_manifest(&self) -> Result<&Manifest, BridgeError> {
        Ok(self.reranker("rerank_manifest")?.manifest())
    }

    fn reranker(&self, call: &'static str) -> Result<&Reranker, BridgeError> {
        self.model(call, Task::Rerank, None)
    }
}
