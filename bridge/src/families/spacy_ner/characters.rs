//! Sets of characters, and the character classes of the artifact, which determine the lower case and the shape of texts.

use std::collections::HashMap;

/// The minimum number of characters of a text whose shape is `LONG` instead of one class per character.
const LONG: usize = 100;
/// Limit on consecutive equal characters in a shape: the shape omits the ones beyond it.
const MAX_REPEATED: usize = 4;
/// The capital sigma, whose lower case at the end of a word is the final sigma.
const SIGMA: char = '\u{3a3}';
const FINAL_SIGMA: char = '\u{3c2}';

/// A set of characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CharSet {
    /// The ASCII characters as a bitmap: bit c is set if the set contains the code point c.
    ascii: u128,
    /// Sorted ranges of code points `[start, end)`, which neither overlap nor adjoin.
    ranges: Box<[(u32, u32)]>,
}

impl CharSet {
    /// The set of the characters in ranges of code points `[start, end)`. The ranges may be in any order.
    pub(crate) fn new(mut ranges: Vec<(u32, u32)>) -> Self {
        ranges.retain(|(start, end)| start < end);
        ranges.sort_unstable();
        let mut merged: Vec<(u32, u32)> = Vec::with_capacity(ranges.len());
        for (start, end) in ranges {
            match merged.last_mut() {
                Some(last) if start <= last.1 => last.1 = last.1.max(end),
                _ => merged.push((start, end)),
            }
        }
        let ascii = merged.iter().flat_map(|&(start, end)| start..end.min(128)).fold(0, |bits, code| bits | 1 << code);
        Self { ascii, ranges: merged.into() }
    }

    /// The set that has only the given character.
    pub(crate) fn of(character: char) -> Self {
        Self::new(vec![(u32::from(character), u32::from(character) + 1)])
    }

    /// The set of all characters that are not in this set.
    pub(crate) fn complement(&self) -> Self {
        let starts = std::iter::once(0).chain(self.ranges.iter().map(|range| range.1));
        let ends = self.ranges.iter().map(|range| range.0).chain(std::iter::once(u32::from(char::MAX) + 1));
        Self::new(starts.zip(ends).collect())
    }

    /// The union of this set and another one.
    pub(crate) fn union(&self, other: &Self) -> Self {
        Self::new(self.ranges.iter().chain(&other.ranges).copied().collect())
    }

    pub(crate) fn contains(&self, character: char) -> bool {
        let code = u32::from(character);
        if code < 128 {
            return self.ascii >> code & 1 == 1;
        }
        let after = self.ranges.partition_point(|range| range.0 <= code);
        after > 0 && code < self.ranges[after - 1].1
    }

    /// Whether the set contains a character outside ASCII.
    pub(crate) fn beyond_ascii(&self) -> bool {
        self.ranges.last().is_some_and(|range| range.1 > 128)
    }
}

/// The artifact's classes of characters, which determine the lower case and the shape of texts.
#[derive(Debug)]
pub(crate) struct Characters {
    pub(crate) space: CharSet,
    pub(crate) alpha: CharSet,
    pub(crate) upper: CharSet,
    pub(crate) digit: CharSet,
    pub(crate) cased: CharSet,
    pub(crate) case_ignorable: CharSet,
    /// For each character that differs from its lower case, the lower case.
    pub(crate) lower: HashMap<char, Box<str>>,
}

impl Characters {
    /// The text in lower case.
    pub(crate) fn lower(&self, text: &str) -> String {
        let mut lower = String::with_capacity(text.len());
        for (offset, character) in text.char_indices() {
            match self.lower.get(&character) {
                _ if character == SIGMA && self.ends_word(text, offset) => lower.push(FINAL_SIGMA),
                Some(string) => lower.push_str(string),
                None => lower.push(character),
            }
        }
        lower
    }

    /// Whether the capital sigma at an offset in bytes becomes a final sigma in lower case. This is Unicode's condition
    /// `Final_Sigma`: a cased letter precedes the sigma and none follows it, where case-ignorable characters are
    /// skipped.
    fn ends_word(&self, text: &str, offset: usize) -> bool {
        let is_relevant = |character: &char| !self.case_ignorable.contains(*character);
        let is_cased = |character: Option<char>| character.is_some_and(|character| self.cased.contains(character));
        let (before, after) = (&text[..offset], &text[offset + SIGMA.len_utf8()..]);
        is_cased(before.chars().rev().find(is_relevant)) && !is_cased(after.chars().find(is_relevant))
    }

    /// The text's shape: letters and digits are replaced by their class (`X`, `x` or `d`), and more than four consecutive
    /// equal characters are shortened to four.
    pub(crate) fn shape(&self, text: &str) -> String {
        if text.chars().nth(LONG - 1).is_some() {
            return "LONG".to_owned();
        }
        let mut shape = String::with_capacity(text.len());
        let (mut last, mut run) = (None, 0);
        for class in text.chars().map(|character| self.class(character)) {
            run = if last == Some(class) { run + 1 } else { 1 };
            last = Some(class);
            if run <= MAX_REPEATED {
                shape.push(class);
            }
        }
        shape
    }

    /// The character in a shape that stands for a character of the text.
    fn class(&self, character: char) -> char {
        match character {
            _ if self.alpha.contains(character) => {
                if self.upper.contains(character) {
                    'X'
                } else {
                    'x'
                }
            }
            _ if self.digit.contains(character) => 'd',
            _ => character,
        }
    }

    /// Whether all characters of the text are whitespace.
    pub(crate) fn is_space(&self, text: &str) -> bool {
        text.chars().all(|character| self.space.contains(character))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::families::spacy_ner::testing::rules;

    #[test]
    fn sets_have_the_characters_of_their_ranges() {
        let set =
            CharSet::new(vec![(0x61, 0x64), (0x62, 0x70), (0x70, 0x71), (0xe9, 0xea), (0x1f600, 0x1f601), (9, 9)]);
        let contained: String = ['\0', '`', 'a', 'o', 'p', 'q', 'è', 'é', 'ê', '😀', '😁']
            .into_iter()
            .filter(|c| set.contains(*c))
            .collect();
        assert_eq!(contained, "aopé😀");
        assert!(set.beyond_ascii() && !CharSet::of('~').beyond_ascii() && CharSet::of('\u{80}').beyond_ascii());
        assert_eq!(set.complement().complement(), set);
        assert_eq!(CharSet::new(vec![]).complement(), CharSet::new(vec![(0, 0x11_0000)]));
        assert_eq!(CharSet::of('a').union(&CharSet::of('b')), CharSet::new(vec![(97, 99)]));
    }

    #[test]
    fn lower_case_can_be_longer_and_has_final_sigmas() {
        let characters = rules().characters;
        let cases = [
            ("ABC", "abc"),
            ("", ""),
            ("Éa", "éa"),
            ("İ", "i\u{307}"),
            ("\u{212a}", "k"),
            ("ΑΣ", "ας"),
            ("Σ", "σ"),
            ("ΑΣΑ", "ασα"),
            ("ΣΑΣ", "σας"),
            ("ΑΣ.", "ας."),
            ("Α.Σ", "α.ς"),
            ("ΑΣ'Α", "ασ'α"),
            ("ΑΣ Α", "ας α"),
            (".Σ", ".σ"),
            ("1Σ", "1σ"),
            ("ΑΣΣ", "ασς"),
        ];
        for (text, expected) in cases {
            assert_eq!(characters.lower(text), expected, "{text:?}");
        }
    }

    #[test]
    fn shapes_have_up_to_four_consecutive_equal_characters() {
        let characters = rules().characters;
        let cases = [
            ("", ""),
            ("Apple", "Xxxxx"),
            ("internationalization", "xxxx"),
            ("A1b2", "Xdxd"),
            ("1999", "dddd"),
            ("12345", "dddd"),
            ("U.S.", "X.X."),
            ("......", "...."),
            ("aaaaa1aaaaa", "xxxxdxxxx"),
            ("²", "d"),
            ("日本", "日本"),
            ("日日日日日", "日日日日"),
        ];
        for (text, expected) in cases {
            assert_eq!(characters.shape(text), expected, "{text:?}");
        }
        assert_eq!(characters.shape(&"é".repeat(99)), "xxxx");
        assert_eq!(characters.shape(&"é".repeat(100)), "LONG");
    }

    proptest! {
        #[test]
        fn a_set_and_its_complement_match_the_ranges(ranges in proptest::collection::vec((0_u32..400, 0_u32..40), 0..12), code in 0_u32..450) {
            let ranges: Vec<_> = ranges.into_iter().map(|(start, length)| (start, start + length)).collect();
            let character = char::from_u32(code).unwrap_or_default();
            let expected = ranges.iter().any(|range| (range.0..range.1).contains(&code));
            let set = CharSet::new(ranges);
            prop_assert_eq!(set.contains(character), expected);
            prop_assert_eq!(set.complement().contains(character), !expected);
        }
    }
}
