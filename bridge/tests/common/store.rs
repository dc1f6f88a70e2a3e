//! A store in a folder, made of the tiny artifact that the tests of both languages share.

use std::fs;
use std::path::{Path, PathBuf};

use onnx_ml_bridge::{BridgeError, Store};
use serde_json::{Value, json};
use tempfile::TempDir;

pub const NAME: &str = "tiny-embedding";

/// A store in a folder with the version of tests/golden/valid/tiny-embedding.
pub struct Folder {
    pub folder: TempDir,
    pub identity: String,
    pub version: String,
}

impl Folder {
    pub fn new() -> Self {
        let source = super::golden().join("valid/tiny-embedding");
        let line = fs::read_to_string(source.join("manifest.sha256")).expect("a file");
        let identity = line[..64].to_owned();
        let manifest: Value =
            serde_json::from_slice(&fs::read(source.join("manifest.json")).expect("a file")).expect("JSON");
        let version = manifest["version"].as_str().expect("a version").to_owned();
        let folder = tempfile::tempdir().expect("a folder");
        let store = Self { folder, identity, version };
        copy(&source, &store.path(&format!("artifacts/{}", store.identity)));
        store.put(&format!("models/{NAME}/versions/{}.json", store.version), &json!({"identity": store.identity}));
        store.tag("latest", 1);
        store
    }

    pub fn path(&self, key: &str) -> PathBuf {
        self.folder.path().join("store").join(key)
    }

    pub fn put(&self, key: &str, record: &Value) {
        let path = self.path(key);
        fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
        fs::write(path, record.to_string()).expect("a record");
    }

    pub fn tag(&self, tag: &str, revision: u64) {
        let record = json!({"version": self.version, "identity": self.identity, "revision": revision, "previous": []});
        self.put(&format!("models/{NAME}/refs/{tag}.json"), &record);
    }

    pub fn address(&self) -> String {
        self.path("").to_str().expect("UTF-8").trim_end_matches('/').to_owned()
    }

    pub fn store(&self) -> Store {
        Store::open(self.address()).expect("a store").cache(self.folder.path().join("cache"))
    }
}

pub fn copy(source: &Path, target: &Path) {
    fs::create_dir_all(target).expect("a folder");
    for entry in fs::read_dir(source).expect("a folder") {
        let entry = entry.expect("an entry");
        match entry.file_type().expect("a type").is_dir() {
            true => copy(&entry.path(), &target.join(entry.file_name())),
            false => drop(fs::copy(entry.path(), target.join(entry.file_name())).expect("a copy")),
        }
    }
}

pub fn code<T>(result: Result<T, BridgeError>) -> Result<T, String> {
    result.map_err(|error| error.code().to_string())
}
