//! spaCy pipelines: the task `ner`, the engine `spacy`. Rules turn texts into tokens; graphs and a greedy transition system
//! find the entities.

mod affixes;
mod batch;
mod characters;
mod chunk_tokens;
mod decode;
mod hashing;
mod network;
mod options;
mod output_cache;
mod parser;
mod pattern;
mod pipeline;
mod recognizer;
mod rules;
mod section;
mod sentences;
mod sequences;
mod tables;
#[cfg(test)]
mod testing;
mod tokenizer;
mod word_types;

use std::sync::Arc;

pub use self::section::{Attribute, HashColumn, Sentences, SpacyNer, SpacyParser, SpacySpec, Tie};

use self::network::Network;
use self::parser::Moves;
use self::pipeline::{Pipeline, RUN_TOKENS};
use self::recognizer::SpacyRecognizer;
use self::rules::Rules;
use self::tables::Tables;
use crate::BridgeError;
use crate::artifact::files::ArtifactFiles;
use crate::artifact::graph::{Interface, Port};
use crate::families::model::{Declaration, FamilyModel, Preprocessor};
use crate::families::ner;
use crate::families::ner::model::NerModel;
use crate::runtime::lane::{Lane, LaneOptions};
use crate::runtime::meter::Meter;
use crate::runtime::options::ModelOptions;
use crate::runtime::session::SessionFactory;

/// Sets an element of a hidden layer to the maximum of itself and a maxout piece. Unlike with `f32::max`, NaN stays, so that the
/// scores are NaN too, and refused.
fn update_maximum(element: &mut f32, piece: f32) {
    if piece > *element || piece.is_nan() {
        *element = piece;
    }
}

/// Reads the rules, for fuzzing.
#[cfg(fuzzing)]
pub(crate) fn read_rules(bytes: &[u8]) -> Result<(), BridgeError> {
    Rules::read(bytes, "rules").map(drop)
}

/// Reads the tables, for fuzzing.
#[cfg(fuzzing)]
pub(crate) fn read_tables(bytes: &[u8], manifest: &crate::artifact::Manifest) -> Result<(), BridgeError> {
    Tables::read(bytes, &SpacySpec::read(manifest)?).map(drop)
}

/// The roles of the graphs. Each network has two graphs: the graph of types computes what depends only on a token's
/// type (its text, norm and trailing space), the graph of tokens what depends on a token's context.
const NER: &str = "spacy_ner";
const NER_TYPES: &str = "spacy_ner_types";
const PARSER: &str = "spacy_parser";
const PARSER_TYPES: &str = "spacy_parser_types";

const EMBEDDED: Port = ("embedded", "float32", 2);
const PREACTIVATION: Port = ("preactivation", "float32", 2);
const TYPES_INTERFACE: Interface = Interface {
    required: &[("rows", "int32", 2)],
    optional: &[("vectors", "int32", 1)],
    outputs: &[EMBEDDED, ("contributions", "float32", 3)],
};
const NER_INTERFACE: Interface = Interface {
    required: &[EMBEDDED, PREACTIVATION, ("is_space", "bool", 1), ("is_last", "bool", 1)],
    optional: &[],
    outputs: &[
        ("label", "int32", 1),
        ("begins", "bool", 1),
        ("current", "float32", 2),
        ("first", "float32", 2),
        ("previous", "float32", 2),
    ],
};
const PARSER_INTERFACE: Interface =
    Interface { required: &[EMBEDDED, PREACTIVATION], optional: &[], outputs: &[("features", "float32", 3)] };

/// What the family declares for reading its artifacts: the interfaces of the graphs, the section and the preprocessor.
pub(crate) const DECLARATION: Declaration = Declaration {
    revision: 1,
    roles: &[
        (NER, NER_INTERFACE),
        (NER_TYPES, TYPES_INTERFACE),
        (PARSER, PARSER_INTERFACE),
        (PARSER_TYPES, TYPES_INTERFACE),
    ],
    check_sections: SpacySpec::check,
    load,
    columns: ner::COLUMNS,
};

/// The rules and tables of a pipeline.
struct Resources {
    rules: Rules,
    tables: Tables,
    /// The moves (transitions) of the dependency parser; `None` if the pipeline has no parser.
    moves: Option<Moves>,
}

/// The manifest's section `spacy`, and the rules and tables that all variants of an artifact share.
struct SpacyPreprocessor {
    spec: SpacySpec,
    resources: Arc<Resources>,
}

fn load(files: &ArtifactFiles) -> Result<Box<dyn Preprocessor>, BridgeError> {
    let spec = SpacySpec::read(files.manifest())?;
    let resources = Resources::parse(&files.read(&spec.rules)?, &files.read(&spec.tables)?, &spec)?;
    Ok(Box::new(SpacyPreprocessor { spec, resources: Arc::new(resources) }))
}

impl Resources {
    /// Parses the files that `spacy.rules` and `spacy.tables` name.
    ///
    /// # Errors
    /// `tokenizer`, if the files violate the format or do not match the manifest.
    fn parse(rules: &[u8], tables: &[u8], spec: &SpacySpec) -> Result<Self, BridgeError> {
        let refuse = |problem| BridgeError::Tokenizer { file: spec.tables.clone(), problem };
        Ok(Self {
            rules: Rules::read(rules, &spec.rules)?,
            tables: Tables::read(tables, spec)?,
            moves: spec.parser.as_ref().map(|parser| Moves::new(&parser.moves)).transpose().map_err(refuse)?,
        })
    }
}

impl Preprocessor for SpacyPreprocessor {
    fn open(
        &self,
        files: &ArtifactFiles,
        variant: &str,
        options: &ModelOptions,
    ) -> Result<Arc<dyn FamilyModel>, BridgeError> {
        let (manifest, engine) = (files.manifest(), options.engine.clone().with_session_per_thread());
        let meter = Meter::of(manifest);
        let sessions = |role: &str| {
            let graph = manifest.graph(variant, role)?;
            Ok::<_, BridgeError>(SessionFactory::of_graph(files.root(), graph, engine.clone()))
        };
        let network = |types, tokens| Ok::<_, BridgeError>(Network::new(sessions(types)?, sessions(tokens)?));
        let ner = network(NER_TYPES, NER)?;
        let parser = self.spec.parser.as_ref().map(|_| network(PARSER_TYPES, PARSER)).transpose()?;
        // The graphs are too small to be divided among threads: several texts run at a time, each on its own thread.
        let workers = engine.workers();
        let lane = LaneOptions { workers, merges: false, overlaps: true, slot_tokens: None, ..options.lane() };
        let run_tokens = options.sharing.run_tokens.unwrap_or(RUN_TOKENS);
        let pipeline = Pipeline::new(self.spec.clone(), Arc::clone(&self.resources), ner, parser, run_tokens);
        let recognizer = SpacyRecognizer::new(Lane::new(pipeline, lane, meter));
        Ok(Arc::new(NerModel::new(files, variant, options, Arc::new(recognizer))))
    }
}
