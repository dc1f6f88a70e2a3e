//! Checks that the files that sessions read are those of the opened artifact.

use std::sync::{Arc, OnceLock};

use crate::BridgeError;
use crate::artifact::files::ArtifactFiles;

/// The files of the artifact of some sessions, once it is open. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct FileCheck(Arc<OnceLock<Arc<ArtifactFiles>>>);

impl FileCheck {
    /// Sets the files, unless they are set.
    pub(crate) fn set(&self, files: &Arc<ArtifactFiles>) {
        self.0.get_or_init(|| Arc::clone(files));
    }

    /// Reads files that have not changed before, and do not change meanwhile.
    ///
    /// # Errors
    /// `file_hash`, `path_kind` or `io` if a file has changed since it was hashed; the errors of reading.
    pub(super) fn around<T>(&self, read: impl FnOnce() -> Result<T, BridgeError>) -> Result<T, BridgeError> {
        self.check()?;
        let value = read()?;
        self.check()?;
        Ok(value)
    }

    fn check(&self) -> Result<(), BridgeError> {
        self.0.get().map_or(Ok(()), |files| files.check_changed())
    }
}

#[cfg(test)]
#[cfg(feature = "sentence-embedding")]
mod tests {
    use std::cell::Cell;
    use std::fs;

    use super::*;
    use crate::Model;
    use crate::artifact::copied::copied_artifact;
    use crate::families::loading::open;
    use crate::runtime::options::ModelOptions;

    #[test]
    fn files_that_change_before_they_are_read_or_meanwhile_are_refused() {
        let folder = copied_artifact();
        let graph = folder.path().join("onnx/model.onnx");
        let bytes = fs::read(&graph).expect("a graph");
        let mut other = bytes.clone();
        *other.last_mut().expect("bytes") ^= 1;

        let check = FileCheck::default();
        assert_eq!(check.around(|| Ok(1)), Ok(1));
        let model = Model::new(folder.path()).variant("fp32");
        check.set(&open(&model, &ModelOptions::default()).expect("an artifact").files);
        assert_eq!(check.around(|| Ok(2)), Ok(2));
        let reads = Cell::new(0);
        let read_and_write = |bytes: &[u8]| {
            let read = || {
                reads.set(reads.get() + 1);
                fs::write(&graph, bytes).expect("a file");
                Ok(())
            };
            check.around(read).map_err(|error| error.code().as_str())
        };
        assert_eq!((read_and_write(&other), reads.get()), (Err("file_hash"), 1));
        assert_eq!((read_and_write(&bytes), reads.get()), (Err("file_hash"), 1));
        fs::write(&graph, &bytes).expect("a file");
        assert_eq!((read_and_write(&bytes), reads.get()), (Ok(()), 2));
    }
}
