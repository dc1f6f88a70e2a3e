//! Opens and verifies artifacts of all families. The checks run in the order that `FORMAT.md` requires.

#[cfg(feature = "store-remote")]
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::Family;
use super::model::{FamilyModel, Preprocessor};
use crate::BridgeError;
use crate::artifact::Manifest;
use crate::artifact::files::{ArtifactFiles, SealedDirectory};
use crate::artifact::manifest::Graph;
use crate::artifact::parsing::{Draft, check_rules};
#[cfg(feature = "store-remote")]
use crate::artifact::stamp::Stamp;
use crate::model::Model;
use crate::runtime::options::ModelOptions;
use crate::runtime::session::EngineOptions;
use crate::trust::Trust;

/// An artifact that passed its checks.
pub struct Artifact {
    pub(super) family: Family,
    pub(super) files: ArtifactFiles,
    preprocessor: Box<dyn Preprocessor>,
}

impl Artifact {
    /// Checks the files that one variant needs, and returns the artifact and the variant's name.
    ///
    /// `variant` is a name in the manifest, or `auto`. `auto` selects `int8` if the artifact has it and the CPU has
    /// VNNI or AMX, whose 8-bit products are exact and fast; else `fp32`, else the first variant by name. Hashes are
    /// checked only for the variant's graphs, their data files and the preprocessor's files. Other files only have to
    /// exist with the listed size.
    ///
    /// # Errors
    /// The code of the first check that fails, from `path_kind` to `variant`; `io` if a file cannot be read.
    pub fn open(path: &Path, variant: &str) -> Result<(Self, String), BridgeError> {
        Self::open_signed(&Model::new(path).variant(variant).device("cpu"), &Trust::default())
    }

    /// Like [`open`](Self::open), for an artifact that one of the trusted keys must have signed.
    ///
    /// # Errors
    /// The errors of [`open`](Self::open), `identity` for another artifact than the pinned one, and `signature`.
    pub(crate) fn open_signed(model: &Model, trust: &Trust) -> Result<(Self, String), BridgeError> {
        let options = ModelOptions { trust: trust.clone(), ..ModelOptions::default() };
        Self::open_model(model, &options).map(|(artifact, variant, _)| (artifact, variant))
    }

    /// Like [`open`](Self::open), with the identity, the limit on tokens and the devices that a model may have. Also returns
    /// the options with these devices.
    ///
    /// # Errors
    /// The errors of [`open`](Self::open); `identity` for another artifact than the pinned one; `device` for a device that
    /// cannot be used; `config` for a limit that the model does not support.
    pub(super) fn open_model(
        model: &Model,
        options: &ModelOptions,
    ) -> Result<(Self, String, EngineOptions), BridgeError> {
        let (path, variant) = (&model.path, &model.variant);
        let Layout { family, files, preprocessor } = Layout::read(path)?;
        check_identity(model, files.identity(), model.identity.as_deref())?;
        options.trust.check(&files)?;
        let engine = options.engine.on_devices(&model.device)?;
        // An unknown variant is reported last: the errors of all other checks take precedence.
        let chosen = files.manifest().choose_variant(variant, engine.devices.exact_int8());
        let manifest = files.manifest();
        let known = chosen.as_ref().ok().and_then(|name| manifest.variants.get(name));
        let graphs: Vec<(&String, &Graph)> = known.into_iter().flat_map(|variant| &variant.graphs).collect();
        let paths = preprocessor.iter().chain(graphs.iter().map(|(_, graph)| &graph.file));
        let parsed = files.check_and_parse(paths, &graphs)?;
        for (role, graph) in graphs {
            files.check_data_hashes(&parsed, graph)?;
            files.check_graph(&parsed, graph, role, family.declaration().interface(role))?;
        }
        let (files, preprocessor) = load_preprocessor(family, files, model.max_tokens)?;
        let chosen = chosen?;
        Ok((Self { family, files, preprocessor }, chosen, engine))
    }

    /// Checks every file and every graph, but does not replay the golden cases, for which there is [`replay`](super::replay).
    ///
    /// # Errors
    /// The code of the first check that fails, from `path_kind` to `tokenizer`; `io` if a file cannot be read.
    pub fn verify(path: &Path) -> Result<Self, BridgeError> {
        Self::verify_signed(path, &Trust::default())
    }

    /// Like [`verify`](Self::verify), for an artifact that one of the trusted keys must have signed. This check comes before
    /// a graph or a tokenizer is read.
    ///
    /// # Errors
    /// The errors of [`verify`](Self::verify), `signature`, and `identity` for another artifact than the pinned one.
    pub(crate) fn verify_model(model: &Model, trust: &Trust) -> Result<Self, BridgeError> {
        let artifact = Self::verify_signed(&model.path, trust)?;
        check_identity(model, artifact.identity(), model.identity.as_deref())?;
        Ok(artifact)
    }

    fn verify_signed(path: &Path, trust: &Trust) -> Result<Self, BridgeError> {
        let Layout { family, files, .. } = Layout::read(path)?;
        trust.check(&files)?;
        Self::check_all(family, files)
    }

    /// Like [`verify`](Self::verify), for an artifact whose files had the right hashes when they were written.
    #[cfg(feature = "store-remote")]
    pub(crate) fn verify_written(path: &Path, stamps: BTreeMap<String, Stamp>) -> Result<Self, BridgeError> {
        let Layout { family, files, .. } = Layout::read(path)?;
        files.add_hashed(stamps);
        Self::check_all(family, files)
    }

    /// Runs the checks `file_hash` to `tokenizer` on all files.
    fn check_all(family: Family, files: ArtifactFiles) -> Result<Self, BridgeError> {
        let manifest = files.manifest();
        let graphs: Vec<_> = manifest.variants.values().flat_map(|variant| &variant.graphs).collect();
        let parsed = files.check_and_parse(manifest.files.keys(), &graphs)?;
        for (role, graph) in graphs {
            files.check_graph(&parsed, graph, role, family.declaration().interface(role))?;
        }
        let preprocessor = (family.declaration().load)(&files)?;
        Ok(Self { family, files, preprocessor })
    }

    /// The family of the artifact's model.
    pub fn family(&self) -> Family {
        self.family
    }

    /// The parsed manifest of the artifact.
    pub fn manifest(&self) -> &Manifest {
        self.files.manifest()
    }

    /// SHA-256 of `manifest.json`, hexadecimal. It identifies this version of the model.
    pub fn identity(&self) -> &str {
        self.files.identity()
    }

    /// The artifact's directory: an absolute path without symbolic links.
    pub fn root(&self) -> &Path {
        self.files.root()
    }

    /// Opens a variant. No graph is loaded yet.
    ///
    /// # Errors
    /// `variant`, if the artifact has no such variant.
    pub(crate) fn model(&self, variant: &str, options: &ModelOptions) -> Result<Arc<dyn FamilyModel>, BridgeError> {
        self.preprocessor.open(&self.files, variant, options)
    }
}

/// Loads the preprocessor of an artifact, which truncates texts to `max_tokens` tokens. Returns the files with this limit.
fn load_preprocessor(
    family: Family,
    files: ArtifactFiles,
    max_tokens: Option<usize>,
) -> Result<(ArtifactFiles, Box<dyn Preprocessor>), BridgeError> {
    let load = family.declaration().load;
    let Some(max_tokens) = max_tokens else {
        let preprocessor = load(&files)?;
        return Ok((files, preprocessor));
    };
    let limited = files.with_max_tokens(max_tokens)?;
    match load(&limited) {
        Ok(preprocessor) => Ok((limited, preprocessor)),
        Err(error) => {
            load(&files)?; // fails if the tokenizer itself is invalid, otherwise the limit is
            Err(BridgeError::config(format!("max_tokens is {max_tokens}: {error}")))
        }
    }
}

/// An artifact that passed the checks from `path_kind` to `size`.
struct Layout {
    family: Family,
    files: ArtifactFiles,
    /// The paths of the preprocessor's files, relative to the artifact.
    preprocessor: Vec<String>,
}

impl Layout {
    fn read(path: &Path) -> Result<Self, BridgeError> {
        let directory = SealedDirectory::read(path)?;
        let parsed = ParsedManifest::parse(directory.manifest())?;
        let files = directory.check_files(parsed.manifest)?;
        Ok(Self { family: parsed.family, files, preprocessor: parsed.preprocessor })
    }
}

/// Runs the checks `path_kind` to `size` on an artifact, and returns its manifest and its identity. No file is hashed but the
/// manifest.
#[cfg(feature = "store")]
pub(crate) fn check_layout(path: &Path) -> Result<(Manifest, String), BridgeError> {
    let files = Layout::read(path)?.files;
    Ok((Manifest::clone(files.manifest()), files.identity().to_owned()))
}

/// Runs the check `signature` on an artifact.
#[cfg(feature = "store")]
pub(crate) fn check_signed(path: &Path, trust: &Trust) -> Result<(), BridgeError> {
    trust.check(&Layout::read(path)?.files)
}

/// Reads a manifest from its bytes.
///
/// # Errors
/// `json`, `format_version`, `unknown_task` or `schema`, in this order; `schema` lists all violations.
pub fn parse_manifest(bytes: &[u8]) -> Result<Manifest, BridgeError> {
    ParsedManifest::parse(bytes).map(|parsed| parsed.manifest)
}

struct ParsedManifest {
    family: Family,
    manifest: Manifest,
    /// The paths of the preprocessor's files, relative to the artifact.
    preprocessor: Vec<String>,
}

impl ParsedManifest {
    fn parse(bytes: &[u8]) -> Result<Self, BridgeError> {
        let draft = Draft::parse(bytes)?;
        let known = draft.task_and_engine().map(|(task, engine)| Family::find(task, engine)).transpose()?;
        if let Some(family) = known {
            draft.check_task_revision(family.declaration().revision)?;
        }
        let manifest = draft.into_manifest()?;
        // The schema requires the task and the engine, so that the family is known from here on.
        let family = known.map_or_else(|| Family::find(&manifest.task, &manifest.engine), Ok)?;
        let sections = (family.declaration().check_sections)(&manifest)?;
        let preprocessor = sections.files.iter().map(|(_, path)| path.clone()).collect();
        check_rules(&manifest, sections)?;
        Ok(Self { family, manifest, preprocessor })
    }
}

/// Refuses an artifact that is not the pinned one.
pub(super) fn check_identity(model: &Model, actual: &str, expected: Option<&str>) -> Result<(), BridgeError> {
    match expected {
        Some(expected) if expected != actual => Err(BridgeError::Identity {
            path: model.path.clone(),
            expected: expected.to_owned(),
            actual: actual.to_owned(),
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::tree::OPENED;

    fn code(text: &str) -> Result<(), &'static str> {
        parse_manifest(text.as_bytes()).map(|_| ()).map_err(|error| error.code().as_str())
    }

    fn manifest(task: &str, engine: &str, revision: u64) -> String {
        format!("{{\"format_version\":1,\"task\":{task},\"engine\":{engine},\"task_revision\":{revision}}}")
    }

    /// The graph files that a function opens, each as often as it opens it.
    fn opened_graphs(run: impl FnOnce()) -> Vec<String> {
        OPENED.take();
        run();
        let mut graphs: Vec<String> = OPENED.take().into_iter().filter(|path| path.ends_with(".onnx")).collect();
        graphs.sort();
        graphs
    }

    #[test]
    #[cfg(feature = "sentence-embedding")]
    fn every_graph_file_is_read_once() {
        let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/valid/tiny-embedding");
        let open = || drop(Artifact::open(&shared, "int8").expect("an artifact"));
        assert_eq!(opened_graphs(open), ["onnx/model_int8.onnx"]);
        let verify = || drop(Artifact::verify(&shared).expect("an artifact"));
        assert_eq!(opened_graphs(verify), ["onnx/model.onnx", "onnx/model_int8.onnx"]);
    }

    #[test]
    fn versions_and_the_family_are_checked_before_the_schema() {
        for family in Family::ALL {
            let (task, engine) = (format!("{:?}", family.task().manifest_name()), format!("{:?}", family.engine()));
            let newest = family.declaration().revision;
            assert_eq!(code(&manifest(&task, &engine, newest + 1)), Err("format_version"), "{family:?}");
            assert_eq!(code(&manifest(&task, &engine, newest)), Err("schema"), "{family:?}");
            assert_eq!(code(&manifest(&task, "\"x\"", newest + 1)), Err("unknown_task"), "{family:?}");
            assert_eq!(code(&manifest("\"x\"", &engine, newest)), Err("unknown_task"), "{family:?}");
            assert_eq!(code(&manifest(&task, "null", newest + 1)), Err("schema"), "{family:?}");
            assert_eq!(code(&manifest("7", &engine, newest)), Err("schema"), "{family:?}");
        }
        let newer = manifest("\"x\"", "\"x\"", 1).replace("\"format_version\":1", "\"format_version\":2");
        assert_eq!(code(&newer), Err("format_version"));
        assert_eq!(code("{\"format_version\":1}"), Err("schema"));
    }

    #[test]
    fn an_unknown_task_names_the_known_ones() {
        let error = parse_manifest(manifest("\"x\"", "\"y\"", 1).as_bytes()).expect_err("an unknown task");
        let message = error.to_string();
        for family in Family::ALL {
            assert!(message.contains(&format!("{}/{}", family.task().manifest_name(), family.engine())), "{message}");
        }
        assert!(message.contains("\"x\"") && message.contains("\"y\"") && message.contains("upgrade"), "{message}");
    }
}
