//! [`OnnxMlBridge`]: open models of ONNX artifacts behind the calls of [`MlBridge`].

pub(crate) mod builder;
pub(crate) mod config;
mod rules;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::BridgeError;
use crate::api::MlBridge;
use crate::bridge::builder::{Builder, two_models};
use crate::handles::source::Source;
use crate::handles::{Embedder, FromSource, Recognizer, Reranker, Summarizer};
use crate::life::own_thread::on_own_thread;
use crate::life::slot::{Opening, Slot};
use crate::model::{Model, ModelInfo};
use crate::options::ReloadOptions;
use crate::tasks::Task;

/// The name of the threads that wait for calls.
const THREAD: &str = "onnx-bridge";

/// Open models of ONNX artifacts. Clones share them; all calls take `&self` and may come from many threads at once.
///
/// [`MlBridge`] has its calls.
#[derive(Clone)]
pub struct OnnxMlBridge {
    shared: Arc<Shared>,
}

struct Shared {
    /// The models in the order in which they were opened, with unique names. `None` if the bridge is closed.
    models: Mutex<Option<Vec<Arc<Slot>>>>,
    /// The name of the default model of each task that has one.
    defaults: BTreeMap<Task, String>,
    opening: Opening,
}

impl OnnxMlBridge {
    /// A builder, which opens models.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The bridge of models with unique names, and of defaults that name models of their tasks.
    fn new(models: Vec<Arc<Slot>>, defaults: BTreeMap<Task, String>, opening: Opening) -> Self {
        Self { shared: Arc::new(Shared { models: Mutex::new(Some(models)), defaults, opening }) }
    }

    /// The handle of a model of a task. Without a name, it is the default model of the task.
    ///
    /// # Errors
    /// `task_not_loaded` without any model of the task; `model_not_found` for a name that no model of the task has, or
    /// without a name if there are several models and no default.
    fn handle<H: FromSource>(&self, call: &'static str, task: Task, name: Option<&str>) -> Result<H, BridgeError> {
        let models = self.lock().clone().unwrap_or_default();
        let models: Vec<Arc<Slot>> = models.into_iter().filter(|model| model.task == task).collect();
        if models.is_empty() {
            return Err(BridgeError::TaskNotLoaded { call, task: task.name() });
        }
        let named = |name: &str| models.iter().find(|model| model.name == name);
        let model = match name {
            Some(name) => named(name),
            // The default may have been removed.
            None => {
                let default = self.shared.defaults.get(&task).and_then(|name| named(name));
                default.or_else(|| models.first().filter(|_| models.len() == 1))
            }
        };
        H::from_source(Source::Artifact(Arc::clone(model.ok_or_else(|| not_found(name, &models))?)))
    }

    /// Opens a model and adds it.
    fn open(&self, model: Model) -> Result<ModelInfo, BridgeError> {
        self.check_new(model.name.as_deref().unwrap_or_default(), self.lock().as_deref())?;
        let slot = Slot::open(model, &self.shared.opening)?;
        slot.preload()?;
        let mut models = self.lock();
        self.check_new(&slot.name, models.as_deref())?;
        models.get_or_insert_default().push(Arc::clone(&slot));
        Ok((*slot.info()).clone())
    }

    /// Checks that the bridge is open and has no model with a name.
    fn check_new(&self, name: &str, models: Option<&[Arc<Slot>]>) -> Result<(), BridgeError> {
        match models.ok_or_else(closed)?.iter().any(|model| model.name == name) {
            true => Err(BridgeError::config(two_models(name))),
            false => Ok(()),
        }
    }

    /// The model with a name.
    fn find(&self, name: &str) -> Result<Arc<Slot>, BridgeError> {
        let models = self.lock().clone().ok_or_else(closed)?;
        models.iter().find(|model| model.name == name).cloned().ok_or_else(|| not_found(Some(name), &models))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Vec<Arc<Slot>>>> {
        self.shared.models.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl MlBridge for OnnxMlBridge {
    fn models(&self) -> Vec<ModelInfo> {
        self.lock().iter().flatten().map(|model| (*model.info()).clone()).collect()
    }

    fn embedder(&self, model: Option<&str>) -> Result<Embedder, BridgeError> {
        self.handle("embedder", Task::Embedding, model)
    }

    fn recognizer(&self, model: Option<&str>) -> Result<Recognizer, BridgeError> {
        self.handle("recognizer", Task::Ner, model)
    }

    fn summarizer(&self, model: Option<&str>) -> Result<Summarizer, BridgeError> {
        self.handle("summarizer", Task::Summarization, model)
    }

    fn reranker(&self, model: Option<&str>) -> Result<Reranker, BridgeError> {
        self.handle("reranker", Task::Rerank, model)
    }

    async fn add(&self, model: Model) -> Result<ModelInfo, BridgeError> {
        let bridge = self.clone();
        on_own_thread(THREAD, move || bridge.add_blocking(model)).await
    }

    fn add_blocking(&self, model: Model) -> Result<ModelInfo, BridgeError> {
        self.open(model)
    }

    async fn remove(&self, name: &str) -> Result<(), BridgeError> {
        let (bridge, name) = (self.clone(), name.to_owned());
        on_own_thread(THREAD, move || bridge.remove_blocking(&name)).await
    }

    fn remove_blocking(&self, name: &str) -> Result<(), BridgeError> {
        let slot = self.find(name)?;
        self.lock().iter_mut().for_each(|models| models.retain(|model| !Arc::ptr_eq(model, &slot)));
        slot.close();
        Ok(())
    }

    async fn reload(&self, name: &str, options: ReloadOptions) -> Result<ModelInfo, BridgeError> {
        let (bridge, name) = (self.clone(), name.to_owned());
        on_own_thread(THREAD, move || bridge.reload_blocking(&name, &options)).await
    }

    fn reload_blocking(&self, name: &str, options: &ReloadOptions) -> Result<ModelInfo, BridgeError> {
        self.find(name)?.reload(options)
    }

    async fn close(&self) -> Result<(), BridgeError> {
        let bridge = self.clone();
        on_own_thread(THREAD, move || bridge.close_blocking()).await
    }

    fn close_blocking(&self) -> Result<(), BridgeError> {
        let models = self.lock().take();
        models.iter().flatten().for_each(|model| model.close());
        Ok(())
    }
}

fn closed() -> BridgeError {
    BridgeError::Closed { name: "the bridge".to_owned() }
}

fn not_found(requested: Option<&str>, models: &[Arc<Slot>]) -> BridgeError {
    let known = models.iter().map(|model| model.name.clone()).collect();
    BridgeError::ModelNotFound { requested: requested.map(str::to_owned), known }
}

impl fmt::Debug for OnnxMlBridge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let models = self.lock();
        let names = models.iter().flatten().map(|model| &model.name);
        f.debug_tuple("OnnxMlBridge").field(&names.collect::<Vec<_>>()).finish()
    }
}
