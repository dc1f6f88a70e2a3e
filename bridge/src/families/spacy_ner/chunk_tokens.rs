//! One chunk of a text to tokens: special cases, what is cut off its ends, and what splits it.

use super::rules::{Rules, SpecialToken};

/// A token of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    /// In bytes.
    pub(super) length: u32,
    /// Index in [`Rules::norms`].
    pub(super) norm: u32,
    /// Whether a sequence of the rules begins with it.
    pub(super) may_start: bool,
}

/// Adds the tokens of a chunk; their lengths add up to the chunk's.
pub(super) fn split(rules: &Rules, chunk: &str, pieces: &mut Vec<Piece>) {
    let mut splitter = Splitter { rules, pieces, at: 0, chunk };
    match rules.special(chunk) {
        Some(special) => splitter.push_special(special),
        None => splitter.split(),
    }
}

struct Splitter<'a> {
    rules: &'a Rules,
    pieces: &'a mut Vec<Piece>,
    chunk: &'a str,
    /// The byte behind the last token.
    at: usize,
}

impl Splitter<'_> {
    fn split(&mut self) {
        let mut end = self.chunk.len();
        let mut suffixes = Vec::new();
        let is_token = self.cut_affixes(&mut end, &mut suffixes);
        let rest = &self.chunk[self.at..end];
        match self.rules.special(rest) {
            _ if rest.is_empty() => {}
            Some(special) => self.push_special(special),
            None if is_token || self.rules.url_match.matches(rest) => self.push(rest.len()),
            None => self.split_rest(rest),
        }
        suffixes.into_iter().rev().for_each(|length| self.push(length));
    }

    /// Cuts prefixes and suffixes off the rest, which goes up to `end`; whether it ended at a whole token.
    ///
    /// Nothing here looks at all of a long rest but the patterns themselves: their windows keep time linear.
    fn cut_affixes(&mut self, end: &mut usize, suffixes: &mut Vec<usize>) -> bool {
        let mut before = usize::MAX;
        // Where the last attempt at a whole token started, and how far it looked.
        let mut attempt = (usize::MAX, 0);
        while self.at < *end && *end - self.at != before {
            let rest = &self.chunk[self.at..*end];
            if attempt.0 != self.at || attempt.1 > rest.len() {
                match self.rules.token_match.attempt(rest) {
                    Ok(()) => return true,
                    Err(reach) => attempt = (self.at, reach),
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

    /// Splits what is left of a chunk at its infixes.
    fn split_rest(&mut self, rest: &str) {
        let mut done = 0;
        for found in self.rules.infix.iter().flat_map(|infix| infix.matches(rest)) {
            if found.start == 0 {
                continue;
            }
            self.push(found.start - done);
            self.push(found.len());
            done = found.end;
        }
        self.push(rest.len() - done);
    }

    fn push_special(&mut self, special: &[SpecialToken]) {
        for token in special {
            self.push_with(token.length as usize, token.norm);
        }
    }

    fn push(&mut self, length: usize) {
        self.push_with(length, 0);
    }

    fn push_with(&mut self, length: usize, norm: u32) {
        if length == 0 {
            return;
        }
        let may_start = self.rules.sequences.may_start(&self.chunk[self.at..self.at + length]);
        self.pieces.push(Piece { length: length as u32, norm, may_start });
        self.at += length;
    }
}
