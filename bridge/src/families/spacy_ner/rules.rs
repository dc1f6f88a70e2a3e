//! Reads the tokenizer's rules from `spacy_tokenizer.json`. Unknown or missing keys are refused.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;

use super::affixes::{ChunkPatterns, Prefixes, Suffixes};
use super::characters::{CharSet, Characters};
use super::hashing::hash_string;
use super::pattern::{Pattern, PatternFile};
use super::sequences::Sequences;
use crate::BridgeError;
use crate::artifact::json;

/// The newest `version` of the rules file that this reader implements.
const VERSION: u64 = 1;
/// The number of code points of Unicode.
const CODE_POINTS: u32 = 0x11_0000;

/// The content of `spacy_tokenizer.json`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RulesFile {
    version: u64,
    unicode: String,
    prefix: Vec<Affix>,
    suffix: Vec<Affix>,
    #[serde(deserialize_with = "Option::deserialize")]
    infix: Option<String>,
    token_match: Vec<ChunkPattern>,
    url_match: Vec<ChunkPattern>,
    specials: BTreeMap<String, Vec<(String, Option<String>)>>,
    sequences: Vec<Vec<String>>,
    symbols: HashMap<String, u64>,
    characters: CharactersFile,
}

/// A pattern for prefixes or suffixes of chunks.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Affix {
    pub(super) pattern: String,
    /// The number of characters at the start (for a prefix) or the end (for a suffix) of the chunk that the pattern is
    /// matched against; `None` for the whole chunk.
    #[serde(deserialize_with = "Option::deserialize")]
    pub(super) window: Option<usize>,
}

/// A pattern for chunks that are not split further.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ChunkPattern {
    pub(super) pattern: String,
    /// The characters with which a match can begin, as ranges of code points; `None` if they are unknown.
    #[serde(deserialize_with = "Option::deserialize")]
    pub(super) first: Option<Vec<u32>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CharactersFile {
    space: Vec<u32>,
    alpha: Vec<u32>,
    upper: Vec<u32>,
    digit: Vec<u32>,
    cased: Vec<u32>,
    case_ignorable: Vec<u32>,
    lower: BTreeMap<String, String>,
}

/// One token of a special case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SpecialToken {
    /// The length of the token in bytes.
    pub(super) length: u32,
    /// The index of the token's norm in [`Rules::norms`].
    pub(super) norm: u32,
}

/// The rules that split a text into tokens.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) prefixes: Prefixes,
    pub(super) suffixes: Suffixes,
    pub(super) infix: Option<Pattern>,
    pub(super) token_match: ChunkPatterns,
    pub(super) url_match: ChunkPatterns,
    /// The tokens of each special case, by the text of the chunk for which the special case holds.
    pub(super) specials: HashMap<Box<str>, Box<[SpecialToken]>>,
    /// The size in bytes of the longest chunk that is a special case.
    pub(super) longest_special: usize,
    /// spaCy's ids of the norms that special cases set. The index 0 means that no norm is set.
    pub(super) norms: Vec<u64>,
    pub(super) sequences: Sequences,
    pub(super) characters: Characters,
    symbols: HashMap<String, u64>,
}

impl Rules {
    /// Reads the rules from the bytes of a file.
    ///
    /// # Errors
    /// `tokenizer`, if the file violates the format.
    pub(super) fn read(bytes: &[u8], file: &str) -> Result<Self, BridgeError> {
        let refuse = |problem| BridgeError::Tokenizer { file: file.to_owned(), problem };
        let value = json::parse(bytes).map_err(refuse)?;
        let version = value.get("version").and_then(serde_json::Value::as_u64);
        if version.is_some_and(|version| version > VERSION) {
            let version = version.unwrap_or_default();
            let problem = format!("version is {version}, this reader supports {VERSION}: update onnx-ml-bridge");
            return Err(refuse(problem));
        }
        let file = serde_json::from_value(value).map_err(|error| refuse(error.to_string()))?;
        Self::compile(file).map_err(refuse)
    }

    fn compile(file: RulesFile) -> Result<Self, String> {
        if file.version != VERSION || file.unicode.is_empty() {
            return Err(format!("version is {}, expected {VERSION}, or unicode is empty", file.version));
        }
        let mut patterns = PatternFile::default();
        let mut specials = Specials { symbols: &file.symbols, ids: HashMap::new(), norms: vec![0] };
        Ok(Self {
            prefixes: Prefixes::new(file.prefix, &mut patterns)?,
            suffixes: Suffixes::new(file.suffix, &mut patterns)?,
            infix: file.infix.map(|pattern| Pattern::new(&pattern, &mut patterns)).transpose()?,
            token_match: ChunkPatterns::new(sources("token_match", file.token_match)?, &mut patterns)?,
            url_match: ChunkPatterns::new(sources("url_match", file.url_match)?, &mut patterns)?,
            longest_special: file.specials.keys().map(String::len).max().unwrap_or(0),
            specials: file.specials.into_iter().map(|special| specials.read(special)).collect::<Result<_, _>>()?,
            norms: specials.norms,
            sequences: Sequences::new(file.sequences)?,
            characters: file.characters.compile()?,
            symbols: file.symbols,
        })
    }

    /// The tokens of a chunk that is a special case; `None` for any other chunk.
    pub(super) fn special(&self, chunk: &str) -> Option<&[SpecialToken]> {
        if chunk.len() > self.longest_special {
            return None;
        }
        self.specials.get(chunk).map(AsRef::as_ref)
    }

    /// spaCy's id of a string: the number of its symbol if it is one of spaCy's symbols, else its hash.
    pub(super) fn number(&self, text: &str) -> u64 {
        number(&self.symbols, text)
    }
}

fn number(symbols: &HashMap<String, u64>, text: &str) -> u64 {
    match symbols.get(text) {
        _ if text.is_empty() => 0,
        Some(symbol) => *symbol,
        None => hash_string(text),
    }
}

/// Reads the special cases and collects the norms that they set.
struct Specials<'a> {
    symbols: &'a HashMap<String, u64>,
    ids: HashMap<String, u32>,
    norms: Vec<u64>,
}

/// A special case: a chunk and its tokens, each as its text and its norm.
type SpecialCase = (String, Vec<(String, Option<String>)>);

impl Specials<'_> {
    fn read(&mut self, (chunk, tokens): SpecialCase) -> Result<(Box<str>, Box<[SpecialToken]>), String> {
        let joined: String = tokens.iter().map(|token| token.0.as_str()).collect();
        if chunk.is_empty() || joined != chunk || tokens.iter().any(|token| token.0.is_empty()) {
            return Err(format!("the tokens {tokens:?} of the special case {chunk:?} do not join to it"));
        }
        let tokens = tokens.into_iter().map(|(text, norm)| SpecialToken {
            length: text.len() as u32,
            norm: norm.map_or(0, |norm| self.norm(norm)),
        });
        Ok((chunk.into(), tokens.collect()))
    }

    fn norm(&mut self, norm: String) -> u32 {
        let number = number(self.symbols, &norm);
        *self.ids.entry(norm).or_insert_with(|| {
            self.norms.push(number);
            self.norms.len() as u32 - 1
        })
    }
}

impl CharactersFile {
    fn compile(self) -> Result<Characters, String> {
        Ok(Characters {
            space: set("characters.space", &self.space)?,
            alpha: set("characters.alpha", &self.alpha)?,
            upper: set("characters.upper", &self.upper)?,
            digit: set("characters.digit", &self.digit)?,
            cased: set("characters.cased", &self.cased)?,
            case_ignorable: set("characters.case_ignorable", &self.case_ignorable)?,
            lower: self.lower.into_iter().map(lower).collect::<Result<_, _>>()?,
        })
    }
}

/// The regular expressions of a list of chunk patterns. The field `first` is checked but not used: [`ChunkPatterns`]
/// computes the first characters of matches from the pattern.
fn sources(name: &str, entries: Vec<ChunkPattern>) -> Result<Vec<String>, String> {
    let checked = entries.into_iter().map(|ChunkPattern { pattern, first }| {
        first.map_or(Ok(()), |codes| set(&format!("{name}.first"), &codes).map(|_| ()))?;
        Ok(pattern)
    });
    checked.collect()
}

/// The set of characters that a flat list of code points describes: the start and the end of each range.
fn set(name: &str, codes: &[u32]) -> Result<CharSet, String> {
    let ascending = codes.windows(2).all(|pair| pair[0] < pair[1]);
    if codes.len() % 2 == 1 || !ascending || codes.last().is_some_and(|last| *last > CODE_POINTS) {
        return Err(format!("{name} is not an ascending list of pairs of code points"));
    }
    Ok(CharSet::new(codes.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect()))
}

fn lower((from, to): (String, String)) -> Result<(char, Box<str>), String> {
    let mut characters = from.chars();
    match (characters.next(), characters.next()) {
        (Some(character), None) => Ok((character, to.into())),
        _ => Err(format!("characters.lower has the key {from:?}, expected one character")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::families::spacy_ner::testing::{rules, rules_json};

    fn error(change: impl Fn(&mut Value)) -> String {
        let mut value = rules_json();
        change(&mut value);
        let error = Rules::read(value.to_string().as_bytes(), "rules.json").expect_err("wrong rules");
        assert_eq!(error.code().as_str(), "tokenizer");
        error.to_string()
    }

    #[test]
    fn rules_are_read() {
        let rules = rules();
        assert_eq!(rules.special("don't").map(<[_]>::len), Some(2));
        assert_eq!((rules.special("don"), rules.special("a chunk longer than any of them")), (None, None));
        assert_eq!(rules.norms, [0, hash_string("copyright"), 7]);
        assert_eq!((rules.number(""), rules.number("ORTH"), rules.number("orth")), (0, 65, hash_string("orth")));
    }

    #[test]
    fn missing_and_unknown_keys_are_refused() {
        for key in rules_json().as_object().expect("an object").keys() {
            assert!(error(|rules| drop(rules.as_object_mut().map(|rules| rules.remove(key)))).contains(key), "{key}");
        }
        for key in ["space", "alpha", "upper", "digit", "cased", "case_ignorable", "lower"] {
            let remove = |rules: &mut Value| drop(rules["characters"].as_object_mut().map(|all| all.remove(key)));
            assert!(error(remove).contains(key), "{key}");
        }
        assert!(error(|rules| rules["more"] = json!(1)).contains("more"));
        assert!(error(|rules| rules["characters"]["title"] = json!([])).contains("title"));
        assert!(
            error(|rules| drop(rules["prefix"][0].as_object_mut().map(|entry| entry.remove("window"))))
                .contains("window")
        );
    }

    #[test]
    fn wrong_values_are_refused() {
        let changes: [(&str, Value, &str); 19] = [
            ("/version", json!(2), "update"),
            ("/version", json!(0), "version"),
            ("/unicode", json!(""), "unicode"),
            ("/infix", json!("a.b"), "cannot be parsed"),
            ("/infix", json!(["a"]), "sequence"),
            ("/prefix/0/pattern", json!("("), "cannot be parsed"),
            ("/prefix/0/window", json!(0), "window"),
            ("/suffix/0/window", json!(-1), "integer"),
            ("/token_match/0/pattern", json!("\\w"), "cannot be parsed"),
            ("/token_match/0/first", json!([1]), "token_match.first"),
            ("/url_match/0/first", json!([2, 1]), "url_match.first"),
            ("/specials/:)", json!([[":", null], ["(", null]]), "do not join"),
            ("/specials/:)", json!([[":)", null], ["", null]]), "do not join"),
            ("/specials/:)", json!([[":)", null, null]]), "length"),
            ("/sequences/0", json!([]), "sequence"),
            ("/sequences/0", json!(["a", ""]), "sequence"),
            ("/characters/space", json!([9, 14, 13, 20]), "characters.space"),
            ("/characters/alpha", json!([0, 0x11_0001]), "characters.alpha"),
            ("/characters/lower/AB", json!("ab"), "one character"),
        ];
        for (pointer, value, expected) in changes {
            let message = error(|rules| match rules.pointer_mut(pointer) {
                Some(old) => *old = value.clone(),
                None => rules["characters"]["lower"]["AB"] = value.clone(),
            });
            assert!(message.contains(expected) && message.starts_with("rules.json: "), "{pointer} {value}: {message}");
        }
    }

    #[test]
    fn invalid_json_is_refused() {
        let text = rules_json().to_string();
        for broken in [String::new(), "[]".to_owned(), text.replacen('{', "{\"version\":1,", 1), format!("{text}x")] {
            let error = Rules::read(broken.as_bytes(), "rules.json").expect_err("broken JSON");
            assert_eq!(error.code().as_str(), "tokenizer");
        }
    }
}
