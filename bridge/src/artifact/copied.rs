//! Copies of an artifact, for tests.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

/// A copy of the golden artifact `tiny-embedding`, which a test may change.
pub(crate) fn copied_artifact() -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary directory");
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/valid/tiny-embedding"), folder.path());
    folder
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("a folder") {
        let (path, target) = entry.map(|entry| (entry.path(), to.join(entry.file_name()))).expect("an entry");
        if path.is_dir() {
            fs::create_dir(&target).expect("a folder");
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).expect("a file");
        }
    }
}
