//! Texts to tokens.

use std::collections::HashMap;

use super::characters::CharSet;
use super::chunk_tokens::{Piece, split};
use super::rules::Rules;

/// The largest text in bytes: tokens keep their places in 32 bits.
pub(super) const MAX_TEXT_BYTES: usize = (1 << 31) - 1;
/// The longest chunk in bytes whose tokens are kept.
const KEPT_CHUNK: usize = 100;
/// Chunks and tokens whose memory is worth it; when there are more, all are forgotten.
const KEPT_CHUNKS: usize = 30_000;
const KEPT_PIECES: usize = 120_000;

/// A token, by its place in the text: 12 bytes, for texts of millions of tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token {
    start: u32,
    length: u32,
    /// Index of the norm, and two flags in the lowest bits.
    norm: u32,
}

const SPACE: u32 = 1;
const MAY_START: u32 = 2;
const FLAGS: u32 = 2;

impl Token {
    pub(super) fn new(start: usize, length: u32, norm: u32) -> Self {
        Self { start: start as u32, length, norm: norm << FLAGS }
    }

    fn of(piece: Piece, start: usize) -> Self {
        let mut token = Self::new(start, piece.length, piece.norm);
        token.norm |= u32::from(piece.may_start) * MAY_START;
        token
    }

    /// The byte of the text it starts at.
    pub(super) fn start(self) -> usize {
        self.start as usize
    }

    /// The byte of the text behind it.
    pub(super) fn end(self) -> usize {
        (self.start + self.length) as usize
    }

    pub(super) fn text(self, text: &str) -> &str {
        &text[self.start()..self.end()]
    }

    /// Index in [`Rules::norms`].
    pub(super) fn norm(self) -> u32 {
        self.norm >> FLAGS
    }

    /// Whether a trailing space comes after it.
    pub(super) fn has_space(self) -> bool {
        self.norm & SPACE != 0
    }

    pub(super) fn add_space(&mut self) {
        self.norm |= SPACE;
    }

    /// Whether a sequence of the rules begins with it.
    pub(super) fn may_start(self) -> bool {
        self.norm & MAY_START != 0
    }
}

/// The tokens of chunks seen before.
#[derive(Debug, Default)]
pub(super) struct ChunkCache {
    chunks: HashMap<Box<str>, (u32, u32)>,
    pieces: Vec<Piece>,
    /// The tokens of a chunk that is not kept.
    scratch: Vec<Piece>,
}

impl ChunkCache {
    /// The tokens of a chunk.
    fn pieces(&mut self, rules: &Rules, chunk: &str) -> &[Piece] {
        if chunk.len() > KEPT_CHUNK {
            self.scratch.clear();
            split(rules, chunk, &mut self.scratch);
            return &self.scratch;
        }
        if let Some(&(start, end)) = self.chunks.get(chunk) {
            return &self.pieces[start as usize..end as usize];
        }
        if self.chunks.len() >= KEPT_CHUNKS || self.pieces.len() >= KEPT_PIECES {
            self.chunks.clear();
            self.pieces.clear();
        }
        let start = self.pieces.len();
        split(rules, chunk, &mut self.pieces);
        self.chunks.insert(chunk.into(), (start as u32, self.pieces.len() as u32));
        &self.pieces[start..]
    }
}

/// The tokens of a text of at most [`MAX_TEXT_BYTES`] bytes: they and the trailing spaces are the text.
pub(super) fn tokenize(rules: &Rules, text: &str, cache: &mut ChunkCache) -> Vec<Token> {
    let mut tokens: Vec<Token> = Vec::with_capacity(text.len() / 5 + 1);
    let (mut at, mut is_space) = (0, false);
    while at < text.len() {
        let end = run_end(text, at, &rules.characters.space, is_space);
        if is_space
            && let Some(last) = tokens.last_mut()
            && text.as_bytes()[at] == b' '
        {
            last.add_space();
            at += 1;
        }
        if at < end {
            for &piece in cache.pieces(rules, &text[at..end]) {
                tokens.push(Token::of(piece, at));
                at += piece.length as usize;
            }
        }
        is_space = !is_space;
    }
    rules.sequences.apply(text, rules, &mut tokens);
    tokens
}

/// Where the run of spaces, or of other characters, that starts at a byte ends.
fn run_end(text: &str, start: usize, space: &CharSet, is_space: bool) -> usize {
    let bytes = text.as_bytes();
    let mut at = start;
    while let Some(&byte) = bytes.get(at) {
        let character = match byte.is_ascii() {
            true => char::from(byte),
            false => text[at..].chars().next().unwrap_or_default(),
        };
        if space.contains(character) != is_space {
            break;
        }
        at += character.len_utf8();
    }
    at
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::families::spacy_ner::pattern::steps_of;
    use crate::families::spacy_ner::testing::rules;

    /// The tokens of a text; a `_` behind one stands for its trailing space.
    fn split(text: &str) -> Vec<String> {
        let tokens = tokenize(&rules(), text, &mut ChunkCache::default());
        tokens.iter().map(|token| format!("{}{}", token.text(text), if token.has_space() { "_" } else { "" })).collect()
    }

    #[test]
    fn a_token_is_small_and_keeps_what_it_was_given() {
        assert_eq!(size_of::<Token>(), 12);
        let mut token = Token::of(Piece { length: 7, norm: 1 << 20, may_start: true }, 1 << 30);
        assert_eq!((token.start(), token.end(), token.norm()), (1 << 30, (1 << 30) + 7, 1 << 20));
        assert!(token.may_start() && !token.has_space());
        token.add_space();
        assert!(token.may_start() && token.has_space() && token.norm() == 1 << 20);
    }

    #[test]
    fn spaces_are_chunks_but_for_one_blank_behind_a_word() {
        let cases: [(&str, &[&str]); 14] = [
            ("", &[]),
            (" ", &[" "]),
            ("  ", &["  "]),
            ("a", &["a"]),
            ("a ", &["a_"]),
            (" a", &[" ", "a"]),
            ("a b", &["a_", "b"]),
            ("a  b", &["a_", " ", "b"]),
            ("a   ", &["a_", "  "]),
            ("a\nb", &["a", "\n", "b"]),
            ("a \n b", &["a_", "\n ", "b"]),
            ("a\u{a0}b\u{3000} ", &["a", "\u{a0}", "b", "\u{3000} "]),
            ("\u{1c}a\u{85}", &["\u{1c}", "a", "\u{85}"]),
            ("a\u{200b}b", &["a\u{200b}b"]),
        ];
        for (text, expected) in cases {
            assert_eq!(split(text), expected, "{text:?}");
        }
    }

    #[test]
    fn chunks_are_cut_by_the_rules() {
        let cases: [(&str, &[&str]); 26] = [
            ("don't", &["do", "n't"]),
            ("(don't)", &["(", "do", "n't", ")"]),
            ("((a))", &["(", "(", "a", ")", ")"]),
            // What follows the prefix is a special case, and so is what is left without the suffix.
            ("(:)", &["(", ":)"]),
            ("e.g.)", &["e.g.", ")"]),
            ("--a--", &["--", "a", "--"]),
            ("----", &["----"]),
            ("...a", &["...", "a"]),
            ("+a", &["+", "a"]),
            ("+1", &["+1"]),
            ("Ann's", &["Ann", "'s"]),
            ("10km", &["10", "km"]),
            ("xkm", &["xkm"]),
            ("end.", &["end", "."]),
            ("END.", &["END."]),
            ("well-known", &["well", "-", "known"]),
            ("a..b", &["a", "..", "b"]),
            ("..b", &["..b"]),
            ("fooBar", &["foo", "Bar"]),
            ("fooBarBaz", &["foo", "Bar", "Baz"]),
            ("www.x-y.org", &["www.x-y.org"]),
            ("http://a.org.", &["http://a.org", "."]),
            ("a12)", &["a12)"]),
            ("b12)", &["b12", ")"]),
            ("(a12)", &["(", "a12", ")"]),
            ("\"\"", &["\"", "\""]),
        ];
        for (text, expected) in cases {
            assert_eq!(split(text), expected, "{text:?}");
        }
    }

    #[test]
    fn sequences_of_tokens_become_special_cases() {
        let cases: [(&str, &[&str]); 8] = [
            ("(:) b", &["(", ":)_", "b"]),
            ("a(:)", &["a(:", ")"]),
            ("so (x) b", &["so", " ", "(x)_", "b"]),
            ("so (x)", &["so", " ", "(x)"]),
            // Two blanks are another text.
            ("so  (x)", &["so_", " ", "(", "x", ")"]),
            ("so (c)", &["so_", "(c)"]),
            // The longer run is no special case, and still stands in the way of the shorter one.
            ("so (", &["so_", "("]),
            ("(x)", &["(", "x", ")"]),
        ];
        for (text, expected) in cases {
            assert_eq!(split(text), expected, "{text:?}");
        }
    }

    #[test]
    fn norms_come_from_special_cases_alone() {
        let rules = rules();
        let norms = |text| {
            tokenize(&rules, text, &mut ChunkCache::default()).iter().map(|token| token.norm()).collect::<Vec<_>>()
        };
        assert_eq!((norms("don't (c)"), norms("do not")), (vec![0, 2, 1], vec![0, 0]));
    }

    /// Whatever is looked at in full for every cut would take four times the steps for twice the text.
    #[test]
    fn steps_of_long_chunks_grow_with_them() {
        let rules = rules();
        let steps = |text: &str, expected: Option<usize>| {
            steps_of(|| {
                let tokens = tokenize(&rules, text, &mut ChunkCache::default());
                assert_eq!(tokens.iter().map(|token| token.text(text).len()).sum::<usize>(), text.len());
                assert!(expected.is_none_or(|count| tokens.len() == count));
            })
        };
        for part in ["(", ")", "\"", "(a", "a-", "a.", "--", "...", "é", "a12)"] {
            let [half, whole] = [5_000, 10_000].map(|times| steps(&part.repeat(times), None));
            assert!(2 * whole <= 5 * half, "{part:?}: {half} steps, then {whole}");
        }
        // A whole token up to the first of the suffixes, which is looked for again after each.
        let [half, whole] = [5_000, 10_000]
            .map(|times| steps(&format!("a{}{}", "1".repeat(times), "\"".repeat(times)), Some(times + 1)));
        assert!(2 * whole <= 5 * half, "{half} steps, then {whole}");
    }

    #[test]
    fn a_full_cache_is_emptied() {
        let text: String = (0..KEPT_CHUNKS + 10).map(|number| format!("w{number} ")).collect();
        let mut cache = ChunkCache::default();
        let rules = rules();
        let once = tokenize(&rules, &text, &mut cache);
        assert_eq!(once.len(), KEPT_CHUNKS + 10);
        assert!(cache.chunks.len() <= 10 && cache.pieces.len() <= 10);
        assert_eq!(tokenize(&rules, &text, &mut cache), once);
    }

    proptest! {
        #[test]
        fn tokens_and_spaces_are_the_text(text in "[a-eA-C0-3().'\"+é \\-\n\u{a0}:/]{0,60}", other in "\\PC{0,40}") {
            let rules = rules();
            let mut cache = ChunkCache::default();
            for text in [&text, &other, &format!("{other}{text}"), &text] {
                let tokens = tokenize(&rules, text, &mut cache);
                let mut at = 0;
                for token in &tokens {
                    prop_assert_eq!(token.start(), at);
                    prop_assert!(token.end() > at && text.is_char_boundary(token.end()));
                    at = token.end() + usize::from(token.has_space());
                    prop_assert!(!token.has_space() || text.as_bytes()[token.end()] == b' ');
                }
                prop_assert_eq!(at, text.len());
                prop_assert_eq!(tokens, tokenize(&rules, text, &mut ChunkCache::default()));
            }
        }
    }
}
