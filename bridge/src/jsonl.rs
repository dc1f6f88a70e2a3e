//! Reads JSON lines with a limit on their length. Contains the rules for inputs that several tasks share.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::BridgeError;
use crate::artifact::json;
use crate::artifact::quoting::{SHOWN, shorten};

/// The maximum size of a JSON line relative to the size of its text: an escape such as `\u0041` takes six bytes for a
/// character of one byte.
const BYTES_PER_TEXT_BYTE: usize = 6;
/// Limit on the number of bytes that the keys and the whitespace of a line may take.
const LINE_OVERHEAD: usize = 1024;
/// The key of the text in the JSON object of a line.
pub(crate) const TEXT: &str = "text";
/// A description of the expected line, for inputs that consist of one text; error messages show it.
pub(crate) const TEXT_LINE: &str = "a JSON string or an object with a string under \"text\"";

/// An input of a model, which is read from one line of JSON.
pub(crate) trait LineInput: Sized {
    /// A description of the expected line, which error messages show.
    const EXPECTED: &'static str;

    /// Reads the input from the JSON value of a line. `limit` is the maximum size of a text in bytes of UTF-8.
    ///
    /// # Errors
    /// `bad_line`, `input_type`, `input_too_large`, or a code of the family.
    fn read(value: Value, limit: usize) -> Result<Self, BridgeError>;

    /// The texts of the input.
    fn texts(&self) -> impl Iterator<Item = &str>;
}

/// The input of a model that reads one text per line.
impl LineInput for String {
    const EXPECTED: &'static str = TEXT_LINE;

    fn read(value: Value, limit: usize) -> Result<Self, BridgeError> {
        text::<Self>(&mut fields::<Self>(value, &[TEXT])?, limit)
    }

    fn texts(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.as_str())
    }
}

/// The error of one input line, in the form in which the commands print it.
#[derive(Debug, Serialize)]
pub(crate) struct LineError {
    pub(crate) code: &'static str,
    pub(crate) line: u64,
    pub(crate) message: String,
}

/// Reads all inputs of a file of JSON lines.
///
/// # Errors
/// `io`, or the error of the first line that is not an input.
pub(crate) fn read_file<I: LineInput>(path: &Path, limit: usize) -> Result<Vec<I>, BridgeError> {
    let failed = |error: io::Error| BridgeError::io(path, &error);
    let mut file = BufReader::new(File::open(path).map_err(failed)?);
    let mut inputs = Vec::new();
    while let Some(line) = next_line(&mut file, limit).map_err(failed)? {
        inputs.push(line?);
    }
    Ok(inputs)
}

/// Reads the next line; `None` at the end of the input.
///
/// A line that is too long for any text within the limit is an error; it is skipped without being stored.
pub(crate) fn next_line<I: LineInput>(
    input: &mut impl BufRead,
    limit: usize,
) -> io::Result<Option<Result<I, BridgeError>>> {
    Ok(next_row(input, limit)?.map(|line| line.parse(limit)))
}

/// A line of an input, before it is parsed.
pub(crate) struct RawLine {
    /// The line without its newline; `None` for a line that is too long.
    text: Option<Vec<u8>>,
    /// The length of the line in bytes, without its newline.
    length: usize,
}

impl RawLine {
    /// The number of bytes that the line counts in a batch.
    pub(crate) fn bytes(&self, limit: usize) -> usize {
        self.length.min(max_line_bytes(limit))
    }

    /// Parses the line.
    ///
    /// # Errors
    /// `input_too_large` for a line that is too long, or the errors of [`parse`].
    pub(crate) fn parse<I: LineInput>(&self, limit: usize) -> Result<I, BridgeError> {
        let text = self.text.as_ref().ok_or(BridgeError::LineTooLong { limit })?;
        parse(text, limit)
    }
}

/// The maximum number of bytes of a line whose texts have at most `limit` bytes.
fn max_line_bytes(limit: usize) -> usize {
    limit.saturating_mul(BYTES_PER_TEXT_BYTE).saturating_add(LINE_OVERHEAD)
}

/// Reads the next line; `None` at the end of the input. A line of more than `max_bytes` is skipped without being stored.
fn next_raw(input: &mut impl BufRead, max_bytes: usize) -> io::Result<Option<RawLine>> {
    let mut line = Vec::new();
    let (mut length, mut ended) = (0_usize, false);
    while !ended {
        let available = input.fill_buf()?;
        if available.is_empty() {
            break;
        }
        let end = available.iter().position(|byte| *byte == b'\n');
        ended = end.is_some();
        let content = &available[..end.unwrap_or(available.len())];
        length = length.saturating_add(content.len());
        if length <= max_bytes {
            line.extend_from_slice(content);
        }
        let consumed = content.len() + usize::from(ended);
        input.consume(consumed);
    }
    let text = (length <= max_bytes).then_some(line);
    Ok((length > 0 || ended).then_some(RawLine { text, length }))
}

/// Reads the next line of a file whose texts have at most `limit` bytes; `None` at the end.
pub(crate) fn next_row(input: &mut impl BufRead, limit: usize) -> io::Result<Option<RawLine>> {
    next_raw(input, max_line_bytes(limit))
}

/// Parses one JSON line to an input.
pub(crate) fn parse<I: LineInput>(line: &[u8], limit: usize) -> Result<I, BridgeError> {
    I::read(json::parse(line).map_err(bad_line::<I>)?, limit)
}

/// The fields of a line's JSON object, whose keys all have to be known. A line that is a JSON string is read like an
/// object with this string under the key `text`.
///
/// # Errors
/// `bad_line` for an unknown key, `input_type` for another kind of value.
pub(crate) fn fields<I: LineInput>(value: Value, known: &[&str]) -> Result<Map<String, Value>, BridgeError> {
    match value {
        Value::Object(fields) => match fields.keys().find(|key| !known.contains(&key.as_str())) {
            Some(key) => Err(unknown_key::<I>(key)),
            None => Ok(fields),
        },
        Value::String(_) => Ok(Map::from_iter([(TEXT.to_owned(), value)])),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => Err(wrong_type::<I>(kind(&value))),
    }
}

/// Removes the text from the fields of a line's JSON object and returns it.
///
/// # Errors
/// `input_type` if the text is missing or not a string, `input_too_large` if it exceeds the limit.
pub(crate) fn text<I: LineInput>(fields: &mut Map<String, Value>, limit: usize) -> Result<String, BridgeError> {
    match fields.remove(TEXT) {
        Some(Value::String(text)) if text.len() > limit => Err(too_large(text.len(), limit)),
        Some(Value::String(text)) => Ok(text),
        Some(other) => Err(wrong_type::<I>(kind(&other))),
        None => Err(wrong_type::<I>("an object without it")),
    }
}

/// The error for a line with an unknown key.
pub(crate) fn unknown_key<I: LineInput>(key: &str) -> BridgeError {
    bad_line::<I>(format!("unknown key {:?}", shorten(key, SHOWN)))
}

/// The error for a line that is not JSON or has wrong keys.
pub(crate) fn bad_line<I: LineInput>(problem: String) -> BridgeError {
    BridgeError::BadLine { problem, expected: I::EXPECTED }
}

/// The error for a JSON value of another type than the expected one.
pub(crate) fn wrong_type<I: LineInput>(actual: &str) -> BridgeError {
    BridgeError::InputType { expected: I::EXPECTED, actual: actual.to_owned() }
}

fn too_large(bytes: usize, limit: usize) -> BridgeError {
    BridgeError::InputTooLarge { index: None, bytes, limit }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(line: Result<String, BridgeError>) -> Result<String, &'static str> {
        line.map_err(|error| error.code().as_str())
    }

    #[test]
    fn a_line_is_a_string_or_an_object_with_a_text() {
        assert_eq!(code(parse(b"\"a\"", 10)), Ok("a".to_owned()));
        assert_eq!(code(parse(b"{\"text\": \"\"}\r", 10)), Ok(String::new()));
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
        for (line, expected) in cases {
            assert_eq!(code(parse(line, 10)), Err(expected), "{}", String::from_utf8_lossy(line));
        }
    }

    #[test]
    fn the_length_of_a_line_is_limited() -> io::Result<()> {
        let limit = 5;
        let longest = BYTES_PER_TEXT_BYTE * limit + LINE_OVERHEAD;
        for (length, expected) in [(longest, Ok("a".to_owned())), (longest + 1, Err("input_too_large"))] {
            for end in ["", "\n"] {
                let mut input = io::Cursor::new(format!("{:length$}{end}", "\"a\""));
                assert_eq!(next_line(&mut input, limit)?.map(code), Some(expected.clone()));
            }
        }
        Ok(())
    }

    #[test]
    fn a_line_that_is_too_long_has_no_size() -> io::Result<()> {
        let mut input = io::Cursor::new("x".repeat(8000));
        let message = next_line::<String>(&mut input, 5)?.and_then(Result::err).map(|error| error.to_string());
        assert_eq!(message.as_deref(), Some("the line is too long, expected at most 5 bytes of text"));
        Ok(())
    }

    #[test]
    fn messages_quote_the_start_of_a_key() {
        let key = "é".repeat(81);
        let message = |line: &str| parse::<String>(line.as_bytes(), 10).expect_err("a wrong key").to_string();
        let start = "é".repeat(80);
        let unknown = message(&format!("{{\"{key}\":1}}"));
        assert!(unknown.starts_with(&format!("unknown key \"{start}...\"; ")), "{unknown}");
        let duplicate = message(&format!("{{\"{key}\":1,\"{key}\":1}}"));
        assert!(duplicate.starts_with(&format!("duplicate key \"{start}...\"")), "{duplicate}");
    }

    #[test]
    fn lines_are_read_one_by_one() -> io::Result<()> {
        let long = format!("\"{}\"", "x".repeat(LINE_OVERHEAD + 100));
        let mut input = io::BufReader::with_capacity(7, io::Cursor::new(format!("\"a\"\n\n{long}\n\"b\"")));
        let mut codes = Vec::new();
        while let Some(line) = next_line(&mut input, 5)? {
            codes.push(code(line));
        }
        let expected = [Ok("a".to_owned()), Err("bad_line"), Err("input_too_large"), Ok("b".to_owned())];
        assert_eq!(codes, expected);
        Ok(())
    }
}
