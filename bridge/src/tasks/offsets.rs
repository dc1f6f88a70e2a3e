//! Converts between offsets in a text: in characters, in bytes of UTF-8 and in UTF-16 code units.

/// The number of characters from one stored offset to the next. A lookup counts up to this many characters; each stored
/// offset takes 8 bytes.
const STEP: usize = 64;

/// Converts offsets in characters to offsets in bytes, in time that does not depend on the text's length.
pub(crate) struct CharIndex<'a> {
    text: &'a str,
    /// The offset in bytes of every [`STEP`]-th character; empty for ASCII texts, whose characters are single bytes.
    starts: Vec<usize>,
    is_ascii: bool,
}

impl<'a> CharIndex<'a> {
    /// Builds the index of stored offsets in one pass over the text.
    pub(crate) fn new(text: &'a str) -> Self {
        let is_ascii = text.is_ascii();
        let mut starts = Vec::new();
        if !is_ascii {
            starts.extend(text.char_indices().step_by(STEP).map(|(byte, _)| byte));
        }
        Self { text, starts, is_ascii }
    }

    /// Converts an offset in characters to an offset in bytes; `None` if the text has fewer characters.
    pub(crate) fn byte(&self, offset: usize) -> Option<usize> {
        if self.is_ascii {
            return (offset <= self.text.len()).then_some(offset);
        }
        let Some(&start) = self.starts.get(offset / STEP) else {
            // The offset in characters exceeds the text, or is the end of a text whose length is a multiple of
            // [`STEP`].
            if offset != self.starts.len() * STEP {
                return None;
            }
            let before = self.byte(offset.checked_sub(1)?)?;
            let last = self.text[before..].chars().next()?;
            return Some(before + last.len_utf8());
        };
        let rest = &self.text[start..];
        let ends = std::iter::once(rest.len());
        rest.char_indices().map(|(byte, _)| byte).chain(ends).nth(offset % STEP).map(|byte| start + byte)
    }

    /// The character at an offset in characters.
    pub(crate) fn char(&self, offset: usize) -> Option<char> {
        self.text[self.byte(offset)?..].chars().next()
    }
}

/// The length of a text in UTF-16 code units, as JavaScript counts.
pub(crate) fn utf16_len(text: &str) -> usize {
    text.chars().map(char::len_utf16).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Compares all offsets of a text with those of `char_indices`.
    fn check(text: &str) {
        let index = CharIndex::new(text);
        let mut bytes: Vec<usize> = text.char_indices().map(|(byte, _)| byte).collect();
        bytes.push(text.len());
        for (offset, byte) in bytes.iter().enumerate() {
            assert_eq!(index.byte(offset), Some(*byte), "{text:?} {offset}");
            assert_eq!(index.char(offset), text.chars().nth(offset), "{text:?} {offset}");
        }
        assert_eq!((index.byte(bytes.len()), index.char(bytes.len())), (None, None), "{text:?}");
        assert_eq!((index.byte(bytes.len() + STEP), index.byte(usize::MAX)), (None, None), "{text:?}");
    }

    #[test]
    fn all_offsets_are_converted() {
        check("");
        check("ascii");
        for length in [1, STEP - 1, STEP, STEP + 1, 3 * STEP] {
            check(&"é".repeat(length));
            check(&"a".repeat(length));
            check(&format!("{}é", "a".repeat(length)));
        }
    }

    #[test]
    fn utf16_counts_surrogate_pairs_as_two() {
        assert_eq!((utf16_len("a"), utf16_len("é"), utf16_len("😀"), utf16_len("")), (1, 1, 2, 0));
    }

    proptest! {
        #[test]
        fn all_offsets_of_any_text_are_converted(text in "\\PC{0,200}") {
            check(&text);
        }
    }
}
