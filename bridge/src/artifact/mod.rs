//! Reading artifacts: one directory, one immutable version of one model.
//!
//! The checks are those of the format's text (`FORMAT.md`), in its order; the first failure decides the error.

mod generation;
pub(crate) mod graph;
pub mod json;
pub mod manifest;
pub(crate) mod onnx;
pub(crate) mod rules;
mod specs;
#[cfg(test)]
pub(crate) mod testing;
pub(crate) mod tree;
pub(crate) mod wire;

use std::path::Path;

pub use self::manifest::Manifest;
pub use self::rules::parse_manifest;

use self::manifest::{Graph, section};
use self::tree::{IDENTITY, MANIFEST, Tree, sha256};
use crate::BridgeError;
use crate::runtime::cpu::Cpu;
use crate::spacy::SpacyText;
use crate::tokenizer::TextEncoder;

/// What turns texts into the graphs' inputs, loaded and checked.
pub(crate) enum TextFiles {
    /// `tokenizer.json`.
    Tokenizer(Box<TextEncoder>),
    /// spaCy's rules and tables.
    Spacy(Box<SpacyText>),
}

impl TextFiles {
    /// The tokenizer that an artifact of the engine `transformers` has.
    ///
    /// # Errors
    /// `schema` for one of another engine.
    pub(crate) fn into_tokenizer(self) -> Result<TextEncoder, BridgeError> {
        match self {
            Self::Tokenizer(encoder) => Ok(*encoder),
            Self::Spacy(_) => Err(manifest::missing("tokenizer")),
        }
    }
}

/// An artifact that passed its checks.
pub struct Artifact {
    tree: Tree,
    manifest: Manifest,
    identity: String,
    text_files: TextFiles,
}

impl Artifact {
    /// Checks what one variant needs, and returns the artifact with the variant's name.
    ///
    /// `variant` is a name of the manifest, or `auto`: `int8` where the CPU has VNNI or AMX, whose 8-bit products are
    /// exact and fast, else `fp32`, else the first by name. Hashed and parsed are the graphs of the variant, their data
    /// files, and the tokenizer or spaCy's rules and tables; every other file is checked for its presence and size.
    ///
    /// # Errors
    /// The first check that fails, from `path_kind` to `variant`; `io` where the file system refuses a read.
    pub fn open(path: &Path, variant: &str) -> Result<(Self, String), BridgeError> {
        let (tree, manifest, identity) = read_layout(path)?;
        let chosen = choose_variant(&manifest, variant, Cpu::detect());
        // An unknown variant is the last check of all: what lies before it still decides.
        let known = chosen.as_ref().ok().and_then(|name| manifest.variants.get(name));
        let graphs: Vec<(&String, &Graph)> = known.into_iter().flat_map(|variant| &variant.graphs).collect();
        let mut used: Vec<String> = manifest.text_files().into_iter().map(|(_, path)| path.clone()).collect();
        used.extend(graphs.iter().map(|(_, graph)| graph.file.clone()));
        check_hashes(&tree, &manifest, &used)?;
        check_graphs(&tree, &manifest, &graphs, true)?;
        let text_files = load_text_files(&tree, &manifest)?;
        let chosen = chosen?;
        Ok((Self { tree, manifest, identity, text_files }, chosen))
    }

    /// Checks every file and every graph. The golden cases are replayed by [`replay`](crate::golden::replay).
    ///
    /// # Errors
    /// The first check that fails, from `path_kind` to `tokenizer`; `io` where the file system refuses a read.
    pub fn verify(path: &Path) -> Result<Self, BridgeError> {
        let (tree, manifest, identity) = read_layout(path)?;
        let all: Vec<String> = manifest.files.keys().cloned().collect();
        check_hashes(&tree, &manifest, &all)?;
        let graphs: Vec<_> = manifest.variants.values().flat_map(|variant| &variant.graphs).collect();
        check_graphs(&tree, &manifest, &graphs, false)?;
        let text_files = load_text_files(&tree, &manifest)?;
        Ok(Self { tree, manifest, identity, text_files })
    }

    /// The manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// SHA-256 of `manifest.json`, hexadecimal: the identity of this version.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// The artifact's directory, absolute and without links.
    pub fn root(&self) -> &Path {
        self.tree.root()
    }

    pub(crate) fn read(&self, relative: &str) -> Result<Vec<u8>, BridgeError> {
        self.tree.read(relative)
    }

    pub(crate) fn into_parts(self) -> (Manifest, TextFiles) {
        (self.manifest, self.text_files)
    }
}

/// The checks `path_kind` to `size`.
fn read_layout(path: &Path) -> Result<(Tree, Manifest, String), BridgeError> {
    let tree = Tree::walk(path)?;
    let bytes = tree.read(MANIFEST)?;
    let identity = sha256(&bytes);
    check_identity(&tree.read(IDENTITY)?, &identity)?;
    let manifest = parse_manifest(&bytes)?;
    tree.check_set(&manifest.files)?;
    tree.check_sizes(&manifest.files)?;
    Ok((tree, manifest, identity))
}

fn check_identity(line: &[u8], identity: &str) -> Result<(), BridgeError> {
    let expected = format!("{identity}  {MANIFEST}\n");
    if line == expected.as_bytes() {
        return Ok(());
    }
    let found = String::from_utf8_lossy(line).chars().take(100).collect();
    Err(BridgeError::ManifestHash { expected, found })
}

fn check_hashes(tree: &Tree, manifest: &Manifest, paths: &[String]) -> Result<(), BridgeError> {
    let entries = paths.iter().filter_map(|path| Some((path, manifest.files.get(path)?)));
    entries.into_iter().try_for_each(|(path, entry)| tree.check_hash(path, entry))
}

/// The check `graph`; first the check `file_hash` of the graphs' data files where `hash_data` asks for it.
fn check_graphs(
    tree: &Tree,
    manifest: &Manifest,
    graphs: &[(&String, &Graph)],
    hash_data: bool,
) -> Result<(), BridgeError> {
    for (role, graph) in graphs {
        let bytes = tree.read(&graph.file)?;
        if hash_data {
            check_hashes(tree, manifest, &graph::data_files_of(&bytes, graph, &manifest.files))?;
        }
        graph::check_graph(&bytes, role, graph, &manifest.files)?;
    }
    Ok(())
}

/// The check `tokenizer`. The schema lets a manifest have either section, as its engine asks for.
fn load_text_files(tree: &Tree, manifest: &Manifest) -> Result<TextFiles, BridgeError> {
    if let Some(spec) = &manifest.spacy {
        let text = SpacyText::load(&tree.read(&spec.rules)?, &tree.read(&spec.tables)?, spec)?;
        return Ok(TextFiles::Spacy(Box::new(text)));
    }
    let spec = section(&manifest.tokenizer, "tokenizer")?;
    let encoder = TextEncoder::load(&tree.read(&spec.file)?, spec)?;
    Ok(TextFiles::Tokenizer(Box::new(encoder)))
}

/// The variant that `asked` means on a CPU.
fn choose_variant(manifest: &Manifest, asked: &str, cpu: Cpu) -> Result<String, BridgeError> {
    let names: Vec<&str> = manifest.variants.keys().map(String::as_str).collect();
    let chosen = choose(&names, asked, cpu).ok_or_else(|| manifest.unknown_variant(asked))?;
    Ok(chosen.to_owned())
}

fn choose<'a>(names: &[&'a str], asked: &str, cpu: Cpu) -> Option<&'a str> {
    let find = |name: &str| names.iter().find(|known| **known == name).copied();
    match asked {
        "auto" => {
            let int8 = find("int8").filter(|_| cpu.has_exact_int8());
            int8.or_else(|| find("fp32")).or_else(|| names.first().copied())
        }
        name => find(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_means_int8_only_where_its_products_are_exact_and_fast() {
        for (x86, vnni) in [(true, true), (true, false), (false, true), (false, false)] {
            let cpu = Cpu::new(x86, vnni);
            let both = if vnni { "int8" } else { "fp32" };
            assert_eq!(choose(&["fp32", "int8"], "auto", cpu), Some(both), "{cpu:?}");
            assert_eq!(choose(&["fp16", "int8"], "auto", cpu), Some(if vnni { "int8" } else { "fp16" }), "{cpu:?}");
            assert_eq!(choose(&["bf16", "fp32"], "auto", cpu), Some("fp32"), "{cpu:?}");
            assert_eq!(choose(&["int8"], "auto", cpu), Some("int8"), "{cpu:?}");
            assert_eq!(choose(&["fp32", "int8"], "int8", cpu), Some("int8"), "{cpu:?}");
            assert_eq!(choose(&["fp32", "int8"], "int4", cpu), None, "{cpu:?}");
        }
    }
}
