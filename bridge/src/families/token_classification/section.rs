//! The sections of the manifest for token classification.

use serde::Deserialize;

use crate::BridgeError;
use crate::artifact::Manifest;
use crate::artifact::manifest::SectionCheck;
use crate::tasks::AggregationStrategy;
use crate::tokenizer::TokenizerSpec;

/// The sections `tokenizer` and `token_classification`.
#[derive(Debug, Clone)]
pub(super) struct Sections {
    pub(super) tokenizer: TokenizerSpec,
    pub(super) classes: TokenClassificationSpec,
}

impl Sections {
    pub(super) fn read(manifest: &Manifest) -> Result<Self, BridgeError> {
        Ok(Self { tokenizer: TokenizerSpec::read(manifest)?, classes: manifest.section("token_classification")? })
    }

    /// Checks the rules that concern several fields, of which these sections have none.
    pub(super) fn check(manifest: &Manifest) -> Result<SectionCheck, BridgeError> {
        let Self { tokenizer, .. } = Self::read(manifest)?;
        Ok(SectionCheck { files: vec![tokenizer.named_file()], problems: Vec::new() })
    }
}

/// The classes of a token classifier, and how they become entities.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct TokenClassificationSpec {
    /// The label of each class, including its prefix (`B-PER`).
    pub labels: Vec<String>,
    /// The labels whose entities are not returned.
    pub ignore_labels: Vec<String>,
    /// The default strategy by which tokens become entities.
    pub aggregation_strategy: AggregationStrategy,
    /// The default number of tokens by which the windows of a long text overlap; `None` means that long texts are truncated.
    #[serde(deserialize_with = "Option::deserialize")]
    pub stride: Option<usize>,
    /// The rule that distinguishes subwords from tokens that start a word.
    pub subwords: Subwords,
    /// The vocabulary id of the unknown token, which always starts a word.
    #[serde(deserialize_with = "Option::deserialize")]
    pub unk_token_id: Option<u64>,
    /// The language of the texts, if it is known.
    #[serde(deserialize_with = "Option::deserialize")]
    pub language: Option<String>,
}

/// The rule that distinguishes subwords, which continue a word, from tokens that start a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Subwords {
    /// A token is a subword if its vocabulary entry and its text have different numbers of characters: entries of
    /// subwords have a prefix, for example `##`.
    Length,
    /// A token is a subword if no space precedes it in the text.
    Space,
}
