//! Splits a text into the windows of tokens that a token classifier reads.

use std::ops::Range;

use tokenizers::{Encoding, PostProcessor, PostProcessorWrapper, Tokenizer};

use super::section::{Subwords, TokenClassificationSpec};
use crate::tasks::offsets::CharIndex;
use crate::tokenizer::{Side, TextEncoder, guarded, slice};

/// The properties of a token that are needed for decoding entities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    /// The offset of the token's start in the text, in characters.
    pub(crate) start: usize,
    /// The offset of the token's end in the text, in characters, exclusive.
    pub(crate) end: usize,
    /// Whether the token is a special token, such as `[CLS]`, which is not part of the text.
    pub(crate) is_special: bool,
    /// Whether the token continues the word of the previous token.
    pub(crate) is_subword: bool,
}

/// The tokens of one window, including special tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) ids: Vec<i64>,
    /// The properties of each token of the window, in the order of the token ids.
    pub(crate) marks: Vec<Mark>,
}

impl Window {
    /// Whether the window has any token of the text in addition to special tokens.
    pub(crate) fn has_text(&self) -> bool {
        self.marks.iter().any(|mark| !mark.is_special)
    }
}

/// The windows of a text, in the order of the tokenizers library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Windows {
    pub(crate) windows: Vec<Window>,
    /// Whether some tokens of the text are in no window, because the text was truncated.
    pub(crate) truncated: bool,
}

impl Windows {
    /// The total number of tokens of all windows, including special tokens.
    pub(crate) fn tokens(&self) -> usize {
        self.windows.iter().map(|window| window.ids.len()).sum()
    }
}

/// A tokenizer that splits texts into windows.
///
/// It divides the list of tokens into windows itself and adds special tokens to each window. The truncation of the
/// tokenizers crate would stop reading a long text early, and there would be no second window.
pub(crate) struct WindowEncoder {
    tokenizer: Tokenizer,
    processor: Option<PostProcessorWrapper>,
    /// The maximum number of tokens of a window, without special tokens.
    max_text_tokens: usize,
    side: Side,
    subwords: Subwords,
    unknown: Option<u32>,
}

impl WindowEncoder {
    pub(crate) fn new(encoder: TextEncoder, spec: &TokenClassificationSpec) -> Self {
        let (mut tokenizer, max_text_tokens, side) = encoder.into_parts();
        let processor = tokenizer.get_post_processor().cloned();
        tokenizer.with_post_processor(None::<PostProcessorWrapper>);
        let unknown = spec.unk_token_id.and_then(|id| u32::try_from(id).ok());
        Self { tokenizer, processor, max_text_tokens, side, subwords: spec.subwords, unknown }
    }

    /// The maximum number of tokens of a window, without special tokens. A stride has to be smaller.
    pub(crate) fn max_text_tokens(&self) -> usize {
        self.max_text_tokens
    }

    /// Splits a text into windows that overlap by `stride` tokens; without a stride, truncates it to one window. The error
    /// is the tokenizer's message, or the message of its panic.
    pub(crate) fn encode(&self, text: &str, stride: Option<usize>) -> Result<Windows, String> {
        let all = guarded(|| self.tokenizer.encode_char_offsets(text, false))?;
        let mut ranges = ranges(all.len(), self.max_text_tokens, stride.unwrap_or(0), self.side);
        let truncated = stride.is_none() && ranges.len() > 1;
        if truncated {
            ranges.truncate(1);
        }
        let index = CharIndex::new(text);
        let window = |range| self.window(slice(&all, range), &index);
        Ok(Windows { windows: ranges.into_iter().map(window).collect::<Result<_, _>>()?, truncated })
    }

    /// Builds the window for a range of a text's tokens. Adds the special tokens.
    fn window(&self, tokens: Encoding, index: &CharIndex<'_>) -> Result<Window, String> {
        let encoding = match &self.processor {
            Some(processor) => guarded(|| processor.process(tokens, None, true))?,
            None => tokens,
        };
        let offsets = encoding.get_offsets().iter().zip(encoding.get_special_tokens_mask());
        let mark = |(&id, (&(start, end), &special)): (&u32, (&(usize, usize), &u32))| {
            let is_special = special != 0;
            Mark { start, end, is_special, is_subword: !is_special && self.is_subword(id, start, end, index) }
        };
        let marks = encoding.get_ids().iter().zip(offsets).map(mark).collect();
        Ok(Window { ids: encoding.get_ids().iter().map(|id| i64::from(*id)).collect(), marks })
    }

    fn is_subword(&self, id: u32, start: usize, end: usize, index: &CharIndex<'_>) -> bool {
        if self.unknown == Some(id) {
            return false;
        }
        match self.subwords {
            Subwords::Length => {
                let token = self.tokenizer.id_to_token(id).unwrap_or_default();
                token.chars().count() != end.saturating_sub(start)
            }
            Subwords::Space => start > 0 && index.char(start - 1) != Some(' ') && index.char(start) != Some(' '),
        }
    }
}

/// The range of tokens of each window, as the tokenizers library splits them. `stride` is less than `size`, the maximum
/// number of tokens of a window.
fn ranges(tokens: usize, size: usize, stride: usize, side: Side) -> Vec<Range<usize>> {
    let count = 1 + tokens.saturating_sub(size).div_ceil(size - stride);
    let window = |index: usize| {
        let skipped = index * (size - stride);
        match side {
            Side::Right => skipped..tokens.min(skipped + size),
            Side::Left => (tokens - skipped).saturating_sub(size)..tokens - skipped,
        }
    };
    (0..count).map(window).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};
    use tokenizers::TruncationDirection;

    use super::*;
    use crate::tokenizer::TokenizerSpec;

    const WORDS: [&str; 8] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "new", "##ly", "york", "é"];

    /// A small WordPiece tokenizer for the tests.
    fn word_piece(processor: Value) -> Value {
        let vocab: Value = WORDS.iter().enumerate().map(|(id, word)| ((*word).to_owned(), json!(id))).collect();
        let model = json!({"type": "WordPiece", "vocab": vocab, "unk_token": "[UNK]",
            "continuing_subword_prefix": "##", "max_input_chars_per_word": 100});
        json!({"version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
            "pre_tokenizer": {"type": "Whitespace"}, "post_processor": processor, "decoder": null, "model": model})
    }

    /// A byte-level BPE tokenizer without merges, for which every byte is a token.
    fn bytes(processor: Value) -> Value {
        let alphabet = tokenizers::pre_tokenizers::byte_level::ByteLevel::alphabet();
        let mut tokens: Vec<String> = alphabet.into_iter().map(String::from).collect();
        tokens.sort_unstable();
        tokens.extend(["<s>", "</s>", "[PAD]"].map(str::to_owned));
        let vocab: Value = tokens.iter().enumerate().map(|(id, token)| (token.clone(), json!(id))).collect();
        let model = json!({"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": vocab, "merges": []});
        let level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
        json!({"version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
            "pre_tokenizer": level, "post_processor": processor, "decoder": null, "model": model})
    }

    fn bert() -> Value {
        json!({"type": "BertProcessing", "cls": ["[CLS]", 2], "sep": ["[SEP]", 3]})
    }

    fn roberta() -> Value {
        json!({"type": "RobertaProcessing", "cls": ["<s>", 256], "sep": ["</s>", 257], "trim_offsets": true,
            "add_prefix_space": false})
    }

    fn encoder(tokenizer: &Value, max_tokens: usize, side: &str, subwords: &str) -> WindowEncoder {
        let vocab = tokenizer["model"]["vocab"].as_object().expect("a vocabulary");
        let spec: TokenizerSpec = serde_json::from_value(json!({"file": "tokenizer.json", "vocab_size": vocab.len(),
            "max_tokens": max_tokens, "truncation_side": side, "pad_token": "[PAD]", "pad_token_id": vocab["[PAD]"]}))
        .expect("a section");
        let classes: TokenClassificationSpec = serde_json::from_value(json!({"labels": ["O"], "ignore_labels": [],
            "aggregation_strategy": "simple", "stride": null, "subwords": subwords, "unk_token_id": 1, "language": null}))
        .expect("a section");
        WindowEncoder::new(TextEncoder::load(tokenizer.to_string().as_bytes(), &spec).expect("a tokenizer"), &classes)
    }

    /// The start, the end and `is_subword` of every token of a text.
    fn marks(encoder: &WindowEncoder, text: &str) -> Vec<(usize, usize, bool)> {
        let windows = encoder.encode(text, None).expect("windows");
        let text_marks = windows.windows[0].marks.iter().filter(|mark| !mark.is_special);
        text_marks.map(|mark| (mark.start, mark.end, mark.is_subword)).collect()
    }

    #[test]
    fn offsets_count_characters() {
        let encoder = encoder(&word_piece(bert()), 100, "right", "length");
        assert_eq!(marks(&encoder, "é newly"), [(0, 1, false), (2, 5, false), (5, 7, true)]);
        assert_eq!(marks(&encoder, "👩 york\r\nély"), [(0, 1, false), (2, 6, false), (8, 9, false), (9, 11, true)]);
        assert_eq!(marks(&encoder, "שלום york"), [(0, 4, false), (5, 9, false)]);
    }

    #[test]
    fn tokens_of_one_character_share_its_offsets() {
        let encoder = encoder(&bytes(roberta()), 100, "right", "space");
        let first = [(0, 1, false), (2, 2, false), (2, 3, false), (2, 3, false)];
        assert_eq!(marks(&encoder, "a é"), first);
        let second = [(3, 4, true), (3, 4, true)];
        assert_eq!(marks(&encoder, "a éé"), [first.as_slice(), &second].concat());
    }

    /// The unknown token `[UNK]` for the text "?" starts a word. By the lengths of its vocabulary entry and its text
    /// alone, it would be a subword.
    #[test]
    fn an_unknown_token_is_not_a_subword() {
        let encoder = encoder(&word_piece(bert()), 100, "right", "length");
        assert_eq!(marks(&encoder, "new?york"), [(0, 3, false), (3, 4, false), (4, 8, false)]);
    }

    #[test]
    fn a_space_starts_a_word_if_subwords_have_no_prefix() {
        let encoder = encoder(&word_piece(bert()), 100, "right", "space");
        assert_eq!(marks(&encoder, "new york"), [(0, 3, false), (4, 8, false)]);
        // For this tokenizer, neither a no-break space nor a newline before a token makes the token start a word.
        assert_eq!(marks(&encoder, "new\u{a0}york"), [(0, 3, false), (4, 8, true)]);
        assert_eq!(marks(&encoder, "new\nyork"), [(0, 3, false), (4, 8, true)]);
    }

    #[test]
    fn a_text_is_truncated_or_split_into_windows() {
        let text = "new york newly york é";
        let ids = |side: &str, stride| {
            let windows = encoder(&word_piece(bert()), 5, side, "length").encode(text, stride).expect("windows");
            (windows.windows.iter().map(|window| window.ids.clone()).collect::<Vec<_>>(), windows.truncated)
        };
        assert_eq!(ids("right", None), (vec![vec![2, 4, 6, 4, 3]], true));
        assert_eq!(ids("left", None), (vec![vec![2, 5, 6, 7, 3]], true));
        assert_eq!(ids("right", Some(0)), (vec![vec![2, 4, 6, 4, 3], vec![2, 5, 6, 7, 3]], false));
        let two = vec![vec![2, 4, 6, 4, 3], vec![2, 6, 4, 5, 3], vec![2, 4, 5, 6, 3], vec![2, 5, 6, 7, 3]];
        assert_eq!(ids("right", Some(2)), (two.clone(), false));
        assert_eq!(ids("left", Some(2)), (two.into_iter().rev().collect(), false));
        let empty = encoder(&word_piece(bert()), 5, "right", "length").encode("", Some(2)).expect("windows");
        assert_eq!((empty.windows.len(), empty.windows[0].has_text(), empty.truncated), (1, false, false));
    }

    proptest! {
        /// The windows are equal to those that the tokenizers library makes by truncation and post-processing.
        #[test]
        fn windows_are_equal_to_those_of_the_library(
            text in "[a-c é💻\u{301}\r\n]{0,40}", size in 1_usize..6, stride in 0_usize..5, left in any::<bool>(),
            special in any::<bool>(),
        ) {
            prop_assume!(stride < size);
            let processor = if special { roberta() } else { json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true}) };
            let (side, direction) = if left { ("left", TruncationDirection::Left) } else { ("right", TruncationDirection::Right) };
            let encoder = encoder(&bytes(processor), size + if special { 2 } else { 0 }, side, "space");
            let mut all = encoder.tokenizer.encode_char_offsets(text.as_str(), false).expect("an encoding");
            all.truncate(size, stride, direction);
            let processor = encoder.processor.as_ref().expect("a processor");
            let processed = processor.process(all, None, true).expect("an encoding");
            let expected: Vec<&Encoding> = std::iter::once(&processed).chain(processed.get_overflowing()).collect();
            let windows = encoder.encode(&text, Some(stride)).expect("windows").windows;
            prop_assert_eq!(windows.len(), expected.len());
            for (window, encoding) in windows.iter().zip(expected) {
                let ids: Vec<i64> = encoding.get_ids().iter().map(|id| i64::from(*id)).collect();
                prop_assert_eq!(&window.ids, &ids);
                let offsets: Vec<(usize, usize)> = window.marks.iter().map(|mark| (mark.start, mark.end)).collect();
                prop_assert_eq!(&offsets, encoding.get_offsets());
                let special: Vec<u32> = window.marks.iter().map(|mark| u32::from(mark.is_special)).collect();
                prop_assert_eq!(&special, encoding.get_special_tokens_mask());
            }
        }
    }
}
