//! Opening models: [`OnnxMlBridgeBuilder`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::BridgeError;
use crate::artifact::manifest::{NER, SENTENCE_EMBEDDING, SUMMARIZATION};
use crate::artifact::{Artifact, Manifest, TextFiles};
use crate::bridge::{Models, OnnxMlBridge};
use crate::runtime::embedding::EmbeddingModel;
use crate::runtime::ner::{NerModel, NerTexts};
use crate::runtime::session::EngineOptions;
use crate::runtime::summarization::{Limits, Summarizer, SummaryTexts};
use crate::runtime::{DEFAULT_BEAM_LIMIT, DEFAULT_TEXT_LIMIT};

/// What to open, and how.
#[derive(Clone, Default)]
#[must_use = "call build()"]
pub struct OnnxMlBridgeBuilder {
    embedding: Option<PathBuf>,
    /// With the names that calls know them by, where they are not the manifests'.
    ner: Vec<(Option<String>, PathBuf)>,
    summarization: Option<PathBuf>,
    variant: Option<String>,
    embedding_variant: Option<String>,
    ner_variant: Option<String>,
    summarization_variant: Option<String>,
    text_limit: Option<usize>,
    beam_limit: Option<usize>,
    engine: EngineOptions,
}

impl OnnxMlBridgeBuilder {
    /// The directory of the embedding artifact.
    pub fn embedding(mut self, path: impl Into<PathBuf>) -> Self {
        self.embedding = Some(path.into());
        self
    }

    /// The directory of an artifact that finds named entities. Calls know it by the name in its manifest. Several may be
    /// opened, for instance one per language.
    pub fn ner(mut self, path: impl Into<PathBuf>) -> Self {
        self.ner.push((None, path.into()));
        self
    }

    /// The same, under another name.
    pub fn ner_named(mut self, name: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        self.ner.push((Some(name.into()), path.into()));
        self
    }

    /// The directory of an artifact that summarizes.
    pub fn summarization(mut self, path: impl Into<PathBuf>) -> Self {
        self.summarization = Some(path.into());
        self
    }

    /// The variant of every model: a name of its manifest (`int8`, `fp32`), or `auto`, the default: `int8` where the CPU
    /// has VNNI or AMX, whose 8-bit products are exact and fast, and the artifact has it, else `fp32`, else the first by
    /// name.
    pub fn variant(mut self, variant: impl Into<String>) -> Self {
        self.variant = Some(variant.into());
        self
    }

    /// The variant of the embedding model, where it is another one.
    pub fn embedding_variant(mut self, variant: impl Into<String>) -> Self {
        self.embedding_variant = Some(variant.into());
        self
    }

    /// The variant of the models that find named entities, where it is another one.
    pub fn ner_variant(mut self, variant: impl Into<String>) -> Self {
        self.ner_variant = Some(variant.into());
        self
    }

    /// The variant of the model that summarizes, where it is another one.
    pub fn summarization_variant(mut self, variant: impl Into<String>) -> Self {
        self.summarization_variant = Some(variant.into());
        self
    }

    /// Threads of all sessions of a graph together. Default: those that affinity and the cgroup's quota leave to the
    /// process.
    pub fn threads(mut self, threads: usize) -> Self {
        self.engine.threads = Some(threads);
        self
    }

    /// Sessions of a graph at most, each created when it is needed; they share the threads. Default: 1, and one for each
    /// thread for the small graphs of spaCy's models. Several serve parallel calls better, and each keeps its own copy of
    /// the weights.
    pub fn sessions(mut self, sessions: usize) -> Self {
        self.engine.sessions = Some(sessions);
        self
    }

    /// ONNX Runtime's shared library. Default: the one that `ORT_DYLIB_PATH` names. A process loads one library: the
    /// first call that needs it decides.
    pub fn library(mut self, path: impl Into<PathBuf>) -> Self {
        self.engine.library = Some(path.into());
        self
    }

    /// The environment of an application that uses `ort` itself: a process can have only one.
    pub fn environment(mut self, environment: ort::environment::Environment) -> Self {
        self.engine.environment = Some(environment);
        self
    }

    /// Execution providers to try before the CPU, in this order; each needs its cargo feature.
    pub fn execution_providers(mut self, providers: impl Into<Vec<ort::ep::ExecutionProviderDispatch>>) -> Self {
        self.engine.providers = providers.into();
        self
    }

    /// Largest text in bytes of UTF-8; of messages to summarize, all of them joined. Default: [`DEFAULT_TEXT_LIMIT`].
    pub fn text_limit(mut self, bytes: usize) -> Self {
        self.text_limit = Some(bytes);
        self
    }

    /// Places in the beams of one run of a summarizer, texts x beams x `max_length`, which bound its memory. More texts are
    /// more runs; a call that needs more for a single text is refused with `config`. Default: [`DEFAULT_BEAM_LIMIT`].
    pub fn beam_limit(mut self, places: usize) -> Self {
        self.beam_limit = Some(places);
        self
    }

    /// Checks the artifacts as the format's `open` says. ONNX Runtime is not touched: sessions are created by the first
    /// call, or by [`OnnxMlBridge::warm_up`].
    ///
    /// # Errors
    /// `config` for a wrong option or two models of one name, a verdict about an artifact (`path_kind` to `variant`, the
    /// latter also for an artifact of another task), or `io`.
    pub fn build(self) -> Result<OnnxMlBridge, BridgeError> {
        self.check_options()?;
        let embedding = self.embedding.as_deref().map(|path| self.open_embedding(path)).transpose()?;
        let mut ner = BTreeMap::new();
        for (name, path) in &self.ner {
            let model = self.open_ner(path)?;
            let name = name.clone().unwrap_or_else(|| model.manifest.name.clone());
            if ner.insert(name.clone(), model).is_some() {
                return Err(config(format!(
                    "two models for ner are named {name:?}: give one another name with ner_named"
                )));
            }
        }
        let summarization = self.summarization.as_deref().map(|path| self.open_summarization(path)).transpose()?;
        Ok(OnnxMlBridge::new(Models { embedding, ner, summarization }))
    }

    fn check_options(&self) -> Result<(), BridgeError> {
        for (name, value) in [
            ("threads", self.engine.threads),
            ("sessions", self.engine.sessions),
            ("text_limit", self.text_limit),
            ("beam_limit", self.beam_limit),
        ] {
            if value == Some(0) {
                return Err(config(format!("{name} is 0, expected at least 1")));
            }
        }
        if self.embedding.is_none() && self.ner.is_empty() && self.summarization.is_none() {
            let problem = "nothing to open: give embedding(path), ner(path) or summarization(path)";
            return Err(config(problem.to_owned()));
        }
        Ok(())
    }

    fn open_embedding(&self, path: &Path) -> Result<EmbeddingModel, BridgeError> {
        let opened = self.open(path, SENTENCE_EMBEDDING, self.embedding_variant.as_deref())?;
        let tokenizer = Arc::new(opened.texts.into_tokenizer()?);
        let limit = self.text_limit.unwrap_or(DEFAULT_TEXT_LIMIT);
        EmbeddingModel::new(&opened.root, opened.manifest, tokenizer, &opened.variant, self.engine.clone(), limit)
    }

    fn open_ner(&self, path: &Path) -> Result<NerModel, BridgeError> {
        let opened = self.open(path, NER, self.ner_variant.as_deref())?;
        let texts = NerTexts::new(opened.texts, &opened.manifest)?;
        let limit = self.text_limit.unwrap_or(DEFAULT_TEXT_LIMIT);
        NerModel::new(&opened.root, opened.manifest, texts, &opened.variant, self.engine.clone(), limit)
    }

    fn open_summarization(&self, path: &Path) -> Result<Summarizer, BridgeError> {
        let opened = self.open(path, SUMMARIZATION, self.summarization_variant.as_deref())?;
        let texts = Arc::new(SummaryTexts::new(opened.texts.into_tokenizer()?));
        let limits = Limits {
            text: self.text_limit.unwrap_or(DEFAULT_TEXT_LIMIT),
            beams: self.beam_limit.unwrap_or(DEFAULT_BEAM_LIMIT),
        };
        Summarizer::new(&opened.root, opened.manifest, texts, &opened.variant, self.engine.clone(), limits)
    }

    fn open(&self, path: &Path, task: &'static str, variant: Option<&str>) -> Result<Opened, BridgeError> {
        let asked = variant.or(self.variant.as_deref()).unwrap_or("auto");
        let (artifact, variant) = Artifact::open(path, asked)?;
        if artifact.manifest().task != task {
            let found = artifact.manifest().task.clone();
            return Err(BridgeError::Task { path: path.to_path_buf(), expected: task, found });
        }
        let root = artifact.root().to_path_buf();
        let (manifest, texts) = artifact.into_parts();
        Ok(Opened { root, manifest: Arc::new(manifest), texts, variant })
    }
}

/// A checked artifact in its parts, with the variant chosen.
struct Opened {
    root: PathBuf,
    manifest: Arc<Manifest>,
    texts: TextFiles,
    variant: String,
}

fn config(problem: String) -> BridgeError {
    BridgeError::Config { problem }
}
