//! Formats text for terminals: colors, and escapes for characters that must not reach a terminal.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use crate::jsonl::LineError;

/// ANSI colors that are readable on dark and on light backgrounds: red, green, yellow, blue, magenta, cyan.
pub(crate) const COLORS: [&str; 6] = ["1;31", "1;32", "1;33", "1;34", "1;35", "1;36"];
pub(crate) const DIM: &str = "2";
const RED: &str = COLORS[0];
/// The text that moves the cursor to the start of the line and clears the line.
pub(crate) const CLEAR: &str = "\r\u{1b}[K";
/// The width of a progress bar in characters.
const BAR_WIDTH: usize = 24;

/// How text is formatted for an output: with or without colors.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Style {
    pub(crate) is_colored: bool,
}

impl Style {
    /// The style for an output: it has colors if it is a terminal, unless `NO_COLOR` is set to a value that is not
    /// empty.
    pub(crate) fn new(is_terminal: bool) -> Self {
        let is_refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { is_colored: is_terminal && !is_refused }
    }

    /// The text in a color, if output is colored.
    pub(crate) fn in_color(self, color: &str, text: &str) -> String {
        if self.is_colored { format!("\u{1b}[{color}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    /// The output for a line that failed.
    pub(crate) fn failure(self, error: &LineError) -> String {
        let head = self.in_color(RED, &format!("line {}: error[{}]", error.line, error.code));
        format!("{head}: {}", visible(&error.message))
    }
}

/// Writes a text to standard error. If that fails, nobody reads it, and the exit status still says how the command ended;
/// `eprint!` would panic.
pub(crate) fn print_error(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}

/// A progress bar as text; empty when everything is done.
pub(crate) fn bar(label: &str, done: usize, total: usize) -> String {
    if done >= total {
        return String::new();
    }
    let filled = BAR_WIDTH * done / total;
    format!("{label} [{}{}] {done}/{total}", "#".repeat(filled), ".".repeat(BAR_WIDTH - filled))
}

/// A table as lines: empty ones around it, and a rule below the heads of the columns. That of Python has the same lines.
pub(crate) fn table<const N: usize>(heads: [&str; N], rows: &[[String; N]]) -> Vec<String> {
    let heads = heads.map(str::to_owned);
    let all = || std::iter::once(&heads).chain(rows);
    let widths: [usize; N] =
        std::array::from_fn(|column| all().map(|row| row[column].chars().count()).max().unwrap_or(0));
    let line = |row: &[String; N]| {
        let cells: [String; N] =
            std::array::from_fn(|column| format!("{:width$}", row[column], width = widths[column]));
        format!(" {} ", cells.join("   "))
    };
    let width = widths.iter().sum::<usize>() + 3 * (N - 1);
    let (empty, rule) = (" ".repeat(width + 2), format!(" {} ", "─".repeat(width)));
    let above = [empty.clone(), line(&heads), rule];
    above.into_iter().chain(rows.iter().map(line)).chain([empty]).collect()
}

/// Shows a text in one line. Control characters, and characters that change the direction of text, are escaped.
pub(crate) fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '\n' => shown.push_str("\\n"),
            '\r' => shown.push_str("\\r"),
            '\t' => shown.push_str("\\t"),
            char if char.is_control() || is_mark(char) => {
                // Writing to a string cannot fail.
                let _ = write!(shown, "\\u{{{:x}}}", u32::from(char));
            }
            char => shown.push(char),
        }
    }
    shown
}

/// Whether a character separates lines or paragraphs, or embeds, overrides or isolates a direction.
fn is_mark(char: char) -> bool {
    matches!(char, '\u{200e}' | '\u{200f}' | '\u{61c}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_grows() {
        assert_eq!(bar("summarizing", 1, 4), "summarizing [######..................] 1/4");
        assert_eq!(bar("verifying", 0, 3), "verifying [........................] 0/3");
        assert_eq!((bar("x", 4, 4), bar("x", 1, 1)), (String::new(), String::new()));
    }

    #[test]
    fn columns_of_tables_are_as_wide_as_their_widest_cell() {
        let rows = [["1.0.0".to_owned(), "é".to_owned()], ["1.1.0-rc.1".to_owned(), String::new()]];
        let empty = " ".repeat(16);
        let expected = [&empty, " version      t ", " ────────────── ", " 1.0.0        é ", " 1.1.0-rc.1     ", &empty];
        assert_eq!(table(["version", "t"], &rows), expected);
        assert_eq!(table(["a"], &[]), ["   ", " a ", " ─ ", "   "]);
    }

    #[test]
    fn only_output_to_terminals_is_colored() {
        assert_eq!(Style { is_colored: true }.in_color(DIM, "a"), "\u{1b}[2ma\u{1b}[0m");
        assert_eq!(Style::new(false).in_color(DIM, "a"), "a");
    }

    #[test]
    fn control_characters_are_escaped() {
        let text = "\u{1b}[2J\u{7}\r\n\t\u{9b}\u{202e}\u{2066}\u{2028}\u{0}\u{7f}";
        let shown = visible(text);
        assert!(!shown.chars().any(|char| char.is_control() || is_mark(char)), "{shown:?}");
        assert!(shown.contains("\\u{1b}[2J") && shown.contains("\\r\\n\\t"), "{shown:?}");
        let error = LineError { code: "bad_line", line: 3, message: text.to_owned() };
        let shown = Style { is_colored: false }.failure(&error);
        assert!(shown.starts_with("line 3: error[bad_line]: ") && !shown.contains('\u{1b}'), "{shown:?}");
    }
}
