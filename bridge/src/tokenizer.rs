//! `tokenizer.json`: loading, the check `tokenizer`, and encoding of texts.

use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::Deserialize;
use tokenizers::{PostProcessor, Tokenizer, TruncationDirection, TruncationParams};

use crate::BridgeError;
use crate::artifact::Manifest;

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
    /// Parses the section `tokenizer` of a manifest.
    ///
    /// # Errors
    /// `schema`, where the section is missing or cannot be parsed.
    pub(crate) fn read(manifest: &Manifest) -> Result<Self, BridgeError> {
        manifest.section("tokenizer")
    }

    /// The tokenizer's file, with the field that names it.
    pub(crate) fn named_file(&self) -> (&'static str, String) {
        ("tokenizer.file", self.file.clone())
    }

    /// The padding token's id as graphs take it; the check `tokenizer` saw that the vocabulary has it.
    pub(crate) fn pad_id(&self) -> i64 {
        i64::try_from(self.pad_token_id).unwrap_or(0)
    }
}

/// The token ids of one text, special tokens included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Encoded {
    pub(crate) ids: Vec<i64>,
    /// Whether the text was cut to `max_tokens`.
    pub(crate) truncated: bool,
}

/// A loaded tokenizer that cuts as the manifest says and never pads.
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
        let problems = differences(&tokenizer, spec);
        if !problems.is_empty() {
            return Err(refuse(problems.join("; ")));
        }
        tokenizer.with_padding(None);
        let limit = limit(&tokenizer, spec);
        guarded(|| tokenizer.with_truncation(Some(limit)).map(|_| ())).map_err(refuse)?;
        Ok(Self { tokenizer, max_tokens: spec.max_tokens, side: spec.truncation_side })
    }

    /// Encodes a text with its special tokens. The error says what the tokenizer said, or that it panicked.
    pub(crate) fn encode(&self, text: &str) -> Result<Encoded, String> {
        let encoding = guarded(|| self.tokenizer.encode_fast(text, true))?;
        let ids = encoding.get_ids();
        let spare = ids.len().saturating_sub(self.max_tokens);
        let kept = if self.side == Side::Left { &ids[spare..] } else { &ids[..ids.len() - spare] };
        let truncated = spare > 0 || !encoding.get_overflowing().is_empty();
        Ok(Encoded { ids: kept.iter().map(|id| i64::from(*id)).collect(), truncated })
    }

    /// The text that token ids stand for, special tokens left out. The error says what the tokenizer said, or that an id is
    /// none of its own.
    pub(crate) fn decode(&self, ids: &[i64]) -> Result<String, String> {
        let id = |id: &i64| u32::try_from(*id).map_err(|_| format!("{id} is no token"));
        let ids = ids.iter().map(id).collect::<Result<Vec<u32>, String>>()?;
        guarded(|| self.tokenizer.decode(&ids, true))
    }

    /// A tokenizer that cuts nothing, with a vocabulary of its own.
    pub(crate) fn without_limit(&self) -> Tokenizer {
        let mut tokenizer = self.tokenizer.clone();
        // Taking truncation away cannot fail.
        let _ = tokenizer.with_truncation(None);
        tokenizer
    }

    /// The tokenizer without truncation, the tokens that special ones leave to a text, and the side that is cut.
    pub(crate) fn into_parts(mut self) -> (Tokenizer, usize, Side) {
        // It is the caller's to cut; taking truncation away cannot fail.
        let _ = self.tokenizer.with_truncation(None);
        let room = self.max_tokens - special_tokens(&self.tokenizer);
        (self.tokenizer, room, self.side)
    }
}

/// Runs a call of the tokenizers crate, which panics on some inputs where it should answer with an error.
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

/// Truncation in the tokenizer: it stops at the limit, and tells that there was more only where special tokens push some
/// of what it has beyond the limit. Where there are none, one token more is asked for, to see whether there is one.
fn limit(tokenizer: &Tokenizer, spec: &TokenizerSpec) -> TruncationParams {
    let direction = match spec.truncation_side {
        Side::Left => TruncationDirection::Left,
        Side::Right => TruncationDirection::Right,
    };
    let more = usize::from(special_tokens(tokenizer) == 0);
    let max_length = spec.max_tokens.saturating_add(more);
    TruncationParams { direction, max_length, stride: 0, ..TruncationParams::default() }
}

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
        let found = id.map_or_else(|| "none".to_owned(), |id| id.to_string());
        problems.push(format!("padding token {:?} has id {found}, declared {}", spec.pad_token, spec.pad_token_id));
    }
    // Below that the tokenizers crate, which subtracts without looking, would wrap around.
    let special = special_tokens(tokenizer);
    if spec.max_tokens <= special {
        let max_tokens = spec.max_tokens;
        problems
            .push(format!("adds {special} special tokens, which leave no room for text: max_tokens is {max_tokens}"));
    }
    problems
}
