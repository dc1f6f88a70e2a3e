//! Formats texts in which entities are marked, for people to read.

use crate::Entity;
use crate::terminal::{COLORS, DIM, Style, visible};

/// Formats a text with its entities in one line. Each entity has the color of its label, and the label follows in
/// brackets. Without colors the brackets enclose entity and label, so that the start of the entity is visible.
pub(crate) fn marked(text: &str, entities: &[Entity], truncated: bool, style: Style) -> String {
    let mut line = String::new();
    let mut done = 0;
    for entity in entities {
        // Two adjacent entities can share a character if their tokens do. The character is shown in the first entity.
        let start = entity.start_byte.max(done);
        let end = entity.end_byte.max(start);
        line.push_str(&visible(text.get(done..start).unwrap_or_default()));
        line.push_str(&mark(text.get(start..end).unwrap_or_default(), entity, style));
        done = end;
    }
    line.push_str(&visible(text.get(done..).unwrap_or_default()));
    if truncated {
        line.push_str(&style.in_color(DIM, " (the text was truncated: pass --stride to read all of it)"));
    }
    line
}

fn mark(covered: &str, entity: &Entity, style: Style) -> String {
    let (covered, label) = (visible(covered), visible(&entity.label));
    if style.is_colored {
        let covered = style.in_color(color(&entity.label), &covered);
        return format!("{covered}{}", style.in_color(DIM, &format!(" [{label}]")));
    }
    let space = if covered.is_empty() { "" } else { " " };
    format!("[{covered}{space}{label}]")
}

/// The color of a label, always the same. Frequent labels differ: PERSON, ORG, GPE, DATE; PER, ORG, LOC, MISC.
fn color(label: &str) -> &'static str {
    let index = label.bytes().fold(0, |index, byte| (10 * index + usize::from(byte)) % 59);
    COLORS[index % COLORS.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Style = Style { is_colored: false };

    fn entity(text: &str, label: &str, covered: &str) -> Entity {
        let start_byte = text.find(covered).expect("a substring");
        let start = text[..start_byte].chars().count();
        serde_json::from_value(serde_json::json!({"text": covered, "label": label, "start": start,
            "end": start + covered.chars().count(), "start_byte": start_byte, "end_byte": start_byte + covered.len()}))
        .expect("an entity")
    }

    fn plain(text: &str, entities: &[Entity]) -> String {
        marked(text, entities, false, PLAIN)
    }

    #[test]
    fn labels_follow_their_entities() {
        let text = "Zoë met 👩\u{200d}💻 in Köln.";
        let entities = [entity(text, "PER", "Zoë"), entity(text, "LOC", "Köln")];
        assert_eq!(plain(text, &entities), "[Zoë PER] met 👩\u{200d}💻 in [Köln LOC].");
        assert_eq!(plain("nothing", &[]), "nothing");
        assert_eq!(plain("", &[]), "");
    }

    #[test]
    fn entities_that_share_characters_are_all_labeled() {
        let text = "abc";
        let entities = [entity(text, "A", "ab"), entity(text, "B", "b"), entity(text, "C", "bc")];
        assert_eq!(plain(text, &entities), "[ab A][B][c C]");
    }

    #[test]
    fn entities_are_colored() {
        let line = marked("a Bob", &[entity("a Bob", "PER", "Bob")], true, Style { is_colored: true });
        let expected = "a \u{1b}[1;35mBob\u{1b}[0m\u{1b}[2m [PER]\u{1b}[0m\u{1b}[2m (the text was truncated";
        assert!(line.starts_with(expected), "{line:?}");
    }

    #[test]
    fn frequent_labels_differ_in_their_colors() {
        for labels in [["PERSON", "ORG", "GPE", "DATE"], ["PER", "ORG", "LOC", "MISC"]] {
            let mut colors = labels.map(color);
            colors.sort_unstable();
            assert!(colors.windows(2).all(|pair| pair[0] != pair[1]), "{colors:?}");
        }
    }

    #[test]
    fn text_and_labels_are_escaped() {
        let text = "\u{1b}[2J\u{7}";
        assert_eq!(plain(text, &[entity(text, "\u{1b}x", "\u{7}")]), "\\u{1b}[2J[\\u{7} \\u{1b}x]");
    }
}
