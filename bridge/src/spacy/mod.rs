//! spaCy pipelines: texts to tokens by rules, tokens to entities by the graphs and greedy decoding.

mod affixes;
mod characters;
mod chunk;
mod decode;
mod hashing;
mod kept;
mod network;
mod parser;
mod parts;
mod pattern;
mod recognizer;
mod rules;
mod sentences;
mod sequences;
mod tables;
#[cfg(test)]
mod testing;
mod tokenizer;
mod types;

use std::sync::{Arc, Mutex, PoisonError};

pub(crate) use self::network::Network;
use self::parser::Moves;
use self::recognizer::Workspace;
use self::rules::Rules;
use self::tables::Tables;
use crate::BridgeError;
use crate::artifact::manifest::SpacySpec;

/// The rules and tables of a pipeline, read and checked.
pub(crate) struct SpacyText {
    rules: Rules,
    tables: Tables,
    /// The moves of the parser, where there is one.
    moves: Option<Moves>,
}

impl SpacyText {
    /// Reads the files that `spacy.rules` and `spacy.tables` name.
    ///
    /// # Errors
    /// `tokenizer`, where they are not what the format says or do not fit the manifest.
    pub(crate) fn load(rules: &[u8], tables: &[u8], spec: &SpacySpec) -> Result<Self, BridgeError> {
        let refuse = |problem| BridgeError::Tokenizer { file: spec.tables.clone(), problem };
        Ok(Self {
            rules: Rules::read(rules, &spec.rules)?,
            tables: Tables::read(tables, spec)?,
            moves: spec.parser.as_ref().map(|parser| Moves::new(&parser.moves)).transpose().map_err(refuse)?,
        })
    }
}

/// One text of a call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Document<'a> {
    pub(crate) text: &'a str,
    /// Where its sentences start, in characters; `Some` exactly where `spacy.sentences` is `given`.
    pub(crate) sentence_starts: Option<&'a [usize]>,
}

/// A spaCy pipeline's entity recognizer. Graphs are loaded by the first call; any thread may call it.
pub(crate) struct SpacyRecognizer {
    spec: SpacySpec,
    text: Arc<SpacyText>,
    ner: Network,
    parser: Option<Network>,
    /// What idle threads left behind for the next one.
    workspaces: Mutex<Vec<Workspace>>,
}

impl SpacyRecognizer {
    /// `parser` is there exactly where `spacy.parser` is.
    pub(crate) fn new(spec: SpacySpec, text: Arc<SpacyText>, ner: Network, parser: Option<Network>) -> Self {
        Self { spec, text, ner, parser, workspaces: Mutex::default() }
    }

    /// Creates the first session of every graph.
    ///
    /// # Errors
    /// `dependency` without a usable ONNX Runtime, `graph` where it refuses a graph.
    pub(crate) fn warm_up(&self) -> Result<(), BridgeError> {
        self.ner.lease()?;
        self.parser.as_ref().map_or(Ok(()), |parser| parser.lease().map(|_| ()))
    }

    /// Drops the sessions that nobody uses, and what threads left behind.
    pub(crate) fn unload(&self) {
        self.workspaces.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.ner.clear();
        self.parser.iter().for_each(Network::clear);
    }
}
