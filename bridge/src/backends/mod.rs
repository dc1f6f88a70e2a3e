//! Models of other backends than ONNX: servers of OpenAI's protocol, and chains of models.
//!
//! `docs/backends.md` defines what both languages do. `wire` sends requests, `remote` has the tasks on top of it, and `align`
//! finds entities in their text.

mod align;
mod condition;
mod prompt;
mod remote;
mod wire;
