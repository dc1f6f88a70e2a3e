//! [`ApiServer`]: what an application says of a server.

use std::time::Duration;

use super::wire::Limits;
use crate::BridgeError;

/// The base URL of OpenAI's own servers.
const OPENAI: &str = "https://api.openai.com/v1";

/// A server with OpenAI's protocol, and how it is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ApiServer {
    /// The base URL: http or https, without user, query and fragment.
    pub base_url: String,
    /// The name of the environment variable that has the key; `None` sends no key.
    pub api_key_env: Option<String>,
    /// How often one request is sent at most, 1 to 10.
    pub max_attempts: u32,
    /// Limit on the requests at the same time, 1 to 1024.
    pub max_in_flight: usize,
    /// Spaces the starts of requests evenly, 1 to 1,000,000; `None` is no limit.
    pub requests_per_minute: Option<u32>,
    /// The time limit of a connection.
    pub connect_timeout: Duration,
    /// The time in which a request must bring the next bytes.
    pub read_timeout: Duration,
    /// The longest random wait before a request is sent again.
    pub max_backoff: Duration,
}

impl Default for ApiServer {
    fn default() -> Self {
        let Limits { max_attempts, max_backoff, connect_timeout, read_timeout } = Limits::default();
        let (base_url, api_key_env, max_in_flight, requests_per_minute) = (OPENAI.to_owned(), None, 8, None);
        Self {
            base_url,
            api_key_env,
            max_attempts,
            max_in_flight,
            requests_per_minute,
            connect_timeout,
            read_timeout,
            max_backoff,
        }
    }
}

impl ApiServer {
    /// The server with a base URL.
    pub fn new(base_url: impl Into<String>) -> Self {
        Self { base_url: base_url.into(), ..Self::default() }
    }

    /// Sets the name of the environment variable that has the key.
    #[must_use]
    pub fn api_key_env(mut self, variable: impl Into<String>) -> Self {
        self.api_key_env = Some(variable.into());
        self
    }

    /// Limits how often one request is sent, 1 to 10.
    #[must_use]
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = attempts;
        self
    }

    /// Limits the requests at the same time, 1 to 1024.
    #[must_use]
    pub fn max_in_flight(mut self, requests: usize) -> Self {
        self.max_in_flight = requests;
        self
    }

    /// Spaces the starts of requests evenly, 1 to 1,000,000.
    #[must_use]
    pub fn requests_per_minute(mut self, requests: u32) -> Self {
        self.requests_per_minute = Some(requests);
        self
    }

    /// Sets the time limit of a connection.
    #[must_use]
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.connect_timeout = limit;
        self
    }

    /// Sets the time in which a request must bring the next bytes.
    #[must_use]
    pub fn read_timeout(mut self, limit: Duration) -> Self {
        self.read_timeout = limit;
        self
    }

    /// Sets the longest random wait before a request is sent again.
    #[must_use]
    pub fn max_backoff(mut self, limit: Duration) -> Self {
        self.max_backoff = limit;
        self
    }

    /// Checks everything but the base URL and the key.
    ///
    /// # Errors
    /// `config`, with all problems at once.
    pub(super) fn check(&self) -> Result<(), BridgeError> {
        let ranges = [
            ("max_attempts", u64::from(self.max_attempts), 10),
            ("max_in_flight", self.max_in_flight as u64, 1024),
            ("requests_per_minute", u64::from(self.requests_per_minute.unwrap_or(1)), 1_000_000),
        ];
        let wrong = ranges.iter().filter(|(_, value, max)| *value == 0 || value > max);
        let mut problems: Vec<String> =
            wrong.map(|(name, value, max)| format!("{name} is {value}, expected 1 to {max}")).collect();
        let times = [
            ("connect_timeout", self.connect_timeout),
            ("read_timeout", self.read_timeout),
            ("max_backoff", self.max_backoff),
        ];
        let zero = times.iter().filter(|(_, time)| time.is_zero());
        problems.extend(zero.map(|(name, _)| format!("{name} is 0 s, expected more than 0")));
        if problems.is_empty() { Ok(()) } else { Err(BridgeError::config(problems.join("; "))) }
    }

    pub(super) fn limits(&self) -> Limits {
        let Self { max_attempts, max_backoff, connect_timeout, read_timeout, .. } = *self;
        Limits { max_attempts, max_backoff, connect_timeout, read_timeout }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_invalid_fields_are_in_one_error() {
        let server = ApiServer::default().max_attempts(11).max_in_flight(0).read_timeout(Duration::ZERO);
        let error = server.check().expect_err("three problems");
        assert_eq!((error.code().as_str(), error.to_string().matches("expected").count()), ("config", 3), "{error}");
        assert_eq!(ApiServer::default().check(), Ok(()));
    }
}
