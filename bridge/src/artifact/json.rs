//! A strict JSON parser, which enforces the rules of the section JSON of `FORMAT.md`.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::quoting::{SHOWN, shorten};

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
    let value = Strict { text, depth: 0 }.deserialize(&mut reader).map_err(|error| error.to_string())?;
    reader.end().map_err(|error| error.to_string())?;
    Ok(value)
}

/// Builds a [`Value`] and refuses duplicate keys and deep nesting. `serde_json`'s own `Value` would keep the last of two
/// equal keys. `depth` is the number of arrays and objects around the value, and `text` is the whole JSON text.
#[derive(Clone, Copy)]
struct Strict<'t> {
    text: &'t str,
    depth: usize,
}

impl Strict<'_> {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth == MAX_DEPTH {
            return Err(E::custom(format!("nested deeper than {MAX_DEPTH}")));
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }
}

/// Whether the absolute value of a number is at most 2^53.
pub(crate) fn is_bounded(number: &Number) -> bool {
    // Integers are compared as integers, because 2^53 + 1 as a float64 is 2^53.
    match (number.as_u64(), number.as_i64()) {
        (Some(n), _) => n <= 1 << 53,
        (_, Some(n)) => n.unsigned_abs() <= 1 << 53,
        _ => number.as_f64().is_some_and(|n| n.abs() <= MAX_NUMBER),
    }
}

fn bounded<E: serde::de::Error>(number: Number) -> Result<Value, E> {
    if is_bounded(&number) {
        Ok(Value::Number(number))
    } else {
        Err(E::custom(format!("the absolute value of the number {number} exceeds 2^53")))
    }
}

/// The first key of a map that `serde_json` passes to a visitor.
enum Key {
    Text(String),
    /// The map is a number, whose digits are its only value. `serde_json` passes numbers like this if any crate of the build
    /// enables its feature `arbitrary_precision`.
    Number,
}

/// Reads the first key of a map in a JSON text.
struct KeyOf<'t>(&'t str);

/// An object could have the same key as the map of a number. But that key is in the JSON text, or is a copy
/// because the text escapes some of its characters; the key of a number is a constant of `serde_json`.
impl<'de> Visitor<'de> for KeyOf<'_> {
    type Value = Key;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_str<E>(self, key: &'de str) -> Result<Key, E> {
        let is_in_text = self.0.as_bytes().as_ptr_range().contains(&key.as_ptr()) || key.is_empty();
        Ok(if is_in_text { Key::Text(key.to_owned()) } else { Key::Number })
    }

    fn visit_str<E>(self, key: &str) -> Result<Key, E> {
        Ok(Key::Text(key.to_owned()))
    }
}

impl<'de> DeserializeSeed<'de> for KeyOf<'_> {
    type Value = Key;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Key, D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// The number with these digits, as `serde_json` represents it without `arbitrary_precision`.
fn number<E: serde::de::Error>(digits: &str) -> Result<Value, E> {
    if let Ok(number) = digits.parse::<u64>() {
        return bounded(number.into());
    }
    match digits.parse::<i64>() {
        Ok(number) if number != 0 => bounded(number.into()),
        _ => float(digits.parse().map_err(|_| E::custom(format!("{digits} is not a number")))?),
    }
}

fn float<E: serde::de::Error>(value: f64) -> Result<Value, E> {
    bounded(Number::from_f64(value).ok_or_else(|| E::custom("a number is not finite"))?)
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
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
        float(value)
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
        let mut next = match entries.next_key_seed(KeyOf(self.text))? {
            Some(Key::Number) => return number(&entries.next_value::<String>()?),
            Some(Key::Text(key)) => Some(key),
            None => None,
        };
        let inner = self.deeper()?;
        let mut object = Map::new();
        while let Some(key) = next {
            if object.contains_key(&key) {
                return Err(A::Error::custom(format!("duplicate key {:?}", shorten(&key, SHOWN))));
            }
            object.insert(key, entries.next_value_seed(inner)?);
            next = entries.next_key()?;
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

    /// Also in a build with `serde_json`'s feature `arbitrary_precision`, which represents a number by its digits.
    #[test]
    fn numbers_are_read_as_integers_or_floats() {
        let read = |text: &str| parse(text.as_bytes()).expect(text);
        assert_eq!([read("7"), read("-7"), read("0")], [7, -7, 0].map(Value::from));
        for (text, value) in [("1.5", 1.5), ("-25e-2", -0.25), ("1e3", 1000.0), ("1.0", 1.0), ("-0", -0.0)] {
            let number = read(text);
            assert_eq!(number.as_f64().map(f64::to_bits), Some(f64::to_bits(value)), "{text}");
            assert_eq!(number, Number::from_f64(value).map_or(Value::Null, Value::Number), "{text}");
            assert!(!number.is_u64() && !number.is_i64(), "{text}");
        }
        let deep = format!("{}7{}", "[".repeat(MAX_DEPTH), "]".repeat(MAX_DEPTH));
        assert!(parse(deep.as_bytes()).is_ok());
    }

    #[test]
    fn the_key_with_which_serde_json_marks_numbers_is_an_ordinary_key() {
        for key in ["$serde_json::private::Number", "\\u0024serde_json::private::Number", ""] {
            let text = format!("{{\"{key}\":\"1\"}}");
            assert_eq!(parse(text.as_bytes()).map(|value| value.is_object()), Ok(true), "{text}");
        }
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
