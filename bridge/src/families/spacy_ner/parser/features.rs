//! The features of tokens, computed block by block: only some blocks are kept at a time.

use std::borrow::Cow;
use std::ops::Range;

use crate::BridgeError;

/// Blocks kept: a parser's state looks at eight tokens, which are in few of them at a time.
const KEPT: usize = 12;

/// Computes the features of a range of tokens.
type Load<'a> = Box<dyn FnMut(Range<usize>) -> Result<Vec<f32>, BridgeError> + 'a>;

/// Gives the features of the tokens of one document.
pub(in crate::families::spacy_ner) struct Features<'a> {
    blocks: Vec<Block<'a>>,
    /// Tokens of the document, of one block, and values of one token.
    length: usize,
    size: usize,
    width: usize,
    load: Load<'a>,
    clock: u64,
}

struct Block<'a> {
    index: usize,
    values: Cow<'a, [f32]>,
    /// When it was last asked for.
    used: u64,
}

impl<'a> Features<'a> {
    /// Features that are all there: `[tokens, width]`.
    pub(in crate::families::spacy_ner) fn all(values: &'a [f32], width: usize) -> Self {
        let length = values.len() / width;
        let block = Block { index: 0, values: Cow::Borrowed(values), used: 0 };
        let load =
            |_: Range<usize>| Err(BridgeError::inference(None, "the parser asked for a token that is not there"));
        Self { blocks: vec![block], length, size: length.max(1), width, load: Box::new(load), clock: 0 }
    }

    /// Features of a document of `length` tokens that are loaded when they are needed, `size` tokens at a time.
    pub(in crate::families::spacy_ner) fn in_blocks(
        length: usize,
        size: usize,
        width: usize,
        load: impl FnMut(Range<usize>) -> Result<Vec<f32>, BridgeError> + 'a,
    ) -> Self {
        Self { blocks: Vec::new(), length, size, width, load: Box::new(load), clock: 0 }
    }

    /// The features of a token.
    ///
    /// # Errors
    /// Those of loading them.
    pub(in crate::families::spacy_ner) fn of(&mut self, token: usize) -> Result<&[f32], BridgeError> {
        let (index, place) = (token / self.size, token % self.size * self.width);
        let at = match self.blocks.iter().position(|block| block.index == index) {
            Some(at) => at,
            None => self.load_block(index)?,
        };
        self.clock += 1;
        let block = &mut self.blocks[at];
        block.used = self.clock;
        Ok(&block.values[place..place + self.width])
    }

    /// Loads a block, in the place of the one that was not asked for longest.
    fn load_block(&mut self, index: usize) -> Result<usize, BridgeError> {
        let oldest = (0..self.blocks.len()).min_by_key(|&at| self.blocks[at].used);
        if let Some(oldest) = oldest.filter(|_| self.blocks.len() >= KEPT) {
            self.blocks.swap_remove(oldest);
        }
        let start = index * self.size;
        let values = (self.load)(start..self.length.min(start + self.size))?;
        self.blocks.push(Block { index, values: Cow::Owned(values), used: self.clock });
        Ok(self.blocks.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn blocks_are_loaded_when_they_are_needed_and_the_oldest_is_dropped() {
        let loaded = RefCell::new(Vec::new());
        let length = (KEPT + 1) * 3 - 1;
        let load = |tokens: Range<usize>| {
            loaded.borrow_mut().push(tokens.clone());
            Ok(tokens.flat_map(|token| [token as f32, -(token as f32)]).collect())
        };
        let mut features = Features::in_blocks(length, 3, 2, load);
        let mut ask = |token: usize| features.of(token).map(|values| values[0] as usize);
        for token in 0..length {
            assert_eq!(ask(token), Ok(token));
        }
        // The last block is shorter, and the first had to go for it; the second goes for the first.
        assert_eq!(loaded.borrow().last(), Some(&(KEPT * 3..length)));
        assert_eq!([ask(4), ask(0), ask(3), ask(8)], [Ok(4), Ok(0), Ok(3), Ok(8)]);
        assert_eq!(loaded.borrow()[KEPT + 1..], [0..3, 6..9]);
    }

    #[test]
    fn features_that_are_there_are_not_loaded() {
        let values = [1.0, 2.0, 3.0, 4.0];
        let mut features = Features::all(&values, 2);
        assert_eq!(features.of(1), Ok(&values[2..]));
        assert_eq!(features.of(2).map(|_| ()).map_err(|error| error.code()), Err("inference"));
    }
}
