//! The error of parsing names.

use std::fmt;

/// The error of parsing a name that is not one of the known names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown name {name:?}, expected one of {}", known.join(", "))]
pub struct UnknownName {
    name: String,
    known: Vec<String>,
}

impl UnknownName {
    pub(crate) fn new(name: &str, known: &[impl fmt::Display]) -> Self {
        Self { name: name.to_owned(), known: known.iter().map(ToString::to_string).collect() }
    }
}
