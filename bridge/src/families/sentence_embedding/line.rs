//! The input of the command `embed` that one JSON line contains.

use serde_json::Value;

use crate::BridgeError;
use crate::jsonl::{LineInput, TEXT, TEXT_LINE, fields, text, wrong_type};

/// The content of one JSON line: a text, and the number of elements of its vector, if the line has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) text: String,
    pub(crate) dimensions: Option<usize>,
}

/// The key of the number of elements in the JSON object of a line.
const DIMENSIONS: &str = "dimensions";

impl LineInput for Line {
    const EXPECTED: &'static str = TEXT_LINE;

    fn read(value: Value, limit: usize) -> Result<Self, BridgeError> {
        let mut fields = fields::<Self>(value, &[TEXT, DIMENSIONS])?;
        let text = text::<Self>(&mut fields, limit)?;
        let dimensions = fields.remove(DIMENSIONS).map(|value| dimensions(&value)).transpose()?;
        Ok(Self { text, dimensions })
    }

    fn texts(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.text.as_str())
    }
}

fn dimensions(value: &Value) -> Result<usize, BridgeError> {
    let number = value.as_u64().and_then(|number| usize::try_from(number).ok()).filter(|number| *number > 0);
    number.ok_or_else(|| wrong_type::<Line>("\"dimensions\" that are not an integer of at least 1"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jsonl::parse;

    #[test]
    fn dimensions_are_a_positive_integer() {
        let read = |line: &str| {
            let line = parse::<Line>(line.as_bytes(), 10);
            line.map(|line| line.dimensions).map_err(|error| error.code().as_str())
        };
        assert_eq!(read("\"a\""), Ok(None));
        assert_eq!(read("{\"text\":\"a\"}"), Ok(None));
        assert_eq!(read("{\"dimensions\":64,\"text\":\"a\"}"), Ok(Some(64)));
        for wrong in ["null", "0", "-1", "1.0", "\"64\"", "true", "[64]"] {
            assert_eq!(read(&format!("{{\"text\":\"a\",\"dimensions\":{wrong}}}")), Err("input_type"), "{wrong}");
        }
        assert_eq!(read("{\"dimensions\":64}"), Err("input_type"));
        assert_eq!(read("{\"text\":\"a\",\"x\":1}"), Err("bad_line"));
    }
}
