//! The clients of buckets and web servers, by the URL of a store.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::http::HttpBuilder;
use object_store::{ClientOptions, Error, HeaderMap, HeaderValue, ObjectStore, RetryConfig};

use crate::BridgeError;

/// How often object_store repeats a request that gets no answer, and for how long.
const RETRIES: usize = 4;
const RETRY_TIME: Duration = Duration::from_secs(60);
/// A file without ranges is one long answer: not its time is limited, but the time without any byte.
const TIMEOUT: Duration = Duration::from_secs(7 * 24 * 3600);
const READ_TIMEOUT: Duration = Duration::from_secs(60);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The client of a bucket or a web server.
pub(super) fn objects(url: &Url<'_>) -> Result<Arc<dyn ObjectStore>, Error> {
    let bucket = format!("{}://{}", url.scheme, url.host);
    match url.scheme {
        "s3" => AmazonS3Builder::from_env().with_url(bucket).with_retry(retries()).build().map(shared),
        "gs" => GoogleCloudStorageBuilder::from_env().with_url(bucket).with_retry(retries()).build().map(shared),
        "az" => MicrosoftAzureBuilder::from_env().with_url(bucket).with_retry(retries()).build().map(shared),
        _ => {
            let mut options = ClientOptions::new().with_allow_http(url.scheme == "http").with_timeout(TIMEOUT);
            options = options.with_connect_timeout(CONNECT_TIMEOUT).with_read_timeout(READ_TIMEOUT);
            if let Some(header) = url.authorization() {
                let mut headers = HeaderMap::new();
                headers.insert("authorization", header);
                options = options.with_default_headers(headers);
            }
            let builder = HttpBuilder::new().with_url(url.address()).with_client_options(options);
            builder.with_retry(retries()).build().map(shared)
        }
    }
}

fn shared(objects: impl ObjectStore) -> Arc<dyn ObjectStore> {
    Arc::new(objects)
}

fn retries() -> RetryConfig {
    RetryConfig { max_retries: RETRIES, retry_timeout: RETRY_TIME, ..RetryConfig::default() }
}

/// The parts of the URL of a bucket or a web server.
pub(super) struct Url<'a> {
    scheme: &'a str,
    /// The user and the password for a web server.
    credentials: Option<&'a str>,
    host: &'a str,
    pub(super) path: &'a str,
}

impl<'a> Url<'a> {
    pub(super) fn parse(url: &'a str) -> Result<Self, BridgeError> {
        let (scheme, rest) = url.split_once("://").unwrap_or_default();
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (credentials, host) =
            authority.rsplit_once('@').map_or((None, authority), |(credentials, host)| (Some(credentials), host));
        let parsed = Self { scheme, credentials, host, path: path.trim_end_matches('/') };
        let is_valid = !host.is_empty() && !rest.contains(['?', '#']);
        let is_bucket = matches!(scheme, "s3" | "gs" | "az") && credentials.is_none();
        if is_valid && (is_bucket || parsed.is_web()) {
            return Ok(parsed);
        }
        let expected = "a folder, https://HOST/FOLDER, or s3://, gs:// or az://BUCKET/FOLDER with the credentials in \
                        the environment";
        Err(BridgeError::config(format!("the store is {scheme}://{host}, expected {expected}, without a query")))
    }

    pub(super) fn is_web(&self) -> bool {
        matches!(self.scheme, "http" | "https")
    }

    /// The URL without credentials.
    pub(super) fn address(&self) -> String {
        format!("{}://{}/{}", self.scheme, self.host, self.path).trim_end_matches('/').to_owned()
    }

    /// The header of basic authentication; `None` without credentials.
    fn authorization(&self) -> Option<HeaderValue> {
        let credentials = percent_decoded(self.credentials?);
        let mut header = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(credentials))).ok()?;
        header.set_sensitive(true);
        Some(header)
    }
}

fn percent_decoded(text: &str) -> Vec<u8> {
    let digits = |at: usize| u8::from_str_radix(text.get(at + 1..at + 3)?, 16).ok();
    let (mut decoded, mut at) = (Vec::new(), 0);
    while let Some(byte) = text.as_bytes().get(at) {
        let escaped = (*byte == b'%').then(|| digits(at)).flatten();
        decoded.push(escaped.unwrap_or(*byte));
        at += if escaped.is_some() { 3 } else { 1 };
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::super::remote::Remote;
    use super::*;

    #[test]
    pub(super) fn addresses_have_no_credentials() {
        let store = Remote::open("https://user:secret@models.example/a/b/").expect("a store");
        assert_eq!(store.address(), "https://models.example/a/b");
        assert!(!format!("{store:?}").contains("secret"));
        let url = Url::parse("https://user:a%20b@host").expect("a URL");
        assert_eq!(url.authorization().expect("a header"), "Basic dXNlcjphIGI=");
        for url in ["ftp://host/a", "https://", "https://host/a?token=secret", "s3:///a", "s3://secret@bucket"] {
            let error = Remote::open(url).expect_err(url);
            assert_eq!(error.code().as_str(), "config", "{url}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }
}
