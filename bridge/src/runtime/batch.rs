//! From encoded texts to the tensors of one run.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::BridgeError;
use crate::tokenizer::Encoded;

/// Padded tokens of one run at most; a text longer than that runs alone. Small runs stay in the cache.
pub(crate) const TOKEN_BUDGET: usize = 512;

/// Splits texts, given as `(index, tokens)`, into runs of indices: similar lengths together, at most `budget` padded
/// tokens each.
///
/// Every index is in exactly one run; the longest texts come first.
pub(crate) fn plan(mut texts: Vec<(usize, usize)>, budget: usize) -> Vec<Vec<usize>> {
    texts.sort_by_key(|&(_, tokens)| std::cmp::Reverse(tokens));
    let mut runs = Vec::new();
    let mut rest = texts.as_slice();
    while let Some(&(_, longest)) = rest.first() {
        let rows = (budget / longest.max(1)).clamp(1, rest.len());
        let (run, others) = rest.split_at(rows);
        runs.push(run.iter().map(|&(index, _)| index).collect());
        rest = others;
    }
    runs
}

/// Does jobs on some threads; the first error of a thread ends it.
///
/// # Errors
/// The error of a job, or `inference` where a thread panicked.
pub(crate) fn in_parallel<J: Sync>(
    threads: usize,
    jobs: &[J],
    work: impl Fn(&J) -> Result<(), BridgeError> + Sync,
) -> Result<(), BridgeError> {
    let next = AtomicUsize::new(0);
    let worker = || std::iter::from_fn(|| jobs.get(next.fetch_add(1, Ordering::Relaxed))).try_for_each(&work);
    if threads.min(jobs.len()) <= 1 {
        return worker();
    }
    std::thread::scope(|scope| {
        let handles: Vec<_> = (0..threads.min(jobs.len())).map(|_| scope.spawn(worker)).collect();
        let crashed = |_| Err(BridgeError::inference(None, "a worker thread panicked"));
        handles.into_iter().try_for_each(|handle| handle.join().unwrap_or_else(crashed))
    })
}

/// Token ids and attention mask of one run, both `[rows, width]`, row by row.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Padded {
    pub(crate) rows: usize,
    /// At least 1: a graph has no use for an empty dimension.
    pub(crate) width: usize,
    pub(crate) ids: Vec<i64>,
    pub(crate) mask: Vec<i64>,
}

/// Pads texts on the right to the longest of them.
pub(crate) fn pad(texts: &[&Encoded], pad_id: i64) -> Padded {
    let width = texts.iter().map(|text| text.ids.len()).max().unwrap_or(0).max(1);
    let mut padded = Padded { rows: texts.len(), width, ids: Vec::new(), mask: Vec::new() };
    for text in texts {
        let gap = width - text.ids.len();
        padded.ids.extend(&text.ids);
        padded.ids.extend(std::iter::repeat_n(pad_id, gap));
        padded.mask.extend(std::iter::repeat_n(1, text.ids.len()));
        padded.mask.extend(std::iter::repeat_n(0, gap));
    }
    padded
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoded(ids: &[i64]) -> Encoded {
        Encoded { ids: ids.to_vec(), truncated: false }
    }

    #[test]
    fn pads_on_the_right() {
        let (long, short) = (encoded(&[5, 6, 7]), encoded(&[8]));
        let found = pad(&[&long, &short], 9);
        assert_eq!((found.rows, found.width), (2, 3));
        assert_eq!((found.ids, found.mask), (vec![5, 6, 7, 8, 9, 9], vec![1, 1, 1, 1, 0, 0]));
        let empty = pad(&[&encoded(&[])], 9);
        assert_eq!((empty.width, empty.ids, empty.mask), (1, vec![9], vec![0]));
    }

    #[test]
    fn every_job_is_done_once_and_an_error_is_told() {
        let jobs: Vec<usize> = (0..100).collect();
        for threads in [0, 1, 3] {
            let sum = AtomicUsize::new(0);
            let add = |job: &usize| {
                sum.fetch_add(*job, Ordering::Relaxed);
                Ok(())
            };
            assert_eq!(in_parallel(threads, &jobs, add), Ok(()));
            assert_eq!(sum.into_inner(), 4950);
            let fail = |job: &usize| if *job == 7 { Err(BridgeError::inference(Some(7), "x")) } else { Ok(()) };
            assert_eq!(in_parallel(threads, &jobs, fail).map_err(|error| error.index()), Err(Some(7)));
        }
    }

    proptest! {
        #[test]
        fn every_text_runs_once_within_the_budget(lengths in proptest::collection::vec(0_usize..700, 0..60)) {
            let runs = plan(lengths.iter().copied().enumerate().collect(), TOKEN_BUDGET);
            let mut seen: Vec<usize> = runs.concat();
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..lengths.len()).collect::<Vec<_>>());
            for run in runs {
                let width = run.iter().map(|&index| lengths[index]).max().unwrap_or(0);
                prop_assert!(run.len() == 1 || run.len() * width.max(1) <= TOKEN_BUDGET);
            }
        }
    }
}
