//! A cache of the outputs of the graph of types, for the recently used token types.

use std::cmp::Reverse;

use crate::BridgeError;

/// The default limit on the token types in the cache. The outputs of one type take 4 KB if its embedding has 96 values.
/// If the limit is exceeded, the more recently used half stays: most words occur again soon, or never.
const MAX_OUTPUTS: usize = 8_192;

/// The outputs of the graph of types, each as its shape and its values in row-major order.
pub(super) struct TypeOutputs<'a> {
    /// The embedding of each token type, `[types, width]`.
    pub(super) embedded: (&'a [i64], &'a [f32]),
    /// What a token of each type adds to the first layer of the tokens in whose windows it is, by its position in the
    /// window: `[types, 2 * window + 1, sums]`.
    pub(super) contributions: (&'a [i64], &'a [f32]),
}

/// The inputs of the graph of tokens: for each input, the number of tokens and the values for all of them.
#[derive(Debug, PartialEq)]
pub(super) struct TokenInputs {
    /// The embedding of each token, `[tokens, width]`.
    pub(super) embedded: (usize, Vec<f32>),
    /// The preactivation of the encoder's first layer for each token, `[tokens, sums]`: the sum of what the tokens in
    /// the window around it add.
    pub(super) preactivation: (usize, Vec<f32>),
}

/// The sizes of the graph of types' outputs for one token type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sizes {
    width: usize,
    /// The number of positions in the window, `2 * window + 1`.
    positions: usize,
    sums: usize,
}

/// The outputs of the graph of types for the cached token types. The outputs of each type are stored in one slot, which
/// is a row of the arrays below.
#[derive(Debug)]
pub(super) struct OutputCache {
    /// The slot of each token type, by the type's index in the cache of types; `None` if the outputs of the type are
    /// not cached.
    slots: Vec<Option<u32>>,
    /// The index of the token type whose outputs are in each slot.
    types: Vec<u32>,
    /// The sizes of one type's outputs; `None` until outputs are added for the first time.
    sizes: Option<Sizes>,
    /// The embedding of the type in each slot, flat `[slots, width]`.
    embedded: Vec<f32>,
    /// The contributions to the first layer of the type in each slot, flat `[slots, 2 * window + 1, sums]`.
    contributions: Vec<f32>,
    /// The maximum number of token types in the cache.
    limit: usize,
}

impl Default for OutputCache {
    fn default() -> Self {
        Self::new(MAX_OUTPUTS)
    }
}

impl OutputCache {
    fn new(limit: usize) -> Self {
        let (embedded, contributions) = (Vec::new(), Vec::new());
        Self { slots: Vec::new(), types: Vec::new(), sizes: None, embedded, contributions, limit }
    }

    /// Whether the outputs of a token type are in the cache.
    pub(super) fn has(&self, id: u32) -> bool {
        self.slots.get(id as usize).is_some_and(Option::is_some)
    }

    /// Adds the outputs of token types that are not in the cache. `age` returns the number of runs since a type was
    /// last used. Types of the current run, whose age is 0, always stay in the cache.
    ///
    /// # Errors
    /// `inference`, if the shapes do not match the number of types or the sizes of the cached outputs.
    pub(super) fn add(
        &mut self,
        types: &[u32],
        outputs: TypeOutputs<'_>,
        age: impl Fn(u32) -> u64,
    ) -> Result<(), BridgeError> {
        let sizes = sizes_of(types.len(), &outputs).filter(|sizes| self.sizes.is_none_or(|known| known == *sizes));
        if sizes.is_none() {
            let (embedded, contributions) = (outputs.embedded.0, outputs.contributions.0);
            let problem =
                format!("the outputs for {} types have the shapes {embedded:?}, {contributions:?}", types.len());
            return Err(BridgeError::inference(None, problem));
        }
        self.sizes = sizes;
        if self.types.len() + types.len() > self.limit {
            self.drop_oldest(age);
        }
        for &id in types {
            self.set_slot(id, Some(self.types.len() as u32));
            self.types.push(id);
        }
        self.embedded.extend_from_slice(outputs.embedded.1);
        self.contributions.extend_from_slice(outputs.contributions.1);
        Ok(())
    }

    /// The inputs of the graph of tokens for all tokens of a run, given the indices of the tokens' types in the order
    /// of the tokens. The preactivation of a token is the sum of the contributions of all tokens in the window around
    /// it.
    pub(super) fn token_inputs(&self, types: &[u32]) -> TokenInputs {
        let Sizes { width, positions, sums } = self.sizes.unwrap_or(Sizes { width: 0, positions: 1, sums: 1 });
        let (tokens, window) = (types.len(), positions / 2);
        let mut embedded = Vec::with_capacity(tokens * width);
        let mut preactivation = vec![0.0; tokens * sums];
        for (token, &id) in types.iter().enumerate() {
            let Some(slot) = self.slots[id as usize].map(|slot| slot as usize) else { continue };
            embedded.extend_from_slice(&self.embedded[slot * width..(slot + 1) * width]);
            let contributions = &self.contributions[slot * positions * sums..(slot + 1) * positions * sums];
            // This token is at position 0 in the window around the token with the index `token + window`, at position 1
            // in the window around the token before that one, and so on.
            for (position, contribution) in contributions.chunks_exact(sums).enumerate() {
                let center = (token + window).checked_sub(position).filter(|center| *center < tokens);
                let Some(center) = center else { continue };
                let total = &mut preactivation[center * sums..(center + 1) * sums];
                total.iter_mut().zip(contribution).for_each(|(total, value)| *total += value);
            }
        }
        TokenInputs { embedded: (tokens, embedded), preactivation: (tokens, preactivation) }
    }

    fn set_slot(&mut self, id: u32, slot: Option<u32>) {
        let index = id as usize;
        if index >= self.slots.len() {
            self.slots.resize(index + 1, None);
        }
        self.slots[index] = slot;
    }

    /// Drops the least recently used token types until the cache has half of its maximum number of types. Types of the
    /// current run always stay.
    fn drop_oldest(&mut self, age: impl Fn(u32) -> u64) {
        let mut kept: Vec<usize> = (0..self.types.len()).collect();
        // Among types with the same age, those that were added last are kept first.
        kept.sort_by_key(|&slot| (age(self.types[slot]), Reverse(slot)));
        let current = kept.partition_point(|&slot| age(self.types[slot]) == 0);
        kept.truncate(current.max(self.limit / 2));
        kept.sort_unstable();
        let old = std::mem::take(&mut self.types);
        old.iter().for_each(|&id| self.set_slot(id, None));
        let Sizes { width, positions, sums } = self.sizes.unwrap_or(Sizes { width: 0, positions: 0, sums: 0 });
        for &from in &kept {
            let to = self.types.len();
            move_row(&mut self.embedded, from, to, width);
            move_row(&mut self.contributions, from, to, positions * sums);
            self.set_slot(old[from], Some(to as u32));
            self.types.push(old[from]);
        }
        self.embedded.truncate(kept.len() * width);
        self.contributions.truncate(kept.len() * positions * sums);
    }
}

fn move_row(values: &mut [f32], from: usize, to: usize, width: usize) {
    values.copy_within(from * width..(from + 1) * width, to * width);
}

/// The sizes of one type's outputs, given the outputs for as many token types as `types` says. `None` if their shapes
/// are invalid or have another number of types.
fn sizes_of(types: usize, outputs: &TypeOutputs<'_>) -> Option<Sizes> {
    let sizes = |shape: &[i64]| shape.iter().map(|size| usize::try_from(*size).ok()).collect::<Option<Vec<_>>>();
    match (&sizes(outputs.embedded.0)?[..], &sizes(outputs.contributions.0)?[..]) {
        (&[embedded_types, width], &[contribution_types, positions, sums])
            if (embedded_types, contribution_types) == (types, types)
                && positions % 2 == 1
                && width > 0
                && sums > 0 =>
        {
            Some(Sizes { width, positions, sums })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Adds outputs whose values reveal the index of their token type. A type has an embedding of one element, and one
    /// sum for each of the three positions in a window.
    fn add(cache: &mut OutputCache, types: &[u32], age: impl Fn(u32) -> u64) {
        let embedded: Vec<f32> = types.iter().map(|&id| id as f32).collect();
        let contributions: Vec<f32> = embedded.iter().flat_map(|id| [id + 100.0, id + 200.0, id + 300.0]).collect();
        let count = types.len() as i64;
        let outputs =
            TypeOutputs { embedded: (&[count, 1], &embedded), contributions: (&[count, 3, 1], &contributions) };
        cache.add(types, outputs, age).expect("valid shapes");
    }

    #[test]
    fn a_token_sums_the_contributions_of_its_window() {
        let mut cache = OutputCache::default();
        add(&mut cache, &[3, 1], |_| 0);
        assert_eq!([0, 1, 2, 3].map(|id| cache.has(id)), [false, true, false, true]);
        let inputs = cache.token_inputs(&[1, 3, 3, 1]);
        assert_eq!(inputs.embedded, (4, vec![1.0, 3.0, 3.0, 1.0]));
        // The window of a token has three positions: the left neighbor is at the first one, the token itself at the
        // second, the right neighbor at the third.
        let sums = [201.0 + 303.0, 101.0 + 203.0 + 303.0, 103.0 + 203.0 + 301.0, 103.0 + 201.0];
        assert_eq!(inputs.preactivation, (4, sums.to_vec()));
        assert_eq!(cache.token_inputs(&[]).preactivation, (0, vec![]));
    }

    #[test]
    fn the_oldest_types_are_dropped() {
        let mut cache = OutputCache::new(4);
        add(&mut cache, &[0, 1, 2, 3], |_| 0);
        // After the oldest types are dropped, two types are left: type 1, which is used in this run, and type 3, which
        // was used in the previous run.
        add(&mut cache, &[9], |id| [2, 0, 3, 1][id as usize]);
        assert_eq!([0, 1, 2, 3, 9].map(|id| cache.has(id)), [false, true, false, true, true]);
        assert_eq!(cache.token_inputs(&[9, 1, 3]).embedded, (3, vec![9.0, 1.0, 3.0]));
        assert_eq!(cache.token_inputs(&[3]).preactivation, (1, vec![203.0]));
        // All token types of the current run stay in the cache, even if they exceed its limit.
        add(&mut cache, &[4, 5, 6, 7], |_| 0);
        assert_eq!(cache.token_inputs(&[9, 7, 3]).embedded, (3, vec![9.0, 7.0, 3.0]));
        assert_eq!(cache.embedded.len(), 7);
    }

    #[test]
    fn unexpected_shapes_are_refused() {
        let values = [0.0; 12];
        let mut cache = OutputCache::default();
        add(&mut cache, &[1], |_| 0);
        let wrong: [(&[i64], &[i64]); 8] = [
            (&[2, 1], &[2, 3, 2]),
            (&[1, 1], &[2, 3, 1]),
            (&[2, 1], &[1, 3, 1]),
            (&[2, 2], &[2, 3, 1]),
            (&[2, 1], &[2, 2, 1]),
            (&[2, 1], &[2, 3, 0]),
            (&[2], &[2, 3, 1]),
            (&[2, 1], &[2, 3]),
        ];
        for (embedded, contributions) in wrong {
            let outputs = TypeOutputs { embedded: (embedded, &values), contributions: (contributions, &values) };
            let refused = cache.add(&[2, 3], outputs, |_| 0).map_err(|error| error.code().as_str());
            assert_eq!((refused, cache.has(2)), (Err("inference"), false), "{embedded:?} {contributions:?}");
        }
    }
}
