//! Named entities in the form in which the models of all engines return them.

use serde::{Deserialize, Serialize};

use super::answers::{Fallback, FromBackend, Usage, onnx};
use super::offsets::{CharIndex, utf16_len};

/// A named entity in a text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Entity {
    /// The text of the entity.
    pub text: String,
    /// The label of the entity (`PERSON`, `ORG`, ...).
    pub label: String,
    /// The offset of the entity's start in Unicode characters.
    pub start: usize,
    /// The offset of the entity's end in Unicode characters, exclusive.
    pub end: usize,
    /// The offset of the entity's start in bytes of UTF-8, for slicing a Rust string.
    pub start_byte: usize,
    /// The offset of the entity's end in bytes of UTF-8, exclusive.
    pub end_byte: usize,
    /// The model's probability of the label, from 0 to 1; `None` for spaCy pipelines, which have no scores. JSON omits
    /// `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<f32>,
}

impl Entity {
    /// The offsets of the entity's start and end in UTF-16 code units, as JavaScript counts; the end is exclusive.
    ///
    /// `text` is the text in which the call found the entity: the offsets depend on the characters before the entity.
    /// `None` if that text does not have the entity at its offsets.
    pub fn utf16_range(&self, text: &str) -> Option<(usize, usize)> {
        let covered = text.get(self.start_byte..self.end_byte)?;
        let start = utf16_len(&text[..self.start_byte]);
        (covered == self.text).then(|| (start, start + utf16_len(covered)))
    }
}

/// The entities of one text.
///
/// Iterating over it yields the entities.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Entities {
    /// The entities, sorted by their position in the text.
    pub entities: Vec<Entity>,
    /// The number of tokens that the model read. With a stride, it is the sum over all windows of the text.
    /// `None` if a server did not count.
    pub tokens: Option<usize>,
    /// Whether the text was truncated, which means that the model did not read its end.
    pub truncated: bool,
    /// The name of what gave the answer: `onnx`, `openai`, `llama-cpp`, or the member of a chain.
    #[serde(default = "onnx")]
    pub backend: String,
    /// What failed before in a chain, in its order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fallbacks: Vec<Fallback>,
    /// What a server counted; `None` for ONNX models.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
}

impl Entities {
    /// Adds texts and byte offsets to the entities of a text.
    pub(crate) fn from_spans(text: &str, spans: &[EntitySpan<'_>], tokens: usize, truncated: bool) -> Self {
        let index = CharIndex::new(text);
        let entities = spans.iter().map(|span| span.resolve(text, &index)).collect();
        let (tokens, backend) = (Some(tokens), onnx());
        Self { entities, tokens, truncated, backend, fallbacks: Vec::new(), usage: None }
    }

    /// The answer of a server.
    #[cfg(feature = "openai")]
    pub(crate) fn of_server(text: &str, spans: &[EntitySpan<'_>], backend: &str, usage: Option<Usage>) -> Self {
        let tokens = usage.and_then(|usage| usize::try_from(usage.prompt_tokens).ok());
        Self { tokens, backend: backend.to_owned(), usage, ..Self::from_spans(text, spans, 0, false) }
    }
}

impl FromBackend for Entities {
    fn set_backend(&mut self, backend: &str, fallbacks: &[Fallback]) {
        backend.clone_into(&mut self.backend);
        fallbacks.clone_into(&mut self.fallbacks);
    }
}

impl IntoIterator for Entities {
    type Item = Entity;
    type IntoIter = std::vec::IntoIter<Entity>;

    fn into_iter(self) -> Self::IntoIter {
        self.entities.into_iter()
    }
}

impl<'a> IntoIterator for &'a Entities {
    type Item = &'a Entity;
    type IntoIter = std::slice::Iter<'a, Entity>;

    fn into_iter(self) -> Self::IntoIter {
        self.entities.iter()
    }
}

/// An entity without its text, as decoding returns it: its offsets count characters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct EntitySpan<'a> {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) label: &'a str,
    pub(crate) score: Option<f32>,
}

impl EntitySpan<'_> {
    /// The entity with its text and all its offsets. An offset beyond the end of the text is replaced by the end.
    fn resolve(&self, text: &str, index: &CharIndex<'_>) -> Entity {
        let byte = |offset| index.byte(offset).unwrap_or(text.len());
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
        let span = EntitySpan { start, end, label: "X", score: None };
        Entities::from_spans(text, &[span], 1, false).entities.remove(0)
    }

    /// The text has emoji with a joiner, a combining mark, CRLF, a no-break space, and right-to-left text.
    #[test]
    fn all_offsets_select_the_entity() {
        let text = "👩\u{200d}💻 Zoë\u{301}\r\n\u{a0}שלום Rust";
        let cases = [
            (0, 3, "👩\u{200d}💻", (0, 5)),
            (4, 8, "Zoë\u{301}", (6, 10)),
            (8, 10, "\r\n", (10, 12)),
            (10, 11, "\u{a0}", (12, 13)),
            (11, 15, "שלום", (13, 17)),
            (16, 20, "Rust", (18, 22)),
        ];
        for (start, end, expected, utf16) in cases {
            let entity = entity(text, start, end);
            assert_eq!(entity.text, expected);
            assert_eq!(&text[entity.start_byte..entity.end_byte], expected);
            assert_eq!(text.chars().skip(start).take(end - start).collect::<String>(), expected);
            assert_eq!(entity.utf16_range(text), Some(utf16), "{expected:?}");
            let units: Vec<u16> = text.encode_utf16().collect();
            assert_eq!(String::from_utf16_lossy(&units[utf16.0..utf16.1]), expected);
        }
    }

    #[test]
    fn another_text_has_no_offsets() {
        let entity = entity("😀 Ann", 2, 5);
        assert_eq!(entity.utf16_range("😀 Ann"), Some((3, 6)));
        for other in ["", "aa Ann", "😀 Bob", "Ann", "😀é"] {
            assert_eq!(entity.utf16_range(other), None, "{other:?}");
        }
    }
}
