//! Requests to a bucket or a web server.

use std::mem;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use object_store::path::Path;
use object_store::{Error, GetOptions, GetRange, GetResult, ObjectStore, ObjectStoreExt};
use tokio::sync::mpsc;

use super::remote::Piece;

/// How often a part is requested if its answer is cut, and the pause before the second time.
const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(100);
/// Pieces with fewer bytes are joined, because each keeps a buffer of the connection, which can be six times as large.
const SMALL: usize = 64 << 10;
/// Why a request failed. The error of object_store is not kept as a cause: it repeats the whole request, and the query of a
/// request to Azure has its signature.
pub(super) struct Problem(pub(super) String);

impl Problem {
    pub(super) fn of(error: Error) -> Self {
        let line = first_line(&error.to_string());
        let mut words = line.split(' ').map(|word| word.split_once('?').map_or(word, |(word, _)| word));
        Self(
            words.next().map_or_else(String::new, |first| words.fold(first.to_owned(), |text, word| text + " " + word)),
        )
    }
}

pub(super) fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

pub(super) async fn get(objects: Arc<dyn ObjectStore>, path: Path, limit: u64) -> Result<Option<Vec<u8>>, Problem> {
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

/// Whether a server sends parts of objects.
pub(super) async fn has_ranges(objects: Arc<dyn ObjectStore>, path: Path) -> Result<bool, Problem> {
    match objects.get_range(&path, 0..1).await {
        Err(Error::NotSupported { .. }) => Ok(false),
        got => got.map(|_| true).map_err(Problem::of),
    }
}

/// Sends the pieces of a part of an object as they come. What an error cut off is requested again.
pub(super) async fn send_part(
    objects: Arc<dyn ObjectStore>,
    path: Path,
    range: Range<u64>,
    sender: mpsc::UnboundedSender<Result<Piece, Error>>,
) {
    let mut sending = Sending { rest: range, joined: Vec::new(), sender };
    let mut attempt = 1;
    while let Err(error) = send_pieces(&objects, &path, &mut sending).await {
        if attempt == ATTEMPTS || matches!(error, Error::NotFound { .. }) || sending.sender.is_closed() {
            let _ = sending.sender.send(Err(error));
            return;
        }
        tokio::time::sleep(PAUSE * attempt).await;
        attempt += 1;
    }
}

async fn send_pieces(objects: &Arc<dyn ObjectStore>, path: &Path, sending: &mut Sending) -> Result<(), Error> {
    let range = Some(GetRange::Bounded(sending.rest.clone()));
    let mut pieces = objects.get_opts(path, GetOptions { range, ..GetOptions::default() }).await?.into_stream();
    while !sending.rest.is_empty()
        && !sending.sender.is_closed()
        && let Some(piece) = pieces.next().await
    {
        sending.push(piece?);
    }
    sending.send_joined();
    let is_short = !sending.rest.is_empty() && !sending.sender.is_closed();
    let short = || Error::Generic { store: "a store", source: "the answer ended too early".into() };
    if is_short { Err(short()) } else { Ok(()) }
}

/// Sends the pieces of a part, small ones joined.
struct Sending {
    /// What has not come yet.
    rest: Range<u64>,
    joined: Vec<u8>,
    sender: mpsc::UnboundedSender<Result<Piece, Error>>,
}

impl Sending {
    fn push(&mut self, piece: Piece) {
        self.rest.start += piece.len() as u64;
        if self.joined.len() + piece.len() > SMALL {
            self.send_joined();
        }
        if piece.len() >= SMALL {
            let _ = self.sender.send(Ok(piece));
            return;
        }
        self.joined.reserve_exact(SMALL - self.joined.len());
        self.joined.extend_from_slice(&piece);
    }

    fn send_joined(&mut self) {
        if !self.joined.is_empty() {
            let _ = self.sender.send(Ok(mem::take(&mut self.joined).into()));
        }
    }
}

/// Sends the bytes of a range of an object from a server without ranges, which sends the whole object.
pub(super) async fn send_rest(
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
            bytes.slice(skipped as usize..)
        });
        let is_last = piece.is_err() || position >= range.end;
        if sender.send(piece).await.is_err() || is_last {
            return;
        }
    }
}

/// Whether an error means that an object is missing, and not its bucket.
fn is_missing(error: &Error) -> bool {
    let text = error.to_string();
    let is_bucket =
        ["NoSuchBucket", "ContainerNotFound", "bucket does not exist"].iter().any(|name| text.contains(name));
    matches!(error, Error::NotFound { .. }) && !is_bucket
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_pieces_are_joined_in_order() {
        let (sender, mut receiver) = mpsc::unbounded_channel();
        let mut sending = Sending { rest: 0..1_000_000, joined: Vec::new(), sender };
        let lengths = [1000, SMALL - 1000, 1, SMALL, SMALL - 1, 2, 5 * SMALL, 7];
        let mut bytes = (0..=255).cycle();
        for length in lengths {
            sending.push(bytes.by_ref().take(length).collect());
        }
        sending.send_joined();
        assert_eq!(sending.rest.start, lengths.iter().sum::<usize>() as u64);
        drop(sending);
        let sent: Vec<Piece> = std::iter::from_fn(|| receiver.blocking_recv()).filter_map(Result::ok).collect();
        let sizes: Vec<usize> = sent.iter().map(Piece::len).collect();
        assert_eq!(sizes, [SMALL, 1, SMALL, SMALL - 1, 2, 5 * SMALL, 7]);
        let expected = (0..=255_u8).cycle().take(lengths.iter().sum());
        assert!(sent.concat().into_iter().eq(expected));
    }

    #[test]
    fn an_answer_that_is_too_short_is_an_error() {
        let objects: Arc<dyn ObjectStore> = Arc::new(object_store::memory::InMemory::new());
        let (sender, mut receiver) = mpsc::unbounded_channel();
        tokio::runtime::Runtime::new().expect("a runtime").block_on(async {
            objects.put(&Path::from("object"), vec![7; 5].into()).await.expect("an object");
            send_part(Arc::clone(&objects), Path::from("object"), 0..10, sender).await;
        });
        let mut sent = std::iter::from_fn(|| receiver.blocking_recv());
        assert_eq!(sent.next().and_then(Result::ok), Some(Piece::from(vec![7; 5])));
        assert!(sent.next().is_some_and(|end| end.is_err()));
        assert!(sent.next().is_none());
    }
}
