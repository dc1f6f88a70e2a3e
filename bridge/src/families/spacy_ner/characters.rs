//! Classes of characters as the artifact's tables have them, lower case and shape.

use std::collections::HashMap;

/// Characters from which on a token's shape is `LONG`.
const LONG: usize = 100;
/// Equal characters in a row that a shape keeps.
const KEPT: usize = 4;
/// Capital sigma, whose lower case depends on its place in the word, and the one at the end of a word.
const SIGMA: char = '\u{3a3}';
const FINAL_SIGMA: char = '\u{3c2}';

/// A set of characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CharSet {
    /// Bit c for the character c of ASCII.
    ascii: u128,
    /// Code points `[start, end)`, ascending, no two of them touching.
    ranges: Box<[(u32, u32)]>,
}

impl CharSet {
    /// The set of the characters in ranges `[start, end)`, in any order.
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

    /// The set of one character.
    pub(crate) fn of(character: char) -> Self {
        Self::new(vec![(u32::from(character), u32::from(character) + 1)])
    }

    /// The characters that are not in this set.
    pub(crate) fn complement(&self) -> Self {
        let starts = std::iter::once(0).chain(self.ranges.iter().map(|range| range.1));
        let ends = self.ranges.iter().map(|range| range.0).chain(std::iter::once(u32::from(char::MAX) + 1));
        Self::new(starts.zip(ends).collect())
    }

    /// The characters in this set or another.
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

    /// Whether any character outside ASCII is in the set.
    pub(crate) fn beyond_ascii(&self) -> bool {
        self.ranges.last().is_some_and(|range| range.1 > 128)
    }
}

/// The artifact's classes of characters.
#[derive(Debug)]
pub(crate) struct Characters {
    pub(crate) space: CharSet,
    pub(crate) alpha: CharSet,
    pub(crate) upper: CharSet,
    pub(crate) digit: CharSet,
    pub(crate) cased: CharSet,
    pub(crate) case_ignorable: CharSet,
    /// What a character becomes in lower case, where that is another string.
    pub(crate) lower: HashMap<char, Box<str>>,
}

impl Characters {
    /// The text in lower case.
    pub(crate) fn lower(&self, text: &str) -> String {
        let mut lower = String::with_capacity(text.len());
        for (at, character) in text.char_indices() {
            match self.lower.get(&character) {
                _ if character == SIGMA && self.ends_word(text, at) => lower.push(FINAL_SIGMA),
                Some(string) => lower.push_str(string),
                None => lower.push(character),
            }
        }
        lower
    }

    /// Whether the sigma at a byte of the text is the last letter of a word of several.
    fn ends_word(&self, text: &str, at: usize) -> bool {
        let counts = |character: &char| !self.case_ignorable.contains(*character);
        let cased = |character: Option<char>| character.is_some_and(|character| self.cased.contains(character));
        cased(text[..at].chars().rev().find(counts)) && !cased(text[at + SIGMA.len_utf8()..].chars().find(counts))
    }

    /// The text's shape: its letters and digits by class, of equal classes in a row at most four.
    pub(crate) fn shape(&self, text: &str) -> String {
        if text.chars().nth(LONG - 1).is_some() {
            return "LONG".to_owned();
        }
        let mut shape = String::with_capacity(text.len());
        let (mut last, mut run) = (None, 0);
        for class in text.chars().map(|character| self.class(character)) {
            run = if last == Some(class) { run + 1 } else { 1 };
            last = Some(class);
            if run <= KEPT {
                shape.push(class);
            }
        }
        shape
    }

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

    /// Whether all characters are spaces.
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
    fn sets_hold_what_their_ranges_hold() {
        let set =
            CharSet::new(vec![(0x61, 0x64), (0x62, 0x70), (0x70, 0x71), (0xe9, 0xea), (0x1f600, 0x1f601), (9, 9)]);
        let found: String = ['\0', '`', 'a', 'o', 'p', 'q', 'è', 'é', 'ê', '😀', '😁']
            .into_iter()
            .filter(|c| set.contains(*c))
            .collect();
        assert_eq!(found, "aopé😀");
        assert!(set.beyond_ascii() && !CharSet::of('~').beyond_ascii() && CharSet::of('\u{80}').beyond_ascii());
        assert_eq!(set.complement().complement(), set);
        assert_eq!(CharSet::new(vec![]).complement(), CharSet::new(vec![(0, 0x11_0000)]));
        assert_eq!(CharSet::of('a').union(&CharSet::of('b')), CharSet::new(vec![(97, 99)]));
    }

    #[test]
    fn lower_case_may_be_longer_and_depends_on_the_place_of_a_sigma() {
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
        ]; // fmt: skip
        for (text, expected) in cases {
            assert_eq!(characters.lower(text), expected, "{text:?}");
        }
    }

    #[test]
    fn shapes_have_four_equal_classes_in_a_row_at_most() {
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
        ]; // fmt: skip
        for (text, expected) in cases {
            assert_eq!(characters.shape(text), expected, "{text:?}");
        }
        assert_eq!(characters.shape(&"é".repeat(99)), "xxxx");
        assert_eq!(characters.shape(&"é".repeat(100)), "LONG");
    }

    proptest! {
        #[test]
        fn a_set_is_its_ranges(ranges in proptest::collection::vec((0_u32..400, 0_u32..40), 0..12), code in 0_u32..450) {
            let ranges: Vec<_> = ranges.into_iter().map(|(start, length)| (start, start + length)).collect();
            let character = char::from_u32(code).unwrap_or_default();
            let expected = ranges.iter().any(|range| (range.0..range.1).contains(&code));
            let set = CharSet::new(ranges);
            prop_assert_eq!(set.contains(character), expected);
            prop_assert_eq!(set.complement().contains(character), !expected);
        }
    }
}
