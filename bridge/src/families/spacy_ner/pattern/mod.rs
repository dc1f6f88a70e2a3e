//! Patterns of the tokenizer's rules.
//!
//! They are run by a machine of this crate's own: it needs no time to compile the huge classes of these patterns, gives
//! the first match in the order of the alternatives as Python's `re` does, and remembers what failed, so that no text
//! takes more than linear time.

mod lead;
mod machine;
mod program;
mod syntax;
#[cfg(test)]
mod tests;

use std::ops::Range;

pub(crate) use self::lead::Lead;
use self::machine::Machine;
#[cfg(test)]
pub(crate) use self::machine::steps_of;
use self::program::Program;
pub(crate) use self::syntax::Classes;
use self::syntax::{Node, parse};

/// A compiled pattern.
#[derive(Debug)]
pub(crate) struct Pattern {
    first: Lead,
    last: Lead,
    program: Program,
}

impl Pattern {
    /// Compiles a pattern; `classes` keeps what was read for the next one.
    ///
    /// # Errors
    /// The pattern's start, and what is wrong with it.
    pub(crate) fn new(pattern: &str, classes: &mut Classes) -> Result<Self, String> {
        parse(pattern, classes).and_then(|node| Self::compile(&node)).map_err(|problem| describe(pattern, &problem))
    }

    /// Compiles the alternatives of a pattern one by one, in their order, to be matched at the start of texts only.
    ///
    /// # Errors
    /// Those of [`new`](Self::new).
    pub(crate) fn at_start(pattern: &str, classes: &mut Classes) -> Result<Vec<Self>, String> {
        Self::each(pattern, classes, |mut nodes| {
            // At the start it says nothing.
            if matches!(nodes.first(), Some(Node::Start)) {
                nodes.remove(0);
            }
            Self::compile(&Node::Concat(nodes))
        })
    }

    /// The same for matches that have to end at the end of the text.
    ///
    /// # Errors
    /// Those of [`new`](Self::new).
    pub(crate) fn at_end(pattern: &str, classes: &mut Classes) -> Result<Vec<Self>, String> {
        Self::each(pattern, classes, |mut nodes| {
            if matches!(nodes.last(), Some(Node::End)) {
                nodes.pop();
            }
            let last = Lead::last(&Node::Concat(nodes.clone()));
            nodes.push(Node::End);
            Ok(Self { last, ..Self::compile(&Node::Concat(nodes))? })
        })
    }

    fn each(
        pattern: &str,
        classes: &mut Classes,
        compile: impl Fn(Vec<Node>) -> Result<Self, String>,
    ) -> Result<Vec<Self>, String> {
        let node = parse(pattern, classes).map_err(|problem| describe(pattern, &problem))?;
        let alternatives = if let Node::Alternatives(nodes) = node { nodes } else { vec![node] };
        let concat = |node| if let Node::Concat(nodes) = node { nodes } else { vec![node] };
        let compiled = alternatives.into_iter().map(|node| compile(concat(node)));
        compiled.collect::<Result<_, _>>().map_err(|problem| describe(pattern, &problem))
    }

    fn compile(node: &Node) -> Result<Self, String> {
        Ok(Self { first: Lead::first(node), last: Lead::last(node), program: Program::new(node)? })
    }

    /// What every match begins with.
    pub(crate) fn first(&self) -> &Lead {
        &self.first
    }

    /// What every match ends with.
    pub(crate) fn last(&self) -> &Lead {
        &self.last
    }

    /// Where the match at the text's start ends, in bytes.
    pub(crate) fn match_at_start(&self, text: &str) -> Option<usize> {
        self.attempt_at_start(text).ok()
    }

    /// The same, or how many bytes of the text were looked at: without a match there is none either in the text's first
    /// so many bytes or more. It is more than the text has where its end was seen.
    pub(crate) fn attempt_at_start(&self, text: &str) -> Result<usize, usize> {
        if !self.first.begins(text) {
            // Neither does any of the text's beginnings.
            return Err(0);
        }
        if self.first.is_all {
            return Ok(text.chars().take(self.first.sets.len()).map(char::len_utf8).sum());
        }
        let mut machine = Machine::new(&self.program, text);
        machine.run(0).ok_or(machine.reach())
    }

    /// The first match, in bytes.
    pub(crate) fn find(&self, text: &str) -> Option<Range<usize>> {
        self.matches(text).next()
    }

    /// All matches from left to right, in bytes. Behind an empty match the search goes on one character later.
    pub(crate) fn matches<'a>(&'a self, text: &'a str) -> impl Iterator<Item = Range<usize>> {
        let mut machine = Machine::new(&self.program, text);
        let mut from = 0;
        std::iter::from_fn(move || {
            let found = self.find_from(&mut machine, text, from)?;
            let skipped = if found.is_empty() { text[found.end..].chars().next().map_or(1, char::len_utf8) } else { 0 };
            from = found.end + skipped;
            Some(found)
        })
    }

    fn find_from(&self, machine: &mut Machine<'_>, text: &str, from: usize) -> Option<Range<usize>> {
        let first = self.first.sets.first();
        let rest = text.get(from..)?;
        let mut places = rest.char_indices().map(|(at, next)| (from + at, Some(next))).chain([(text.len(), None)]);
        places.find_map(|(start, next)| {
            let possible = first.is_none_or(|set| next.is_some_and(|next| set.contains(next)));
            possible.then(|| machine.run(start))?.map(|end| start..end)
        })
    }
}

/// An error about a pattern, which may be very long.
fn describe(pattern: &str, problem: &str) -> String {
    const SHOWN: usize = 40;
    let start: String = pattern.chars().take(SHOWN).collect();
    format!("the pattern that begins with {start:?} cannot be read: {problem}")
}
