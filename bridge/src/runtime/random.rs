//! Random numbers, such as those in the names of temporary files.

use std::hash::{BuildHasher, Hasher, RandomState};

/// A random number. The keys of the standard library's maps are random, and differ from call to call.
pub(crate) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_differ() {
        let mut numbers: Vec<u64> = (0..100).map(|_| random()).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), 100);
    }
}
