//! Bundles of OpenSSF Model Signing v1: a Sigstore bundle with an envelope of DSSE around an in-toto statement.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::keys::{TrustedKey, decode};
use crate::artifact::json;

/// The beginning of the media type of every version 0.3 of Sigstore's bundles.
const MEDIA_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3";
const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
const STATEMENT: &str = "https://in-toto.io/Statement/v1";
const PREDICATE: &str = "https://model_signing/signature/v1.0";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bundle {
    media_type: String,
    dsse_envelope: Envelope,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    payload: String,
    payload_type: String,
    signatures: Vec<Signature>,
}

#[derive(Deserialize)]
struct Signature {
    sig: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Statement {
    #[serde(rename = "_type")]
    kind: String,
    predicate_type: String,
    predicate: Predicate,
}

#[derive(Deserialize)]
struct Predicate {
    resources: Vec<Resource>,
    serialization: Serialization,
}

#[derive(Deserialize)]
struct Serialization {
    method: String,
    hash_type: String,
}

#[derive(Deserialize)]
struct Resource {
    name: String,
    digest: String,
    algorithm: String,
}

/// Checks that a bundle has a signature of a key on exactly these files, which have their SHA-256.
///
/// # Errors
/// What is wrong with the bundle.
pub(super) fn verify(raw: &[u8], key: &TrustedKey, files: &BTreeMap<String, String>) -> Result<(), String> {
    let bundle: Bundle = parse(raw)?;
    if !bundle.media_type.starts_with(MEDIA_TYPE) {
        return Err(format!("the media type is {:?}, expected {MEDIA_TYPE}", bundle.media_type));
    }
    let Envelope { payload, payload_type, signatures } = bundle.dsse_envelope;
    if payload_type != PAYLOAD_TYPE {
        return Err(format!("the payload type is {payload_type:?}, expected {PAYLOAD_TYPE}"));
    }
    let [Signature { sig }] = &signatures[..] else {
        return Err(format!("it has {} signatures, expected 1", signatures.len()));
    };
    let payload = decode(&payload)?;
    key.verify(&payload_type, &payload, sig)?;
    parse::<Statement>(&payload)?.check(files)
}

/// Reads a bundle and its statement without a check of the signature, for fuzzing.
#[cfg(fuzzing)]
pub(crate) fn read(raw: &[u8]) -> Result<(), String> {
    let Envelope { payload, signatures, .. } = parse::<Bundle>(raw)?.dsse_envelope;
    signatures.iter().try_for_each(|signature| decode(&signature.sig).map(drop))?;
    parse::<Statement>(&decode(&payload)?)?.check(&BTreeMap::new())
}

impl Statement {
    fn check(&self, files: &BTreeMap<String, String>) -> Result<(), String> {
        if self.kind != STATEMENT || self.predicate_type != PREDICATE {
            return Err(format!("the statement is {:?} of {:?}", self.predicate_type, self.kind));
        }
        let Serialization { method, hash_type } = &self.predicate.serialization;
        if method != "files" || hash_type != "sha256" {
            return Err(format!("the serialization is {method:?} of {hash_type:?}, expected files of sha256"));
        }
        let mut signed = BTreeMap::new();
        for Resource { name, digest, algorithm } in &self.predicate.resources {
            if algorithm != "sha256" || signed.insert(name.clone(), digest.clone()).is_some() {
                return Err(format!("{name:?} is signed twice, or not with SHA-256"));
            }
        }
        if signed == *files { Ok(()) } else { Err("it signs other files than the artifact's".to_owned()) }
    }
}

fn parse<T: DeserializeOwned>(raw: &[u8]) -> Result<T, String> {
    let value: Value = json::parse(raw)?;
    if !value.is_object() {
        return Err("expected an object".to_owned());
    }
    serde_json::from_value(value).map_err(|error| error.to_string())
}
