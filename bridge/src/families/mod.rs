//! The families of models: what each task and engine adds to the format, and how its models run.
//!
//! A family is a pair of a task and an engine. Its folder has its sections of the manifest, the interfaces of its graphs,
//! its preprocessor, its model, the replay of its golden cases and its command. [`Family`] lists the families, and only
//! this file distinguishes them. To add a family, write its folder and add it to this file and to the features in
//! `Cargo.toml`; that of a new task also to the commands in `cli/mod.rs`. The options and results of its task are in
//! `tasks/`, the calls in `handles/`.

pub(crate) mod artifact;
#[cfg(feature = "gliner")]
pub mod gliner;
pub(crate) mod golden_cases;
pub(crate) mod loading;
pub(crate) mod model;
pub(crate) mod ner;
pub(crate) mod report;
#[cfg(feature = "rerank")]
pub mod rerank;
#[cfg(feature = "sentence-embedding")]
pub mod sentence_embedding;
#[cfg(feature = "spacy")]
pub mod spacy_ner;
#[cfg(feature = "summarization")]
pub mod summarization;
#[cfg(feature = "token-classification")]
pub mod token_classification;

pub use self::artifact::{Artifact, parse_manifest};
pub use self::loading::replay;
pub use self::report::VariantReport;
pub use crate::tokenizer::{Side, TokenizerSpec};

use self::model::Declaration;
use crate::BridgeError;
use crate::tasks::Task;

/// A pair of a task and an engine. A build has the families whose cargo features are enabled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Family {
    /// Sentence embeddings of transformers.
    #[cfg(feature = "sentence-embedding")]
    SentenceEmbedding,
    /// Named entities by token classification of transformers.
    #[cfg(feature = "token-classification")]
    TokenClassification,
    /// Named entities of spaCy pipelines.
    #[cfg(feature = "spacy")]
    SpacyNer,
    /// Summaries of transformers.
    #[cfg(feature = "summarization")]
    Summarization,
    /// Rankings of cross-encoders.
    #[cfg(feature = "rerank")]
    Rerank,
    /// Named entities of any labels, by GLiNER.
    #[cfg(feature = "gliner")]
    Gliner,
}

impl Family {
    /// The families of this build.
    pub const ALL: &[Self] = &[
        #[cfg(feature = "sentence-embedding")]
        Self::SentenceEmbedding,
        #[cfg(feature = "token-classification")]
        Self::TokenClassification,
        #[cfg(feature = "spacy")]
        Self::SpacyNer,
        #[cfg(feature = "summarization")]
        Self::Summarization,
        #[cfg(feature = "rerank")]
        Self::Rerank,
        #[cfg(feature = "gliner")]
        Self::Gliner,
    ];

    /// The family of a task and an engine, as a manifest names them.
    ///
    /// # Errors
    /// `unknown_task`, if this build has no such family.
    pub(crate) fn find(task: &str, engine: &str) -> Result<Self, BridgeError> {
        let is_family = |family: &&Self| family.task().manifest_name() == task && family.engine() == engine;
        Self::ALL.iter().find(is_family).copied().ok_or_else(|| BridgeError::UnknownTask {
            task: task.to_owned(),
            engine: engine.to_owned(),
            known: Self::ALL
                .iter()
                .map(|family| format!("{}/{}", family.task().manifest_name(), family.engine()))
                .collect(),
        })
    }

    /// The task of the family's models.
    pub fn task(self) -> Task {
        self.parts().0
    }

    /// The engine's name in manifests.
    pub fn engine(self) -> &'static str {
        self.parts().1
    }

    /// What the family declares for reading its artifacts: revisions, interfaces of graphs, sections and preprocessor.
    pub(crate) fn declaration(self) -> &'static Declaration {
        self.parts().2
    }

    fn parts(self) -> (Task, &'static str, &'static Declaration) {
        match self {
            #[cfg(feature = "sentence-embedding")]
            Self::SentenceEmbedding => (Task::Embedding, "transformers", &sentence_embedding::DECLARATION),
            #[cfg(feature = "token-classification")]
            Self::TokenClassification => (Task::Ner, "transformers", &token_classification::DECLARATION),
            #[cfg(feature = "spacy")]
            Self::SpacyNer => (Task::Ner, "spacy", &spacy_ner::DECLARATION),
            #[cfg(feature = "summarization")]
            Self::Summarization => (Task::Summarization, "transformers", &summarization::DECLARATION),
            #[cfg(feature = "rerank")]
            Self::Rerank => (Task::Rerank, "transformers", &rerank::DECLARATION),
            #[cfg(feature = "gliner")]
            Self::Gliner => (Task::Ner, "gliner", &gliner::DECLARATION),
        }
    }
}
