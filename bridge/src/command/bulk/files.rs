//! Files that exist completely or not at all, and a lock for a directory.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::BridgeError;

const LOCK: &str = ".lock";
const TEMPORARY: &str = ".tmp";
/// The starts of the temporary names of parts and of `state.json`. Other files are not those of a run.
const STARTS: [&str; 2] = [".part-", ".state.json."];

/// A file that has a temporary name until it is complete. It is removed when it is dropped before.
pub(super) struct NewFile {
    file: BufWriter<File>,
    temporary: PathBuf,
    path: PathBuf,
    is_complete: bool,
}

impl NewFile {
    /// Creates the file under a temporary name.
    ///
    /// # Errors
    /// `io` if it cannot be created.
    pub(super) fn create(path: &Path) -> Result<Self, BridgeError> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let temporary = path.with_file_name(format!(".{name}.{:x}{TEMPORARY}", std::process::id()));
        let file = File::create(&temporary).map_err(|error| BridgeError::io(&temporary, &error))?;
        Ok(Self { file: BufWriter::new(file), temporary, path: path.to_path_buf(), is_complete: false })
    }

    /// Adds bytes.
    ///
    /// # Errors
    /// `io` if they cannot be written, for example because the disk is full.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), BridgeError> {
        self.file.write_all(bytes).map_err(|error| BridgeError::io(&self.path, &error))
    }

    /// Writes the file to disk and gives it its name.
    ///
    /// # Errors
    /// `io` if it cannot be written or renamed.
    pub(super) fn finish(mut self) -> Result<(), BridgeError> {
        let failed = |error: io::Error| BridgeError::io(&self.path, &error);
        self.file.flush().and_then(|()| self.file.get_ref().sync_all()).map_err(failed)?;
        fs::rename(&self.temporary, &self.path).map_err(failed)?;
        self.is_complete = true;
        sync_directory(self.path.parent().unwrap_or(Path::new(""))).map_err(|error| BridgeError::io(&self.path, &error))
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.is_complete {
            // What cannot be removed is removed when the run is resumed.
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

/// Writes the names of a directory to disk. Only Unix can open directories.
fn sync_directory(directory: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(directory)?.sync_all() } else { Ok(()) }
}

/// Removes the files that a killed process was writing.
///
/// # Errors
/// `io` if the directory cannot be read or a file cannot be removed.
pub(super) fn remove_temporary(directory: &Path) -> Result<(), BridgeError> {
    for name in names(directory)?.iter().filter(|name| is_temporary(name)) {
        let path = directory.join(name);
        fs::remove_file(&path).map_err(|error| BridgeError::io(&path, &error))?;
    }
    Ok(())
}

/// Whether a directory has other files than the lock and those that a killed process was writing.
///
/// # Errors
/// `io` if it cannot be read.
pub(super) fn has_files(directory: &Path) -> Result<bool, BridgeError> {
    Ok(names(directory)?.iter().any(|name| name != LOCK && !is_temporary(name)))
}

fn is_temporary(name: &str) -> bool {
    STARTS.iter().any(|start| name.starts_with(start)) && name.ends_with(TEMPORARY)
}

fn names(directory: &Path) -> Result<Vec<String>, BridgeError> {
    let name = |entry: io::Result<fs::DirEntry>| Ok(entry?.file_name().to_string_lossy().into_owned());
    let read = || -> io::Result<Vec<String>> { fs::read_dir(directory)?.map(name).collect() };
    read().map_err(|error| BridgeError::io(directory, &error))
}

/// The lock of a directory. The system releases it when the process ends.
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock.
    ///
    /// # Errors
    /// `config` if another process has it, `io` if it cannot be created.
    pub(super) fn acquire(directory: &Path) -> Result<Self, BridgeError> {
        let path = directory.join(LOCK);
        let file = OpenOptions::new().create(true).append(true).open(&path);
        let file = file.map_err(|error| BridgeError::io(&path, &error))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(BridgeError::config(format!(
                "--output is {}, which another run writes; wait until it ends, or choose another directory",
                directory.display()
            ))),
            Err(TryLockError::Error(error)) => Err(BridgeError::io(&path, &error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_appears_when_it_is_complete() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("part-1.jsonl");
        let mut file = NewFile::create(&path).expect("a file");
        file.write(b"text").expect("space");
        assert!(!path.exists() && !has_files(dir.path()).expect("names"));
        file.finish().expect("a name");
        assert_eq!(fs::read(&path).expect("a file"), b"text");
        let mut half = NewFile::create(&path).expect("a file");
        half.write(b"half").expect("space");
        drop(half);
        assert_eq!(names(dir.path()).expect("names"), ["part-1.jsonl"]);
        assert_eq!(fs::read(&path).expect("a file"), b"text");
    }

    #[test]
    fn files_of_a_killed_process_are_removed() {
        let dir = tempfile::tempdir().expect("a directory");
        let others = [".edit.tmp", ".lock", ".state.tmp", "part-1.jsonl"];
        for name in [".part-1.jsonl.00.tmp", ".state.json.00.tmp"].iter().chain(&others) {
            fs::write(dir.path().join(name), "").expect("a file");
        }
        remove_temporary(dir.path()).expect("names");
        let mut left = names(dir.path()).expect("names");
        left.sort();
        assert_eq!(left, others);
        assert!(has_files(dir.path()).expect("names"));
    }

    #[test]
    fn a_directory_has_one_writer() {
        let dir = tempfile::tempdir().expect("a directory");
        let lock = Lock::acquire(dir.path()).expect("a lock");
        assert!(Lock::acquire(dir.path()).is_err_and(|error| error.code().as_str() == "config"));
        drop(lock);
        assert!(Lock::acquire(dir.path()).is_ok());
    }
}
