//! Public keys that a caller trusts, and signatures in the envelope of DSSE.

use std::fs;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use p256::ecdsa::signature::Verifier;
use p256::ecdsa::{DerSignature, VerifyingKey};
use p256::pkcs8::{DecodePublicKey, EncodePublicKey};

use crate::BridgeError;
use crate::artifact::tree::sha256;

/// A public key on the curve P-256.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TrustedKey {
    key: VerifyingKey,
    /// SHA-256 of the key's DER encoding (SubjectPublicKeyInfo), hexadecimal.
    hash: String,
}

impl TrustedKey {
    /// Reads a public key in PEM.
    ///
    /// # Errors
    /// `io`, if the file cannot be read; `config`, if it is no such key.
    pub(crate) fn read(path: &Path) -> Result<Self, BridgeError> {
        let pem = fs::read(path).map_err(|error| BridgeError::io(path, &error))?;
        let refuse = |problem: String| {
            let expected = "a public key in PEM (ECDSA on P-256), such as `openssl ec -in KEY.pem -pubout` writes";
            BridgeError::config(format!("trusted key {}: {problem}, expected {expected}", path.display()))
        };
        let pem = String::from_utf8(pem).map_err(|error| refuse(error.to_string()))?;
        let key = VerifyingKey::from_public_key_pem(&pem).map_err(|error| refuse(error.to_string()))?;
        let der = key.to_public_key_der().map_err(|error| refuse(error.to_string()))?;
        Ok(Self { key, hash: sha256(der.as_bytes()) })
    }

    pub(crate) fn hash(&self) -> &str {
        &self.hash
    }

    /// Checks a signature in DER and base64.
    ///
    /// # Errors
    /// What is wrong with the signature.
    pub(crate) fn verify(&self, payload_type: &str, payload: &[u8], signature: &str) -> Result<(), String> {
        let signature = decode(signature)?;
        let signature = DerSignature::from_bytes(&signature).map_err(|_| "the signature is not in DER".to_owned())?;
        let encoded = pre_authentication_encoding(payload_type, payload);
        self.key.verify(&encoded, &signature).map_err(|_| "the signature is wrong".to_owned())
    }
}

/// Decodes base64.
pub(super) fn decode(text: &str) -> Result<Vec<u8>, String> {
    STANDARD.decode(text).map_err(|error| format!("not base64: {error}"))
}

/// What a signature in an envelope of DSSE signs.
fn pre_authentication_encoding(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example in the protocol of DSSE.
    #[test]
    fn the_pre_authentication_encoding_has_the_lengths() {
        let encoded = pre_authentication_encoding("http://example.com/HelloWorld", b"hello world");
        assert_eq!(encoded, b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
    }
}
