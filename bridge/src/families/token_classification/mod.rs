//! Token classification: the task `ner`, the engine `transformers`.

mod classifier;
mod decode;
mod merge;
mod runner;
mod scores;
mod section;
mod windows;

use std::sync::Arc;

pub use self::section::{Subwords, TokenClassificationSpec};

use self::classifier::TokenClassifier;
use self::runner::WindowRunner;
use self::section::Sections;
use self::windows::WindowEncoder;
use crate::BridgeError;
use crate::artifact::files::ArtifactFiles;
use crate::artifact::graph::Interface;
use crate::families::model::{Declaration, FamilyModel, Preprocessor};
use crate::families::ner;
use crate::families::ner::model::NerModel;
use crate::runtime::meter::Meter;
use crate::runtime::options::ModelOptions;
use crate::runtime::session::SessionFactory;
use crate::runtime::transformer::{ATTENTION_MASK, INPUT_IDS, TOKEN_TYPE_IDS};
use crate::tokenizer::TextEncoder;

/// The role of the family's only graph.
const ROLE: &str = "token_classifier";

/// What the family declares for reading its artifacts: the interface of the graph, the sections and the preprocessor.
pub(crate) const DECLARATION: Declaration = Declaration {
    revision: 1,
    roles: &[(
        ROLE,
        Interface {
            required: &[INPUT_IDS, ATTENTION_MASK],
            optional: &[TOKEN_TYPE_IDS],
            outputs: &[("logits", "float32", 3)],
        },
    )],
    check_sections: Sections::check,
    load,
    columns: ner::COLUMNS,
};

/// The tokenizer and the manifest's sections, which all variants of an artifact share.
struct ClassifierPreprocessor {
    sections: Sections,
    encoder: Arc<WindowEncoder>,
}

fn load(files: &ArtifactFiles) -> Result<Box<dyn Preprocessor>, BridgeError> {
    let sections = Sections::read(files.manifest())?;
    let encoder = TextEncoder::load(&files.read(&sections.tokenizer.file)?, &sections.tokenizer)?;
    let encoder = Arc::new(WindowEncoder::new(encoder, &sections.classes));
    Ok(Box::new(ClassifierPreprocessor { sections, encoder }))
}

impl Preprocessor for ClassifierPreprocessor {
    fn open(
        &self,
        files: &ArtifactFiles,
        variant: &str,
        options: &ModelOptions,
    ) -> Result<Arc<dyn FamilyModel>, BridgeError> {
        let graph = files.manifest().graph(variant, ROLE)?;
        let meter = Meter::of(files.manifest());
        let sessions = SessionFactory::of_graph(files.root(), graph, options.engine.clone());
        let runner = WindowRunner::new(graph, &self.sections, sessions);
        let classifier = TokenClassifier::new(runner, &self.sections, Arc::clone(&self.encoder), options, meter);
        Ok(Arc::new(NerModel::new(files, variant, options, Arc::new(classifier))))
    }
}
