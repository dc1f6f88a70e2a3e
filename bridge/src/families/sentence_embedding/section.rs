//! The sections of a manifest that sentence embeddings have.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::BridgeError;
use crate::artifact::Manifest;
use crate::artifact::manifest::SectionCheck;
use crate::tokenizer::TokenizerSpec;

/// Both sections.
#[derive(Debug, Clone)]
pub(super) struct Sections {
    pub(super) tokenizer: TokenizerSpec,
    pub(super) embedding: EmbeddingSpec,
}

impl Sections {
    pub(super) fn read(manifest: &Manifest) -> Result<Self, BridgeError> {
        Ok(Self { tokenizer: TokenizerSpec::read(manifest)?, embedding: manifest.section("embedding")? })
    }

    /// Checks the rules between fields.
    pub(super) fn check(manifest: &Manifest) -> Result<SectionCheck, BridgeError> {
        let Self { tokenizer, embedding } = Self::read(manifest)?;
        let unknown = embedding.default_prompt.filter(|prompt| !embedding.prompts.contains_key(prompt));
        let problem = |prompt| format!("embedding.default_prompt {prompt:?} is no key of embedding.prompts");
        Ok(SectionCheck { files: vec![tokenizer.named_file()], problems: unknown.into_iter().map(problem).collect() })
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
