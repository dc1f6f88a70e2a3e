//! `state.json` in the output directory: what a run depends on, so that only the same run resumes, and how far it is.

use std::collections::BTreeSet;
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
        let fields = [
            ("command", json!(pinned.command)),
            ("format", json!(FORMAT)),
            ("identity", json!(pinned.info.identity)),
            ("input_bytes", json!(contents.bytes)),
            ("input_sha256", json!(contents.sha256)),
            ("options", options(pinned)),
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
        let problems = differences(&self.0, started);
        if problems.is_empty() {
            return Ok(());
        }
        Err(BridgeError::config(format!(
            "--resume needs the input, model and options with which the run was started: {}",
            problems.join("; ")
        )))
    }
}

/// The options of a run, with the limit on its texts.
fn options(pinned: &Pinned<'_>) -> Value {
    let mut options = pinned.options.clone();
    options["text_limit"] = json!(pinned.text_limit);
    options
}

/// Fails if an option is a number that could not be read from `state.json` again.
///
/// # Errors
/// `config`.
pub(super) fn check_options(pinned: &Pinned<'_>) -> Result<(), BridgeError> {
    let options = options(pinned);
    let is_refused = |value: &Value| matches!(value, Value::Number(number) if !json::is_bounded(number));
    match options.as_object().into_iter().flatten().find(|(_, value)| is_refused(value)) {
        Some((name, value)) => Err(BridgeError::config(format!(
            "{name} is {value}, expected a magnitude of at most {} in a run over a file",
            json::MAX_NUMBER
        ))),
        None => Ok(()),
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

/// A message for every field that differs. A run leaves out options that are not given, so that each side may have options
/// that the other one does not have.
fn differences(fields: &Map<String, Value>, started: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    for (name, now) in fields {
        let before = started.get(name);
        match now.as_object() {
            Some(now) => {
                let of_before = before.and_then(Value::as_object);
                let names: BTreeSet<&String> = of_before.into_iter().chain([now]).flat_map(Map::keys).collect();
                let option =
                    |name: &String| difference(name, before.and_then(|options| options.get(name)), now.get(name));
                problems.extend(names.into_iter().filter_map(option));
            }
            None => problems.extend(difference(name, before, Some(now))),
        }
    }
    problems
}

/// The message about a field that differs. Null is an option that was not given.
fn difference(name: &str, before: Option<&Value>, now: Option<&Value>) -> Option<String> {
    let (before, now) = (before.filter(|value| !value.is_null()), now.filter(|value| !value.is_null()));
    if before == now {
        return None;
    }
    let shown = |value: Option<&Value>| value.map_or_else(|| "not given".to_owned(), Value::to_string);
    Some(format!("{name} was {} and is {}", shown(before), shown(now)))
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
        let expected = "identity was \"aa\" and is \"bb\"; prompt_name was not given and is \"query\"";
        assert!(message.contains(expected), "{message}");
    }

    #[test]
    fn options_of_only_one_of_the_runs_differ() {
        let of = |options: Value| json!({"options": options});
        let found = |now: Value, before: Value| differences(of(now).as_object().expect("an object"), &of(before));
        assert_eq!(found(json!({}), json!({"threshold": 0.1})), ["threshold was 0.1 and is not given"]);
        assert_eq!(found(json!({"threshold": 0.1}), json!({})), ["threshold was not given and is 0.1"]);
        assert_eq!(found(json!({"stride": null, "nested": true}), json!({"nested": true})), [""; 0]);
        assert_eq!(found(json!({"stride": 2}), json!(7)), ["stride was not given and is 2"]);
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
