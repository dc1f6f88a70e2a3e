//! Converts pairs of a query and a document to token ids, truncated as the tokenizers library truncates pairs.

use tokenizers::{Encoding, PostProcessor, Tokenizer};

use crate::BridgeError;
use crate::tokenizer::{Side, TextEncoder, TokenizerSpec, guarded, slice};

/// A text that every tokenizer splits into at least one token.
const PROBE: &str = "a";

/// The tokens of a pair of a query and a document, including special tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) ids: Vec<i64>,
    /// The token type id of each token.
    pub(super) type_ids: Vec<i64>,
    /// Whether the query or the document was truncated.
    pub(super) truncated: bool,
}

/// The numbers of tokens that are kept of a query and a document, as the strategy `longest_first` of the tokenizers library
/// computes them; `limit` is the number of tokens that both may have together.
///
/// The longer text is shortened until both fit, but not below the length of the shorter one. If that is not enough, both
/// keep half of the limit, and the longer one also keeps the odd token.
fn kept_lengths(query: usize, document: usize, limit: usize) -> (usize, usize) {
    if query + document <= limit {
        return (query, document);
    }
    let mut shorter = query.min(document);
    let mut longer = if shorter > limit { shorter } else { shorter.max(limit - shorter) };
    if shorter + longer > limit {
        shorter = limit / 2;
        longer = shorter + limit % 2;
    }
    if query <= document { (shorter, longer) } else { (longer, shorter) }
}

/// Whether the tokenizer's pairs have the first text once and then the second one once, each with one token type.
fn has_two_texts(tokenizer: &Tokenizer) -> tokenizers::Result<bool> {
    let text = tokenizer.encode_fast(PROBE, false)?;
    let pair = tokenizer.encode_fast((PROBE, PROBE), true)?;
    let tokens = pair.get_sequence_ids().into_iter().zip(pair.get_ids()).zip(pair.get_type_ids());
    let in_texts: Vec<(usize, u32, u32)> =
        tokens.filter_map(|((sequence, id), kind)| Some((sequence?, *id, *kind))).collect();
    let special = pair.len() - in_texts.len();
    let (first, second) = in_texts.split_at(text.len().min(in_texts.len()));
    let is_text = |tokens: &[(usize, u32, u32)], sequence: usize| {
        tokens.iter().map(|token| token.1).eq(text.get_ids().iter().copied())
            && tokens.iter().all(|token| token.0 == sequence && token.2 == tokens[0].2)
    };
    let added = tokenizer.get_post_processor().map_or(0, |processor| processor.added_tokens(true));
    Ok(!text.is_empty() && is_text(first, 0) && is_text(second, 1) && special == added)
}

/// Tokenizes a query and its documents one by one, then truncates and joins them.
///
/// The truncation of pairs in the tokenizers library is not used, because it keeps every combination of the parts that
/// it cuts off from the two texts.
pub(super) struct PairTokenizer {
    tokenizer: Tokenizer,
    /// The maximum number of tokens of a pair, without the special tokens.
    limit: usize,
    side: Side,
}

impl PairTokenizer {
    /// Loads a tokenizer and checks it against the manifest.
    ///
    /// # Errors
    /// `tokenizer`, also if the special tokens leave less than two tokens for the texts.
    pub(super) fn load(bytes: &[u8], spec: &TokenizerSpec) -> Result<Self, BridgeError> {
        let refuse = |problem| BridgeError::Tokenizer { file: spec.file.clone(), problem };
        let (tokenizer, _, side) = TextEncoder::load(bytes, spec)?.into_parts();
        let special = tokenizer.get_post_processor().map_or(0, |processor| processor.added_tokens(true));
        let limit = spec.max_tokens.saturating_sub(special);
        if limit < 2 {
            let max_tokens = spec.max_tokens;
            return Err(refuse(format!(
                "max_tokens {max_tokens} and {special} special tokens leave no space for a pair"
            )));
        }
        if !guarded(|| has_two_texts(&tokenizer)).map_err(refuse)? {
            return Err(refuse("its pairs are not a query and a document with one token type each".to_owned()));
        }
        Ok(Self { tokenizer, limit, side })
    }

    /// The tokens of a text, without special tokens. The error is the tokenizer's message, or the message of its panic.
    pub(super) fn encode(&self, text: &str) -> Result<Encoding, String> {
        guarded(|| self.tokenizer.encode_fast(text, false))
    }

    /// Joins the tokens of a query and a document, and adds the special tokens.
    pub(super) fn join(&self, query: &Encoding, document: &Encoding) -> Result<Pair, String> {
        let (query_len, document_len) = kept_lengths(query.len(), document.len(), self.limit);
        let truncated = (query_len, document_len) != (query.len(), document.len());
        let (query, document) = (self.kept(query, query_len), self.kept(document, document_len));
        let joined = guarded(|| self.tokenizer.post_process(query, Some(document), true))?;
        let to_i64 = |ids: &[u32]| ids.iter().map(|id| i64::from(*id)).collect();
        Ok(Pair { ids: to_i64(joined.get_ids()), type_ids: to_i64(joined.get_type_ids()), truncated })
    }

    /// The tokens that truncation keeps. A slice has none of the parts that were cut off, to whose combinations the library
    /// would also add special tokens.
    fn kept(&self, encoding: &Encoding, tokens: usize) -> Encoding {
        let spare = encoding.len() - tokens;
        slice(encoding, if self.side == Side::Left { spare..encoding.len() } else { 0..tokens })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};
    use tokenizers::{TruncationDirection, TruncationParams, TruncationStrategy, truncate_encodings};

    use super::*;

    const SPECIAL: usize = 3;

    fn word_level() -> Value {
        let vocab = json!({"[PAD]": 0, "[CLS]": 1, "[SEP]": 2, "a": 3, "b": 4, "c": 5, "[UNK]": 6});
        json!({"version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
            "pre_tokenizer": {"type": "WhitespaceSplit"}, "decoder": null,
            "post_processor": {"type": "BertProcessing", "cls": ["[CLS]", 1], "sep": ["[SEP]", 2]},
            "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "[UNK]"}})
    }

    fn load(max_tokens: usize, side: &str) -> Result<PairTokenizer, BridgeError> {
        let spec = json!({"file": "tokenizer.json", "vocab_size": 7, "max_tokens": max_tokens, "truncation_side": side,
            "pad_token": "[PAD]", "pad_token_id": 0});
        PairTokenizer::load(word_level().to_string().as_bytes(), &serde_json::from_value(spec).expect("a section"))
    }

    fn pair(tokenizer: &PairTokenizer, query: &str, document: &str) -> Pair {
        let encode = |text| tokenizer.encode(text).expect("tokens");
        tokenizer.join(&encode(query), &encode(document)).expect("a pair")
    }

    #[test]
    fn pairs_have_special_tokens_and_types() {
        let tokenizer = load(10, "right").expect("a tokenizer");
        let expected = Pair { ids: vec![1, 3, 2, 4, 5, 2], type_ids: vec![0, 0, 0, 1, 1, 1], truncated: false };
        assert_eq!(pair(&tokenizer, "a", "b c"), expected);
        assert_eq!(pair(&tokenizer, "", "").ids, [1, 2, 2]);
    }

    #[test]
    fn the_longer_text_is_truncated_first() {
        assert_eq!(kept_lengths(3, 20, 10), (3, 7));
        assert_eq!(kept_lengths(20, 3, 10), (7, 3));
        assert_eq!(kept_lengths(7, 6, 10), (5, 5));
        assert_eq!(kept_lengths(20, 20, 11), (5, 6));
        assert_eq!(kept_lengths(21, 20, 11), (6, 5));
        assert_eq!(kept_lengths(5, 5, 10), (5, 5));
    }

    #[test]
    fn a_pair_has_its_query_first_and_every_text_once() {
        let code = |pair: &str| {
            let special = json!({"[CLS]": {"id": "[CLS]", "ids": [1], "tokens": ["[CLS]"]}});
            let text = |name: &str, kind: u64| match name {
                "[CLS]" => json!({"SpecialToken": {"id": name, "type_id": kind}}),
                _ => json!({"Sequence": {"id": name, "type_id": kind}}),
            };
            let pieces: Vec<Value> = pair.split(' ').map(|name| text(name, u64::from(name == "B"))).collect();
            let mut tokenizer = word_level();
            tokenizer["post_processor"] = json!({"type": "TemplateProcessing", "single": [text("A", 0)], "pair": pieces,
                "special_tokens": special});
            let spec = json!({"file": "tokenizer.json", "vocab_size": 7, "max_tokens": 9, "truncation_side": "right",
                "pad_token": "[PAD]", "pad_token_id": 0});
            let spec = serde_json::from_value(spec).expect("a section");
            PairTokenizer::load(tokenizer.to_string().as_bytes(), &spec).err().map(|error| error.code().as_str())
        };
        assert_eq!([code("[CLS] A B"), code("A [CLS] B"), code("A B")], [None, None, None]);
        assert_eq!([code("B [CLS] A"), code("A A B")], [Some("tokenizer"), Some("tokenizer")]);
    }

    #[test]
    fn a_pair_needs_two_tokens() {
        assert!(load(SPECIAL + 2, "right").is_ok());
        assert_eq!(load(SPECIAL + 1, "right").err().map(|error| error.code().as_str()), Some("tokenizer"));
    }

    #[test]
    fn long_texts_need_little_memory() {
        let tokenizer = load(512, "right").expect("a tokenizer");
        let text = "a b c ".repeat(100_000);
        let joined = pair(&tokenizer, &text, &text);
        assert_eq!((joined.ids.len(), joined.truncated), (512, true));
    }

    proptest! {
        /// The pairs have the same tokens as those that the tokenizers library truncates itself.
        #[test]
        fn pairs_are_truncated_as_by_the_library(
            query in 0_usize..30, document in 0_usize..30, limit in 2_usize..12, left in any::<bool>(),
        ) {
            let (side, direction) =
                if left { ("left", TruncationDirection::Left) } else { ("right", TruncationDirection::Right) };
            let words = |count: usize| (0..count).map(|word| ["a", "b", "c"][word % 3]).collect::<Vec<_>>().join(" ");
            let (query, document) = (words(query), words(document));
            let tokenizer = load(limit + SPECIAL, side).expect("a tokenizer");
            let actual = pair(&tokenizer, &query, &document);
            let encode = |text: &str| tokenizer.encode(text).expect("tokens");
            let strategy = TruncationStrategy::LongestFirst;
            let params = TruncationParams { direction, max_length: limit, strategy, stride: 0 };
            let truncated = truncate_encodings(encode(&query), Some(encode(&document)), &params).expect("encodings");
            let expected = tokenizer.tokenizer.post_process(truncated.0, truncated.1, true).expect("a pair");
            prop_assert_eq!(actual.ids, expected.get_ids().iter().map(|id| i64::from(*id)).collect::<Vec<_>>());
            prop_assert_eq!(actual.type_ids, expected.get_type_ids().iter().map(|id| i64::from(*id)).collect::<Vec<_>>());
            prop_assert_eq!(actual.truncated, !expected.get_overflowing().is_empty());
        }
    }
}
