//! A store in a bucket or behind a web server.

use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream;
use object_store::path::Path;
use object_store::{Error, ObjectStore};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};

use super::client::{Url, objects};
use super::requests::{Problem, first_line, get, has_ranges, send_part, send_rest};
use crate::BridgeError;
use crate::runtime::blocking::block_on;

/// The size of a part of a file that one request asks for.
pub(super) const PART: u64 = 8 << 20;
/// The number of parts that are requested at a time.
const PARTS: usize = 4;
/// The number of records that are requested at a time.
const RECORDS: usize = 32;
/// A piece of a file as the network had it.
pub(crate) type Piece = Bytes;
/// The pieces of a part, or the error that ended them.
type Pieces = mpsc::UnboundedReceiver<Result<Piece, Error>>;

/// The bytes of an object in a range.
pub(crate) struct Part {
    pub(crate) key: String,
    pub(crate) range: Range<u64>,
}

/// The parts of a range. They are computed one by one, because a manifest can have files of any size.
pub(super) fn split(range: Range<u64>) -> impl Iterator<Item = Range<u64>> {
    let end = range.end;
    range.step_by(PART as usize).map(move |start| start..end.min(start.saturating_add(PART)))
}

/// Parts of objects that were requested, in order.
pub(crate) struct Parts<'a> {
    remote: &'a Remote,
    receiver: mpsc::Receiver<(Part, Pieces)>,
}

impl Parts<'_> {
    /// Waits for the next part, and passes its pieces on as they come.
    ///
    /// # Errors
    /// `store`; `internal`, if there is none or its request panicked; the errors of `write`.
    pub(crate) fn next(&mut self, mut write: impl FnMut(Piece) -> Result<(), BridgeError>) -> Result<(), BridgeError> {
        let missing = || BridgeError::Internal { problem: format!("{} has no more parts", self.remote.address) };
        let (Part { key, mut range }, mut pieces) = block_on(self.receiver.recv()).ok_or_else(missing)?;
        while let Some(piece) = block_on(pieces.recv()) {
            let piece = piece.map_err(|error| self.remote.failure(&key, Problem::of(error)))?;
            range.start += piece.len() as u64;
            write(piece)?;
        }
        if range.is_empty() { Ok(()) } else { Err(missing()) }
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
        let got = self.wait(has_ranges(Arc::clone(&self.objects), self.path(key)?))?;
        got.map_err(|problem| self.failure(key, problem))
    }

    /// Requests objects in parts, several at a time. They come in order.
    ///
    /// # Errors
    /// `store`, for a key that the store cannot have.
    pub(crate) fn parts(&self, wholes: Vec<Part>) -> Result<Parts<'_>, BridgeError> {
        let located = |whole: Part| self.path(&whole.key).map(|path| (path, whole));
        let wholes = wholes.into_iter().map(located).collect::<Result<Vec<(Path, Part)>, BridgeError>>()?;
        let (sender, receiver) = mpsc::channel(PARTS - 1); // one more is being read
        let objects = Arc::clone(&self.objects);
        self.spawn(async move {
            for (path, Part { key, range }) in wholes {
                for range in split(range) {
                    let (pieces, received) = mpsc::unbounded_channel();
                    if sender.send((Part { key: key.clone(), range: range.clone() }, received)).await.is_err() {
                        return; // nobody waits for it
                    }
                    tokio::spawn(send_part(Arc::clone(&objects), path.clone(), range, pieces));
                }
            }
        });
        Ok(Parts { remote: self, receiver })
    }

    /// Reads the bytes of an object in a range from a server that sends whole objects, and passes them on in pieces.
    ///
    /// # Errors
    /// `store`, or the errors of `write`.
    pub(crate) fn stream(
        &self,
        key: &str,
        range: Range<u64>,
        mut write: impl FnMut(Piece) -> Result<(), BridgeError>,
    ) -> Result<(), BridgeError> {
        if range.is_empty() {
            return Ok(());
        }
        let (sender, mut receiver) = mpsc::channel(1);
        let (objects, path) = (Arc::clone(&self.objects), self.path(key)?);
        self.spawn(async move { send_rest(objects, path, range, sender).await });
        while let Some(piece) = block_on(receiver.recv()) {
            write(piece.map_err(|error| self.failure(key, Problem::of(error)))?)?;
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

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use object_store::ObjectStoreExt;
    use object_store::memory::InMemory;

    use super::*;

    #[test]
    fn parts_of_an_endless_object_come_one_by_one() {
        let (objects, runtime) = (Arc::new(InMemory::new()), Runtime::new().expect("a runtime"));
        let content = vec![7; PART as usize + 5];
        runtime.block_on(objects.put(&Path::from("object"), content.into())).expect("an object");
        let (address, prefix) = ("memory".to_owned(), Path::default());
        let remote = Remote { objects, prefix, address, can_list: true, runtime: Some(runtime) };
        let (started, mut sizes) = (Instant::now(), Vec::new());
        let mut parts = remote.parts(vec![Part { key: "object".to_owned(), range: 0..1 << 47 }]).expect("parts");
        let mut next = || {
            let mut size = 0;
            let result = parts.next(|piece| {
                size += piece.len();
                Ok(())
            });
            sizes.push(size);
            result.map_err(|error| error.code().as_str())
        };
        assert_eq!(next(), Ok(()));
        assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
        assert_eq!(next(), Err("store"));
        assert_eq!(sizes, [PART as usize, 5]);
    }
}
