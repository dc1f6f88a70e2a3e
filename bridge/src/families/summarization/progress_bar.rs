//! A progress bar on standard error.

use crate::Progress;
use crate::terminal::{CLEAR, bar, print_error};

/// A progress bar in one line of standard error.
pub(crate) struct Bar;

impl Bar {
    /// A progress bar; `None` if standard error is not a terminal.
    pub(crate) fn new(is_terminal: bool) -> Option<Self> {
        is_terminal.then_some(Self)
    }

    /// The option of a call that draws the bar whenever the call makes progress.
    pub(crate) fn progress(&self) -> Progress {
        Progress::new(|done, texts| print_error(&format!("{CLEAR}{}", bar("summarizing", done, texts))))
    }

    /// Removes the bar before answers are printed.
    pub(crate) fn clear(&self) {
        print_error(CLEAR);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_terminal_has_a_bar() {
        assert!(Bar::new(false).is_none() && Bar::new(true).is_some());
    }
}
