//! Groups encoded texts into runs, and pads them.

use crate::BridgeError;

/// The default limit on the tokens of one run, including padding. The tensors of a run of this size fit into the
/// processor's cache.
pub(crate) const TOKEN_BUDGET: usize = 512;

/// Limit on rows x length x length of one run of several rows. A transformer computes this many scores for each head of its
/// attention: with 12 heads, they take 100 MB as float32.
pub(crate) const SCORE_BUDGET: usize = 1 << 21;

/// Limits on the size of one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// Limit on the tokens of a run, including padding. A text that exceeds it runs alone.
    pub(crate) tokens: usize,
    /// Limit on the texts of a run. A run of one text is always allowed.
    pub(crate) texts: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { tokens: TOKEN_BUDGET, texts: usize::MAX }
    }
}

/// Groups texts of similar lengths into runs within the limits. `texts` has the index and the number of tokens of each
/// text; a run is a list of the indices of its texts.
///
/// Every index is in exactly one run. The runs are sorted from the longest texts to the shortest.
pub(crate) fn plan(mut texts: Vec<(usize, usize)>, bounds: Bounds) -> Vec<Vec<usize>> {
    texts.sort_by_key(|&(_, tokens)| std::cmp::Reverse(tokens));
    let mut runs = Vec::new();
    let mut rest = texts.as_slice();
    while let Some(&(_, longest)) = rest.first() {
        let longest = longest.max(1);
        let scores = SCORE_BUDGET / longest.saturating_mul(longest);
        let rows = (bounds.tokens / longest).min(scores).min(bounds.texts).clamp(1, rest.len());
        let (run, others) = rest.split_at(rows);
        runs.push(run.iter().map(|&(index, _)| index).collect());
        rest = others;
    }
    runs
}

/// Groups texts as `plan` does; if it takes several runs, they have about the same number of texts. Their number is a
/// multiple of `workers` where the lengths allow it, so that no worker is idle at the end.
///
/// Texts that fit into one run are not divided: all threads together read the weights once for each step of its search.
pub(crate) fn plan_evenly(texts: Vec<(usize, usize)>, bounds: Bounds, workers: usize) -> Vec<Vec<usize>> {
    let (count, runs) = (texts.len(), plan(texts.clone(), bounds));
    if runs.len() <= 1 || workers == 1 {
        return runs;
    }
    let runs = runs.len().next_multiple_of(workers.max(1));
    plan(texts, Bounds { texts: count.div_ceil(runs), ..bounds })
}

/// The size of a run: its rows, the length of the longest one, and the sum of their lengths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Load {
    rows: usize,
    pub(crate) width: usize,
    tokens: usize,
}

impl Load {
    /// A run of one row.
    pub(crate) fn of(length: usize) -> Self {
        Self { rows: 1, width: length.max(1), tokens: length.max(1) }
    }

    /// Both runs together.
    pub(crate) fn with(self, other: Self) -> Self {
        Self { rows: self.rows + other.rows, width: self.width.max(other.width), tokens: self.tokens + other.tokens }
    }

    /// The tokens of the run, including padding.
    pub(crate) fn padded(self) -> usize {
        self.rows.saturating_mul(self.width)
    }

    /// Whether rows of several calls may run together like this: within the limits, and at most a quarter is padding.
    pub(crate) fn can_merge(self, max_tokens: usize) -> bool {
        let padded = self.padded();
        padded <= max_tokens
            && padded.saturating_mul(self.width) <= SCORE_BUDGET
            && (padded - self.tokens).saturating_mul(4) <= padded
    }
}

/// The error for a thread that the system refuses, for example because of a limit on processes or memory.
pub(crate) fn refused_thread(error: &std::io::Error) -> BridgeError {
    BridgeError::inference(None, format!("the system refused a thread: {error}; raise the limits of the process"))
}

/// The outcome of one item of a run: its result or its error.
pub(crate) type Outcome<T> = Result<T, BridgeError>;

/// The token ids and the attention mask of one run, both of the shape `[rows, width]` in row-major order.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Padded {
    pub(crate) rows: usize,
    /// The number of tokens of each row, including padding. It is at least 1, even if all texts are empty: graphs do
    /// not support an empty dimension.
    pub(crate) width: usize,
    pub(crate) ids: Vec<i64>,
    pub(crate) mask: Vec<i64>,
}

/// Pads texts on the right to the number of tokens of the longest one.
pub(crate) fn pad(texts: &[&[i64]], pad_id: i64) -> Padded {
    let width = texts.iter().map(|ids| ids.len()).max().unwrap_or(0).max(1);
    let mut padded = Padded { rows: texts.len(), width, ids: Vec::new(), mask: Vec::new() };
    for ids in texts {
        let padding = width - ids.len();
        padded.ids.extend(*ids);
        padded.ids.extend(std::iter::repeat_n(pad_id, padding));
        padded.mask.extend(std::iter::repeat_n(1, ids.len()));
        padded.mask.extend(std::iter::repeat_n(0, padding));
    }
    padded
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn texts_are_padded_on_the_right() {
        let padded = pad(&[&[5, 6, 7], &[8]], 9);
        assert_eq!((padded.rows, padded.width), (2, 3));
        assert_eq!((padded.ids, padded.mask), (vec![5, 6, 7, 8, 9, 9], vec![1, 1, 1, 1, 0, 0]));
        let empty = pad(&[&[]], 9);
        assert_eq!((empty.width, empty.ids, empty.mask), (1, vec![9], vec![0]));
    }

    #[test]
    fn several_runs_are_divided_evenly_among_workers() {
        let bounds = Bounds { tokens: 2048, texts: 14 };
        let sizes = |count: usize, length: usize, workers| {
            let runs = plan_evenly((0..count).map(|index| (index, length)).collect(), bounds, workers);
            runs.iter().map(Vec::len).collect::<Vec<usize>>()
        };
        assert!(sizes(0, 400, 2).is_empty());
        assert_eq!([sizes(5, 400, 2), sizes(6, 400, 1), sizes(6, 400, 2)], [vec![5], vec![5, 1], vec![3, 3]]);
        assert_eq!([sizes(12, 400, 2), sizes(30, 10, 2)], [vec![3; 4], vec![8, 8, 8, 6]]);
    }

    #[test]
    fn merged_runs_have_little_padding_and_are_bounded() {
        let run = |lengths: &[usize]| lengths.iter().map(|length| Load::of(*length)).reduce(Load::with).expect("rows");
        assert_eq!(run(&[5, 0, 3]), Load { rows: 3, width: 5, tokens: 9 });
        assert!(run(&[8, 4]).can_merge(16));
        assert!(!run(&[8, 4]).can_merge(15));
        assert!(!run(&[8, 3]).can_merge(16));
        assert!(run(&[1024; 2]).can_merge(usize::MAX));
        assert!(!run(&[1024; 3]).can_merge(usize::MAX));
    }

    #[test]
    fn long_texts_of_a_large_budget_are_divided() {
        let lengths: Vec<(usize, usize)> = (0..10).map(|index| (index, 1024)).collect();
        let bounds = Bounds { tokens: usize::MAX, ..Bounds::default() };
        assert!(plan(lengths, bounds).iter().all(|run| run.len() == 2));
        assert_eq!(plan(vec![(0, usize::MAX)], bounds), [[0]]);
    }

    proptest! {
        #[test]
        fn every_text_runs_once_within_the_bounds(
            lengths in proptest::collection::vec(0_usize..700, 0..60), texts in 0_usize..9,
        ) {
            let runs = plan(lengths.iter().copied().enumerate().collect(), Bounds { texts, ..Bounds::default() });
            let mut indices: Vec<usize> = runs.concat();
            indices.sort_unstable();
            prop_assert_eq!(indices, (0..lengths.len()).collect::<Vec<_>>());
            for run in runs {
                let width = run.iter().map(|&index| lengths[index]).max().unwrap_or(0);
                prop_assert!(run.len() == 1 || run.len() * width.max(1) <= TOKEN_BUDGET && run.len() <= texts);
            }
        }
    }
}
