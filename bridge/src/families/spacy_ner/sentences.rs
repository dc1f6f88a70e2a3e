//! Sentence starts: from the options of a call, or from the parser.

use super::batch::{RunTokens, Slice, Tokens, plan};
use super::network::{Inputs, NetworkSessions};
use super::parser::{Features, Moves, Parser};
use super::section::SpacyParser;
use super::tables::{ParserTables, STATE_TOKENS};
use super::tokenizer::Token;
use super::word_types::{Source, TypeCache};
use crate::BridgeError;
use crate::runtime::outputs::output;
use crate::runtime::scope::RunScope;
use crate::tasks::offsets::CharIndex;

/// The largest number of tokens in a block: the tokens of a long document whose features are computed together.
///
/// Every token has `8 * pieces * hidden` features, about 4 KB, which is too much for all tokens of a long document.
/// Only the most recently used blocks are kept in memory. The other blocks are computed again if the parser returns to
/// them.
const BLOCK_TOKENS: usize = 500;

/// Whether each token starts a sentence. `given` has the sentence starts that the caller passes, as offsets in
/// characters.
///
/// # Errors
/// `sentence_starts`, if `given` is `None` or no token starts at one of the offsets.
pub(super) fn given_starts(text: &str, tokens: &[Token], given: Option<&[usize]>) -> Result<Vec<bool>, BridgeError> {
    let refuse = |problem| BridgeError::SentenceStarts { index: None, problem };
    let given = given.ok_or_else(|| refuse("the model requires sentence starts, but none were passed".to_owned()))?;
    let index = CharIndex::new(text);
    let mut starts = vec![false; tokens.len()];
    for &offset in given {
        let byte = index.byte(offset);
        let token = byte.and_then(|byte| tokens.binary_search_by_key(&byte, |token| token.start()).ok());
        let token = token.ok_or_else(|| refuse(no_token(text, tokens, offset, byte)))?;
        starts[token] = true;
    }
    Ok(starts)
}

/// The error message for a sentence start that is within a token or at a space. It shows the token.
fn no_token(text: &str, tokens: &[Token], offset: usize, byte: Option<usize>) -> String {
    let advice = "pass offsets of the first characters of tokens, counted in characters";
    let inside = byte.and_then(|byte| tokens[..tokens.partition_point(|token| token.start() < byte)].last());
    match inside.filter(|_| byte != Some(text.len())) {
        Some(token) => {
            let (word, start) = (token.text(text), text[..token.start()].chars().count());
            format!(
                "no token starts at the sentence start {offset}: it is inside or after the token {word:?}, which starts \
                 at {start}; {advice}"
            )
        }
        None => format!("the text has no token at the sentence start {offset}; {advice}"),
    }
}

/// The dependency parser of a pipeline: its tables.
pub(super) struct SentenceFinder<'a> {
    pub(super) network: &'a SpacyParser,
    pub(super) tables: &'a ParserTables,
    pub(super) moves: &'a Moves,
    pub(super) source: Source<'a>,
    /// Limit on the tokens of one run of the parser's graphs.
    pub(super) run_tokens: usize,
    /// The run of which this is a part.
    pub(super) scope: &'a RunScope<'a>,
}

impl SentenceFinder<'_> {
    /// Finds the sentence starts of documents. Short documents share runs of the graph; long ones are run in blocks.
    ///
    /// # Errors
    /// `inference` if a run fails, or the reason why the call was stopped.
    pub(super) fn find(
        &self,
        documents: &mut [Tokens<'_>],
        sessions: &mut NetworkSessions,
        cache: &mut TypeCache,
    ) -> Result<(), BridgeError> {
        let is_long = |document: &Tokens<'_>| document.len() > self.run_tokens;
        let mut parser = Parser::new(self.tables, self.moves, self.network);
        let short = documents.iter().map(|document| if is_long(document) { 0 } else { document.len() });
        for run in plan(short, self.run_tokens) {
            self.find_in_run(&run, documents, &mut parser, sessions, cache)?;
        }
        for index in 0..documents.len() {
            if is_long(&documents[index]) {
                documents[index].starts = self.find_in_long(documents, index, &mut parser, sessions, cache)?;
            }
        }
        Ok(())
    }

    fn find_in_run(
        &self,
        run: &[Slice],
        documents: &mut [Tokens<'_>],
        parser: &mut Parser<'_>,
        sessions: &mut NetworkSessions,
        cache: &mut TypeCache,
    ) -> Result<(), BridgeError> {
        let width = STATE_TOKENS * self.tables.bias.len();
        let mut tokens = RunTokens::new(run, documents, self.network.context, self.source, cache);
        let (length, ranges) = (tokens.len(), std::mem::take(&mut tokens.ranges));
        sessions.run(self.scope, tokens, self.inputs(), cache, |outputs| {
            let features = output::<f32>(outputs, "features", &self.shape(length))?;
            for (slice, range) in run.iter().zip(ranges) {
                let document = &mut documents[slice.document];
                let mut features = Features::all(&features[range.start * width..range.end * width], width);
                document.starts = self.parse(document, parser, &mut features)?;
            }
            Ok(())
        })
    }

    fn find_in_long(
        &self,
        documents: &[Tokens<'_>],
        index: usize,
        parser: &mut Parser<'_>,
        sessions: &mut NetworkSessions,
        cache: &mut TypeCache,
    ) -> Result<Vec<bool>, BridgeError> {
        let width = STATE_TOKENS * self.tables.bias.len();
        let load = |own| self.block(Slice { document: index, own }, documents, sessions, cache);
        let document = &documents[index];
        let mut features = Features::in_blocks(document.len(), self.block_tokens(), width, load);
        self.parse(document, parser, &mut features)
    }

    fn block_tokens(&self) -> usize {
        BLOCK_TOKENS.min(self.run_tokens)
    }

    /// Computes the features of the tokens of one slice of a document.
    fn block(
        &self,
        slice: Slice,
        documents: &[Tokens<'_>],
        sessions: &mut NetworkSessions,
        cache: &mut TypeCache,
    ) -> Result<Vec<f32>, BridgeError> {
        let width = STATE_TOKENS * self.tables.bias.len();
        let slices = std::slice::from_ref(&slice);
        let tokens = RunTokens::new(slices, documents, self.network.context, self.source, cache);
        let (length, start) = (tokens.len(), tokens.ranges.first().map_or(0, |range| range.start));
        sessions.run(self.scope, tokens, self.inputs(), cache, |outputs| {
            let features = output::<f32>(outputs, "features", &self.shape(length))?;
            Ok(features[start * width..(start + slice.own.len()) * width].to_vec())
        })
    }

    fn parse(
        &self,
        document: &Tokens<'_>,
        parser: &mut Parser<'_>,
        features: &mut Features<'_>,
    ) -> Result<Vec<bool>, BridgeError> {
        let characters = &self.source.rules.characters;
        let is_space = |token: u32| characters.is_space(document.tokens[token as usize].text(document.text));
        parser.sentence_starts(document.len(), features, is_space)
    }

    fn inputs(&self) -> Inputs {
        Inputs { vectors: self.network.vectors, flags: false }
    }

    fn shape(&self, tokens: usize) -> [usize; 3] {
        [tokens, STATE_TOKENS, self.tables.bias.len()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::families::spacy_ner::testing::rules;
    use crate::families::spacy_ner::tokenizer::{ChunkCache, tokenize};

    fn given(text: &str, starts: Option<&[usize]>) -> Result<Vec<bool>, String> {
        let tokens = tokenize(&rules(), text, &mut ChunkCache::default());
        given_starts(text, &tokens, starts).map_err(|error| {
            assert_eq!(error.code().as_str(), "sentence_starts");
            error.to_string()
        })
    }

    #[test]
    fn starts_are_offsets_of_tokens() {
        let text = "é é don't";
        assert_eq!(given(text, Some(&[0, 2, 4, 6])), Ok(vec![true; 4]));
        assert_eq!(given(text, Some(&[6, 2, 2])), Ok(vec![false, true, false, true]));
        assert_eq!(given(text, Some(&[])), Ok(vec![false; 4]));
        assert_eq!(given("", Some(&[])), Ok(vec![]));
    }

    #[test]
    fn other_offsets_are_refused() {
        let text = "é é don't";
        assert!(given(text, None).is_err_and(|error| error.contains("none were passed")));
        assert!(given(text, Some(&[5])).is_err_and(|error| error.contains("the token \"do\", which starts at 4")));
        assert!(given(text, Some(&[1])).is_err_and(|error| error.contains("the token \"é\", which starts at 0")));
        for offset in [9, 10, usize::MAX] {
            assert!(
                given(text, Some(&[offset])).is_err_and(|error| error.contains("the text has no token")),
                "{offset}"
            );
        }
        assert!(given("", Some(&[0])).is_err());
    }
}
