//! Tests of the compiler and the backtracking machine of patterns.

use proptest::prelude::*;

use super::*;

fn pattern(pattern: &str) -> Pattern {
    Pattern::new(pattern, &mut PatternFile::default()).expect(pattern)
}

/// The offsets of the start and the end of a match, in bytes.
type Match = (usize, usize);

fn all(source: &str, text: &str) -> Vec<Match> {
    pattern(source).matches(text).map(|range| (range.start, range.end)).collect()
}

#[test]
fn the_first_alternative_that_lets_the_rest_match_wins() {
    let cases: [(&str, &str, &[Match]); 25] = [
        ("a|ab", "abab", &[(0, 1), (2, 3)]),
        ("(?:a|ab)$", "abab", &[(2, 4)]),
        ("a+?", "aaa", &[(0, 1), (1, 2), (2, 3)]),
        ("a{2,3}", "aaaaa", &[(0, 3), (3, 5)]),
        ("a{2,3}?", "aaaaa", &[(0, 2), (2, 4)]),
        ("a{2}", "aaaaa", &[(0, 2), (2, 4)]),
        ("a{2,}", "baaaaa", &[(1, 6)]),
        ("(?:a|b)*c", "abac", &[(0, 4)]),
        ("[^a-c]", "abcdé", &[(3, 4), (4, 6)]),
        ("[a\\-z]+", "a-zb", &[(0, 3)]),
        ("[-a]+", "a-zb", &[(0, 2)]),
        ("[a^]", "^", &[(0, 1)]),
        ("\\u00e9|\\U0001f600|\\x41", "Aé😀", &[(0, 1), (1, 3), (3, 7)]),
        ("(?<=[0-9])a(?=b)", "1ab ab 1ac", &[(1, 2)]),
        ("(?<!é)a(?!b)", "éa ab ac", &[(7, 8)]),
        ("(?<=a(?:b|c))d", "abd acd add", &[(2, 3), (6, 7)]),
        ("^a|b$", "aab", &[(0, 1), (2, 3)]),
        ("", "ab", &[(0, 0), (1, 1), (2, 2)]),
        ("x*", "axb", &[(0, 0), (1, 2), (2, 2), (3, 3)]),
        ("(?=b)", "abb", &[(1, 1), (2, 2)]),
        // As in Python's `re`, a match that is not empty may follow an empty match at the same offset.
        ("|a", "ab", &[(0, 0), (0, 1), (1, 1), (2, 2)]),
        ("(?=b)|b+?", "abb", &[(1, 1), (1, 2), (2, 2), (2, 3)]),
        ("a*?", "aa", &[(0, 0), (0, 1), (1, 1), (1, 2), (2, 2)]),
        ("(?:a*)*b", "aab", &[(0, 3)]),
        ("(?:a|b|)+c", "abc", &[(0, 3)]),
    ];
    for (source, text, expected) in cases {
        assert_eq!(all(source, text), expected, "{source:?} in {text:?}");
    }
}

#[test]
fn separately_compiled_alternatives_match_like_the_whole_pattern() {
    let starts = Pattern::at_start("^ab|^a(?!c)|^[0-9]{2}", &mut PatternFile::default()).expect("a pattern");
    let first = |text| starts.iter().find_map(|pattern| pattern.match_at_start(text));
    assert_eq!(
        [first("abc"), first("ad"), first("ac"), first("123"), first("1"), first("")],
        [Some(2), Some(1), None, Some(2), None, None]
    );
    let ends = Pattern::at_end("é$|(?<=[0-9])km$|\\.\\.+", &mut PatternFile::default()).expect("a pattern");
    assert_eq!(ends.iter().map(|pattern| pattern.reachable_end("é.1km..é..").len()).max(), Some("é.1km..é..".len()));
    assert_eq!(ends[2].reachable_end("é.1km..é.."), "..");
    let longest = |text: &str| {
        let ranges = ends.iter().filter(|pattern| pattern.last().ends(text)).filter_map(|pattern| pattern.find(text));
        ranges.map(|range| range.len()).max()
    };
    assert_eq!(
        [longest("aé"), longest("1km"), longest("km"), longest("a...."), longest("..a")],
        [Some(2), Some(2), None, Some(4), None]
    );
}

#[test]
fn edges_are_the_first_and_last_characters_of_matches() {
    let cases = [
        ("abc", 3, true),
        ("a[bc]", 2, true),
        ("a|b", 1, true),
        ("a|bc", 1, false),
        ("ab|cd", 2, false),
        ("ab*", 1, false),
        ("a{3}", 3, true),
        ("a{2,3}b", 2, false),
        ("a?b", 0, false),
        ("(?=a)b", 1, false),
        ("^a", 1, false),
        ("(?:a|b)c", 2, true),
        ("aaaaaaaaaaaaaaaaaaaa", 16, false),
        ("aaaaaaaaaaaaaaaa(?:b|c)", 16, false),
    ];
    for (source, sets, is_all) in cases {
        let pattern = pattern(source);
        assert_eq!((pattern.first().sets.len(), pattern.first().is_all), (sets, is_all), "{source:?}");
    }
    let last = pattern("x*ab");
    assert!(last.last().ends("cab") && !last.last().ends("abc") && !last.last().is_all);
    assert_eq!(last.last().sets.len(), 2);
}

#[test]
fn syntax_that_other_engines_interpret_differently_is_refused() {
    let nested = format!("{}a{}", "(".repeat(60), ")".repeat(60));
    let patterns = [
        "a.",
        "\\w",
        "\\d",
        "\\b",
        "\\1",
        "(?i)a",
        "(?P<x>a)",
        "(?>a)",
        "a???",
        "a{00001}",
        "(?:$)*",
        "[\\ud800]",
        "a++",
        "a**",
        "a*+",
        "(",
        ")",
        "a)",
        "(a",
        "[",
        "[a",
        "[]",
        "[^]",
        "[[a]]",
        "[a&&b]",
        "[a~~b]",
        "[a--b]",
        "[!--]",
        "[z-a]",
        "a{",
        "a{,2}",
        "a{2,1}",
        "a{x}",
        "{2}",
        "*a",
        "^*",
        "(?=a)+",
        "(?<=a+)b",
        "(?<=a|bc)d",
        "\\",
        "\\u12",
        "\\ud800",
        "\\Uffffffff",
        "\\p{L}",
        "[\\w]",
        &nested,
    ];
    for source in patterns {
        assert!(Pattern::new(source, &mut PatternFile::default()).is_err(), "{source:?}");
    }
    let error = Pattern::new("a.", &mut PatternFile::default()).map(|_| ()).unwrap_err();
    assert!(error.contains("\"a.\"") && error.contains("'.' at byte 1"), "{error}");
}

/// The size of a pattern is counted without expanding its repetitions, so that none of these takes long.
#[test]
fn patterns_are_limited_before_they_are_compiled() {
    let large = |head: &str, text: &str, times: usize, tail: &str| format!("{head}{}{tail}", text.repeat(times));
    let refused = [
        "(?:(?:){4294967295}){4294967295}".to_owned(),
        "(?:(?:){1000}){1000}".to_owned(),
        "(?:(?:a{100}){100}){10}".to_owned(),
        "a{1001}".to_owned(),
        "a{1001,}".to_owned(),
        "a{0,1001}".to_owned(),
        large("a{", "9", 5000, "}"),
        large("", "a", 20_001, ""),
        large("", "ab|", 5000, "ab"),
        large("", "[a]", 10_001, ""),
        large(&"(?:".repeat(50), "a", 1, &"){1000}".repeat(50)),
    ];
    for source in refused {
        assert!(Pattern::new(&source, &mut PatternFile::default()).is_err(), "{source:?}");
    }
    // One more repetition, character, alternative or class would exceed a limit.
    let accepted = [
        "(?:a{1000}){6}".to_owned(),
        "a{1000}".to_owned(),
        large("", "a", 20_000, ""),
        large("", "ab|", 4999, "ab"),
        large("", "[a]", 10_000, ""),
    ];
    for source in accepted {
        let nodes = pattern(&source).program.instructions.len();
        assert!(nodes <= 20_001, "{source:?}: {nodes} instructions");
    }
}

#[test]
fn the_patterns_of_a_file_are_limited_together() {
    let mut file = PatternFile::default();
    let refused = (0..30).position(|_| Pattern::new("(?:a{1000}){6}", &mut file).is_err());
    assert_eq!(refused, Some(500_000 / (6 * 3002)));
}

/// Comparing the widths of nested alternatives visits each of them once.
#[test]
fn the_width_of_a_lookbehind_is_computed_once() {
    let source = format!("(?<={}a{})b", "(?:".repeat(49), "|b)".repeat(49));
    assert_eq!(all(&source, "ab cb"), [(1, 2)]);
}

/// A backtracking engine without memory needs exponential or quadratic time for these patterns. The engine of this
/// crate takes about twice the steps for twice the text.
#[test]
fn the_number_of_steps_is_linear_in_the_text() {
    let long = "a".repeat(10_000);
    for source in ["^(?:a|a)*b$", "(?:a*)*b", "(?:a+)+b", "(?:a|aa)+$b", "[a-z]+@", "(?:a{0,50}){0,50}b"] {
        let [half, whole] =
            [&long[..5_000], &long].map(|text| steps_of(|| assert_eq!(all(source, text), [], "{source:?}")));
        assert!(2 * whole < 5 * half, "{source:?}: {half} steps, then {whole}");
    }
}

/// The memory of failed attempts outlives a match. If it was made anew for the whole text, or if all attempts before a
/// match were forgotten, the time would be quadratic.
#[test]
fn the_number_of_steps_for_all_matches_is_linear_in_the_text() {
    let words = format!("{}-", "a".repeat(30));
    for (source, text) in [("(?:b|a)c|-", words.as_str()), ("b+x|b", "b"), ("(?:ab)+c|a|b", "ab")] {
        let [half, whole] = [500, 1_000].map(|times| {
            let text = text.repeat(times);
            steps_of(|| assert!(all(source, &text).len() >= times, "{source:?}"))
        });
        assert!(2 * whole < 5 * half, "{source:?}: {half} steps, then {whole}");
    }
}

/// A lookahead runs from scratch at every offset. Therefore its time can be quadratic in the length of the text, but
/// not more.
#[test]
fn the_number_of_steps_of_a_lookahead_is_quadratic() {
    let source = "(?=(?:a+)+b)a";
    let [half, whole] = [150, 300].map(|length| steps_of(|| assert_eq!(all(source, &"a".repeat(length)), [])));
    assert!(whole < 5 * half, "{half} steps, then {whole}");
}

/// Generates patterns of a few different characters. If `fixed` is true, the patterns have a fixed width and no
/// lookarounds.
fn patterns(fixed: bool) -> BoxedStrategy<String> {
    let atom =
        proptest::sample::select(vec!["a", "b", "é", "[ab]", "[^aé]", "[a-c]", "\\.", "ab"]).prop_map(str::to_owned);
    let grow = move |inner: BoxedStrategy<String>| {
        let pair = (inner.clone(), inner.clone());
        let concat = pair.clone().prop_map(|(one, next)| format!("{one}{next}"));
        if fixed {
            return prop_oneof![concat, inner.prop_map(|node| format!("(?:{node}){{2}}"))].boxed();
        }
        let repeat = proptest::sample::select(vec!["", "*", "+", "?", "*?", "+?", "??", "{2}", "{1,2}", "{2,}"]);
        // The literal "a" prevents repetitions of the empty string, which engines handle differently.
        let repeated = (inner.clone(), repeat).prop_map(|(node, times)| format!("(?:a(?:{node})|b){times}"));
        let look = proptest::sample::select(vec!["(?=", "(?!"]);
        let ahead = (look, inner.clone()).prop_map(|(look, node)| format!("{look}{node})"));
        let look = proptest::sample::select(vec!["(?<=", "(?<!"]);
        let behind = (look, patterns(true)).prop_map(|(look, node)| format!("{look}{node})"));
        let ends = inner.clone().prop_map(|node| format!("(?:^{node}|{node}$)"));
        prop_oneof![concat, pair.prop_map(|(one, or)| format!("(?:{one}|{or})")), repeated, ahead, behind, ends].boxed()
    };
    atom.boxed().prop_recursive(4, 24, 2, move |inner| grow(inner.boxed())).boxed()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn matches_are_the_same_as_those_of_another_engine(source in patterns(false), text in "[abcé.]{0,14}") {
        let other = fancy_regex::Regex::new(&source).expect(&source);
        let expected = other.find(text.as_str()).expect("a short text").map(|matched| matched.range());
        let actual = pattern(&source).find(&text);
        prop_assert_eq!(&actual, &expected, "{:?} in {:?}", source, text);
        if let Some(range) = expected {
            let matched = &text[range.clone()];
            prop_assert!(pattern(&source).first().begins(matched), "{:?} in {:?}", source, text);
            prop_assert!(pattern(&source).last().ends(matched), "{:?} in {:?}", source, text);
        }
        // All matches that one machine finds are those that machines without a memory of earlier matches find.
        let (pattern, mut all, mut from, mut after_empty) = (pattern(&source), Vec::new(), 0, false);
        while let Some(range) = pattern.find_from(&mut Machine::new(&pattern.program, &text), &text, from, after_empty)
        {
            (from, after_empty) = (range.end, range.is_empty());
            all.push(range);
        }
        prop_assert_eq!(pattern.matches(&text).collect::<Vec<_>>(), all, "{:?} in {:?}", source, text);
        // If a pattern does not match a text, it does not match any prefix of the text either that includes all bytes
        // on which the result depended.
        if let Err(reach) = pattern.attempt_at_start(&text) {
            for end in (reach..text.len()).filter(|&end| text.is_char_boundary(end)) {
                prop_assert!(pattern.match_at_start(&text[..end]).is_none(), "{:?} in {:?}", source, &text[..end]);
            }
        }
    }
}
