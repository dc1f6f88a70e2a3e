//! A file that is written piece by piece. Its hash is computed on a thread of its own, beside the writing.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
#[cfg(target_os = "linux")]
use std::num::NonZeroU64;
use std::path::Path;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use sha2::{Digest, Sha256};

use super::remote::{PART, Piece};
use crate::artifact::tree::hex;

/// The number of pieces that wait for the hash. They bound its memory; a piece has less than 1 MB.
const PIECES: usize = 16;

/// A file that is written piece by piece, and the hash of all of its bytes.
pub(super) struct HashedFile {
    file: File,
    hashing: Hashing,
    written: u64,
    /// The bytes before this one are on their way to the disk.
    begun: u64,
}

impl HashedFile {
    /// Opens a file, or makes it, and keeps its first bytes.
    ///
    /// # Errors
    /// Those of the system.
    pub(super) fn open(path: &Path, kept: u64) -> io::Result<Self> {
        let mut file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path)?;
        file.set_len(kept)?;
        let hashing = Hashing::start(hash(&mut file)?)?;
        Ok(Self { file, hashing, written: kept, begun: kept })
    }

    /// Appends a piece.
    ///
    /// # Errors
    /// Those of the system.
    pub(super) fn append(&mut self, piece: Piece) -> io::Result<()> {
        self.hashing.update(piece.clone()); // the bytes are shared
        self.file.write_all(&piece)?;
        self.written += piece.len() as u64;
        if self.written - self.begun >= PART {
            begin_writing(&self.file, self.begun, self.written - self.begun);
            self.begun = self.written;
        }
        Ok(())
    }

    /// Writes the file to disk; returns what the system knows about it, and its hash.
    ///
    /// # Errors
    /// Those of the system.
    pub(super) fn finish(self) -> io::Result<(Metadata, String)> {
        self.file.sync_all()?;
        let actual = self.hashing.finish()?;
        Ok((self.file.metadata()?, actual))
    }
}

/// The hash of the bytes of a file, which is read to its end.
fn hash(file: &mut File) -> io::Result<Sha256> {
    let (mut digest, mut buffer) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(digest),
            count => digest.update(&buffer[..count]),
        }
    }
}

/// Lets the system begin to write a part of a file to disk, so that the sync at the end has less to wait for. Linux does
/// that if a part is not needed in memory any more. An error changes nothing but the time.
#[cfg(target_os = "linux")]
fn begin_writing(file: &File, start: u64, size: u64) {
    let _ = rustix::fs::fadvise(file, start, NonZeroU64::new(size), rustix::fs::Advice::DontNeed);
}

#[cfg(not(target_os = "linux"))]
fn begin_writing(_: &File, _: u64, _: u64) {}

/// A thread that hashes pieces in the order in which it gets them.
struct Hashing {
    sender: SyncSender<Piece>,
    thread: JoinHandle<Sha256>,
}

impl Hashing {
    /// Starts with the hash of what is there.
    ///
    /// # Errors
    /// Those of the system, if it starts no thread.
    fn start(mut digest: Sha256) -> io::Result<Self> {
        let (sender, receiver) = sync_channel::<Piece>(PIECES);
        let thread = thread::Builder::new().name("hash".to_owned()).spawn(move || {
            receiver.iter().for_each(|piece| digest.update(piece));
            digest
        })?;
        Ok(Self { sender, thread })
    }

    fn update(&self, piece: Piece) {
        let _ = self.sender.send(piece); // without a thread, `finish` fails
    }

    /// Waits for the hash of all pieces.
    ///
    /// # Errors
    /// If the thread panicked.
    fn finish(self) -> io::Result<String> {
        drop(self.sender);
        let digest = self.thread.join().map_err(|_| io::Error::other("the hash panicked"))?;
        Ok(hex(&digest.finalize()))
    }
}
