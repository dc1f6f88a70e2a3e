//! Runs of tokens whose joined text is a special case.

use std::collections::{HashMap, HashSet};

use super::rules::Rules;
use super::tokenizer::Token;

/// The sequences of token texts to look for, as a trie.
#[derive(Debug)]
pub(super) struct Sequences {
    nodes: Vec<Node>,
}

#[derive(Debug, Default)]
struct Node {
    next: HashMap<Box<str>, usize>,
    /// Whether a sequence ends here.
    is_end: bool,
}

/// A run of tokens, as indices `[start, end)`.
type Run = (usize, usize);

impl Sequences {
    /// # Errors
    /// A sequence without tokens, or a token without characters.
    pub(super) fn new(sequences: Vec<Vec<String>>) -> Result<Self, String> {
        let mut nodes = vec![Node::default()];
        for sequence in sequences {
            if sequence.is_empty() || sequence.iter().any(String::is_empty) {
                return Err(format!("the sequence {sequence:?} is empty or has an empty token"));
            }
            let mut at = 0;
            for text in sequence {
                let fresh = nodes.len();
                at = *nodes[at].next.entry(text.into()).or_insert(fresh);
                if at == fresh {
                    nodes.push(Node::default());
                }
            }
            nodes[at].is_end = true;
        }
        Ok(Self { nodes })
    }

    /// Whether a sequence begins with a token.
    pub(super) fn may_start(&self, text: &str) -> bool {
        self.nodes[0].next.contains_key(text)
    }

    /// Replaces runs of tokens by the special cases that their joined texts are.
    pub(super) fn apply(&self, text: &str, rules: &Rules, tokens: &mut Vec<Token>) {
        let mut runs = self.find(text, tokens);
        if runs.is_empty() {
            return;
        }
        // Longest first, of equally long ones the earlier.
        runs.sort_unstable_by_key(|&(start, end)| (std::cmp::Reverse(end - start), start));
        let mut seen = HashSet::new();
        runs.retain(|&(start, end)| {
            let keep = !seen.contains(&start) && !seen.contains(&(end - 1));
            seen.extend(start..end);
            keep
        });
        runs.sort_unstable();
        replace(text, rules, tokens, &runs);
    }

    /// All runs of tokens whose texts are a sequence.
    fn find(&self, text: &str, tokens: &[Token]) -> Vec<Run> {
        let mut runs = Vec::new();
        for start in (0..tokens.len()).filter(|&start| tokens[start].may_start()) {
            let mut node = &self.nodes[0];
            for (at, token) in tokens.iter().enumerate().skip(start) {
                let Some(&next) = node.next.get(token.text(text)) else { break };
                node = &self.nodes[next];
                if node.is_end {
                    runs.push((start, at + 1));
                }
            }
        }
        runs
    }
}

/// Puts the tokens of the runs' special cases in their place; a run whose text is none stays.
fn replace(text: &str, rules: &Rules, tokens: &mut Vec<Token>, runs: &[Run]) {
    let old = std::mem::take(tokens);
    tokens.reserve(old.len());
    let mut done = 0;
    for &(start, end) in runs {
        let (first, last) = (old[start], old[end - 1]);
        let Some(special) = rules.special(&text[first.start()..last.end()]) else { continue };
        tokens.extend_from_slice(&old[done..start]);
        done = end;
        let mut at = first.start();
        for token in special {
            tokens.push(Token::new(at, token.length, token.norm));
            at += token.length as usize;
        }
        if let (Some(token), true) = (tokens.last_mut(), last.has_space()) {
            token.add_space();
        }
    }
    tokens.extend_from_slice(&old[done..]);
}
