//! The section `spacy` of an artifact's manifest.

use serde::Deserialize;

use crate::BridgeError;
use crate::artifact::Manifest;
use crate::artifact::manifest::SectionCheck;

/// What a spaCy pipeline's entity recognizer has in addition to its graphs.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct SpacySpec {
    /// The language of the texts that the pipeline reads.
    pub language: String,
    /// The labels of the entities. The networks' outputs refer to a label by its index in this list.
    pub labels: Vec<String>,
    /// The source of the sentence starts that the recognizer of entities reads.
    pub sentences: Sentences,
    /// The path of the file with the tokenizer's rules, relative to the artifact.
    pub rules: String,
    /// The path of the file with the pipeline's tables, relative to the artifact.
    pub tables: String,
    /// The network of spaCy's component `ner`, which finds the entities.
    pub ner: SpacyNer,
    /// The network of spaCy's component `parser`; `Some` exactly if `sentences` is `parser`.
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

    /// Checks the rules that concern several fields, of which this section has none.
    pub(super) fn check(manifest: &Manifest) -> Result<SectionCheck, BridgeError> {
        let Self { rules, tables, .. } = Self::read(manifest)?;
        Ok(SectionCheck { files: vec![("spacy.rules", rules), ("spacy.tables", tables)], problems: Vec::new() })
    }
}

/// Where a spaCy pipeline's entity recognizer gets the starts of sentences from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sentences {
    /// The pipeline has no sentence starts: the document is one sentence.
    None,
    /// The caller passes the sentence starts of each text with every call.
    Given,
    /// The artifact's dependency parser finds the sentence starts.
    Parser,
}

/// The network of spaCy's component `ner`, which finds the entities.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct SpacyNer {
    /// The network's hashed embedding tables.
    pub columns: Vec<HashColumn>,
    /// Whether the network's graph of types has static word vectors as an input.
    pub vectors: bool,
    /// The number of padding tokens between documents, which is also the number of tokens of context on both sides of a
    /// slice of a document.
    pub context: usize,
    /// The number of values of the hidden layer, which is computed from the features of the tokens in a state of the
    /// recognizer.
    pub hidden: usize,
    /// The number of maxout pieces of the hidden layer: each hidden value is the maximum of so many sums.
    pub pieces: usize,
    /// Which of the two moves of an open entity is chosen if their scores are equal.
    pub tie: Tie,
}

/// Which of the two moves of an open entity (to continue it, or to end it) is chosen if their scores are equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tie {
    /// At equal scores, the entity continues.
    In,
    /// At equal scores, the entity ends.
    Last,
}

/// The network of spaCy's component `parser`, which finds the sentence starts.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct SpacyParser {
    /// The network's hashed embedding tables.
    pub columns: Vec<HashColumn>,
    /// Whether the network's graph of types has static word vectors as an input.
    pub vectors: bool,
    /// The number of padding tokens between documents, which is also the number of tokens of context on both sides of a
    /// slice of a document.
    pub context: usize,
    /// The number of values of the hidden layer, which is computed from the features of the tokens in a state of the
    /// parser.
    pub hidden: usize,
    /// The number of maxout pieces of the hidden layer: each hidden value is the maximum of so many sums.
    pub pieces: usize,
    /// The names of the parser's moves in the order of their scores: `S`, `D`, `L-label`, `R-label`, `B-label`.
    pub moves: Vec<String>,
}

/// A hashed embedding table: the hash of a token's attribute selects rows of the table.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct HashColumn {
    /// The attribute of a token whose hash selects rows of the table.
    pub attribute: Attribute,
    /// The number of rows of the embedding table.
    pub rows: u32,
    /// The seed of the hash function that selects rows of the table.
    pub seed: u32,
}

/// An attribute of a token, which selects rows of a hashed embedding table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Attribute {
    /// The text of the token.
    Orth,
    /// The norm of the token: a normalized form of its text.
    Norm,
    /// The text of the token in lower case.
    Lower,
    /// The first character of the token.
    Prefix,
    /// The last three characters of the token.
    Suffix,
    /// The shape of the token: its text with letters and digits replaced by their classes, for example `Xxxx`.
    Shape,
    /// Whether the token consists of whitespace.
    IsSpace,
    /// Whether a space follows the token in the text.
    Spacy,
}
