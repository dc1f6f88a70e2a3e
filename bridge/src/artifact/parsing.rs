//! Parses `manifest.json` to a [`Manifest`] and runs the checks `json`, `format_version` and `schema`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use serde_json::{Map, Value};

use super::json;
use super::manifest::{FORMAT_VERSION, Manifest, SectionCheck};
use super::quoting::shorten;
use crate::BridgeError;

/// The JSON schema of manifests, a copy of `artifacts/manifest.schema.json`.
pub(crate) const SCHEMA: &str = include_str!("manifest.schema.json");
/// The maximum number of violations that one error lists; a malicious manifest could have thousands.
const MAX_PROBLEMS: usize = 50;
/// The maximum number of characters of the message about one violation.
const MAX_PROBLEM_CHARS: usize = 300;
/// The advice that an error gives for an artifact that is newer than this reader.
const UPGRADE: &str = "upgrade onnx-ml-bridge, or fetch an artifact of an older format";

/// A manifest that is a JSON object of a supported format version. Its other fields are not checked yet.
pub(crate) struct Draft {
    object: Map<String, Value>,
}

impl Draft {
    /// Runs the checks `json` and `format_version`. The latter does not include the task's revision yet.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, BridgeError> {
        let refuse = |problem| BridgeError::Json { file: "manifest.json".to_owned(), problem };
        let Value::Object(object) = json::parse(bytes).map_err(refuse)? else {
            return Err(refuse("expected an object".to_owned()));
        };
        let draft = Self { object };
        draft.check_format_version()?;
        Ok(draft)
    }

    fn check_format_version(&self) -> Result<(), BridgeError> {
        let Some(Value::Number(version)) = self.object.get("format_version").filter(|version| is_integer(version))
        else {
            let advice = "expected an integer, build the artifact again";
            return Err(self.refused_version("format_version", FORMAT_VERSION, advice));
        };
        match version.as_u64() {
            Some(version) if version > FORMAT_VERSION => {
                Err(self.refused_version("format_version", FORMAT_VERSION, UPGRADE))
            }
            _ => Ok(()),
        }
    }

    /// The task and the engine that the manifest names; `None` unless both are strings.
    pub(crate) fn task_and_engine(&self) -> Option<(&str, &str)> {
        Some((self.object.get("task")?.as_str()?, self.object.get("engine")?.as_str()?))
    }

    /// Runs the check `format_version` for the task's revision; `newest` is the newest revision that this reader
    /// implements.
    pub(crate) fn check_task_revision(&self, newest: u64) -> Result<(), BridgeError> {
        match self.object.get("task_revision").and_then(Value::as_u64) {
            Some(revision) if revision > newest => Err(self.refused_version("task_revision", newest, UPGRADE)),
            _ => Ok(()),
        }
    }

    fn refused_version(&self, field: &'static str, newest: u64, advice: &'static str) -> BridgeError {
        let actual = self.object.get(field).map_or_else(|| "missing".to_owned(), Value::to_string);
        BridgeError::FormatVersion { field, actual, newest, advice }
    }

    /// Runs the check `schema`, except for the rules between fields.
    pub(crate) fn into_manifest(self) -> Result<Manifest, BridgeError> {
        let value = Value::Object(self.object);
        let problems = schema_problems(&value)?;
        if !problems.is_empty() {
            return Err(BridgeError::Schema { problems });
        }
        Manifest::from_json(value).map_err(|error| BridgeError::Schema { problems: vec![error.to_string()] })
    }
}

fn is_integer(value: &Value) -> bool {
    value.is_u64() || value.is_i64()
}

/// Checks the rules between fields, which a JSON schema cannot express. `sections` has the result of the family's check of
/// its own sections.
///
/// # Errors
/// `schema`, with all violations at once.
pub(crate) fn check_rules(manifest: &Manifest, sections: SectionCheck) -> Result<(), BridgeError> {
    let mut problems = unlisted_paths(manifest, &sections.files);
    problems.extend(sections.problems);
    problems.extend(paths_that_differ_in_case(manifest.files.keys()));
    if problems.is_empty() { Ok(()) } else { Err(BridgeError::Schema { problems }) }
}

fn schema_problems(value: &Value) -> Result<Vec<String>, BridgeError> {
    let validator = validator()?;
    let mut problems: Vec<String> = validator
        .iter_errors(value)
        .take(MAX_PROBLEMS + 1)
        .map(|error| format!("{}: {error}", location(&error.instance_path().to_string())))
        .map(|problem| shorten(&problem, MAX_PROBLEM_CHARS))
        .collect();
    if problems.len() > MAX_PROBLEMS {
        problems.truncate(MAX_PROBLEMS);
        problems.push("and more".to_owned());
    }
    Ok(problems)
}

fn validator() -> Result<&'static jsonschema::Validator, BridgeError> {
    static VALIDATOR: OnceLock<Result<jsonschema::Validator, String>> = OnceLock::new();
    let compiled = VALIDATOR.get_or_init(|| {
        let schema: Value = serde_json::from_str(SCHEMA).map_err(|error| error.to_string())?;
        jsonschema::draft202012::new(&schema).map_err(|error| error.to_string())
    });
    compiled.as_ref().map_err(|problem| BridgeError::Schema { problems: vec![problem.clone()] })
}

fn location(pointer: &str) -> &str {
    if pointer.is_empty() { "the manifest" } else { pointer }
}

fn unlisted_paths(manifest: &Manifest, preprocessor: &[(&'static str, String)]) -> Vec<String> {
    let graphs = manifest.variants.iter().flat_map(|(name, variant)| {
        variant.graphs.iter().map(move |(role, graph)| (format!("variants.{name}.graphs.{role}.file"), &graph.file))
    });
    let preprocessor = preprocessor.iter().map(|(field, path)| ((*field).to_owned(), path));
    let others = [("golden.file", &manifest.golden.file), ("parity.file", &manifest.parity.file)];
    graphs
        .chain(preprocessor)
        .chain(others.map(|(field, path)| (field.to_owned(), path)))
        .filter(|(_, path)| !manifest.files.contains_key(*path))
        .map(|(field, path)| format!("{field} {path:?} is not in files"))
        .collect()
}

fn paths_that_differ_in_case<'a>(paths: impl Iterator<Item = &'a String>) -> Vec<String> {
    let mut spellings: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for path in paths {
        spellings.entry(path.to_ascii_lowercase()).or_default().insert(path);
    }
    let differing = spellings.into_values().filter(|names| names.len() > 1);
    differing.map(|names| format!("files {names:?} differ only in case")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_schema_is_a_copy_of_the_formats_schema() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../artifacts/manifest.schema.json");
        let expected = std::fs::read_to_string(path).expect("the format is in the folder next to the crate's");
        assert_eq!(SCHEMA, expected, "copy artifacts/manifest.schema.json to bridge/src/artifact/");
    }

    fn code<T>(result: Result<T, BridgeError>) -> Result<T, &'static str> {
        result.map_err(|error| error.code().as_str())
    }

    #[test]
    fn the_format_version_is_checked_before_the_schema() {
        let check = |text: &str| code(Draft::parse(text.as_bytes()).map(|_| ()));
        assert_eq!(check("[]"), Err("json"));
        for version in ["", "\"format_version\":1.0", "\"format_version\":true", "\"format_version\":2"] {
            assert_eq!(check(&format!("{{{version}}}")), Err("format_version"), "{version}");
        }
        for version in [0, 1] {
            let draft = Draft::parse(format!("{{\"format_version\":{version}}}").as_bytes()).expect("a draft");
            assert_eq!(code(draft.into_manifest().map(|_| ())), Err("schema"), "{version}");
        }
    }

    #[test]
    fn a_newer_task_revision_is_refused() {
        let check = |revision: &str| {
            let text = format!("{{\"format_version\":1,\"task_revision\":{revision}}}");
            code(Draft::parse(text.as_bytes()).expect("a draft").check_task_revision(1))
        };
        assert_eq!(check("2"), Err("format_version"));
        // An invalid revision violates the schema, which is checked later.
        for other in ["1", "0", "-1", "1.5", "null", "\"2\""] {
            assert_eq!(check(other), Ok(()), "{other}");
        }
    }

    #[test]
    fn task_and_engine_are_returned_only_if_both_are_strings() {
        let read = |fields: &str| {
            let draft = Draft::parse(format!("{{\"format_version\":1{fields}}}").as_bytes()).expect("a draft");
            draft.task_and_engine().map(|(task, engine)| (task.to_owned(), engine.to_owned()))
        };
        assert_eq!(read(",\"task\":\"a\",\"engine\":\"b\""), Some(("a".to_owned(), "b".to_owned())));
        for fields in ["", ",\"task\":\"a\"", ",\"engine\":\"b\"", ",\"task\":1,\"engine\":\"b\""] {
            assert_eq!(read(fields), None, "{fields}");
        }
    }

    #[test]
    fn all_violations_are_listed() {
        let draft = Draft::parse(b"{\"format_version\":1,\"name\":\"A\"}").expect("a draft");
        let Err(BridgeError::Schema { problems }) = draft.into_manifest() else {
            panic!("expected a schema error");
        };
        assert!(problems.len() > 10, "{problems:?}");
    }

    #[test]
    fn paths_that_differ_only_in_case_are_refused() {
        let paths = ["a/B".to_owned(), "a/b".to_owned(), "c".to_owned()];
        assert_eq!(paths_that_differ_in_case(paths.iter()).len(), 1);
    }
}
