//! Stores in folders: names, lists, pulls, and models that are opened by a name in a store.
#![cfg(all(feature = "store", feature = "sentence-embedding"))]

mod common;

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

use common::store::{Folder, NAME, code, copy};
use onnx_ml_bridge::{BridgeOptions, Embedder, MlBridge, OnnxMlBridge, Store, open_bridge};
use serde_json::json;

#[test]
fn names_tags_and_versions_are_pulled_without_a_copy() {
    let folder = Folder::new();
    let store = folder.store();
    let expected = fs::canonicalize(folder.path(&format!("artifacts/{}", folder.identity))).expect("a path");
    let (version, identity) = (&folder.version, &folder.identity);
    for spec in [
        NAME.to_owned(),
        format!("store:{NAME}@latest"),
        format!("{NAME}@{version}"),
        format!("{NAME}@{version}#sha256:{identity}"),
    ] {
        assert_eq!(store.pull_blocking(&spec), Ok(expected.clone()), "{spec}");
    }
    assert!(!folder.folder.path().join("cache").exists());
}

#[tokio::test]
async fn stores_are_listed_and_pulled_asynchronously() {
    let folder = Folder::new();
    folder.put(&format!("models/{NAME}/versions/99.10.0.json"), &json!({"identity": folder.identity}));
    folder.put(&format!("models/{NAME}/versions/99.9.0.json"), &json!({"identity": folder.identity}));
    folder.put(&format!("models/{NAME}/versions/99.11.0.json"), &json!({"identity": folder.identity, "yanked": true}));
    folder.put(&format!("models/{NAME}/versions/99.12.0-rc.1.json"), &json!({"identity": folder.identity}));
    fs::write(folder.path(&format!("models/{NAME}/versions/readme.txt")), "ignored").expect("a file");
    let store = folder.store();
    assert!(store.pull(NAME).await.is_ok());
    assert_eq!(store.models().await, Ok(vec![NAME.to_owned()]));
    let versions: Vec<String> =
        store.versions(NAME).await.expect("versions").into_iter().map(|each| each.version).collect();
    assert_eq!(versions, [&folder.version, "99.9.0", "99.10.0", "99.12.0-rc.1"]);
    let updates: Vec<String> =
        store.updates(NAME).await.expect("updates").into_iter().map(|each| each.version).collect();
    assert_eq!(updates, ["99.9.0", "99.10.0"]);
    let tags = store.tags(NAME).await.expect("tags");
    assert_eq!((tags.len(), tags[0].tag.as_str(), tags[0].revision), (1, "latest", 1));
    assert_eq!(store.resolve(NAME).await.expect("an artifact").version, folder.version);
}

#[test]
fn what_is_missing_or_wrong_has_its_code() {
    let folder = Folder::new();
    let store = folder.store();
    let other = "0".repeat(64);
    folder.put(&format!("models/{NAME}/versions/3.0.0.json"), &json!({"identity": folder.identity}));
    folder.put(&format!("models/{NAME}/versions/4.0.0.json"), &json!({"identity": folder.identity, "yanked": true}));
    folder.put(&format!("models/{NAME}/versions/5.0.0.json"), &json!({"identity": 5}));
    folder.put(&format!("models/other/versions/{}.json", folder.version), &json!({"identity": folder.identity}));
    let cases = [
        ("none".to_owned(), "not_found"),
        (format!("{NAME}@2.0.0"), "not_found"),
        (format!("{NAME}@prod"), "not_found"),
        (format!("{NAME}@4.0.0"), "not_found"),
        (format!("{NAME}@3.0.0"), "store"),
        (format!("{NAME}@5.0.0"), "store"),
        (format!("other@{}", folder.version), "store"),
        (format!("{NAME}#sha256:{other}"), "identity"),
        ("../x".to_owned(), "config"),
    ];
    for (spec, expected) in cases {
        assert_eq!(code(store.pull_blocking(&spec)), Err(expected.to_owned()), "{spec}");
    }
    assert_eq!(code(store.versions_blocking("none")), Err("not_found".to_owned()));
    assert_eq!(code(store.tags_blocking("none")), Err("not_found".to_owned()));
    assert_eq!(code(store.versions_blocking("../x")), Err("config".to_owned()));
    assert_eq!(code(Store::open(folder.path("none").display().to_string())).err(), Some("store".to_owned()));
    let expected = if cfg!(feature = "store-remote") { "config" } else { "dependency" };
    assert_eq!(code(Store::open("ftp://host/x")).err(), Some(expected.to_owned()));
}

#[test]
fn damaged_artifacts_are_refused() {
    let folder = Folder::new();
    let artifact = folder.path(&format!("artifacts/{}", folder.identity));
    fs::write(artifact.join("golden.jsonl"), "").expect("a file");
    assert_eq!(code(folder.store().pull_blocking(NAME)), Err("size".to_owned()));
    // Another artifact under the identity of this one
    fs::remove_dir_all(&artifact).expect("removed");
    copy(&common::golden().join("valid/tiny-ner"), &artifact);
    assert_eq!(code(folder.store().pull_blocking(NAME)), Err("identity".to_owned()));
}

#[test]
fn models_are_opened_by_names_in_a_store() {
    let folder = Folder::new();
    let options = BridgeOptions::default().store(folder.address());
    let embedder = Embedder::open(format!("store:{NAME}"), options.clone()).expect("an embedder");
    assert_eq!((embedder.info().identity, embedder.info().version), (folder.identity.clone(), folder.version.clone()));
    let pinned = format!("store:{NAME}#sha256:{}", "0".repeat(64));
    assert_eq!(code(Embedder::open(pinned, options.clone())).err(), Some("identity".to_owned()));
    let missing = Embedder::open("store:none", options.clone());
    assert_eq!(code(missing).err(), Some("not_found".to_owned()));
    let bridge = OnnxMlBridge::builder().model(format!("store:{NAME}@latest").as_str()).options(options).build();
    assert_eq!(bridge.expect("a bridge").models()[0].identity, folder.identity);
}

#[test]
fn a_reload_resolves_the_name_again() {
    let folder = Folder::new();
    let options = BridgeOptions::default().store(folder.address());
    let bridge =
        OnnxMlBridge::builder().model(format!("store:{NAME}").as_str()).options(options).build().expect("a bridge");
    fs::remove_file(folder.path(&format!("models/{NAME}/refs/latest.json"))).expect("removed");
    assert_eq!(code(bridge.reload_blocking(NAME, &Default::default())).err(), Some("not_found".to_owned()));
    folder.tag("latest", 2);
    assert_eq!(
        code(bridge.reload_blocking(NAME, &Default::default())).map(|info| info.identity),
        Ok(folder.identity.clone())
    );
}

#[test]
fn bridge_toml_names_a_store_relative_to_the_file() {
    let folder = Folder::new();
    let path = folder.folder.path().join("bridge.toml");
    fs::write(&path, format!("[bridge]\nstore = \"store\"\n[models.a]\npath = \"store:{NAME}@latest\"\n"))
        .expect("a file");
    let bridge = open_bridge(&path).expect("a bridge");
    assert_eq!((bridge.models()[0].name.as_str(), &bridge.models()[0].identity), ("a", &folder.identity));
}

/// Whether a load of the graphs changes the time of the last use of an artifact, which is that of its folder.
fn load_is_noted(artifact: &Path) -> bool {
    let modified = || fs::metadata(artifact).and_then(|data| data.modified()).expect("a time");
    let embedder = Embedder::open(artifact, BridgeOptions::default().threads(1)).expect("an embedder");
    let old = SystemTime::now() - Duration::from_secs(30 * 3600);
    File::open(artifact).and_then(|folder| folder.set_modified(old)).expect("a time");
    let before = modified();
    embedder.warm_up_blocking().expect("graphs");
    modified() > before
}

#[test]
fn a_load_notes_the_use_of_an_artifact_in_a_cache_only() {
    let folder = Folder::new();
    let key = format!("artifacts/{}", folder.identity);
    let cache = folder.folder.path().join("cache");
    copy(&folder.path(&key), &cache.join(&key));
    assert!(!load_is_noted(&cache.join(&key)), "without locks, it is any folder");
    for root in [cache.clone(), folder.path("")] {
        fs::create_dir_all(root.join(".locks")).expect("a folder");
    }
    assert!(load_is_noted(&cache.join(&key)));
    assert!(!load_is_noted(&folder.path(&key)), "a store in a folder");
}
