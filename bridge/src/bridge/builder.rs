//! Opening models: [`OnnxMlBridgeBuilder`].

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::BridgeError;
use crate::bridge::{Models, OnnxMlBridge};
use crate::families::{Task, loading};
use crate::runtime::environment;
use crate::runtime::options::ModelOptions;

/// Opens models: it collects the artifacts to open and the options of their models.
#[derive(Clone, Default)]
#[must_use = "call build()"]
pub struct OnnxMlBridgeBuilder {
    models: Vec<Source>,
    variant: Option<String>,
    /// The variants of tasks for which a variant was set separately.
    variants: BTreeMap<Task, String>,
    options: ModelOptions,
}

/// An artifact to open, and the name of its model.
#[derive(Clone)]
struct Source {
    task: Task,
    /// The name by which calls select the model; `None` for the name in its manifest.
    name: Option<String>,
    path: PathBuf,
}

impl OnnxMlBridgeBuilder {
    /// Adds the artifact of an embedding model, given its directory.
    #[cfg(feature = "sentence-embedding")]
    pub fn embedding(self, path: impl Into<PathBuf>) -> Self {
        self.only_model(Task::SentenceEmbedding, path)
    }

    /// Adds an artifact of the task `ner`, given its directory. Calls select the model by the name in its manifest.
    /// Several artifacts can be opened, for example one per language.
    #[cfg(any(feature = "token-classification", feature = "spacy"))]
    pub fn ner(self, path: impl Into<PathBuf>) -> Self {
        self.model(Task::Ner, None, path)
    }

    /// Adds an artifact of the task `ner`, given its directory. Calls select the model by this name instead of the one
    /// in its manifest.
    #[cfg(any(feature = "token-classification", feature = "spacy"))]
    pub fn ner_named(self, name: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        self.model(Task::Ner, Some(name.into()), path)
    }

    /// Adds the artifact of a summarizer, given its directory.
    #[cfg(feature = "summarization")]
    pub fn summarization(self, path: impl Into<PathBuf>) -> Self {
        self.only_model(Task::Summarization, path)
    }

    /// Adds a model of a task with the name by which calls select it; `None` is the name in its manifest.
    pub(crate) fn model(mut self, task: Task, name: Option<String>, path: impl Into<PathBuf>) -> Self {
        self.models.push(Source { task, name, path: path.into() });
        self
    }

    /// Sets the only model of a task. It replaces a model that was set before.
    pub(crate) fn only_model(mut self, task: Task, path: impl Into<PathBuf>) -> Self {
        self.models.retain(|source| source.task != task);
        self.model(task, None, path)
    }

    /// Sets the variant of every model: a name of its manifest (`int8`, `fp32`), or `auto`, the default. `auto` is
    /// `int8` if the artifact has it and the CPU has VNNI or AMX, whose 8-bit products are exact and fast; else `fp32`,
    /// else the first variant by name.
    pub fn variant(mut self, variant: impl Into<String>) -> Self {
        self.variant = Some(variant.into());
        self
    }

    /// Sets the variant of the embedding model, if it differs from the variant of the other models.
    #[cfg(feature = "sentence-embedding")]
    pub fn embedding_variant(self, variant: impl Into<String>) -> Self {
        self.task_variant(Task::SentenceEmbedding, variant)
    }

    /// Sets the variant of the models for named entities, if it differs from the variant of the other models.
    #[cfg(any(feature = "token-classification", feature = "spacy"))]
    pub fn ner_variant(self, variant: impl Into<String>) -> Self {
        self.task_variant(Task::Ner, variant)
    }

    /// Sets the variant of the summarizer, if it differs from the variant of the other models.
    #[cfg(feature = "summarization")]
    pub fn summarization_variant(self, variant: impl Into<String>) -> Self {
        self.task_variant(Task::Summarization, variant)
    }

    /// Sets the variant of the models of a task, if it differs from the variant of the other models.
    pub(crate) fn task_variant(mut self, task: Task, variant: impl Into<String>) -> Self {
        self.variants.insert(task, variant.into());
        self
    }

    /// Sets the number of threads that all sessions of a graph share. Default: the number that the CPU affinity and the
    /// cgroup's quota allow the process.
    pub fn threads(mut self, threads: usize) -> Self {
        self.options.engine.threads = Some(threads);
        self
    }

    /// Limits the sessions of a graph, which share the threads. Each session is created when it is needed. Default: one
    /// session, but one session per thread for the small graphs of spaCy's models. Several sessions serve parallel
    /// calls better, but each has its own copy of the weights.
    pub fn sessions(mut self, sessions: usize) -> Self {
        self.options.engine.sessions = Some(sessions);
        self
    }

    /// Sets the path of ONNX Runtime's shared library. Default: the path in `ORT_DYLIB_PATH`, else the library beside the
    /// executable, else the one that the system's loader finds. A process loads one library; another one is `config`, and
    /// so is a library together with an environment.
    pub fn library(mut self, path: impl Into<PathBuf>) -> Self {
        self.options.engine.library = Some(path.into());
        self
    }

    /// Sets the environment of an application that uses `ort` itself: a process can have only one environment.
    pub fn environment(mut self, environment: ort::environment::Environment) -> Self {
        self.options.engine.environment = Some(environment);
        self
    }

    /// Sets execution providers to try before the CPU, in this order; each needs its cargo feature.
    pub fn execution_providers(mut self, providers: impl Into<Vec<ort::ep::ExecutionProviderDispatch>>) -> Self {
        self.options.engine.providers = providers.into();
        self
    }

    /// Limits the size of a text in bytes of UTF-8; for messages to summarize, the size of the joined messages.
    /// Default: [`DEFAULT_TEXT_LIMIT`](crate::runtime::DEFAULT_TEXT_LIMIT).
    pub fn text_limit(mut self, bytes: usize) -> Self {
        self.options.limits.text = bytes;
        self
    }

    /// Limits texts x beams x `max_length` of one run of a summarizer, which bounds its memory. More texts need more
    /// runs; a call that exceeds the limit with a single text fails with `config`. Default:
    /// [`DEFAULT_BEAM_LIMIT`](crate::runtime::DEFAULT_BEAM_LIMIT).
    #[cfg(feature = "summarization")]
    pub fn beam_limit(mut self, limit: usize) -> Self {
        self.options.limits.beams = limit;
        self
    }

    /// Runs the checks that `FORMAT.md` requires for opening artifacts. Does not load ONNX Runtime: the first call or
    /// [`OnnxMlBridge::warm_up`] creates sessions.
    ///
    /// # Errors
    /// `config` for an invalid option or two models with one name; the code of the first check that an artifact fails,
    /// from `path_kind` to `variant`; `variant` also for an artifact of another task; `io` if a file cannot be read.
    pub fn build(self) -> Result<OnnxMlBridge, BridgeError> {
        self.check_options()?;
        let mut models = Models::new();
        for Source { task, name, path } in &self.models {
            let variant = self.variants.get(task).or(self.variant.as_ref());
            let model = loading::open(path, *task, variant.map_or("auto", String::as_str), &self.options)?;
            let name = name.clone().unwrap_or_else(|| model.manifest().name.clone());
            if models.entry(*task).or_default().insert(name.clone(), model).is_some() {
                let task = task.name();
                return Err(config(format!(
                    "two models for {task} have the name {name:?}: open one of them with another name"
                )));
            }
        }
        Ok(OnnxMlBridge::new(models))
    }

    fn check_options(&self) -> Result<(), BridgeError> {
        let ModelOptions { engine, limits } = &self.options;
        for (name, value) in [
            ("threads", engine.threads),
            ("sessions", engine.sessions),
            ("text_limit", Some(limits.text)),
            ("beam_limit", Some(limits.beams)),
        ] {
            if value == Some(0) {
                return Err(config(format!("{name} is 0, expected at least 1")));
            }
        }
        environment::check_options(engine.library.as_deref(), engine.environment.as_ref())?;
        if self.models.is_empty() {
            let problem = "there is nothing to open: pass the path of an artifact, for example with embedding(path)";
            return Err(config(problem.to_owned()));
        }
        Ok(())
    }
}

fn config(problem: String) -> BridgeError {
    BridgeError::Config { problem }
}
