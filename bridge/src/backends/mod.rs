//! Models of other backends than ONNX: servers of OpenAI's protocol, GGUF files in llama.cpp, and chains of models.
//!
//! `docs/backends.md` defines what both languages do. `wire` sends requests, `remote` has the tasks on top of it, and `align`
//! finds entities in their text.

mod align;
mod api_model;
mod api_server;
mod chat_settings;
mod composite;
mod condition;
pub(crate) mod config;
#[cfg(feature = "llama-cpp")]
mod llama_cpp;
mod openai;
mod prompt;
mod remote;
mod services;
mod wire;

pub use self::api_model::ApiModel;
pub use self::api_server::ApiServer;
pub use self::composite::{CompositeBuilder, CompositeMlBridge};
#[cfg(feature = "llama-cpp")]
pub use self::llama_cpp::{Gguf, LlamaCppBuilder, LlamaCppMlBridge};
pub use self::openai::{OpenAiBuilder, OpenAiMlBridge};
