//! Downloads an artifact in parts: several at a time, appended in order and hashed, continued after a break.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::io::{Seek, SeekFrom, Write};
#[cfg(target_os = "linux")]
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::cache::{make_folder, sync_folder};
use super::layout::artifact;
use super::locate::Report;
use super::remote::{PART, Part, Parts, Remote};
use crate::BridgeError;
use crate::artifact::Manifest;
use crate::artifact::stamp::Stamp;
use crate::artifact::tree::{IDENTITY, MANIFEST, MAX_MANIFEST_BYTES, hex, sha256};

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
/// `store`, if the store cannot be read; `file_hash` for a file of another content, which is removed; `io`.
pub(super) fn download(
    remote: &Remote,
    manifest: &Manifest,
    raw: &[u8],
    folder: &Path,
    report: Report<'_>,
) -> Result<BTreeMap<String, Stamp>, BridgeError> {
    make_folder(folder)?;
    let identity = sha256(raw);
    let mut files = Vec::new();
    for (name, entry) in &manifest.files {
        let path = folder.join(name);
        let present = fs::metadata(&path).map_or(0, |metadata| metadata.len());
        let start = if present <= entry.size { present } else { 0 };
        let (key, sha256) = (format!("{}/{name}", artifact(&identity)), entry.sha256.clone());
        files.push(Missing { name: name.clone(), path, key, start, size: entry.size, sha256 });
    }
    let mut progress = Progress {
        report,
        done: files.iter().map(|file| file.start).sum(),
        total: files.iter().map(|file| file.size).sum(),
    };
    let mut fetched = match remote.has_ranges(&format!("{}/{MANIFEST}", artifact(&identity)))? {
        true => Some(remote.parts(files.iter().flat_map(Missing::parts).collect())?),
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

impl Missing {
    fn parts(&self) -> impl Iterator<Item = Part> {
        let starts = (self.start..self.size).step_by(PART as usize);
        starts.map(|start| Part { key: self.key.clone(), range: start..self.size.min(start + PART) })
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
        let options = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&self.path);
        let mut file = options.map_err(refused)?;
        file.set_len(self.start).map_err(refused)?;
        let mut digest = Sha256::new();
        hash(&mut file, &mut digest).map_err(refused)?;
        file.seek(SeekFrom::End(0)).map_err(refused)?;
        let mut written = self.start;
        let append = |bytes: &[u8]| {
            file.write_all(bytes).map_err(|error| BridgeError::io(&self.path, &error))?;
            begin_writing(&file, written, bytes.len() as u64);
            digest.update(bytes);
            written += bytes.len() as u64;
            progress.done += bytes.len() as u64;
            (progress.report)(progress.done, progress.total);
            Ok(())
        };
        self.fetch(remote, fetched, append)?;
        file.sync_all().map_err(refused)?;
        let actual = hex(&digest.finalize());
        if written == self.size && actual == self.sha256 {
            return Ok(Stamp::of(&file.metadata().map_err(refused)?));
        }
        fs::remove_file(&self.path).map_err(refused)?;
        Err(BridgeError::FileHash { file: self.name, expected: self.sha256, actual })
    }

    fn fetch(
        &self,
        remote: &Remote,
        fetched: Option<&mut Parts<'_>>,
        mut append: impl FnMut(&[u8]) -> Result<(), BridgeError>,
    ) -> Result<(), BridgeError> {
        let Some(fetched) = fetched else { return remote.stream(&self.key, self.start..self.size, append) };
        self.parts().try_for_each(|_| append(&fetched.next()?))
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

fn hash(file: &mut File, digest: &mut Sha256) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(()),
            count => digest.update(&buffer[..count]),
        }
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
