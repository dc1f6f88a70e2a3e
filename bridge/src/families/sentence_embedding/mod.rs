//! Sentence embeddings: the task `sentence-embedding`, the engine `transformers`.

#[cfg(feature = "cli")]
pub(crate) mod command;
mod dimensions;
#[cfg(feature = "cli")]
mod line;
pub(crate) mod model;
mod replay;
mod section;
mod split;

#[cfg(fuzzing)]
pub(crate) use self::replay::read_golden;
pub use self::section::{EmbeddingSpec, Prompt};

use std::sync::Arc;

use self::model::EmbeddingModel;
use self::section::Sections;
use crate::BridgeError;
use crate::artifact::files::ArtifactFiles;
use crate::artifact::graph::Interface;
use crate::families::model::{Declaration, FamilyModel, Preprocessor};
use crate::families::report::{Column, Notation};
use crate::runtime::options::ModelOptions;
use crate::runtime::transformer::{ATTENTION_MASK, INPUT_IDS, TOKEN_TYPE_IDS};
use crate::tokenizer::TextEncoder;

/// The role of the family's only graph.
const ROLE: &str = "encoder";

/// What the family declares for reading its artifacts: the interface of the graph, the sections and the preprocessor.
pub(crate) const DECLARATION: Declaration = Declaration {
    revision: 2,
    roles: &[(
        ROLE,
        Interface {
            required: &[INPUT_IDS, ATTENTION_MASK],
            optional: &[TOKEN_TYPE_IDS, model::PROMPT_LENGTH],
            outputs: &[("token_embeddings", "float32", 3), ("sentence_embedding", "float32", 2)],
        },
    )],
    check_sections: Sections::check,
    load,
    columns: &[
        Column { metric: "cases", width: 6, notation: Notation::Count },
        Column { metric: "max_abs", width: 12, notation: Notation::Scientific },
        Column { metric: "cosine_min", width: 12, notation: Notation::Fixed },
    ],
};

/// The tokenizer and the manifest's sections, which all variants of an artifact share.
struct Embedder {
    sections: Sections,
    tokenizer: Arc<TextEncoder>,
}

fn load(files: &ArtifactFiles) -> Result<Box<dyn Preprocessor>, BridgeError> {
    let sections = Sections::read(files.manifest())?;
    let tokenizer = TextEncoder::load(&files.read(&sections.tokenizer.file)?, &sections.tokenizer)?;
    Ok(Box::new(Embedder { sections, tokenizer: Arc::new(tokenizer) }))
}

impl Preprocessor for Embedder {
    fn open(
        &self,
        files: &ArtifactFiles,
        variant: &str,
        options: &ModelOptions,
    ) -> Result<Arc<dyn FamilyModel>, BridgeError> {
        let model = EmbeddingModel::new(files, &self.sections, Arc::clone(&self.tokenizer), variant, options)?;
        Ok(Arc::new(model))
    }
}
