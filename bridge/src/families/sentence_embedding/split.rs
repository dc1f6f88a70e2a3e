//! Splits a long text into windows of tokens.

use tokenizers::Tokenizer;

use crate::BridgeError;
use crate::tasks::text_windows::{TextWindow, TextWindows};
use crate::tokenizer::guarded;

/// The tokens of a whole text, without truncation.
struct Whole {
    /// The tokens that every window starts with: special tokens and the prompt.
    head: Vec<i64>,
    ids: Vec<u32>,
    /// The range of each token in the text, in characters.
    ranges: Vec<(usize, usize)>,
    /// The special tokens that every window ends with.
    tail: Vec<i64>,
    /// The length of the text in characters.
    characters: usize,
}

/// Splits a text into windows, at least one, each with the prompt and special tokens. `tokenizer` does not truncate;
/// `max_text_tokens` is the maximum number of tokens of a window without special tokens.
///
/// # Errors
/// `config` unless the stride is less than the number of tokens of the text in a window, `inference` if the tokenizer fails.
pub(super) fn split(
    tokenizer: &Tokenizer,
    max_text_tokens: usize,
    prompt: &str,
    text: &str,
    stride: usize,
) -> Result<TextWindows, BridgeError> {
    let (whole, prompt_tokens) =
        encode_whole(tokenizer, prompt, text).map_err(|problem| BridgeError::inference(None, problem))?;
    let size = max_text_tokens.saturating_sub(prompt_tokens);
    if stride >= size {
        let end = size.checked_sub(1).map_or("-1".to_owned(), |end| end.to_string());
        return Err(BridgeError::config(format!("stride is {stride}, expected an integer from 0 to {end}")));
    }
    let end = whole.ids.len().saturating_sub(stride).max(1);
    Ok(Box::new((0..end).step_by(size - stride).map(move |first| whole.window(first, size, stride))))
}

/// Returns the tokens of a text, and the number of the prompt's tokens.
fn encode_whole(tokenizer: &Tokenizer, prompt: &str, text: &str) -> Result<(Whole, usize), String> {
    let joined = [prompt, text].concat();
    let encoding = guarded(|| tokenizer.encode_char_offsets(joined.as_str(), true))?;
    let (ids, offsets) = (encoding.get_ids(), encoding.get_offsets());
    let is_own = |mask: &u32| *mask == 0;
    let mask = encoding.get_special_tokens_mask();
    let first = mask.iter().position(is_own).unwrap_or(ids.len());
    let end = mask.iter().rposition(is_own).map_or(ids.len(), |last| last + 1);
    let skipped = prompt.chars().count();
    // A token that covers the end of the prompt and the start of the text belongs to the text
    let own = if skipped == 0 { 0 } else { offsets[first..end].partition_point(|&(_, end)| end <= skipped) };
    let wide = |ids: &[u32]| ids.iter().map(|id| i64::from(*id)).collect();
    let range = |&(start, end): &(usize, usize)| (start.saturating_sub(skipped), end.saturating_sub(skipped));
    let whole = Whole {
        head: wide(&ids[..first + own]),
        ids: ids[first + own..end].to_vec(),
        ranges: offsets[first + own..end].iter().map(range).collect(),
        tail: wide(&ids[end..]),
        characters: text.chars().count(),
    };
    Ok((whole, own))
}

impl Whole {
    /// The window that starts with a token.
    fn window(&self, first: usize, size: usize, stride: usize) -> TextWindow {
        let end = self.ids.len().min(first + size);
        let text = self.ids[first..end].iter().map(|id| i64::from(*id));
        let ids = self.head.iter().copied().chain(text).chain(self.tail.iter().copied()).collect();
        let (start, last) = match self.ranges[first..end] {
            [] => (0, self.characters),
            ref all => (all[0].0, all[all.len() - 1].1),
        };
        let shared = if first > 0 { stride } else { 0 };
        TextWindow { ids, start, end: last, new_tokens: (end - first).saturating_sub(shared).max(1) }
    }
}
