//! The windows of a long text.

/// The tokens of one window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TextWindow {
    /// The token ids, with special tokens and the prompt.
    pub(crate) ids: Vec<i64>,
    /// The offset of the window's start in the text, in characters.
    pub(crate) start: usize,
    /// The offset of the window's end in the text, in characters, exclusive.
    pub(crate) end: usize,
    /// The number of tokens of the text that no earlier window has, at least 1.
    pub(crate) new_tokens: usize,
}

/// The windows of one text, in its order.
pub(crate) type TextWindows = Box<dyn Iterator<Item = TextWindow> + Send>;
