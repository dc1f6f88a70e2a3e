//! The cache: artifacts from buckets and web servers, and what the names in stores resolved to. It has the layout of a store.

use std::env;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::folder;
use super::layout::{ARTIFACTS, LOCKS, MAX_RECORD_BYTES, MODELS, RESOLVED, STAGING, artifact};
use super::records::TagRecord;
use crate::BridgeError;
use crate::artifact::tree::sha256;
use crate::runtime::random::random;

const VARIABLE: &str = "ONNX_ML_BRIDGE_CACHE";
/// The cache removes the artifacts that were used longest ago when all of them are larger than this,
pub(crate) const MAX_BYTES: u64 = 20_000_000_000;
/// but none that was used in this time,
const KEPT: Duration = Duration::from_secs(24 * 3600);
/// and interrupted downloads that are older than this.
const MAX_STAGING: Duration = Duration::from_secs(7 * 24 * 3600);

/// A cache in a folder, which need not exist.
#[derive(Debug, Clone)]
pub(crate) struct Cache {
    root: PathBuf,
}

/// A lock that other threads and processes see; those of the Python package, too. It is released when it is dropped.
pub(crate) struct Lock {
    _file: File,
}

impl Cache {
    /// The cache in a folder; without one, that of `ONNX_ML_BRIDGE_CACHE`, else that of the user.
    ///
    /// # Errors
    /// `config`, if the system has no folder for the caches of a user.
    pub(crate) fn open(root: Option<&Path>) -> Result<Self, BridgeError> {
        let named = || env::var_os(VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
        let root = root.map(Path::to_path_buf).or_else(named).or_else(of_user);
        let missing = || BridgeError::config(format!("no folder for the cache is known: set {VARIABLE}"));
        Ok(Self { root: root.ok_or_else(missing)? })
    }

    /// The folder of an artifact that is in the cache. Notes that it was used: the time of the last use is that of the
    /// folder's last change, so that the files stay unchanged.
    pub(crate) fn find(&self, identity: &str) -> Option<PathBuf> {
        let path = self.root.join(artifact(identity));
        touch(&path); // a cache that cannot be written has no order
        path.is_dir().then_some(path)
    }

    /// Makes a verified artifact visible, whose files and folders are on disk. Requires its lock.
    ///
    /// # Errors
    /// `io`.
    pub(crate) fn add(&self, identity: &str) -> Result<PathBuf, BridgeError> {
        let (staging, path) = (self.staging(identity), self.root.join(artifact(identity)));
        let folder = path.parent().unwrap_or(&self.root);
        make_folder(folder)?;
        touch(&staging);
        fs::rename(&staging, &path).map_err(|error| BridgeError::io(&path, &error))?;
        sync_folder(folder)?;
        Ok(path)
    }

    /// Removes an artifact: first its name, then its files. Requires its lock.
    ///
    /// # Errors
    /// `io`.
    pub(crate) fn remove(&self, identity: &str) -> Result<(), BridgeError> {
        let path = self.root.join(artifact(identity));
        let nanoseconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos());
        let removed = self.staging(&format!("removed-{}-{nanoseconds}", std::process::id()));
        make_folder(removed.parent().unwrap_or(&self.root))?;
        match fs::rename(&path, &removed) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(BridgeError::io(&path, &error)),
            Ok(()) => remove_folder(&removed),
        }
    }

    /// Removes the artifacts that were used longest ago until the cache has its maximum size, and old leftovers of
    /// downloads. Artifacts that were used within 24 hours, or whose lock somebody holds, remain.
    pub(crate) fn shrink(&self, max_bytes: u64) -> Result<(), BridgeError> {
        let now = SystemTime::now();
        let is_older = |time: SystemTime, limit| now.duration_since(time).is_ok_and(|age| age > limit);
        let used = by_last_use(&self.root.join(ARTIFACTS));
        let mut size: u64 = used.iter().map(|(_, path)| size_of(path)).sum();
        for (last_use, path) in used {
            if size <= max_bytes || !is_older(last_use, KEPT) {
                break;
            }
            let (name, bytes) = (name_of(&path), size_of(&path));
            // Somebody may have used it since the folder was listed.
            let is_unused =
                || fs::metadata(&path).and_then(|data| data.modified()).is_ok_and(|time| is_older(time, KEPT));
            if let Some(_lock) = self.try_lock(&name)?
                && is_unused()
            {
                self.remove(&name)?;
                size -= bytes;
            }
        }
        for (changed, path) in by_last_use(&self.root.join(STAGING)) {
            if is_older(changed, MAX_STAGING)
                && let Some(_lock) = self.try_lock(&name_of(&path))?
            {
                remove_folder(&path)?;
            }
        }
        Ok(())
    }

    /// The path of an object, given its key.
    pub(crate) fn path(&self, key: &str) -> PathBuf {
        self.root.join(key)
    }

    /// The folder of a download that is not finished.
    pub(crate) fn staging(&self, identity: &str) -> PathBuf {
        self.root.join(STAGING).join(identity)
    }

    /// Waits for a lock and takes it.
    ///
    /// # Errors
    /// `io`, if the file of the lock cannot be made or locked.
    pub(crate) fn lock(&self, name: &str) -> Result<Lock, BridgeError> {
        loop {
            let (file, path) = self.lock_file(name)?;
            file.lock().map_err(|error| BridgeError::io(&path, &error))?;
            if is_named(&file, &path) {
                return Ok(Lock { _file: file });
            }
        }
    }

    /// Takes a lock; `None` if somebody else has it.
    fn try_lock(&self, name: &str) -> Result<Option<Lock>, BridgeError> {
        let (file, path) = self.lock_file(name)?;
        match file.try_lock() {
            Ok(()) if is_named(&file, &path) => Ok(Some(Lock { _file: file })),
            Ok(()) | Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(BridgeError::io(&path, &error)),
        }
    }

    fn lock_file(&self, name: &str) -> Result<(File, PathBuf), BridgeError> {
        let folder = self.root.join(LOCKS);
        make_folder(&folder)?;
        let path = folder.join(format!("{name}.lock"));
        let file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path);
        Ok((file.map_err(|error| BridgeError::io(&path, &error))?, path))
    }

    /// The record that a store had under a key when it was read last; `None` if it was never read.
    pub(crate) fn record(&self, store: &str, key: &str) -> Result<Option<Vec<u8>>, BridgeError> {
        folder::read(&self.resolved(store, key), MAX_RECORD_BYTES)
    }

    /// Keeps the record that a store has under a key. A cache that cannot be written keeps none.
    pub(crate) fn keep(&self, store: &str, key: &str, raw: &[u8]) {
        let path = self.resolved(store, key);
        if !fs::read(&path).is_ok_and(|kept| kept == raw)
            && let Err(error) = write(&path, raw)
        {
            tracing::warn!("the cache does not keep {key}: {error}");
        }
    }

    /// Keeps the signed record of a tag, unless the cache has seen a later one.
    ///
    /// # Errors
    /// `signature` for an earlier record than the cache has seen, or another one of the same revision; `store`, if the
    /// record in the cache is invalid; `io`.
    pub(crate) fn keep_signed(&self, store: &str, key: &str, raw: &[u8]) -> Result<(), BridgeError> {
        let record = TagRecord::parse(raw, key)?;
        let _lock = self.lock(&format!("resolved-{}", sha256(store.as_bytes())))?;
        if let Some(kept) = self.record(store, key)? {
            let seen = TagRecord::parse(&kept, &self.resolved(store, key).display().to_string())?;
            let is_other = (&seen.identity, &seen.version) != (&record.identity, &record.version);
            if seen.revision > record.revision || (seen.revision == record.revision && is_other) {
                return Err(BridgeError::signature(format!(
                    "the record {key} of {store} has the revision {} with {}, but revision {} with {} was seen before: \
                     somebody put an old record back, or made the store anew; pin the identity, or use another cache",
                    record.revision, record.version, seen.revision, seen.version
                )));
            }
        }
        write(&self.resolved(store, key), raw)
    }

    fn resolved(&self, store: &str, key: &str) -> PathBuf {
        self.root.join(RESOLVED).join(sha256(store.as_bytes())).join(key)
    }
}

/// Notes that an artifact is used now if its folder is in a cache; other folders stay as they are. A cache has the locks of its
/// downloads, and unlike a store in a folder no models.
pub(crate) fn note_use(folder: &Path) {
    let Ok(folder) = std::path::absolute(folder) else { return };
    let above = folder.parent().filter(|parent| parent.file_name().is_some_and(|name| name == ARTIFACTS));
    let is_cache = |root: &Path| root.join(LOCKS).is_dir() && !root.join(MODELS).exists();
    if above.and_then(Path::parent).is_some_and(is_cache) {
        touch(&folder); // a cache that cannot be written has no order
    }
}

/// Whether a file has its name still. The Python package deletes the file of a lock when it releases the lock.
#[cfg(unix)]
fn is_named(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let numbers = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    let named = fs::metadata(path).map(numbers);
    file.metadata().map(numbers).is_ok_and(|file| named.is_ok_and(|named| named == file))
}

// Other systems do not delete a file that is open.
#[cfg(not(unix))]
fn is_named(_: &File, _: &Path) -> bool {
    true
}

/// The folder for the caches of the user, with the name of this package as the Python package has it.
fn of_user() -> Option<PathBuf> {
    let folder = dirs::cache_dir()?.join("onnx-ml-bridge");
    Some(if cfg!(windows) { folder.join("Cache") } else { folder })
}

/// Sets the time of the last change of a folder to now.
fn touch(path: &Path) {
    if let Ok(folder) = File::open(path) {
        let _ = folder.set_modified(SystemTime::now()); // only the order of removals depends on it
    }
}

/// The folders in a folder with the times of their last change, the oldest first.
fn by_last_use(folder: &Path) -> Vec<(SystemTime, PathBuf)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<(SystemTime, PathBuf)> =
        entries.filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path()))).collect();
    found.sort();
    found
}

/// The size of the files in a folder and its subfolders in bytes.
fn size_of(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => size_of(&entry.path()),
        metadata => metadata.map_or(0, |metadata| metadata.len()),
    };
    entries.map(size).sum()
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Removes a folder that may be removed by others at the same time.
pub(crate) fn remove_folder(path: &Path) -> Result<(), BridgeError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(BridgeError::io(path, &error)),
        _ => Ok(()),
    }
}

/// Makes a folder and those around it.
pub(crate) fn make_folder(path: &Path) -> Result<(), BridgeError> {
    fs::create_dir_all(path).map_err(|error| BridgeError::io(path, &error))
}

/// Writes a file so that readers see the old bytes or the new ones.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), BridgeError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    make_folder(folder)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // Threads and processes may write the file at the same time.
    let temporary = folder.join(format!(".{name}.{:016x}.tmp", random()));
    let written = File::create_new(&temporary)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&temporary, path));
    written.map_err(|error| {
        let _ = fs::remove_file(&temporary); // of no use, and its name does not come again
        BridgeError::io(path, &error)
    })?;
    sync_folder(folder)
}

/// Writes the entries of a folder to disk.
#[cfg(unix)]
pub(crate) fn sync_folder(path: &Path) -> Result<(), BridgeError> {
    File::open(path).and_then(|folder| folder.sync_all()).map_err(|error| BridgeError::io(path, &error))
}

// Only Unix lets programs write the entries of a folder to disk.
#[cfg(not(unix))]
pub(crate) fn sync_folder(_: &Path) -> Result<(), BridgeError> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writers_of_one_file_do_not_disturb_each_other() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("record.json");
        std::thread::scope(|scope| {
            for byte in [1, 2] {
                let path = &path;
                scope.spawn(move || {
                    for _ in 0..30 {
                        assert_eq!(write(path, &[byte; 100_000]), Ok(()));
                        let bytes = fs::read(path).expect("a file");
                        assert!(bytes == [1; 100_000] || bytes == [2; 100_000]);
                    }
                });
            }
        });
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);
    }
}
