//! How a model is opened: its sessions and its limits.

use super::session::EngineOptions;

/// Largest text in bytes of UTF-8 where no other limit is set.
pub const DEFAULT_TEXT_LIMIT: usize = 1_000_000;
/// Texts x beams x `max_length` of one run where no other limit is set: the memory of a run grows with it.
pub const DEFAULT_BEAM_LIMIT: usize = 8192;

/// Options for opening a model.
#[derive(Clone, Default)]
pub(crate) struct ModelOptions {
    pub(crate) engine: EngineOptions,
    pub(crate) limits: Limits,
}

/// Limits on the inputs of a call and on the memory of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Bytes of UTF-8 of one input; of messages to summarize, all of them joined.
    pub(crate) text: usize,
    /// Texts x beams x `max_length` of one run of a summarizer.
    pub(crate) beams: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { text: DEFAULT_TEXT_LIMIT, beams: DEFAULT_BEAM_LIMIT }
    }
}
