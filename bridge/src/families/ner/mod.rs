//! Code that the families of the task `ner` (named entities) share.

#[cfg(feature = "cli")]
pub(crate) mod command;
#[cfg(feature = "cli")]
pub(crate) mod entity_markup;
#[cfg(feature = "cli")]
mod line;
pub(crate) mod model;
mod replay;

#[cfg(fuzzing)]
pub(crate) use self::replay::read_golden_with;

use super::report::{Column, Notation};

/// Reads golden cases of models with fixed labels, for fuzzing.
#[cfg(fuzzing)]
pub(crate) fn read_golden(bytes: &[u8], manifest: &crate::artifact::Manifest) -> Result<(), crate::BridgeError> {
    read_golden_with(bytes, manifest, replay::case_options)
}

/// The columns of the table of metrics that the command `verify` prints.
pub(crate) const COLUMNS: &[Column] = &[
    Column { metric: "cases", width: 6, notation: Notation::Count },
    Column { metric: "differing", width: 12, notation: Notation::Count },
    Column { metric: "entity_f1", width: 12, notation: Notation::Fixed },
    Column { metric: "score_max_abs", width: 13, notation: Notation::Scientific },
];
