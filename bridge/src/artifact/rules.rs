//! From the bytes of `manifest.json` to a [`Manifest`]: the checks `json`, `format_version` and `schema`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use serde_json::Value;

use super::json;
use super::manifest::{FAMILIES, FORMAT_VERSION, Manifest, SummarizationSpec};
use crate::BridgeError;

/// The schema, a copy of `artifacts/manifest.schema.json`.
pub(crate) const SCHEMA: &str = include_str!("manifest.schema.json");
/// Violations named in full; a hostile manifest could have thousands.
const MAX_PROBLEMS: usize = 50;
/// Longest text of one violation, in characters.
const MAX_PROBLEM_CHARS: usize = 300;

/// Reads a manifest from its bytes.
///
/// # Errors
/// `json`, `format_version` or `schema`, in this order; `schema` names all violations at once.
pub fn parse_manifest(bytes: &[u8]) -> Result<Manifest, BridgeError> {
    let value = parse_object(bytes)?;
    check_format_version(&value)?;
    check_family(&value)?;
    let problems = schema_problems(&value)?;
    if !problems.is_empty() {
        return Err(BridgeError::Schema { problems });
    }
    let manifest: Manifest =
        serde_json::from_value(value).map_err(|error| BridgeError::Schema { problems: vec![error.to_string()] })?;
    let problems = cross_field_problems(&manifest);
    if problems.is_empty() { Ok(manifest) } else { Err(BridgeError::Schema { problems }) }
}

fn parse_object(bytes: &[u8]) -> Result<Value, BridgeError> {
    let refuse = |problem| BridgeError::Json { file: "manifest.json".to_owned(), problem };
    let value = json::parse(bytes).map_err(refuse)?;
    if value.is_object() { Ok(value) } else { Err(refuse("expected an object".to_owned())) }
}

const UPGRADE: &str = "upgrade onnx-ml-bridge, or fetch an artifact of an older format";

fn too_new(value: &Value, field: &'static str, newest: u64, advice: &'static str) -> BridgeError {
    let found = value.get(field).map_or_else(|| "missing".to_owned(), Value::to_string);
    BridgeError::FormatVersion { field, found, newest, advice }
}

fn check_format_version(value: &Value) -> Result<(), BridgeError> {
    match value.get("format_version") {
        Some(Value::Number(version)) if version.is_u64() || version.is_i64() => {
            if version.as_u64().is_some_and(|version| version > FORMAT_VERSION) {
                return Err(too_new(value, "format_version", FORMAT_VERSION, UPGRADE));
            }
            Ok(())
        }
        _ => {
            let advice = "expected a whole number, build the artifact again";
            Err(too_new(value, "format_version", FORMAT_VERSION, advice))
        }
    }
}

/// The task and the engine, then the task's revision. Values that are no strings are for the schema to refuse.
fn check_family(value: &Value) -> Result<(), BridgeError> {
    let text = |key: &str| value.get(key).and_then(Value::as_str);
    let (Some(task), Some(engine)) = (text("task"), text("engine")) else { return Ok(()) };
    let Some((_, _, newest)) = FAMILIES.iter().find(|(known, with, _)| (*known, *with) == (task, engine)) else {
        let known: Vec<String> = FAMILIES.iter().map(|(task, engine, _)| format!("{task} ({engine})")).collect();
        let (task, engine, known) = (task.to_owned(), engine.to_owned(), known.join(", "));
        return Err(BridgeError::UnknownTask { task, engine, known });
    };
    match value.get("task_revision").and_then(Value::as_u64) {
        Some(revision) if revision > *newest => Err(too_new(value, "task_revision", *newest, UPGRADE)),
        _ => Ok(()),
    }
}

fn schema_problems(value: &Value) -> Result<Vec<String>, BridgeError> {
    let validator = validator()?;
    let mut problems: Vec<String> = validator
        .iter_errors(value)
        .take(MAX_PROBLEMS + 1)
        .map(|error| shorten(format!("{}: {error}", place(&error.instance_path().to_string()))))
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

fn place(pointer: &str) -> &str {
    if pointer.is_empty() { "the manifest" } else { pointer }
}

fn shorten(text: String) -> String {
    match text.char_indices().nth(MAX_PROBLEM_CHARS) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

/// The rules that a JSON schema cannot say and that need no file.
fn cross_field_problems(manifest: &Manifest) -> Vec<String> {
    let mut problems = unlisted_paths(manifest);
    if let Some(embedding) = &manifest.embedding
        && let Some(prompt) = &embedding.default_prompt
        && !embedding.prompts.contains_key(prompt)
    {
        problems.push(format!("embedding.default_prompt {prompt:?} is no key of embedding.prompts"));
    }
    problems.extend(manifest.summarization.iter().flat_map(SummarizationSpec::problems));
    problems.extend(case_twins(manifest.files.keys()));
    problems
}

fn unlisted_paths(manifest: &Manifest) -> Vec<String> {
    let graphs = manifest.variants.iter().flat_map(|(name, variant)| {
        variant.graphs.iter().map(move |(role, graph)| (format!("variants.{name}.graphs.{role}.file"), &graph.file))
    });
    let others = [("golden.file", &manifest.golden.file), ("parity.file", &manifest.parity.file)];
    graphs
        .chain(manifest.text_files().into_iter().chain(others).map(|(field, path)| (field.to_owned(), path)))
        .filter(|(_, path)| !manifest.files.contains_key(*path))
        .map(|(field, path)| format!("{field} {path:?} is not in files"))
        .collect()
}

fn case_twins<'a>(paths: impl Iterator<Item = &'a String>) -> Vec<String> {
    let mut spellings: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for path in paths {
        spellings.entry(path.to_ascii_lowercase()).or_default().insert(path);
    }
    let twins = spellings.into_values().filter(|names| names.len() > 1);
    twins.map(|names| format!("files {names:?} differ in case alone")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_schema_is_the_contracts_own() {
        let original = concat!(env!("CARGO_MANIFEST_DIR"), "/../artifacts/manifest.schema.json");
        let original = std::fs::read_to_string(original).expect("the contract lies beside the crate");
        assert_eq!(SCHEMA, original, "copy artifacts/manifest.schema.json to bridge/src/artifact/");
    }

    #[test]
    fn versions_are_judged_before_the_schema() {
        let code = |text: &str| parse_manifest(text.as_bytes()).map_err(|error| error.code()).map(|_| ());
        assert_eq!(code("[]"), Err("json"));
        assert_eq!(code("{}"), Err("format_version"));
        assert_eq!(code("{\"format_version\":1.0}"), Err("format_version"));
        assert_eq!(code("{\"format_version\":true}"), Err("format_version"));
        assert_eq!(code("{\"format_version\":2}"), Err("format_version"));
        assert_eq!(code("{\"format_version\":0}"), Err("schema"));
        assert_eq!(code("{\"format_version\":1}"), Err("schema"));
        for (task, expected) in [
            ("sentence-embedding", "format_version"),
            ("ner", "format_version"),
            ("summarization", "format_version"),
            ("x", "unknown_task"),
        ] {
            let newer =
                format!("{{\"format_version\":1,\"task\":\"{task}\",\"engine\":\"transformers\",\"task_revision\":2}}");
            assert_eq!(code(&newer), Err(expected), "{task}");
        }
    }

    #[test]
    fn all_violations_are_named() {
        let Err(BridgeError::Schema { problems }) = parse_manifest(b"{\"format_version\":1,\"name\":\"A\"}") else {
            panic!("expected a schema error");
        };
        assert!(problems.len() > 10, "{problems:?}");
    }

    #[test]
    fn case_twins_are_found() {
        let paths = ["a/B".to_owned(), "a/b".to_owned(), "c".to_owned()];
        assert_eq!(case_twins(paths.iter()).len(), 1);
    }
}
