//! [`ModelStatus`], which says what an open model does at the moment.

use std::fmt;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::error_code::ErrorCode;

/// Whether a model can answer calls. In text and in JSON, it is its name, such as `ready`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ModelState {
    /// The next call loads the graphs.
    Unloaded,
    /// A call waits for the graphs.
    Loading,
    /// The graphs are loaded.
    Ready,
    /// The last load or the last run failed because of the model. The next call tries it again.
    Failed,
    /// The model was closed.
    Closed,
}

impl ModelState {
    /// The name of the state, such as `ready`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unloaded => "unloaded",
            Self::Loading => "loading",
            Self::Ready => "ready",
            Self::Failed => "failed",
            Self::Closed => "closed",
        }
    }
}

impl fmt::Display for ModelState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What an open model does at the moment. To get it, nothing is run and no call is waited for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ModelStatus {
    /// The name by which calls select the model.
    pub name: String,
    /// Whether the model can answer calls.
    pub state: ModelState,
    /// When a run last had an answer; `None` before the first one.
    pub last_success: Option<SystemTime>,
    /// The number of calls with runs that have not started.
    pub waiting: usize,
    /// The number of runs at the moment.
    pub running: usize,
    /// The memory of the loaded graphs in bytes, or that of the server of a GGUF file when it had started; 0 if none is loaded.
    pub resident_bytes: u64,
    /// The code of the last failure to load the graphs or to run them; `None` after a success.
    pub error: Option<ErrorCode>,
}

impl ModelStatus {
    /// The status of a model that was closed.
    pub(crate) fn closed(name: &str) -> Self {
        let (name, state) = (name.to_owned(), ModelState::Closed);
        Self { name, state, last_success: None, waiting: 0, running: 0, resident_bytes: 0, error: None }
    }

    /// The status of a model that this process cannot use, because it was forked after the first call.
    pub(crate) fn failed(name: &str, error: Option<ErrorCode>) -> Self {
        Self { state: ModelState::Failed, error, ..Self::closed(name) }
    }
}

/// What a lane does at the moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LaneStatus {
    pub(crate) state: ModelState,
    pub(crate) last_success: Option<SystemTime>,
    pub(crate) waiting: usize,
    pub(crate) running: usize,
    pub(crate) error: Option<ErrorCode>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_its_name() {
        for state in
            [ModelState::Unloaded, ModelState::Loading, ModelState::Ready, ModelState::Failed, ModelState::Closed]
        {
            assert_eq!(serde_json::to_value(state).expect("JSON"), state.as_str());
            assert_eq!(format!("{state}"), state.as_str());
        }
    }
}
