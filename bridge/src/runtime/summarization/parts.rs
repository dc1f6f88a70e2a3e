//! A text that is too long for a model in parts that are not, as the format cuts them: where sentences end.

/// Characters that end a sentence where a blank follows.
const ENDS: [char; 7] = ['.', '!', '?', '\u{2026}', '\u{3002}', '\u{ff01}', '\u{ff1f}'];

/// Whether a text holds nothing but `White_Space` of Unicode.
pub(super) fn is_blank(text: &str) -> bool {
    text.chars().all(char::is_whitespace)
}

/// The sentences of a text, which joined are the text: each begins with the blanks after the one before.
fn sentences(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (sentence, others) = rest.split_at(sentence_len(rest));
        rest = others;
        (!sentence.is_empty()).then_some(sentence)
    })
}

/// Bytes of the first sentence.
fn sentence_len(text: &str) -> usize {
    let mut before = None;
    for (place, char) in text.char_indices() {
        if char.is_whitespace() && before.is_some_and(|before| ENDS.contains(&before)) {
            return place;
        }
        if char == '\n' {
            return place + 1;
        }
        before = Some(char);
    }
    text.len()
}

/// Sentences in a row, as many as fit; one that does not fit by itself is a part too. Blank parts are left out.
///
/// # Errors
/// That of `fits`, which tells whether a part can be read whole.
pub(super) fn parts<E>(text: &str, fits: impl Fn(&str) -> Result<bool, E>) -> Result<Vec<&str>, E> {
    let (mut parts, mut start, mut end) = (Vec::new(), 0, 0);
    for sentence in sentences(text) {
        let longer = end + sentence.len();
        if end > start && !fits(&text[start..longer])? {
            parts.push(&text[start..end]);
            start = end;
        }
        end = longer;
    }
    parts.push(&text[start..]);
    parts.retain(|part| !is_blank(part));
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;

    fn split(text: &str) -> Vec<&str> {
        sentences(text).collect()
    }

    /// Parts of at most so many characters.
    fn of_chars(text: &str, most: usize) -> Vec<&str> {
        parts(text, |part| Ok::<bool, Infallible>(part.chars().count() <= most)).expect("it always answers")
    }

    #[test]
    fn sentences_end_before_a_blank() {
        assert_eq!(split("One. Two?! Three"), ["One.", " Two?!", " Three"]);
        assert_eq!(split("v1.2 is out...  Yes. "), ["v1.2 is out...", "  Yes.", " "]);
        assert_eq!(split("a.b!c? d"), ["a.b!c?", " d"]);
        assert_eq!(
            split("Wait\u{2026} \u{4f60}\u{597d}\u{3002}\u{a0}x\u{ff01}\u{3000}y\u{ff1f}z"),
            ["Wait\u{2026}", " \u{4f60}\u{597d}\u{3002}", "\u{a0}x\u{ff01}", "\u{3000}y\u{ff1f}z"]
        ); // fmt: skip
        assert_eq!(split("He said \"no.\" And left."), ["He said \"no.\" And left."]);
        assert_eq!(split(""), Vec::<&str>::new());
        assert_eq!(split("."), ["."]);
    }

    #[test]
    fn sentences_end_after_a_newline() {
        assert_eq!(split("a\nb\r\n\nc"), ["a\n", "b\r\n", "\n", "c"]);
        assert_eq!(split("a.\nb. \n"), ["a.", "\n", "b.", " \n"]);
        // Neither of these is a newline of the format, the first is a blank.
        assert_eq!(split("a.\u{2028}b\u{b}c"), ["a.", "\u{2028}b\u{b}c"]);
        // Only `isspace` of other languages takes this for a blank.
        assert_eq!(split("a.\u{1f}b"), ["a.\u{1f}b"]);
    }

    #[test]
    fn parts_take_what_fits() {
        let text = "aa. bb. cc. dddddddddd. e.";
        assert_eq!(of_chars(text, 7), ["aa. bb.", " cc.", " dddddddddd.", " e."]);
        assert_eq!(of_chars(text, 100), [text]);
        assert_eq!(of_chars("aaaa", 1), ["aaaa"]);
    }

    #[test]
    fn blank_parts_are_left_out() {
        assert_eq!(of_chars("aaaa\n\n\n\nbbbb", 2), ["aaaa\n", "bbbb"]);
        assert_eq!(of_chars(" \n ", 1), Vec::<&str>::new());
        assert!(is_blank("\u{3000}\u{85}\t") && is_blank("") && !is_blank("\u{1f}") && !is_blank("\u{200b}"));
    }

    #[test]
    fn an_error_ends_it() {
        assert_eq!(parts("a. b. c.", |_| Err("stop")), Err("stop"));
    }

    proptest! {
        #[test]
        fn nothing_but_blanks_is_lost(text in "[ab.!?\u{2026}\u{3002} \n\r\u{a0}]{0,60}", most in 1_usize..20) {
            prop_assert_eq!(split(&text).concat(), text.as_str());
            let strip = |text: &str| text.chars().filter(|char| !char.is_whitespace()).collect::<String>();
            let found = of_chars(&text, most);
            prop_assert_eq!(strip(&found.concat()), strip(&text));
            for part in found {
                prop_assert!(part.chars().count() <= most || split(part).len() == 1);
            }
        }
    }
}
