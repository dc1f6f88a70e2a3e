//! Sentence starts: those that a caller gives, and those that the parser finds.

use super::network::{Feed, Network, NetworkLease};
use super::parser::{Features, Moves, Parser};
use super::parts::{Lineup, Part, Tokens, plan};
use super::tables::{ParserTables, STATE_TOKENS};
use super::tokenizer::Token;
use super::types::{Source, TypeCache};
use crate::BridgeError;
use crate::artifact::manifest::SpacyParser;
use crate::runtime::outputs::output;
use crate::runtime::places::CharIndex;

/// Tokens of a long document whose features are computed at once.
///
/// Every token has `8 * pieces * hidden` features, about 4 KB: those of a whole document would fill the memory, so that
/// only the blocks last looked at are kept. A block that the parser comes back to is computed again.
const BLOCK_TOKENS: usize = 500;

/// Which tokens start a sentence, from the characters that sentences start at.
///
/// # Errors
/// `sentence_starts`, where there are none or one of them is no start of a token.
pub(super) fn given_starts(text: &str, tokens: &[Token], given: Option<&[usize]>) -> Result<Vec<bool>, BridgeError> {
    let refuse = |problem| BridgeError::SentenceStarts { index: None, problem };
    let given = given.ok_or_else(|| refuse("the model needs sentence starts, and none were given".to_owned()))?;
    let index = CharIndex::new(text);
    let mut starts = vec![false; tokens.len()];
    for &place in given {
        let byte = index.byte(place);
        let token = byte.and_then(|byte| tokens.binary_search_by_key(&byte, |token| token.start()).ok());
        let token = token.ok_or_else(|| refuse(no_start(text, tokens, place, byte)))?;
        starts[token] = true;
    }
    Ok(starts)
}

/// Says where the tokens around a place start.
fn no_start(text: &str, tokens: &[Token], place: usize, byte: Option<usize>) -> String {
    let advice = "give the offset of a token's first character, in characters";
    let inside = byte.and_then(|byte| tokens[..tokens.partition_point(|token| token.start() < byte)].last());
    match inside.filter(|_| byte != Some(text.len())) {
        Some(token) => {
            let (word, start) = (token.text(text), text[..token.start()].chars().count());
            format!("a sentence starts at {place}, where no token starts, but one at {start} is {word:?}; {advice}")
        }
        None => format!("a sentence starts at {place}, where the text has no token; {advice}"),
    }
}

/// The parser's graphs and what goes with them.
pub(super) struct SentenceFinder<'a> {
    pub(super) graphs: &'a Network,
    pub(super) network: &'a SpacyParser,
    pub(super) tables: &'a ParserTables,
    pub(super) moves: &'a Moves,
    pub(super) source: Source<'a>,
    /// Tokens of one run.
    pub(super) run_tokens: usize,
}

impl SentenceFinder<'_> {
    /// Finds the sentence starts of documents: several short ones in one run of the graph, a long one block by block.
    ///
    /// # Errors
    /// `dependency` or `graph` where there is no session, `inference` where a run failed.
    pub(super) fn find(&self, documents: &mut [Tokens<'_>], cache: &mut TypeCache) -> Result<(), BridgeError> {
        let is_long = |document: &Tokens<'_>| document.len() > self.run_tokens;
        let mut parser = Parser::new(self.tables, self.moves, self.network);
        let short = documents.iter().map(|document| if is_long(document) { 0 } else { document.len() });
        for run in plan(short, self.run_tokens) {
            self.find_in_run(&run, documents, &mut parser, cache)?;
        }
        for index in 0..documents.len() {
            if is_long(&documents[index]) {
                documents[index].starts = self.find_in_long(documents, index, &mut parser, cache)?;
            }
        }
        Ok(())
    }

    fn find_in_run(
        &self,
        run: &[Part],
        documents: &mut [Tokens<'_>],
        parser: &mut Parser<'_>,
        cache: &mut TypeCache,
    ) -> Result<(), BridgeError> {
        let width = STATE_TOKENS * self.tables.bias.len();
        let mut lineup = Lineup::new(run, documents, self.network.context, self.source, cache);
        let (length, places) = (lineup.len(), std::mem::take(&mut lineup.places));
        let mut lease = self.graphs.lease()?;
        let outputs = lease.run(lineup, self.feed(), cache)?;
        let features = output::<f32>(&outputs, "features", &self.shape(length))?;
        for (part, place) in run.iter().zip(places) {
            let document = &mut documents[part.document];
            let mut features = Features::all(&features[place.start * width..place.end * width], width);
            document.starts = self.parse(document, parser, &mut features)?;
        }
        Ok(())
    }

    fn find_in_long(
        &self,
        documents: &[Tokens<'_>],
        index: usize,
        parser: &mut Parser<'_>,
        cache: &mut TypeCache,
    ) -> Result<Vec<bool>, BridgeError> {
        let width = STATE_TOKENS * self.tables.bias.len();
        let mut lease = self.graphs.lease()?;
        let load = |own| self.block(Part { document: index, own }, documents, &mut lease, cache);
        let document = &documents[index];
        let mut features = Features::in_blocks(document.len(), BLOCK_TOKENS, width, load);
        self.parse(document, parser, &mut features)
    }

    /// The features of one part of a document.
    fn block(
        &self,
        part: Part,
        documents: &[Tokens<'_>],
        lease: &mut NetworkLease<'_>,
        cache: &mut TypeCache,
    ) -> Result<Vec<f32>, BridgeError> {
        let width = STATE_TOKENS * self.tables.bias.len();
        let lineup = Lineup::new(std::slice::from_ref(&part), documents, self.network.context, self.source, cache);
        let (length, start) = (lineup.len(), lineup.places.first().map_or(0, |place| place.start));
        let outputs = lease.run(lineup, self.feed(), cache)?;
        let features = output::<f32>(&outputs, "features", &self.shape(length))?;
        Ok(features[start * width..(start + part.own.len()) * width].to_vec())
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

    fn feed(&self) -> Feed {
        Feed { vectors: self.network.vectors, marks: false }
    }

    fn shape(&self, tokens: usize) -> [usize; 3] {
        [tokens, STATE_TOKENS, self.tables.bias.len()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spacy::testing::rules;
    use crate::spacy::tokenizer::{ChunkCache, tokenize};

    fn given(text: &str, starts: Option<&[usize]>) -> Result<Vec<bool>, String> {
        let tokens = tokenize(&rules(), text, &mut ChunkCache::default());
        given_starts(text, &tokens, starts).map_err(|error| {
            assert_eq!(error.code(), "sentence_starts");
            error.to_string()
        })
    }

    #[test]
    fn starts_are_characters_that_begin_a_token() {
        let text = "é é don't";
        assert_eq!(given(text, Some(&[0, 2, 4, 6])), Ok(vec![true; 4]));
        assert_eq!(given(text, Some(&[6, 2, 2])), Ok(vec![false, true, false, true]));
        assert_eq!(given(text, Some(&[])), Ok(vec![false; 4]));
        assert_eq!(given("", Some(&[])), Ok(vec![]));
    }

    #[test]
    fn other_places_are_refused() {
        let text = "é é don't";
        assert!(given(text, None).is_err_and(|error| error.contains("none were given")));
        assert!(given(text, Some(&[5])).is_err_and(|error| error.contains("but one at 4 is \"do\"")));
        assert!(given(text, Some(&[1])).is_err_and(|error| error.contains("but one at 0 is \"é\"")));
        for place in [9, 10, usize::MAX] {
            assert!(given(text, Some(&[place])).is_err_and(|error| error.contains("the text has no token")), "{place}");
        }
        assert!(given("", Some(&[0])).is_err());
    }
}
