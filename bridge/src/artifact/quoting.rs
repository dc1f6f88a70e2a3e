//! What messages quote of an input.

/// The maximum number of characters that a message quotes from an input.
pub(crate) const SHOWN: usize = 80;

/// The text, or its start if it has more characters than a message may quote.
pub(crate) fn shorten(text: &str, chars: usize) -> String {
    match text.char_indices().nth(chars) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}
