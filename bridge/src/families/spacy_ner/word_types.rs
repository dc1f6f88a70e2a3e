//! Token types. Tokens of one type have the same text, norm and trailing space, and therefore the same inputs of the graph
//! of types. These inputs are computed once per type.

use std::collections::HashMap;

use super::hashing::hash_number;
use super::output_cache::{OutputCache, TokenInputs, TypeOutputs};
use super::rules::Rules;
use super::tables::Tables;
use super::tokenizer::Token;
use crate::BridgeError;
use crate::families::spacy_ner::section::{Attribute, HashColumn};

/// Limit on the token types in the cache. If there are more, the cache is cleared before the next run.
const MAX_TYPES: usize = 50_000;
/// The number of rows that a hash selects from each hashed embedding table.
const ROWS: usize = 4;
/// The index of the type that all padding tokens have.
const PADDING: u32 = 0;
/// The index that stands for a row of a table or a vector that does not exist.
const NO_ROW: i32 = -1;
/// The number of characters of the token attribute `SUFFIX`.
const SUFFIX_CHARS: usize = 3;

/// The rules and tables from which the inputs of a network's graph of types are computed for each token type.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) rules: &'a Rules,
    pub(super) tables: &'a Tables,
    pub(super) columns: &'a [HashColumn],
    pub(super) vectors: bool,
}

/// The token types of a run whose outputs are not in the cache, with the inputs of the graph of types for them.
#[derive(Debug, Default)]
pub(super) struct NewTypes {
    /// The index of each of these types in the cache of types.
    pub(super) types: Vec<u32>,
    /// The indices of each type's rows in the hashed embedding tables, flat `[types, 4 * columns]`: four rows of each
    /// table, one table per column.
    pub(super) rows: Vec<i32>,
    /// The index of each type's static vector, `[types]`; empty if the network has no vectors.
    pub(super) vectors: Vec<i32>,
}

impl NewTypes {
    /// The number of token types whose outputs are not in the cache.
    pub(super) fn count(&self) -> usize {
        self.types.len()
    }
}

/// A token type: what all tokens with the same text, norm and trailing space share.
#[derive(Debug)]
struct Type {
    norm: u32,
    has_space: bool,
    is_space: bool,
    /// The index of the next type in the linked list of types that have the same text; `None` for the last one.
    next: Option<u32>,
    /// The number of the last run that had a token of this type, counted from 1.
    run: u64,
}

/// A cache of all token types that were seen so far, with the outputs of the graph of types for the recently used ones.
/// A type is identified by its index in the cache.
#[derive(Debug, Default)]
pub(super) struct TypeCache {
    /// For each token text, the index of the first type in the linked list of types that have this text. The types of a
    /// list differ in norm or trailing space.
    first: HashMap<Box<str>, u32>,
    /// The cached types in the order of their indices; the first one is the type of padding tokens.
    types: Vec<Type>,
    /// The indices of each type's rows in the hashed embedding tables, flat `[types, 4 * columns]`: four rows of each
    /// table, one table per column.
    rows: Vec<i32>,
    /// The index of each type's static vector, `[types]`; empty if the network has no vectors.
    vectors: Vec<i32>,
    /// The number of runs so far, including the current one.
    run: u64,
    outputs: OutputCache,
}

impl TypeCache {
    /// Begins a run. The index of a type is only valid until the next run begins, because that may clear the cache.
    pub(super) fn begin(&mut self, source: Source<'_>) {
        if self.types.len() >= MAX_TYPES {
            *self = Self { run: self.run, ..Self::default() };
        }
        self.run += 1;
        if self.types.is_empty() {
            self.types.push(Type { norm: 0, has_space: false, is_space: true, next: None, run: 0 });
            self.rows.extend(std::iter::repeat_n(NO_ROW, ROWS * source.columns.len()));
            self.vectors.extend(source.vectors.then_some(NO_ROW));
        }
    }

    /// The index of a token's type, and whether the token consists of whitespace. Adds the type to `new` if its outputs
    /// are not in the cache.
    pub(super) fn number(&mut self, source: Source<'_>, text: &str, token: Token, new: &mut NewTypes) -> (u32, bool) {
        let id = self.id(source, token.text(text), token);
        self.mark_used(id, new);
        (id, self.types[id as usize].is_space)
    }

    /// The index of the type of padding tokens. Adds the type to `new` if its outputs are not in the cache.
    pub(super) fn padding(&mut self, new: &mut NewTypes) -> u32 {
        self.mark_used(PADDING, new);
        PADDING
    }

    /// Adds the outputs of the graph of types for the types in `new`, which the current run needs, to the cache.
    ///
    /// # Errors
    /// `inference`, if the shapes of the outputs are not the expected ones.
    pub(super) fn keep(&mut self, types: &[u32], outputs: TypeOutputs<'_>) -> Result<(), BridgeError> {
        let (run, all) = (self.run, &self.types);
        self.outputs.add(types, outputs, |id| run - all[id as usize].run)
    }

    /// The inputs of the graph of tokens for all tokens of a run, given the indices of the tokens' types in the order
    /// of the tokens. The outputs of all these types have to be in the cache.
    pub(super) fn token_inputs(&self, types: &[u32]) -> TokenInputs {
        self.outputs.token_inputs(types)
    }

    /// Marks a type as used in the current run. Adds it to `new` if its outputs are not in the cache.
    fn mark_used(&mut self, id: u32, new: &mut NewTypes) {
        let (index, kind) = (id as usize, &mut self.types[id as usize]);
        if kind.run == self.run {
            return;
        }
        kind.run = self.run;
        if !self.outputs.has(id) {
            let width = self.rows.len() / self.types.len();
            new.types.push(id);
            new.rows.extend_from_slice(&self.rows[index * width..(index + 1) * width]);
            new.vectors.extend(self.vectors.get(index));
        }
    }

    /// The index of a token's type. A new type is added to the cache.
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
        self.types.push(Type { norm: token.norm(), has_space: token.has_space(), is_space, next: first, run: 0 });
        match self.first.get_mut(word) {
            Some(first) => *first = id,
            None => drop(self.first.insert(word.into(), id)),
        }
        id
    }
}

impl Source<'_> {
    /// Computes the inputs of the graph of types for a token's type: appends the indices of its rows to `rows` and the
    /// index of its vector to `vectors`. Returns whether the token consists of whitespace.
    fn add(self, word: &str, token: Token, rows: &mut Vec<i32>, vectors: &mut Vec<i32>) -> bool {
        let numbers = Numbers { source: self, word, orth: self.rules.number(word), token };
        for column in self.columns {
            let hashes = hash_number(numbers.of(column.attribute), column.seed);
            rows.extend(hashes.map(|hash| (hash % column.rows) as i32));
        }
        vectors.extend(self.vectors.then(|| self.tables.vectors.get(numbers.orth).unwrap_or(NO_ROW)));
        self.rules.characters.is_space(word)
    }
}

/// Computes the attributes of one token as integers. Their hashes select the rows of the embedding tables.
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

/// The first character of a token's text.
fn first(word: &str) -> &str {
    &word[..word.chars().next().map_or(0, char::len_utf8)]
}

/// The last three characters of a token's text.
fn last(word: &str) -> &str {
    word.char_indices().nth_back(SUFFIX_CHARS - 1).map_or(word, |(start, _)| &word[start..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::families::spacy_ner::hashing::hash_string;
    use crate::families::spacy_ner::testing::{rules, spec, tables};
    use crate::families::spacy_ner::tokenizer::{ChunkCache, tokenize};

    fn numbers(text: &str, attribute: Attribute) -> Vec<u64> {
        let (rules, tables, spec) = (rules(), tables(), spec());
        let source = Source { rules: &rules, tables: &tables, columns: &spec.ner.columns, vectors: true };
        let number = |token: Token| {
            let word = token.text(text);
            Numbers { source, word, orth: rules.number(word), token }.of(attribute)
        };
        tokenize(&rules, text, &mut ChunkCache::default()).into_iter().map(number).collect()
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
        let mut run = |tokens: &[Token]| {
            cache.begin(source);
            let mut new = NewTypes::default();
            let number = |token: &Token| cache.number(source, text, *token, &mut new);
            (tokens.iter().map(number).collect::<Vec<_>>(), new)
        };
        let (types, first) = run(&tokens);
        // The first "a" has a trailing space, the second one has none.
        assert_eq!(types, [(1, false), (2, false), (3, false), (4, true), (5, false)]);
        assert_eq!((&first.types, first.rows.len(), first.vectors.len()), (&vec![1, 2, 3, 4, 5], 5 * 8, 5));
        let (types, second) = run(&tokens[1..3]);
        assert_eq!(types, [(2, false), (3, false)]);
        assert_eq!((second.types, &second.rows[..]), (vec![2, 3], &first.rows[8..24]));
        let expected = hash_number(hash_string("b"), 8).map(|hash| (hash % 100) as i32);
        assert_eq!(first.rows[8..12], expected);
    }

    #[test]
    fn padding_is_a_type_without_rows() {
        let (rules, tables, spec) = (rules(), tables(), spec());
        let source = Source { rules: &rules, tables: &tables, columns: &spec.ner.columns, vectors: true };
        let (mut cache, mut new) = (TypeCache::default(), NewTypes::default());
        cache.begin(source);
        assert_eq!([cache.padding(&mut new), cache.padding(&mut new)], [0, 0]);
        assert_eq!((new.types, new.rows, new.vectors), (vec![0], vec![-1; 8], vec![-1]));
    }

    #[test]
    fn types_with_outputs_are_not_new() {
        let (rules, tables, spec) = (rules(), tables(), spec());
        let source = Source { rules: &rules, tables: &tables, columns: &spec.ner.columns, vectors: false };
        let tokens = tokenize(&rules, "a b", &mut ChunkCache::default());
        let mut cache = TypeCache::default();
        let mut new_types = |tokens: &[Token]| {
            let mut new = NewTypes::default();
            cache.begin(source);
            let types: Vec<u32> = tokens.iter().map(|&token| cache.number(source, "a b", token, &mut new).0).collect();
            let (values, count) = (vec![0.5; new.count() * 3], new.count() as i64);
            let outputs = TypeOutputs {
                embedded: (&[count, 1], &values[..new.count()]),
                contributions: (&[count, 3, 1], &values),
            };
            cache.keep(&new.types, outputs).expect("shapes that fit");
            assert_eq!(cache.token_inputs(&types).embedded, (tokens.len(), vec![0.5; tokens.len()]));
            new.types
        };
        assert_eq!(new_types(&tokens[..1]), [1]);
        assert_eq!(new_types(&tokens), [2]);
        assert!(new_types(&tokens).is_empty());
    }

    #[test]
    fn a_full_cache_is_cleared_before_a_run() {
        let (rules, tables, spec) = (rules(), tables(), spec());
        let source = Source { rules: &rules, tables: &tables, columns: &spec.ner.columns, vectors: false };
        let text: String = (0..MAX_TYPES).map(|number| format!("w{number} ")).collect();
        let (mut cache, mut new) = (TypeCache::default(), NewTypes::default());
        cache.begin(source);
        for token in tokenize(&rules, &text, &mut ChunkCache::default()) {
            cache.number(source, &text, token, &mut new);
        }
        assert_eq!((cache.types.len(), new.count(), new.vectors.len()), (MAX_TYPES + 1, MAX_TYPES, 0));
        cache.begin(source);
        assert_eq!((cache.types.len(), cache.run), (1, 2));
    }
}
