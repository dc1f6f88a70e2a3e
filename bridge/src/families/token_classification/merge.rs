//! Merges the entities of overlapping windows into the entities of the whole text.

use crate::tasks::entities::EntitySpan;

/// Sorts entities by their start and keeps one of several that overlap. If an entity starts within the previously kept one,
/// the longer of the two is kept; of equally long ones that with the higher score; of equal scores the previous one.
///
/// If the first entity is empty, it occurs twice in the result. transformers behaves like this, because it starts with
/// the first entity and then compares it with itself.
pub(crate) fn merge(mut entities: Vec<EntitySpan<'_>>) -> Vec<EntitySpan<'_>> {
    entities.sort_by_key(|entity| entity.start);
    let mut merged: Vec<EntitySpan<'_>> =
        entities.first().filter(|first| first.start >= first.end).copied().into_iter().collect();
    for entity in entities {
        match merged.last_mut() {
            Some(kept) if entity.start < kept.end => {
                if wins(&entity, kept) {
                    *kept = entity;
                }
            }
            _ => merged.push(entity),
        }
    }
    merged
}

fn wins(entity: &EntitySpan<'_>, kept: &EntitySpan<'_>) -> bool {
    let length = |entity: &EntitySpan<'_>| entity.end.saturating_sub(entity.start);
    length(entity) > length(kept) || (length(entity) == length(kept) && entity.score > kept.score)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(start: usize, end: usize, label: &str, score: f32) -> EntitySpan<'_> {
        EntitySpan { start, end, label, score: Some(score) }
    }

    #[test]
    fn the_longer_of_overlapping_entities_is_kept() {
        let (long, short) = (span(2, 9, "A", 0.1), span(4, 8, "B", 0.9));
        assert_eq!(merge(vec![long, short]), [long]);
        assert_eq!(merge(vec![short, long]), [long]);
        let longer_later = span(5, 15, "C", 0.1);
        assert_eq!(merge(vec![long, longer_later]), [longer_later]);
    }

    #[test]
    fn the_higher_score_of_equally_long_entities_is_kept() {
        let (sure, unsure) = (span(0, 4, "A", 0.9), span(0, 4, "B", 0.8));
        assert_eq!(merge(vec![unsure, sure]), [sure]);
        assert_eq!(merge(vec![sure, unsure]), [sure]);
        let as_sure = span(0, 4, "C", 0.9);
        assert_eq!((merge(vec![sure, as_sure]), merge(vec![as_sure, sure])), (vec![sure], vec![as_sure]));
    }

    #[test]
    fn entities_are_compared_with_the_kept_one() {
        // The third entity overlaps the second one, which was dropped, but not the first one, which was kept. Therefore
        // it is kept.
        let (first, second, third) = (span(0, 6, "A", 0.9), span(4, 9, "B", 0.9), span(7, 8, "C", 0.1));
        assert_eq!(merge(vec![third, second, first]), [first, third]);
    }

    #[test]
    fn adjacent_and_empty_entities_are_kept() {
        let (left, right) = (span(0, 3, "A", 0.9), span(3, 5, "A", 0.9));
        assert_eq!(merge(vec![right, left]), [left, right]);
        let empty = span(5, 5, "B", 0.5);
        assert_eq!(merge(vec![left, empty, empty]), [left, empty, empty]);
        assert_eq!(merge(vec![]), []);
    }

    #[test]
    fn an_empty_first_entity_occurs_twice() {
        let (empty, other) = (span(1, 1, "A", 0.5), span(2, 4, "B", 0.5));
        assert_eq!(merge(vec![other, empty]), [empty, empty, other]);
    }
}
