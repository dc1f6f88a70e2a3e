//! Lists of patterns for the two ends of a chunk, and for chunks as a whole.

use super::pattern::{Classes, Lead, Pattern};
use super::rules::Affix;

/// Which patterns of a list may match, by the first or last character of the text.
#[derive(Debug)]
struct Index {
    /// For every character of ASCII.
    ascii: Vec<Vec<u32>>,
    /// For all other characters, and for the empty text.
    other: Vec<u32>,
}

impl Index {
    fn new<'a>(leads: impl Iterator<Item = &'a Lead>) -> Self {
        let mut index = Self { ascii: vec![Vec::new(); 128], other: Vec::new() };
        for (id, lead) in (0_u32..).zip(leads) {
            let first = lead.sets.first();
            for code in 0..128_u8 {
                if first.is_none_or(|set| set.contains(char::from(code))) {
                    index.ascii[usize::from(code)].push(id);
                }
            }
            if first.is_none_or(|set| set.beyond_ascii()) {
                index.other.push(id);
            }
        }
        index
    }

    fn candidates(&self, character: Option<char>) -> &[u32] {
        let ascii = character.filter(char::is_ascii);
        ascii.map_or(&self.other, |character| &self.ascii[character as usize])
    }
}

/// Patterns that match from the start, of which any will do.
#[derive(Debug)]
pub(super) struct Whole {
    patterns: Vec<Pattern>,
    index: Index,
}

impl Whole {
    /// # Errors
    /// Which pattern cannot be read.
    pub(super) fn new(patterns: Vec<String>, classes: &mut Classes) -> Result<Self, String> {
        let compiled = patterns.iter().map(|pattern| Pattern::at_start(pattern, classes));
        let patterns = compiled.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect::<Vec<_>>();
        let index = Index::new(patterns.iter().map(Pattern::first));
        Ok(Self { patterns, index })
    }

    /// Whether a pattern matches from the start of a chunk.
    pub(super) fn matches(&self, chunk: &str) -> bool {
        self.attempt(chunk).is_ok()
    }

    /// The same; without a match how many bytes were looked at: where the chunk is cut behind them, none matches either.
    pub(super) fn attempt(&self, chunk: &str) -> Result<(), usize> {
        let mut reach = 0;
        for &id in self.index.candidates(chunk.chars().next()) {
            match self.patterns[id as usize].attempt_at_start(chunk) {
                Ok(_) => return Ok(()),
                Err(seen) => reach = reach.max(seen),
            }
        }
        Err(reach)
    }
}

/// The patterns that cut something off the start of a chunk.
#[derive(Debug)]
pub(super) struct Prefixes {
    patterns: Vec<(Pattern, Option<usize>)>,
    index: Index,
}

impl Prefixes {
    /// # Errors
    /// Which pattern cannot be read.
    pub(super) fn new(entries: Vec<Affix>, classes: &mut Classes) -> Result<Self, String> {
        let patterns = read(entries, |pattern| Pattern::at_start(pattern, classes))?;
        let index = Index::new(patterns.iter().map(|entry| entry.0.first()));
        Ok(Self { patterns, index })
    }

    /// How many bytes of a chunk the first pattern that matches cuts off; 0 without one.
    pub(super) fn length(&self, chunk: &str) -> usize {
        let candidates = self.index.candidates(chunk.chars().next()).iter().map(|&id| &self.patterns[id as usize]);
        let mut lengths = candidates.filter_map(|(pattern, window)| {
            // Most are ruled out by what they begin with, which needs no window.
            pattern.first().begins(chunk).then(|| pattern.match_at_start(start_of(chunk, *window)))?
        });
        lengths.next().unwrap_or(0)
    }
}

/// The patterns that cut something off the end of a chunk.
#[derive(Debug)]
pub(super) struct Suffixes {
    patterns: Vec<(Pattern, Option<usize>)>,
    index: Index,
}

impl Suffixes {
    /// # Errors
    /// Which pattern cannot be read.
    pub(super) fn new(entries: Vec<Affix>, classes: &mut Classes) -> Result<Self, String> {
        let patterns = read(entries, |pattern| Pattern::at_end(pattern, classes))?;
        let index = Index::new(patterns.iter().map(|entry| entry.0.last()));
        Ok(Self { patterns, index })
    }

    /// How many bytes of a chunk the longest match at its end cuts off; 0 without one.
    pub(super) fn length(&self, chunk: &str) -> usize {
        let candidates = self.index.candidates(chunk.chars().next_back()).iter().map(|&id| &self.patterns[id as usize]);
        let lengths = candidates.filter_map(|(pattern, window)| {
            if !pattern.last().ends(chunk) {
                return None;
            }
            let shown = end_of(chunk, *window);
            match pattern.last() {
                last if last.is_all => last_bytes(shown, last.sets.len()),
                // The first place a match starts at is that of the longest: all end at the end.
                _ => pattern.find(shown).map(|found| found.len()),
            }
        });
        lengths.max().unwrap_or(0)
    }
}

fn read(
    entries: Vec<Affix>,
    mut compile: impl FnMut(&str) -> Result<Vec<Pattern>, String>,
) -> Result<Vec<(Pattern, Option<usize>)>, String> {
    let mut patterns = Vec::new();
    for Affix { pattern, window } in entries {
        if window == Some(0) {
            return Err("a pattern has a window of 0 characters".to_owned());
        }
        patterns.extend(compile(&pattern)?.into_iter().map(|pattern| (pattern, window)));
    }
    Ok(patterns)
}

/// The first characters of a text.
fn start_of(text: &str, window: Option<usize>) -> &str {
    let end = window.and_then(|window| text.char_indices().nth(window)).map_or(text.len(), |(end, _)| end);
    &text[..end]
}

/// The last characters of a text.
fn end_of(text: &str, window: Option<usize>) -> &str {
    let length = window.and_then(|window| last_bytes(text, window)).unwrap_or(text.len());
    &text[text.len() - length..]
}

/// The bytes of a text's last characters; `None` where it has fewer characters.
fn last_bytes(text: &str, characters: usize) -> Option<usize> {
    match characters {
        0 => Some(0),
        _ => text.char_indices().nth_back(characters - 1).map(|(start, _)| text.len() - start),
    }
}
