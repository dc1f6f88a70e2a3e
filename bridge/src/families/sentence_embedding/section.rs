//! The sections of the manifest for sentence embeddings.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::BridgeError;
use crate::artifact::Manifest;
use crate::artifact::manifest::SectionCheck;
use crate::tokenizer::TokenizerSpec;

/// The sections `tokenizer` and `embedding`.
#[derive(Debug, Clone)]
pub(super) struct Sections {
    pub(super) tokenizer: TokenizerSpec,
    pub(super) embedding: EmbeddingSpec,
}

impl Sections {
    pub(super) fn read(manifest: &Manifest) -> Result<Self, BridgeError> {
        Ok(Self { tokenizer: TokenizerSpec::read(manifest)?, embedding: manifest.section("embedding")? })
    }

    /// Checks the rules that concern several fields.
    pub(super) fn check(manifest: &Manifest) -> Result<SectionCheck, BridgeError> {
        let Self { tokenizer, embedding } = Self::read(manifest)?;
        let unknown = embedding.default_prompt.filter(|prompt| !embedding.prompts.contains_key(prompt));
        let problem = |prompt| format!("embedding.default_prompt {prompt:?} is not a key of embedding.prompts");
        let mut problems: Vec<String> = unknown.into_iter().map(problem).collect();
        let dimensions = &embedding.dimensions;
        if !dimensions.is_sorted_by(|a, b| a < b) || dimensions.iter().any(|number| *number > embedding.dim) {
            problems
                .push(format!("embedding.dimensions {dimensions:?} do not ascend, or exceed dim {}", embedding.dim));
        }
        Ok(SectionCheck { files: vec![tokenizer.named_file()], problems })
    }
}

/// The section `embedding`: what a sentence embedding model has in addition to its graph and tokenizer.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct EmbeddingSpec {
    /// The number of elements of every vector.
    pub dim: usize,
    /// How the graph pools the vectors of tokens to one vector. The results of several modes are concatenated.
    pub pooling: Vec<String>,
    /// Whether pooling includes the prompt's tokens.
    pub include_prompt: bool,
    /// Whether the Euclidean norm of every vector is 1.
    pub normalized: bool,
    /// The prompts by their names.
    pub prompts: BTreeMap<String, Prompt>,
    /// The name of the prompt for calls that name none.
    #[serde(deserialize_with = "Option::deserialize")]
    pub default_prompt: Option<String>,
    /// The similarity that the model was trained for: `cosine`, `dot`, `euclidean` or `manhattan`.
    pub similarity: String,
    /// The numbers of elements that a call may ask for, ascending. Empty if the manifest lists none.
    #[serde(default)]
    pub dimensions: Vec<usize>,
}

/// A text that is put before every input.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Prompt {
    /// The text of the prompt.
    pub text: String,
    /// The number of the prompt's tokens, which pooling excludes if `include_prompt` is false.
    pub tokens: u64,
}
