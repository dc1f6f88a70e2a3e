//! The signatures in tests/golden/trust, which Python judges too.
#![cfg(all(feature = "store", feature = "sentence-embedding"))]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::store::{NAME, code, copy};
use onnx_ml_bridge::{BridgeOptions, Embedder, Model, Store};
use serde_json::Value;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden")
}

/// The names of a kind of cases, and whether the key accepts them; and the hash of the key.
fn cases(kind: &str) -> (Vec<(String, bool)>, String) {
    let raw = fs::read(golden().join("trust/cases.json")).expect("a file");
    let all: Value = serde_json::from_slice(&raw).expect("JSON");
    let cases = all[kind].as_object().expect("cases").iter();
    let cases = cases.map(|(name, is_valid)| (name.clone(), is_valid.as_bool().expect("a bool")));
    (cases.collect(), all["key"].as_str().expect("a hash").to_owned())
}

#[test]
fn bundles_are_judged_as_in_python() {
    let (cases, key) = cases("bundles");
    let folder = tempfile::tempdir().expect("a folder");
    let artifact = folder.path().join("artifact");
    copy(&golden().join("valid/tiny-embedding"), &artifact);
    let bundles = folder.path().join("artifact.signatures");
    fs::create_dir(&bundles).expect("a folder");
    for (name, is_valid) in cases {
        let bundle = golden().join("trust/bundles").join(format!("{name}.json"));
        fs::copy(bundle, bundles.join(format!("{key}.json"))).expect("a copy");
        let options = BridgeOptions::default().trusted_key(golden().join("trust/trusted.pub"));
        let opened = Embedder::open(Model::new(&artifact), options);
        match is_valid {
            true => assert!(opened.is_ok(), "{name}: {:?}", opened.err()),
            false => assert_eq!(opened.err().map(|error| error.code().as_str()), Some("signature"), "{name}"),
        }
    }
}

/// A bundle in the cache is replaced by that of the store if it is invalid, and an invalid one is never kept.
#[cfg(feature = "store-remote")]
#[test]
fn the_cache_keeps_valid_bundles() {
    let (cases, key) = cases("bundles");
    let (folder, cache) = (common::store::Folder::new(), tempfile::tempdir().expect("a folder"));
    let web = common::web::Web::new(&folder.path(""));
    let store = || Store::open(&web.address).expect("a store").cache(cache.path());
    let pull = |store: Store, spec: &str| {
        let store = store.key(golden().join("trust/trusted.pub")).expect("a key");
        code(store.pull_blocking(spec)).err()
    };
    let (spec, name) = (format!("{NAME}@{}", folder.version), format!("signatures/{}/{key}.json", folder.identity));
    let pinned = format!("{spec}#sha256:{}", folder.identity);
    let (stored, kept) = (folder.path(&name), cache.path().join(&name));
    fs::create_dir_all(stored.parent().expect("a folder")).expect("a folder");
    let put = |is_valid: bool, path: &Path| {
        let (name, _) = cases.iter().find(|(_, accepted)| *accepted == is_valid).expect("a case");
        fs::copy(golden().join("trust/bundles").join(format!("{name}.json")), path).expect("a copy");
    };
    let refused = Some("signature".to_owned());
    put(false, &stored);
    assert_eq!(pull(store(), &spec), refused);
    assert!(!kept.exists());
    put(true, &stored);
    assert_eq!(pull(store(), &spec), None);
    put(false, &kept);
    assert_eq!(pull(store().offline(true), &pinned), refused);
    for spec in [&spec, &pinned] {
        put(false, &kept);
        assert_eq!(pull(store(), spec), None);
        assert_eq!(fs::read(&kept).expect("a bundle"), fs::read(&stored).expect("a bundle"));
    }
    let requests = web.requests();
    assert_eq!((pull(store(), &pinned), web.requests()), (None, requests));
}

#[test]
fn tags_are_judged_as_in_python() {
    for (name, is_valid) in cases("tags").0 {
        let folder = tempfile::tempdir().expect("a folder");
        let tags = folder.path().join("store/models").join(NAME).join("refs");
        fs::create_dir_all(&tags).expect("a folder");
        fs::copy(golden().join("trust/tags").join(format!("{name}.json")), tags.join("stable.json")).expect("a copy");
        let store = Store::open(folder.path().join("store").to_string_lossy()).expect("a store");
        let store = store.key(golden().join("trust/trusted.pub")).expect("a key").cache(folder.path().join("cache"));
        let resolved = store.resolve_blocking(&format!("{NAME}@stable"));
        match is_valid {
            true => assert!(resolved.is_ok(), "{name}: {:?}", resolved.err()),
            false => assert_eq!(code(resolved).err().as_deref(), Some("signature"), "{name}"),
        }
    }
}
