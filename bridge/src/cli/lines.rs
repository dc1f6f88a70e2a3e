//! JSON lines in: reading with a limit, and what counts as a text.

use std::io::{self, BufRead};

use onnx_ml_bridge::BridgeError;
use onnx_ml_bridge::artifact::json;
use serde_json::Value;

/// A byte of text takes at most six in JSON (`\u0041`); the rest of a line is a key and blanks.
const BYTES_PER_TEXT_BYTE: usize = 6;
const LINE_OVERHEAD: usize = 1024;

/// Reads the next line as a text; `None` at the end of the input.
///
/// A line too long for any text within the limit is skipped without being kept.
pub(crate) fn next_text(input: &mut impl BufRead, limit: usize) -> io::Result<Option<Result<String, BridgeError>>> {
    let longest = limit.saturating_mul(BYTES_PER_TEXT_BYTE).saturating_add(LINE_OVERHEAD);
    let mut line = Vec::new();
    let (mut length, mut ended) = (0_usize, false);
    while !ended {
        let chunk = input.fill_buf()?;
        if chunk.is_empty() {
            break;
        }
        let end = chunk.iter().position(|byte| *byte == b'\n');
        ended = end.is_some();
        let part = &chunk[..end.unwrap_or(chunk.len())];
        length = length.saturating_add(part.len());
        if length <= longest {
            line.extend_from_slice(part);
        }
        let consumed = part.len() + usize::from(ended);
        input.consume(consumed);
    }
    match (length, ended) {
        (0, false) => Ok(None),
        (length, _) if length > longest => Ok(Some(Err(too_large(length / BYTES_PER_TEXT_BYTE, limit)))),
        _ => Ok(Some(parse(&line, limit))),
    }
}

/// The text of one line: a JSON string, or an object with a string under `text` and nothing else.
pub(crate) fn parse(line: &[u8], limit: usize) -> Result<String, BridgeError> {
    let value = json::parse(line).map_err(|problem| BridgeError::BadLine { problem })?;
    let text = match value {
        Value::Object(mut object) => {
            if let Some(key) = object.keys().find(|key| *key != "text") {
                return Err(BridgeError::BadLine { problem: format!("unknown key {key:?}") });
            }
            object.remove("text").unwrap_or(Value::Object(object))
        }
        Value::String(_) => value,
        other => return Err(wrong_type(&other)),
    };
    match text {
        Value::String(text) if text.len() > limit => Err(too_large(text.len(), limit)),
        Value::String(text) => Ok(text),
        other => Err(wrong_type(&other)),
    }
}

fn too_large(bytes: usize, limit: usize) -> BridgeError {
    BridgeError::InputTooLarge { index: None, bytes, limit }
}

fn wrong_type(value: &Value) -> BridgeError {
    let found = match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object without it",
    };
    BridgeError::InputType { found: found.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_string_or_an_object_with_one() {
        assert_eq!(parse(b"\"a\"", 10), Ok("a".to_owned()));
        assert_eq!(parse(b"{\"text\": \"\"}\r", 10), Ok(String::new()));
        let cases: [(&[u8], &str); 12] = [
            (b"", "bad_line"),
            (b"  ", "bad_line"),
            (b"{", "bad_line"),
            (b"\"\xff\"", "bad_line"),
            (b"\"\\ud800\"", "bad_line"),
            (b"{\"text\":\"a\",\"text\":\"a\"}", "bad_line"),
            (b"{\"text\":\"a\",\"x\":1}", "bad_line"),
            (b"{\"x\":1}", "bad_line"),
            (b"{}", "input_type"),
            (b"{\"text\":1}", "input_type"),
            (b"[\"a\"]", "input_type"),
            (b"\"01234567890\"", "input_too_large"),
        ];
        for (line, code) in cases {
            let found = parse(line, 10).map_err(|error| error.code());
            assert_eq!(found, Err(code), "{}", String::from_utf8_lossy(line));
        }
    }

    #[test]
    fn a_line_may_be_as_long_as_the_longest_text_in_its_longest_form() -> io::Result<()> {
        let limit = 5;
        let longest = BYTES_PER_TEXT_BYTE * limit + LINE_OVERHEAD;
        for (length, expected) in [(longest, Ok("a".to_owned())), (longest + 1, Err("input_too_large"))] {
            for end in ["", "\n"] {
                let mut input = io::Cursor::new(format!("{:length$}{end}", "\"a\""));
                let found = next_text(&mut input, limit)?;
                assert_eq!(found.map(|text| text.map_err(|error| error.code())), Some(expected.clone()));
            }
        }
        Ok(())
    }

    #[test]
    fn lines_are_read_one_by_one() -> io::Result<()> {
        let long = format!("\"{}\"", "x".repeat(LINE_OVERHEAD + 100));
        let mut input = io::BufReader::with_capacity(7, io::Cursor::new(format!("\"a\"\n\n{long}\n\"b\"")));
        let mut codes = Vec::new();
        while let Some(text) = next_text(&mut input, 5)? {
            codes.push(text.map_err(|error| error.code()));
        }
        let expected = [Ok("a".to_owned()), Err("bad_line"), Err("input_too_large"), Ok("b".to_owned())];
        assert_eq!(codes, expected);
        Ok(())
    }
}
