//! What handles refer to: a model of an artifact, or one of another backend.

use std::sync::Arc;
use std::time::Duration;

use crate::BridgeError;
use crate::life::calls::Current;
use crate::life::service::{Service, ServiceCall};
use crate::life::slot::{Call, Slot};
use crate::model::ModelInfo;
use crate::runtime::cancellation::Stop;
use crate::status::ModelStatus;
use crate::tasks::Task;
use crate::tasks::backend::AnyBackend;

/// A model under a name.
#[derive(Clone)]
pub(crate) enum Source {
    Artifact(Arc<Slot>),
    Service(Arc<Service>),
}

/// A running call, which keeps its backend.
pub(super) enum Running {
    Artifact(Call),
    Service(ServiceCall),
}

impl Running {
    /// The call as one of the thread that polls it.
    pub(super) fn current(&self) -> Current {
        match self {
            Self::Artifact(call) => call.current(),
            Self::Service(call) => call.current(),
        }
    }

    pub(super) fn backend(&self) -> &AnyBackend {
        match self {
            Self::Artifact(call) => call.backend(),
            Self::Service(call) => call.backend(),
        }
    }
}

impl Source {
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Artifact(slot) => &slot.name,
            Self::Service(service) => &service.info.name,
        }
    }

    pub(super) fn task(&self) -> Task {
        match self {
            Self::Artifact(slot) => slot.task,
            Self::Service(service) => service.info.task,
        }
    }

    /// The time limit of calls that pass none.
    pub(super) fn timeout(&self) -> Option<Duration> {
        match self {
            Self::Artifact(slot) => slot.timeout,
            Self::Service(service) => service.timeout,
        }
    }

    pub(super) fn info(&self) -> ModelInfo {
        match self {
            Self::Artifact(slot) => (*slot.info()).clone(),
            Self::Service(service) => service.info.clone(),
        }
    }

    pub(super) fn status(&self) -> ModelStatus {
        match self {
            Self::Artifact(slot) => slot.status(),
            Self::Service(service) => service.status(),
        }
    }

    pub(super) fn unload(&self) {
        match self {
            Self::Artifact(slot) => slot.unload(),
            Self::Service(service) => service.unload(),
        }
    }

    /// The memory of the loaded graphs, or of the server that is started for the model, in bytes.
    pub(super) fn resident_bytes(&self) -> u64 {
        match self {
            Self::Artifact(slot) => slot.resident_bytes(),
            Self::Service(service) => service.resident_bytes(),
        }
    }

    /// The backend that answers new calls.
    ///
    /// # Errors
    /// `closed`.
    pub(super) fn backend(&self) -> Result<AnyBackend, BridgeError> {
        match self {
            Self::Artifact(slot) => Ok(slot.current()?.opened.backend.clone()),
            Self::Service(service) => service.backend().cloned(),
        }
    }

    /// Starts a call: loads the graphs of an artifact, unless they are loaded.
    ///
    /// # Errors
    /// `closed`, or the errors of loading.
    pub(super) fn enter(&self, stop: &Stop) -> Result<Running, BridgeError> {
        match self {
            Self::Artifact(slot) => slot.enter(stop).map(Running::Artifact),
            Self::Service(service) => service.enter().map(Running::Service),
        }
    }

    /// The asynchronous twin of [`enter`](Self::enter).
    ///
    /// # Errors
    /// The errors of [`enter`](Self::enter); `inference` if the system refuses the thread that loads the graphs.
    pub(super) async fn enter_async(&self, stop: &Arc<Stop>) -> Result<Running, BridgeError> {
        match self {
            Self::Artifact(slot) => slot.enter_async(stop).await.map(Running::Artifact),
            Self::Service(service) => service.enter().map(Running::Service),
        }
    }
}
