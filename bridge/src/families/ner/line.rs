//! The input of the command `ner` that one JSON line contains.

use serde_json::{Map, Value};

use crate::BridgeError;
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
        let read: RecognizeOptions = serde_json::from_value(Value::Object(self.options.clone()))
            .map_err(|error| BridgeError::config(format!("an option of the line: {error}")))?;
        let mut options = others.clone();
        options.labels = read.labels.or(options.labels);
        options.threshold = read.threshold.or(options.threshold);
        options.nested = read.nested.or(options.nested);
        options.multi_label = read.multi_label.or(options.multi_label);
        Ok(options)
    }
}

impl LineInput for Line {
    const EXPECTED: &'static str = TEXT_LINE;

    fn read(value: Value, limit: usize) -> Result<Self, BridgeError> {
        let mut fields = fields::<Self>(value, &[&[TEXT, SENTENCE_STARTS], OPTIONS.as_slice()].concat())?;
        let text = text::<Self>(&mut fields, limit)?;
        let sentence_starts = fields.remove(SENTENCE_STARTS).map(offsets).transpose()?;
        fields.retain(|_, value| !value.is_null());
        Ok(Self { text, sentence_starts, options: fields })
    }

    fn texts(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.text.as_str())
    }
}

fn offsets(value: Value) -> Result<Vec<usize>, BridgeError> {
    let problem = || format!("sentence_starts is {value}, expected an array of integers of at least 0");
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
}
