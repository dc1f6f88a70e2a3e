//! The input of the command `summarize` that one JSON line contains.

use serde_json::Value;

use crate::BridgeError;
use crate::jsonl::{LineInput, TEXT, bad_line, fields, text, wrong_type};

/// The content of one JSON line: messages that belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Messages(pub(crate) Vec<String>);

/// The key of the messages in the JSON object of a line.
const MESSAGES: &str = "messages";

impl LineInput for Messages {
    const EXPECTED: &'static str =
        "a JSON string or an object with either a string under \"text\" or an array of strings under \"messages\"";

    fn read(value: Value, limit: usize) -> Result<Self, BridgeError> {
        let mut fields = fields::<Self>(value, &[TEXT, MESSAGES])?;
        match (fields.remove(MESSAGES), fields.contains_key(TEXT)) {
            (Some(_), true) => Err(bad_line::<Self>("has both \"text\" and \"messages\"".to_owned())),
            (Some(value), false) => messages(value).map(Self),
            (None, _) => Ok(Self(vec![text::<Self>(&mut fields, limit)?])),
        }
    }

    fn texts(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

/// Reads messages from their JSON value. The limit on their size applies to the joined messages, so that the call
/// checks it.
fn messages(value: Value) -> Result<Vec<String>, BridgeError> {
    let refuse = |_| wrong_type::<Messages>("\"messages\" that are not an array of strings");
    serde_json::from_value(value).map_err(refuse)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jsonl::parse;

    #[test]
    fn a_line_has_an_array_of_messages_or_a_text() {
        let messages = |line: &str| {
            let line = parse::<Messages>(line.as_bytes(), 10);
            line.map(|input| input.0).map_err(|error| error.code().as_str())
        };
        let list = |messages: &[&str]| Ok(messages.iter().map(|message| (*message).to_owned()).collect::<Vec<_>>());
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
}
