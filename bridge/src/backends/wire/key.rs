//! [`Key`]: the secret of a server.

use std::fmt;

use crate::BridgeError;

/// The key of a server. It is only in the header of requests; `Debug` does not show it.
#[derive(Clone)]
pub(crate) struct Key(String);

impl Key {
    /// Reads the key from an environment variable.
    ///
    /// # Errors
    /// `config` if the variable is missing, empty, or not of printable ASCII characters.
    pub(crate) fn from_env(variable: &str) -> Result<Self, BridgeError> {
        let refused = |problem: &str| {
            BridgeError::config(format!(
                "the environment variable {variable} of api_key_env {problem}: set it to the key"
            ))
        };
        let key = std::env::var_os(variable).ok_or_else(|| refused("is not set"))?;
        let key = key.into_string().map_err(|_| refused("is not printable ASCII"))?;
        Self::new(key).map_err(refused)
    }

    fn new(key: String) -> Result<Self, &'static str> {
        match key.as_str() {
            "" => Err("is empty"),
            text if text.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(Self(key)),
            _ => Err("is not printable ASCII"),
        }
    }

    pub(super) fn secret(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_printable_ascii_and_is_never_shown() {
        let key = Key::new("sk-canary".to_owned()).expect("a key");
        assert_eq!((format!("{key:?}"), key.secret()), ("Key".to_owned(), "sk-canary"));
        for bad in ["", "a b", "a\n", "é", "a\u{7f}"] {
            assert!(Key::new(bad.to_owned()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_missing_variable_is_named() {
        let error = Key::from_env("ONNX_ML_BRIDGE_NO_SUCH_KEY").expect_err("not set");
        assert_eq!(error.code().as_str(), "config");
        assert!(
            error.to_string().contains("ONNX_ML_BRIDGE_NO_SUCH_KEY is") || error.to_string().contains("is not set")
        );
    }
}
