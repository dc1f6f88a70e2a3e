//! The input of the command `rerank` that one JSON line contains.

use serde_json::{Map, Value};

use crate::BridgeError;
use crate::jsonl::{LineInput, bad_line, unknown_key, wrong_type};

/// The content of one JSON line: a query and its documents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) query: String,
    documents: Vec<String>,
}

impl Line {
    pub(crate) fn documents(&self) -> Vec<&str> {
        self.documents.iter().map(String::as_str).collect()
    }
}

impl LineInput for Line {
    const EXPECTED: &'static str =
        "an object with a string under \"query\" and an array of strings under \"documents\"";

    fn read(value: Value, limit: usize) -> Result<Self, BridgeError> {
        let Value::Object(mut fields) = value else {
            return Err(bad_line::<Self>("not an object".to_owned()));
        };
        let (query, documents) = (take(&mut fields, "query")?, take(&mut fields, "documents")?);
        if let Some(key) = fields.keys().next() {
            return Err(unknown_key::<Self>(key));
        }
        let Value::Array(documents) = documents else {
            return Err(wrong_type::<Self>("\"documents\" that are not an array"));
        };
        let query = text(query, limit)?;
        Ok(Self {
            query,
            documents: documents.into_iter().map(|document| text(document, limit)).collect::<Result<_, _>>()?,
        })
    }

    fn texts(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.query).chain(&self.documents).map(String::as_str)
    }
}

fn take(fields: &mut Map<String, Value>, key: &str) -> Result<Value, BridgeError> {
    fields.remove(key).ok_or_else(|| bad_line::<Line>(format!("no key {key:?}")))
}

fn text(value: Value, limit: usize) -> Result<String, BridgeError> {
    match value {
        Value::String(text) if text.len() > limit => {
            Err(BridgeError::InputTooLarge { index: None, bytes: text.len(), limit })
        }
        Value::String(text) => Ok(text),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            Err(wrong_type::<Line>("a value that is not a string"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jsonl::parse;

    #[test]
    fn a_line_has_a_query_and_documents() {
        let read = |line: &str| parse::<Line>(line.as_bytes(), 4).map_err(|error| error.code().as_str());
        let line = |documents: &[&str]| {
            Ok(Line { query: "q".to_owned(), documents: documents.iter().map(|text| (*text).to_owned()).collect() })
        };
        assert_eq!(read("{\"query\":\"q\",\"documents\":[\"a\",\"\"]}"), line(&["a", ""]));
        assert_eq!(read("{\"documents\":[],\"query\":\"q\"}"), line(&[]));
        for (wrong, code) in [
            ("\"q\"", "bad_line"),
            ("[]", "bad_line"),
            ("{\"query\":\"q\"}", "bad_line"),
            ("{\"documents\":[]}", "bad_line"),
            ("{\"query\":\"q\",\"documents\":[],\"x\":1}", "bad_line"),
            ("{\"query\":1,\"documents\":[]}", "input_type"),
            ("{\"query\":\"q\",\"documents\":\"a\"}", "input_type"),
            ("{\"query\":\"q\",\"documents\":[1]}", "input_type"),
            ("{\"query\":\"12345\",\"documents\":[]}", "input_too_large"),
            ("{\"query\":\"q\",\"documents\":[\"12345\"]}", "input_too_large"),
        ] {
            assert_eq!(read(wrong), Err(code), "{wrong}");
        }
    }
}
