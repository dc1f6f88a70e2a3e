//! Named entities as every engine gives them.

use super::places::CharIndex;
use crate::api::Entity;
use crate::artifact::manifest::AggregationStrategy;

/// How entities are found. Every field that is `None` stands for the manifest's own value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NerOptions {
    /// The model, by the name it was opened under; `None` for the only one that is open.
    pub model: Option<String>,
    /// How the classes of tokens become entities; for token classification only.
    pub aggregation_strategy: Option<AggregationStrategy>,
    /// Tokens that two windows of a long text share; for token classification only.
    pub stride: Option<usize>,
    /// For each text where its sentences start, in characters; for spaCy pipelines with given sentences only.
    pub sentence_starts: Option<Vec<Vec<usize>>>,
}

impl NerOptions {
    /// Options with a model.
    pub fn with_model(name: impl Into<String>) -> Self {
        Self { model: Some(name.into()), ..Self::default() }
    }

    /// The same options for some of the texts, by their indices.
    pub(crate) fn sentence_starts_of(&self, index: usize) -> Option<&[usize]> {
        Some(self.sentence_starts.as_ref()?.get(index)?)
    }
}

/// The entities of one text.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Entities {
    /// In the order of the text.
    pub entities: Vec<Entity>,
    /// How many tokens the model saw: with a stride those of all windows together.
    pub tokens: usize,
    /// Whether the text was cut, so that its rest was not looked at.
    pub truncated: bool,
}

impl Entities {
    /// Gives found entities their text and their places in bytes.
    pub(crate) fn resolve(text: &str, found: &[Found<'_>], tokens: usize, truncated: bool) -> Self {
        let index = CharIndex::new(text);
        Self { entities: found.iter().map(|found| found.resolve(text, &index)).collect(), tokens, truncated }
    }
}

/// An entity as decoding finds it: places in characters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Found<'a> {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) label: &'a str,
    pub(crate) score: Option<f32>,
}

impl Found<'_> {
    /// A place behind the text's end counts as its end.
    fn resolve(&self, text: &str, index: &CharIndex<'_>) -> Entity {
        let byte = |place| index.byte(place).unwrap_or(text.len());
        let (start_byte, end_byte) = (byte(self.start), byte(self.end));
        Entity {
            text: text.get(start_byte..end_byte).unwrap_or_default().to_owned(),
            label: self.label.to_owned(),
            start: self.start,
            end: self.end,
            start_byte,
            end_byte,
            score: self.score,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entity(text: &str, start: usize, end: usize) -> Entity {
        let found = Found { start, end, label: "X", score: None };
        Entities::resolve(text, &[found], 1, false).entities.remove(0)
    }

    /// Emoji with a joiner, a combining mark, CRLF, a no-break space, and text that runs from right to left.
    #[test]
    fn every_kind_of_place_slices_back_to_the_entity() {
        let text = "👩\u{200d}💻 Zoë\u{301}\r\n\u{a0}שלום Rust";
        let cases = [
            (0, 3, "👩\u{200d}💻", (0, 5)),
            (4, 8, "Zoë\u{301}", (6, 10)),
            (8, 10, "\r\n", (10, 12)),
            (10, 11, "\u{a0}", (12, 13)),
            (11, 15, "שלום", (13, 17)),
            (16, 20, "Rust", (18, 22)),
        ]; // fmt: skip
        for (start, end, expected, utf16) in cases {
            let found = entity(text, start, end);
            assert_eq!(found.text, expected);
            assert_eq!(&text[found.start_byte..found.end_byte], expected);
            assert_eq!(text.chars().skip(start).take(end - start).collect::<String>(), expected);
            assert_eq!(found.utf16_range(text), Some(utf16), "{expected:?}");
            let units: Vec<u16> = text.encode_utf16().collect();
            assert_eq!(String::from_utf16_lossy(&units[utf16.0..utf16.1]), expected);
        }
    }

    #[test]
    fn another_text_has_no_place_for_the_entity() {
        let found = entity("😀 Ann", 2, 5);
        assert_eq!(found.utf16_range("😀 Ann"), Some((3, 6)));
        for other in ["", "aa Ann", "😀 Bob", "Ann", "😀é"] {
            assert_eq!(found.utf16_range(other), None, "{other:?}");
        }
    }
}
