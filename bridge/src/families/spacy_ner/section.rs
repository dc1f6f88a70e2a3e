//! The section `spacy` of a manifest.

use serde::Deserialize;

use crate::BridgeError;
use crate::artifact::Manifest;
use crate::artifact::manifest::SectionCheck;

/// What a spaCy pipeline's entity recognizer has in addition to its graphs.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct SpacySpec {
    /// The language of the texts.
    pub language: String,
    /// The labels of the entities, in the order of the networks' tables.
    pub labels: Vec<String>,
    /// Where the starts of sentences come from.
    pub sentences: Sentences,
    /// The file of the tokenizer's rules, relative to the artifact.
    pub rules: String,
    /// The file of the tables, relative to the artifact.
    pub tables: String,
    /// The network of the component `ner`.
    pub ner: SpacyNer,
    /// The network of the component `parser`; `Some` exactly if `sentences` is `parser`.
    #[serde(deserialize_with = "Option::deserialize")]
    pub parser: Option<SpacyParser>,
}

impl SpacySpec {
    /// Parses the section of a manifest.
    ///
    /// # Errors
    /// `schema`, if the section is missing or cannot be parsed.
    pub(super) fn read(manifest: &Manifest) -> Result<Self, BridgeError> {
        manifest.section("spacy")
    }

    /// Checks the rules between fields, of which there are none.
    pub(super) fn check(manifest: &Manifest) -> Result<SectionCheck, BridgeError> {
        let Self { rules, tables, .. } = Self::read(manifest)?;
        Ok(SectionCheck { files: vec![("spacy.rules", rules), ("spacy.tables", tables)], problems: Vec::new() })
    }
}

/// Where a spaCy pipeline's entity recognizer gets the starts of sentences from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sentences {
    /// No component: the document is one sentence.
    None,
    /// From the options of each call.
    Given,
    /// From the artifact's parser.
    Parser,
}

/// The network of the component `ner`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct SpacyNer {
    /// The hashed embedding tables.
    pub columns: Vec<HashColumn>,
    /// Whether static vectors are an input.
    pub vectors: bool,
    /// Padding tokens between documents, and tokens of context on both sides of a slice of a document.
    pub context: usize,
    /// Width of the state's hidden layer.
    pub hidden: usize,
    /// Pieces of the hidden layer's maxout.
    pub pieces: usize,
    /// The preferred move at equal scores.
    pub tie: Tie,
}

/// The preferred move of an open entity at equal scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tie {
    /// The entity continues.
    In,
    /// The entity ends.
    Last,
}

/// The network of the component `parser`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct SpacyParser {
    /// The hashed embedding tables.
    pub columns: Vec<HashColumn>,
    /// Whether static vectors are an input.
    pub vectors: bool,
    /// Padding tokens between documents, and tokens of context on both sides of a slice of a document.
    pub context: usize,
    /// Width of the state's hidden layer.
    pub hidden: usize,
    /// Pieces of the hidden layer's maxout.
    pub pieces: usize,
    /// The moves' names in the order of their scores: `S`, `D`, `L-label`, `R-label`, `B-label`.
    pub moves: Vec<String>,
}

/// A hashed embedding table.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct HashColumn {
    /// The attribute of a token that selects its rows.
    pub attribute: Attribute,
    /// The number of rows.
    pub rows: u32,
    /// The seed of the hash.
    pub seed: u32,
}

/// An attribute of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Attribute {
    /// The text of the token.
    Orth,
    /// The norm of the token: a normalized form of its text.
    Norm,
    /// The text in lower case.
    Lower,
    /// The first character.
    Prefix,
    /// The last three characters.
    Suffix,
    /// The shape: the text with its letters and digits replaced by their classes, for example `Xxxx`.
    Shape,
    /// Whether the token consists of whitespace.
    IsSpace,
    /// Whether a space follows the token.
    Spacy,
}
