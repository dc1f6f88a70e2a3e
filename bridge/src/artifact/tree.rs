//! The directory tree of an artifact: the checks `path_kind`, `file_set`, `size` and `file_hash`, and reading files up to
//! their known size.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sha2::{Digest, Sha256};

use super::manifest::FileEntry;
use super::stamp::Stamp;
use crate::BridgeError;

/// The maximum number of files of an artifact, including `manifest.json` and `manifest.sha256`.
pub const MAX_FILES: usize = 1000;
/// The maximum depth of a directory; the artifact's own directory has the depth 1.
pub const MAX_DIRECTORIES: usize = 16;
/// The maximum size of `manifest.json` and of `manifest.sha256` in bytes. Both are read into memory.
pub const MAX_MANIFEST_BYTES: u64 = 1 << 20;

/// The manifest, and the file with its hash. The manifest does not list these two files.
pub(crate) const MANIFEST: &str = "manifest.json";
pub(crate) const IDENTITY: &str = "manifest.sha256";

#[cfg(test)]
thread_local! {
    /// The files that this thread has opened, for tests that count how often a file is read.
    pub(crate) static OPENED: std::cell::RefCell<Vec<String>> = const { std::cell::RefCell::new(Vec::new()) };
}

/// The content of a directory when it was walked. Every file is a regular file; paths are relative and separated by `/`.
#[derive(Debug, Clone)]
pub(crate) struct Tree {
    root: PathBuf,
    files: BTreeMap<String, FileState>,
    directories: usize,
    empty_directories: Vec<String>,
    /// The stamps that the files had when their hashes were right. Only these files were hashed.
    stamps: Arc<Mutex<BTreeMap<String, Stamp>>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct FileState {
    size: u64,
    /// The numbers of the device and the inode, which identify the file.
    identity: (u64, u64),
}

impl Tree {
    /// Lists the files and directories below `root` without opening any file.
    pub(crate) fn walk(root: &Path) -> Result<Self, BridgeError> {
        // Collecting the components removes a trailing slash, with which `symlink_metadata` would follow a symbolic
        // link.
        let named: PathBuf = root.components().collect();
        let refuse = |error| path_kind(root, format!("{error}; expected an artifact's directory"));
        if !fs::symlink_metadata(&named).map_err(refuse)?.is_dir() {
            return Err(path_kind(root, "expected an artifact's directory, not a file or a link".to_owned()));
        }
        let root = fs::canonicalize(&named).map_err(refuse)?;
        let mut tree = Self {
            root: root.clone(),
            files: BTreeMap::new(),
            directories: 0,
            empty_directories: Vec::new(),
            stamps: Arc::default(),
        };
        tree.visit(&root, "", 1)?;
        for name in [MANIFEST, IDENTITY] {
            tree.require(name)?;
        }
        Ok(tree)
    }

    fn visit(&mut self, directory: &Path, prefix: &str, depth: usize) -> Result<(), BridgeError> {
        self.enter(directory, depth)?;
        let refused = |error| BridgeError::io(directory, &error);
        let mut empty = true;
        for entry in fs::read_dir(directory).map_err(refused)? {
            empty = false;
            let path = entry.map_err(refused)?.path();
            let relative = format!("{prefix}{}", path.file_name().unwrap_or_default().to_string_lossy());
            let metadata = fs::symlink_metadata(&path).map_err(|error| BridgeError::io(&path, &error))?;
            if metadata.is_dir() {
                self.visit(&path, &format!("{relative}/"), depth + 1)?;
            } else {
                self.add(&path, relative, &metadata)?;
            }
        }
        if empty && !prefix.is_empty() {
            self.empty_directories.push(prefix.to_owned());
        }
        Ok(())
    }

    fn enter(&mut self, directory: &Path, depth: usize) -> Result<(), BridgeError> {
        if depth > MAX_DIRECTORIES {
            return Err(path_kind(directory, format!("deeper than {MAX_DIRECTORIES} directories")));
        }
        // A valid artifact does not need more directories than this. The limit ends the walk of a directory with
        // endless subdirectories.
        self.directories += 1;
        if self.directories > MAX_FILES * MAX_DIRECTORIES {
            return Err(path_kind(directory, "too many directories".to_owned()));
        }
        Ok(())
    }

    fn add(&mut self, path: &Path, relative: String, metadata: &Metadata) -> Result<(), BridgeError> {
        check_regular(path, metadata)?;
        self.files.insert(relative, FileState { size: metadata.len(), identity: identity(metadata) });
        if self.files.len() > MAX_FILES {
            return Err(path_kind(&self.root, format!("more than {MAX_FILES} files")));
        }
        Ok(())
    }

    fn require(&self, name: &str) -> Result<(), BridgeError> {
        let path = self.root.join(name);
        match self.files.get(name) {
            None => Err(path_kind(&path, "missing; expected an artifact's directory".to_owned())),
            Some(file) if file.size > MAX_MANIFEST_BYTES => {
                Err(path_kind(&path, format!("has {} bytes, the limit is {MAX_MANIFEST_BYTES}", file.size)))
            }
            Some(_) => Ok(()),
        }
    }

    /// The artifact's directory as an absolute path.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The absolute path of a file, given its relative path.
    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    /// The check `file_set`: the directory has the listed files and no others.
    pub(crate) fn check_set(&self, listed: &BTreeMap<String, FileEntry>) -> Result<(), BridgeError> {
        let missing: Vec<String> = listed.keys().filter(|path| !self.files.contains_key(*path)).cloned().collect();
        let unlisted = |path: &&String| !listed.contains_key(*path) && *path != MANIFEST && *path != IDENTITY;
        let mut extra: Vec<String> = self.files.keys().filter(unlisted).cloned().collect();
        extra.extend(self.empty_directories.iter().cloned());
        if missing.is_empty() && extra.is_empty() { Ok(()) } else { Err(BridgeError::FileSet { missing, extra }) }
    }

    /// The check `size`: every listed file has the listed size.
    pub(crate) fn check_sizes(&self, listed: &BTreeMap<String, FileEntry>) -> Result<(), BridgeError> {
        let wrong = |(path, entry): (&String, &FileEntry)| {
            let actual = self.files.get(path).map_or(0, |file| file.size);
            (actual != entry.size).then(|| format!("{path} has {actual} bytes, expected {}", entry.size))
        };
        let problems: Vec<String> = listed.iter().filter_map(wrong).collect();
        if problems.is_empty() { Ok(()) } else { Err(BridgeError::Size { problems }) }
    }

    /// The check `file_hash` for one file. A file that did not change since it was hashed is not read.
    pub(crate) fn check_hash(&self, relative: &str, entry: &FileEntry) -> Result<(), BridgeError> {
        let file = self.open(relative)?;
        let stamp = self.stamp(relative, &file)?;
        if self.stamps().get(relative) == Some(&stamp) {
            return Ok(());
        }
        self.hash(relative, file, entry)?;
        self.keep(relative, stamp);
        Ok(())
    }

    /// The check `file_hash` for one file, which is read into memory. Returns its bytes.
    pub(crate) fn read_checked(&self, relative: &str, entry: &FileEntry) -> Result<Vec<u8>, BridgeError> {
        let file = self.open(relative)?;
        let stamp = self.stamp(relative, &file)?;
        let bytes = self.read_from(relative, file)?;
        compare_hash(relative, entry, sha256(&bytes))?;
        self.keep(relative, stamp);
        Ok(bytes)
    }

    /// Runs the check `file_hash` again for each file that was hashed and has changed on disk since then.
    ///
    /// # Errors
    /// `file_hash` for other bytes, `path_kind` or `io` if the file is no regular file any more or cannot be read.
    pub(crate) fn check_changed(&self, listed: &BTreeMap<String, FileEntry>) -> Result<(), BridgeError> {
        let stamps = self.stamps().clone();
        for (relative, entry) in listed {
            let Some(hashed) = stamps.get(relative) else { continue };
            let file = self.open_any(relative)?.0;
            let stamp = self.stamp(relative, &file)?;
            if stamp != *hashed {
                self.hash(relative, file, entry)?;
                self.keep(relative, stamp);
            }
        }
        Ok(())
    }

    /// Adds the stamps of files whose hashes were right when they were written.
    #[cfg(feature = "store-remote")]
    pub(crate) fn add_hashed(&self, stamps: BTreeMap<String, Stamp>) {
        self.stamps().extend(stamps);
    }

    /// The paths of the files whose hashes were checked.
    pub(crate) fn hashed(&self) -> Vec<String> {
        self.stamps().keys().cloned().collect()
    }

    /// The stamp of an open file. It is taken before the file is read, so that later changes are seen.
    fn stamp(&self, relative: &str, file: &File) -> Result<Stamp, BridgeError> {
        file.metadata()
            .map(|metadata| Stamp::of(&metadata))
            .map_err(|error| BridgeError::io(&self.path(relative), &error))
    }

    fn keep(&self, relative: &str, stamp: Stamp) {
        self.stamps().insert(relative.to_owned(), stamp);
    }

    fn stamps(&self) -> MutexGuard<'_, BTreeMap<String, Stamp>> {
        self.stamps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hash(&self, relative: &str, mut file: File, entry: &FileEntry) -> Result<(), BridgeError> {
        let mut digest = Sha256::new();
        let mut buffer = vec![0; 1 << 20];
        loop {
            let count = file.read(&mut buffer).map_err(|error| BridgeError::io(&self.path(relative), &error))?;
            if count == 0 {
                break;
            }
            digest.update(&buffer[..count]);
        }
        compare_hash(relative, entry, hex(&digest.finalize()))
    }

    /// Reads a file, but no more bytes than it had when the directory was walked.
    pub(crate) fn read(&self, relative: &str) -> Result<Vec<u8>, BridgeError> {
        self.read_from(relative, self.open(relative)?)
    }

    fn read_from(&self, relative: &str, file: File) -> Result<Vec<u8>, BridgeError> {
        let limit = self.files.get(relative).map_or(0, |file| file.size);
        let mut bytes = Vec::new();
        file.take(limit).read_to_end(&mut bytes).map_err(|error| BridgeError::io(&self.path(relative), &error))?;
        Ok(bytes)
    }

    /// Opens a file and checks that it was not replaced since the directory was walked.
    fn open(&self, relative: &str) -> Result<File, BridgeError> {
        let (file, metadata) = self.open_any(relative)?;
        if self.files.get(relative).is_none_or(|walked| walked.identity != identity(&metadata)) {
            return Err(path_kind(&self.path(relative), "was replaced while the artifact was being read".to_owned()));
        }
        Ok(file)
    }

    /// Opens a regular file, which may have been replaced.
    fn open_any(&self, relative: &str) -> Result<(File, Metadata), BridgeError> {
        #[cfg(test)]
        OPENED.with_borrow_mut(|opened| opened.push(relative.to_owned()));
        let path = self.path(relative);
        let refused = |error| BridgeError::io(&path, &error);
        check_regular(&path, &fs::symlink_metadata(&path).map_err(refused)?)?;
        let file = File::open(&path).map_err(refused)?;
        let metadata = file.metadata().map_err(refused)?;
        check_regular(&path, &metadata)?;
        Ok((file, metadata))
    }
}

fn compare_hash(relative: &str, entry: &FileEntry, actual: String) -> Result<(), BridgeError> {
    if actual == entry.sha256 {
        return Ok(());
    }
    Err(BridgeError::FileHash { file: relative.to_owned(), expected: entry.sha256.clone(), actual })
}

/// The text of some bytes as lowercase hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether a text is a SHA-256 in lower-case hexadecimal.
pub(crate) fn is_hash(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// SHA-256 of bytes in memory, as lowercase hexadecimal digits.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn path_kind(path: &Path, problem: String) -> BridgeError {
    BridgeError::PathKind { path: path.to_path_buf(), problem }
}

fn check_regular(path: &Path, metadata: &Metadata) -> Result<(), BridgeError> {
    if !metadata.is_file() {
        return Err(path_kind(
            path,
            "expected a regular file or a directory; symbolic links and devices are refused".to_owned(),
        ));
    }
    Ok(())
}

#[cfg(unix)]
fn identity(metadata: &Metadata) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt;
    (metadata.dev(), metadata.ino())
}

// On systems other than Unix, the standard library does not return the file's identity.
#[cfg(not(unix))]
fn identity(_: &Metadata) -> (u64, u64) {
    (0, 0)
}
