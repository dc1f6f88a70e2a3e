//! The records of a store: which artifact a version is, and which version a tag is.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::layout::MAX_RECORD_BYTES;
use super::version::is_version;
use crate::BridgeError;
use crate::artifact::json;
use crate::artifact::tree::is_hash;

/// A tag remembers this many earlier versions.
const MAX_PREVIOUS: usize = 20;

/// Which artifact a version is. The record of a yanked version remains, so that its number is not used again.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct VersionRecord {
    pub(crate) identity: String,
    /// Absent, or true.
    #[serde(default, rename = "yanked", deserialize_with = "yes")]
    pub(crate) is_yanked: bool,
}

/// Which version a tag is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TagRecord {
    pub(crate) version: String,
    pub(crate) identity: String,
    /// 1 for the first record of a tag; grows by 1 with every change.
    pub(crate) revision: u64,
    /// Earlier versions, the newest first.
    previous: Vec<String>,
    /// Signatures in base64, by the hash of their public key; `None` if the record is unsigned.
    #[serde(default, deserialize_with = "given")]
    signatures: Option<BTreeMap<String, String>>,
}

impl VersionRecord {
    /// Parses the record with a key.
    ///
    /// # Errors
    /// `store`, if it is invalid.
    pub(crate) fn parse(raw: &[u8], key: &str) -> Result<Self, BridgeError> {
        let record: Self = parse(raw, key)?;
        require(key, &[("identity", is_hash(&record.identity))])?;
        Ok(record)
    }
}

impl TagRecord {
    /// Parses the record with a key.
    ///
    /// # Errors
    /// `store`, if it is invalid.
    pub(crate) fn parse(raw: &[u8], key: &str) -> Result<Self, BridgeError> {
        let record: Self = parse(raw, key)?;
        let previous = &record.previous;
        let is_signatures =
            record.signatures.as_ref().is_none_or(|all| !all.is_empty() && all.keys().all(|key| is_hash(key)));
        let checks = [
            ("version", is_version(&record.version)),
            ("identity", is_hash(&record.identity)),
            ("revision", record.revision >= 1),
            ("previous", previous.len() <= MAX_PREVIOUS && previous.iter().all(|each| is_version(each))),
            ("signatures", is_signatures),
        ];
        require(key, &checks)?;
        Ok(record)
    }

    /// The signature of a public key in base64, given the hash of the key.
    pub(crate) fn signature(&self, key_hash: &str) -> Option<&str> {
        self.signatures.as_ref()?.get(key_hash).map(String::as_str)
    }

    /// What the signatures of the record sign, without the encoding of DSSE: one canonical line. No value needs an escape.
    pub(crate) fn payload(&self, name: &str, tag: &str) -> String {
        let Self { identity, revision, version, .. } = self;
        format!(
            "{{\"identity\":\"{identity}\",\"name\":\"{name}\",\"revision\":{revision},\"tag\":\"{tag}\",\
             \"version\":\"{version}\"}}"
        )
    }
}

fn parse<T: DeserializeOwned>(raw: &[u8], key: &str) -> Result<T, BridgeError> {
    let refuse = |problem: String| BridgeError::store(format!("the record {key} is invalid: {problem}"));
    if raw.len() as u64 > MAX_RECORD_BYTES {
        return Err(refuse(format!("it has more than {MAX_RECORD_BYTES} bytes")));
    }
    let value = json::parse(raw).map_err(refuse)?;
    if !value.is_object() {
        return Err(refuse("expected an object".to_owned()));
    }
    serde_json::from_value(value).map_err(|error| refuse(error.to_string()))
}

fn require(key: &str, checks: &[(&str, bool)]) -> Result<(), BridgeError> {
    let wrong: Vec<&str> = checks.iter().filter(|(_, is_valid)| !is_valid).map(|(name, _)| *name).collect();
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(BridgeError::store(format!("the record {key} has invalid values of {}", wrong.join(", ")))),
    }
}

fn yes<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    match bool::deserialize(deserializer)? {
        true => Ok(true),
        false => Err(serde::de::Error::custom("yanked is false, expected true or no such key")),
    }
}

/// Refuses null, which serde otherwise takes for an absent key.
fn given<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<BTreeMap<String, String>>, D::Error> {
    BTreeMap::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn hash() -> String {
        "0a".repeat(32)
    }

    fn version(value: &Value) -> Result<VersionRecord, &'static str> {
        VersionRecord::parse(value.to_string().as_bytes(), "k").map_err(|error| error.code().as_str())
    }

    fn tag(value: &Value) -> Result<TagRecord, &'static str> {
        TagRecord::parse(value.to_string().as_bytes(), "k").map_err(|error| error.code().as_str())
    }

    fn valid_tag() -> Value {
        json!({"version": "1.2.0", "identity": hash(), "revision": 3, "previous": ["1.1.0"], "signatures": {hash(): "AA=="}})
    }

    #[test]
    fn valid_records_are_read() {
        assert_eq!(version(&json!({"identity": hash()})).map(|record| record.is_yanked), Ok(false));
        assert_eq!(version(&json!({"identity": hash(), "yanked": true})).map(|record| record.is_yanked), Ok(true));
        let record = tag(&valid_tag()).expect("a record");
        assert_eq!((record.revision, record.signature(&hash()), record.signature("x")), (3, Some("AA=="), None));
        let payload =
            format!(r#"{{"identity":"{}","name":"minilm","revision":3,"tag":"prod","version":"1.2.0"}}"#, hash());
        assert_eq!(record.payload("minilm", "prod"), payload);
    }

    #[test]
    fn other_keys_types_and_values_are_refused() {
        let versions = [
            json!([]),
            json!([hash()]),
            json!({}),
            json!({"identity": 1}),
            json!({"identity": "0A"}),
            json!({"identity": hash(), "yanked": false}),
            json!({"identity": hash(), "yanked": null}),
            json!({"identity": hash(), "yanked": 1}),
            json!({"identity": hash(), "other": 1}),
        ];
        for value in versions {
            assert_eq!(version(&value), Err("store"), "{value}");
        }
        let changes = [
            ("version", json!("1.2")),
            ("version", json!(null)),
            ("identity", json!("x")),
            ("revision", json!(0)),
            ("revision", json!(-1)),
            ("revision", json!(1.0)),
            ("revision", json!(true)),
            ("previous", json!("1.0.0")),
            ("previous", json!(["x"])),
            ("previous", json!(vec!["1.0.0"; 21])),
            ("signatures", json!({})),
            ("signatures", json!(null)),
            ("signatures", json!({"x": "AA=="})),
            ("signatures", json!({hash(): 1})),
            ("other", json!(1)),
        ];
        for (key, value) in changes {
            let mut record = valid_tag();
            record[key] = value;
            assert_eq!(tag(&record), Err("store"), "{record}");
        }
        for key in ["version", "identity", "revision", "previous"] {
            let mut record = valid_tag();
            record.as_object_mut().expect("an object").remove(key);
            assert_eq!(tag(&record), Err("store"), "{record}");
        }
    }

    #[test]
    fn large_records_and_duplicate_keys_are_refused() {
        let twice = format!("{{\"identity\":\"{0}\",\"identity\":\"{0}\"}}", hash());
        let spaces = " ".repeat(1 << 16);
        for text in [twice, format!("{{\"identity\":\"{}\"}}{spaces}", hash())] {
            let error = VersionRecord::parse(text.as_bytes(), "k").expect_err("a refusal");
            assert_eq!(error.code().as_str(), "store");
        }
    }

    proptest! {
        #[test]
        fn bytes_are_a_record_or_refused(position in 0_usize..200, byte in any::<u8>(), cut in 0_usize..300) {
            let mut raw = valid_tag().to_string().into_bytes();
            let position = position % raw.len();
            raw[position] = byte;
            raw.truncate(cut);
            if let Err(error) = TagRecord::parse(&raw, "k") {
                prop_assert_eq!(error.code().as_str(), "store");
            }
        }
    }
}
