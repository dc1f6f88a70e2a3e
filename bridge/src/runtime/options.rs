//! Options for opening a model: its sessions and its limits.

use super::session::EngineOptions;

/// The default limit on the calls that wait for one model.
pub const DEFAULT_MAX_WAITING: usize = 1024;
/// The default limit on the size of a text, in bytes of UTF-8.
pub const DEFAULT_TEXT_LIMIT: usize = 1_000_000;
/// The default limit on texts x beams x `max_length` of one run, to which the memory of a run is proportional.
pub const DEFAULT_BEAM_LIMIT: usize = 8192;

/// Options for opening a model: options for its sessions, and limits.
#[derive(Clone, Default)]
pub(crate) struct ModelOptions {
    pub(crate) engine: EngineOptions,
    pub(crate) limits: Limits,
}

/// Limits on the inputs of a call and on the memory of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Limit on the size of one input in bytes of UTF-8; for messages to summarize, on the size of the joined messages.
    pub(crate) text: usize,
    /// Limit on texts x beams x `max_length` of one run of a summarizer.
    pub(crate) beams: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { text: DEFAULT_TEXT_LIMIT, beams: DEFAULT_BEAM_LIMIT }
    }
}
