//! Trusted keys: what is unsigned, or signed by another key, is refused with `signature` wherever keys are given.
#![cfg(all(feature = "store", feature = "sentence-embedding"))]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use common::store::{Folder, NAME, code, copy};
use onnx_ml_bridge::{BridgeOptions, Embedder, MlBridge, OnnxMlBridge, ReloadOptions, Store, open_bridge};
use p256::ecdsa::signature::Signer;
use p256::ecdsa::{DerSignature, SigningKey};
use p256::pkcs8::{EncodePublicKey, LineEnding};
use proptest::prelude::*;
use serde_json::{Value, json};

const TAG_TYPE: &str = "application/vnd.onnx-ml-bridge.tag+json";
const STATEMENT_TYPE: &str = "application/vnd.in-toto+json";

struct Key(SigningKey);

impl Key {
    fn new(number: u8) -> Self {
        Self(SigningKey::from_slice(&[number; 32]).expect("a key"))
    }

    fn hash(&self) -> String {
        common::sha256(self.0.verifying_key().to_public_key_der().expect("DER").as_bytes())
    }

    fn write(&self, folder: &Path) -> PathBuf {
        let path = folder.join(format!("{}.pem", self.hash()));
        let pem = self.0.verifying_key().to_public_key_pem(LineEnding::LF).expect("PEM");
        fs::write(&path, pem).expect("a file");
        path
    }

    fn sign(&self, payload_type: &str, payload: &str) -> String {
        let encoded = format!("DSSEv1 {} {payload_type} {} {payload}", payload_type.len(), payload.len());
        let signature: DerSignature = self.0.sign(encoded.as_bytes());
        STANDARD.encode(signature.as_bytes())
    }

    fn bundle(&self, statement: &Value) -> Value {
        let payload = statement.to_string();
        let signature = self.sign(STATEMENT_TYPE, &payload);
        json!({
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": {"publicKey": {"hint": ""}, "tlogEntries": []},
            "dsseEnvelope": {
                "payload": STANDARD.encode(payload),
                "payloadType": STATEMENT_TYPE,
                "signatures": [{"sig": signature, "keyid": ""}],
            },
        })
    }
}

/// The statement of OpenSSF Model Signing about the files of an artifact.
fn statement(artifact: &Path) -> Value {
    let raw = fs::read(artifact.join("manifest.json")).expect("a file");
    let manifest: Value = serde_json::from_slice(&raw).expect("JSON");
    let mut files: Vec<(String, String)> = vec![
        ("manifest.json".to_owned(), common::sha256(&raw)),
        ("manifest.sha256".to_owned(), common::sha256(&fs::read(artifact.join("manifest.sha256")).expect("a file"))),
    ];
    for (name, entry) in manifest["files"].as_object().expect("files") {
        files.push((name.clone(), entry["sha256"].as_str().expect("a hash").to_owned()));
    }
    let resource = |(name, digest): (String, String)| json!({"name": name, "digest": digest, "algorithm": "sha256"});
    json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": NAME, "digest": {"sha256": "00"}}],
        "predicateType": "https://model_signing/signature/v1.0",
        "predicate": {
            "resources": files.into_iter().map(resource).collect::<Vec<Value>>(),
            "serialization": {"hash_type": "sha256", "method": "files", "allow_symlinks": false, "ignore_paths": []},
        },
    })
}

impl Folder {
    fn artifact(&self) -> PathBuf {
        self.path(&format!("artifacts/{}", self.identity))
    }

    fn sign(&self, key: &Key) {
        let bundle = key.bundle(&statement(&self.artifact()));
        self.put(&format!("signatures/{}/{}.json", self.identity, key.hash()), &bundle);
    }

    fn signed_tag(&self, key: &Key, revision: u64, version: &str) {
        let payload = format!(
            r#"{{"identity":"{}","name":"{NAME}","revision":{revision},"tag":"latest","version":"{version}"}}"#,
            self.identity
        );
        let record = json!({
            "version": version, "identity": self.identity, "revision": revision, "previous": [],
            "signatures": {key.hash(): key.sign(TAG_TYPE, &payload)},
        });
        self.put(&format!("models/{NAME}/refs/latest.json"), &record);
    }

    fn trusting(&self, key: &Key) -> Store {
        self.store().key(key.write(self.folder.path())).expect("a key")
    }
}

#[test]
fn signed_artifacts_and_tags_are_pulled_and_others_refused() {
    let (folder, key, other) = (Folder::new(), Key::new(1), Key::new(2));
    let version = format!("{NAME}@{}", folder.version);
    let refused = || Err("signature".to_owned());
    assert_eq!(code(folder.trusting(&key).pull_blocking(&version)), refused());
    folder.sign(&key);
    assert!(folder.trusting(&key).pull_blocking(&version).is_ok());
    assert_eq!(code(folder.trusting(&other).pull_blocking(&version)), refused());
    // An unsigned tag of a signed artifact, unless the identity is pinned
    assert_eq!(code(folder.trusting(&key).pull_blocking(NAME)), refused());
    folder.signed_tag(&key, 2, &folder.version);
    assert!(folder.trusting(&key).pull_blocking(NAME).is_ok());
    assert_eq!(code(folder.trusting(&other).pull_blocking(NAME)), refused());
    // Of several keys, one is enough
    let both = folder.trusting(&other).key(key.write(folder.folder.path())).expect("a key");
    assert!(both.pull_blocking(NAME).is_ok());
}

#[test]
fn an_old_tag_is_refused_once_a_later_one_was_seen() {
    let (folder, key) = (Folder::new(), Key::new(1));
    folder.sign(&key);
    folder.put(&format!("models/{NAME}/versions/1.0.1.json"), &json!({"identity": folder.identity}));
    let resolve = || code(folder.trusting(&key).resolve_blocking(NAME)).map(|resolved| resolved.version);
    folder.signed_tag(&key, 3, "1.0.1");
    assert_eq!(resolve(), Ok("1.0.1".to_owned()));
    assert_eq!(resolve(), Ok("1.0.1".to_owned()));
    folder.signed_tag(&key, 2, "1.0.0");
    assert_eq!(resolve(), Err("signature".to_owned()));
    folder.signed_tag(&key, 3, "1.0.0");
    assert_eq!(resolve(), Err("signature".to_owned()));
    folder.signed_tag(&key, 4, "1.0.0");
    assert_eq!(resolve(), Ok("1.0.0".to_owned()));
    // A new cache has seen nothing
    folder.signed_tag(&key, 1, "1.0.1");
    let new = folder.trusting(&key).cache(folder.folder.path().join("new"));
    assert_eq!(code(new.resolve_blocking(NAME)).map(|resolved| resolved.version), Ok("1.0.1".to_owned()));
}

#[test]
fn changed_records_of_tags_are_refused() {
    let (folder, key) = (Folder::new(), Key::new(1));
    let path = folder.path(&format!("models/{NAME}/refs/latest.json"));
    let changes: [fn(&mut Value); 4] = [
        |record| record["revision"] = json!(9),
        |record| record["version"] = json!("1.0.1"),
        |record| record["identity"] = json!("0".repeat(64)),
        |record| {
            let signatures = record["signatures"].as_object_mut().expect("an object");
            signatures.values_mut().for_each(|value| *value = json!("AAAA"));
        },
    ];
    for change in changes {
        folder.signed_tag(&key, 1, &folder.version);
        let mut record: Value = serde_json::from_slice(&fs::read(&path).expect("a file")).expect("JSON");
        change(&mut record);
        fs::write(&path, record.to_string()).expect("a file");
        assert_eq!(code(folder.trusting(&key).resolve_blocking(NAME)).err(), Some("signature".to_owned()), "{record}");
    }
    // The signature of another tag
    folder.signed_tag(&key, 1, &folder.version);
    fs::rename(&path, folder.path(&format!("models/{NAME}/refs/prod.json"))).expect("renamed");
    let resolved = folder.trusting(&key).resolve_blocking(&format!("{NAME}@prod"));
    assert_eq!(code(resolved).err(), Some("signature".to_owned()));
}

#[test]
fn changed_bundles_are_refused() {
    let (folder, key, other) = (Folder::new(), Key::new(1), Key::new(2));
    let spec = format!("{NAME}@{}", folder.version);
    let full = statement(&folder.artifact());
    let put = |bundle: &Value| folder.put(&format!("signatures/{}/{}.json", folder.identity, key.hash()), bundle);
    let pull = || code(folder.trusting(&key).pull_blocking(&spec)).err();
    let refused = Some("signature".to_owned());
    let statements: [fn(&mut Value); 7] = [
        |value| drop(value["predicate"]["resources"].as_array_mut().expect("a list").pop()),
        |value| {
            let resources = value["predicate"]["resources"].as_array_mut().expect("a list");
            resources.push(resources[0].clone());
        },
        |value| value["predicate"]["resources"][0]["digest"] = json!("0".repeat(64)),
        |value| value["predicate"]["resources"][0]["algorithm"] = json!("blake2b"),
        |value| value["predicate"]["serialization"]["method"] = json!("shards"),
        |value| value["predicateType"] = json!("https://example.com"),
        |value| value["_type"] = json!("https://example.com"),
    ];
    for change in statements {
        let mut statement = full.clone();
        change(&mut statement);
        put(&key.bundle(&statement));
        assert_eq!(pull(), refused, "{statement}");
    }
    let bundles: [fn(&mut Value); 6] = [
        |value| value["mediaType"] = json!("text/plain"),
        |value| value["dsseEnvelope"]["payloadType"] = json!("text/plain"),
        |value| value["dsseEnvelope"]["payload"] = json!("?"),
        |value| value["dsseEnvelope"]["signatures"] = json!([]),
        |value| {
            let signatures = value["dsseEnvelope"]["signatures"].as_array_mut().expect("a list");
            signatures.push(signatures[0].clone());
        },
        |value| *value = json!([]),
    ];
    for change in bundles {
        let mut bundle = key.bundle(&full);
        change(&mut bundle);
        put(&bundle);
        assert_eq!(pull(), refused, "{bundle}");
    }
    put(&other.bundle(&full));
    assert_eq!(pull(), refused);
    put(&key.bundle(&full));
    assert_eq!(pull(), None);
}

#[test]
fn models_and_bridges_are_opened_only_if_they_are_signed() {
    let (folder, key) = (Folder::new(), Key::new(1));
    let root = folder.folder.path();
    let (plain, name) = (root.join("plain"), format!("store:{NAME}@{}", folder.version));
    copy(&folder.artifact(), &plain);
    let options = BridgeOptions::default().store(folder.address()).trusted_key(key.write(root));
    let config = root.join("bridge.toml");
    let text = format!("[bridge]\ntrusted_keys = [\"{}.pem\"]\n[models.a]\npath = \"plain\"\n", key.hash());
    fs::write(&config, text).expect("a file");
    let refused = Some("signature".to_owned());
    assert_eq!(code(Embedder::open(&plain, options.clone())).err(), refused);
    assert_eq!(code(Embedder::open(name.as_str(), options.clone())).err(), refused);
    assert_eq!(code(open_bridge(&config)).err(), refused);
    folder.sign(&key);
    let beside = root.join("plain.signatures");
    fs::create_dir(&beside).expect("a folder");
    fs::write(beside.join(format!("{}.json", key.hash())), key.bundle(&statement(&plain)).to_string()).expect("a file");
    assert!(Embedder::open(&plain, options.clone()).is_ok());
    assert!(open_bridge(&config).is_ok());
    let bridge = OnnxMlBridge::builder().model(name.as_str()).options(options).build().expect("a bridge");
    fs::remove_dir_all(&beside).expect("removed");
    let reloaded = bridge.reload_blocking(NAME, &ReloadOptions::default().path(&plain));
    assert_eq!(code(reloaded).err(), refused);
}

#[test]
fn keys_of_other_kinds_are_refused() {
    let folder = Folder::new();
    let path = folder.folder.path().join("key.pem");
    for text in ["", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"] {
        fs::write(&path, text).expect("a file");
        assert_eq!(code(folder.store().key(&path)).err(), Some("config".to_owned()));
    }
    let missing = BridgeOptions::default().trusted_key(folder.folder.path().join("none.pem"));
    assert_eq!(code(Embedder::open(folder.artifact(), missing)).err(), Some("io".to_owned()));
}

/// A bundle that `model_signing sign key` of OpenSSF Model Signing 1.1.1 wrote.
#[test]
fn a_bundle_of_model_signing_is_verified() {
    let folder = Folder::new();
    let signed = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/signed");
    let pem = signed.join("release.pem");
    let bundle: Value = serde_json::from_slice(&fs::read(signed.join("bundle.json")).expect("a file")).expect("JSON");
    let hash = fs::read_to_string(signed.join("release.sha256")).expect("a file");
    let spec = format!("{NAME}@{}", folder.version);
    let store = folder.store().key(&pem).expect("a key");
    assert_eq!(code(store.pull_blocking(&spec)).err(), Some("signature".to_owned()));
    folder.put(&format!("signatures/{}/{}.json", folder.identity, hash.trim()), &bundle);
    assert!(store.pull_blocking(&spec).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A changed byte is refused, unless it is one that nobody signs, such as a character of the hint.
    #[test]
    fn flipped_bits_of_a_bundle_are_signed_or_refused(position in any::<prop::sample::Index>(), bit in 0_u8..7) {
        let (folder, key) = (Folder::new(), Key::new(1));
        folder.sign(&key);
        let path = folder.path(&format!("signatures/{}/{}.json", folder.identity, key.hash()));
        let mut raw = fs::read(&path).expect("a file");
        let original: Value = serde_json::from_slice(&raw).expect("JSON");
        let index = position.index(raw.len());
        raw[index] ^= 1 << bit;
        fs::write(&path, &raw).expect("a file");
        match folder.trusting(&key).pull_blocking(&format!("{NAME}@{}", folder.version)) {
            Err(error) => prop_assert_eq!(error.code().as_str(), "signature"),
            Ok(_) => {
                let changed: Value = serde_json::from_slice(&raw).expect("JSON");
                let signed = |value: &Value| (value["dsseEnvelope"]["payload"].clone(), value["dsseEnvelope"]["signatures"][0]["sig"].clone());
                prop_assert_eq!(signed(&changed), signed(&original));
            }
        }
    }
}
