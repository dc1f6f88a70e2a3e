//! Divides the words of a text into windows, of which each owns some of the words.

/// The words of one window, as indices of words in the text; the ends are exclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WordRange {
    pub(super) start: usize,
    pub(super) end: usize,
    /// Entities that start at a word from here to `own_end` are taken from this window.
    pub(super) own_start: usize,
    pub(super) own_end: usize,
}

/// The windows of a text, given the number of tokens of each word; none if it has no words.
///
/// A window has as many words as its limits allow, at least one. Consecutive windows share `stride` words, or half of the
/// words of the first one if these are fewer. Each owns the words up to the middle of the overlap.
pub(super) fn plan_windows(counts: &[usize], max_words: usize, max_tokens: usize, stride: usize) -> Vec<WordRange> {
    let (mut windows, mut start, mut own) = (Vec::new(), 0, 0);
    while start < counts.len() {
        let mut tokens = 0;
        let fits = |count: &&usize| {
            tokens += **count;
            tokens <= max_tokens
        };
        let fitting = counts[start..].iter().take(max_words).take_while(fits).count();
        let end = start + fitting.max(1);
        if end == counts.len() {
            windows.push(WordRange { start, end, own_start: own, own_end: end });
            break;
        }
        let following = end - stride.min((end - start) / 2);
        let middle = usize::midpoint(following, end);
        windows.push(WordRange { start, end, own_start: own, own_end: middle });
        (start, own) = (following, middle);
    }
    windows
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ranges(windows: &[WordRange]) -> Vec<(usize, usize, usize, usize)> {
        windows.iter().map(|window| (window.start, window.end, window.own_start, window.own_end)).collect()
    }

    #[test]
    fn windows_share_words_and_own_those_up_to_the_middle() {
        assert_eq!(ranges(&plan_windows(&[1; 10], 6, 99, 2)), [(0, 6, 0, 5), (4, 10, 5, 10)]);
        assert_eq!(ranges(&plan_windows(&[1; 6], 6, 99, 2)), [(0, 6, 0, 6)]);
        assert_eq!(ranges(&plan_windows(&[3, 3, 3, 3], 6, 7, 1)), [(0, 2, 0, 1), (1, 3, 1, 2), (2, 4, 2, 4)]);
        assert_eq!(ranges(&plan_windows(&[1, 9, 1], 6, 4, 5)), [(0, 1, 0, 1), (1, 2, 1, 2), (2, 3, 2, 3)]);
        assert!(plan_windows(&[], 6, 4, 5).is_empty());
    }

    proptest! {
        #[test]
        fn every_word_has_one_owner(
            counts in proptest::collection::vec(0_usize..9, 0..60), max_words in 1_usize..12, stride in 0_usize..12,
        ) {
            let windows = plan_windows(&counts, max_words, 10, stride);
            let owned: Vec<usize> = windows.iter().flat_map(|window| window.own_start..window.own_end).collect();
            prop_assert_eq!(owned, (0..counts.len()).collect::<Vec<_>>());
            for window in windows {
                prop_assert!(window.start <= window.own_start && window.own_end <= window.end);
                let tokens: usize = counts[window.start..window.end].iter().sum();
                prop_assert!(window.end - window.start == 1 || tokens <= 10 && window.end - window.start <= max_words);
            }
        }
    }
}
