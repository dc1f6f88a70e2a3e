//! A file that grows piece by piece, and its hash.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
#[cfg(target_os = "linux")]
use std::num::NonZeroU64;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::remote::{PART, Piece};
use crate::artifact::tree::hex;

/// A file, and the hash of all of its bytes.
pub(super) struct Growing {
    file: File,
    digest: Sha256,
    written: u64,
    /// The bytes before this one are on their way to the disk.
    begun: u64,
}

impl Growing {
    /// Opens a file, or makes it, and keeps its first bytes.
    ///
    /// # Errors
    /// Those of the system.
    pub(super) fn open(path: &Path, kept: u64) -> io::Result<Self> {
        let mut file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path)?;
        file.set_len(kept)?;
        let digest = hash(&mut file)?;
        Ok(Self { file, digest, written: kept, begun: kept })
    }

    /// # Errors
    /// Those of the system.
    pub(super) fn append(&mut self, piece: Piece) -> io::Result<()> {
        self.file.write_all(&piece)?;
        self.written += piece.len() as u64;
        if self.written - self.begun >= PART {
            begin_writing(&self.file, self.begun, self.written - self.begun);
            self.begun = self.written;
        }
        self.digest.update(&piece);
        Ok(())
    }

    /// Writes the file to disk; returns what the system knows about it, and its hash.
    ///
    /// # Errors
    /// Those of the system.
    pub(super) fn finish(self) -> io::Result<(Metadata, String)> {
        self.file.sync_all()?;
        Ok((self.file.metadata()?, hex(&self.digest.finalize())))
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
