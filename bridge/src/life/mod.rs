//! The life of a model: it is loaded by its first call, unloaded when its memory is needed elsewhere, replaced by a new
//! version while calls run, and closed.
//!
//! Handles refer to a [`Slot`](slot::Slot), which has the current [`Generation`](generation::Generation): an artifact that was
//! opened, and the sessions of its graphs, if they are loaded. A call keeps its generation until it has ended. Handles of other
//! backends refer to a [`Service`](service::Service), which does not change.

pub(crate) mod budget;
pub(crate) mod calls;
pub(crate) mod generation;
mod housekeeping;
pub(crate) mod own_thread;
pub(crate) mod service;
pub(crate) mod slot;
