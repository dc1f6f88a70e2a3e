//! GLiNER: the task `ner`, the engine `gliner`. The calls name the labels of the entities to find.

mod decode;
mod preprocessor;
mod recognizer;
mod replay;
mod runner;
mod search;
mod section;
mod windows;
mod words;

use std::sync::Arc;

pub use self::section::{GlinerSpec, LabelVector, Mode};

use self::preprocessor::GlinerPreprocessor;
use self::recognizer::GlinerRecognizer;
use self::runner::SpanRunner;
use self::section::Sections;
use crate::BridgeError;
use crate::artifact::files::ArtifactFiles;
use crate::artifact::graph::{Interface, Port};
use crate::families::model::{Declaration, FamilyModel, Preprocessor};
use crate::families::ner;
use crate::families::ner::model::NerModel;
use crate::runtime::meter::Meter;
use crate::runtime::options::ModelOptions;
use crate::runtime::session::SessionFactory;
use crate::runtime::transformer::{ATTENTION_MASK, INPUT_IDS};

/// The role of the family's only graph.
const ROLE: &str = "entity_scorer";
const WORD_POSITIONS: Port = ("word_positions", "int64", 2);
const LABEL_POSITIONS: Port = ("label_positions", "int64", 2);

/// What the family declares for reading its artifacts: the interface of the graph, the sections and the preprocessor.
pub(crate) const DECLARATION: Declaration = Declaration {
    revision: 1,
    roles: &[(
        ROLE,
        Interface {
            required: &[INPUT_IDS, ATTENTION_MASK, WORD_POSITIONS, LABEL_POSITIONS],
            optional: &[],
            outputs: &[("logits", "float32", 4)],
        },
    )],
    check_sections: Sections::check,
    load,
    columns: ner::COLUMNS,
};

/// The preprocessor and the manifest's sections, which all variants of an artifact share.
struct SharedPreprocessor {
    sections: Sections,
    preprocessor: Arc<GlinerPreprocessor>,
}

fn load(files: &ArtifactFiles) -> Result<Box<dyn Preprocessor>, BridgeError> {
    let sections = Sections::read(files.manifest())?;
    let (tokenizer, words) = (files.read(&sections.tokenizer.file)?, files.read(&sections.gliner.words)?);
    let preprocessor = Arc::new(GlinerPreprocessor::load(&tokenizer, &words, &sections)?);
    Ok(Box::new(SharedPreprocessor { sections, preprocessor }))
}

impl Preprocessor for SharedPreprocessor {
    fn open(
        &self,
        files: &ArtifactFiles,
        variant: &str,
        options: &ModelOptions,
    ) -> Result<Arc<dyn FamilyModel>, BridgeError> {
        let graph = files.manifest().graph(variant, ROLE)?;
        let meter = Meter::of(files.manifest());
        let sessions = SessionFactory::of_graph(files.root(), graph, options.engine.clone());
        let runner = SpanRunner::new(graph, &self.sections, sessions);
        let recognizer = GlinerRecognizer::new(runner, &self.sections, Arc::clone(&self.preprocessor), options, meter);
        Ok(Arc::new(NerModel::new(files, variant, options, Arc::new(recognizer))))
    }
}
