//! [`GgufFile`]: a file whose hash can be pinned.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use sha2::{Digest, Sha256};

use crate::BridgeError;
use crate::artifact::stamp::Stamp;
use crate::artifact::tree::hex;

/// A GGUF file, and the SHA-256 in hexadecimal that it must have; `None` accepts any.
pub(super) struct GgufFile {
    path: PathBuf,
    sha256: Option<String>,
    /// What the file was when its hash was right.
    stamp: Mutex<Option<Stamp>>,
}

impl GgufFile {
    pub(super) fn new(path: PathBuf, sha256: Option<String>) -> Self {
        Self { path, sha256, stamp: Mutex::default() }
    }

    /// Checks that the file can be read, and its hash unless the file did not change since the last check.
    ///
    /// # Errors
    /// `io` or `file_hash`.
    pub(super) fn check(&self) -> Result<(), BridgeError> {
        let path = &self.path;
        let io = |error: io::Error| BridgeError::io(path, &error);
        let mut file = File::open(path).map_err(io)?;
        let stamp = Stamp::of(&file.metadata().map_err(io)?);
        let Some(expected) = self.sha256.clone().filter(|_| *self.stamp() != Some(stamp)) else {
            return Ok(());
        };
        let mut digest = Sha256::new();
        io::copy(&mut file, &mut Hash(&mut digest)).map_err(io)?;
        let actual = hex(&digest.finalize());
        if actual != expected {
            return Err(BridgeError::FileHash { file: path.display().to_string(), expected, actual });
        }
        *self.stamp() = Some(stamp);
        Ok(())
    }

    fn stamp(&self) -> MutexGuard<'_, Option<Stamp>> {
        self.stamp.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Hash<'a>(&'a mut Sha256);

impl io::Write for Hash<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_is_hashed_again_when_it_changes() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        fs::write(file.path(), "abc").expect("bytes");
        let right = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let pinned = |sha256: &str| GgufFile::new(file.path().to_path_buf(), Some(sha256.to_owned()));
        let code = |file: &GgufFile| file.check().map_err(|error| error.code().as_str());
        assert_eq!(code(&pinned(&"0".repeat(64))), Err("file_hash"));
        assert_eq!(code(&GgufFile::new(PathBuf::from("/no/such/file"), None)), Err("io"));
        let opened = pinned(right);
        assert_eq!(code(&opened), Ok(()));
        fs::write(file.path(), "abd!").expect("bytes");
        assert_eq!(code(&opened), Err("file_hash"));
    }
}
