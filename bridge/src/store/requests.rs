//! Requests to a bucket or a web server.

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

/// Requests a part of an object, again after an error.
pub(super) async fn get_part_again(
    objects: &Arc<dyn ObjectStore>,
    path: Path,
    range: Range<u64>,
) -> Result<Piece, Error> {
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

pub(super) async fn get_part(objects: &Arc<dyn ObjectStore>, path: &Path, range: Range<u64>) -> Result<Piece, Error> {
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
            bytes[skipped as usize..].to_vec()
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
