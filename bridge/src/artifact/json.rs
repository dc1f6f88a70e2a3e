//! A strict JSON parser, which enforces the rules of the section JSON of `FORMAT.md`.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// The maximum nesting depth of arrays and objects.
pub const MAX_DEPTH: usize = 32;
/// The largest absolute value of a number, 2^53: a float64 represents every integer up to it exactly.
pub const MAX_NUMBER: f64 = 9_007_199_254_740_992.0;

/// Parses one JSON text.
///
/// In addition to invalid JSON, it refuses a byte order mark, invalid UTF-8, duplicate keys, lone surrogates, numbers whose
/// absolute value exceeds 2^53, nesting deeper than 32, and anything after the value.
///
/// # Errors
/// The violated rule, with line and column if they are known.
pub fn parse(bytes: &[u8]) -> Result<Value, String> {
    let text = std::str::from_utf8(bytes).map_err(|error| format!("expected UTF-8: {error}"))?;
    if text.starts_with('\u{feff}') {
        return Err("starts with a byte order mark, expected none".to_owned());
    }
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = Strict { depth: 0 }.deserialize(&mut reader).map_err(|error| error.to_string())?;
    reader.end().map_err(|error| error.to_string())?;
    Ok(value)
}

/// Builds a [`Value`] and refuses duplicate keys and deep nesting. `serde_json`'s own `Value` would keep the last of two
/// equal keys. `depth` is the number of arrays and objects around the value.
#[derive(Clone, Copy)]
struct Strict {
    depth: usize,
}

impl Strict {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth == MAX_DEPTH {
            return Err(E::custom(format!("nested deeper than {MAX_DEPTH}")));
        }
        Ok(Self { depth: self.depth + 1 })
    }
}

fn bounded<E: serde::de::Error>(number: Number) -> Result<Value, E> {
    // Integers are compared as integers, because 2^53 + 1 as a float64 is 2^53.
    let is_allowed = match (number.as_u64(), number.as_i64()) {
        (Some(n), _) => n <= 1 << 53,
        (_, Some(n)) => n.unsigned_abs() <= 1 << 53,
        _ => number.as_f64().is_some_and(|n| n.abs() <= MAX_NUMBER),
    };
    if is_allowed {
        Ok(Value::Number(number))
    } else {
        Err(E::custom(format!("the absolute value of the number {number} exceeds 2^53")))
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Value, E> {
        bounded(value.into())
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Value, E> {
        bounded(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        let number = Number::from_f64(value).ok_or_else(|| E::custom("a number is not finite"))?;
        bounded(number)
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(inner)? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut object = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if object.contains_key(&key) {
                return Err(A::Error::custom(format!("duplicate key {key:?}")));
            }
            object.insert(key, entries.next_value_seed(inner)?);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn allowed_json_is_accepted() {
        for text in ["{}", "[]", " null\n", "9007199254740992", "-9007199254740992", "1.5e3", "\"\\ud83d\\ude00\"", "0"]
        {
            assert!(parse(text.as_bytes()).is_ok(), "{text}");
        }
        let deep = format!("{}{}", "[".repeat(MAX_DEPTH), "]".repeat(MAX_DEPTH));
        assert!(parse(deep.as_bytes()).is_ok());
    }

    #[test]
    fn forbidden_json_is_refused() {
        let deep = format!("{}{}", "[".repeat(MAX_DEPTH + 1), "]".repeat(MAX_DEPTH + 1));
        let texts: [&[u8]; 22] = [
            b"",
            b"{",
            b"{\"a\":1,\"a\":1}",
            b"{\"a\":{\"b\":1,\"\\u0062\":1}}",
            b"NaN",
            b"Infinity",
            b"-Infinity",
            b"1e400",
            b"-1e400",
            b"1e16",
            b"9007199254740993",
            b"-9007199254740993",
            b"99999999999999999999999999",
            b"\"\\ud800\"",
            b"\"\\udc00\"",
            b"{\"\\ud800\":1}",
            b"1 2",
            b"{}x",
            b"\xef\xbb\xbf{}",
            b"\"\xff\"",
            b"\"\t\"",
            deep.as_bytes(),
        ];
        for text in texts {
            assert!(parse(text).is_err(), "{}", String::from_utf8_lossy(text));
        }
    }

    proptest! {
        #[test]
        fn never_panics_on_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn never_panics_on_almost_json(text in "[\\[\\]{}:,\"\\\\ud80-9eE.+-]{0,80}") {
            let _ = parse(text.as_bytes());
        }

        #[test]
        fn values_written_by_serde_are_read(text in ".{0,40}", number in -1_000_000_000_i64..1_000_000_000) {
            let value = serde_json::json!({"a": [text, number, null, true], "b": {}});
            prop_assert_eq!(parse(value.to_string().as_bytes()), Ok(value));
        }
    }
}
