//! `state.json` in the output directory: what a run depends on, so that only the same run resumes, and how far it is.

use std::fs;
use std::path::Path;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::Pinned;
use super::contents::Contents;
use super::files::{NewFile, has_files};
use crate::BridgeError;
use crate::artifact::json;

const STATE: &str = "state.json";
const FORMAT: u64 = 1;

/// How far a run is.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Status {
    Running,
    Stopped,
    Complete,
}

/// The inputs of a run, from which every byte of its output follows.
pub(super) struct State(Map<String, Value>);

impl State {
    pub(super) fn new(pinned: &Pinned<'_>, contents: &Contents) -> Self {
        let mut options = pinned.options.clone();
        options["text_limit"] = json!(pinned.text_limit);
        let fields = [
            ("command", json!(pinned.command)),
            ("format", json!(FORMAT)),
            ("identity", json!(pinned.info.identity)),
            ("input_bytes", json!(contents.bytes)),
            ("input_sha256", json!(contents.sha256)),
            ("options", options),
            ("part_rows", json!(contents.part_rows)),
            ("rows", json!(contents.rows)),
            ("variant", json!(pinned.info.variant)),
        ];
        Self(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    /// Writes the state of a new run, or compares it with that of the run to resume.
    ///
    /// # Errors
    /// `config` if the directory has files of another run, or of this one without `resume`; `io` if the state cannot be
    /// read or written.
    pub(super) fn begin(&self, output: &Path, resume: bool) -> Result<(), BridgeError> {
        let shown = output.display();
        if has_files(output)? {
            if !resume {
                return Err(BridgeError::config(format!(
                    "--output is {shown}, which has files; pass --resume to continue its run, or a new directory"
                )));
            }
            self.compare(&started(output)?)?;
        }
        self.write(output, Status::Running, None)
    }

    /// Replaces `state.json`. `failed` is the number of rows that failed, if the run is complete.
    ///
    /// # Errors
    /// `io` if it cannot be written.
    pub(super) fn write(&self, output: &Path, status: Status, failed: Option<u64>) -> Result<(), BridgeError> {
        let mut fields = self.0.clone();
        fields.insert("failed".to_owned(), json!(failed));
        fields.insert("status".to_owned(), json!(status));
        fields.sort_keys();
        let path = output.join(STATE);
        let text = serde_json::to_string_pretty(&fields).map_err(|error| BridgeError::io(&path, &error.into()))?;
        let mut file = NewFile::create(&path)?;
        file.write(text.as_bytes())?;
        file.write(b"\n")?;
        file.finish()
    }

    fn compare(&self, started: &Value) -> Result<(), BridgeError> {
        let mut problems = Vec::new();
        differences(&self.0, started, &mut problems);
        if problems.is_empty() {
            return Ok(());
        }
        Err(BridgeError::config(format!(
            "--resume needs the input, model and options with which the run was started: {}",
            problems.join("; ")
        )))
    }
}

fn started(output: &Path) -> Result<Value, BridgeError> {
    let path = output.join(STATE);
    if !path.exists() {
        return Err(BridgeError::config(format!("--output is {}, which has no {STATE}", output.display())));
    }
    let bytes = fs::read(&path).map_err(|error| BridgeError::io(&path, &error))?;
    json::parse(&bytes).map_err(|problem| BridgeError::io(&path, &std::io::Error::other(problem)))
}

/// Adds a message for every field that differs.
fn differences(fields: &Map<String, Value>, started: &Value, problems: &mut Vec<String>) {
    for (name, now) in fields {
        let before = started.get(name).unwrap_or(&Value::Null);
        match now {
            Value::Object(now) => differences(now, before, problems),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                if now != before {
                    problems.push(format!("{name} was {before} and is {now}"));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(identity: &str, query: Option<&str>) -> State {
        let fields = json!({"identity": identity, "options": {"prompt_name": query, "text_limit": 5}});
        State(fields.as_object().expect("an object").clone())
    }

    #[test]
    fn only_the_same_run_is_resumed() {
        let dir = tempfile::tempdir().expect("a directory");
        let run = state("aa", None);
        run.begin(dir.path(), true).expect("a new run");
        assert!(run.begin(dir.path(), false).is_err());
        run.begin(dir.path(), true).expect("the same run");
        let text = fs::read_to_string(dir.path().join(STATE)).expect("a file");
        assert!(text.contains("\n  \"status\": \"running\"\n}\n"), "{text}");
        let refused = state("bb", Some("query")).begin(dir.path(), true).expect_err("another run");
        assert_eq!(refused.code().as_str(), "config");
        let message = refused.to_string();
        assert!(
            message.contains("identity was \"aa\" and is \"bb\"; prompt_name was null and is \"query\""),
            "{message}"
        );
    }

    #[test]
    fn other_files_are_not_touched() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join("notes.txt"), "").expect("a file");
        for resume in [false, true] {
            assert!(state("aa", None).begin(dir.path(), resume).is_err());
        }
        assert!(!dir.path().join(STATE).exists());
    }
}
