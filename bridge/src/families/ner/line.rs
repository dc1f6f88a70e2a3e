//! The input of the command `ner` that one JSON line contains.

use serde_json::Value;

use crate::BridgeError;
use crate::jsonl::{LineInput, TEXT, TEXT_LINE, fields, text};

/// The content of one JSON line: a text, and the offsets in characters of the starts of its sentences, if the line has
/// them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) text: String,
    pub(crate) sentence_starts: Option<Vec<usize>>,
}

/// The key of the sentence starts in the JSON object of a line.
const SENTENCE_STARTS: &str = "sentence_starts";

impl LineInput for Line {
    const EXPECTED: &'static str = TEXT_LINE;

    fn read(value: Value, limit: usize) -> Result<Self, BridgeError> {
        let mut fields = fields::<Self>(value, &[TEXT, SENTENCE_STARTS])?;
        let text = text::<Self>(&mut fields, limit)?;
        let sentence_starts = fields.remove(SENTENCE_STARTS).map(offsets).transpose()?;
        Ok(Self { text, sentence_starts })
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
