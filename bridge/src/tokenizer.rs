//! Loads `tokenizer.json`, runs the check `tokenizer`, and encodes texts.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::Deserialize;
use tokenizers::models::ModelWrapper;
use tokenizers::{Encoding, PostProcessor, Tokenizer, TruncationDirection, TruncationParams};

use crate::BridgeError;
use crate::artifact::Manifest;

/// A side of a token sequence, from which truncation removes tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// The start of the sequence.
    Left,
    /// The end of the sequence.
    Right,
}

/// The section `tokenizer`: the tokenizer's file and its limits.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct TokenizerSpec {
    /// The path of the tokenizer's file, relative to the artifact.
    pub file: String,
    /// The number of entries of the vocabulary, including added tokens.
    pub vocab_size: u64,
    /// The maximum number of tokens of a sequence, including special tokens. Longer texts are truncated.
    pub max_tokens: usize,
    /// The side from which truncation removes tokens.
    pub truncation_side: Side,
    /// The padding token. Shorter texts of a batch are padded on the right.
    pub pad_token: String,
    /// The padding token's id.
    pub pad_token_id: u64,
}

impl TokenizerSpec {
    /// Parses the section `tokenizer` of a manifest.
    ///
    /// # Errors
    /// `schema`, if the section is missing or cannot be parsed.
    pub(crate) fn read(manifest: &Manifest) -> Result<Self, BridgeError> {
        manifest.section("tokenizer")
    }

    /// The manifest's field with the path of the tokenizer's file, and the path.
    pub(crate) fn named_file(&self) -> (&'static str, String) {
        ("tokenizer.file", self.file.clone())
    }

    /// The padding token's id as an input of graphs. The check `tokenizer` ensures that the id is in the vocabulary, and
    /// therefore small.
    pub(crate) fn pad_id(&self) -> i64 {
        i64::try_from(self.pad_token_id).unwrap_or(0)
    }
}

/// The encoded tokens of one text, including special tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Encoded {
    pub(crate) ids: Vec<i64>,
    /// Whether the text was truncated to `max_tokens`.
    pub(crate) truncated: bool,
}

/// A loaded tokenizer that truncates as the manifest states and does not pad.
pub(crate) struct TextEncoder {
    tokenizer: Tokenizer,
    max_tokens: usize,
    side: Side,
}

impl TextEncoder {
    /// Loads a tokenizer and checks it against the manifest.
    ///
    /// # Errors
    /// `tokenizer`, with all differences at once.
    pub(crate) fn load(bytes: &[u8], spec: &TokenizerSpec) -> Result<Self, BridgeError> {
        let refuse = |problem| BridgeError::Tokenizer { file: spec.file.clone(), problem };
        let mut tokenizer = guarded(|| Tokenizer::from_bytes(bytes)).map_err(refuse)?;
        if let ModelWrapper::BPE(model) = tokenizer.get_model() {
            // Every thread would keep the words of every BPE model that it has used, also after the model is gone: 5 MB
            // each.
            let mut model = model.clone();
            model.resize_cache(0);
            tokenizer.with_model(model);
        }
        let problems = differences(&tokenizer, spec);
        if !problems.is_empty() {
            return Err(refuse(problems.join("; ")));
        }
        tokenizer.with_padding(None);
        let limit = limit(&tokenizer, spec);
        guarded(|| tokenizer.with_truncation(Some(limit)).map(|_| ())).map_err(refuse)?;
        Ok(Self { tokenizer, max_tokens: spec.max_tokens, side: spec.truncation_side })
    }

    /// Encodes a text and adds special tokens. The error is the tokenizer's message, or the message of its panic.
    pub(crate) fn encode(&self, text: &str) -> Result<Encoded, String> {
        let encoding = guarded(|| self.tokenizer.encode_fast(text, true))?;
        let ids = encoding.get_ids();
        let excess = ids.len().saturating_sub(self.max_tokens);
        let kept = if self.side == Side::Left { &ids[excess..] } else { &ids[..ids.len() - excess] };
        let truncated = excess > 0 || !encoding.get_overflowing().is_empty();
        Ok(Encoded { ids: kept.iter().map(|id| i64::from(*id)).collect(), truncated })
    }

    /// Decodes token ids to a text without special tokens. The error is the tokenizer's message, or names an invalid id.
    pub(crate) fn decode(&self, ids: &[i64]) -> Result<String, String> {
        let id = |id: &i64| u32::try_from(*id).map_err(|_| format!("{id} is not a token id"));
        let ids = ids.iter().map(id).collect::<Result<Vec<u32>, String>>()?;
        guarded(|| self.tokenizer.decode(&ids, true))
    }

    /// The maximum number of tokens of a text without special tokens.
    pub(crate) fn max_text_tokens(&self) -> usize {
        self.max_tokens - special_tokens(&self.tokenizer)
    }

    /// A copy of the tokenizer that does not truncate. The copy includes the vocabulary.
    pub(crate) fn without_limit(&self) -> Tokenizer {
        let mut tokenizer = self.tokenizer.clone();
        // Removing the truncation cannot fail.
        let _ = tokenizer.with_truncation(None);
        tokenizer
    }

    /// Parts for a caller that truncates: the tokenizer without truncation, the maximum number of tokens of a text
    /// without special tokens, and the side from which to truncate.
    pub(crate) fn into_parts(mut self) -> (Tokenizer, usize, Side) {
        // Removing the truncation cannot fail.
        let _ = self.tokenizer.with_truncation(None);
        let max_text_tokens = self.max_text_tokens();
        (self.tokenizer, max_text_tokens, self.side)
    }
}

/// Copies a range of an encoding's tokens to a new encoding, without the parts that truncation cut off.
pub(crate) fn slice(encoding: &Encoding, range: Range<usize>) -> Encoding {
    Encoding::new(
        encoding.get_ids()[range.clone()].to_vec(),
        encoding.get_type_ids()[range.clone()].to_vec(),
        encoding.get_tokens()[range.clone()].to_vec(),
        encoding.get_word_ids()[range.clone()].to_vec(),
        encoding.get_offsets()[range.clone()].to_vec(),
        encoding.get_special_tokens_mask()[range.clone()].to_vec(),
        encoding.get_attention_mask()[range].to_vec(),
        Vec::new(),
        Default::default(),
    )
}

/// Calls a function of the tokenizers crate and converts a panic to an error: the crate panics on some invalid inputs.
pub(crate) fn guarded<T>(call: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(answer) => answer.map_err(|error| format!("the tokenizer failed: {error}")),
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
            Err(format!("the tokenizer panicked: {text}"))
        }
    }
}

/// The truncation that the tokenizer itself makes, so that it does not encode the rest of a long text.
///
/// The tokenizer stops at `max_length` tokens of text and then removes as many of them as it needs for special tokens.
/// It returns the removed tokens as overflow, which shows that the text was truncated. Without special tokens it would
/// remove none. Therefore `max_length` is one higher in this case, and the additional token shows that the text was
/// truncated.
fn limit(tokenizer: &Tokenizer, spec: &TokenizerSpec) -> TruncationParams {
    let direction = match spec.truncation_side {
        Side::Left => TruncationDirection::Left,
        Side::Right => TruncationDirection::Right,
    };
    let additional = usize::from(special_tokens(tokenizer) == 0);
    let max_length = spec.max_tokens.saturating_add(additional);
    TruncationParams { direction, max_length, stride: 0, ..TruncationParams::default() }
}

/// The number of special tokens that the tokenizer adds to a text.
fn special_tokens(tokenizer: &Tokenizer) -> usize {
    tokenizer.get_post_processor().map_or(0, |processor| processor.added_tokens(false))
}

fn differences(tokenizer: &Tokenizer, spec: &TokenizerSpec) -> Vec<String> {
    let mut problems = Vec::new();
    let entries = tokenizer.get_vocab_size(true) as u64;
    if entries != spec.vocab_size {
        problems.push(format!("has {entries} entries, declared {}", spec.vocab_size));
    }
    let id = tokenizer.token_to_id(&spec.pad_token).map(u64::from);
    if id != Some(spec.pad_token_id) {
        let actual = id.map_or_else(|| "none".to_owned(), |id| id.to_string());
        problems.push(format!("padding token {:?} has id {actual}, declared {}", spec.pad_token, spec.pad_token_id));
    }
    // With a smaller limit, a subtraction in the tokenizers crate would overflow.
    let special = special_tokens(tokenizer);
    if spec.max_tokens <= special {
        let max_tokens = spec.max_tokens;
        problems
            .push(format!("adds {special} special tokens, which leave no room for text: max_tokens is {max_tokens}"));
    }
    problems
}
