//! Batches of the lines that have arrived on an input.

use std::io::{self, BufReader, Read};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use super::Failure;
use crate::BridgeError;
use crate::jsonl::{LineInput, next_line};
use crate::runtime::batch::refused_thread;

/// The maximum size of one read in bytes.
const READ_BYTES: usize = 1 << 16;
/// The maximum number of reads whose lines wait for a batch.
const READS_AHEAD: usize = 256;

/// The inputs of several lines, or the errors of invalid lines.
type Lines<I> = Vec<Result<I, BridgeError>>;

/// The batches of lines that have arrived.
pub(super) struct Batches<I> {
    receiver: Receiver<io::Result<Lines<I>>>,
    /// What was received after the current batch and is not a part of it.
    next: Option<io::Result<Lines<I>>>,
    max_batch: usize,
}

impl<I: LineInput + Send + 'static> Batches<I> {
    /// Starts a thread that reads the lines of an input. `limit` is the maximum size of a text in bytes of UTF-8.
    ///
    /// # Errors
    /// The system refuses the thread.
    pub(super) fn of(input: impl Read + Send + 'static, max_batch: usize, limit: usize) -> Result<Self, Failure> {
        let (sender, receiver) = sync_channel(READS_AHEAD);
        // The thread is not joined, because it may wait for input that never comes after the output was closed.
        let read = move || send_lines(BufReader::with_capacity(READ_BYTES, input), &sender, max_batch, limit);
        thread::Builder::new().spawn(read).map_err(|error| refused_thread(&error))?;
        Ok(Self { receiver, next: None, max_batch })
    }

    /// Waits for lines and adds those that are already available, up to `max_batch` lines; `None` at the end of the input.
    ///
    /// # Errors
    /// The input cannot be read. The lines before are in earlier batches.
    pub(super) fn next(&mut self) -> Result<Option<Lines<I>>, Failure> {
        let Some(first) = self.next.take().or_else(|| self.receiver.recv().ok()) else {
            return Ok(None);
        };
        let mut batch = first.map_err(|error| BridgeError::io(Path::new("standard input"), &error))?;
        while self.next.is_none() {
            match self.receiver.try_recv() {
                Ok(Ok(lines)) if batch.len() + lines.len() <= self.max_batch => batch.extend(lines),
                Ok(other) => self.next = Some(other),
                Err(_) => break,
            }
        }
        Ok(Some(batch))
    }
}

/// Sends every line until the input ends or the receiver is dropped. A failed read is sent last.
fn send_lines<I: LineInput>(
    mut input: BufReader<impl Read>,
    sender: &SyncSender<io::Result<Lines<I>>>,
    max_batch: usize,
    limit: usize,
) {
    while let Some(lines) = lines_of_read(&mut input, max_batch, limit).transpose() {
        let failed = lines.is_err();
        if sender.send(lines).is_err() || failed {
            return;
        }
    }
}

/// Reads the next line and those that arrived with it, up to `max_batch` lines; `None` at the end of the input. The
/// batches of a short input therefore do not depend on the timing of threads.
fn lines_of_read<I: LineInput>(
    input: &mut BufReader<impl Read>,
    max_batch: usize,
    limit: usize,
) -> io::Result<Option<Lines<I>>> {
    let mut lines = Vec::new();
    while let Some(line) = next_line(input, limit)? {
        lines.push(line);
        if lines.len() == max_batch || !input.buffer().contains(&b'\n') {
            break;
        }
    }
    Ok((!lines.is_empty()).then_some(lines))
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    /// An input whose reads return these bytes, and fail after them if `fails`.
    struct Reads {
        reads: VecDeque<&'static str>,
        fails: bool,
    }

    impl Read for Reads {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let Some(bytes) = self.reads.pop_front() else {
                return if self.fails { Err(io::Error::other("broken")) } else { Ok(0) };
            };
            (&mut bytes.as_bytes()).read(buffer)
        }
    }

    fn started(reads: &[&'static str], fails: bool, max_batch: usize) -> Result<Batches<String>, Failure> {
        Batches::of(Reads { reads: reads.iter().copied().collect(), fails }, max_batch, 100)
    }

    fn texts(batch: Lines<String>) -> Result<Vec<String>, BridgeError> {
        batch.into_iter().collect()
    }

    #[test]
    fn the_lines_of_one_read_are_one_batch() -> Result<(), Failure> {
        const READ: &str = "\"a\"\n\"b\"\n\"c\"\n\"d\"\n";
        for _ in 0..200 {
            let mut batches = started(&[READ], false, 10)?;
            assert_eq!(texts(batches.next()?.unwrap_or_default())?, ["a", "b", "c", "d"]);
            assert!(batches.next()?.is_none());
        }
        Ok(())
    }

    #[test]
    fn batches_do_not_exceed_the_maximum_number_of_lines() -> Result<(), Failure> {
        let reads = ["\"a\"\n\"b\"\n\"c\"\n\"d\"\n\"e", "\"\n\"f\"\n", "\"g\"\n", "\"h\""];
        let mut batches = started(&reads, false, 3)?;
        let (mut all, mut sizes) = (Vec::new(), Vec::new());
        while let Some(batch) = batches.next()? {
            sizes.push(batch.len());
            all.extend(texts(batch)?);
        }
        assert_eq!(all.concat(), "abcdefgh");
        assert!(sizes.first() == Some(&3) && sizes.iter().all(|size| (1..=3).contains(size)), "{sizes:?}");
        Ok(())
    }

    #[test]
    fn the_lines_before_a_read_that_fails_are_returned() -> Result<(), Failure> {
        for _ in 0..200 {
            let mut batches = started(&["\"a\"\n\"b\"\n", "\"c\"\n"], true, 10)?;
            let mut all = Vec::new();
            let failure = loop {
                match batches.next() {
                    Ok(batch) => all.extend(texts(batch.unwrap_or_default())?),
                    Err(failure) => break failure,
                }
            };
            assert_eq!((all.concat().as_str(), failure.code.as_str()), ("abc", "io"));
        }
        Ok(())
    }
}
