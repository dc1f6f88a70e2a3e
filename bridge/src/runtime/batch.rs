//! Groups encoded texts into runs, pads them, and runs them on several threads.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::BridgeError;

/// The default limit on the tokens of one run, including padding. The tensors of a run of this size fit into the
/// processor's cache.
pub(crate) const TOKEN_BUDGET: usize = 512;

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
        let rows = (bounds.tokens / longest.max(1)).min(bounds.texts).clamp(1, rest.len());
        let (run, others) = rest.split_at(rows);
        runs.push(run.iter().map(|&(index, _)| index).collect());
        rest = others;
    }
    runs
}

/// Processes jobs on several threads. A thread ends when one of its jobs fails. If the system refuses a thread, the others
/// process its jobs; without any, the calling thread does.
///
/// # Errors
/// The error of a job, or `inference` if a thread panicked.
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
        let start = |_| match std::thread::Builder::new().spawn_scoped(scope, worker) {
            Ok(handle) => Some(handle),
            Err(error) => {
                tracing::warn!(%error, "the system refused a thread: a call runs on fewer threads");
                None
            }
        };
        let handles: Vec<_> = (0..threads.min(jobs.len())).map_while(start).collect();
        if handles.is_empty() {
            return worker();
        }
        let crashed = |_| Err(BridgeError::Internal { problem: "a worker thread panicked".to_owned() });
        handles.into_iter().try_for_each(|handle| handle.join().unwrap_or_else(crashed))
    })
}

/// The error for a thread that the system refuses, for example because of a limit on processes or memory.
pub(crate) fn refused_thread(error: &std::io::Error) -> BridgeError {
    BridgeError::inference(None, format!("the system refused a thread: {error}; raise the limits of the process"))
}

/// The outcome of one item of a run: its result or its error.
pub(crate) type Outcome<T> = Result<T, BridgeError>;

/// Runs items on several threads and returns the outcome for each index below `count`; `None` for an index that is not
/// among the items. `items` has the index and the number of tokens of each item. `work` receives the indices of one run and
/// returns their outcomes in the same order.
///
/// # Errors
/// The error of `work`, which ends the whole call.
pub(crate) fn run_all<T: Send>(
    count: usize,
    items: Vec<(usize, usize)>,
    threads: usize,
    bounds: Bounds,
    work: impl Fn(&[usize]) -> Result<Vec<Outcome<T>>, BridgeError> + Sync,
) -> Result<Vec<Option<Outcome<T>>>, BridgeError> {
    let slots = Mutex::new((0..count).map(|_| None).collect::<Vec<_>>());
    in_parallel(threads, &plan(items, bounds), |run| {
        let outcomes = work(run)?;
        let mut slots = slots.lock().unwrap_or_else(PoisonError::into_inner);
        for (&index, outcome) in run.iter().zip(outcomes) {
            slots[index] = Some(outcome);
        }
        Ok(())
    })?;
    Ok(slots.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// Tries one run with all rows. If it fails, every row runs alone, so that one bad row does not lose the others.
pub(crate) fn run_apart<R, T>(
    rows: &[R],
    mut attempt: impl FnMut(&[R]) -> Result<Vec<Outcome<T>>, BridgeError>,
) -> Vec<Outcome<T>> {
    let nothing = || Err(BridgeError::inference(None, "was not run"));
    match attempt(rows) {
        Ok(outcomes) => outcomes,
        Err(error) if rows.len() == 1 => vec![Err(error)],
        Err(_) => rows.chunks(1).map(|row| attempt(row)?.pop().unwrap_or_else(nothing)).collect(),
    }
}

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
    fn every_job_is_done_once_and_an_error_is_returned() {
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

    #[test]
    fn every_item_gets_its_own_outcome() {
        let work = |run: &[usize]| Ok(run.iter().map(|index| Ok(index * 2)).collect());
        let outcomes = run_all(4, vec![(3, 900), (0, 1), (2, 600)], 2, Bounds::default(), work).expect("outcomes");
        assert_eq!(outcomes, [Some(Ok(0)), None, Some(Ok(4)), Some(Ok(6))]);
        let broken = |_: &[usize]| Err::<Vec<Outcome<()>>, _>(BridgeError::inference(None, "x"));
        assert!(run_all(1, vec![(0, 1)], 1, Bounds::default(), broken).is_err());
    }

    #[test]
    fn one_bad_row_does_not_lose_the_others() {
        let attempt = |rows: &[i32]| match rows.contains(&7) {
            true => Err(BridgeError::inference(None, "seven")),
            false => Ok(rows.iter().map(|row| Ok(row + 1)).collect()),
        };
        assert_eq!(run_apart(&[1, 2], attempt), [Ok(2), Ok(3)]);
        let codes: Vec<_> =
            run_apart(&[1, 7, 2], attempt).into_iter().map(|row| row.map_err(|e| e.code().as_str())).collect();
        assert_eq!(codes, [Ok(2), Err("inference"), Ok(3)]);
        assert!(run_apart(&[7], attempt)[0].is_err());
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
