//! A progress bar on standard error.

use crate::Progress;

/// The width of the bar in characters.
const WIDTH: usize = 24;
/// The text that moves the cursor to the start of the line and clears the line.
const CLEAR: &str = "\r\u{1b}[K";

/// A progress bar in one line of standard error.
pub(crate) struct Bar;

impl Bar {
    /// A progress bar; `None` if standard error is not a terminal.
    pub(crate) fn new(is_terminal: bool) -> Option<Self> {
        is_terminal.then_some(Self)
    }

    /// The option of a call that draws the bar whenever the call makes progress.
    pub(crate) fn progress(&self) -> Progress {
        Progress::new(|done, texts| eprint!("{CLEAR}{}", drawn(done, texts)))
    }

    /// Removes the bar before answers are printed.
    pub(crate) fn clear(&self) {
        eprint!("{CLEAR}");
    }
}

/// The bar as text; empty when all texts are done.
fn drawn(done: usize, texts: usize) -> String {
    if done >= texts {
        return String::new();
    }
    let filled = WIDTH * done / texts;
    format!("summarizing [{}{}] {done}/{texts}", "#".repeat(filled), ".".repeat(WIDTH - filled))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_grows() {
        assert_eq!(drawn(1, 4), "summarizing [######..................] 1/4");
        assert_eq!(drawn(0, 3), "summarizing [........................] 0/3");
        assert_eq!((drawn(4, 4), drawn(1, 1)), (String::new(), String::new()));
        assert!(Bar::new(false).is_none());
    }
}
