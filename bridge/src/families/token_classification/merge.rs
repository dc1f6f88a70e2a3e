//! The entities of overlapping windows as those of one text.

use crate::families::ner::entities::EntitySpan;

/// Sorts entities by their start and keeps one of those that overlap: of entities that start within the kept one the
/// longer wins, of equally long ones the higher score, and the first of equals.
///
/// The original compares the first entity with itself. One that covers no character does not start within itself, and is
/// told twice.
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

    fn found(start: usize, end: usize, label: &str, score: f32) -> EntitySpan<'_> {
        EntitySpan { start, end, label, score: Some(score) }
    }

    #[test]
    fn of_two_that_overlap_one_is_kept() {
        let (long, short) = (found(2, 9, "A", 0.1), found(4, 8, "B", 0.9));
        assert_eq!(merge(vec![long, short]), [long]);
        assert_eq!(merge(vec![short, long]), [long]);
        let longer_later = found(5, 15, "C", 0.1);
        assert_eq!(merge(vec![long, longer_later]), [longer_later]);
    }

    #[test]
    fn equally_long_ones_are_judged_by_their_score() {
        let (sure, unsure) = (found(0, 4, "A", 0.9), found(0, 4, "B", 0.8));
        assert_eq!(merge(vec![unsure, sure]), [sure]);
        assert_eq!(merge(vec![sure, unsure]), [sure]);
        let as_sure = found(0, 4, "C", 0.9);
        assert_eq!((merge(vec![sure, as_sure]), merge(vec![as_sure, sure])), (vec![sure], vec![as_sure]));
    }

    #[test]
    fn the_kept_one_decides_what_overlaps() {
        // The third overlaps the second, which lost against the first, but not the first.
        let (first, second, third) = (found(0, 6, "A", 0.9), found(4, 9, "B", 0.9), found(7, 8, "C", 0.1));
        assert_eq!(merge(vec![third, second, first]), [first, third]);
    }

    #[test]
    fn neighbours_and_empty_ones_stay() {
        let (left, right) = (found(0, 3, "A", 0.9), found(3, 5, "A", 0.9));
        assert_eq!(merge(vec![right, left]), [left, right]);
        let empty = found(5, 5, "B", 0.5);
        assert_eq!(merge(vec![left, empty, empty]), [left, empty, empty]);
        assert_eq!(merge(vec![]), []);
    }

    #[test]
    fn an_empty_one_at_the_start_is_told_twice() {
        let (empty, other) = (found(1, 1, "A", 0.5), found(2, 4, "B", 0.5));
        assert_eq!(merge(vec![other, empty]), [empty, empty, other]);
    }
}
