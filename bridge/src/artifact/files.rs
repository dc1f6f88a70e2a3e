//! Checks on the files of an artifact, in the order of `FORMAT.md`: first the directory, then the manifest's hash, then the
//! listed files and graphs.

#[cfg(feature = "store-remote")]
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use super::graph::{GraphFile, Interface, ParsedFiles};
use super::manifest::{Graph, Manifest};
use super::onnx::Model;
#[cfg(feature = "store-remote")]
use super::stamp::Stamp;
use super::tree::{IDENTITY, MANIFEST, Tree, sha256};
use crate::BridgeError;

/// An artifact's directory whose `manifest.json` has the hash that `manifest.sha256` states.
pub(crate) struct SealedDirectory {
    tree: Tree,
    manifest: Vec<u8>,
    identity: String,
}

impl SealedDirectory {
    /// Reads a directory and runs the checks `path_kind` and `manifest_hash`.
    pub(crate) fn read(path: &Path) -> Result<Self, BridgeError> {
        let tree = Tree::walk(path)?;
        let manifest = tree.read(MANIFEST)?;
        let identity = sha256(&manifest);
        check_identity(&tree.read(IDENTITY)?, &identity)?;
        Ok(Self { tree, manifest, identity })
    }

    /// The bytes of `manifest.json`.
    pub(crate) fn manifest(&self) -> &[u8] {
        &self.manifest
    }

    /// Runs the checks `file_set` and `size`. `manifest` is the parsed manifest of this directory.
    pub(crate) fn check_files(self, manifest: Manifest) -> Result<ArtifactFiles, BridgeError> {
        let Self { tree, identity, .. } = self;
        tree.check_set(&manifest.files)?;
        tree.check_sizes(&manifest.files)?;
        Ok(ArtifactFiles { tree, manifest: Arc::new(manifest), identity })
    }
}

fn check_identity(line: &[u8], identity: &str) -> Result<(), BridgeError> {
    let expected = format!("{identity}  {MANIFEST}\n");
    if line == expected.as_bytes() {
        return Ok(());
    }
    let actual = String::from_utf8_lossy(line).chars().take(100).collect();
    Err(BridgeError::ManifestHash { expected, actual })
}

/// The files of an artifact that the manifest lists. Each of them exists and has the listed size.
pub(crate) struct ArtifactFiles {
    tree: Tree,
    manifest: Arc<Manifest>,
    identity: String,
}

impl ArtifactFiles {
    /// The parsed manifest.
    pub(crate) fn manifest(&self) -> &Arc<Manifest> {
        &self.manifest
    }

    /// The same files with a manifest whose tokenizer truncates texts earlier.
    ///
    /// # Errors
    /// `config` if the limit is above the model's, or if the model has none.
    pub(crate) fn with_max_tokens(&self, max_tokens: usize) -> Result<Self, BridgeError> {
        let manifest = Arc::new(self.manifest.with_max_tokens(max_tokens)?);
        Ok(Self { tree: self.tree.clone(), manifest, identity: self.identity.clone() })
    }

    /// SHA-256 of `manifest.json`, hexadecimal.
    pub(crate) fn identity(&self) -> &str {
        &self.identity
    }

    /// The artifact's directory: an absolute path without symbolic links.
    pub(crate) fn root(&self) -> &Path {
        self.tree.root()
    }

    /// Reads a file, given its path relative to the artifact.
    pub(crate) fn read(&self, relative: &str) -> Result<Vec<u8>, BridgeError> {
        self.tree.read(relative)
    }

    /// Adds the stamps of files whose hashes were right when they were written. The check `file_hash` does not read them again.
    #[cfg(feature = "store-remote")]
    pub(crate) fn add_hashed(&self, stamps: BTreeMap<String, Stamp>) {
        self.tree.add_hashed(stamps);
    }

    /// Runs the check `file_hash` again for each file that was hashed and has changed on disk since then.
    ///
    /// # Errors
    /// `file_hash` for other bytes, `path_kind` or `io` if the file is no regular file any more or cannot be read.
    pub(crate) fn check_changed(&self) -> Result<(), BridgeError> {
        self.tree.check_changed(&self.manifest.files)
    }

    /// The size in bytes of the files whose hashes were checked, without some of them.
    pub(crate) fn hashed_bytes(&self, without: &[String]) -> u64 {
        let hashed = self.tree.hashed().into_iter().filter(|path| !without.contains(path));
        hashed.filter_map(|path| self.manifest.files.get(&path)).map(|entry| entry.size).sum()
    }

    /// Runs the check `file_hash` for some of the listed files.
    pub(crate) fn check_hashes<'a>(&self, paths: impl IntoIterator<Item = &'a String>) -> Result<(), BridgeError> {
        let listed = &self.manifest.files;
        let entries = paths.into_iter().filter_map(|path| Some((path, listed.get(path)?)));
        entries.into_iter().try_for_each(|(path, entry)| self.tree.check_hash(path, entry))
    }

    /// Runs the check `file_hash` for some of the listed files, and parses those that `graphs` declare. Each file is read
    /// once. A graph that cannot be parsed is refused later, by [`check_graph`](Self::check_graph).
    pub(crate) fn check_and_parse<'a>(
        &self,
        paths: impl IntoIterator<Item = &'a String>,
        graphs: &[(&String, &Graph)],
    ) -> Result<ParsedFiles, BridgeError> {
        let declared: BTreeSet<&String> = graphs.iter().map(|(_, graph)| &graph.file).collect();
        let mut parsed = ParsedFiles::new();
        for path in paths {
            match self.manifest.files.get(path) {
                Some(entry) if declared.contains(path) && !parsed.contains_key(path) => {
                    parsed.insert(path.clone(), Model::parse(&self.tree.read_checked(path, entry)?));
                }
                Some(entry) if !declared.contains(path) => self.tree.check_hash(path, entry)?,
                _ => {}
            }
        }
        Ok(parsed)
    }

    /// Runs the check `file_hash` for the files with a graph's external data.
    pub(crate) fn check_data_hashes(&self, parsed: &ParsedFiles, graph: &Graph) -> Result<(), BridgeError> {
        let graph = GraphFile::find(parsed, graph);
        self.check_hashes(&graph.map(|graph| graph.data_files(&self.manifest.files)).unwrap_or_default())
    }

    /// Runs the check `graph` on a parsed graph. `interface` is the interface that the role of the graph requires;
    /// `None` if the model's family has no such role.
    pub(crate) fn check_graph(
        &self,
        parsed: &ParsedFiles,
        graph: &Graph,
        role: &str,
        interface: Option<&Interface>,
    ) -> Result<(), BridgeError> {
        let missing = || BridgeError::Graph { file: graph.file.clone(), problem: "was not read".to_owned() };
        GraphFile::find(parsed, graph).ok_or_else(missing)?.check(role, interface, &self.manifest.files)
    }
}
