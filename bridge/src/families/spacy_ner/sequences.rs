//! Finds sequences of tokens whose text as a whole is a special case, for example a smiley that consists of two tokens.

use std::collections::{HashMap, HashSet};

use super::rules::Rules;
use super::tokenizer::Token;

/// A trie of the sequences to find. Each step is the text of a token.
#[derive(Debug)]
pub(super) struct Sequences {
    nodes: Vec<Node>,
}

#[derive(Debug, Default)]
struct Node {
    next: HashMap<Box<str>, usize>,
    /// Whether one of the sequences to find ends at this node of the trie.
    is_end: bool,
}

/// The range `[start, end)` of the indices of tokens that match a sequence.
type Match = (usize, usize);

impl Sequences {
    /// Builds the trie of sequences of tokens, which are given as the texts of their tokens.
    ///
    /// # Errors
    /// A message for a sequence without tokens, or with an empty token.
    pub(super) fn new(sequences: Vec<Vec<String>>) -> Result<Self, String> {
        let mut nodes = vec![Node::default()];
        for sequence in sequences {
            if sequence.is_empty() || sequence.iter().any(String::is_empty) {
                return Err(format!("the sequence {sequence:?} is empty or has an empty token"));
            }
            let mut node = 0;
            for text in sequence {
                let new = nodes.len();
                node = *nodes[node].next.entry(text.into()).or_insert(new);
                if node == new {
                    nodes.push(Node::default());
                }
            }
            nodes[node].is_end = true;
        }
        Ok(Self { nodes })
    }

    /// Whether any of the sequences begins with a token that has the given text.
    pub(super) fn may_start(&self, text: &str) -> bool {
        self.nodes[0].next.contains_key(text)
    }

    /// Finds sequences in the tokens of a text, and replaces each by the tokens of the special case that has the same
    /// text.
    pub(super) fn apply(&self, text: &str, rules: &Rules, tokens: &mut Vec<Token>) {
        let mut matches = self.find(text, tokens);
        if matches.is_empty() {
            return;
        }
        // Among overlapping matches the longest one is kept; among equally long ones, the leftmost.
        matches.sort_unstable_by_key(|&(start, end)| (std::cmp::Reverse(end - start), start));
        let mut covered = HashSet::new();
        matches.retain(|&(start, end)| {
            let keep = !covered.contains(&start) && !covered.contains(&(end - 1));
            covered.extend(start..end);
            keep
        });
        matches.sort_unstable();
        replace(text, rules, tokens, &matches);
    }

    /// All matches of the sequences in the tokens of a text, including overlapping matches.
    fn find(&self, text: &str, tokens: &[Token]) -> Vec<Match> {
        let mut matches = Vec::new();
        for start in (0..tokens.len()).filter(|&start| tokens[start].may_start()) {
            let mut node = &self.nodes[0];
            for (index, token) in tokens.iter().enumerate().skip(start) {
                let Some(&next) = node.next.get(token.text(text)) else { break };
                node = &self.nodes[next];
                if node.is_end {
                    matches.push((start, index + 1));
                }
            }
        }
        matches
    }
}

/// Replaces sorted matches by the tokens of their special cases. A match whose text is not a special case stays unchanged.
fn replace(text: &str, rules: &Rules, tokens: &mut Vec<Token>, matches: &[Match]) {
    let old = std::mem::take(tokens);
    tokens.reserve(old.len());
    let mut done = 0;
    for &(start, end) in matches {
        let (first, last) = (old[start], old[end - 1]);
        let Some(special) = rules.special(&text[first.start()..last.end()]) else { continue };
        tokens.extend_from_slice(&old[done..start]);
        done = end;
        let mut offset = first.start();
        for token in special {
            tokens.push(Token::new(offset, token.length, token.norm));
            offset += token.length as usize;
        }
        if let (Some(token), true) = (tokens.last_mut(), last.has_space()) {
            token.add_space();
        }
    }
    tokens.extend_from_slice(&old[done..]);
}
