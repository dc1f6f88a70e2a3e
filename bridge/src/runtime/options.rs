//! Options for opening a model: its sessions and its limits.

use super::batch::{Bounds, TOKEN_BUDGET};
use super::lane::LaneOptions;
use super::session::EngineOptions;
use crate::trust::Trust;

/// The default limit on the calls that wait for one model.
pub const DEFAULT_MAX_WAITING: usize = 1024;
/// The default limit on the size of a text, in bytes of UTF-8.
pub const DEFAULT_TEXT_LIMIT: usize = 1_000_000;
/// The default limit on texts x beams x `max_length` of one run, to which the memory of a run is proportional.
pub const DEFAULT_BEAM_LIMIT: usize = 8192;

/// Options for opening a model: options for its sessions, limits, and how calls share runs.
#[derive(Clone, Default)]
pub(crate) struct ModelOptions {
    pub(crate) engine: EngineOptions,
    pub(crate) limits: Limits,
    pub(crate) sharing: Sharing,
    /// The keys that the artifact must be signed with.
    pub(crate) trust: Trust,
}

impl ModelOptions {
    /// The options of the lane of a model whose runs can have rows of several calls.
    pub(crate) fn lane(&self) -> LaneOptions {
        let (workers, shares_session) = (self.engine.workers(), self.engine.shares_session());
        LaneOptions {
            workers,
            max_waiting: self.limits.waiting,
            run_tokens: self.bounds().tokens,
            merges: self.sharing.merges,
            overlaps: workers > 1,
            slot_tokens: shares_session.then_some(self.bounds().tokens),
            // A session with other providers may have no arena on the CPU, and the option would make its runs fail.
            shrinks: self.engine.providers.is_empty() && self.engine.devices.is_cpu(),
        }
    }

    /// The limits of a run of a transformer.
    pub(crate) fn bounds(&self) -> Bounds {
        Bounds { tokens: self.sharing.run_tokens.unwrap_or(TOKEN_BUDGET), ..Bounds::default() }
    }
}

/// How the calls of a model share runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sharing {
    /// Limit on the tokens of a run, including padding; `None` is the default.
    pub(crate) run_tokens: Option<usize>,
    /// Whether inputs of waiting calls run together.
    pub(crate) merges: bool,
}

impl Default for Sharing {
    fn default() -> Self {
        Self { run_tokens: None, merges: true }
    }
}

/// Limits on the inputs of a call and on the memory of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Limit on the size of one input in bytes of UTF-8; for messages to summarize, on the size of the joined messages.
    pub(crate) text: usize,
    /// Limit on texts x beams x `max_length` of one run of a summarizer.
    pub(crate) beams: usize,
    /// Limit on the calls that wait for the model.
    pub(crate) waiting: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { text: DEFAULT_TEXT_LIMIT, beams: DEFAULT_BEAM_LIMIT, waiting: DEFAULT_MAX_WAITING }
    }
}
