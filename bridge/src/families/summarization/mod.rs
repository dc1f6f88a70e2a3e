//! Summaries: the task `summarization`, the engine `transformers`.

#[cfg(feature = "cli")]
pub(crate) mod command;
mod generate;
#[cfg(feature = "cli")]
mod messages;
pub(crate) mod model;
mod options;
#[cfg(feature = "cli")]
mod progress_bar;
mod replay;
mod rounds;
mod runner;
mod section;

use std::sync::Arc;

#[cfg(fuzzing)]
pub(crate) use self::replay::read_golden;
pub use self::section::{EarlyStopping, FixedGeneration, GenerationDefaults, SummarizationSpec};

use self::model::{SummaryModel, SummaryTokenizer};
use self::section::Sections;
use crate::BridgeError;
use crate::artifact::files::ArtifactFiles;
use crate::artifact::graph::Interface;
use crate::families::model::{Declaration, FamilyModel, Preprocessor};
use crate::families::report::{Column, Notation};
use crate::runtime::options::ModelOptions;
use crate::runtime::transformer::{ATTENTION_MASK, INPUT_IDS};
use crate::tokenizer::TextEncoder;

/// The role of the family's only graph, which contains the beam search.
const ROLE: &str = "generate";

/// What the family declares for reading its artifacts: the interface of the graph, the sections and the preprocessor.
pub(crate) const DECLARATION: Declaration = Declaration {
    revision: 1,
    roles: &[(
        ROLE,
        Interface {
            required: &[
                INPUT_IDS,
                ATTENTION_MASK,
                ("num_beams", "int64", 1),
                ("min_length", "int64", 1),
                ("max_length", "int64", 1),
                ("length_penalty", "float32", 1),
            ],
            optional: &[],
            outputs: &[("sequences", "int64", 2), ("sequences_scores", "float32", 1)],
        },
    )],
    check_sections: Sections::check,
    load,
    columns: &[
        Column { metric: "cases", width: 6, notation: Notation::Count },
        Column { metric: "differing", width: 12, notation: Notation::Count },
        Column { metric: "sealed_same", width: 12, notation: Notation::Fixed },
    ],
};

/// The tokenizer and the manifest's sections, which all variants of an artifact share.
struct SummaryPreprocessor {
    sections: Sections,
    tokenizer: Arc<SummaryTokenizer>,
}

fn load(files: &ArtifactFiles) -> Result<Box<dyn Preprocessor>, BridgeError> {
    let sections = Sections::read(files.manifest())?;
    let encoder = TextEncoder::load(&files.read(&sections.tokenizer.file)?, &sections.tokenizer)?;
    Ok(Box::new(SummaryPreprocessor { sections, tokenizer: Arc::new(SummaryTokenizer::new(encoder)) }))
}

impl Preprocessor for SummaryPreprocessor {
    fn open(
        &self,
        files: &ArtifactFiles,
        variant: &str,
        options: &ModelOptions,
    ) -> Result<Arc<dyn FamilyModel>, BridgeError> {
        Ok(Arc::new(SummaryModel::new(files, &self.sections, Arc::clone(&self.tokenizer), variant, options)?))
    }
}
