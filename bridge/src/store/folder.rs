//! A store in a folder, which is read in place.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::BridgeError;
use crate::cause::Cause;

/// Reads the objects of a folder by key.
#[derive(Debug, Clone)]
pub(crate) struct Folder {
    root: PathBuf,
}

impl Folder {
    /// The store in a folder.
    ///
    /// # Errors
    /// `store`, if it is not a folder.
    pub(crate) fn open(root: &Path) -> Result<Self, BridgeError> {
        let refuse = |error: &io::Error| failure(root, error);
        // Not the canonical path: the cache has the records of a store under its address, in Python as well.
        let root = std::path::absolute(root).map_err(|error| refuse(&error))?;
        if !fs::metadata(&root).map_err(|error| refuse(&error))?.is_dir() {
            return Err(refuse(&io::Error::from(io::ErrorKind::NotADirectory)));
        }
        Ok(Self { root })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// A small object; `None` if it is missing.
    ///
    /// # Errors
    /// `store`, if it is larger than the limit, is no regular file or cannot be read.
    pub(crate) fn get(&self, key: &str, limit: u64) -> Result<Option<Vec<u8>>, BridgeError> {
        read(&self.root.join(key), limit)
    }

    /// The names directly below a prefix, sorted.
    ///
    /// # Errors
    /// `store`, if the folder cannot be read.
    pub(crate) fn names(&self, prefix: &str) -> Result<Vec<String>, BridgeError> {
        let folder = self.root.join(prefix);
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(|error| failure(&folder, &error))?,
        };
        let name = |entry: io::Result<fs::DirEntry>| match entry {
            Ok(entry) => entry.file_name().into_string().ok().map(Ok), // other names are no keys
            Err(error) => Some(Err(failure(&folder, &error))),
        };
        let mut names = entries.filter_map(name).collect::<Result<Vec<String>, BridgeError>>()?;
        names.sort();
        Ok(names)
    }
}

/// Reads a small file; `None` if it is missing.
///
/// # Errors
/// `store`, if it is larger than the limit, is no regular file or cannot be read.
pub(crate) fn read(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, BridgeError> {
    let refuse = |error| failure(path, &error);
    let metadata = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        metadata => metadata.map_err(refuse)?,
    };
    if !metadata.is_file() {
        return Err(BridgeError::store(format!("{}: expected a regular file", path.display())));
    }
    let mut bytes = Vec::new();
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None), // deleted since
        file => file.map_err(refuse)?,
    };
    file.take(limit + 1).read_to_end(&mut bytes).map_err(refuse)?;
    if bytes.len() as u64 > limit {
        return Err(BridgeError::store(format!("{} has more than {limit} bytes", path.display())));
    }
    Ok(Some(bytes))
}

/// The error `store` of a file or a folder.
pub(crate) fn failure(path: &Path, error: &io::Error) -> BridgeError {
    let cause = io::Error::new(error.kind(), error.to_string());
    BridgeError::Store { problem: format!("{}: {error}", path.display()), cause: Some(Cause::new(cause)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_files_are_read_and_others_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Folder::open(folder.path()).expect("a store");
        fs::create_dir_all(folder.path().join("a/b")).expect("folders");
        fs::write(folder.path().join("a/c.json"), "123").expect("a file");
        let code = |result: Result<Option<Vec<u8>>, BridgeError>| result.map_err(|error| error.code().as_str());
        assert_eq!(code(store.get("a/c.json", 3)), Ok(Some(b"123".to_vec())));
        assert_eq!(code(store.get("a/c.json", 2)), Err("store"));
        assert_eq!(code(store.get("a/d.json", 3)), Ok(None));
        assert_eq!(code(store.get("a/b", 3)), Err("store"));
        assert_eq!(store.names("a"), Ok(vec!["b".to_owned(), "c.json".to_owned()]));
        assert_eq!(store.names("x"), Ok(Vec::new()));
        for path in ["a/c.json", "missing"] {
            let error = Folder::open(&folder.path().join(path)).expect_err(path);
            assert_eq!(error.code().as_str(), "store");
        }
    }
}
