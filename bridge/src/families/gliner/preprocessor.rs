//! Turns texts and labels into the inputs of the graph: tokens, and the positions of words and labels in them.

use std::sync::Arc;

use tokenizers::{Encoding, Tokenizer};

use super::section::{GlinerSpec, LabelVector, Sections};
use super::windows::{WordRange, plan_windows};
use super::words::{Word, WordSplitter};
use crate::BridgeError;
use crate::artifact::quoting::{SHOWN, shorten};
use crate::tokenizer::{TextEncoder, guarded};

/// Labels may leave no fewer than this share of a window's tokens to the text.
const MIN_TEXT_SHARE: usize = 8;
/// The position of a word without a token.
const NO_TOKEN: i64 = -1;

/// The tokens before a text, which name the labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Prompt {
    /// The tokens of the prompt, after the special tokens before it.
    ids: Vec<i64>,
    /// The special tokens after a text.
    suffix: Vec<i64>,
    /// The position of each label's token.
    pub(super) label_positions: Arc<[i64]>,
    /// The number of words of the prompt.
    words: usize,
    /// The position of the first token of every word of the prompt that has a token.
    word_positions: Vec<i64>,
}

/// One window of a text, with its prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) ids: Vec<i64>,
    /// The position of the first token of each word.
    pub(super) word_positions: Vec<i64>,
    pub(super) words: WordRange,
}

/// The windows of a text and its words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Windows {
    pub(super) words: Vec<Word>,
    pub(super) windows: Vec<Window>,
    /// Whether a word was too long for a window.
    pub(super) truncated: bool,
}

impl Windows {
    /// The total number of tokens of all windows, including special tokens and prompts.
    pub(super) fn tokens(&self) -> usize {
        self.windows.iter().map(|window| window.ids.len()).sum()
    }
}

/// The tokens of a list of words without special tokens: of each word that has tokens, its index and its tokens.
struct EncodedWords {
    ids: Vec<i64>,
    /// For each word with tokens, its index and the index of its first token.
    starts: Vec<(usize, usize)>,
}

/// The tokenizer of an artifact, and its characters of words.
pub(super) struct GlinerPreprocessor {
    tokenizer: Tokenizer,
    splitter: WordSplitter,
    spec: GlinerSpec,
    entity_id: i64,
    max_tokens: usize,
    max_text_tokens: usize,
}

impl GlinerPreprocessor {
    /// Reads the tokenizer and the characters of words.
    ///
    /// # Errors
    /// `tokenizer`.
    pub(super) fn load(tokenizer: &[u8], words: &[u8], sections: &Sections) -> Result<Self, BridgeError> {
        let spec = sections.gliner.clone();
        let encoder = TextEncoder::load(tokenizer, &sections.tokenizer)?;
        let refuse = |file: &str, problem| BridgeError::Tokenizer { file: file.to_owned(), problem };
        let splitter = WordSplitter::parse(words).map_err(|problem| refuse(&spec.words, problem))?;
        let max_text_tokens = encoder.max_text_tokens();
        let tokenizer = encoder.into_parts().0;
        let missing: Vec<&str> = [&spec.entity_token, &spec.separator_token]
            .into_iter()
            .filter(|token| tokenizer.token_to_id(token).is_none())
            .map(String::as_str)
            .collect();
        let entity_id = tokenizer.token_to_id(&spec.entity_token).filter(|_| missing.is_empty());
        let Some(entity_id) = entity_id.map(i64::from) else {
            return Err(refuse(&sections.tokenizer.file, format!("lacks {}", missing.join(" and "))));
        };
        let max_tokens = sections.tokenizer.max_tokens;
        Ok(Self { tokenizer, splitter, spec, entity_id, max_tokens, max_text_tokens })
    }

    /// The prompt for labels, which must differ from each other.
    ///
    /// # Errors
    /// `config`, if the labels contain the token of the prompt or leave too little space for a text.
    pub(super) fn prompt(&self, labels: &[String]) -> Result<Prompt, BridgeError> {
        let entity = self.spec.entity_token.as_str();
        let mut words: Vec<&str> =
            labels.iter().flat_map(|label| [entity, label]).filter(|word| !word.is_empty()).collect();
        words.push(&self.spec.separator_token);
        let count = words.len();
        let encoding = self.encode(words, true).map_err(|problem| BridgeError::inference(None, problem))?;
        let mask = encoding.get_special_tokens_mask();
        let first = mask.iter().position(|special| *special == 0).unwrap_or(0);
        let end = mask.iter().rposition(|special| *special == 0).map_or(first, |last| last + 1);
        let ids = ids_of(&encoding);
        let shift = i64::from(self.spec.label_vector == LabelVector::NextToken);
        let label_positions: Arc<[i64]> =
            positions(ids[..end].iter().enumerate().filter(|(_, id)| **id == self.entity_id).map(|(index, _)| index))
                .map(|position| position + shift)
                .collect();
        if label_positions.len() != labels.len() {
            return Err(BridgeError::config(format!("labels are {}, expected labels without {entity}", shown(labels))));
        }
        let limit = self.max_text_tokens - (self.max_text_tokens / MIN_TEXT_SHARE).max(1);
        if end - first > limit {
            let tokens = end - first;
            return Err(BridgeError::config(format!("labels have {tokens} tokens, expected at most {limit} in all")));
        }
        let starts = word_starts(&encoding.get_word_ids()[first..end]);
        Ok(Prompt {
            suffix: ids[end..].to_vec(),
            ids: ids[..end].to_vec(),
            label_positions,
            words: count,
            word_positions: positions(starts.iter().map(|(_, start)| start + first)).collect(),
        })
    }

    /// Divides a text into windows that share `stride` words, each with the prompt. A text without words has none. The
    /// error is the tokenizer's message, or the message of its panic.
    pub(super) fn windows(&self, text: &str, prompt: &Prompt, stride: usize) -> Result<Windows, String> {
        let words = self.splitter.split(text);
        let texts: Vec<&str> = words.iter().map(|word| &text[word.start_byte..word.end_byte]).collect();
        let encoding = self.encode(texts, false)?;
        let encoded = EncodedWords { ids: ids_of(&encoding), starts: word_starts(encoding.get_word_ids()) };
        let room = self.max_tokens - prompt.ids.len() - prompt.suffix.len();
        let mut counts = vec![0; words.len()];
        for (index, (word, start)) in encoded.starts.iter().enumerate() {
            counts[*word] = encoded.start(index + 1) - start;
        }
        let ranges = plan_windows(&counts, self.spec.max_words, room, stride);
        let windows = ranges.into_iter().map(|words| window(words, &encoded, prompt, room)).collect();
        let truncated = counts.iter().any(|count| *count > room);
        Ok(Windows { words, windows, truncated })
    }

    fn encode(&self, words: Vec<&str>, special: bool) -> Result<Encoding, String> {
        guarded(|| self.tokenizer.encode(words, special))
    }
}

impl EncodedWords {
    /// The index of the first token of a word, given by its index among the words with tokens; the number of all tokens
    /// after the last one.
    fn start(&self, index: usize) -> usize {
        self.starts.get(index).map_or(self.ids.len(), |(_, start)| *start)
    }
}

/// One window.
///
/// GLiNER numbers the words that have tokens, those of the prompt included. If one before a word has no token, the word gets
/// the number of the next one, and the last words have no position.
fn window(words: WordRange, encoded: &EncodedWords, prompt: &Prompt, room: usize) -> Window {
    let first = encoded.starts.partition_point(|(word, _)| *word < words.start);
    let last = encoded.starts.partition_point(|(word, _)| *word < words.end);
    let start = encoded.start(first);
    let end = encoded.start(last).min(start + room);
    let ids = [&prompt.ids, &encoded.ids[start..end], &prompt.suffix].concat();
    let own = encoded.starts[first..last].iter().map(|(_, token)| *token).filter(|token| *token < end);
    let own = positions(own.map(|token| token - start + prompt.ids.len()));
    let all = prompt.word_positions.iter().copied().chain(own).skip(prompt.words);
    let word_positions = all.chain(std::iter::repeat(NO_TOKEN)).take(words.end - words.start).collect();
    Window { ids, word_positions, words }
}

/// For each word with tokens, its index and the index of its first token.
fn word_starts(word_ids: &[Option<u32>]) -> Vec<(usize, usize)> {
    let mut starts: Vec<(usize, usize)> = Vec::new();
    for (token, word) in word_ids.iter().enumerate() {
        let Some(word) = word.and_then(|word| usize::try_from(word).ok()) else { continue };
        if starts.last().is_none_or(|(last, _)| *last != word) {
            starts.push((word, token));
        }
    }
    starts
}

fn ids_of(encoding: &Encoding) -> Vec<i64> {
    encoding.get_ids().iter().map(|id| i64::from(*id)).collect()
}

/// Indices of tokens as values of a graph's input.
fn positions(indices: impl Iterator<Item = usize>) -> impl Iterator<Item = i64> {
    indices.map(|index| i64::try_from(index).unwrap_or(i64::MAX))
}

fn shown(labels: &[String]) -> String {
    shorten(&labels.join(", "), SHOWN)
}
