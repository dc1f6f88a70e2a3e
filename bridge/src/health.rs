//! [`Health`], which says whether a model works.

use serde::{Deserialize, Serialize};

use crate::error_code::ErrorCode;
use crate::model::ModelInfo;
use crate::status::ModelState;
use crate::tasks::{Location, Task};

/// Whether a model works. To get it, no tokens are spent: servers are only asked which models they have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Health {
    /// What answers the model's calls, as [`ModelInfo::backend`](crate::ModelInfo::backend).
    pub backend: String,
    /// The task of the model.
    pub task: Task,
    /// The name by which calls select the model.
    pub model: String,
    /// Where the model runs.
    pub location: Location,
    /// Whether the model can answer calls.
    pub state: ModelState,
    /// Why it cannot.
    pub error: Option<ErrorCode>,
}

impl Health {
    pub(crate) fn new(info: &ModelInfo, state: ModelState, error: Option<ErrorCode>) -> Self {
        let (backend, model) = (info.backend.clone(), info.name.clone());
        Self { backend, task: info.task, model, location: info.location, state, error }
    }
}
