//! What the graph of the types gave for the types met last.

use std::cmp::Reverse;

use crate::BridgeError;

/// Types whose outputs are kept, 4 KB each where vectors have 96 elements. When there are more, half as many stay, those
/// used last: a word comes again soon, or never.
const KEPT_OUTPUTS: usize = 8_192;

/// The outputs of the graph of the types, each with its shape.
pub(super) struct TypeOutputs<'a> {
    /// `[types, width]`.
    pub(super) embedded: (&'a [i64], &'a [f32]),
    /// `[types, 2 * window + 1, sums]`.
    pub(super) contributions: (&'a [i64], &'a [f32]),
}

/// What the graph of the tokens is told of their types: the number of tokens, and the values of all of them.
#[derive(Debug, PartialEq)]
pub(super) struct TokenInputs {
    /// `[tokens, width]`.
    pub(super) embedded: (usize, Vec<f32>),
    /// `[tokens, sums]`.
    pub(super) preactivation: (usize, Vec<f32>),
}

/// Sizes of one type's outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sizes {
    width: usize,
    /// Places of the window.
    places: usize,
    sums: usize,
}

/// The outputs for some types, each in a place of its own.
#[derive(Debug)]
pub(super) struct Kept {
    /// The place of each type, where it has one.
    place_of: Vec<Option<u32>>,
    /// The type in each place.
    owners: Vec<u32>,
    sizes: Option<Sizes>,
    /// `[places, width]`.
    embedded: Vec<f32>,
    /// `[places, 2 * window + 1, sums]`.
    contributions: Vec<f32>,
    most: usize,
}

impl Default for Kept {
    fn default() -> Self {
        Self::with_room(KEPT_OUTPUTS)
    }
}

impl Kept {
    fn with_room(most: usize) -> Self {
        let (embedded, contributions) = (Vec::new(), Vec::new());
        Self { place_of: Vec::new(), owners: Vec::new(), sizes: None, embedded, contributions, most }
    }

    /// Whether a type's outputs are here.
    pub(super) fn has(&self, id: u32) -> bool {
        self.place_of.get(id as usize).is_some_and(Option::is_some)
    }

    /// Adds the outputs for types that are not here. `age` is for how many runs a type was not used, 0 for the types of
    /// this run, which all stay.
    ///
    /// # Errors
    /// `inference`, where the shapes do not fit the types or what is here.
    pub(super) fn add(
        &mut self,
        types: &[u32],
        outputs: TypeOutputs<'_>,
        age: impl Fn(u32) -> u64,
    ) -> Result<(), BridgeError> {
        let sizes = sizes_of(types.len(), &outputs).filter(|found| self.sizes.is_none_or(|known| known == *found));
        if sizes.is_none() {
            let (embedded, contributions) = (outputs.embedded.0, outputs.contributions.0);
            let problem =
                format!("the outputs for {} types have the shapes {embedded:?}, {contributions:?}", types.len());
            return Err(BridgeError::inference(None, problem));
        }
        self.sizes = sizes;
        if self.owners.len() + types.len() > self.most {
            self.drop_oldest(age);
        }
        for &id in types {
            self.set_place(id, Some(self.owners.len() as u32));
            self.owners.push(id);
        }
        self.embedded.extend_from_slice(outputs.embedded.1);
        self.contributions.extend_from_slice(outputs.contributions.1);
        Ok(())
    }

    /// `embedded` of tokens in a row, and what their types and those beside them add to the first layer.
    pub(super) fn token_inputs(&self, types: &[u32]) -> TokenInputs {
        let Sizes { width, places, sums } = self.sizes.unwrap_or(Sizes { width: 0, places: 1, sums: 1 });
        let (tokens, window) = (types.len(), places / 2);
        let mut embedded = Vec::with_capacity(tokens * width);
        let mut preactivation = vec![0.0; tokens * sums];
        for (token, &id) in types.iter().enumerate() {
            let Some(place) = self.place_of[id as usize].map(|place| place as usize) else { continue };
            embedded.extend_from_slice(&self.embedded[place * width..(place + 1) * width]);
            let parts = &self.contributions[place * places * sums..(place + 1) * places * sums];
            // The leftmost place of the window is what the token furthest on sees here.
            for (seen_at, part) in parts.chunks_exact(sums).enumerate() {
                let beside = (token + window).checked_sub(seen_at).filter(|beside| *beside < tokens);
                let Some(beside) = beside else { continue };
                let total = &mut preactivation[beside * sums..(beside + 1) * sums];
                total.iter_mut().zip(part).for_each(|(total, value)| *total += value);
            }
        }
        TokenInputs { embedded: (tokens, embedded), preactivation: (tokens, preactivation) }
    }

    fn set_place(&mut self, id: u32, place: Option<u32>) {
        let at = id as usize;
        if at >= self.place_of.len() {
            self.place_of.resize(at + 1, None);
        }
        self.place_of[at] = place;
    }

    /// Forgets all types but those of this run, or half of those there is room for, of those used last.
    fn drop_oldest(&mut self, age: impl Fn(u32) -> u64) {
        let mut places: Vec<usize> = (0..self.owners.len()).collect();
        // Of equally old ones those that came last.
        places.sort_by_key(|&place| (age(self.owners[place]), Reverse(place)));
        let current = places.partition_point(|&place| age(self.owners[place]) == 0);
        places.truncate(current.max(self.most / 2));
        places.sort_unstable();
        let old = std::mem::take(&mut self.owners);
        old.iter().for_each(|&id| self.set_place(id, None));
        let Sizes { width, places: seen_at, sums } = self.sizes.unwrap_or(Sizes { width: 0, places: 0, sums: 0 });
        for &from in &places {
            let to = self.owners.len();
            move_row(&mut self.embedded, from, to, width);
            move_row(&mut self.contributions, from, to, seen_at * sums);
            self.set_place(old[from], Some(to as u32));
            self.owners.push(old[from]);
        }
        self.embedded.truncate(places.len() * width);
        self.contributions.truncate(places.len() * seen_at * sums);
    }
}

fn move_row(values: &mut [f32], from: usize, to: usize, width: usize) {
    values.copy_within(from * width..(from + 1) * width, to * width);
}

/// The sizes that the outputs for some types have; `None` where they cannot be outputs for so many.
fn sizes_of(types: usize, outputs: &TypeOutputs<'_>) -> Option<Sizes> {
    let sizes = |shape: &[i64]| shape.iter().map(|size| usize::try_from(*size).ok()).collect::<Option<Vec<_>>>();
    match (&sizes(outputs.embedded.0)?[..], &sizes(outputs.contributions.0)?[..]) {
        (&[count, width], &[again, places, sums])
            if (count, again) == (types, types) && places % 2 == 1 && width > 0 && sums > 0 =>
        {
            Some(Sizes { width, places, sums })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A type's outputs tell its number: one element, and one for each of three places.
    fn add(kept: &mut Kept, types: &[u32], age: impl Fn(u32) -> u64) {
        let embedded: Vec<f32> = types.iter().map(|&id| id as f32).collect();
        let contributions: Vec<f32> = embedded.iter().flat_map(|id| [id + 100.0, id + 200.0, id + 300.0]).collect();
        let count = types.len() as i64;
        let outputs =
            TypeOutputs { embedded: (&[count, 1], &embedded), contributions: (&[count, 3, 1], &contributions) };
        kept.add(types, outputs, age).expect("shapes that fit");
    }

    #[test]
    fn a_token_gets_what_its_neighbours_add() {
        let mut kept = Kept::default();
        add(&mut kept, &[3, 1], |_| 0);
        assert_eq!([0, 1, 2, 3].map(|id| kept.has(id)), [false, true, false, true]);
        let found = kept.token_inputs(&[1, 3, 3, 1]);
        assert_eq!(found.embedded, (4, vec![1.0, 3.0, 3.0, 1.0]));
        // The left neighbour is seen at the first place, the token at the second, the right neighbour at the third.
        let sums = [201.0 + 303.0, 101.0 + 203.0 + 303.0, 103.0 + 203.0 + 301.0, 103.0 + 201.0];
        assert_eq!(found.preactivation, (4, sums.to_vec()));
        assert_eq!(kept.token_inputs(&[]).preactivation, (0, vec![]));
    }

    #[test]
    fn those_not_used_for_longest_make_room() {
        let mut kept = Kept::with_room(4);
        add(&mut kept, &[0, 1, 2, 3], |_| 0);
        // Two may stay: the one of this run, and the younger of the others.
        add(&mut kept, &[9], |id| [2, 0, 3, 1][id as usize]);
        assert_eq!([0, 1, 2, 3, 9].map(|id| kept.has(id)), [false, true, false, true, true]);
        assert_eq!(kept.token_inputs(&[9, 1, 3]).embedded, (3, vec![9.0, 1.0, 3.0]));
        assert_eq!(kept.token_inputs(&[3]).preactivation, (1, vec![203.0]));
        // All types of a run stay, however many there are.
        add(&mut kept, &[4, 5, 6, 7], |_| 0);
        assert_eq!(kept.token_inputs(&[9, 7, 3]).embedded, (3, vec![9.0, 7.0, 3.0]));
        assert_eq!(kept.embedded.len(), 7);
    }

    #[test]
    fn shapes_have_to_fit() {
        let values = [0.0; 12];
        let mut kept = Kept::default();
        add(&mut kept, &[1], |_| 0);
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
            let refused = kept.add(&[2, 3], outputs, |_| 0).map_err(|error| error.code());
            assert_eq!((refused, kept.has(2)), (Err("inference"), false), "{embedded:?} {contributions:?}");
        }
    }
}
