//! Decodes the logits of a window to entities, by one of the aggregation strategies.

use super::scores::{best, mean, softmax};
use super::section::TokenClassificationSpec;
use super::windows::{Mark, Window};
use crate::tasks::AggregationStrategy;
use crate::tasks::entities::EntitySpan;

/// A token or a word with the class that was chosen for it.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Item<'a> {
    start: usize,
    end: usize,
    label: &'a str,
    score: f32,
}

/// The entities of a window. `logits` has the shape `[tokens, labels]` in row-major order.
pub(crate) fn decode<'a>(
    logits: &[f32],
    window: &Window,
    spec: &'a TokenClassificationSpec,
    strategy: AggregationStrategy,
) -> Vec<EntitySpan<'a>> {
    let rows = logits.chunks_exact(spec.labels.len());
    let tokens = window.marks.iter().zip(rows).filter(|(mark, _)| !mark.is_special);
    let scored = tokens.map(|(mark, row)| {
        let mut scores = row.to_vec();
        softmax(&mut scores);
        Word { start: mark.start, end: mark.end, tokens: 1, scores, mark: *mark }
    });
    let mut entities = match strategy {
        AggregationStrategy::None => scored.map(|token| token.item(spec).span()).collect(),
        AggregationStrategy::Simple => group(scored.map(|token| token.item(spec))),
        AggregationStrategy::First | AggregationStrategy::Average | AggregationStrategy::Max => {
            group(words(scored, strategy).into_iter().map(|word| word.item(spec)))
        }
    };
    entities.retain(|entity| !spec.ignore_labels.iter().any(|label| label == entity.label));
    entities
}

impl<'a> Item<'a> {
    fn span(&self) -> EntitySpan<'a> {
        EntitySpan { start: self.start, end: self.end, label: self.label, score: Some(self.score) }
    }
}

/// A word that consists of one or several tokens.
struct Word {
    start: usize,
    end: usize,
    /// The number of tokens of the word.
    tokens: usize,
    /// The score of each class: the score of one chosen token of the word, or the sum of the scores of all its tokens.
    scores: Vec<f32>,
    /// The properties of the word's first token.
    mark: Mark,
}

impl Word {
    fn item<'a>(&self, spec: &'a TokenClassificationSpec) -> Item<'a> {
        let (class, score) = best(&self.scores);
        Item { start: self.start, end: self.end, label: &spec.labels[class], score }
    }

    fn add(&mut self, token: &Self, strategy: AggregationStrategy) {
        self.end = token.end;
        self.tokens += 1;
        match strategy {
            AggregationStrategy::Max => {
                if best(&token.scores).1 > best(&self.scores).1 {
                    self.scores.clone_from(&token.scores);
                }
            }
            AggregationStrategy::Average => {
                self.scores.iter_mut().zip(&token.scores).for_each(|(sum, score)| *sum += score);
            }
            AggregationStrategy::None | AggregationStrategy::Simple | AggregationStrategy::First => {}
        }
    }

    fn finish(&mut self, strategy: AggregationStrategy) {
        if strategy == AggregationStrategy::Average {
            let tokens = self.tokens as f32;
            self.scores.iter_mut().for_each(|sum| *sum /= tokens);
        }
    }
}

/// Groups tokens to words. The first token starts a word even if it is a subword, because a window can begin within a
/// word.
fn words(tokens: impl Iterator<Item = Word>, strategy: AggregationStrategy) -> Vec<Word> {
    let mut words: Vec<Word> = Vec::new();
    for token in tokens {
        match words.last_mut() {
            Some(word) if token.mark.is_subword => word.add(&token, strategy),
            _ => words.push(token),
        }
    }
    words.iter_mut().for_each(|word| word.finish(strategy));
    words
}

/// Groups adjacent tokens or words whose labels are equal without their prefixes to entities. Ignored labels are
/// grouped as well and only dropped afterwards, because they separate other entities.
fn group<'a>(items: impl Iterator<Item = Item<'a>>) -> Vec<EntitySpan<'a>> {
    let mut groups: Vec<Vec<Item<'a>>> = Vec::new();
    for item in items {
        let (begins, tag) = tag(item.label);
        match groups.last_mut() {
            Some(group) if !begins && self::tag(group[0].label).1 == tag => group.push(item),
            _ => groups.push(vec![item]),
        }
    }
    groups.iter().map(|group| entity(group)).collect()
}

/// The entity that consists of a group of tokens or words, of which there is at least one.
fn entity<'a>(group: &[Item<'a>]) -> EntitySpan<'a> {
    let (first, last) = (group[0], group[group.len() - 1]);
    let scores: Vec<f32> = group.iter().map(|item| item.score).collect();
    let label = first.label.split_once('-').map_or(first.label, |(_, label)| label);
    EntitySpan { start: first.start, end: last.end, label, score: Some(mean(&scores)) }
}

/// Splits a label: whether it begins an entity, and the label without its prefix.
fn tag(label: &str) -> (bool, &str) {
    match label.strip_prefix("B-") {
        Some(tag) => (true, tag),
        None => (false, label.strip_prefix("I-").unwrap_or(label)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::AggregationStrategy::{Average, First, Max, None, Simple};
    use super::*;

    fn spec(labels: &[&str], ignore: &[&str]) -> TokenClassificationSpec {
        serde_json::from_value(json!({"labels": labels, "ignore_labels": ignore, "aggregation_strategy": "simple",
            "stride": null, "subwords": "length", "unk_token_id": null, "language": null}))
        .expect("a section")
    }

    /// Decodes tokens, given as `(start, end, is_subword, scores)`. Special tokens with high logits surround them.
    fn decoded(
        spec: &TokenClassificationSpec,
        tokens: &[(usize, usize, bool, &[f32])],
        strategy: AggregationStrategy,
    ) -> Vec<(usize, usize, String, f32)> {
        let special = Mark { start: 0, end: 0, is_special: true, is_subword: false };
        let mark =
            |&(start, end, is_subword, _): &(usize, usize, bool, _)| Mark { start, end, is_special: false, is_subword };
        let marks: Vec<Mark> = [special].into_iter().chain(tokens.iter().map(mark)).chain([special]).collect();
        let edge = vec![99.0; spec.labels.len()];
        let logits: Vec<f32> = tokens.iter().flat_map(|token| token.3).map(|score| score.ln()).collect();
        let window = Window { ids: vec![0; marks.len()], marks };
        let entities = decode(&[edge.clone(), logits, edge].concat(), &window, spec, strategy);
        let rounded = |score: Option<f32>| (score.expect("a score") * 1e4).round() / 1e4;
        entities.into_iter().map(|e| (e.start, e.end, e.label.to_owned(), rounded(e.score))).collect()
    }

    fn entity(start: usize, end: usize, label: &str, score: f32) -> (usize, usize, String, f32) {
        (start, end, label.to_owned(), score)
    }

    const LABELS: [&str; 4] = ["O", "B-PER", "I-PER", "B-LOC"];

    #[test]
    fn none_returns_every_token_with_its_label() {
        let tokens: [(usize, usize, bool, &[f32]); 3] = [
            (0, 2, false, &[0.1, 0.7, 0.1, 0.1]),
            (2, 4, true, &[0.1, 0.1, 0.6, 0.2]),
            (5, 7, false, &[0.4, 0.2, 0.2, 0.2]),
        ];
        let expected = [entity(0, 2, "B-PER", 0.7), entity(2, 4, "I-PER", 0.6)];
        assert_eq!(decoded(&spec(&LABELS, &["O"]), &tokens, None), expected);
        let all = [expected.as_slice(), &[entity(5, 7, "O", 0.4)]].concat();
        assert_eq!(decoded(&spec(&LABELS, &[]), &tokens, None), all);
        // With the strategy `none`, the list of ignored labels is compared with labels that include their prefixes.
        assert_eq!(decoded(&spec(&LABELS, &["PER", "O"]), &tokens, None), expected);
        assert_eq!(decoded(&spec(&LABELS, &["I-PER", "O"]), &tokens, None), expected[..1]);
    }

    #[test]
    fn a_group_ends_at_another_tag_or_at_a_beginning() {
        let tokens: [(usize, usize, bool, &[f32]); 6] = [
            (0, 1, false, &[0.1, 0.7, 0.1, 0.1]),   // B-PER
            (2, 3, false, &[0.1, 0.2, 0.6, 0.1]),   // I-PER
            (4, 5, false, &[0.1, 0.7, 0.1, 0.1]),   // B-PER
            (6, 7, false, &[0.1, 0.1, 0.1, 0.7]),   // B-LOC
            (8, 9, false, &[0.05, 0.05, 0.9, 0.0]), // I-PER that does not follow a PER
            (10, 11, false, &[0.7, 0.1, 0.1, 0.1]), // O
        ];
        let expected =
            [entity(0, 3, "PER", 0.65), entity(4, 5, "PER", 0.7), entity(6, 7, "LOC", 0.7), entity(8, 9, "PER", 0.9)];
        assert_eq!(decoded(&spec(&LABELS, &["O"]), &tokens, Simple), expected);
        assert_eq!(decoded(&spec(&LABELS, &["O", "PER"]), &tokens, Simple), [expected[2].clone()]);
        // The labels of groups have no prefix. Therefore ignoring the label B-PER has no effect.
        assert_eq!(decoded(&spec(&LABELS, &["O", "B-PER"]), &tokens, Simple), expected);
    }

    /// A token with an ignored label separates the entities before and after it.
    #[test]
    fn ignored_labels_are_grouped() {
        let per: &[f32] = &[0.1, 0.1, 0.7, 0.1];
        let tokens: [(usize, usize, bool, &[f32]); 3] =
            [(0, 1, false, per), (2, 3, false, &[0.7, 0.1, 0.1, 0.1]), (4, 5, false, per)];
        let expected = [entity(0, 1, "PER", 0.7), entity(4, 5, "PER", 0.7)];
        assert_eq!(decoded(&spec(&LABELS, &["O"]), &tokens, Simple), expected);
    }

    #[test]
    fn labels_may_have_no_prefix_or_several_dashes() {
        let labels = ["noun", "B-art-work", "I-art-work", "art-work"];
        let tokens: [(usize, usize, bool, &[f32]); 5] = [
            (0, 1, false, &[0.7, 0.1, 0.1, 0.1]),
            (2, 3, false, &[0.7, 0.1, 0.1, 0.1]),
            (4, 5, false, &[0.1, 0.7, 0.1, 0.1]),
            (6, 7, false, &[0.1, 0.1, 0.1, 0.7]),
            (8, 9, false, &[0.1, 0.1, 0.7, 0.1]),
        ];
        // The tag of a label without the prefix `B-` or `I-` is the whole label. Therefore a token with the label
        // `art-work` continues an entity that begins with `B-art-work`.
        assert_eq!(
            decoded(&spec(&labels, &[]), &tokens, Simple),
            [entity(0, 3, "noun", 0.7), entity(4, 9, "art-work", 0.7)]
        );
        // If the label `art-work` comes first, the label of the group is the part after its first dash.
        assert_eq!(decoded(&spec(&labels, &[]), &tokens[3..], Simple), [entity(6, 9, "work", 0.7)]);
    }

    #[test]
    fn strategies_choose_different_classes_for_a_word() {
        // One word of three tokens. The strategy `first` chooses O, and `max` chooses B-LOC with 0.7. The strategy
        // `average` chooses I-PER: (0.6 + 0.1 + 0.2) / 3 = 0.3 for O, (0.3 + 0.15 + 0.6) / 3 = 0.35 for I-PER, (0.05 +
        // 0.7 + 0.1) / 3 = 0.2833 for B-LOC.
        let tokens: [(usize, usize, bool, &[f32]); 3] = [
            (3, 5, false, &[0.6, 0.05, 0.3, 0.05]),
            (5, 6, true, &[0.1, 0.05, 0.15, 0.7]),
            (6, 9, true, &[0.2, 0.1, 0.6, 0.1]),
        ];
        let all = spec(&LABELS, &[]);
        assert_eq!(decoded(&all, &tokens, First), [entity(3, 9, "O", 0.6)]);
        assert_eq!(decoded(&all, &tokens, Max), [entity(3, 9, "LOC", 0.7)]);
        assert_eq!(decoded(&all, &tokens, Average), [entity(3, 9, "PER", 0.35)]);
        let simple = [entity(3, 5, "O", 0.6), entity(5, 6, "LOC", 0.7), entity(6, 9, "PER", 0.6)];
        assert_eq!(decoded(&all, &tokens, Simple), simple);
        assert_eq!(decoded(&spec(&LABELS, &["O"]), &tokens, First), []);
    }

    #[test]
    fn words_are_grouped_with_equal_weights() {
        // Two words, of which the first has two tokens. The score of the entity is the mean of the scores of its words.
        let tokens: [(usize, usize, bool, &[f32]); 3] = [
            (0, 2, false, &[0.1, 0.8, 0.05, 0.05]),
            (2, 4, true, &[0.6, 0.2, 0.1, 0.1]),
            (5, 9, false, &[0.2, 0.1, 0.6, 0.1]),
        ];
        let ignoring = spec(&LABELS, &["O"]);
        assert_eq!(decoded(&ignoring, &tokens, First), [entity(0, 9, "PER", 0.7)]);
        assert_eq!(decoded(&ignoring, &tokens, Max), [entity(0, 9, "PER", 0.7)]);
        assert_eq!(decoded(&ignoring, &tokens, Average), [entity(0, 9, "PER", 0.55)]);
    }

    #[test]
    fn the_first_of_equal_scores_wins() {
        let tokens: [(usize, usize, bool, &[f32]); 2] =
            [(0, 2, false, &[0.1, 0.4, 0.1, 0.4]), (2, 4, true, &[0.4, 0.1, 0.4, 0.1])];
        let all = spec(&LABELS, &[]);
        assert_eq!(decoded(&all, &tokens, Max), [entity(0, 4, "PER", 0.4)]);
        // All four classes have the same mean score; the first one is chosen.
        assert_eq!(decoded(&all, &tokens, Average), [entity(0, 4, "O", 0.25)]);
        assert_eq!(decoded(&all, &tokens, First), [entity(0, 4, "PER", 0.4)]);
    }

    /// The first token starts a word even if it is a subword, because a window can begin within a word.
    #[test]
    fn the_first_token_starts_a_word() {
        let tokens: [(usize, usize, bool, &[f32]); 2] =
            [(7, 9, true, &[0.1, 0.1, 0.7, 0.1]), (9, 11, true, &[0.7, 0.1, 0.1, 0.1])];
        assert_eq!(decoded(&spec(&LABELS, &["O"]), &tokens, First), [entity(7, 11, "PER", 0.7)]);
        assert_eq!(decoded(&spec(&LABELS, &["O"]), &[], Max), []);
    }
}
