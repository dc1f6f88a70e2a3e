//! Splits a text that is too long for a model into chunks. As the format requires, chunks end at the ends of sentences.

use std::ops::Range;

/// Characters that end a sentence if whitespace follows them.
const ENDS: [char; 7] = ['.', '!', '?', '\u{2026}', '\u{3002}', '\u{ff01}', '\u{ff1f}'];

/// Whether all characters of a text have the property `White_Space` of Unicode.
pub(crate) fn is_whitespace(text: &str) -> bool {
    text.chars().all(char::is_whitespace)
}

/// The sentences of a text. The joined sentences are the text: each begins with the whitespace after the previous one.
fn sentences(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (sentence, others) = rest.split_at(sentence_len(rest));
        rest = others;
        (!sentence.is_empty()).then_some(sentence)
    })
}

/// The length of the first sentence in bytes.
fn sentence_len(text: &str) -> usize {
    let mut before = None;
    for (offset, char) in text.char_indices() {
        if char.is_whitespace() && before.is_some_and(|before| ENDS.contains(&before)) {
            return offset;
        }
        if char == '\n' {
            return offset + 1;
        }
        before = Some(char);
    }
    text.len()
}

/// Splits a text into chunks with as many consecutive sentences as fit. A single sentence that does not fit is also a
/// chunk. Chunks that consist of whitespace are omitted.
///
/// The time is linear in the length of the text: most chunks have about as many sentences as the chunk before them,
/// where the search starts.
///
/// # Errors
/// The error of `fits`, which gets the range of a chunk in bytes, and returns whether the model can read the chunk without
/// truncating it. A server may have to be asked, hence the future.
pub(crate) async fn chunks<E, F: Future<Output = Result<bool, E>> + Send>(
    text: &str,
    fits: impl Fn(Range<usize>) -> F + Send + Sync,
) -> Result<Vec<&str>, E> {
    let mut ends = vec![0];
    ends.extend(sentences(text).scan(0, |end, sentence| {
        *end += sentence.len();
        Some(*end)
    }));
    let (mut chunks, mut first, mut count) = (Vec::new(), 0, 1);
    while first + 1 < ends.len() {
        let of = |count: usize| ends[first]..ends[first + count];
        let more = |count: usize| {
            let fits = (count > 1).then(|| fits(of(count)));
            async { if let Some(fits) = fits { fits.await } else { Ok(true) } }
        };
        count = largest(more, count, ends.len() - 1 - first).await?;
        chunks.push(&text[of(count)]);
        first += count;
    }
    chunks.retain(|chunk| !is_whitespace(chunk));
    Ok(chunks)
}

/// A number of sentences that fit, up to `limit`, where one sentence more does not fit.
///
/// The search starts at `start` and goes up or down in steps of 1, 2, 4, ... sentences; then it halves the last step. The
/// format defines it exactly: if more sentences can have fewer tokens, there can be several such numbers.
async fn largest<E, F: Future<Output = Result<bool, E>> + Send>(
    fits: impl Fn(usize) -> F + Send + Sync,
    start: usize,
    limit: usize,
) -> Result<usize, E> {
    let start = start.min(limit);
    let (mut low, mut high, mut step) = (start, start, 1);
    if fits(start).await? {
        while low < limit {
            high = limit.min(low + step);
            if !fits(high).await? {
                break;
            }
            (low, step) = (high, 2 * step);
        }
    } else {
        loop {
            low = high.saturating_sub(step).max(1);
            if fits(low).await? {
                break;
            }
            (high, step) = (low, 2 * step);
        }
    }
    while high - low > 1 {
        let middle = low.midpoint(high);
        if fits(middle).await? {
            low = middle;
        } else {
            high = middle;
        }
    }
    Ok(low)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use std::future::ready;

    use proptest::prelude::*;

    use super::*;
    use crate::runtime::blocking::block_on;

    /// The chunks for a test that needs not be waited for.
    fn chunks_by<E: Send>(text: &str, fits: impl Fn(&str) -> Result<bool, E> + Send + Sync) -> Result<Vec<&str>, E> {
        block_on(chunks(text, |range| ready(fits(&text[range]))))
    }

    fn split(text: &str) -> Vec<&str> {
        sentences(text).collect()
    }

    /// Splits a text into chunks of up to `max_chars` characters.
    fn of_chars(text: &str, max_chars: usize) -> Vec<&str> {
        chunks_by(text, |chunk| Ok::<bool, Infallible>(chunk.chars().count() <= max_chars)).expect("chunks")
    }

    #[test]
    fn sentences_end_before_whitespace() {
        assert_eq!(split("One. Two?! Three"), ["One.", " Two?!", " Three"]);
        assert_eq!(split("v1.2 is out...  Yes. "), ["v1.2 is out...", "  Yes.", " "]);
        assert_eq!(split("a.b!c? d"), ["a.b!c?", " d"]);
        assert_eq!(
            split("Wait\u{2026} \u{4f60}\u{597d}\u{3002}\u{a0}x\u{ff01}\u{3000}y\u{ff1f}z"),
            ["Wait\u{2026}", " \u{4f60}\u{597d}\u{3002}", "\u{a0}x\u{ff01}", "\u{3000}y\u{ff1f}z"]
        );
        assert_eq!(split("He said \"no.\" And left."), ["He said \"no.\" And left."]);
        assert_eq!(split(""), Vec::<&str>::new());
        assert_eq!(split("."), ["."]);
    }

    #[test]
    fn sentences_end_after_a_newline() {
        assert_eq!(split("a\nb\r\n\nc"), ["a\n", "b\r\n", "\n", "c"]);
        assert_eq!(split("a.\nb. \n"), ["a.", "\n", "b.", " \n"]);
        // U+2028 is whitespace, but not a newline: the only newline of the format is U+000A.
        assert_eq!(split("a.\u{2028}b\u{b}c"), ["a.", "\u{2028}b\u{b}c"]);
        // U+001F is whitespace for `isspace` of Python, but does not have the property `White_Space` of Unicode.
        assert_eq!(split("a.\u{1f}b"), ["a.\u{1f}b"]);
    }

    #[test]
    fn chunks_have_the_sentences_that_fit() {
        let text = "aa. bb. cc. dddddddddd. e.";
        assert_eq!(of_chars(text, 7), ["aa. bb.", " cc.", " dddddddddd.", " e."]);
        assert_eq!(of_chars(text, 100), [text]);
        assert_eq!(of_chars("aaaa", 1), ["aaaa"]);
    }

    #[test]
    fn chunks_of_whitespace_are_omitted() {
        assert_eq!(of_chars("aaaa\n\n\n\nbbbb", 2), ["aaaa\n", "bbbb"]);
        assert_eq!(of_chars(" \n ", 1), Vec::<&str>::new());
        assert!(
            is_whitespace("\u{3000}\u{85}\t")
                && is_whitespace("")
                && !is_whitespace("\u{1f}")
                && !is_whitespace("\u{200b}")
        );
    }

    #[test]
    fn an_error_is_returned() {
        assert_eq!(chunks_by("a. b. c.", |_| Err("stop")), Err("stop"));
    }

    /// The chunks, found by trying one sentence more after the other.
    fn one_by_one(text: &str, fits: impl Fn(&str) -> bool) -> Vec<&str> {
        let (mut chunks, mut start, mut end) = (Vec::new(), 0, 0);
        for sentence in split(text) {
            let longer = end + sentence.len();
            if end > start && !fits(&text[start..longer]) {
                chunks.push(&text[start..end]);
                start = end;
            }
            end = longer;
        }
        chunks.push(&text[start..]);
        chunks.retain(|chunk| !is_whitespace(chunk));
        chunks
    }

    /// The number of bytes that are tested to split a text into chunks of up to 1000 bytes.
    fn tested_bytes(text: &str) -> usize {
        let tested = AtomicUsize::new(0);
        let fits = |chunk: &str| {
            tested.fetch_add(chunk.len(), Ordering::Relaxed);
            Ok::<bool, Infallible>(chunk.len() <= 1000)
        };
        chunks_by(text, fits).expect("chunks");
        tested.into_inner()
    }

    #[test]
    fn the_time_is_linear_in_the_text() {
        let long = "a".repeat(5000);
        for word in ["\n", "a b c. ", "!? ", &format!("{long}. "), &format!("{}{long}\n", "b\n".repeat(900))] {
            let [half, whole] = [50_000, 100_000].map(|size| tested_bytes(&word.repeat(size / word.len())));
            assert!(2 * whole <= 5 * half && whole < 3_000_000, "{half} bytes, then {whole}");
        }
    }

    /// If a longer text can fit although a shorter one does not, the number of sentences depends on the exact search. The
    /// Python tests have the same cases.
    #[test]
    fn the_search_is_the_one_of_the_format() {
        let found = |fitting: &[usize], start, limit| {
            let tested = Mutex::new(Vec::new());
            let fits = |count| {
                tested.lock().expect("no panic").push(count);
                ready(Ok::<bool, Infallible>(fitting.contains(&count)))
            };
            let found = block_on(largest(fits, start, limit)).expect("a number");
            (found, tested.into_inner().expect("no panic"))
        };
        assert_eq!(found(&[1, 2, 4, 5, 6], 1, 20), (6, vec![1, 2, 4, 8, 6, 7]));
        assert_eq!(found(&[1, 2, 3, 5], 9, 20), (3, vec![9, 8, 6, 2, 4, 3]));
        assert_eq!(found(&[1, 7, 8], 7, 8), (8, vec![7, 8]));
        assert_eq!(found(&[1], 5, 3), (1, vec![3, 2, 1]));
    }

    proptest! {
        #[test]
        fn the_chunks_are_those_of_trying_one_by_one(text in "[ab.!?\u{2026} \n]{0,200}", max_chars in 1_usize..30) {
            let fits = |chunk: &str| chunk.chars().count() <= max_chars;
            prop_assert_eq!(of_chars(&text, max_chars), one_by_one(&text, fits));
        }

        #[test]
        fn only_whitespace_is_lost(text in "[ab.!?\u{2026}\u{3002} \n\r\u{a0}]{0,60}", max_chars in 1_usize..20) {
            prop_assert_eq!(split(&text).concat(), text.as_str());
            let strip = |text: &str| text.chars().filter(|char| !char.is_whitespace()).collect::<String>();
            let chunks = of_chars(&text, max_chars);
            prop_assert_eq!(strip(&chunks.concat()), strip(&text));
            for chunk in chunks {
                prop_assert!(chunk.chars().count() <= max_chars || split(chunk).len() == 1);
            }
        }
    }
}
