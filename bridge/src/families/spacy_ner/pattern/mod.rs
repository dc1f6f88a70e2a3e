//! Regular expressions of the tokenizer's rules.
//!
//! This crate has its own implementation, because other regex crates take long to compile the large character classes
//! of these patterns. As in Python's `re`, the first alternative that matches wins. The backtracking machine remembers
//! failed attempts, and therefore its time is linear in the length of the text.

mod edge;
mod machine;
mod program;
mod syntax;
#[cfg(test)]
mod tests;

use std::ops::Range;

pub(crate) use self::edge::Edge;
use self::machine::Machine;
#[cfg(test)]
pub(crate) use self::machine::steps_of;
use self::program::Program;
pub(crate) use self::syntax::PatternFile;
use self::syntax::{Node, parse};
use super::characters::CharSet;

/// A regular expression that is compiled to a program for the backtracking machine.
#[derive(Debug)]
pub(crate) struct Pattern {
    first: Edge,
    last: Edge,
    /// For a pattern of suffixes, the characters that its matches can consist of, if they depend on no others.
    consumed: Option<CharSet>,
    program: Program,
}

impl Pattern {
    /// Compiles a pattern. `file` counts the sizes of all patterns of a file and caches their character classes.
    ///
    /// # Errors
    /// A message with the start of the pattern and the reason why it is refused.
    pub(crate) fn new(pattern: &str, file: &mut PatternFile) -> Result<Self, String> {
        parse(pattern, file).map(|node| Self::compile(&node)).map_err(|problem| describe(pattern, &problem))
    }

    /// Compiles the alternatives of a pattern one by one, in their order. The caller matches them only at the start of texts.
    ///
    /// # Errors
    /// The errors of [`new`](Self::new).
    pub(crate) fn at_start(pattern: &str, file: &mut PatternFile) -> Result<Vec<Self>, String> {
        Self::each(pattern, file, |mut nodes| {
            // The pattern is only matched at the start of texts, where `^` always holds.
            if matches!(nodes.first(), Some(Node::Start)) {
                nodes.remove(0);
            }
            Self::compile(&Node::Concat(nodes))
        })
    }

    /// Compiles the alternatives of a pattern one by one, in their order, for matches at the end of texts.
    ///
    /// # Errors
    /// The errors of [`new`](Self::new).
    pub(crate) fn at_end(pattern: &str, file: &mut PatternFile) -> Result<Vec<Self>, String> {
        Self::each(pattern, file, |mut nodes| {
            if matches!(nodes.last(), Some(Node::End)) {
                nodes.pop();
            }
            let last = Edge::last(&Node::Concat(nodes.clone()));
            nodes.push(Node::End);
            let node = Node::Concat(nodes);
            Self { last, consumed: node.consumed(), ..Self::compile(&node) }
        })
    }

    fn each(pattern: &str, file: &mut PatternFile, compile: impl Fn(Vec<Node>) -> Self) -> Result<Vec<Self>, String> {
        let node = parse(pattern, file).map_err(|problem| describe(pattern, &problem))?;
        let alternatives = if let Node::Alternatives(nodes) = node { nodes } else { vec![node] };
        let concat = |node| if let Node::Concat(nodes) = node { nodes } else { vec![node] };
        Ok(alternatives.into_iter().map(|node| compile(concat(node))).collect())
    }

    fn compile(node: &Node) -> Self {
        Self { first: Edge::first(node), last: Edge::last(node), consumed: None, program: Program::new(node) }
    }

    /// The sets of characters with which every match of the pattern begins.
    pub(crate) fn first(&self) -> &Edge {
        &self.first
    }

    /// The sets of characters with which every match of the pattern ends.
    pub(crate) fn last(&self) -> &Edge {
        &self.last
    }

    /// The end of the text that a match at the end of the text must be in: the last characters that a match can consist
    /// of. The text itself, if matches depend on other characters too.
    pub(crate) fn reachable_end<'a>(&self, text: &'a str) -> &'a str {
        let start = self.consumed.as_ref().map(|set| text.trim_end_matches(|character| set.contains(character)).len());
        &text[start.unwrap_or(0)..]
    }

    /// The length in bytes of the match at the start of the text; `None` if there is no match.
    pub(crate) fn match_at_start(&self, text: &str) -> Option<usize> {
        self.attempt_at_start(text).ok()
    }

    /// The length in bytes of the match at the start of the text.
    ///
    /// # Errors
    /// Without a match, the number of bytes that the result depends on. If the text is truncated to that many bytes or
    /// more, there is no match either. The number exceeds the text's length if the result depends on the end of the
    /// text.
    pub(crate) fn attempt_at_start(&self, text: &str) -> Result<usize, usize> {
        if !self.first.begins(text) {
            // The text does not begin with the pattern's first characters. A truncated text does not begin with them
            // either, and therefore the result depends on no bytes.
            return Err(0);
        }
        if self.first.is_all {
            return Ok(text.chars().take(self.first.sets.len()).map(char::len_utf8).sum());
        }
        let mut machine = Machine::new(&self.program, text);
        machine.run(0).ok_or(machine.reach())
    }

    /// The range in bytes of the first match in the text.
    pub(crate) fn find(&self, text: &str) -> Option<Range<usize>> {
        self.matches(text).next()
    }

    /// The ranges in bytes of all matches in the text that do not overlap, from left to right. After an empty match the
    /// next match may start at the same offset if it is not empty, as in Python's `re`.
    pub(crate) fn matches<'a>(&'a self, text: &'a str) -> impl Iterator<Item = Range<usize>> {
        let mut machine = Machine::new(&self.program, text);
        let (mut from, mut after_empty) = (0, false);
        std::iter::from_fn(move || {
            let range = self.find_from(&mut machine, text, from, after_empty)?;
            (from, after_empty) = (range.end, range.is_empty());
            Some(range)
        })
    }

    /// The first match that starts at the offset `from` or after it. If `skips_empty` is true, an empty match at `from`
    /// itself is skipped.
    fn find_from(&self, machine: &mut Machine<'_>, text: &str, from: usize, skips_empty: bool) -> Option<Range<usize>> {
        let first = self.first.sets.first();
        let rest = text.get(from..)?;
        let characters = rest.char_indices().map(|(offset, next)| (from + offset, Some(next)));
        characters.chain([(text.len(), None)]).find_map(|(start, next)| {
            if !first.is_none_or(|set| next.is_some_and(|next| set.contains(next))) {
                return None;
            }
            let end = if skips_empty && start == from { machine.run_forward(start) } else { machine.run(start) };
            end.map(|end| start..end)
        })
    }
}

/// The error message for a pattern, with only the start of the pattern, because patterns can be very long.
fn describe(pattern: &str, problem: &str) -> String {
    const SHOWN_CHARS: usize = 40;
    let start: String = pattern.chars().take(SHOWN_CHARS).collect();
    format!("the pattern that begins with {start:?} cannot be parsed: {problem}")
}
