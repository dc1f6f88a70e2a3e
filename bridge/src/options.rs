//! [`BridgeOptions`].

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::BridgeError;
use crate::runtime::options::{Limits, ModelOptions};
use crate::runtime::{DEFAULT_BEAM_LIMIT, DEFAULT_MAX_WAITING, DEFAULT_TEXT_LIMIT};
use crate::tasks::seconds;

/// The largest number of threads of a model, and of its runs at the same time.
pub(crate) const MAX_THREADS: usize = 1024;
/// The environment variable that sets `local_only` if it is `1`.
const LOCAL_ONLY: &str = "ONNX_ML_BRIDGE_LOCAL_ONLY";

/// Options of a bridge, or of a model that is opened alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct BridgeOptions {
    /// The number of threads of each model, 1 to 1,024: a run that is alone uses all of them, runs beside each other use one
    /// each. `None` is the number that the CPU affinity and the cgroup's quota allow the process.
    pub threads: Option<usize>,
    /// Limit on the memory of all loaded models in MiB, at least 1: a load unloads the models that were idle longest. `None`
    /// is no limit.
    pub memory_mb: Option<usize>,
    /// Limit on the calls that wait for one model, at least 1; further calls fail with `overloaded`.
    pub max_waiting: usize,
    /// Limit on the size of a text in bytes of UTF-8; for messages to summarize, on the size of the joined messages.
    pub text_limit: usize,
    /// Limit on texts x beams x `max_length` of one run of a summarizer, which bounds its memory. More texts need more
    /// runs; a call that exceeds the limit with a single text fails with `config`.
    pub beam_limit: usize,
    /// The time limit of calls that pass none, above 0; `None` is no limit. JSON has seconds.
    #[serde(with = "seconds")]
    pub timeout: Option<Duration>,
    /// The address of the store for models whose path is a name in a store (`store:NAME`); `None` for that of
    /// `ONNX_ML_BRIDGE_STORE`. Such names need the feature `store`, and `store-remote` for all stores but folders.
    pub store: Option<String>,
    /// Files with public keys in PEM (ECDSA on P-256). If there are any, artifacts and tags that none of the keys signed are
    /// refused with `signature`. This needs the feature `store`.
    pub trusted_keys: Vec<PathBuf>,
    /// Refuses to open what would leave this machine, with the code `not_local`: models of servers elsewhere, and names in a
    /// store whose address is a URL. The environment variable `ONNX_ML_BRIDGE_LOCAL_ONLY=1` does the same.
    pub local_only: bool,
}

impl Default for BridgeOptions {
    fn default() -> Self {
        let (text_limit, beam_limit) = (DEFAULT_TEXT_LIMIT, DEFAULT_BEAM_LIMIT);
        let max_waiting = DEFAULT_MAX_WAITING;
        let (store, trusted_keys, local_only) = (None, Vec::new(), false);
        let (threads, memory_mb, timeout) = (None, None, None);
        Self { threads, memory_mb, max_waiting, text_limit, beam_limit, timeout, store, trusted_keys, local_only }
    }
}

impl BridgeOptions {
    /// Sets the number of threads of each model, 1 to 1,024.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = Some(threads);
        self
    }

    /// Limits the memory of all loaded models in MiB, at least 1.
    #[must_use]
    pub fn memory_mb(mut self, mebibytes: usize) -> Self {
        self.memory_mb = Some(mebibytes);
        self
    }

    /// Limits the calls that wait for one model, at least 1.
    #[must_use]
    pub fn max_waiting(mut self, calls: usize) -> Self {
        self.max_waiting = calls;
        self
    }

    /// Limits the size of a text in bytes of UTF-8.
    #[must_use]
    pub fn text_limit(mut self, bytes: usize) -> Self {
        self.text_limit = bytes;
        self
    }

    /// Limits texts x beams x `max_length` of one run of a summarizer.
    #[must_use]
    pub fn beam_limit(mut self, limit: usize) -> Self {
        self.beam_limit = limit;
        self
    }

    /// Sets the time limit of calls that pass none, above 0.
    #[must_use]
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = Some(limit);
        self
    }

    /// Sets the address of the store for models whose path is a name in a store.
    #[must_use]
    pub fn store(mut self, address: impl Into<String>) -> Self {
        self.store = Some(address.into());
        self
    }

    /// Adds a trusted key: a file with a public key in PEM (ECDSA on P-256).
    #[must_use]
    pub fn trusted_key(mut self, path: impl Into<PathBuf>) -> Self {
        self.trusted_keys.push(path.into());
        self
    }

    /// Sets whether what would leave this machine is refused.
    #[must_use]
    pub fn local_only(mut self, enabled: bool) -> Self {
        self.local_only = enabled;
        self
    }

    /// Whether what would leave this machine is refused, by the option or by the environment.
    pub(crate) fn is_local_only(&self) -> bool {
        self.local_only || std::env::var_os(LOCAL_ONLY).is_some_and(|value| !value.is_empty() && value != "0")
    }

    /// Checks that no number and no time limit is 0, and that there are not too many threads.
    ///
    /// # Errors
    /// `config`, with all problems at once.
    pub(crate) fn check(&self) -> Result<(), BridgeError> {
        let numbers = [
            ("threads", self.threads),
            ("memory_mb", self.memory_mb),
            ("max_waiting", Some(self.max_waiting)),
            ("text_limit", Some(self.text_limit)),
            ("beam_limit", Some(self.beam_limit)),
        ];
        let mut problems = number_problems(&numbers);
        if self.timeout.is_some_and(|limit| limit.is_zero()) {
            problems.push("timeout is 0 s, expected more than 0".to_owned());
        }
        if problems.is_empty() { Ok(()) } else { Err(BridgeError::config(problems.join("; "))) }
    }

    /// The options for opening models that these options result in.
    pub(crate) fn model_options(&self) -> ModelOptions {
        let mut options = ModelOptions::default();
        options.engine.threads = self.threads;
        options.limits = Limits { text: self.text_limit, beams: self.beam_limit, waiting: self.max_waiting };
        options
    }
}

/// Options of [`MlBridge::reload`](crate::MlBridge::reload).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct ReloadOptions {
    /// The directory of the new artifact; `None` for the one that is open, whose files were replaced.
    pub path: Option<PathBuf>,
    /// The SHA-256 of `manifest.json` that the new artifact must have, hexadecimal; `None` for that of
    /// [`Model::identity`](crate::Model), else any.
    pub expect_identity: Option<String>,
    /// The time limit of the checks and of the golden cases, above 0; `None` is no limit. It is looked at between two cases.
    /// JSON has seconds.
    #[serde(with = "seconds")]
    pub timeout: Option<Duration>,
}

impl ReloadOptions {
    /// Sets the directory of the new artifact.
    #[must_use]
    pub fn path(mut self, path: impl Into<PathBuf>) -> Self {
        self.path = Some(path.into());
        self
    }

    /// Sets the SHA-256 of `manifest.json` that the new artifact must have.
    #[must_use]
    pub fn expect_identity(mut self, identity: impl Into<String>) -> Self {
        self.expect_identity = Some(identity.into());
        self
    }

    /// Sets the time limit of the checks and of the golden cases, above 0.
    #[must_use]
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = Some(limit);
        self
    }
}

/// What is wrong with numbers by name: none may be 0, and `threads` and `workers` have an upper limit.
pub(crate) fn number_problems(numbers: &[(&str, Option<usize>)]) -> Vec<String> {
    let problem = |(name, value): &(&str, Option<usize>)| match *value {
        Some(0) => Some(format!("{name} is 0, expected at least 1")),
        Some(value) if value > MAX_THREADS && ["threads", "workers"].contains(name) => {
            Some(format!("{name} is {value}, expected at most {MAX_THREADS}"))
        }
        Some(_) | None => None,
    };
    numbers.iter().filter_map(problem).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_are_refused_together() {
        assert_eq!(BridgeOptions::default().threads(1).timeout(Duration::from_nanos(1)).check(), Ok(()));
        let zeros = BridgeOptions::default()
            .threads(0)
            .memory_mb(0)
            .max_waiting(0)
            .text_limit(0)
            .beam_limit(0)
            .timeout(Duration::ZERO);
        let error = zeros.check().expect_err("zeros");
        assert_eq!((error.code().as_str(), error.to_string().matches("is 0").count()), ("config", 6));
    }

    #[test]
    fn too_many_threads_are_refused() {
        assert_eq!(BridgeOptions::default().threads(MAX_THREADS).max_waiting(MAX_THREADS + 1).check(), Ok(()));
        let error = BridgeOptions::default().threads(MAX_THREADS + 1).check().expect_err("too many");
        assert!(error.to_string().contains("threads is 1025, expected at most 1024"), "{error}");
    }

    #[test]
    fn json_has_seconds() {
        let json = r#"{"threads":2,"memory_mb":null,"max_waiting":9,"text_limit":9,"beam_limit":8192,"timeout":1.5,"store":null,"trusted_keys":[],"local_only":false}"#;
        let options =
            BridgeOptions::default().threads(2).max_waiting(9).text_limit(9).timeout(Duration::from_millis(1500));
        assert_eq!(serde_json::to_string(&options).expect("JSON"), json);
        assert_eq!(serde_json::from_str::<BridgeOptions>(json).expect("options"), options);
        assert_eq!(serde_json::from_str::<BridgeOptions>("{}").expect("options"), BridgeOptions::default());
        for wrong in [r#"{"x":1}"#, r#"{"timeout":-1}"#, r#"{"timeout":"1"}"#] {
            assert!(serde_json::from_str::<BridgeOptions>(wrong).is_err(), "{wrong}");
        }
    }
}
