//! Lists of the tokenizer's patterns: for the prefixes of chunks, for their suffixes, and for chunks that are not split
//! further.

use super::pattern::{Edge, Pattern, PatternFile};
use super::rules::Affix;

/// For each character, the indices of the patterns that can match a text with this first character (last character, if
/// the patterns find suffixes).
#[derive(Debug)]
struct Index {
    /// The indices of the patterns for each ASCII character, by its code point.
    ascii: Vec<Vec<u32>>,
    /// The indices of the patterns for all other characters, and for the empty text.
    other: Vec<u32>,
}

impl Index {
    fn new<'a>(edges: impl Iterator<Item = &'a Edge>) -> Self {
        let mut index = Self { ascii: vec![Vec::new(); 128], other: Vec::new() };
        for (id, edge) in (0_u32..).zip(edges) {
            let first = edge.sets.first();
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

/// Patterns of which at least one has to match at the start of a chunk.
#[derive(Debug)]
pub(super) struct ChunkPatterns {
    patterns: Vec<Pattern>,
    index: Index,
}

impl ChunkPatterns {
    /// Compiles the patterns.
    ///
    /// # Errors
    /// The message for the first pattern that cannot be parsed.
    pub(super) fn new(patterns: Vec<String>, file: &mut PatternFile) -> Result<Self, String> {
        let compiled = patterns.iter().map(|pattern| Pattern::at_start(pattern, file));
        let patterns = compiled.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect::<Vec<_>>();
        let index = Index::new(patterns.iter().map(Pattern::first));
        Ok(Self { patterns, index })
    }

    /// Whether any of the patterns matches at the start of a chunk.
    pub(super) fn matches(&self, chunk: &str) -> bool {
        self.attempt(chunk).is_ok()
    }

    /// Succeeds if any of the patterns matches at the start of a chunk.
    ///
    /// # Errors
    /// Without a match, the number of bytes that the result depends on. If the chunk is truncated to that many bytes or
    /// more, no pattern matches either.
    pub(super) fn attempt(&self, chunk: &str) -> Result<(), usize> {
        let mut reach = 0;
        for &id in self.index.candidates(chunk.chars().next()) {
            match self.patterns[id as usize].attempt_at_start(chunk) {
                Ok(_) => return Ok(()),
                Err(pattern_reach) => reach = reach.max(pattern_reach),
            }
        }
        Err(reach)
    }
}

/// The patterns that find the prefix of a chunk.
#[derive(Debug)]
pub(super) struct Prefixes {
    patterns: Vec<(Pattern, Option<usize>)>,
    index: Index,
}

impl Prefixes {
    /// Compiles the patterns.
    ///
    /// # Errors
    /// The message for the first pattern that cannot be parsed.
    pub(super) fn new(entries: Vec<Affix>, file: &mut PatternFile) -> Result<Self, String> {
        let patterns = read(entries, |pattern| Pattern::at_start(pattern, file))?;
        let index = Index::new(patterns.iter().map(|entry| entry.0.first()));
        Ok(Self { patterns, index })
    }

    /// The length in bytes of the prefix that the first matching pattern of the list finds; 0 if none matches.
    pub(super) fn length(&self, chunk: &str) -> usize {
        let candidates = self.index.candidates(chunk.chars().next()).iter().map(|&id| &self.patterns[id as usize]);
        let mut lengths = candidates.filter_map(|(pattern, window)| {
            // Comparing the chunk's first character rules out most patterns before the characters that a pattern may
            // read are selected, which takes longer.
            pattern.first().begins(chunk).then(|| pattern.match_at_start(start_of(chunk, *window)))?
        });
        lengths.next().unwrap_or(0)
    }
}

/// The patterns that find the suffix of a chunk.
#[derive(Debug)]
pub(super) struct Suffixes {
    patterns: Vec<(Pattern, Option<usize>)>,
    index: Index,
}

impl Suffixes {
    /// Compiles the patterns.
    ///
    /// # Errors
    /// The message for the first pattern that cannot be parsed.
    pub(super) fn new(entries: Vec<Affix>, file: &mut PatternFile) -> Result<Self, String> {
        let patterns = read(entries, |pattern| Pattern::at_end(pattern, file))?;
        let index = Index::new(patterns.iter().map(|entry| entry.0.last()));
        Ok(Self { patterns, index })
    }

    /// The length in bytes of the longest suffix that a pattern finds; 0 if none matches.
    pub(super) fn length(&self, chunk: &str) -> usize {
        let candidates = self.index.candidates(chunk.chars().next_back()).iter().map(|&id| &self.patterns[id as usize]);
        let lengths = candidates.filter_map(|(pattern, window)| {
            if !pattern.last().ends(chunk) {
                return None;
            }
            let end = end_of(chunk, *window);
            match pattern.last() {
                last if last.is_all => last_bytes(end, last.sets.len()),
                // All matches end at the end of the chunk, and therefore the match that starts first is the longest.
                // Without a window, reading all of a long chunk for each of its suffixes would take quadratic time.
                _ => pattern.find(pattern.reachable_end(end)).map(|range| range.len()),
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

/// The first `window` characters of a text; `None` is the whole text.
fn start_of(text: &str, window: Option<usize>) -> &str {
    let end = window.and_then(|window| text.char_indices().nth(window)).map_or(text.len(), |(end, _)| end);
    &text[..end]
}

/// The last `window` characters of a text; `None` is the whole text.
fn end_of(text: &str, window: Option<usize>) -> &str {
    let length = window.and_then(|window| last_bytes(text, window)).unwrap_or(text.len());
    &text[text.len() - length..]
}

/// The size in bytes of the given number of characters at the end of a text; `None` if the text has fewer characters.
fn last_bytes(text: &str, characters: usize) -> Option<usize> {
    match characters {
        0 => Some(0),
        _ => text.char_indices().nth_back(characters - 1).map(|(start, _)| text.len() - start),
    }
}
