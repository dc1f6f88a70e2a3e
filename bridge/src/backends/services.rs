//! [`Services`]: the models of a bridge with at most one model for each task.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::BridgeError;
use crate::handles::FromSource;
use crate::handles::source::Source;
use crate::life::service::Service;
use crate::model::ModelInfo;
use crate::tasks::Task;

/// Open models, at most one for each task. Clones share them.
#[derive(Clone)]
pub(super) struct Services {
    /// Empty if the bridge is closed.
    services: Arc<Mutex<Vec<Arc<Service>>>>,
}

impl Services {
    /// # Errors
    /// `config` without any model.
    pub(super) fn new(services: Vec<Arc<Service>>) -> Result<Self, BridgeError> {
        if services.is_empty() {
            return Err(BridgeError::config(
                "there is nothing to open: pass a model for embedding, ner or summarization",
            ));
        }
        Ok(Self { services: Arc::new(Mutex::new(services)) })
    }

    /// The handle of the model of a task. A name is that of the model or of its backend.
    ///
    /// # Errors
    /// `task_not_loaded` or `model_not_found`.
    pub(super) fn handle<H: FromSource>(
        &self,
        call: &'static str,
        task: Task,
        name: Option<&str>,
    ) -> Result<H, BridgeError> {
        let services = self.lock();
        let service = services.iter().find(|service| service.info.task == task);
        let service = service.ok_or(BridgeError::TaskNotLoaded { call, task: task.name() })?;
        let known = [&service.info.name, &service.info.backend];
        if let Some(name) = name.filter(|name| known.iter().all(|known| known != name)) {
            let known = known.map(String::clone).to_vec();
            return Err(BridgeError::ModelNotFound { requested: Some(name.to_owned()), known });
        }
        H::from_source(Source::Service(Arc::clone(service)))
    }

    pub(super) fn models(&self) -> Vec<ModelInfo> {
        self.lock().iter().map(|service| service.info.clone()).collect()
    }

    /// Closes all models after their running calls have ended.
    pub(super) fn close(&self) {
        let services = std::mem::take(&mut *self.lock());
        services.iter().for_each(|service| service.close());
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Service>>> {
        self.services.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Implements the trait of bridges, and `Debug`, for a type with the field `services`.
macro_rules! bridge_of_services {
    ($bridge:ident) => {
        #[async_trait::async_trait]
        impl $crate::MlBridge for $bridge {
            fn models(&self) -> Vec<$crate::ModelInfo> {
                self.services.models()
            }

            fn embedder(&self, model: Option<&str>) -> Result<$crate::Embedder, $crate::BridgeError> {
                self.services.handle("embedder", $crate::Task::Embedding, model)
            }

            fn recognizer(&self, model: Option<&str>) -> Result<$crate::Recognizer, $crate::BridgeError> {
                self.services.handle("recognizer", $crate::Task::Ner, model)
            }

            fn summarizer(&self, model: Option<&str>) -> Result<$crate::Summarizer, $crate::BridgeError> {
                self.services.handle("summarizer", $crate::Task::Summarization, model)
            }

            async fn close(&self) -> Result<(), $crate::BridgeError> {
                let bridge = self.clone();
                $crate::life::own_thread::on_own_thread("onnx-close", move || bridge.close_blocking()).await
            }

            fn close_blocking(&self) -> Result<(), $crate::BridgeError> {
                self.services.close();
                Ok(())
            }
        }

        impl std::fmt::Debug for $bridge {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                let names: Vec<String> = self.services.models().into_iter().map(|info| info.name).collect();
                f.debug_tuple(stringify!($bridge)).field(&names).finish()
            }
        }
    };
}

pub(super) use bridge_of_services;
