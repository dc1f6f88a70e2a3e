//! Reads the cases of tests/golden, which are changes to its valid artifacts. The README.md there describes their format.

use std::collections::BTreeMap;
use std::fs;

use serde::Deserialize;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{copy, golden, sha256, write, write_manifest};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseFile {
    base: String,
    cases: Vec<Case>,
}

/// A manifest or an artifact, and the code that readers have to refuse it with; `None` if it is valid.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    pub name: String,
    pub code: Option<String>,
    #[serde(skip)]
    base: String,
    manifest: Option<Operation>,
    #[serde(default)]
    remove: Vec<String>,
    #[serde(default)]
    change: BTreeMap<String, Operation>,
    #[serde(default)]
    reseal: bool,
}

/// An operation that computes the new bytes of a file.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Operation {
    Text(String),
    Repeat(Vec<(String, usize)>),
    Append(String),
    Truncate(usize),
    Flip(usize),
    Replace(String, String),
    Splice(Vec<(usize, String, String)>),
    Patch(Vec<Edit>),
    PatchCompact(Vec<Edit>),
    PatchLines(Vec<Edit>),
}

/// An operation of a JSON patch.
#[derive(Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
enum Edit {
    Add { path: String, value: Value },
    Remove { path: String },
    Replace { path: String, value: Value },
    Copy { from: String, path: String },
    Move { from: String, path: String },
}

/// The cases of a folder of tests/golden, ordered by file.
pub fn cases(folder: &str) -> Vec<Case> {
    let entries = fs::read_dir(golden().join(folder)).expect("a folder of cases");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    let read = |path| -> CaseFile { serde_json::from_slice(&fs::read(path).expect("a file")).expect("cases") };
    let with_base = |file: CaseFile| file.cases.into_iter().map(move |case| Case { base: file.base.clone(), ..case });
    paths.into_iter().map(read).flat_map(with_base).collect()
}

impl Case {
    /// The bytes of the manifest that the case changes.
    pub fn base_manifest(&self) -> Vec<u8> {
        fs::read(golden().join("valid").join(&self.base).join("manifest.json")).expect("a manifest")
    }

    /// The bytes of the changed manifest, before its hashes are updated.
    pub fn manifest(&self) -> Vec<u8> {
        let base = self.base_manifest();
        let operation = self.manifest.as_ref().or_else(|| self.change.get("manifest.json"));
        operation.map_or_else(|| base.clone(), |operation| operation.apply(&base))
    }

    /// Writes the artifact of the case to a new folder.
    pub fn artifact(&self) -> TempDir {
        let dir = copy(&golden().join("valid").join(&self.base));
        for name in &self.remove {
            fs::remove_file(dir.path().join(name)).expect("a file");
        }
        for (name, operation) in &self.change {
            let before = fs::read(dir.path().join(name)).unwrap_or_default();
            write(dir.path(), name, &operation.apply(&before));
        }
        if self.reseal {
            self.reseal(&dir);
        }
        dir
    }

    /// Updates the entries of changed files in the manifest, and the manifest's own hash.
    fn reseal(&self, dir: &TempDir) {
        let bytes = |name: &str| fs::read(dir.path().join(name)).expect("a file");
        let mut manifest = parse(&bytes("manifest.json"));
        for (name, entry) in manifest["files"].as_object_mut().expect("files") {
            if self.change.contains_key(name) {
                *entry = json!({"sha256": sha256(&bytes(name)), "size": bytes(name).len()});
            }
        }
        write_manifest(dir.path(), format!("{manifest:#}\n").as_bytes());
    }
}

impl Operation {
    fn apply(&self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Text(text) => text.clone().into_bytes(),
            Self::Repeat(counts) => counts.iter().map(|(text, count)| text.repeat(*count)).collect::<String>().into(),
            Self::Append(text) => [bytes, text.as_bytes()].concat(),
            Self::Truncate(size) => bytes[..*size].to_vec(),
            Self::Flip(offset) => [&bytes[..*offset], &[bytes[*offset] ^ 1], &bytes[offset + 1..]].concat(),
            Self::Replace(old, new) => replace(bytes, old.as_bytes(), new.as_bytes()),
            Self::Splice(splices) => splice(bytes, splices),
            Self::Patch(edits) => format!("{:#}\n", patched(parse(bytes), edits)).into(),
            Self::PatchCompact(edits) => format!("{}\n", patched(parse(bytes), edits)).into(),
            Self::PatchLines(edits) => {
                let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(parse).collect();
                let lines = patched(Value::Array(lines), edits);
                lines.as_array().expect("lines").iter().map(|line| format!("{line}\n")).collect::<String>().into()
            }
        }
    }
}

/// Replaces every occurrence of a text in a file that may be binary.
fn replace(bytes: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    let (mut result, mut rest) = (Vec::new(), bytes);
    while let Some(offset) = rest.windows(old.len()).position(|window| window == old) {
        result.extend_from_slice(&rest[..offset]);
        result.extend_from_slice(new);
        rest = &rest[offset + old.len()..];
    }
    assert!(rest.len() < bytes.len(), "the text to replace does not occur");
    [&result, rest].concat()
}

/// Replaces bytes at offsets of the original file. The new bytes are given as characters up to U+00FF, each of which is
/// one byte.
fn splice(bytes: &[u8], splices: &[(usize, String, String)]) -> Vec<u8> {
    let latin = |text: &str| -> Vec<u8> { text.chars().map(|c| u8::try_from(c).expect("a byte")).collect() };
    let (mut result, mut end) = (Vec::new(), 0);
    for (offset, old, new) in splices {
        let old = latin(old);
        assert!(bytes[*offset..].starts_with(&old), "{old:?} is not at offset {offset}");
        result.extend_from_slice(&bytes[end..*offset]);
        result.extend(latin(new));
        end = offset + old.len();
    }
    [&result, &bytes[end..]].concat()
}

fn parse(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).expect("JSON")
}

fn patched(mut value: Value, edits: &[Edit]) -> Value {
    for edit in edits {
        match edit {
            Edit::Add { path, value: added } => add(&mut value, path, added.clone()),
            Edit::Remove { path } => drop(remove(&mut value, path)),
            Edit::Replace { path, value: added } => {
                remove(&mut value, path);
                add(&mut value, path, added.clone());
            }
            Edit::Copy { from, path } => {
                let copied = value.pointer(from).expect("a value to copy").clone();
                add(&mut value, path, copied);
            }
            Edit::Move { from, path } => {
                let moved = remove(&mut value, from);
                add(&mut value, path, moved);
            }
        }
    }
    value
}

/// The object or array that holds the target of a JSON pointer, and the target's key or index in it.
fn parent<'a>(value: &'a mut Value, path: &str) -> (&'a mut Value, String) {
    let (parent, key) = path.rsplit_once('/').expect("a pointer to a member");
    (value.pointer_mut(parent).expect("a parent"), key.replace("~1", "/").replace("~0", "~"))
}

fn remove(value: &mut Value, path: &str) -> Value {
    match parent(value, path) {
        (Value::Object(members), key) => members.remove(&key).expect("a member"),
        (Value::Array(items), index) => items.remove(index.parse().expect("an index")),
        (other, _) => panic!("{other} has no members"),
    }
}

fn add(value: &mut Value, path: &str, added: Value) {
    match parent(value, path) {
        (Value::Object(members), key) => drop(members.insert(key, added)),
        (Value::Array(items), index) if index == "-" => items.push(added),
        (Value::Array(items), index) => items.insert(index.parse().expect("an index"), added),
        (other, _) => panic!("{other} has no members"),
    }
}
