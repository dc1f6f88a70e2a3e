//! Texts with their entities, for people.

use std::fmt::Write;

use onnx_ml_bridge::Entity;

use super::stream::LineError;

/// ANSI colours that can be read on dark and on light grounds: red, green, yellow, blue, magenta, cyan.
const COLOURS: [&str; 6] = ["1;31", "1;32", "1;33", "1;34", "1;35", "1;36"];
const RED: &str = COLOURS[0];
const DIM: &str = "2";

/// Writes texts with their entities marked.
pub(crate) struct Painter {
    coloured: bool,
}

impl Painter {
    /// Colours are for terminals, and for nobody who sets `NO_COLOR` to anything.
    pub(crate) fn new(is_terminal: bool) -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { coloured: is_terminal && !refused }
    }

    /// The text in one line, every entity in the colour of its label, which follows in brackets. Without colours brackets
    /// stand around entity and label, so that it shows where the entity begins.
    pub(crate) fn paint(&self, text: &str, entities: &[Entity], truncated: bool) -> String {
        let mut line = String::new();
        let mut done = 0;
        for entity in entities {
            // Entities of single tokens can share a character: the second has only what the first left.
            let start = entity.start_byte.max(done);
            let end = entity.end_byte.max(start);
            line.push_str(&visible(text.get(done..start).unwrap_or_default()));
            self.mark(&mut line, text.get(start..end).unwrap_or_default(), entity);
            done = end;
        }
        line.push_str(&visible(text.get(done..).unwrap_or_default()));
        if truncated {
            line.push_str(&self.in_colour(DIM, " (the text was cut: give --stride to read it whole)"));
        }
        line
    }

    /// A text by itself, in one line.
    pub(crate) fn text(text: &str) -> String {
        visible(text)
    }

    /// A line that failed.
    pub(crate) fn failure(&self, error: &LineError) -> String {
        let place = self.in_colour(RED, &format!("line {}: error[{}]", error.line, error.code));
        format!("{place}: {}", visible(&error.message))
    }

    fn mark(&self, line: &mut String, covered: &str, entity: &Entity) {
        let (covered, label) = (visible(covered), visible(&entity.label));
        if self.coloured {
            line.push_str(&self.in_colour(colour(&entity.label), &covered));
            line.push_str(&self.in_colour(DIM, &format!(" [{label}]")));
        } else {
            let space = if covered.is_empty() { "" } else { " " };
            line.push_str(&format!("[{covered}{space}{label}]"));
        }
    }

    fn in_colour(&self, colour: &str, text: &str) -> String {
        if self.coloured { format!("\u{1b}[{colour}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

/// The colour of a label: always the same one. Frequent ones differ: PERSON, ORG, GPE, DATE; PER, ORG, LOC, MISC.
fn colour(label: &str) -> &'static str {
    let place = label.bytes().fold(0, |place, byte| (10 * place + usize::from(byte)) % 59);
    COLOURS[place % COLOURS.len()]
}

/// The text with everything that could steer a terminal, or turn the order of what is shown, as an escape.
fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '\n' => shown.push_str("\\n"),
            '\r' => shown.push_str("\\r"),
            '\t' => shown.push_str("\\t"),
            char if char.is_control() || steers(char) => {
                // Writing to a string cannot fail.
                let _ = write!(shown, "\\u{{{:x}}}", u32::from(char));
            }
            char => shown.push(char),
        }
    }
    shown
}

/// Line and paragraph separators, and the marks that embed, override and isolate directions.
fn steers(char: char) -> bool {
    matches!(char, '\u{200e}' | '\u{200f}' | '\u{61c}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entity(text: &str, label: &str, covered: &str) -> Entity {
        let start_byte = text.find(covered).expect("there");
        let start = text[..start_byte].chars().count();
        serde_json::from_value(serde_json::json!({"text": covered, "label": label, "start": start,
            "end": start + covered.chars().count(), "start_byte": start_byte, "end_byte": start_byte + covered.len()}))
        .expect("an entity")
    }

    fn plain(text: &str, entities: &[Entity]) -> String {
        Painter { coloured: false }.paint(text, entities, false)
    }

    #[test]
    fn labels_stand_behind_their_entities() {
        let text = "Zoë met 👩\u{200d}💻 in Köln.";
        let entities = [entity(text, "PER", "Zoë"), entity(text, "LOC", "Köln")];
        assert_eq!(plain(text, &entities), "[Zoë PER] met 👩\u{200d}💻 in [Köln LOC].");
        assert_eq!(plain("nothing", &[]), "nothing");
        assert_eq!(plain("", &[]), "");
    }

    #[test]
    fn entities_that_share_characters_are_each_named() {
        let text = "abc";
        let entities = [entity(text, "A", "ab"), entity(text, "B", "b"), entity(text, "C", "bc")];
        assert_eq!(plain(text, &entities), "[ab A][B][c C]");
    }

    #[test]
    fn colours_are_only_for_those_who_want_them() {
        let painter = Painter { coloured: true };
        let line = painter.paint("a Bob", &[entity("a Bob", "PER", "Bob")], true);
        let expected = "a \u{1b}[1;35mBob\u{1b}[0m\u{1b}[2m [PER]\u{1b}[0m\u{1b}[2m (the text was cut";
        assert!(line.starts_with(expected), "{line:?}");
        assert!(!Painter::new(false).coloured);
    }

    #[test]
    fn frequent_labels_differ_in_their_colours() {
        for labels in [["PERSON", "ORG", "GPE", "DATE"], ["PER", "ORG", "LOC", "MISC"]] {
            let mut colours = labels.map(colour);
            colours.sort_unstable();
            assert!(colours.windows(2).all(|pair| pair[0] != pair[1]), "{colours:?}");
        }
    }

    #[test]
    fn nothing_in_a_text_reaches_the_terminal_raw() {
        let evil = "\u{1b}[2J\u{7}\r\n\t\u{9b}\u{202e}\u{2066}\u{2028}\u{0}\u{7f}";
        let shown = plain(evil, &[entity(evil, "\u{1b}]0;x", "\u{7}")]);
        assert!(!shown.chars().any(|char| char.is_control() || steers(char)), "{shown:?}");
        assert!(shown.contains("\\u{1b}[2J") && shown.contains("\\r\\n\\t"), "{shown:?}");
        let error = LineError { code: "bad_line", line: 3, message: evil.to_owned() };
        let shown = Painter { coloured: false }.failure(&error);
        assert!(shown.starts_with("line 3: error[bad_line]: ") && !shown.contains('\u{1b}'), "{shown:?}");
    }
}
