//! Parses patterns. The syntax is the subset of regular expressions that has the same meaning in Python's `re` and in the
//! regex crates of Rust.

use std::collections::HashMap;
use std::iter::Peekable;
use std::str::CharIndices;
use std::sync::Arc;

use crate::families::spacy_ner::characters::CharSet;

/// Limit on the nesting depth of the groups of a pattern.
const MAX_DEPTH: usize = 50;
/// Limit on the numbers in a repetition such as `{2,3}`.
const MAX_REPEATS: u32 = 1000;
const MAX_DIGITS: usize = 4;
/// Limit on the size of a pattern, which is counted without expanding its repetitions.
const MAX_SIZE: u64 = 20_000;
/// Limits on the size and on the number of character classes of all patterns of a file together.
const MAX_TOTAL_SIZE: u64 = 500_000;
const MAX_CLASSES: u64 = 10_000;
/// Characters that have a special meaning outside a character class unless they are escaped.
const SPECIAL: &str = ".*+?{()|[\\^$";

/// A node of the syntax tree of a pattern.
#[derive(Debug, Clone)]
pub(crate) enum Node {
    /// Matches one character that is in the set.
    Set(Arc<CharSet>),
    /// Matches the given nodes, one after the other.
    Concat(Vec<Node>),
    /// Matches the first of several alternatives for which the rest of the pattern matches as well.
    Alternatives(Vec<Node>),
    /// Matches a node `min` to `max` times; there is no maximum if `max` is `None`.
    Repeat { node: Box<Node>, min: u32, max: Option<u32>, greedy: bool },
    /// A zero-width assertion that holds if a lookahead holds, or a lookbehind if `behind` is true.
    Lookaround { node: Box<Node>, behind: bool, negative: bool },
    /// A zero-width assertion that holds at the start of the string.
    Start,
    /// A zero-width assertion that holds at the end of the string.
    End,
}

impl Node {
    /// The size of the node as the format defines it: at least the number of instructions of its program.
    fn size(&self) -> u64 {
        let sum = |nodes: &[Self]| nodes.iter().map(Self::size).fold(0, u64::saturating_add);
        match self {
            Self::Set(_) | Self::Start | Self::End => 1,
            Self::Concat(nodes) => sum(nodes),
            Self::Alternatives(nodes) => sum(nodes).saturating_add(2 * (nodes.len() as u64 - 1)),
            Self::Lookaround { node, .. } => node.size().saturating_add(2),
            Self::Repeat { node, min, max, .. } => {
                let times = max.map_or(u64::from(*min) + 1, u64::from);
                node.size().saturating_add(2).saturating_mul(times)
            }
        }
    }

    /// The number of characters of every match of the node; `None` if the number varies.
    pub(crate) fn width(&self) -> Option<u32> {
        match self {
            Self::Set(_) => Some(1),
            Self::Start | Self::End | Self::Lookaround { .. } => Some(0),
            Self::Concat(nodes) => nodes.iter().try_fold(0_u32, |sum, node| sum.checked_add(node.width()?)),
            Self::Alternatives(nodes) => {
                let (first, others) = nodes.split_first()?;
                let width = first.width()?;
                others.iter().all(|node| node.width() == Some(width)).then_some(width)
            }
            Self::Repeat { node, min, max, .. } if *max == Some(*min) => node.width()?.checked_mul(*min),
            Self::Repeat { .. } => None,
        }
    }

    /// The set of all characters that a match of the node can consist of; `None` if a match also depends on characters
    /// before or after it, or on the start of the string.
    pub(super) fn consumed(&self) -> Option<CharSet> {
        let none = || CharSet::new(Vec::new());
        match self {
            Self::Set(set) => Some((**set).clone()),
            Self::End => Some(none()),
            Self::Start | Self::Lookaround { .. } => None,
            Self::Concat(nodes) | Self::Alternatives(nodes) => {
                nodes.iter().try_fold(none(), |union, node| Some(union.union(&node.consumed()?)))
            }
            Self::Repeat { node, .. } => node.consumed(),
        }
    }

    /// Whether the node can match the empty string.
    pub(crate) fn may_be_empty(&self) -> bool {
        match self {
            Self::Set(_) => false,
            Self::Start | Self::End | Self::Lookaround { .. } => true,
            Self::Concat(nodes) => nodes.iter().all(Self::may_be_empty),
            Self::Alternatives(nodes) => nodes.iter().any(Self::may_be_empty),
            Self::Repeat { node, min, .. } => *min == 0 || node.may_be_empty(),
        }
    }
}

/// The state that the patterns of one file share: a cache of their character classes, because the same long classes
/// occur in many patterns, and the sums that the format limits.
#[derive(Debug, Default)]
pub(crate) struct PatternFile {
    /// The parsed character classes by their source text.
    classes: HashMap<String, Arc<CharSet>>,
    class_count: u64,
    size: u64,
}

/// Parses a pattern to a syntax tree and checks its limits.
///
/// # Errors
/// The problem, with its offset in the pattern in bytes.
pub(crate) fn parse(pattern: &str, file: &mut PatternFile) -> Result<Node, String> {
    let mut parser = Parser { pattern, rest: pattern.char_indices().peekable(), file, depth: 0 };
    let node = parser.alternatives()?;
    if let Some((offset, character)) = parser.rest.next() {
        return Err(format!("unexpected {character:?} at byte {offset}"));
    }
    let size = node.size();
    if size > MAX_SIZE {
        return Err(format!("its size is more than {MAX_SIZE}"));
    }
    file.size += size;
    if file.size > MAX_TOTAL_SIZE {
        return Err(format!("the size of the patterns up to it is {}, expected at most {MAX_TOTAL_SIZE}", file.size));
    }
    Ok(node)
}

struct Parser<'a> {
    pattern: &'a str,
    rest: Peekable<CharIndices<'a>>,
    file: &'a mut PatternFile,
    depth: usize,
}

impl Parser<'_> {
    fn alternatives(&mut self) -> Result<Node, String> {
        let mut nodes = vec![self.concat()?];
        while self.eat('|') {
            nodes.push(self.concat()?);
        }
        Ok(if nodes.len() == 1 { nodes.swap_remove(0) } else { Node::Alternatives(nodes) })
    }

    fn concat(&mut self) -> Result<Node, String> {
        let mut nodes = Vec::new();
        while self.peek().is_some_and(|next| next != '|' && next != ')') {
            let atom = self.atom()?;
            nodes.push(self.quantified(atom)?);
        }
        Ok(if nodes.len() == 1 { nodes.swap_remove(0) } else { Node::Concat(nodes) })
    }

    fn atom(&mut self) -> Result<Node, String> {
        let (offset, next) = self.next()?;
        match next {
            '(' => self.group(),
            '[' => self.class(offset).map(Node::Set),
            '^' => Ok(Node::Start),
            '$' => Ok(Node::End),
            '\\' => self.escaped(offset).map(|character| Node::Set(CharSet::of(character).into())),
            _ if SPECIAL.contains(next) => Err(format!("unexpected {next:?} at byte {offset}")),
            _ => Ok(Node::Set(CharSet::of(next).into())),
        }
    }

    /// Parses a group. The opening parenthesis was already read.
    fn group(&mut self) -> Result<Node, String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(format!("groups are nested deeper than {MAX_DEPTH}"));
        }
        let lookaround = if self.eat('?') { self.group_kind()? } else { None };
        let node = self.alternatives()?;
        let (offset, end) = self.next()?;
        if end != ')' {
            return Err(format!("expected ')' at byte {offset}, got {end:?}"));
        }
        self.depth -= 1;
        match lookaround {
            None => Ok(node),
            Some((true, _)) if node.width().is_none() => {
                Err(format!("the lookbehind before byte {offset} has no fixed width"))
            }
            Some((behind, negative)) => Ok(Node::Lookaround { node: Box::new(node), behind, negative }),
        }
    }

    /// Parses the kind of a group; `(?` was already read. For a lookaround, returns whether it is a lookbehind and
    /// whether it is negative; otherwise `None`.
    fn group_kind(&mut self) -> Result<Option<(bool, bool)>, String> {
        let (offset, next) = self.next()?;
        match next {
            ':' => Ok(None),
            '=' => Ok(Some((false, false))),
            '!' => Ok(Some((false, true))),
            '<' if self.eat('=') => Ok(Some((true, false))),
            '<' if self.eat('!') => Ok(Some((true, true))),
            _ => Err(format!("unknown kind of group at byte {offset}")),
        }
    }

    fn quantified(&mut self, node: Node) -> Result<Node, String> {
        let Some((min, max)) = self.quantifier()? else { return Ok(node) };
        if matches!(node, Node::Start | Node::End | Node::Lookaround { .. }) {
            return Err("an assertion is repeated".to_owned());
        }
        let greedy = !self.eat('?');
        match self.peek() {
            Some(next @ ('*' | '+' | '?' | '{')) => Err(format!("a repetition is repeated with {next:?}")),
            _ => Ok(Node::Repeat { node: Box::new(node), min, max, greedy }),
        }
    }

    fn quantifier(&mut self) -> Result<Option<(u32, Option<u32>)>, String> {
        let bounds = match self.peek() {
            Some('*') => (0, None),
            Some('+') => (1, None),
            Some('?') => (0, Some(1)),
            Some('{') => return self.counts().map(Some),
            _ => return Ok(None),
        };
        self.rest.next();
        Ok(Some(bounds))
    }

    /// Parses the quantifier `{n}`, `{n,}` or `{n,m}`.
    fn counts(&mut self) -> Result<(u32, Option<u32>), String> {
        let (offset, _) = self.next()?;
        let min = self.number()?;
        let max = match self.eat(',') {
            false => Some(min),
            true if self.peek() == Some('}') => None,
            true => Some(self.number()?),
        };
        if !self.eat('}') || max.is_some_and(|max| max < min) {
            return Err(format!("expected {{n}}, {{n,}} or {{n,m}} at byte {offset}"));
        }
        if min.max(max.unwrap_or(0)) > MAX_REPEATS {
            return Err(format!("the repetition at byte {offset} is of more than {MAX_REPEATS}"));
        }
        Ok((min, max))
    }

    fn number(&mut self) -> Result<u32, String> {
        let mut digits = String::new();
        while let Some(digit) = self.peek().filter(char::is_ascii_digit) {
            digits.push(digit);
            self.rest.next();
        }
        let number = digits.parse().ok().filter(|_| digits.len() <= MAX_DIGITS);
        number.ok_or_else(|| format!("expected a number of 1 to {MAX_DIGITS} digits in a repetition"))
    }

    /// Parses a character class. Its opening bracket, which was already read, is at byte `start` of the pattern.
    fn class(&mut self, start: usize) -> Result<Arc<CharSet>, String> {
        let end = self.class_end(start)?;
        let text = &self.pattern[start..end];
        self.file.class_count += 1;
        if self.file.class_count > MAX_CLASSES {
            return Err(format!("the patterns up to it have more than {MAX_CLASSES} character classes"));
        }
        if let Some(class) = self.file.classes.get(text) {
            while self.rest.next_if(|&(offset, _)| offset < end).is_some() {}
            return Ok(Arc::clone(class));
        }
        let negative = self.eat('^');
        let mut ranges = Vec::new();
        while !self.eat(']') {
            ranges.push(self.range()?);
        }
        if ranges.is_empty() {
            return Err(format!("the class at byte {start} is empty"));
        }
        let set = CharSet::new(ranges);
        let class = Arc::new(if negative { set.complement() } else { set });
        self.file.classes.insert(text.to_owned(), Arc::clone(&class));
        Ok(class)
    }

    /// The offset in bytes at which a character class ends, exclusive, given the offset in the pattern at which it
    /// starts.
    fn class_end(&self, start: usize) -> Result<usize, String> {
        let mut escaped = false;
        for (offset, byte) in self.pattern.bytes().enumerate().skip(start + 1) {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b']' => return Ok(offset + 1),
                _ => {}
            }
        }
        Err(format!("the class at byte {start} has no end"))
    }

    /// Parses one item of a character class: a character or a range. Returns its code points `[start, end)`.
    fn range(&mut self) -> Result<(u32, u32), String> {
        let (offset, first) = self.item()?;
        let mut ahead = self.rest.clone();
        let is_range = ahead.next().is_some_and(|next| next.1 == '-') && ahead.peek().is_some_and(|next| next.1 != ']');
        let is_unescaped = first == '-' && !self.pattern[offset..].starts_with('\\');
        if is_range && (is_unescaped || ahead.peek().is_some_and(|next| next.1 == '-')) {
            return Err(format!("'-' next to '-' at byte {offset} needs a backslash"));
        }
        if !is_range {
            return Ok((u32::from(first), u32::from(first) + 1));
        }
        self.rest.next();
        let (_, last) = self.item()?;
        if last < first {
            return Err(format!("the range at byte {offset} is empty"));
        }
        Ok((u32::from(first), u32::from(last) + 1))
    }

    /// Parses one character of a character class. `[`, `&&` and `~~` are refused, because they are operators in Rust's
    /// regex crates.
    fn item(&mut self) -> Result<(usize, char), String> {
        let (offset, character) = self.next()?;
        match character {
            '\\' => Ok((offset, self.escaped(offset)?)),
            '[' => Err(format!("'[' at byte {offset} needs a backslash")),
            '&' | '~' if self.peek() == Some(character) => {
                Err(format!("{character:?} at byte {offset} needs a backslash"))
            }
            _ => Ok((offset, character)),
        }
    }

    /// Parses an escape and returns the escaped character. Its backslash, which was already read, is at byte `start` of
    /// the pattern.
    fn escaped(&mut self, start: usize) -> Result<char, String> {
        match self.next()?.1 {
            'n' => Ok('\n'),
            'r' => Ok('\r'),
            't' => Ok('\t'),
            'f' => Ok('\u{c}'),
            'v' => Ok('\u{b}'),
            'x' => self.code(start, 2),
            'u' => self.code(start, 4),
            'U' => self.code(start, 8),
            character if character.is_ascii_punctuation() => Ok(character),
            _ => Err(format!("unknown escape at byte {start}")),
        }
    }

    /// Parses the hexadecimal digits of an escaped code point. Returns its character.
    fn code(&mut self, start: usize, digits: usize) -> Result<char, String> {
        let mut code = 0_u32;
        for _ in 0..digits {
            let digit = self.next()?.1.to_digit(16);
            code =
                code.checked_mul(16).zip(digit).and_then(|(code, digit)| code.checked_add(digit)).unwrap_or(u32::MAX);
        }
        char::from_u32(code).ok_or_else(|| format!("the escape at byte {start} is not a character"))
    }

    fn peek(&mut self) -> Option<char> {
        self.rest.peek().map(|next| next.1)
    }

    fn eat(&mut self, expected: char) -> bool {
        self.rest.next_if(|next| next.1 == expected).is_some()
    }

    fn next(&mut self) -> Result<(usize, char), String> {
        self.rest.next().ok_or_else(|| "unexpected end of the pattern".to_owned())
    }
}
