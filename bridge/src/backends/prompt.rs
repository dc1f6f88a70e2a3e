//! [`Prompt`]: the text around an input of a language model.

use std::fs;
use std::path::Path;

use crate::BridgeError;
use crate::tasks::Task;

const TEXT: &str = "{text}";
const LABELS: &str = "{labels}";
const NER: &str = include_str!("prompts/ner.txt");
const SUMMARIZATION: &str = include_str!("prompts/summarization.txt");

/// What is before and after a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Prompt {
    before: String,
    after: String,
}

impl Prompt {
    /// Parses a text with one `{text}`.
    ///
    /// # Errors
    /// `config`, if it has no or several `{text}`.
    pub(crate) fn parse(template: &str) -> Result<Self, BridgeError> {
        let parts: Vec<&str> = template.split(TEXT).collect();
        let [before, after] = parts.as_slice() else {
            let count = parts.len() - 1;
            return Err(BridgeError::config(format!("prompt has {count} times {{text}}, expected exactly one")));
        };
        Ok(Self { before: (*before).to_owned(), after: (*after).to_owned() })
    }

    /// The prompt with labels instead of `{labels}`.
    pub(crate) fn with_labels(&self, labels: &[String]) -> Self {
        let labels = labels.join(", ");
        Self { before: self.before.replace(LABELS, &labels), after: self.after.replace(LABELS, &labels) }
    }

    /// Reads the prompt of a task from a file; `None` for the built-in one.
    ///
    /// # Errors
    /// `io` if the file cannot be read; `config` if it is not UTF-8, or has not exactly one `{text}`.
    pub(crate) fn read(path: Option<&Path>, task: Task) -> Result<Self, BridgeError> {
        let Some(path) = path else {
            return Self::parse(if task == Task::Ner { NER } else { SUMMARIZATION });
        };
        let bytes = fs::read(path).map_err(|error| BridgeError::io(path, &error))?;
        let text = String::from_utf8(bytes)
            .map_err(|_| BridgeError::config(format!("the prompt {} is not UTF-8", path.display())))?;
        Self::parse(&text)
    }

    /// The message for a text, whose braces mean nothing.
    pub(crate) fn with_text(&self, text: &str) -> String {
        [self.before.as_str(), text, self.after.as_str()].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_replaced_literally() {
        let labels = ["A".to_owned(), "B".to_owned()];
        let prompt = Prompt::parse("{labels}: {text}.{labels}").expect("a prompt").with_labels(&labels);
        assert_eq!(prompt.with_text("{text}{labels}"), "A, B: {text}{labels}.A, B");
        for bad in ["", "{text}{text}", "text"] {
            assert_eq!(Prompt::parse(bad).map_err(|error| error.code().as_str()), Err("config"), "{bad:?}");
        }
    }

    #[test]
    fn the_built_in_prompts_are_those_of_python() {
        for (name, text) in [("ner", NER), ("summarization", SUMMARIZATION)] {
            let path = format!("{}/../backends/prompts/{name}.txt", env!("CARGO_MANIFEST_DIR"));
            let expected = fs::read_to_string(path).expect("the prompts are in the folder next to the crate's");
            assert_eq!(text, expected, "copy backends/prompts to bridge/src/backends/");
        }
        assert!(Prompt::read(None, Task::Ner).is_ok() && Prompt::read(None, Task::Summarization).is_ok());
    }
}
