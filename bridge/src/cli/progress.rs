//! How far a long call has come, for people who wait for it.

use onnx_ml_bridge::Progress;

/// Characters of the bar.
const WIDTH: usize = 24;
/// Back to the start of the line, and the line wiped.
const WIPE: &str = "\r\u{1b}[K";

/// A line on standard error that is wiped in the end.
pub(crate) struct Bar;

impl Bar {
    /// There is one only where standard error is a terminal.
    pub(crate) fn new(is_terminal: bool) -> Option<Self> {
        is_terminal.then_some(Self)
    }

    /// What draws it, for a call.
    pub(crate) fn progress(&self) -> Progress {
        Progress::new(|done, texts| eprint!("{WIPE}{}", drawn(done, texts)))
    }

    /// Wipes it, so that answers can be printed.
    pub(crate) fn clear(&self) {
        eprint!("{WIPE}");
    }
}

/// The bar; nothing where nothing is left to wait for.
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
