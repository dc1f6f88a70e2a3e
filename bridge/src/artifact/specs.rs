//! The sections of a manifest that belong to one task or engine.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A side of a token sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// The start.
    Left,
    /// The end.
    Right,
}

/// The tokenizer and its limits.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct TokenizerSpec {
    /// Its file, relative to the artifact.
    pub file: String,
    /// Entries of the vocabulary, added tokens included.
    pub vocab_size: u64,
    /// The longest sequence, special tokens included; longer texts are cut.
    pub max_tokens: usize,
    /// Where a text that is too long is cut.
    pub truncation_side: Side,
    /// The padding token; shorter texts of a batch are padded on the right.
    pub pad_token: String,
    /// The padding token's id.
    pub pad_token_id: u64,
}

impl TokenizerSpec {
    /// The padding token's id as graphs take it; the check `tokenizer` saw that the vocabulary has it.
    pub(crate) fn pad_id(&self) -> i64 {
        i64::try_from(self.pad_token_id).unwrap_or(0)
    }
}

/// What a sentence embedding model has besides its graphs.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct EmbeddingSpec {
    /// Length of a vector.
    pub dim: usize,
    /// How token vectors become one vector; several modes are concatenated. The graph does it.
    pub pooling: Vec<String>,
    /// Whether the prompt's tokens take part in the pooling.
    pub include_prompt: bool,
    /// Whether every vector has length 1.
    pub normalized: bool,
    /// Prompts by name.
    pub prompts: BTreeMap<String, Prompt>,
    /// The prompt used where none is asked for.
    #[serde(deserialize_with = "Option::deserialize")]
    pub default_prompt: Option<String>,
    /// The similarity that the model was trained for: `cosine`, `dot`, `euclidean` or `manhattan`.
    pub similarity: String,
}

/// A text put before the user's text.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Prompt {
    /// The prompt.
    pub text: String,
    /// How many tokens pooling leaves out where `include_prompt` is false.
    pub tokens: u64,
}

/// What a token classifier's classes mean, and how they become entities.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct TokenClassificationSpec {
    /// The label of class i, with its prefix (`B-PER`).
    pub labels: Vec<String>,
    /// Labels whose entities are dropped.
    pub ignore_labels: Vec<String>,
    /// How tokens become entities where a call does not say it.
    pub aggregation_strategy: AggregationStrategy,
    /// Tokens that two windows of a long text share where a call does not say it; `None`: long texts are cut.
    #[serde(deserialize_with = "Option::deserialize")]
    pub stride: Option<usize>,
    /// How a token that goes on with the word before it is recognized.
    pub subwords: Subwords,
    /// The id of the unknown token, which never goes on with a word.
    #[serde(deserialize_with = "Option::deserialize")]
    pub unk_token_id: Option<u64>,
    /// The language of the texts, where it is known.
    #[serde(deserialize_with = "Option::deserialize")]
    pub language: Option<String>,
}

/// How the classes of tokens become entities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AggregationStrategy {
    /// Every token is an entity of its own, with its label as the model has it.
    None,
    /// Tokens next to each other are grouped by their labels.
    Simple,
    /// The first token of a word decides for the word; then words are grouped.
    First,
    /// The mean of the scores of a word's tokens decides for the word; then words are grouped.
    Average,
    /// The token of a word with the highest score decides for the word; then words are grouped.
    Max,
}

impl AggregationStrategy {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::None, Self::Simple, Self::First, Self::Average, Self::Max];

    /// The name in manifests and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Simple => "simple",
            Self::First => "first",
            Self::Average => "average",
            Self::Max => "max",
        }
    }
}

/// How a token that goes on with the word before it is recognized.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Subwords {
    /// Its piece has another number of characters than what it covers in the text: pieces carry a prefix.
    Length,
    /// No blank comes before it.
    Space,
}

/// What a spaCy pipeline's entity recognizer has besides its graphs.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct SpacySpec {
    /// The language of the texts.
    pub language: String,
    /// The labels of the entities, in the order of the networks' tables.
    pub labels: Vec<String>,
    /// Which sentence starts count.
    pub sentences: Sentences,
    /// The file of the tokenizer's rules, relative to the artifact.
    pub rules: String,
    /// The file of the tables, relative to the artifact.
    pub tables: String,
    /// The network of the component `ner`.
    pub ner: SpacyNer,
    /// The network of the component `parser`; there exactly where `sentences` is `parser`.
    #[serde(deserialize_with = "Option::deserialize")]
    pub parser: Option<SpacyParser>,
}

/// Which sentence starts a spaCy pipeline's entity recognizer goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sentences {
    /// None: the document is one sentence.
    None,
    /// Those that each call brings.
    Given,
    /// Those of the artifact's parser.
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
    /// Gaps between documents, and tokens of context on both sides of a part of one.
    pub context: usize,
    /// Width of the state's hidden layer.
    pub hidden: usize,
    /// Pieces that its maxout takes the maximum of.
    pub pieces: usize,
    /// Which move wins at equal scores.
    pub tie: Tie,
}

/// Which move of an open entity wins at equal scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tie {
    /// The entity goes on.
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
    /// Gaps between documents, and tokens of context on both sides of a part of one.
    pub context: usize,
    /// Width of the state's hidden layer.
    pub hidden: usize,
    /// Pieces that its maxout takes the maximum of.
    pub pieces: usize,
    /// The moves' names in the order of their scores: `S`, `D`, `L-label`, `R-label`, `B-label`.
    pub moves: Vec<String>,
}

/// A hashed embedding table.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct HashColumn {
    /// The attribute of a token that its rows are chosen by.
    pub attribute: Attribute,
    /// How many rows it has.
    pub rows: u32,
    /// The seed of the hash.
    pub seed: u32,
}

/// An attribute of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Attribute {
    /// Its text.
    Orth,
    /// Its norm.
    Norm,
    /// Its lower case.
    Lower,
    /// Its first character.
    Prefix,
    /// Its last three characters.
    Suffix,
    /// Its shape.
    Shape,
    /// Whether it consists of spaces.
    IsSpace,
    /// Whether a trailing space comes after it.
    Spacy,
}
