//! The softmax of a token's logits, and sums and means of float32 in NumPy's order of additions.
//!
//! transformers uses NumPy. If two labels or two entities have almost equal scores, the rounding of the sums, which
//! depends on the order of additions, decides between them.

/// The maximum number of values that NumPy adds as one block. A longer list is first divided into halves, which are
/// added separately.
const BLOCK: usize = 128;
/// The number of partial sums that NumPy keeps within a block: each adds every eighth value.
const LANES: usize = 8;

/// Replaces logits with their softmax.
pub(crate) fn softmax(logits: &mut [f32]) {
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    for logit in &mut *logits {
        *logit = (*logit - highest).exp();
    }
    let total = sum(logits);
    for logit in logits {
        *logit /= total;
    }
}

/// The index and the value of the highest score; among equal scores, of the first one.
pub(crate) fn best(scores: &[f32]) -> (usize, f32) {
    let higher =
        |best: (usize, f32), (index, &score): (usize, &f32)| if score > best.1 { (index, score) } else { best };
    scores.iter().enumerate().fold((0, f32::NEG_INFINITY), higher)
}

/// The mean of a list of scores, from their pairwise sum.
pub(crate) fn mean(scores: &[f32]) -> f32 {
    sum(scores) / scores.len() as f32
}

/// The pairwise sum of some values, with the same order of additions as in NumPy.
fn sum(values: &[f32]) -> f32 {
    match values.len() {
        0..LANES => values.iter().sum(),
        LANES..=BLOCK => block(values),
        count => {
            let half = count / 2 / LANES * LANES;
            sum(&values[..half]) + sum(&values[half..])
        }
    }
}

fn block(values: &[f32]) -> f32 {
    let rows = values.chunks_exact(LANES);
    let rest = rows.remainder();
    let mut lanes = [0.0_f32; LANES];
    for row in rows {
        for (lane, value) in lanes.iter_mut().zip(row) {
            *lane += value;
        }
    }
    let [a, b, c, d, e, f, g, h] = lanes;
    rest.iter().fold(((a + b) + (c + d)) + ((e + f) + (g + h)), |total, value| total + value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(logits: &[f32]) -> Vec<f32> {
        let mut scores = logits.to_vec();
        softmax(&mut scores);
        scores
    }

    #[test]
    fn the_softmax_of_known_logits() {
        assert_eq!(of(&[0.0, 0.0]), [0.5, 0.5]);
        assert_eq!(of(&[7.0]), [1.0]);
        // e^0 : e^ln(3) is 1 : 3. Adding the same number to all logits does not change their softmax.
        for shift in [0.0, -50.0, 1000.0] {
            let scores = of(&[shift, shift + 3.0_f32.ln()]);
            assert!((scores[0] - 0.25).abs() < 1e-5 && (scores[1] - 0.75).abs() < 1e-5, "{scores:?}");
        }
        assert_eq!(of(&[f32::MAX, f32::MIN, f32::MAX]), [0.5, 0.0, 0.5]);
    }

    #[test]
    fn the_first_of_equal_scores_is_best() {
        assert_eq!(best(&[0.2, 0.4, 0.4]), (1, 0.4));
        assert_eq!(best(&[0.5, 0.5]), (0, 0.5));
        assert_eq!(best(&[0.0]), (0, 0.0));
    }

    #[test]
    fn sums_are_equal_to_those_of_numpy() {
        assert_eq!(mean(&[1.0, 0.5]), 0.75);
        // The expected bits are those of NumPy's float32 sums of 1 / (i + 1). Adding the values one by one would result
        // in other bits.
        let values: Vec<f32> = (0..1000).map(|i| 1.0 / (i + 1) as f32).collect();
        let expected = [
            (1, 0x3f800000),
            (3, 0x3feaaaab),
            (7, 0x4025f160),
            (8, 0x402df160),
            (9, 0x40350dd2),
            (15, 0x40545ddd),
            (16, 0x40585dde),
            (100, 0x40a5ff01),
            (127, 0x40ad9c59),
            (128, 0x40addc58),
            (129, 0x40ae1bda),
            (200, 0x40bc18d6),
            (256, 0x40c3faa3),
            (257, 0x40c41a83),
            (1000, 0x40ef88fc),
        ];
        for (count, bits) in expected {
            assert_eq!(sum(&values[..count]).to_bits(), bits, "{count}");
        }
        assert_ne!(values.iter().sum::<f32>().to_bits(), expected[expected.len() - 1].1);
    }

    proptest! {
        #[test]
        fn a_softmax_adds_up_to_one(logits in proptest::collection::vec(-80.0_f32..80.0, 1..300)) {
            let scores = of(&logits);
            prop_assert!((sum(&scores) - 1.0).abs() < 1e-5);
            prop_assert!(scores.iter().all(|score| (0.0..=1.0).contains(score)));
        }

        #[test]
        fn a_sum_is_close_to_the_exact_one(values in proptest::collection::vec(0.0_f32..1.0, 0..2000)) {
            let exact: f64 = values.iter().map(|value| f64::from(*value)).sum();
            prop_assert!((f64::from(sum(&values)) - exact).abs() <= 1e-6 * exact.max(1.0));
        }
    }
}
