//! The sections of a manifest that token classification has.

use serde::Deserialize;

use crate::BridgeError;
use crate::artifact::Manifest;
use crate::artifact::manifest::SectionCheck;
use crate::families::ner::AggregationStrategy;
use crate::tokenizer::TokenizerSpec;

/// Both sections.
#[derive(Debug, Clone)]
pub(super) struct Sections {
    pub(super) tokenizer: TokenizerSpec,
    pub(super) classes: TokenClassificationSpec,
}

impl Sections {
    pub(super) fn read(manifest: &Manifest) -> Result<Self, BridgeError> {
        Ok(Self { tokenizer: TokenizerSpec::read(manifest)?, classes: manifest.section("token_classification")? })
    }

    /// There are no rules between fields.
    pub(super) fn check(manifest: &Manifest) -> Result<SectionCheck, BridgeError> {
        let Self { tokenizer, .. } = Self::read(manifest)?;
        Ok(SectionCheck { files: vec![tokenizer.named_file()], problems: Vec::new() })
    }
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

/// How a token that goes on with the word before it is recognized.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Subwords {
    /// Its piece has another number of characters than what it covers in the text: pieces carry a prefix.
    Length,
    /// No blank comes before it.
    Space,
}
