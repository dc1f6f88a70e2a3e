//! [`OnnxMlBridge`]: open models of ONNX artifacts behind the calls of [`MlBridge`].

pub(crate) mod builder;
pub(crate) mod config;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::BridgeError;
use crate::api::MlBridge;
use crate::bridge::builder::Builder;
use crate::families::loading::Opened;
use crate::handles::{Embedder, FromOpened, Recognizer, Reranker, Summarizer};
use crate::model::ModelInfo;
use crate::tasks::Task;

/// Open models of ONNX artifacts. Clones share them; all calls take `&self` and may come from many threads at once.
///
/// [`MlBridge`] has its calls.
#[derive(Clone)]
pub struct OnnxMlBridge {
    shared: Arc<Shared>,
}

struct Shared {
    /// The models in the order in which they were opened. Their names are unique.
    models: Vec<Opened>,
    /// The name of the default model of each task that has one.
    defaults: BTreeMap<Task, String>,
}

impl OnnxMlBridge {
    /// A builder, which opens models.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The bridge of models with unique names, and of defaults that name models of their tasks.
    fn new(models: Vec<Opened>, defaults: BTreeMap<Task, String>) -> Self {
        Self { shared: Arc::new(Shared { models, defaults }) }
    }

    /// The handle of a model of a task. Without a name, it is the default model of the task.
    ///
    /// # Errors
    /// `task_not_loaded` without any model of the task; `model_not_found` for a name that no model of the task has, or
    /// without a name if there are several models and no default.
    fn handle<H: FromOpened>(&self, call: &'static str, task: Task, name: Option<&str>) -> Result<H, BridgeError> {
        let models: Vec<&Opened> = self.shared.models.iter().filter(|model| model.info.task == task).collect();
        if models.is_empty() {
            return Err(BridgeError::TaskNotLoaded { call, task: task.name() });
        }
        let chosen = name.or_else(|| self.shared.defaults.get(&task).map(String::as_str));
        let model = match chosen {
            Some(chosen) => models.iter().find(|model| model.info.name == chosen),
            None => models.first().filter(|_| models.len() == 1),
        };
        let unknown = || BridgeError::ModelNotFound {
            requested: name.map(str::to_owned),
            known: models.iter().map(|model| model.info.name.clone()).collect(),
        };
        H::from_opened((*model.ok_or_else(unknown)?).clone())
    }
}

impl MlBridge for OnnxMlBridge {
    fn models(&self) -> Vec<ModelInfo> {
        self.shared.models.iter().map(|model| (*model.info).clone()).collect()
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
}

impl fmt::Debug for OnnxMlBridge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.shared.models.iter().map(|model| &model.info.name);
        f.debug_tuple("OnnxMlBridge").field(&names.collect::<Vec<_>>()).finish()
    }
}
