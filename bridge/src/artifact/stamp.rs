//! What the system knows about a file, which changes when the file is written or replaced.

use std::fs::Metadata;

/// The numbers by which a change of a file is seen without reading it. Files with equal stamps have not changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    /// When the bytes changed, in nanoseconds since 1970.
    modified: i128,
    /// When the file or its properties changed. Programs cannot set this time.
    changed: i128,
}

impl Stamp {
    #[cfg(unix)]
    pub(crate) fn of(metadata: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        let time = |seconds: i64, nanoseconds: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds);
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: time(metadata.mtime(), metadata.mtime_nsec()),
            changed: time(metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    // On systems other than Unix, the standard library has the size and one time only.
    #[cfg(not(unix))]
    pub(crate) fn of(metadata: &Metadata) -> Self {
        let since = metadata.modified().ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
        let modified = since.map_or(0, |time| i128::try_from(time.as_nanos()).unwrap_or(0));
        Self { device: 0, inode: 0, size: metadata.len(), modified, changed: modified }
    }
}
