//! JSON lines in: reading with a limit, and what counts as a text.

use std::io::{self, BufRead};

use onnx_ml_bridge::BridgeError;
use onnx_ml_bridge::artifact::json;
use serde_json::Value;

/// A byte of text takes at most six in JSON (`\u0041`); the rest of a line is a key and blanks.
const BYTES_PER_TEXT_BYTE: usize = 6;
const LINE_OVERHEAD: usize = 1024;

/// A line's input, or why it has none.
pub(crate) type Line = Result<Input, BridgeError>;

/// What a line holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Input {
    pub(crate) text: String,
    /// Where the text's sentences start, in characters, where the line says it.
    pub(crate) sentence_starts: Option<Vec<usize>>,
}

/// Which lines are read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    /// Largest text in bytes of UTF-8.
    pub(crate) limit: usize,
    /// Whether an object may have `sentence_starts`.
    pub(crate) with_sentences: bool,
}

/// Reads the next line; `None` at the end of the input.
///
/// A line too long for any text within the limit is skipped without being kept.
pub(crate) fn next_line(input: &mut impl BufRead, rules: Rules) -> io::Result<Option<Line>> {
    let limit = rules.limit;
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
        _ => Ok(Some(parse(&line, rules))),
    }
}

/// The input of one line: a JSON string, or an object with a string under `text`, perhaps sentence starts, and nothing
/// else.
pub(crate) fn parse(line: &[u8], rules: Rules) -> Line {
    let value = json::parse(line).map_err(|problem| BridgeError::BadLine { problem })?;
    let (text, starts) = match value {
        Value::Object(mut object) => {
            let is_known = |key: &str| key == "text" || (rules.with_sentences && key == "sentence_starts");
            if let Some(key) = object.keys().find(|key| !is_known(key)) {
                return Err(BridgeError::BadLine { problem: format!("unknown key {key:?}") });
            }
            let starts = object.remove("sentence_starts");
            (object.remove("text").unwrap_or(Value::Object(object)), starts)
        }
        Value::String(_) => (value, None),
        other => return Err(wrong_type(&other)),
    };
    match text {
        Value::String(text) if text.len() > rules.limit => Err(too_large(text.len(), rules.limit)),
        Value::String(text) => Ok(Input { text, sentence_starts: starts.map(places).transpose()? }),
        other => Err(wrong_type(&other)),
    }
}

/// Places in characters: whole numbers from 0.
fn places(value: Value) -> Result<Vec<usize>, BridgeError> {
    serde_json::from_value(value).map_err(|error| BridgeError::SentenceStarts {
        index: None,
        problem: format!("sentence_starts has to be a list of whole numbers from 0: {error}"),
    })
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

    fn rules(limit: usize) -> Rules {
        Rules { limit, with_sentences: false }
    }

    fn text(line: Line) -> Result<String, &'static str> {
        line.map(|input| input.text).map_err(|error| error.code())
    }

    #[test]
    fn a_line_is_a_string_or_an_object_with_one() {
        assert_eq!(text(parse(b"\"a\"", rules(10))), Ok("a".to_owned()));
        assert_eq!(text(parse(b"{\"text\": \"\"}\r", rules(10))), Ok(String::new()));
        let cases: [(&[u8], &str); 13] = [
            (b"", "bad_line"),
            (b"  ", "bad_line"),
            (b"{", "bad_line"),
            (b"\"\xff\"", "bad_line"),
            (b"\"\\ud800\"", "bad_line"),
            (b"{\"text\":\"a\",\"text\":\"a\"}", "bad_line"),
            (b"{\"text\":\"a\",\"x\":1}", "bad_line"),
            (b"{\"x\":1}", "bad_line"),
            (b"{\"text\":\"a\",\"sentence_starts\":[0]}", "bad_line"),
            (b"{}", "input_type"),
            (b"{\"text\":1}", "input_type"),
            (b"[\"a\"]", "input_type"),
            (b"\"01234567890\"", "input_too_large"),
        ];
        for (line, code) in cases {
            assert_eq!(text(parse(line, rules(10))), Err(code), "{}", String::from_utf8_lossy(line));
        }
    }

    #[test]
    fn sentence_starts_are_whole_numbers() {
        let starts = |line: &str| {
            let line = parse(line.as_bytes(), Rules { limit: 10, with_sentences: true });
            line.map(|input| input.sentence_starts).map_err(|error| error.code())
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
    fn a_line_may_be_as_long_as_the_longest_text_in_its_longest_form() -> io::Result<()> {
        let limit = 5;
        let longest = BYTES_PER_TEXT_BYTE * limit + LINE_OVERHEAD;
        for (length, expected) in [(longest, Ok("a".to_owned())), (longest + 1, Err("input_too_large"))] {
            for end in ["", "\n"] {
                let mut input = io::Cursor::new(format!("{:length$}{end}", "\"a\""));
                assert_eq!(next_line(&mut input, rules(limit))?.map(text), Some(expected.clone()));
            }
        }
        Ok(())
    }

    #[test]
    fn lines_are_read_one_by_one() -> io::Result<()> {
        let long = format!("\"{}\"", "x".repeat(LINE_OVERHEAD + 100));
        let mut input = io::BufReader::with_capacity(7, io::Cursor::new(format!("\"a\"\n\n{long}\n\"b\"")));
        let mut codes = Vec::new();
        while let Some(line) = next_line(&mut input, rules(5))? {
            codes.push(text(line));
        }
        let expected = [Ok("a".to_owned()), Err("bad_line"), Err("input_too_large"), Ok("b".to_owned())];
        assert_eq!(codes, expected);
        Ok(())
    }
}
