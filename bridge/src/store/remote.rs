//! A store in a bucket or behind a web server.

use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::StreamExt;
use futures_util::stream;
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::http::HttpBuilder;
use object_store::path::Path;
use object_store::{
    ClientOptions, Error, GetOptions, GetRange, GetResult, HeaderMap, HeaderValue, ObjectStore, ObjectStoreExt,
    RetryConfig,
};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};

use crate::BridgeError;
use crate::runtime::blocking::block_on;

/// The size of a part of a file that one request asks for.
pub(super) const PART: u64 = 8 << 20;
/// The number of parts that are requested at a time.
const PARTS: usize = 4;
/// The number of records that are requested at a time.
const RECORDS: usize = 32;
/// How often a part is requested if its answer is cut, and the pause before the second time.
const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(100);
/// How often object_store repeats a request that gets no answer, and for how long.
const RETRIES: usize = 4;
const RETRY_TIME: Duration = Duration::from_secs(60);
/// A file without ranges is one long answer: not its time is limited, but the time without any byte.
const TIMEOUT: Duration = Duration::from_secs(7 * 24 * 3600);
const READ_TIMEOUT: Duration = Duration::from_secs(60);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The bytes of a piece of a file.
pub(crate) type Piece = Vec<u8>;

/// The bytes of an object in a range.
pub(crate) struct Part {
    pub(crate) key: String,
    pub(crate) range: Range<u64>,
}

/// Parts of objects that were requested, in order.
pub(crate) struct Parts<'a> {
    remote: &'a Remote,
    /// The keys of the parts that are not received yet.
    keys: std::vec::IntoIter<String>,
    receiver: mpsc::Receiver<Result<Piece, Error>>,
}

impl Parts<'_> {
    /// Waits for the next part.
    ///
    /// # Errors
    /// `store`; `internal`, if there is none.
    pub(crate) fn next(&mut self) -> Result<Piece, BridgeError> {
        let missing = || BridgeError::Internal { problem: format!("{} has no more parts", self.remote.address) };
        let key = self.keys.next().ok_or_else(missing)?;
        let part = block_on(self.receiver.recv()).ok_or_else(missing)?;
        part.map_err(|error| self.remote.failure(&key, Problem::of(error)))
    }
}

/// Reads the objects of a bucket or a web server by key.
pub(crate) struct Remote {
    objects: Arc<dyn ObjectStore>,
    /// The prefix of all keys in the bucket.
    prefix: Path,
    /// The address without credentials.
    address: String,
    can_list: bool,
    /// Runs the requests; the calls of this type block, inside of another runtime, too. `None` only while it is dropped.
    runtime: Option<Runtime>,
}

impl Remote {
    /// The store at a URL. Credentials, regions and endpoints of buckets, and proxies, come from the variables of
    /// object_store, such as `AWS_ACCESS_KEY_ID`, `AWS_REGION` and `AWS_ENDPOINT`.
    ///
    /// # Errors
    /// `config` for a URL of another form, `store` for variables that object_store refuses.
    pub(crate) fn open(url: &str) -> Result<Self, BridgeError> {
        let url = Url::parse(url)?;
        let (address, is_web) = (url.address(), url.is_web());
        let refuse = |text: String| BridgeError::store(format!("the store {address} cannot be opened: {text}"));
        let prefix = Path::parse(if is_web { "" } else { url.path });
        let prefix = prefix.map_err(|error| refuse(error.to_string()))?;
        let objects = objects(&url).map_err(|error| refuse(first_line(&error.to_string())))?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = Some(runtime.map_err(|error| refuse(error.to_string()))?);
        Ok(Self { objects, prefix, address, can_list: !is_web, runtime })
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// A small object; `None` if it is missing.
    ///
    /// # Errors
    /// `store`, if it is larger than the limit or the request fails.
    pub(crate) fn get(&self, key: &str, limit: u64) -> Result<Option<Vec<u8>>, BridgeError> {
        let got = self.wait(get(Arc::clone(&self.objects), self.path(key)?, limit))?;
        got.map_err(|problem| self.failure(key, problem))
    }

    /// Small objects in the order of their keys; `None` for those that are missing.
    ///
    /// # Errors
    /// `store`.
    pub(crate) fn get_all(&self, keys: &[String], limit: u64) -> Result<Vec<Option<Vec<u8>>>, BridgeError> {
        let paths = keys.iter().map(|key| self.path(key)).collect::<Result<Vec<Path>, BridgeError>>()?;
        let objects = Arc::clone(&self.objects);
        let requests = paths.into_iter().map(move |path| get(Arc::clone(&objects), path, limit));
        let got: Vec<_> = self.wait(stream::iter(requests).buffered(RECORDS).collect())?;
        let named = keys.iter().zip(got);
        named.map(|(key, got)| got.map_err(|problem| self.failure(key, problem))).collect()
    }

    /// The names directly below a prefix, sorted.
    ///
    /// # Errors
    /// `store`, also for a web server, which cannot list names.
    pub(crate) fn names(&self, prefix: &str) -> Result<Vec<String>, BridgeError> {
        if !self.can_list {
            return Err(BridgeError::store(format!(
                "{} is a web server, which cannot list names: name a version or a tag, or use the bucket",
                self.address
            )));
        }
        let (objects, path) = (Arc::clone(&self.objects), self.path(prefix)?);
        let listed = self.wait(async move { objects.list_with_delimiter(Some(&path)).await })?;
        let listed = listed.map_err(|error| self.failure(prefix, Problem::of(error)))?;
        let paths = listed.objects.into_iter().map(|object| object.location).chain(listed.common_prefixes);
        let mut names: Vec<String> = paths.filter_map(|path| path.filename().map(str::to_owned)).collect();
        names.sort();
        Ok(names)
    }

    /// Whether the store sends parts of objects; `key` is an object that is not empty.
    ///
    /// # Errors
    /// `store`.
    pub(crate) fn has_ranges(&self, key: &str) -> Result<bool, BridgeError> {
        if self.can_list {
            return Ok(true); // every bucket does
        }
        let (objects, path) = (Arc::clone(&self.objects), self.path(key)?);
        match self.wait(async move { get_part(&objects, &path, 0..1).await })? {
            Err(Error::NotSupported { .. }) => Ok(false),
            got => got.map(|_| true).map_err(|error| self.failure(key, Problem::of(error))),
        }
    }

    /// Requests parts of objects, several at a time. They come in order.
    ///
    /// # Errors
    /// `store`, for a key that the store cannot have.
    pub(crate) fn parts(&self, parts: Vec<Part>) -> Result<Parts<'_>, BridgeError> {
        let keys = parts.iter().map(|part| part.key.clone()).collect::<Vec<String>>().into_iter();
        let mut requests = Vec::new();
        for Part { key, range } in parts {
            requests.push((self.path(&key)?, range));
        }
        let (sender, receiver) = mpsc::channel(1);
        let objects = Arc::clone(&self.objects);
        self.spawn(async move {
            let requests = requests.into_iter().map(|(path, range)| get_part_again(&objects, path, range));
            let mut parts = stream::iter(requests).buffered(PARTS);
            while let Some(part) = parts.next().await {
                if sender.send(part).await.is_err() {
                    return; // nobody waits for it
                }
            }
        });
        Ok(Parts { remote: self, keys, receiver })
    }

    /// Reads the bytes of an object in a range from a server that sends whole objects, and passes them on in pieces.
    ///
    /// # Errors
    /// `store`, or the errors of `write`.
    pub(crate) fn stream(
        &self,
        key: &str,
        range: Range<u64>,
        mut write: impl FnMut(&[u8]) -> Result<(), BridgeError>,
    ) -> Result<(), BridgeError> {
        if range.is_empty() {
            return Ok(());
        }
        let (sender, mut receiver) = mpsc::channel(1);
        let (objects, path) = (Arc::clone(&self.objects), self.path(key)?);
        self.spawn(async move { send_rest(objects, path, range, sender).await });
        while let Some(piece) = block_on(receiver.recv()) {
            write(&piece.map_err(|error| self.failure(key, Problem::of(error)))?)?;
        }
        Ok(())
    }

    fn path(&self, key: &str) -> Result<Path, BridgeError> {
        let prefix = self.prefix.as_ref();
        let text = if prefix.is_empty() { key.to_owned() } else { format!("{prefix}/{key}") };
        Path::parse(text).map_err(|error| BridgeError::store(format!("{}: {key}: {error}", self.address)))
    }

    fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        if let Some(runtime) = &self.runtime {
            runtime.spawn(future);
        }
    }

    /// Runs a future on the runtime of the store and waits for it.
    ///
    /// # Errors
    /// `internal`, if the future panics.
    fn wait<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> Result<T, BridgeError> {
        let (sender, receiver) = oneshot::channel();
        self.spawn(async move {
            let _ = sender.send(future.await);
        });
        let stopped = |_| BridgeError::Internal { problem: format!("a request to {} panicked", self.address) };
        block_on(receiver).map_err(stopped)
    }

    fn failure(&self, key: &str, problem: Problem) -> BridgeError {
        let Problem(text) = problem;
        let remedy = "check the address, the network and the credentials in the environment";
        BridgeError::store(format!("{}: cannot read {key}: {text}; {remedy}", self.address))
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Remote").field(&self.address).finish()
    }
}

impl Drop for Remote {
    /// Leaves the threads of the runtime alone: waiting for them panics inside of another runtime.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Why a request failed. The error of object_store is not kept as a cause: it repeats the whole request, and the query of a
/// request to Azure has its signature.
struct Problem(String);

impl Problem {
    fn of(error: Error) -> Self {
        let line = first_line(&error.to_string());
        let mut words = line.split(' ').map(|word| word.split_once('?').map_or(word, |(word, _)| word));
        Self(
            words.next().map_or_else(String::new, |first| words.fold(first.to_owned(), |text, word| text + " " + word)),
        )
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

async fn get(objects: Arc<dyn ObjectStore>, path: Path, limit: u64) -> Result<Option<Vec<u8>>, Problem> {
    let object = match objects.get(&path).await {
        Err(error) if is_missing(&error) => return Ok(None),
        object => object.map_err(Problem::of)?,
    };
    let mut bytes = Vec::new();
    let mut pieces = object.into_stream();
    while let Some(piece) = pieces.next().await {
        bytes.extend_from_slice(&piece.map_err(Problem::of)?);
        if bytes.len() as u64 > limit {
            return Err(Problem(format!("it has more than {limit} bytes")));
        }
    }
    Ok(Some(bytes))
}

/// Requests a part of an object, again after an error.
async fn get_part_again(objects: &Arc<dyn ObjectStore>, path: Path, range: Range<u64>) -> Result<Piece, Error> {
    let mut attempt = 1;
    loop {
        match get_part(objects, &path, range.clone()).await {
            Err(error) if attempt < ATTEMPTS && !matches!(error, Error::NotFound { .. }) => {
                tokio::time::sleep(PAUSE * attempt).await;
                attempt += 1;
            }
            part => return part,
        }
    }
}

async fn get_part(objects: &Arc<dyn ObjectStore>, path: &Path, range: Range<u64>) -> Result<Piece, Error> {
    let size = range.end - range.start;
    let options = GetOptions { range: Some(GetRange::Bounded(range)), ..GetOptions::default() };
    // `bytes()` of the answer would need twice the memory, because it joins the pieces at the end.
    let mut pieces = objects.get_opts(path, options).await?.into_stream();
    let mut part = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
    while let Some(piece) = pieces.next().await {
        part.extend_from_slice(&piece?);
    }
    Ok(part)
}

/// Sends the bytes of a range of an object from a server without ranges, which sends the whole object.
async fn send_rest(
    objects: Arc<dyn ObjectStore>,
    path: Path,
    range: Range<u64>,
    sender: mpsc::Sender<Result<Piece, Error>>,
) {
    let mut pieces = match objects.get(&path).await.map(GetResult::into_stream) {
        Ok(pieces) => pieces,
        Err(error) => {
            let _ = sender.send(Err(error)).await;
            return;
        }
    };
    let mut position = 0;
    while let Some(piece) = pieces.next().await {
        let piece = piece.map(|bytes| {
            let skipped = range.start.saturating_sub(position).min(bytes.len() as u64);
            position += bytes.len() as u64;
            bytes[skipped as usize..].to_vec()
        });
        let is_last = piece.is_err() || position >= range.end;
        if sender.send(piece).await.is_err() || is_last {
            return;
        }
    }
}

fn shared(objects: impl ObjectStore) -> Arc<dyn ObjectStore> {
    Arc::new(objects)
}

fn retries() -> RetryConfig {
    RetryConfig { max_retries: RETRIES, retry_timeout: RETRY_TIME, ..RetryConfig::default() }
}

/// Whether an error means that an object is missing, and not its bucket.
fn is_missing(error: &Error) -> bool {
    let text = error.to_string();
    let is_bucket =
        ["NoSuchBucket", "ContainerNotFound", "bucket does not exist"].iter().any(|name| text.contains(name));
    matches!(error, Error::NotFound { .. }) && !is_bucket
}

/// The client of a bucket or a web server.
fn objects(url: &Url<'_>) -> Result<Arc<dyn ObjectStore>, Error> {
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

/// The parts of the URL of a bucket or a web server.
struct Url<'a> {
    scheme: &'a str,
    /// The user and the password for a web server.
    credentials: Option<&'a str>,
    host: &'a str,
    path: &'a str,
}

impl<'a> Url<'a> {
    fn parse(url: &'a str) -> Result<Self, BridgeError> {
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

    fn is_web(&self) -> bool {
        matches!(self.scheme, "http" | "https")
    }

    /// The URL without credentials.
    fn address(&self) -> String {
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
    use super::*;

    #[test]
    fn addresses_have_no_credentials() {
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
