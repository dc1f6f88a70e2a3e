//! Downloads an artifact in parts: several at a time, appended in order and hashed, continued after a break.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::cache::{make_folder, sync_folder};
use super::hashed_file::HashedFile;
use super::layout::artifact;
use super::locate::Report;
use super::remote::{Part, Parts, Piece, Remote, split};
use crate::BridgeError;
use crate::artifact::Manifest;
use crate::artifact::manifest::FileEntry;
use crate::artifact::stamp::Stamp;
use crate::artifact::tree::{IDENTITY, MANIFEST, MAX_MANIFEST_BYTES, sha256};

/// The bytes of the manifest of an artifact.
///
/// # Errors
/// `store`, if the store does not have it; `manifest_hash`, if it is another one.
pub(super) fn fetch_manifest(remote: &Remote, identity: &str) -> Result<Vec<u8>, BridgeError> {
    let raw = remote.get(&format!("{}/{MANIFEST}", artifact(identity)), MAX_MANIFEST_BYTES)?;
    let missing = || {
        let address = remote.address();
        BridgeError::store(format!(
            "{address} has no artifact {identity}, although a record names it; publish it again"
        ))
    };
    let raw = raw.ok_or_else(missing)?;
    match sha256(&raw) {
        actual if actual == identity => Ok(raw),
        actual => Err(BridgeError::ManifestHash { expected: line(identity), actual: line(&actual) }),
    }
}

/// Downloads the files of an artifact to a folder, which can have a part of them from an earlier try. Every file has its
/// hash and is on disk, and so are the names in the folders. Returns the stamps of the files.
///
/// # Errors
/// `store`, if the store cannot be read; `file_hash` for a file of another content, which is removed; `io`, also if the
/// disk does not have the space for all files.
pub(super) fn download(
    remote: &Remote,
    manifest: &Manifest,
    raw: &[u8],
    folder: &Path,
    report: Report<'_>,
) -> Result<BTreeMap<String, Stamp>, BridgeError> {
    make_folder(folder)?;
    let identity = sha256(raw);
    let files = missing(manifest, &artifact(&identity), folder);
    let mut progress = Progress {
        report,
        done: sum(files.iter().map(|file| file.start)),
        total: sum(files.iter().map(|file| file.size)),
    };
    require_space(folder, progress.total - progress.done)?;
    let mut fetched = match remote.has_ranges(&format!("{}/{MANIFEST}", artifact(&identity)))? {
        true => Some(remote.parts(files.iter().map(Missing::part).collect())?),
        false => None,
    };
    let mut stamps = BTreeMap::new();
    for file in files {
        stamps.insert(file.name.clone(), file.complete(remote, fetched.as_mut(), &mut progress)?);
    }
    write(&folder.join(MANIFEST), raw)?;
    write(&folder.join(IDENTITY), line(&identity).as_bytes())?;
    sync_folders(folder)?;
    Ok(stamps)
}

/// The files of an artifact, whose beginnings a folder can have.
fn missing(manifest: &Manifest, prefix: &str, folder: &Path) -> Vec<Missing> {
    let file = |(name, entry): (&String, &FileEntry)| {
        let path = folder.join(name);
        let present = fs::metadata(&path).map_or(0, |metadata| metadata.len());
        let start = if present <= entry.size { present } else { 0 };
        let (key, sha256) = (format!("{prefix}/{name}"), entry.sha256.clone());
        Missing { name: name.clone(), path, key, start, size: entry.size, sha256 }
    };
    manifest.files.iter().map(file).collect()
}

/// The sum of sizes, which a manifest may have made too large for a number.
fn sum(sizes: impl Iterator<Item = u64>) -> u64 {
    sizes.fold(0, u64::saturating_add)
}

/// Checks that the disk of a folder has space.
///
/// # Errors
/// `io`.
#[cfg(target_os = "linux")]
fn require_space(folder: &Path, size: u64) -> Result<(), BridgeError> {
    let disk = rustix::fs::statvfs(folder).map_err(|error| BridgeError::io(folder, &error.into()))?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    if free >= size {
        return Ok(());
    }
    let remedy = "free some, or set ONNX_ML_BRIDGE_CACHE to a folder of another disk";
    let problem = format!("no space for {size} bytes, as {free} are free: {remedy}");
    Err(BridgeError::io(folder, &std::io::Error::new(std::io::ErrorKind::StorageFull, problem)))
}

#[cfg(not(target_os = "linux"))]
fn require_space(_: &Path, _: u64) -> Result<(), BridgeError> {
    Ok(())
}

/// A file that is missing, or whose end is.
struct Missing {
    name: String,
    path: PathBuf,
    key: String,
    /// The number of bytes that are there.
    start: u64,
    size: u64,
    sha256: String,
}

struct Progress<'a> {
    report: Report<'a>,
    done: u64,
    total: u64,
}

impl Progress<'_> {
    /// Reports whole MiB, because pieces are small.
    fn add(&mut self, count: u64) {
        let before = self.done;
        self.done += count;
        if before >> 20 != self.done >> 20 || self.done == self.total {
            (self.report)(self.done, self.total);
        }
    }
}

impl Missing {
    /// What is missing.
    fn part(&self) -> Part {
        Part { key: self.key.clone(), range: self.start..self.size }
    }

    /// Appends what is missing, and compares the hash of all bytes.
    fn complete(
        self,
        remote: &Remote,
        fetched: Option<&mut Parts<'_>>,
        progress: &mut Progress<'_>,
    ) -> Result<Stamp, BridgeError> {
        make_folder(self.path.parent().unwrap_or(Path::new(".")))?;
        let refused = |error| BridgeError::io(&self.path, &error);
        let mut hashed = HashedFile::open(&self.path, self.start).map_err(refused)?;
        let append = |piece: Piece| {
            let count = piece.len() as u64;
            hashed.append(piece).map_err(refused)?;
            progress.add(count);
            Ok(())
        };
        self.fetch(remote, fetched, append)?;
        let (metadata, actual) = hashed.finish().map_err(refused)?;
        if metadata.len() == self.size && actual == self.sha256 {
            return Ok(Stamp::of(&metadata));
        }
        fs::remove_file(&self.path).map_err(refused)?;
        Err(BridgeError::FileHash { file: self.name, expected: self.sha256, actual })
    }

    fn fetch(
        &self,
        remote: &Remote,
        fetched: Option<&mut Parts<'_>>,
        mut append: impl FnMut(Piece) -> Result<(), BridgeError>,
    ) -> Result<(), BridgeError> {
        let Some(fetched) = fetched else { return remote.stream(&self.key, self.start..self.size, append) };
        split(self.start..self.size).try_for_each(|_| fetched.next(&mut append))
    }
}

fn line(identity: &str) -> String {
    format!("{identity}  {MANIFEST}\n")
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), BridgeError> {
    let written = File::create(path).and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
    written.map_err(|error| BridgeError::io(path, &error))
}

/// Writes the entries of a folder, and of those in it, to disk.
fn sync_folders(folder: &Path) -> Result<(), BridgeError> {
    let refused = |error| BridgeError::io(folder, &error);
    for entry in fs::read_dir(folder).map_err(refused)? {
        let entry = entry.map_err(refused)?;
        if entry.file_type().map_err(refused)?.is_dir() {
            sync_folders(&entry.path())?;
        }
    }
    sync_folder(folder)
}
