//! Versions: SemVer 2.0.0, in lower case, without build metadata.
//!
//! The numbers of a version have no limit but its length, as in Python; the crate `semver` refuses those above 2^64.

use std::cmp::Ordering;

const MAX_VERSION: usize = 64;

/// Whether a text is a version.
pub(crate) fn is_version(text: &str) -> bool {
    let (core, pre) = split(text);
    let is_core = core.split('.').count() == 3 && core.split('.').all(is_number);
    text.len() <= MAX_VERSION && is_core && pre.is_none_or(|pre| pre.split('.').all(is_identifier))
}

/// The precedence of two versions, as SemVer 2.0.0 defines it.
pub(crate) fn compare(left: &str, right: &str) -> Ordering {
    let ((left, left_pre), (right, right_pre)) = (split(left), split(right));
    compare_lists(left, right).then_with(|| match (left_pre, right_pre) {
        (Some(left), Some(right)) => compare_lists(left, right),
        // A version precedes no pre-release of itself.
        (left, right) => left.is_none().cmp(&right.is_none()),
    })
}

/// Whether a version is a pre-release.
pub(crate) fn is_prerelease(version: &str) -> bool {
    split(version).1.is_some()
}

/// The numbers of a version, and its pre-release.
fn split(version: &str) -> (&str, Option<&str>) {
    version.split_once('-').map_or((version, None), |(core, pre)| (core, Some(pre)))
}

fn compare_lists(left: &str, right: &str) -> Ordering {
    let (mut left, mut right) = (left.split('.'), right.split('.'));
    loop {
        match (left.next(), right.next()) {
            (Some(left), Some(right)) if left != right => return compare_identifiers(left, right),
            (Some(_), Some(_)) => {}
            (left, right) => return left.is_some().cmp(&right.is_some()),
        }
    }
}

/// Numbers precede words, and are compared by value: without leading zeros, the longer one is greater.
fn compare_identifiers(left: &str, right: &str) -> Ordering {
    match (is_digits(left), is_digits(right)) {
        (true, true) => left.len().cmp(&right.len()).then_with(|| left.cmp(right)),
        (left_is_number, right_is_number) => right_is_number.cmp(&left_is_number).then_with(|| left.cmp(right)),
    }
}

fn is_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && is_digits(text) && (text == "0" || !text.starts_with('0'))
}

fn is_identifier(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_digit() || byte.is_ascii_lowercase() || byte == b'-';
    !text.is_empty() && text.bytes().all(is_allowed) && (is_number(text) || !is_digits(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_semver_in_lower_case_without_build_metadata() {
        let versions = ["0.0.0", "1.2.3", "1.0.0-rc.1", "1.0.0-0a", "1.0.0--", "99999999999999999999.0.0"];
        assert!(versions.into_iter().all(is_version));
        let others = [
            "",
            "1",
            "1.2",
            "1.2.3.4",
            "01.2.3",
            "1.02.3",
            "v1.2.3",
            "1.2.3-",
            "1.2.3-a..b",
            "1.2.3-01",
            "1.2.3+b",
            "1.2.3-RC",
            "1.2.3 ",
            "1.2.3\n",
            "1.2.٣",
        ];
        for other in others {
            assert!(!is_version(other), "{other}");
        }
        assert!(!is_version(&format!("1.0.0-{}", "a".repeat(60))));
    }

    /// The order in the text of SemVer 2.0.0, section 11.
    #[test]
    fn versions_are_compared_by_precedence() {
        let sorted = [
            "1.0.0-1",
            "1.0.0-9",
            "1.0.0-10",
            "1.0.0-alpha",
            "1.0.0-alpha.1",
            "1.0.0-alpha.beta",
            "1.0.0-beta",
            "1.0.0-beta.2",
            "1.0.0-beta.11",
            "1.0.0-rc.1",
            "1.0.0",
            "1.0.9",
            "1.0.10",
            "1.9.0",
            "1.10.0",
            "2.0.0",
            "99999999999999999999.0.0",
        ];
        for (index, left) in sorted.iter().enumerate() {
            for (other, right) in sorted.iter().enumerate() {
                assert_eq!(compare(left, right), index.cmp(&other), "{left} {right}");
            }
        }
    }
}
