//! Reads artifacts. An artifact is a directory with one immutable version of one model.
//!
//! This module depends only on the format, and not on families of models, tokenizers or the runtime. It has one function
//! for each check of `FORMAT.md`. [`families`](crate::families) calls them in the required order and adds the checks that
//! depend on the family.

#[cfg(all(test, feature = "sentence-embedding"))]
pub(crate) mod copied;
pub(crate) mod files;
pub(crate) mod graph;
pub mod json;
pub mod manifest;
pub(crate) mod onnx;
pub(crate) mod parsing;
pub(crate) mod protobuf;
pub(crate) mod quoting;
pub(crate) mod stamp;
#[cfg(test)]
pub(crate) mod testing;
pub(crate) mod tree;

pub use self::manifest::Manifest;
