//! Opening models: [`Builder`].

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::BridgeError;
use crate::bridge::OnnxMlBridge;
use crate::life::slot::{Opening, Slot};
use crate::model::Model;
use crate::options::BridgeOptions;
use crate::runtime::blocking::on_blocking_thread;
use crate::runtime::environment;
use crate::runtime::session::EngineOptions;
use crate::tasks::Task;

/// Opens models: it collects the models to open, the default of each task, and options.
#[derive(Clone, Default)]
#[must_use = "call build() or build_async()"]
pub struct Builder {
    models: Vec<Model>,
    defaults: BTreeMap<Task, String>,
    options: BridgeOptions,
    /// The library, the environment and the execution providers. The other options are in `options`.
    engine: EngineOptions,
}

impl Builder {
    /// Adds a model: the directory of an artifact, or a [`Model`] with a name and a variant. The names of all models are
    /// unique.
    pub fn model(mut self, model: impl Into<Model>) -> Self {
        self.models.push(model.into());
        self
    }

    /// Sets the model of a task for calls that name none. Only needed if several models of the task are open.
    pub fn default_model(mut self, task: Task, name: impl Into<String>) -> Self {
        self.defaults.insert(task, name.into());
        self
    }

    /// Sets the options of the bridge.
    pub fn options(mut self, options: BridgeOptions) -> Self {
        self.options = options;
        self
    }

    /// Sets the path of ONNX Runtime's shared library. Default: the path in `ORT_DYLIB_PATH`, else the library beside the
    /// executable, else the one that the system's loader finds. A process loads one library; another one is `config`, and
    /// so is a library together with an environment.
    pub fn library(mut self, path: impl Into<PathBuf>) -> Self {
        self.engine.library = Some(path.into());
        self
    }

    /// Sets the environment of an application that uses `ort` itself: a process can have only one environment. Cannot be
    /// combined with [`library`](Self::library), because the environment belongs to a library that is loaded already.
    pub fn environment(mut self, environment: ort::environment::Environment) -> Self {
        self.engine.environment = Some(environment);
        self
    }

    /// Sets execution providers to try before the CPU, in this order; each needs its cargo feature.
    pub fn execution_providers(mut self, providers: impl Into<Vec<ort::ep::ExecutionProviderDispatch>>) -> Self {
        self.engine.providers = providers.into();
        self
    }

    /// Runs the checks that `FORMAT.md` requires for opening artifacts. Does not load ONNX Runtime: the first call or
    /// [`MlBridge::warm_up`](crate::MlBridge::warm_up) creates sessions, unless a model has `preload`.
    ///
    /// # Errors
    /// `config` for an invalid option, two models with one name, or a default that is not a model of its task; the code of
    /// the first check that an artifact fails, from `path_kind` to `variant`; `identity` for another artifact than the pinned
    /// one; `io` if a file cannot be read; with `preload` also the errors of [`MlBridge::warm_up`](crate::MlBridge::warm_up).
    pub fn build(self) -> Result<OnnxMlBridge, BridgeError> {
        self.options.check()?;
        environment::check_options(self.engine.library.as_deref(), self.engine.environment.as_ref())?;
        if self.models.is_empty() {
            return Err(BridgeError::config("there is nothing to open: pass the path of an artifact with model(path)"));
        }
        self.models.iter().try_for_each(Model::check)?;
        let mut options = self.options.model_options();
        options.engine = EngineOptions { threads: options.engine.threads, ..self.engine.clone() };
        let opening = Opening::new(&self.options, options)?;
        let open = |model| Slot::open(model, &opening);
        let models = self.models.into_iter().map(open).collect::<Result<Vec<Arc<Slot>>, BridgeError>>()?;
        let problems = problems(&models, &self.defaults);
        if !problems.is_empty() {
            return Err(BridgeError::config(problems.join("; ")));
        }
        models.iter().try_for_each(Slot::preload)?;
        Ok(OnnxMlBridge::new(models, self.defaults, opening))
    }

    /// Like [`build`](Self::build), on one of tokio's blocking threads: opening reads and hashes all files of a variant.
    ///
    /// # Errors
    /// The errors of [`build`](Self::build), and `config` without a tokio runtime.
    pub async fn build_async(self) -> Result<OnnxMlBridge, BridgeError> {
        on_blocking_thread(move || self.build()).await
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { models, defaults, options, .. } = self;
        f.debug_struct("Builder")
            .field("models", models)
            .field("defaults", defaults)
            .field("options", options)
            .finish_non_exhaustive()
    }
}

/// What is wrong with the names of models and with the defaults.
fn problems(models: &[Arc<Slot>], defaults: &BTreeMap<Task, String>) -> Vec<String> {
    let mut problems = Vec::new();
    for (index, model) in models.iter().enumerate() {
        if models[..index].iter().any(|other| other.name == model.name) {
            problems.push(two_models(&model.name));
        }
    }
    for (task, name) in defaults {
        match models.iter().find(|model| model.name == *name) {
            None => problems.push(format!("the default for {task} is {name:?}, which is not the name of a model")),
            Some(model) if model.task != *task => {
                problems.push(format!("the default for {task} is {name:?}, which is a model for {}", model.task));
            }
            Some(_) => {}
        }
    }
    problems
}

/// The problem of a name that a second model has.
pub(super) fn two_models(name: &str) -> String {
    format!("two models have the name {name:?}: open one of them with another name")
}
