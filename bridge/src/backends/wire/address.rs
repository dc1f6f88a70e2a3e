//! [`Address`]: the base URL of a server.

use std::net::IpAddr;

use reqwest::Url;

use crate::BridgeError;
use crate::tasks::Location;

/// The host whose servers take `max_completion_tokens` instead of `max_tokens`.
const OPENAI: &str = "api.openai.com";

/// The base URL of a server, without a slash at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    base: String,
    host: String,
    is_loopback: bool,
}

impl Address {
    /// Checks a base URL: http or https, with a host, without a user, a query or a fragment.
    ///
    /// # Errors
    /// `config`. The message does not repeat a URL with a user, because that may be a password.
    pub(crate) fn parse(url: &str) -> Result<Self, BridgeError> {
        let parsed = Url::parse(url).map_err(|error| BridgeError::config(format!("base_url is not a URL: {error}")))?;
        let has_user = !parsed.username().is_empty() || parsed.password().is_some();
        let is_web = matches!(parsed.scheme(), "http" | "https");
        let Some(host) = parsed.host_str().filter(|host| is_web && !host.is_empty() && !has_user) else {
            return Err(refused("is not an http or https URL without a user"));
        };
        if parsed.query().is_some() || parsed.fragment().is_some() {
            return Err(refused("has a query or a fragment"));
        }
        let host = host.trim_matches(['[', ']']).to_owned();
        let is_loopback = host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        let base = parsed.as_str().trim_end_matches('/').to_owned();
        Ok(Self { base, host, is_loopback })
    }

    /// The address of requests over a Unix socket; the host is not looked up.
    #[cfg(feature = "llama-cpp")]
    pub(crate) fn of_socket() -> Self {
        Self { base: "http://llama-cpp/v1".to_owned(), host: "llama-cpp".to_owned(), is_loopback: true }
    }

    /// The URL of a path below the base URL, such as `/embeddings`, or with two slashes of one below the root of llama.cpp's
    /// server, such as `//health`.
    pub(crate) fn url(&self, path: &str) -> String {
        match path.strip_prefix("//") {
            Some(path) => format!("{}/{path}", self.base.trim_end_matches("/v1")),
            None => format!("{}{path}", self.base),
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.base
    }

    /// Whether the host is a literal of a loopback address: 127.0.0.0/8 or ::1. `localhost` is a name.
    pub(crate) fn is_loopback(&self) -> bool {
        self.is_loopback
    }

    /// The name of the limit of an answer's tokens: `max_completion_tokens` for OpenAI, whose reasoning models refuse
    /// `max_tokens`; other servers may ignore it.
    pub(crate) fn max_tokens_key(&self) -> &'static str {
        if self.host == OPENAI { "max_completion_tokens" } else { "max_tokens" }
    }

    pub(crate) fn location(&self) -> Location {
        if self.is_loopback { Location::Machine } else { Location::Network }
    }

    /// Refuses an address that is not on this machine.
    ///
    /// # Errors
    /// `not_local`.
    pub(crate) fn check_local(&self) -> Result<(), BridgeError> {
        if self.is_loopback { Ok(()) } else { Err(BridgeError::NotLocal { what: format!("base_url {}", self.base) }) }
    }
}

fn refused(problem: &str) -> BridgeError {
    BridgeError::config(format!("base_url {problem}: expected a URL such as https://api.openai.com/v1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_literals_of_loopback_addresses_are_local() {
        for (url, is_local) in [
            ("http://127.0.0.1:8080/v1/", true),
            ("http://127.9.9.9", true),
            ("http://[::1]:80/v1", true),
            ("http://localhost/v1", false),
            ("http://127.0.0.1.example.com/v1", false),
            ("https://api.openai.com/v1", false),
            ("http://[::ffff:127.0.0.1]/", false),
            ("http://10.0.0.1/", false),
        ] {
            let address = Address::parse(url).expect(url);
            assert_eq!(address.check_local().is_ok(), is_local, "{url}");
        }
        assert_eq!(Address::parse("http://127.0.0.1:8080/v1/").expect("a URL").url("/x"), "http://127.0.0.1:8080/v1/x");
    }

    #[test]
    fn other_urls_are_refused_and_passwords_are_not_repeated() {
        for url in
            ["", "api.openai.com", "ftp://x/", "http://u:canary@x/", "http://canary@x/", "http://x/?a", "http://x/#a"]
        {
            let error = Address::parse(url).expect_err(url);
            assert_eq!(error.code().as_str(), "config", "{url}");
            assert!(!error.to_string().contains("canary"), "{error}");
        }
    }

    #[test]
    fn openai_has_its_own_limit_of_tokens() {
        let key = |url| Address::parse(url).expect("a URL").max_tokens_key();
        assert_eq!(key("https://api.openai.com/v1"), "max_completion_tokens");
        assert_eq!(key("https://api.openai.com.example.org/v1"), "max_tokens");
    }
}
