//! Code that the families of the task `ner` (named entities) share.

#[cfg(feature = "cli")]
pub(crate) mod command;
#[cfg(feature = "cli")]
pub(crate) mod entity_markup;
#[cfg(feature = "cli")]
mod line;
pub(crate) mod model;
mod replay;

use super::report::{Column, Notation};

/// The columns of the table of metrics that the command `verify` prints.
pub(crate) const COLUMNS: &[Column] = &[
    Column { metric: "cases", width: 6, notation: Notation::Count },
    Column { metric: "differing", width: 12, notation: Notation::Count },
    Column { metric: "entity_f1", width: 12, notation: Notation::Fixed },
    Column { metric: "score_max_abs", width: 13, notation: Notation::Scientific },
];
