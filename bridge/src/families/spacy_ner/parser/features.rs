//! The features of a document's tokens that determine the scores of the parser's moves. They are computed in blocks of
//! tokens, of which a limited number is kept in memory.

use std::borrow::Cow;
use std::ops::Range;

use crate::BridgeError;

/// Limit on the blocks of tokens whose features are in memory. A state of the parser uses eight tokens, which are in at
/// most eight blocks.
const MAX_BLOCKS: usize = 12;

/// A function that computes the features of a range of a document's tokens.
type Load<'a> = Box<dyn FnMut(Range<usize>) -> Result<Vec<f32>, BridgeError> + 'a>;

/// The features of the tokens of one document, by the index of the token.
pub(in crate::families::spacy_ner) struct Features<'a> {
    blocks: Vec<Block<'a>>,
    /// The number of tokens of the document.
    length: usize,
    /// The number of tokens of a block; the last block may have fewer.
    size: usize,
    /// The number of features (float32 values) of a token.
    width: usize,
    load: Load<'a>,
    /// How many times the features of any token were read so far; a clock for finding the least recently used block.
    clock: u64,
}

struct Block<'a> {
    index: usize,
    values: Cow<'a, [f32]>,
    /// The value of the clock of reads when the block was last read.
    used: u64,
}

impl<'a> Features<'a> {
    /// Features of a document that are already computed, of the shape `[tokens, width]`.
    pub(in crate::families::spacy_ner) fn all(values: &'a [f32], width: usize) -> Self {
        let length = values.len() / width;
        let block = Block { index: 0, values: Cow::Borrowed(values), used: 0 };
        let load =
            |_: Range<usize>| Err(BridgeError::inference(None, "the parser requested a token that does not exist"));
        Self { blocks: vec![block], length, size: length.max(1), width, load: Box::new(load), clock: 0 }
    }

    /// Features of a document of `length` tokens. `load` computes them in blocks of `size` tokens when they are first
    /// needed.
    pub(in crate::families::spacy_ner) fn in_blocks(
        length: usize,
        size: usize,
        width: usize,
        load: impl FnMut(Range<usize>) -> Result<Vec<f32>, BridgeError> + 'a,
    ) -> Self {
        Self { blocks: Vec::new(), length, size, width, load: Box::new(load), clock: 0 }
    }

    /// The features of a token. They are computed now if the token's block is not in memory.
    ///
    /// # Errors
    /// The errors of `load`.
    pub(in crate::families::spacy_ner) fn of(&mut self, token: usize) -> Result<&[f32], BridgeError> {
        let (index, start) = (token / self.size, token % self.size * self.width);
        let slot = match self.blocks.iter().position(|block| block.index == index) {
            Some(slot) => slot,
            None => self.load_block(index)?,
        };
        self.clock += 1;
        let block = &mut self.blocks[slot];
        block.used = self.clock;
        Ok(&block.values[start..start + self.width])
    }

    /// Loads a block of tokens and returns its index in `blocks`. If `blocks` is full, the block replaces the least
    /// recently used one.
    fn load_block(&mut self, index: usize) -> Result<usize, BridgeError> {
        let oldest = (0..self.blocks.len()).min_by_key(|&slot| self.blocks[slot].used);
        if let Some(oldest) = oldest.filter(|_| self.blocks.len() >= MAX_BLOCKS) {
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
        let length = (MAX_BLOCKS + 1) * 3 - 1;
        let load = |tokens: Range<usize>| {
            loaded.borrow_mut().push(tokens.clone());
            Ok(tokens.flat_map(|token| [token as f32, -(token as f32)]).collect())
        };
        let mut features = Features::in_blocks(length, 3, 2, load);
        let mut read = |token: usize| features.of(token).map(|values| values[0] as usize);
        for token in 0..length {
            assert_eq!(read(token), Ok(token));
        }
        // The last block has fewer tokens than the others. It replaced the first block, which has the tokens 0..3.
        assert_eq!(loaded.borrow().last(), Some(&(MAX_BLOCKS * 3..length)));
        // Reading token 4 marks the block 3..6 as recently used. Therefore the block 0..3 replaces the block 6..9,
        // which is loaded again by reading token 8.
        assert_eq!([read(4), read(0), read(3), read(8)], [Ok(4), Ok(0), Ok(3), Ok(8)]);
        assert_eq!(loaded.borrow()[MAX_BLOCKS + 1..], [0..3, 6..9]);
    }

    #[test]
    fn computed_features_are_not_loaded() {
        let values = [1.0, 2.0, 3.0, 4.0];
        let mut features = Features::all(&values, 2);
        assert_eq!(features.of(1), Ok(&values[2..]));
        assert_eq!(features.of(2).map(|_| ()).map_err(|error| error.code().as_str()), Err("inference"));
    }
}
