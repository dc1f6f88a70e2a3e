//! Reads bridge.toml: the models of a bridge, with their names, variants, time limits and defaults.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use crate::BridgeError;
use crate::bridge::builder::Builder;
use crate::bridge::rules;
use crate::cause::Cause;
use crate::location::name_in_store;
use crate::model::Model;
use crate::options::BridgeOptions;
use crate::tasks::Task;

const SCHEMA: &str = include_str!("bridge.schema.json");

/// Reads a `bridge.toml`. Its models are not opened.
pub(crate) fn read(path: &Path) -> Result<BridgeFile, BridgeError> {
    parse(fs::read(path).map_err(|error| BridgeError::io(path, &error))?, path)
}

/// The content of a `bridge.toml`. Paths of models are relative to the current directory.
pub(crate) struct BridgeFile {
    /// Sorted by their names.
    pub(crate) models: Vec<Model>,
    pub(crate) defaults: BTreeMap<Task, String>,
    pub(crate) options: BridgeOptions,
    /// The tables of backends, whose relative paths are relative to `folder`.
    pub(crate) backends: BTreeMap<String, Value>,
    /// The names of the members of each chain.
    pub(crate) tasks: BTreeMap<Task, Vec<String>>,
    /// The folder of the file.
    pub(crate) folder: PathBuf,
}

impl BridgeFile {
    /// A builder of the ONNX models, without defaults.
    pub(crate) fn builder(&self) -> Builder {
        let builder = Builder::default().options(self.options.clone());
        self.models.iter().fold(builder, |builder, model| builder.model(model.clone()))
    }
}

/// Parses a `bridge.toml`; `path` is its own path.
pub(crate) fn parse(bytes: Vec<u8>, path: &Path) -> Result<BridgeFile, BridgeError> {
    let config =
        |problem: String, cause| BridgeError::Config { problem: format!("{}: {problem}", path.display()), cause };
    let text = String::from_utf8(bytes).map_err(|error| config(error.to_string(), Some(Cause::new(error))))?;
    if text.starts_with('\u{feff}') {
        return Err(config("starts with a byte order mark, expected TOML in UTF-8".to_owned(), None));
    }
    let table: toml::Table =
        toml::from_str(&text).map_err(|error| config(error.to_string(), Some(Cause::new(error))))?;
    let value = Value::Object(table.into_iter().map(|(key, value)| (key, to_json(value))).collect());
    let problems = problems(&value)?;
    if !problems.is_empty() {
        return Err(config(problems.join("; "), None));
    }
    let file = File::deserialize(value).map_err(|error| config(error.to_string(), Some(Cause::new(error))))?;
    Ok(file.resolved(path))
}

/// The content of a `bridge.toml` that satisfies the schema.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    bridge: BridgeTable,
    #[serde(default)]
    models: BTreeMap<String, ModelTable>,
    #[serde(default)]
    backend: BTreeMap<String, Value>,
    #[serde(default)]
    tasks: BTreeMap<Task, Vec<String>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct BridgeTable {
    threads: Option<usize>,
    memory_mb: Option<usize>,
    max_waiting: Option<usize>,
    text_limit: Option<usize>,
    beam_limit: Option<usize>,
    timeout_ms: Option<u64>,
    defaults: BTreeMap<Task, String>,
    store: Option<String>,
    trusted_keys: Vec<String>,
    local_only: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ModelTable {
    path: String,
    variant: Option<String>,
    device: Option<String>,
    identity: Option<String>,
    #[serde(default)]
    preload: bool,
    timeout_ms: Option<u64>,
    idle_unload_s: Option<u64>,
    workers: Option<usize>,
    run_tokens: Option<usize>,
    max_tokens: Option<usize>,
    merge: Option<bool>,
    space: Option<String>,
}

impl File {
    fn resolved(self, path: &Path) -> BridgeFile {
        let Self { bridge, models, backend: backends, tasks } = self;
        let defaults = BridgeOptions::default();
        let folder = path.parent().unwrap_or(Path::new(""));
        let options = BridgeOptions {
            threads: bridge.threads,
            memory_mb: bridge.memory_mb,
            max_waiting: bridge.max_waiting.unwrap_or(defaults.max_waiting),
            text_limit: bridge.text_limit.unwrap_or(defaults.text_limit),
            beam_limit: bridge.beam_limit.unwrap_or(defaults.beam_limit),
            timeout: bridge.timeout_ms.map(Duration::from_millis),
            store: bridge.store.map(|address| relative_address(folder, address)),
            trusted_keys: bridge.trusted_keys.into_iter().map(|key| folder.join(key)).collect(),
            local_only: bridge.local_only,
        };
        let models = models.into_iter().map(|(name, table)| table.model(name, folder)).collect();
        BridgeFile { models, defaults: bridge.defaults, options, backends, tasks, folder: folder.to_path_buf() }
    }
}

impl ModelTable {
    fn model(self, name: String, folder: &Path) -> Model {
        let path = match name_in_store(Path::new(&self.path)) {
            Some(_) => self.path.into(),
            None => folder.join(self.path),
        };
        let defaults = Model::new(path).name(name);
        Model {
            variant: self.variant.unwrap_or(defaults.variant),
            device: self.device.unwrap_or(defaults.device),
            identity: self.identity,
            preload: self.preload,
            timeout: self.timeout_ms.map(Duration::from_millis),
            idle_unload: self.idle_unload_s.map(Duration::from_secs),
            workers: self.workers,
            run_tokens: self.run_tokens,
            max_tokens: self.max_tokens,
            merge: self.merge.unwrap_or(defaults.merge),
            space: self.space,
            ..defaults
        }
    }
}

/// The address of a store: a URL, or a folder relative to that of the file.
fn relative_address(folder: &Path, address: String) -> String {
    if address.contains("://") { address } else { folder.join(address).display().to_string() }
}

/// A value of TOML as a value of JSON. A float or a date becomes an object, which no key accepts: JSON has no dates, and for
/// JSON Schema 1.0 is an integer.
fn to_json(value: toml::Value) -> Value {
    let other =
        |kind: &str, text: String| Value::Object([(kind.to_owned(), Value::String(text))].into_iter().collect());
    match value {
        toml::Value::String(text) => Value::String(text),
        toml::Value::Integer(number) => Value::from(number),
        toml::Value::Boolean(value) => Value::Bool(value),
        toml::Value::Float(number) => other("float", number.to_string()),
        toml::Value::Datetime(date) => other("date", date.to_string()),
        toml::Value::Array(values) => Value::Array(values.into_iter().map(to_json).collect()),
        toml::Value::Table(table) => {
            Value::Object(table.into_iter().map(|(key, value)| (key, to_json(value))).collect())
        }
    }
}

/// The violations of the schema and of the rules between keys.
fn problems(file: &Value) -> Result<Vec<String>, BridgeError> {
    let location = |path: String| path.trim_start_matches('/').replace('/', ".");
    let mut problems: Vec<String> = validator()?
        .iter_errors(file)
        .map(|error| match location(error.instance_path().to_string()) {
            path if path.is_empty() => error.to_string(),
            path => format!("{path}: {error}"),
        })
        .collect();
    problems.extend(rules::problems(file));
    Ok(problems)
}

fn validator() -> Result<&'static jsonschema::Validator, BridgeError> {
    static VALIDATOR: OnceLock<Result<jsonschema::Validator, String>> = OnceLock::new();
    let compiled = VALIDATOR.get_or_init(|| {
        let schema: Value = serde_json::from_str(SCHEMA).map_err(|error| error.to_string())?;
        jsonschema::draft202012::new(&schema).map_err(|error| error.to_string())
    });
    compiled.as_ref().map_err(|problem| BridgeError::Internal { problem: problem.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_schema_is_a_copy() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../artifacts/bridge.schema.json");
        let expected = fs::read_to_string(path).expect("the schema is in the folder next to the crate's");
        assert_eq!(SCHEMA, expected, "copy artifacts/bridge.schema.json to bridge/src/bridge/");
    }

    #[test]
    fn dates_and_floats_are_values_that_no_key_accepts() {
        let table: toml::Table = toml::from_str("a = 1.0\nb = 2026-01-31\nc = [1, true, 'x']").expect("TOML");
        let json = serde_json::json!({"a": {"float": "1"}, "b": {"date": "2026-01-31"}, "c": [1, true, "x"]});
        assert_eq!(to_json(toml::Value::Table(table)), json);
    }
}
