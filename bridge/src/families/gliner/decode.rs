//! Finds the possible entities in the logits of a window.

use super::section::GlinerSpec;

/// A possible entity: its first and its last word, the index of its label, and its score.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Candidate {
    pub(super) first: usize,
    pub(super) last: usize,
    pub(super) label: usize,
    pub(super) score: f32,
}

/// The number of logits of one word: for spans, `max_width x labels`; else start, end and inside for each label.
pub(super) fn logits_per_word(spec: &GlinerSpec, labels: usize) -> usize {
    spec.max_width.unwrap_or(3) * labels
}

/// The candidates of one window, whose logits are in row-major order, by word first.
pub(super) fn candidates(logits: &[f32], spec: &GlinerSpec, labels: usize, threshold: f64) -> Vec<Candidate> {
    match spec.max_width {
        Some(width) => spans(logits, width, labels, threshold),
        None => tokens(logits, labels, threshold),
    }
}

/// The sigmoid, computed as `f64` and rounded.
fn probability(logit: f32) -> f32 {
    (1.0 / (1.0 + (-f64::from(logit)).exp())) as f32
}

/// The spans with a probability above the threshold, ordered by first word, last word and label. The shape is `[words,
/// width, labels]`.
fn spans(logits: &[f32], width: usize, labels: usize, threshold: f64) -> Vec<Candidate> {
    let words = logits.len() / (width * labels);
    let mut found = Vec::new();
    for (index, logit) in logits.iter().enumerate() {
        let (first, offset, label) = (index / (width * labels), index / labels % width, index % labels);
        let score = probability(*logit);
        if score > threshold as f32 && first + offset < words {
            found.push(Candidate { first, last: first + offset, label, score });
        }
    }
    found
}

/// The spans whose start, end and words are probable, ordered by first word, label and last word. The shape is `[words,
/// labels, 3]`: start, end, inside.
///
/// The score is the lowest of the probabilities. As in GLiNER, those of start and end must be above the threshold, rounded
/// to `f32`, and those of the words not below it.
fn tokens(logits: &[f32], labels: usize, threshold: f64) -> Vec<Candidate> {
    let scores: Vec<f32> = logits.iter().map(|logit| probability(*logit)).collect();
    let words = logits.len() / (3 * labels);
    let score = |word: usize, label: usize, part: usize| scores[(word * labels + label) * 3 + part];
    let mut found = Vec::new();
    for first in 0..words {
        for label in 0..labels {
            let start = score(first, label, 0);
            if start <= threshold as f32 {
                continue;
            }
            let mut lowest = start;
            for last in first..words {
                let inside = score(last, label, 2);
                if f64::from(inside) < threshold {
                    break;
                }
                lowest = lowest.min(inside);
                let end = score(last, label, 1);
                if end > threshold as f32 {
                    found.push(Candidate { first, last, label, score: lowest.min(end) });
                }
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounded(found: &[Candidate]) -> Vec<(usize, usize, usize, f32)> {
        found.iter().map(|each| (each.first, each.last, each.label, (each.score * 100.0).round() / 100.0)).collect()
    }

    #[test]
    fn spans_beyond_the_last_word_are_left_out() {
        // Two words, widths 1 and 2, two labels. The sigmoid of 1 is 0.73, that of 2 is 0.88.
        let logits = [1.0, -1.0, 2.0, 0.0, -1.0, 2.0, 9.0, 9.0];
        assert_eq!(rounded(&spans(&logits, 2, 2, 0.5)), [(0, 0, 0, 0.73), (0, 1, 0, 0.88), (1, 1, 1, 0.88)]);
        assert!(spans(&logits, 2, 2, 1.0).is_empty());
    }

    #[test]
    fn the_score_of_words_is_the_lowest_probability() {
        // Three words and one label: start, end, inside of each.
        let logits = [2.0, -1.0, 2.0, -1.0, 2.0, 1.0, 2.0, 2.0, -1.0];
        assert_eq!(rounded(&tokens(&logits, 1, 0.5)), [(0, 1, 0, 0.73)]);
        assert_eq!(tokens(&logits, 1, 0.25).len(), 6);
    }
}
