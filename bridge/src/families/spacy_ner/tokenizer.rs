//! Splits texts into tokens by the tokenizer's rules. A chunk is a maximal sequence of characters that are all
//! whitespace or all not whitespace. The tokens of recent chunks are cached.

use std::collections::HashMap;

use super::characters::CharSet;
use super::chunk_tokens::{ChunkToken, split};
use super::rules::Rules;

/// Limit on the size of a text in bytes, because tokens have offsets of 32 bits.
pub(super) const MAX_TEXT_BYTES: usize = (1 << 31) - 1;
/// Limit on the size in bytes of a chunk whose tokens are cached.
const MAX_CACHED_CHUNK_BYTES: usize = 100;
/// Limits on the number of chunks and on the number of tokens in the cache. If one of them is reached, the cache is
/// cleared.
const MAX_CACHED_CHUNKS: usize = 30_000;
const MAX_CACHED_TOKENS: usize = 120_000;

/// A token of a text. It has only 12 bytes, because a text can have millions of tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token {
    /// The offset of the token's start in the text, in bytes.
    start: u32,
    /// The length of the token in bytes.
    length: u32,
    /// The index of the token's norm in [`Rules::norms`], shifted left by `FLAG_BITS`, and below it the two flags
    /// `SPACE` and `MAY_START`.
    norm: u32,
}

const SPACE: u32 = 1;
const MAY_START: u32 = 2;
const FLAG_BITS: u32 = 2;

impl Token {
    pub(super) fn new(start: usize, length: u32, norm: u32) -> Self {
        Self { start: start as u32, length, norm: norm << FLAG_BITS }
    }

    fn of(token: ChunkToken, start: usize) -> Self {
        let mut new = Self::new(start, token.length, token.norm);
        new.norm |= u32::from(token.may_start) * MAY_START;
        new
    }

    /// The offset of the token's start in the text, in bytes.
    pub(super) fn start(self) -> usize {
        self.start as usize
    }

    /// The offset of the token's end in the text, in bytes, exclusive.
    pub(super) fn end(self) -> usize {
        (self.start + self.length) as usize
    }

    pub(super) fn text(self, text: &str) -> &str {
        &text[self.start()..self.end()]
    }

    /// The index of the token's norm in [`Rules::norms`].
    pub(super) fn norm(self) -> u32 {
        self.norm >> FLAG_BITS
    }

    /// Whether a space follows the token. This trailing space belongs to no token.
    pub(super) fn has_space(self) -> bool {
        self.norm & SPACE != 0
    }

    pub(super) fn add_space(&mut self) {
        self.norm |= SPACE;
    }

    /// Whether any of the token sequences in [`Rules`] that are replaced by special cases begins with this token.
    pub(super) fn may_start(self) -> bool {
        self.norm & MAY_START != 0
    }
}

/// A cache of the tokens of recent chunks.
#[derive(Debug, Default)]
pub(super) struct ChunkCache {
    /// For each cached chunk, the range of its tokens in `tokens`.
    chunks: HashMap<Box<str>, (u32, u32)>,
    tokens: Vec<ChunkToken>,
    /// The tokens of the current chunk if it is too long for the cache.
    uncached: Vec<ChunkToken>,
}

impl ChunkCache {
    /// The tokens of a chunk. They are taken from the cache if it has the chunk, else computed.
    fn tokens(&mut self, rules: &Rules, chunk: &str) -> &[ChunkToken] {
        if chunk.len() > MAX_CACHED_CHUNK_BYTES {
            self.uncached.clear();
            split(rules, chunk, &mut self.uncached);
            return &self.uncached;
        }
        if let Some(&(start, end)) = self.chunks.get(chunk) {
            return &self.tokens[start as usize..end as usize];
        }
        if self.chunks.len() >= MAX_CACHED_CHUNKS || self.tokens.len() >= MAX_CACHED_TOKENS {
            self.chunks.clear();
            self.tokens.clear();
        }
        let start = self.tokens.len();
        split(rules, chunk, &mut self.tokens);
        self.chunks.insert(chunk.into(), (start as u32, self.tokens.len() as u32));
        &self.tokens[start..]
    }
}

/// The tokens of a text, which must not be larger than [`MAX_TEXT_BYTES`]. Joined with their trailing spaces, the
/// tokens are equal to the text.
pub(super) fn tokenize(rules: &Rules, text: &str, cache: &mut ChunkCache) -> Vec<Token> {
    let mut tokens: Vec<Token> = Vec::with_capacity(text.len() / 5 + 1);
    let (mut offset, mut is_space) = (0, false);
    while offset < text.len() {
        let end = chunk_end(text, offset, &rules.characters.space, is_space);
        if is_space
            && let Some(last) = tokens.last_mut()
            && text.as_bytes()[offset] == b' '
        {
            last.add_space();
            offset += 1;
        }
        if offset < end {
            for &token in cache.tokens(rules, &text[offset..end]) {
                tokens.push(Token::of(token, offset));
                offset += token.length as usize;
            }
        }
        is_space = !is_space;
    }
    rules.sequences.apply(text, rules, &mut tokens);
    tokens
}

/// The offset in bytes at which the chunk that starts at a given offset ends; `is_space` tells whether the chunk
/// consists of whitespace.
fn chunk_end(text: &str, start: usize, space: &CharSet, is_space: bool) -> usize {
    let bytes = text.as_bytes();
    let mut offset = start;
    while let Some(&byte) = bytes.get(offset) {
        let character = match byte.is_ascii() {
            true => char::from(byte),
            false => text[offset..].chars().next().unwrap_or_default(),
        };
        if space.contains(character) != is_space {
            break;
        }
        offset += character.len_utf8();
    }
    offset
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::families::spacy_ner::pattern::steps_of;
    use crate::families::spacy_ner::testing::rules;

    /// Splits a text into tokens and returns their texts. A trailing space is shown as `_` after its token.
    fn split(text: &str) -> Vec<String> {
        let tokens = tokenize(&rules(), text, &mut ChunkCache::default());
        tokens.iter().map(|token| format!("{}{}", token.text(text), if token.has_space() { "_" } else { "" })).collect()
    }

    #[test]
    fn a_token_stores_its_values_in_12_bytes() {
        assert_eq!(size_of::<Token>(), 12);
        let mut token = Token::of(ChunkToken { length: 7, norm: 1 << 20, may_start: true }, 1 << 30);
        assert_eq!((token.start(), token.end(), token.norm()), (1 << 30, (1 << 30) + 7, 1 << 20));
        assert!(token.may_start() && !token.has_space());
        token.add_space();
        assert!(token.may_start() && token.has_space() && token.norm() == 1 << 20);
    }

    #[test]
    fn whitespace_is_a_chunk_except_for_one_space_after_a_word() {
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
    fn chunks_are_split_by_the_rules() {
        let cases: [(&str, &[&str]); 26] = [
            ("don't", &["do", "n't"]),
            ("(don't)", &["(", "do", "n't", ")"]),
            ("((a))", &["(", "(", "a", ")", ")"]),
            // ":)" after the prefix "(" is a special case, and so is "e.g." before the suffix ")".
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
            // With two spaces between its words, the text is not a special case.
            ("so  (x)", &["so_", " ", "(", "x", ")"]),
            ("so (c)", &["so_", "(c)"]),
            // The longer sequence "so (" is not a special case, but it prevents the match of the shorter sequence "(".
            ("so (", &["so_", "("]),
            ("(x)", &["(", "x", ")"]),
        ];
        for (text, expected) in cases {
            assert_eq!(split(text), expected, "{text:?}");
        }
    }

    #[test]
    fn only_special_cases_set_norms() {
        let rules = rules();
        let norms = |text| {
            tokenize(&rules, text, &mut ChunkCache::default()).iter().map(|token| token.norm()).collect::<Vec<_>>()
        };
        assert_eq!((norms("don't (c)"), norms("do not")), (vec![0, 2, 1], vec![0, 0]));
    }

    /// Twice the text takes about twice the steps of the pattern machine. It would take four times as many if every
    /// split of a chunk read all of the chunk.
    #[test]
    fn the_number_of_steps_is_linear_in_the_length_of_a_chunk() {
        let rules = rules();
        let steps = |text: &str, expected: Option<usize>| {
            steps_of(|| {
                let tokens = tokenize(&rules, text, &mut ChunkCache::default());
                assert_eq!(tokens.iter().map(|token| token.text(text).len()).sum::<usize>(), text.len());
                assert!(expected.is_none_or(|count| tokens.len() == count));
            })
        };
        for text in ["(", ")", "\"", "(a", "a-", "a.", "--", "...", "é", "a12)", "--\"", "--)"] {
            let [half, whole] = [5_000, 10_000].map(|times| steps(&text.repeat(times), None));
            assert!(2 * whole <= 5 * half, "{text:?}: {half} steps, then {whole}");
        }
        // The pattern of `token_match` reads all digits up to the quotes at the end of the chunk. After a suffix is
        // removed, the pattern is tried again only if it had read beyond the new end of the chunk.
        let [half, whole] = [5_000, 10_000]
            .map(|times| steps(&format!("a{}{}", "1".repeat(times), "\"".repeat(times)), Some(times + 1)));
        assert!(2 * whole <= 5 * half, "{half} steps, then {whole}");
    }

    #[test]
    fn a_full_cache_is_cleared() {
        let text: String = (0..MAX_CACHED_CHUNKS + 10).map(|number| format!("w{number} ")).collect();
        let mut cache = ChunkCache::default();
        let rules = rules();
        let once = tokenize(&rules, &text, &mut cache);
        assert_eq!(once.len(), MAX_CACHED_CHUNKS + 10);
        assert!(cache.chunks.len() <= 10 && cache.tokens.len() <= 10);
        assert_eq!(tokenize(&rules, &text, &mut cache), once);
    }

    proptest! {
        #[test]
        fn tokens_and_trailing_spaces_cover_the_text(text in "[a-eA-C0-3().'\"+é \\-\n\u{a0}:/]{0,60}", other in "\\PC{0,40}") {
            let rules = rules();
            let mut cache = ChunkCache::default();
            for text in [&text, &other, &format!("{other}{text}"), &text] {
                let tokens = tokenize(&rules, text, &mut cache);
                let mut offset = 0;
                for token in &tokens {
                    prop_assert_eq!(token.start(), offset);
                    prop_assert!(token.end() > offset && text.is_char_boundary(token.end()));
                    offset = token.end() + usize::from(token.has_space());
                    prop_assert!(!token.has_space() || text.as_bytes()[token.end()] == b' ');
                }
                prop_assert_eq!(offset, text.len());
                prop_assert_eq!(tokens, tokenize(&rules, text, &mut ChunkCache::default()));
            }
        }
    }
}
