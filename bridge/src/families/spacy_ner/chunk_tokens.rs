//! Splits one chunk of a text into tokens by special cases, prefixes, suffixes and infixes.

use super::rules::{Rules, SpecialToken};

/// A token of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ChunkToken {
    /// The length of the token in bytes.
    pub(super) length: u32,
    /// The index of the token's norm in [`Rules::norms`].
    pub(super) norm: u32,
    /// Whether any of the token sequences in [`Rules`] that are replaced by special cases begins with this token.
    pub(super) may_start: bool,
}

/// Splits a chunk into tokens and appends them to `tokens`. Joined, the tokens are equal to the chunk.
pub(super) fn split(rules: &Rules, chunk: &str, tokens: &mut Vec<ChunkToken>) {
    let mut splitter = Splitter { rules, tokens, start: 0, chunk };
    match rules.special(chunk) {
        Some(special) => splitter.push_special(special),
        None => splitter.split(),
    }
}

struct Splitter<'a> {
    rules: &'a Rules,
    tokens: &'a mut Vec<ChunkToken>,
    chunk: &'a str,
    /// The offset in bytes at which the rest of the chunk starts: the part after all tokens that were found so far.
    start: usize,
}

impl Splitter<'_> {
    fn split(&mut self) {
        let mut end = self.chunk.len();
        let mut suffixes = Vec::new();
        let is_token = self.remove_affixes(&mut end, &mut suffixes);
        let rest = &self.chunk[self.start..end];
        match self.rules.special(rest) {
            _ if rest.is_empty() => {}
            Some(special) => self.push_special(special),
            None if is_token || self.rules.url_match.matches(rest) => self.push(rest.len()),
            None => self.split_rest(rest),
        }
        suffixes.into_iter().rev().for_each(|length| self.push(length));
    }

    /// Removes prefixes and suffixes from the rest of the chunk, which ends at `end`. Prefixes become tokens, and the lengths
    /// of suffixes are added to `suffixes`. Returns whether a pattern of `token_match` matches the new rest.
    ///
    /// The windows of the patterns limit how many characters of a long rest are read for each affix. Therefore the time
    /// is linear in the length of the chunk.
    fn remove_affixes(&mut self, end: &mut usize, suffixes: &mut Vec<usize>) -> bool {
        let mut before = usize::MAX;
        // The offset at which the last failed attempt to match the patterns of `token_match` started, and the number of
        // bytes that its result depended on.
        let mut attempt = (usize::MAX, 0);
        while self.start < *end && *end - self.start != before {
            let rest = &self.chunk[self.start..*end];
            if attempt.0 != self.start || attempt.1 > rest.len() {
                match self.rules.token_match.attempt(rest) {
                    Ok(()) => return true,
                    Err(reach) => attempt = (self.start, reach),
                }
            }
            if self.rules.special(rest).is_some() {
                break;
            }
            before = rest.len();
            let prefix = self.rules.prefixes.length(rest);
            if prefix > 0 && self.rules.special(&rest[prefix..]).is_some() {
                self.push(prefix);
                break;
            }
            let suffix = self.rules.suffixes.length(&rest[prefix..]);
            let is_special = suffix > 0 && self.rules.special(&rest[..rest.len() - suffix]).is_some();
            if prefix > 0 && !is_special {
                self.push(prefix);
            }
            if suffix > 0 {
                suffixes.push(suffix);
                *end -= suffix;
            }
            if is_special {
                break;
            }
        }
        false
    }

    /// Splits the rest of a chunk at its infixes.
    fn split_rest(&mut self, rest: &str) {
        let mut done = 0;
        for infix in self.rules.infix.iter().flat_map(|infix| infix.matches(rest)) {
            if infix.start == 0 {
                continue;
            }
            self.push(infix.start - done);
            self.push(infix.len());
            done = infix.end;
        }
        self.push(rest.len() - done);
    }

    fn push_special(&mut self, special: &[SpecialToken]) {
        for token in special {
            self.push_with(token.length as usize, token.norm);
        }
    }

    /// Appends a token with a length in bytes; appends none if the length is 0.
    fn push(&mut self, length: usize) {
        self.push_with(length, 0);
    }

    fn push_with(&mut self, length: usize, norm: u32) {
        if length == 0 {
            return;
        }
        let may_start = self.rules.sequences.may_start(&self.chunk[self.start..self.start + length]);
        self.tokens.push(ChunkToken { length: length as u32, norm, may_start });
        self.start += length;
    }
}
