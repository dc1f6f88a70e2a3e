//! A file of rows as it was when a run started.

use std::fs::{File, Metadata};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sha2::{Digest, Sha256};

use crate::BridgeError;

const CHUNK_BYTES: usize = 1 << 20;

/// The size, the hash, the time of modification and the rows of a file of JSON lines.
pub(super) struct Contents {
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
    pub(super) sha256: String,
    modified: Option<SystemTime>,
    pub(super) rows: u64,
    pub(super) part_rows: u64,
    /// The offset in bytes of the first row of every part.
    offsets: Vec<u64>,
}

impl Contents {
    /// Reads the file once, for its hash, its rows and the offsets of its parts.
    ///
    /// # Errors
    /// `config` if it is not a regular file, because it is read several times; `io` if it cannot be read.
    pub(super) fn read(path: &Path, part_rows: u64) -> Result<Self, BridgeError> {
        let failed = |error: io::Error| BridgeError::io(path, &error);
        if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("parquet")) {
            return Err(BridgeError::config("--input is Parquet, which only the Python command reads; use JSON lines"));
        }
        let metadata = path.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(BridgeError::config(format!("--input is {}, expected a regular file", path.display())));
        }
        let mut file = File::open(path).map_err(failed)?;
        let (mut hasher, mut scan, mut chunk) = (Sha256::new(), Scan::new(part_rows), vec![0; CHUNK_BYTES]);
        loop {
            let length = file.read(&mut chunk).map_err(failed)?;
            if length == 0 {
                break;
            }
            hasher.update(&chunk[..length]);
            scan.add(&chunk[..length]);
        }
        let (rows, offsets) = scan.end();
        let sha256 = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        let modified = metadata.modified().ok();
        let contents =
            Self { path: path.to_path_buf(), bytes: metadata.len(), sha256, modified, rows, part_rows, offsets };
        contents.check_unchanged()?;
        Ok(contents)
    }

    /// The number of parts. Every part has `part_rows` rows, the last one may have less.
    pub(super) fn parts(&self) -> u64 {
        self.rows.div_ceil(self.part_rows)
    }

    /// The number of rows of a part.
    pub(super) fn rows_of(&self, part: u64) -> u64 {
        self.part_rows.min(self.rows - part * self.part_rows)
    }

    /// Opens the file at the first row of a part.
    ///
    /// # Errors
    /// `io` if it cannot be read.
    pub(super) fn open(&self, part: u64) -> Result<BufReader<File>, BridgeError> {
        let offset = usize::try_from(part).ok().and_then(|part| self.offsets.get(part)).copied().unwrap_or(self.bytes);
        let open = || {
            let mut file = File::open(&self.path)?;
            file.seek(SeekFrom::Start(offset))?;
            Ok(BufReader::new(file))
        };
        open().map_err(|error: io::Error| BridgeError::io(&self.path, &error))
    }

    /// Compares size and time of modification with those of the file now.
    ///
    /// # Errors
    /// `io` if the file was changed.
    pub(super) fn check_unchanged(&self) -> Result<(), BridgeError> {
        let now: Metadata = self.path.metadata().map_err(|error| BridgeError::io(&self.path, &error))?;
        if (now.len(), now.modified().ok()) == (self.bytes, self.modified) {
            return Ok(());
        }
        let error = io::Error::other("was changed while it was read; choose another --output and start again");
        Err(BridgeError::io(&self.path, &error))
    }
}

/// Counts lines, and finds the offset of the first line of every part.
struct Scan {
    part_rows: u64,
    lines: u64,
    bytes: u64,
    /// Whether the last line has no newline.
    is_open: bool,
    offsets: Vec<u64>,
}

impl Scan {
    fn new(part_rows: u64) -> Self {
        Self { part_rows, lines: 0, bytes: 0, is_open: false, offsets: vec![0] }
    }

    fn add(&mut self, chunk: &[u8]) {
        for (index, byte) in (1..).zip(chunk) {
            if *byte == b'\n' {
                self.lines += 1;
                if self.lines.is_multiple_of(self.part_rows) {
                    self.offsets.push(self.bytes + index);
                }
            }
        }
        self.bytes += chunk.len() as u64;
        self.is_open = chunk.last().is_some_and(|byte| *byte != b'\n');
    }

    /// The number of lines, and the offset of every part.
    fn end(mut self) -> (u64, Vec<u64>) {
        let rows = self.lines + u64::from(self.is_open);
        self.offsets.truncate(usize::try_from(rows.div_ceil(self.part_rows)).unwrap_or(usize::MAX));
        (rows, self.offsets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_start_after_newlines() {
        let scan = |text: &str, part_rows, chunk: usize| {
            let mut scan = Scan::new(part_rows);
            text.as_bytes().chunks(chunk).for_each(|chunk| scan.add(chunk));
            scan.end()
        };
        for chunk in [1, 2, 100] {
            assert_eq!(scan("", 2, chunk), (0, vec![]));
            assert_eq!(scan("a", 2, chunk), (1, vec![0]));
            assert_eq!(scan("a\nbb\n", 2, chunk), (2, vec![0]));
            assert_eq!(scan("a\nbb\n\n", 2, chunk), (3, vec![0, 5]));
            assert_eq!(scan("a\nbb\n\nc", 2, chunk), (4, vec![0, 5]));
            assert_eq!(scan("a\nbb\n\nc", 1, chunk), (4, vec![0, 2, 5, 6]));
        }
    }

    #[test]
    fn a_changed_file_is_an_error() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("rows.jsonl");
        std::fs::write(&path, "\"a\"\n\"b\"").expect("a file");
        let contents = Contents::read(&path, 2).expect("contents");
        assert_eq!((contents.rows, contents.parts(), contents.rows_of(0)), (2, 1, 2));
        assert_eq!(contents.check_unchanged(), Ok(()));
        std::fs::write(&path, "\"a\"\n").expect("a file");
        assert_eq!(contents.check_unchanged().map_err(|error| error.code().as_str()), Err("io"));
        let code = |path: &Path| Contents::read(path, 1).err().map(|error| error.code().as_str());
        assert_eq!(code(dir.path()), Some("config"));
        assert_eq!(code(&dir.path().join("rows.parquet")), Some("config"));
        assert_eq!(code(&dir.path().join("missing")), Some("io"));
    }
}
