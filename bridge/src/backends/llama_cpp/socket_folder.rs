//! [`SocketFolder`]: the folder of a Unix socket.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use crate::BridgeError;
use crate::runtime::random::random;

/// The longest path of a Unix socket.
const MAX_SOCKET: usize = 100;

/// A new folder for a socket, which only this user can read.
pub(super) struct SocketFolder(PathBuf);

impl SocketFolder {
    /// # Errors
    /// `io`, or `config` if the path of temporary files is too long for a socket.
    pub(super) fn new() -> Result<Self, BridgeError> {
        let path = std::env::temp_dir().join(format!("onnx-ml-bridge-{:016x}", random()));
        let folder = Self(path);
        if folder.socket().as_os_str().len() > MAX_SOCKET {
            let problem = format!("TMPDIR: {} is too long for a Unix socket", folder.socket().display());
            std::mem::forget(folder); // nothing was created
            return Err(BridgeError::config(problem));
        }
        DirBuilder::new().mode(0o700).create(&folder.0).map_err(|error| BridgeError::io(&folder.0, &error))?;
        Ok(folder)
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.0.join("llama.sock")
    }
}

impl Drop for SocketFolder {
    fn drop(&mut self) {
        // What is left is an empty folder for temporary files.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn sockets_are_for_this_user_alone() {
        let folder = SocketFolder::new().expect("a folder");
        assert_eq!(fs::metadata(&folder.0).expect("a folder").mode() & 0o777, 0o700);
        let path = folder.0.clone();
        drop(folder);
        assert!(!path.exists());
    }
}
