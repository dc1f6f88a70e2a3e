//! Names of artifacts in a store: `NAME[@VERSION|@TAG][#sha256:IDENTITY]`.

use std::fmt;
use std::str::FromStr;

use super::version;
use crate::BridgeError;
use crate::artifact::tree::is_hash;

/// Where a path is possible too, the name of an artifact in a store begins with this.
pub(crate) const PREFIX: &str = "store:";
/// The tag of a name without a version.
const DEFAULT_TAG: &str = "latest";
const MAX_NAME: usize = 128;
const MAX_TAG: usize = 64;

/// The version or the tag of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Which {
    Version(String),
    Tag(String),
}

/// Which artifact of a store is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Spec {
    pub(crate) name: String,
    pub(crate) which: Which,
    /// The identity that the artifact must have; `None` for any.
    pub(crate) identity: Option<String>,
}

impl Spec {
    /// The name with an identity, unless it has one.
    pub(crate) fn pinned(self, identity: Option<&str>) -> Self {
        Self { identity: self.identity.or_else(|| identity.map(str::to_owned)), ..self }
    }
}

impl FromStr for Spec {
    type Err = BridgeError;

    /// Parses a name, with or without the prefix `store:`.
    ///
    /// # Errors
    /// `config` for a name of another form.
    fn from_str(text: &str) -> Result<Self, BridgeError> {
        let rest = text.strip_prefix(PREFIX).unwrap_or(text);
        let (rest, pin) = split(rest, '#');
        let (name, which) = split(rest, '@');
        let identity = pin.map(|pin| pin.strip_prefix("sha256:").unwrap_or_default());
        if !is_name(name) || which == Some("") || !identity.is_none_or(is_hash) {
            let expected = "NAME[@VERSION|@TAG][#sha256:IDENTITY]";
            return Err(BridgeError::config(format!("the name in a store is {text:?}, expected {expected}")));
        }
        let which = match which.unwrap_or(DEFAULT_TAG) {
            text if version::is_version(text) => Which::Version(text.to_owned()),
            text => Which::Tag(require_tag(text)?),
        };
        Ok(Self { name: name.to_owned(), which, identity: identity.map(str::to_owned) })
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Which::Version(which) | Which::Tag(which)) = &self.which;
        write!(f, "{}@{which}", self.name)?;
        self.identity.iter().try_for_each(|identity| write!(f, "#sha256:{identity}"))
    }
}

fn split(text: &str, at: char) -> (&str, Option<&str>) {
    text.split_once(at).map_or((text, None), |(left, right)| (left, Some(right)))
}

/// Whether a text can be the name of a model, which is `[a-z0-9][a-z0-9._-]{0,127}`.
pub(crate) fn is_name(text: &str) -> bool {
    text.len() <= MAX_NAME && text.starts_with(is_alphanumeric) && text.chars().all(is_of_name)
}

/// Whether a text can be a tag, which is `[a-z][a-z0-9._-]{0,63}` and no version.
pub(crate) fn is_tag(text: &str) -> bool {
    let is_short = text.len() <= MAX_TAG;
    is_short && text.starts_with(|c: char| c.is_ascii_lowercase()) && text.chars().all(is_of_name)
}

fn require_tag(text: &str) -> Result<String, BridgeError> {
    match is_tag(text) {
        true => Ok(text.to_owned()),
        false => {
            let expected = "[a-z][a-z0-9._-]{0,63}, or a version such as 1.2.0";
            Err(BridgeError::config(format!("the tag is {text:?}, expected {expected}")))
        }
    }
}

fn is_alphanumeric(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit()
}

fn is_of_name(c: char) -> bool {
    is_alphanumeric(c) || matches!(c, '.' | '_' | '-')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Option<Spec> {
        text.parse().ok()
    }

    #[test]
    fn names_with_versions_tags_and_pins_are_parsed() {
        let pin = "0a".repeat(32);
        let spec = |which, identity| Some(Spec { name: "minilm".to_owned(), which, identity });
        let tag = |tag: &str| Which::Tag(tag.to_owned());
        assert_eq!(parse("minilm"), spec(tag("latest"), None));
        assert_eq!(parse("store:minilm@prod"), spec(tag("prod"), None));
        assert_eq!(parse("minilm@1.2.0-rc.1"), spec(Which::Version("1.2.0-rc.1".to_owned()), None));
        assert_eq!(parse(&format!("minilm#sha256:{pin}")), spec(tag("latest"), Some(pin.clone())));
        let text = format!("minilm@1.2.0#sha256:{pin}");
        assert_eq!(parse(&text).map(|spec| spec.to_string()), Some(text));
    }

    #[test]
    fn other_forms_are_refused() {
        let long = "a".repeat(129);
        let short_pin = format!("a#sha256:{}", "0".repeat(63));
        let bare_pin = format!("a#{}", "0".repeat(64));
        let upper_pin = format!("a#sha256:{}", "0A".repeat(32));
        let texts = [
            "",
            "store:",
            "A",
            "a b",
            "../a",
            "a/b",
            ".a",
            "a@",
            "a#",
            "a@1.0.0#",
            "a#sha256:",
            "a@1.0",
            "a@1.0.0+b",
            "a@1.0.0-RC",
            "a@Prod",
            "a@b@c",
            "store:store:a",
            "a\n",
            "é",
            &long,
            &short_pin,
            &bare_pin,
            &upper_pin,
        ];
        for text in texts {
            let error = text.parse::<Spec>().expect_err(text);
            assert_eq!(error.code().as_str(), "config", "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_spec_is_what_its_text_says(name in "[a-z0-9][a-z0-9._-]{0,20}", which in "[a-z0-9.-]{1,12}", text in ".{0,40}") {
            if let Some(spec) = parse(&format!("{name}@{which}")) {
                prop_assert_eq!(spec.to_string(), format!("{name}@{which}"));
            }
            if let Some(spec) = parse(&text) {
                prop_assert_eq!(parse(&spec.to_string()), Some(spec));
            }
        }
    }
}
