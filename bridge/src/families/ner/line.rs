//! The input of the command `ner` that one JSON line contains.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::BridgeError;
use crate::artifact::quoting::{SHOWN, shorten};
use crate::jsonl::{LineInput, TEXT, TEXT_LINE, fields, text};
use crate::tasks::RecognizeOptions;

/// The content of one JSON line: a text, and the offsets in characters of the starts of its sentences, if the line has
/// them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Line {
    pub(crate) text: String,
    pub(crate) sentence_starts: Option<Vec<usize>>,
    /// The options that the line has, as JSON values.
    options: Map<String, Value>,
}

/// The key of the sentence starts in the JSON object of a line.
const SENTENCE_STARTS: &str = "sentence_starts";
/// The keys of the options that a line can have, for models whose calls name the labels.
const OPTIONS: [&str; 4] = ["labels", "threshold", "nested", "multi_label"];

impl Line {
    /// Whether one call can answer both lines.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        self.sentence_starts.is_some() == other.sentence_starts.is_some() && self.options == other.options
    }

    /// The options of the line, and those of the command for the others.
    ///
    /// # Errors
    /// `config`, for a value of another type.
    pub(crate) fn options(&self, others: &RecognizeOptions) -> Result<RecognizeOptions, BridgeError> {
        let mut options = others.clone();
        options.labels = self.option("labels", "an array of strings")?.or(options.labels);
        options.threshold = self.option("threshold", "a number")?.or(options.threshold);
        options.nested = self.option("nested", "a boolean")?.or(options.nested);
        options.multi_label = self.option("multi_label", "a boolean")?.or(options.multi_label);
        Ok(options)
    }

    fn option<T: DeserializeOwned>(&self, name: &str, expected: &str) -> Result<Option<T>, BridgeError> {
        let Some(value) = self.options.get(name) else { return Ok(None) };
        let shown = || shorten(&value.to_string(), SHOWN);
        let refuse = |_| BridgeError::config(format!("{name} of the line is {}, expected {expected}", shown()));
        T::deserialize(value).map(Some).map_err(refuse)
    }
}

impl LineInput for Line {
    const EXPECTED: &'static str = TEXT_LINE;

    fn read(value: Value, limit: usize) -> Result<Self, BridgeError> {
        let mut fields = fields::<Self>(value, &[&[TEXT, SENTENCE_STARTS], OPTIONS.as_slice()].concat())?;
        let text = text::<Self>(&mut fields, limit)?;
        let sentence_starts = fields.remove(SENTENCE_STARTS).map(|value| offsets(&value)).transpose()?;
        fields.retain(|_, value| !value.is_null());
        Ok(Self { text, sentence_starts, options: fields })
    }

    fn texts(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.text.as_str())
    }
}

fn offsets(value: &Value) -> Result<Vec<usize>, BridgeError> {
    let shown = || shorten(&value.to_string(), SHOWN);
    let problem = || format!("sentence_starts is {}, expected an array of integers of at least 0", shown());
    let offset = |offset: &Value| usize::try_from(offset.as_u64()?).ok();
    let offsets = value.as_array().and_then(|values| values.iter().map(offset).collect());
    offsets.ok_or_else(|| BridgeError::SentenceStarts { index: None, problem: problem() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jsonl::parse;

    #[test]
    fn sentence_starts_are_integers() {
        let starts = |line: &str| {
            let line = parse::<Line>(line.as_bytes(), 10);
            line.map(|input| input.sentence_starts).map_err(|error| error.code().as_str())
        };
        assert_eq!(starts("\"a\""), Ok(None));
        assert_eq!(starts("{\"text\":\"a\"}"), Ok(None));
        assert_eq!(starts("{\"text\":\"a\",\"sentence_starts\":[]}"), Ok(Some(vec![])));
        assert_eq!(starts("{\"sentence_starts\":[0,7],\"text\":\"a\"}"), Ok(Some(vec![0, 7])));
        for wrong in ["null", "0", "[1.0]", "[-1]", "[\"0\"]", "[true]", "{}"] {
            let line = format!("{{\"text\":\"a\",\"sentence_starts\":{wrong}}}");
            assert_eq!(starts(&line), Err("sentence_starts"), "{wrong}");
        }
        assert_eq!(starts("{\"sentence_starts\":[0]}"), Err("input_type"));
    }

    #[test]
    fn messages_name_the_option_and_quote_its_start() {
        let message = |option: &str| {
            let line = parse::<Line>(format!("{{\"text\":\"a\",{option}}}").as_bytes(), 10);
            let read = line.and_then(|line| line.options(&RecognizeOptions::default()));
            read.expect_err("a wrong option").to_string()
        };
        assert_eq!(message("\"nested\":0"), "nested of the line is 0, expected a boolean");
        assert_eq!(message("\"multi_label\":\"\""), "multi_label of the line is \"\", expected a boolean");
        let long = "é".repeat(1000);
        for name in ["labels", "threshold", "nested", "sentence_starts", &long] {
            let shown = message(&format!("\"{name}\":\"{long}\""));
            assert!(shown.chars().count() < 250 && shown.contains("é..."), "{shown}");
        }
    }
}
