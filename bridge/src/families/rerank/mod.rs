//! Reranking: the task `rerank`, the engine `transformers`. A cross-encoder scores a query with each of several documents.

mod agreement;
#[cfg(feature = "cli")]
pub(crate) mod command;
#[cfg(feature = "cli")]
mod line;
pub(crate) mod model;
mod pair_tokenizer;
mod replay;
mod section;

use std::sync::Arc;

#[cfg(fuzzing)]
pub(crate) use self::replay::read_golden;
pub use self::section::{Activation, RerankSpec};

use self::model::RerankModel;
use self::pair_tokenizer::PairTokenizer;
use self::section::Sections;
use crate::BridgeError;
use crate::artifact::files::ArtifactFiles;
use crate::artifact::graph::Interface;
use crate::families::model::{Declaration, FamilyModel, Preprocessor};
use crate::families::report::{Column, Notation};
use crate::runtime::options::ModelOptions;
use crate::runtime::transformer::{ATTENTION_MASK, INPUT_IDS, TOKEN_TYPE_IDS};

/// Reads a tokenizer and encodes a pair, for fuzzing.
#[cfg(fuzzing)]
pub(crate) fn read_tokenizer(bytes: &[u8], manifest: &crate::artifact::Manifest) -> Result<(), BridgeError> {
    let tokenizer = PairTokenizer::load(bytes, &crate::tokenizer::TokenizerSpec::read(manifest)?)?;
    let encode = |text: &str| tokenizer.encode(text).map_err(BridgeError::config);
    tokenizer.join(&encode("the cat")?, &encode("\u{e9}")?).map(drop).map_err(BridgeError::config)
}

/// The role of the family's only graph.
const ROLE: &str = "pair_scorer";

/// What the family declares for reading its artifacts: the interface of the graph, the sections and the preprocessor.
pub(crate) const DECLARATION: Declaration = Declaration {
    revision: 1,
    roles: &[(
        ROLE,
        Interface {
            required: &[INPUT_IDS, ATTENTION_MASK],
            optional: &[TOKEN_TYPE_IDS],
            outputs: &[("logits", "float32", 2), ("scores", "float32", 1)],
        },
    )],
    check_sections: Sections::check,
    load,
    columns: &[
        Column { metric: "cases", width: 6, notation: Notation::Count },
        Column { metric: "max_abs", width: 12, notation: Notation::Scientific },
        Column { metric: "order_differing", width: 15, notation: Notation::Count },
        Column { metric: "kendall_tau", width: 12, notation: Notation::Fixed },
        Column { metric: "top_1", width: 12, notation: Notation::Fixed },
    ],
};

/// The tokenizer and the manifest's sections, which all variants of an artifact share.
struct RerankPreprocessor {
    sections: Sections,
    tokenizer: Arc<PairTokenizer>,
}

fn load(files: &ArtifactFiles) -> Result<Box<dyn Preprocessor>, BridgeError> {
    let sections = Sections::read(files.manifest())?;
    let tokenizer = PairTokenizer::load(&files.read(&sections.tokenizer.file)?, &sections.tokenizer)?;
    Ok(Box::new(RerankPreprocessor { sections, tokenizer: Arc::new(tokenizer) }))
}

impl Preprocessor for RerankPreprocessor {
    fn open(
        &self,
        files: &ArtifactFiles,
        variant: &str,
        options: &ModelOptions,
    ) -> Result<Arc<dyn FamilyModel>, BridgeError> {
        Ok(Arc::new(RerankModel::new(files, &self.sections, Arc::clone(&self.tokenizer), variant, options)?))
    }
}
