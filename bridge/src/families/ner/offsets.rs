//! Places in a text: characters, bytes and UTF-16 units.

/// Characters from one remembered place to the next: small enough to count, and a remembered place costs 8 bytes.
const STEP: usize = 64;

/// Finds the byte that a character starts at, in time that does not depend on the text's length.
pub(crate) struct CharIndex<'a> {
    text: &'a str,
    /// Where every [`STEP`]-th character starts; nothing for a text of ASCII alone, whose characters are its bytes.
    starts: Vec<usize>,
    is_ascii: bool,
}

impl<'a> CharIndex<'a> {
    /// Walks over the text once.
    pub(crate) fn new(text: &'a str) -> Self {
        let is_ascii = text.is_ascii();
        let mut starts = Vec::new();
        if !is_ascii {
            starts.extend(text.char_indices().step_by(STEP).map(|(byte, _)| byte));
        }
        Self { text, starts, is_ascii }
    }

    /// The byte that the character at this place starts at: the text's length for the place behind the last one, `None`
    /// beyond that.
    pub(crate) fn byte(&self, place: usize) -> Option<usize> {
        if self.is_ascii {
            return (place <= self.text.len()).then_some(place);
        }
        let Some(&start) = self.starts.get(place / STEP) else {
            // The end of a text whose length is a multiple of the step, or beyond every end.
            if place != self.starts.len() * STEP {
                return None;
            }
            let before = self.byte(place.checked_sub(1)?)?;
            let last = self.text[before..].chars().next()?;
            return Some(before + last.len_utf8());
        };
        let rest = &self.text[start..];
        let ends = std::iter::once(rest.len());
        rest.char_indices().map(|(byte, _)| byte).chain(ends).nth(place % STEP).map(|byte| start + byte)
    }

    /// The character at this place.
    pub(crate) fn char(&self, place: usize) -> Option<char> {
        self.text[self.byte(place)?..].chars().next()
    }
}

/// UTF-16 units of a text, as JavaScript counts.
pub(crate) fn utf16_len(text: &str) -> usize {
    text.chars().map(char::len_utf16).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn agree(text: &str) {
        let index = CharIndex::new(text);
        let mut bytes: Vec<usize> = text.char_indices().map(|(byte, _)| byte).collect();
        bytes.push(text.len());
        for (place, byte) in bytes.iter().enumerate() {
            assert_eq!(index.byte(place), Some(*byte), "{text:?} {place}");
            assert_eq!(index.char(place), text.chars().nth(place), "{text:?} {place}");
        }
        assert_eq!((index.byte(bytes.len()), index.char(bytes.len())), (None, None), "{text:?}");
        assert_eq!((index.byte(bytes.len() + STEP), index.byte(usize::MAX)), (None, None), "{text:?}");
    }

    #[test]
    fn every_place_is_found() {
        agree("");
        agree("ascii");
        for length in [1, STEP - 1, STEP, STEP + 1, 3 * STEP] {
            agree(&"é".repeat(length));
            agree(&"a".repeat(length));
            agree(&format!("{}é", "a".repeat(length)));
        }
    }

    #[test]
    fn utf16_counts_surrogate_pairs_as_two() {
        assert_eq!((utf16_len("a"), utf16_len("é"), utf16_len("😀"), utf16_len("")), (1, 1, 2, 0));
    }

    proptest! {
        #[test]
        fn every_place_of_any_text_is_found(text in "\\PC{0,200}") {
            agree(&text);
        }
    }
}
