//! Reading artifacts: one directory, one immutable version of one model.
//!
//! This module knows the format and nothing else: no family of models, no tokenizer, no runtime. It has one function for
//! each check of the format's text (`FORMAT.md`); [`families`](crate::families) calls them in the order that the text
//! requires and adds what depends on the family.

pub(crate) mod files;
pub(crate) mod graph;
pub mod json;
pub mod manifest;
pub(crate) mod onnx;
pub(crate) mod parsing;
pub(crate) mod protobuf;
#[cfg(test)]
pub(crate) mod testing;
pub(crate) mod tree;

pub use self::manifest::Manifest;
