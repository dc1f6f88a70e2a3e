//! Splits texts into words as GLiNER does: `\w+(?:[-_]\w+)*|\S`, with the characters that the artifact lists. Those of
//! Rust's `\w` are others.

use serde::Deserialize;

use crate::artifact::json;

/// A word of a text: its offsets in bytes and in characters, the ends exclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) start_byte: usize,
    pub(super) end_byte: usize,
    pub(super) start: usize,
    pub(super) end: usize,
}

/// The file with the characters of words: code points, each a start and an exclusive end in turn.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ranges {
    space: Vec<u32>,
    word: Vec<u32>,
}

/// Splits texts into words.
pub(super) struct WordSplitter {
    ranges: Ranges,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Word,
    Space,
    Other,
}

impl WordSplitter {
    /// Reads the file with the characters of words. The error describes what is wrong with it.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let value = json::parse(bytes)?;
        let ranges: Ranges = serde_json::from_value(value).map_err(|error| error.to_string())?;
        for (name, codes) in [("space", &ranges.space), ("word", &ranges.word)] {
            let is_ascending = codes.windows(2).all(|pair| pair[0] < pair[1]);
            let is_valid = !codes.is_empty() && codes.len() % 2 == 0 && codes[codes.len() - 1] <= 0x11_0000;
            if !(is_valid && is_ascending) {
                return Err(format!("{name} has no ascending code points of starts and ends"));
            }
        }
        Ok(Self { ranges })
    }

    /// The words of a text.
    pub(super) fn split(&self, text: &str) -> Vec<Word> {
        let characters: Vec<(usize, char, Kind)> =
            text.char_indices().map(|(byte, character)| (byte, character, self.kind(character))).collect();
        let byte = |index: usize| characters.get(index).map_or(text.len(), |(byte, _, _)| *byte);
        let is_word = |index: usize| characters.get(index).is_some_and(|(_, _, kind)| *kind == Kind::Word);
        let run = |start: usize| (start..).find(|index| !is_word(*index)).unwrap_or(start);
        let (mut words, mut start) = (Vec::new(), 0);
        while let Some((_, _, kind)) = characters.get(start) {
            let mut end = start + 1;
            if *kind == Kind::Word {
                end = run(start);
                while characters.get(end).is_some_and(|(_, character, _)| matches!(character, '-' | '_'))
                    && is_word(end + 1)
                {
                    end = run(end + 1);
                }
            }
            if *kind != Kind::Space {
                words.push(Word { start_byte: byte(start), end_byte: byte(end), start, end });
            }
            start = end;
        }
        words
    }

    fn kind(&self, character: char) -> Kind {
        let code = u32::from(character);
        // The number of borders up to a code point is odd inside of a range.
        let is_in = |borders: &[u32]| borders.partition_point(|border| *border <= code) % 2 == 1;
        if is_in(&self.ranges.word) {
            Kind::Word
        } else if is_in(&self.ranges.space) {
            Kind::Space
        } else {
            Kind::Other
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASCII: &str = r#"{"space":[9,14,32,33],"word":[48,58,65,91,95,96,97,123,233,234]}"#;

    fn words(text: &str) -> Vec<String> {
        let splitter = WordSplitter::parse(ASCII.as_bytes()).expect("ranges");
        let covered = |word: &Word| {
            let characters: String = text.chars().skip(word.start).take(word.end - word.start).collect();
            assert_eq!(&text[word.start_byte..word.end_byte], characters);
            characters
        };
        splitter.split(text).iter().map(covered).collect()
    }

    #[test]
    fn hyphens_join_words_and_other_characters_are_words() {
        assert_eq!(
            words("well-known, x--y_z -a- b-"),
            ["well-known", ",", "x", "-", "-", "y_z", "-", "a", "-", "b", "-"]
        );
        assert_eq!(words("né 💻!"), ["né", "💻", "!"]);
        assert_eq!(words(" \t\n"), [""; 0]);
        assert_eq!(words("a-b-c"), ["a-b-c"]);
    }

    #[test]
    fn invalid_files_are_refused() {
        for invalid in [
            "",
            "{}",
            r#"{"space":[],"word":[1,2]}"#,
            r#"{"space":[1],"word":[1,2]}"#,
            r#"{"space":[2,1],"word":[1,2]}"#,
            r#"{"space":[1,2],"word":[1,1114113]}"#,
            r#"{"space":[1,2],"word":[-1,2]}"#,
            r#"{"space":[1,2],"word":[1,2],"x":0}"#,
        ] {
            assert!(WordSplitter::parse(invalid.as_bytes()).is_err(), "{invalid}");
        }
    }
}
