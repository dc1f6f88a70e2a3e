//! The sections of the manifest for GLiNER models.

use serde::Deserialize;

use crate::BridgeError;
use crate::artifact::Manifest;
use crate::artifact::manifest::SectionCheck;
use crate::tokenizer::TokenizerSpec;

/// The sections `tokenizer` and `gliner`.
#[derive(Debug, Clone)]
pub(super) struct Sections {
    pub(super) tokenizer: TokenizerSpec,
    pub(super) gliner: GlinerSpec,
}

impl Sections {
    pub(super) fn read(manifest: &Manifest) -> Result<Self, BridgeError> {
        Ok(Self { tokenizer: TokenizerSpec::read(manifest)?, gliner: manifest.section("gliner")? })
    }

    /// Checks the rules that concern several fields.
    pub(super) fn check(manifest: &Manifest) -> Result<SectionCheck, BridgeError> {
        let Self { tokenizer, gliner } = Self::read(manifest)?;
        let mut problems = Vec::new();
        if gliner.max_width.is_none() != (gliner.mode == Mode::Token) {
            problems.push(format!("gliner.max_width is {:?} for the mode {:?}", gliner.max_width, gliner.mode));
        }
        if gliner.stride >= gliner.max_words {
            let (stride, max_words) = (gliner.stride, gliner.max_words);
            problems.push(format!("gliner.stride is {stride}, not below gliner.max_words {max_words}"));
        }
        Ok(SectionCheck { files: vec![("gliner.words", gliner.words), tokenizer.named_file()], problems })
    }
}

/// The settings of a GLiNER model. `FORMAT.md` defines words, windows and the search.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct GlinerSpec {
    /// What the graph scores.
    pub mode: Mode,
    /// The largest number of words of an entity; `Some` exactly in the mode `span`.
    #[serde(deserialize_with = "Option::deserialize")]
    pub max_width: Option<usize>,
    /// The largest number of words of a window.
    pub max_words: usize,
    /// The number of words that consecutive windows share, if a call does not set it.
    pub stride: usize,
    /// The path of the file with the characters of words, relative to the artifact.
    pub words: String,
    /// The token that precedes every label in the prompt.
    pub entity_token: String,
    /// The token that follows the last label in the prompt.
    pub separator_token: String,
    /// The token whose vector stands for a label.
    pub label_vector: LabelVector,
    /// The labels of calls that name none; empty if every call has to name them.
    pub labels: Vec<String>,
    /// The score that entities have to exceed, if a call does not set it.
    pub threshold: f64,
    /// Whether entities may be inside of others, if a call does not set it.
    pub nested: bool,
    /// Whether the same words may have several labels, if a call does not set it.
    pub multi_label: bool,
    /// The language of the texts, if it is known.
    #[serde(deserialize_with = "Option::deserialize")]
    pub language: Option<String>,
}

/// What the graph of a GLiNER model scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Spans of up to `max_width` words.
    Span,
    /// Words as the start, the end and the inside of an entity.
    Token,
}

/// The token of the prompt whose vector stands for a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LabelVector {
    /// The token before the label.
    EntityToken,
    /// The token after that one, which is the first token of the label.
    NextToken,
}
