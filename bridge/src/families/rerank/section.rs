//! The sections of a manifest that rerankers have.

use serde::Deserialize;

use crate::BridgeError;
use crate::artifact::Manifest;
use crate::artifact::manifest::SectionCheck;
use crate::tokenizer::TokenizerSpec;

/// The section `tokenizer`. The section `rerank` is only checked: it describes the activation, which the graph applies.
#[derive(Debug, Clone)]
pub(super) struct Sections {
    pub(super) tokenizer: TokenizerSpec,
}

impl Sections {
    pub(super) fn read(manifest: &Manifest) -> Result<Self, BridgeError> {
        let _: RerankSpec = manifest.section("rerank")?;
        Ok(Self { tokenizer: TokenizerSpec::read(manifest)? })
    }

    /// Checks the rules that concern several fields, of which these sections have none.
    pub(super) fn check(manifest: &Manifest) -> Result<SectionCheck, BridgeError> {
        let Self { tokenizer } = Self::read(manifest)?;
        Ok(SectionCheck { files: vec![tokenizer.named_file()], problems: Vec::new() })
    }
}

/// The section `rerank`: what a reranker has in addition to its graph and its tokenizer.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct RerankSpec {
    /// How the graph computes the score of a pair from its logit.
    pub activation: Activation,
}

/// How the graph computes the score of a pair from its logit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Activation {
    /// The score is the sigmoid of the logit, between 0 and 1.
    Sigmoid,
    /// The score is the logit.
    Identity,
}
