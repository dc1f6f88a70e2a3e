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
    /// The text alone, or messages that belong together.
    pub(crate) messages: Vec<String>,
    /// Where the text's sentences start, in characters, where the line says it.
    pub(crate) sentence_starts: Option<Vec<usize>>,
}

impl Input {
    /// The text of a line that has no more than one.
    pub(crate) fn text(&self) -> &str {
        self.messages.first().map_or("", String::as_str)
    }
}

/// What an object may have besides `text`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Besides {
    /// Nothing.
    Nothing,
    /// `sentence_starts`.
    SentenceStarts,
    /// `messages`, in place of `text`.
    Messages,
}

impl Besides {
    fn key(self) -> Option<&'static str> {
        match self {
            Self::Nothing => None,
            Self::SentenceStarts => Some("sentence_starts"),
            Self::Messages => Some("messages"),
        }
    }
}

/// Which lines are read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    /// Largest text in bytes of UTF-8.
    pub(crate) limit: usize,
    /// What an object may have besides `text`.
    pub(crate) besides: Besides,
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

/// The input of one line: a JSON string, or an object with a string under `text`, perhaps what may be besides, and nothing
/// else. How large messages are together is for the call to judge, which knows what joins them.
pub(crate) fn parse(line: &[u8], rules: Rules) -> Line {
    let value = json::parse(line).map_err(|problem| BridgeError::BadLine { problem })?;
    let (text, starts) = match value {
        Value::Object(mut object) => {
            let is_known = |key: &str| key == "text" || rules.besides.key() == Some(key);
            if let Some(key) = object.keys().find(|key| !is_known(key)) {
                return Err(BridgeError::BadLine { problem: format!("unknown key {key:?}") });
            }
            if let Some(messages) = object.remove("messages") {
                return several(messages, object.contains_key("text"));
            }
            let starts = object.remove("sentence_starts");
            (object.remove("text").unwrap_or(Value::Object(object)), starts)
        }
        Value::String(_) => (value, None),
        other => return Err(wrong_type(&other)),
    };
    match text {
        Value::String(text) if text.len() > rules.limit => Err(too_large(text.len(), rules.limit)),
        Value::String(text) => Ok(Input { messages: vec![text], sentence_starts: starts.map(places).transpose()? }),
        other => Err(wrong_type(&other)),
    }
}

/// Messages that belong together: a list of strings.
fn several(messages: Value, has_text: bool) -> Line {
    if has_text {
        return Err(BridgeError::BadLine { problem: "\"text\" and \"messages\" in one object".to_owned() });
    }
    let no_list = |_| BridgeError::InputType { found: "\"messages\" that are no list of strings".to_owned() };
    let messages = serde_json::from_value(messages).map_err(no_list)?;
    Ok(Input { messages, sentence_starts: None })
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
        Rules { limit, besides: Besides::Nothing }
    }

    fn text(line: Line) -> Result<String, &'static str> {
        line.map(|input| input.text().to_owned()).map_err(|error| error.code())
    }

    #[test]
    fn a_line_is_a_string_or_an_object_with_one() {
        assert_eq!(text(parse(b"\"a\"", rules(10))), Ok("a".to_owned()));
        assert_eq!(text(parse(b"{\"text\": \"\"}\r", rules(10))), Ok(String::new()));
        let cases: [(&[u8], &str); 14] = [
            (b"", "bad_line"),
            (b"  ", "bad_line"),
            (b"{", "bad_line"),
            (b"\"\xff\"", "bad_line"),
            (b"\"\\ud800\"", "bad_line"),
            (b"{\"text\":\"a\",\"text\":\"a\"}", "bad_line"),
            (b"{\"text\":\"a\",\"x\":1}", "bad_line"),
            (b"{\"x\":1}", "bad_line"),
            (b"{\"text\":\"a\",\"sentence_starts\":[0]}", "bad_line"),
            (b"{\"messages\":[\"a\"]}", "bad_line"),
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
            let line = parse(line.as_bytes(), Rules { limit: 10, besides: Besides::SentenceStarts });
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
    fn messages_are_a_list_of_strings_in_place_of_a_text() {
        let messages = |line: &str| {
            let line = parse(line.as_bytes(), Rules { limit: 10, besides: Besides::Messages });
            line.map(|input| input.messages).map_err(|error| error.code())
        };
        let list = |found: &[&str]| Ok(found.iter().map(|message| (*message).to_owned()).collect::<Vec<_>>());
        assert_eq!(messages("\"a\""), list(&["a"]));
        assert_eq!(messages("{\"text\":\"a\"}"), list(&["a"]));
        assert_eq!(messages("{\"messages\":[\"a\",\"\"]}"), list(&["a", ""]));
        assert_eq!(messages("{\"messages\":[]}"), list(&[]));
        for wrong in ["null", "\"a\"", "[1]", "[null]", "{}", "[[\"a\"]]"] {
            assert_eq!(messages(&format!("{{\"messages\":{wrong}}}")), Err("input_type"), "{wrong}");
        }
        assert_eq!(messages("{\"messages\":[\"a\"],\"text\":\"a\"}"), Err("bad_line"));
        assert_eq!(messages("{\"messages\":[\"a\"],\"x\":\"a\"}"), Err("bad_line"));
        assert_eq!(messages("[\"a\"]"), Err("input_type"));
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
