//! Finds the entities that a language model copied from a text: models cannot count, so they give no offsets.

use crate::tasks::chunks::is_whitespace;
use crate::tasks::entities::EntitySpan;

/// The number of occurrences of one string that are compared. Texts with more are not written by people.
const MAX_OCCURRENCES: usize = 10_000;

/// An entity as a model gives it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
pub(crate) struct Copied {
    /// A copy of the entity.
    pub(crate) text: String,
    pub(crate) label: String,
    /// A copy of the words before it.
    pub(crate) before: String,
}

/// The spans of entities in the order of the text, and the number of those that are not in it.
#[derive(Debug, PartialEq)]
pub(crate) struct Aligned<'a> {
    pub(crate) spans: Vec<EntitySpan<'a>>,
    pub(crate) dropped: usize,
}

/// Finds where in a text entities are. Each takes an occurrence of its own, and spans do not overlap.
///
/// Of several occurrences an entity takes the one after the words before it, then an exact copy, then whole words, then one
/// after the entity before, then the first one.
pub(crate) fn align<'a>(text: &str, copies: &'a [Copied]) -> Aligned<'a> {
    let mut finder = Finder::new(text);
    let mut spans: Vec<EntitySpan<'a>> = copies.iter().filter_map(|copied| finder.find(copied)).collect();
    spans.sort_by_key(|span| span.start);
    let dropped = copies.len() - spans.len();
    Aligned { spans, dropped }
}

/// Where an entity may be. The smallest value is the best.
type Rank = (bool, bool, bool, bool, usize);

/// The state while the entities of one text are found. Offsets count characters.
struct Finder {
    text: Vec<char>,
    folded: Folded,
    /// The spans of other entities, sorted.
    taken: Vec<(usize, usize)>,
    /// The end of the last entity.
    cursor: usize,
}

impl Finder {
    fn new(text: &str) -> Self {
        Self { text: text.chars().collect(), folded: fold(text), taken: Vec::new(), cursor: 0 }
    }

    fn find<'a>(&mut self, copied: &'a Copied) -> Option<EntitySpan<'a>> {
        let (needle, words) = (fold(&copied.text).text, fold(&copied.before).text);
        let exact: Vec<char> = copied.text.trim().chars().collect();
        let free = self.occurrences(needle.trim()).filter(|(_, start, end)| !self.is_taken(*start, *end));
        let ranked = free.map(|(at, start, end)| (self.rank(at, (start, end), words.trim(), &exact), end));
        let ((_, _, _, _, start), end) = ranked.min()?;
        self.taken.insert(self.taken.partition_point(|span| *span < (start, end)), (start, end));
        self.cursor = end;
        Some(EntitySpan { start, end, label: &copied.label, score: None })
    }

    /// Every occurrence: its offset in the folded text in bytes, and its start and end in the text in characters.
    fn occurrences(&self, needle: &str) -> impl Iterator<Item = (usize, usize, usize)> {
        let (folded, mut from) = (&self.folded, 0);
        let next = move || {
            let at = from + folded.text.get(from..)?.find(needle)?;
            from = at + folded.text[at..].chars().next().map_or(1, char::len_utf8);
            Some((at, folded.offsets[at], folded.offsets[at + needle.len() - 1] + 1))
        };
        std::iter::from_fn(next).take(if needle.is_empty() { 0 } else { MAX_OCCURRENCES })
    }

    fn rank(&self, at: usize, (start, end): (usize, usize), words: &str, exact: &[char]) -> Rank {
        let is_near = words.is_empty() || self.folded.text[..at].trim_end().ends_with(words);
        let is_exact = &self.text[start..end] == exact;
        (!is_near, !is_exact, !self.is_whole(start, end), start < self.cursor, start)
    }

    /// Whether a span overlaps one that another entity has.
    fn is_taken(&self, start: usize, end: usize) -> bool {
        let before = self.taken.partition_point(|span| span.0 < end);
        before > 0 && self.taken[before - 1].1 > start
    }

    /// Whether a span begins and ends at the borders of words.
    fn is_whole(&self, start: usize, end: usize) -> bool {
        let within = |offset: usize| {
            let around = offset.checked_sub(1).and_then(|before| self.text.get(before..=offset));
            around.is_some_and(|pair| pair.iter().all(|char| char.is_alphanumeric()))
        };
        !within(start) && !within(end)
    }
}

/// A text without the differences that models make when they copy.
struct Folded {
    text: String,
    /// The offset in the original text, in characters, of every byte.
    offsets: Vec<usize>,
}

/// Folds a text: a run of whitespace is one space, quotes and dashes are those of ASCII, and letters are in lower case.
fn fold(text: &str) -> Folded {
    let mut folded = Folded { text: String::with_capacity(text.len()), offsets: Vec::with_capacity(text.len()) };
    let mut buffer = [0; 4];
    for (offset, char) in text.chars().enumerate() {
        let is_space = is_whitespace(char.encode_utf8(&mut buffer));
        if is_space && folded.text.ends_with(' ') {
            continue;
        }
        for char in plain(if is_space { ' ' } else { char }).to_lowercase() {
            folded.text.push(char);
            folded.offsets.resize(folded.text.len(), offset);
        }
    }
    folded
}

/// The quote or dash of ASCII for one of another form.
fn plain(char: char) -> char {
    match char {
        '\u{2018}' | '\u{2019}' | '\u{201b}' | '\u{2bc}' | '`' | '\u{b4}' => '\'',
        '\u{201c}'..='\u{201f}' | '\u{ab}' | '\u{bb}' => '"',
        '\u{2010}'..='\u{2014}' | '\u{2212}' => '-',
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn copied(entities: &[(&str, &str)]) -> Vec<Copied> {
        let of =
            |&(before, text): &(&str, &str)| Copied { text: text.into(), label: "X".into(), before: before.into() };
        entities.iter().map(of).collect()
    }

    fn spans(text: &str, entities: &[(&str, &str)]) -> (Vec<(usize, usize)>, usize) {
        let copies = copied(entities);
        let aligned = align(text, &copies);
        (aligned.spans.iter().map(|span| (span.start, span.end)).collect(), aligned.dropped)
    }

    #[test]
    fn the_words_before_decide_then_order() {
        assert_eq!(spans("Ann met Ann.", &[("met", "Ann"), ("", "Ann")]), (vec![(0, 3), (8, 11)], 0));
        assert_eq!(spans("Ann, Bob, Ann", &[("", "Bob"), ("", "Ann")]), (vec![(5, 8), (10, 13)], 0));
        assert_eq!(spans("Anna and Ann", &[("", "Ann")]), (vec![(9, 12)], 0));
        assert_eq!(spans("ann and Ann", &[("", "Ann")]), (vec![(8, 11)], 0));
    }

    #[test]
    fn what_is_not_in_the_text_is_dropped() {
        assert_eq!(spans("Ann", &[("", "Bob"), ("", "Ann"), ("", "Ann"), ("", " "), ("", "")]), (vec![(0, 3)], 4));
    }

    #[test]
    fn copies_may_differ_in_quotes_dashes_case_and_whitespace() {
        let text = "👩 the\u{a0} O’Neil–Müller  GmbH";
        assert_eq!(spans(text, &[("THE", "o'neil-müller gmbh")]), (vec![(7, 26)], 0));
        assert_eq!(spans("İstanbul is big", &[("", "istanbul"), ("", "İstanbul")]), (vec![(0, 8)], 1));
    }

    #[test]
    fn copies_are_found_where_python_finds_them() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/align.json");
        let cases: serde_json::Value = serde_json::from_slice(&std::fs::read(path).expect("cases")).expect("JSON");
        let cases = cases["cases"].as_array().expect("a list");
        assert!(cases.len() >= 14);
        for case in cases {
            let copies: Vec<[String; 3]> = serde_json::from_value(case["copies"].clone()).expect("copies");
            let of = |[before, text, label]: [String; 3]| Copied { before, text, label };
            let copies: Vec<Copied> = copies.into_iter().map(of).collect();
            let aligned = align(case["text"].as_str().expect("a text"), &copies);
            let spans: Vec<_> = aligned.spans.iter().map(|span| (span.start, span.end, span.label)).collect();
            assert_eq!(serde_json::json!(spans), case["spans"], "{case}");
            assert_eq!(serde_json::json!(aligned.dropped), case["dropped"], "{case}");
        }
    }

    proptest! {
        #[test]
        fn spans_are_sorted_and_do_not_overlap(
            text in "[aAb’ \u{a0}İé.]{0,30}", entities in proptest::collection::vec(("[ab ]{0,3}", "[aAb' é]{0,3}"), 0..8),
        ) {
            let entities: Vec<(&str, &str)> = entities.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
            let (spans, dropped) = spans(&text, &entities);
            prop_assert_eq!(spans.len() + dropped, entities.len());
            let length = text.chars().count();
            prop_assert!(spans.iter().all(|(start, end)| start < end && *end <= length));
            prop_assert!(spans.windows(2).all(|pair| pair[0].1 <= pair[1].0));
        }
    }
}
