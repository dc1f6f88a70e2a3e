//! Token types: what a network is told about a token, computed once per word.

use std::collections::HashMap;

use super::hashing::hash_number;
use super::rules::Rules;
use super::tables::Tables;
use super::tokenizer::Token;
use crate::artifact::manifest::{Attribute, HashColumn};

/// Types whose memory is worth it; when there are more, all are forgotten before the next run.
const KEPT_TYPES: usize = 50_000;
/// Rows of a table that a number chooses.
const ROWS: usize = 4;
/// Characters of a token's end that are its SUFFIX.
const SUFFIX: usize = 3;

/// What the types of a network are computed from.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) rules: &'a Rules,
    pub(super) tables: &'a Tables,
    pub(super) columns: &'a [HashColumn],
    pub(super) vectors: bool,
}

/// The types of one run, as the graph wants them.
#[derive(Debug, Default)]
pub(super) struct RunTypes {
    /// `[types, 4 * columns]`.
    pub(super) rows: Vec<i32>,
    /// `[types]`, where the network has vectors.
    pub(super) vectors: Vec<i32>,
    count: i32,
}

impl RunTypes {
    /// How many types there are.
    pub(super) fn count(&self) -> usize {
        self.count as usize
    }
}

/// One type.
#[derive(Debug)]
struct Type {
    norm: u32,
    has_space: bool,
    is_space: bool,
    /// The next type of the same text.
    next: Option<u32>,
    /// The run it was last part of, and its place there.
    run: u64,
    place: i32,
}

/// The types of tokens seen before.
#[derive(Debug, Default)]
pub(super) struct TypeCache {
    /// The first type of a text.
    first: HashMap<Box<str>, u32>,
    types: Vec<Type>,
    /// `[types, 4 * columns]`.
    rows: Vec<i32>,
    /// `[types]`, where the network has vectors.
    vectors: Vec<i32>,
    run: u64,
}

impl TypeCache {
    /// Begins a run, whose types have places from 0 on.
    pub(super) fn begin(&mut self) -> RunTypes {
        if self.types.len() >= KEPT_TYPES {
            *self = Self { run: self.run, ..Self::default() };
        }
        self.run += 1;
        RunTypes::default()
    }

    /// The place of a token's type in the run, and whether it consists of spaces.
    pub(super) fn place(&mut self, source: Source<'_>, text: &str, token: Token, run: &mut RunTypes) -> (i32, bool) {
        let id = self.id(source, token.text(text), token) as usize;
        let width = ROWS * source.columns.len();
        let kind = &mut self.types[id];
        if kind.run != self.run {
            (kind.run, kind.place) = (self.run, run.count);
            run.count += 1;
            run.rows.extend_from_slice(&self.rows[id * width..(id + 1) * width]);
            run.vectors.extend(source.vectors.then(|| self.vectors[id]));
        }
        (kind.place, kind.is_space)
    }

    fn id(&mut self, source: Source<'_>, word: &str, token: Token) -> u32 {
        let first = self.first.get(word).copied();
        let mut next = first;
        while let Some(id) = next {
            let kind = &self.types[id as usize];
            if kind.norm == token.norm() && kind.has_space == token.has_space() {
                return id;
            }
            next = kind.next;
        }
        let id = self.types.len() as u32;
        let is_space = source.add(word, token, &mut self.rows, &mut self.vectors);
        let (norm, has_space) = (token.norm(), token.has_space());
        self.types.push(Type { norm, has_space, is_space, next: first, run: 0, place: 0 });
        match self.first.get_mut(word) {
            Some(first) => *first = id,
            None => drop(self.first.insert(word.into(), id)),
        }
        id
    }
}

impl Source<'_> {
    /// Adds the rows of a token's type; whether it consists of spaces.
    fn add(self, word: &str, token: Token, rows: &mut Vec<i32>, vectors: &mut Vec<i32>) -> bool {
        let numbers = Numbers { source: self, word, orth: self.rules.number(word), token };
        for column in self.columns {
            let hashes = hash_number(numbers.of(column.attribute), column.seed);
            rows.extend(hashes.map(|hash| (hash % column.rows) as i32));
        }
        vectors.extend(self.vectors.then(|| self.tables.vectors.get(numbers.orth).unwrap_or(-1)));
        self.rules.characters.is_space(word)
    }
}

/// The attributes of a token as numbers.
struct Numbers<'a> {
    source: Source<'a>,
    word: &'a str,
    orth: u64,
    token: Token,
}

impl Numbers<'_> {
    fn of(&self, attribute: Attribute) -> u64 {
        let Source { rules, .. } = self.source;
        match attribute {
            Attribute::Orth => self.orth,
            Attribute::Norm => self.norm(),
            Attribute::Lower => rules.number(&rules.characters.lower(self.word)),
            Attribute::Prefix => rules.number(first(self.word)),
            Attribute::Suffix => rules.number(last(self.word)),
            Attribute::Shape => rules.number(&rules.characters.shape(self.word)),
            Attribute::IsSpace => rules.characters.is_space(self.word).into(),
            Attribute::Spacy => self.token.has_space().into(),
        }
    }

    fn norm(&self) -> u64 {
        match self.token.norm() {
            0 => self.source.tables.norms.get(self.orth).unwrap_or_else(|| self.of(Attribute::Lower)),
            norm => self.source.rules.norms[norm as usize],
        }
    }
}

/// The first character of a word.
fn first(word: &str) -> &str {
    &word[..word.chars().next().map_or(0, char::len_utf8)]
}

/// The last three characters of a word.
fn last(word: &str) -> &str {
    word.char_indices().nth_back(SUFFIX - 1).map_or(word, |(start, _)| &word[start..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spacy::hashing::hash_string;
    use crate::spacy::testing::{rules, spec, tables};
    use crate::spacy::tokenizer::{ChunkCache, tokenize};

    fn numbers(text: &str, attribute: Attribute) -> Vec<u64> {
        let (rules, tables, spec) = (rules(), tables(), spec());
        let source = Source { rules: &rules, tables: &tables, columns: &spec.ner.columns, vectors: true };
        let of = |token: Token| {
            let word = token.text(text);
            Numbers { source, word, orth: rules.number(word), token }.of(attribute)
        };
        tokenize(&rules, text, &mut ChunkCache::default()).into_iter().map(of).collect()
    }

    #[test]
    fn attributes_are_numbers() {
        let text = "Éa \n don't";
        let cases = [
            (Attribute::Orth, ["Éa", "\n ", "do", "n't"].map(hash_string)),
            (Attribute::Lower, ["éa", "\n ", "do", "n't"].map(hash_string)),
            (Attribute::Prefix, ["É", "\n", "d", "n"].map(hash_string)),
            (Attribute::Suffix, ["Éa", "\n ", "do", "n't"].map(hash_string)),
            (Attribute::Shape, ["Xx", "\n ", "xx", "x'x"].map(hash_string)),
            (Attribute::Norm, [hash_string("éa"), hash_string("\n "), hash_string("do"), 7]),
            (Attribute::IsSpace, [0, 1, 0, 0]),
            (Attribute::Spacy, [1, 0, 0, 0]),
        ];
        for (attribute, expected) in cases {
            assert_eq!(numbers(text, attribute), expected, "{attribute:?}");
        }
        assert_eq!(numbers("abcdé", Attribute::Suffix), [hash_string("cdé")]);
    }

    #[test]
    fn the_same_word_is_one_type_in_every_run() {
        let (rules, tables, spec) = (rules(), tables(), spec());
        let source = Source { rules: &rules, tables: &tables, columns: &spec.ner.columns, vectors: true };
        let text = "a b a\n not";
        let tokens = tokenize(&rules, text, &mut ChunkCache::default());
        let mut cache = TypeCache::default();
        let mut first = cache.begin();
        let places: Vec<_> = tokens.iter().map(|token| cache.place(source, text, *token, &mut first)).collect();
        // The first and the last "a" differ in their trailing space.
        assert_eq!(places, [(0, false), (1, false), (2, false), (3, true), (4, false)]);
        assert_eq!((first.count(), first.rows.len(), first.vectors.len()), (5, 5 * 8, 5));
        let mut second = cache.begin();
        let places: Vec<_> = tokens[1..3].iter().map(|token| cache.place(source, text, *token, &mut second)).collect();
        assert_eq!(places, [(0, false), (1, false)]);
        assert_eq!(second.rows, first.rows[8..24]);
        let expected = hash_number(hash_string("b"), 8).map(|hash| (hash % 100) as i32);
        assert_eq!(first.rows[8..12], expected);
    }

    #[test]
    fn a_full_cache_is_emptied_before_a_run() {
        let (rules, tables, spec) = (rules(), tables(), spec());
        let source = Source { rules: &rules, tables: &tables, columns: &spec.ner.columns, vectors: false };
        let text: String = (0..KEPT_TYPES + 1).map(|number| format!("w{number} ")).collect();
        let mut cache = TypeCache::default();
        let mut run = cache.begin();
        for token in tokenize(&rules, &text, &mut ChunkCache::default()) {
            cache.place(source, &text, token, &mut run);
        }
        assert_eq!((cache.types.len(), run.count(), run.vectors.len()), (KEPT_TYPES + 1, KEPT_TYPES + 1, 0));
        cache.begin();
        assert_eq!((cache.types.len(), cache.run), (0, 2));
    }
}
