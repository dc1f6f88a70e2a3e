//! How well the ranking of a variant agrees with the original's.

/// Two documents whose reference scores differ by less may have either order: each score of a variant may differ from
/// the original's by 1e-5.
pub(super) const TIE: f64 = 2e-5;

/// The indices of documents by descending score; documents of equal scores keep their order.
pub(super) fn ranking(scores: &[f64]) -> Vec<usize> {
    let mut indices: Vec<usize> = (0..scores.len()).collect();
    let score = |index: usize| scores[index] + 0.0; // -0 becomes 0, which equals it
    indices.sort_by(|&a, &b| score(b).total_cmp(&score(a)));
    indices
}

/// Kendall's tau-b of two lists of scores, from -1 to 1; 1 if neither list orders any two documents.
///
/// tau-b = (concordant - discordant) / sqrt((pairs - ties in a) * (pairs - ties in b)), Kendall 1945.
pub(super) fn kendall_tau(a: &[f64], b: &[f64]) -> f64 {
    let (mut sum, mut ordered_a, mut ordered_b) = (0.0, 0.0, 0.0);
    for (row, column) in pairs(a.len()) {
        let (sign_a, sign_b) = (sign(a[row] - a[column]), sign(b[row] - b[column]));
        sum += sign_a * sign_b;
        ordered_a += sign_a.abs();
        ordered_b += sign_b.abs();
    }
    let ordered: f64 = ordered_a * ordered_b;
    match (ordered == 0.0, ordered_a == ordered_b) {
        (true, true) => 1.0,
        (true, false) => 0.0,
        (false, _) => sum / ordered.sqrt(),
    }
}

/// Whether all pairs of documents whose reference scores differ by more than [`TIE`] have the same order.
pub(super) fn is_same_order(reference: &[f64], actual: &[f64]) -> bool {
    pairs(reference.len()).all(|(row, column)| {
        let gap = reference[row] - reference[column];
        gap.abs() <= TIE || sign(gap) == sign(actual[row] - actual[column])
    })
}

/// Whether the first document of the actual ranking has the highest reference score, or one that is at most [`TIE`]
/// lower.
pub(super) fn is_same_first(reference: &[f64], actual: &[f64]) -> bool {
    let best = reference.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    ranking(actual).first().is_none_or(|&first| reference[first] >= best - TIE)
}

fn pairs(count: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..count).flat_map(move |row| (row + 1..count).map(move |column| (row, column)))
}

/// The sign of a number: -1, 0 or 1. In contrast, `f64::signum` of 0 is 1.
fn sign(value: f64) -> f64 {
    if value == 0.0 { 0.0 } else { value.signum() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_scores_keep_their_order() {
        assert_eq!(ranking(&[0.5, 0.9, 0.5, -1.0]), [1, 0, 2, 3]);
        assert_eq!(ranking(&[-0.0, 0.0, 1.0, 0.0, -0.0]), [2, 0, 1, 3, 4]);
        assert_eq!(ranking(&[]), Vec::<usize>::new());
    }

    #[test]
    fn tau_counts_pairs() {
        assert_eq!(kendall_tau(&[3.0, 2.0, 1.0], &[30.0, 20.0, 10.0]), 1.0);
        assert_eq!(kendall_tau(&[3.0, 2.0, 1.0], &[1.0, 2.0, 3.0]), -1.0);
        // Of the three pairs of documents, two are concordant and one is discordant.
        assert_eq!(kendall_tau(&[3.0, 2.0, 1.0], &[3.0, 1.0, 2.0]), 1.0 / 3.0);
        // One list has a tie. Two pairs are concordant, of the three pairs that one list orders and the two that the
        // other orders.
        assert!((kendall_tau(&[3.0, 2.0, 1.0], &[2.0, 1.0, 1.0]) - 2.0 / 6.0_f64.sqrt()).abs() < 1e-15);
        assert_eq!((kendall_tau(&[1.0, 1.0], &[2.0, 2.0]), kendall_tau(&[1.0, 1.0], &[2.0, 1.0])), (1.0, 0.0));
        assert_eq!((kendall_tau(&[1.0], &[2.0]), kendall_tau(&[], &[])), (1.0, 1.0));
    }

    #[test]
    fn ties_have_no_order() {
        assert!(is_same_order(&[0.5, 0.5 + TIE / 2.0, 0.1], &[0.6, 0.5, 0.2]));
        assert!(!is_same_order(&[0.5, 0.5 + 2.0 * TIE, 0.1], &[0.6, 0.5, 0.2]));
        assert!(is_same_first(&[0.5, 0.5 + TIE / 2.0], &[0.6, 0.5]));
        assert!(!is_same_first(&[0.5, 0.5 + 2.0 * TIE], &[0.6, 0.5]));
    }
}
