//! Tests of the commands with names in a store.
#![cfg(all(feature = "cli", feature = "store", feature = "sentence-embedding"))]

mod common;

use std::fs;
use std::process::Stdio;

use common::command::{command, lines, run};
use common::store::{Folder, NAME};
use serde_json::{Value, json};

#[test]
fn stores_are_listed_and_pulled() {
    let folder = Folder::new();
    folder.put(&format!("models/{NAME}/versions/1.1.0.json"), &json!({"identity": folder.identity}));
    let address = folder.address();
    let answer = |arguments: &[&str]| {
        let output = run(&[arguments, &["--store", &address, "--json"]].concat(), "");
        (output.status.code(), lines(&output).remove(0))
    };
    let (status, pulled) = answer(&["pull", NAME]);
    assert_eq!((status, &pulled["version"], &pulled["identity"]), (Some(0), &json!("1.0.0"), &json!(folder.identity)));
    assert_eq!(pulled["path"], json!(folder.path(&format!("artifacts/{}", folder.identity))));
    assert_eq!(answer(&["updates", &format!("{NAME}@1.0.0")]).1["updates"][0]["version"], json!("1.1.0"));
    let (status, missing) = answer(&["pull", "none"]);
    assert_eq!((status, &missing["error"]["code"]), (Some(5), &json!("not_found")));
}

/// What a command without `--json` prints about a store, without the spaces at the ends of lines.
fn printed(address: &str, arguments: &[&str]) -> String {
    let output = run(&[arguments, &["--store", address]].concat(), "");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    text.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

#[test]
fn lists_have_all_models_with_their_versions_and_tags() {
    let folder = Folder::new();
    let identity = &folder.identity;
    folder.put(&format!("models/{NAME}/versions/1.1.0.json"), &json!({"identity": identity}));
    folder.tag("beta", 3);
    folder.put("models/other/versions/2.0.0.json", &json!({"identity": identity}));
    let address = folder.address();
    let models = |name: &[&str]| {
        let mut answer = lines(&run(&[&["list", "--store", &address, "--json"], name].concat(), "")).remove(0);
        answer["models"].take()
    };
    let version = |version: &str| json!({"version": version, "identity": identity});
    let tag =
        |tag: &str, revision: u64| json!({"tag": tag, "version": "1.0.0", "identity": identity, "revision": revision});
    let tiny = json!({"name": NAME, "versions": [version("1.0.0"), version("1.1.0")],
        "tags": [tag("beta", 3), tag("latest", 1)]});
    let other = json!({"name": "other", "versions": [version("2.0.0")], "tags": []});
    assert_eq!((models(&[]), models(&["other"])), (json!([other, tiny]), json!([other])));
    let rule = "─".repeat(NAME.len() + "version".len() + "beta, latest".len() + identity.len() + 9);
    let expected = [
        "",
        " model            version   tags           identity",
        &format!(" {rule}"),
        &format!(" other            2.0.0                    {identity}"),
        &format!(" tiny-embedding   1.0.0     beta, latest   {identity}"),
        &format!(" tiny-embedding   1.1.0                    {identity}"),
        "",
        "",
    ];
    assert_eq!(printed(&address, &["list"]), expected.join("\n"));
}

#[test]
fn empty_lists_are_sentences() {
    let folder = tempfile::tempdir().expect("a folder");
    assert_eq!(printed(folder.path().to_str().expect("UTF-8"), &["list"]), "the store is empty\n");
    let store = Folder::new();
    assert_eq!(printed(&store.address(), &["updates", NAME]), "no updates\n");
}

#[test]
fn models_are_named_by_their_names_in_a_store() {
    let folder = Folder::new();
    let (name, address) = (format!("store:{NAME}@latest"), folder.address());
    let embedded = run(&["embed", "--model", &name, "--store", &address, "--variant", "fp32"], "\"a\"\n");
    assert_eq!((embedded.status.code(), lines(&embedded).len()), (Some(0), 1), "{embedded:?}");
    let verified = run(&["verify", &name, "--store", &address, "--json"], "");
    assert_eq!((verified.status.code(), &lines(&verified)[0]["ok"]), (Some(0), &json!(true)), "{verified:?}");
    let without = run(&["embed", "--model", &name], "");
    assert!(String::from_utf8_lossy(&without.stderr).starts_with("error[config]"), "{without:?}");
}

#[test]
fn models_of_a_store_elsewhere_are_refused_if_they_must_be_local() {
    let name = format!("store:{NAME}");
    let code = |arguments: &[&str], address: &str| {
        let mut command = command(&[arguments, &["--store", address]].concat());
        let output = command.env("ONNX_ML_BRIDGE_LOCAL_ONLY", "1").stdin(Stdio::null()).output().expect("an end");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        text.split([']', '[']).nth(1).map(str::to_owned)
    };
    let folder = Folder::new();
    for arguments in [&["embed", "--model", &name][..], &["verify", &name]] {
        assert_eq!(code(arguments, "https://models.example.org").as_deref(), Some("not_local"), "{arguments:?}");
        assert_eq!(code(arguments, &folder.address()), None, "{arguments:?}");
    }
}

#[test]
fn unsigned_artifacts_are_refused_with_status_three() {
    let folder = Folder::new();
    let key = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/signed/release.pem");
    let path = folder.path(&format!("artifacts/{}", folder.identity));
    let path = path.to_str().expect("UTF-8");
    let code = |arguments: &[&str]| {
        let output = run(arguments, "");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), text.split([']', '[']).nth(1).map(str::to_owned))
    };
    let refused = (Some(3), Some("signature".to_owned()));
    assert_eq!(code(&["verify", path, "--key", key]), refused);
    assert_eq!(code(&["embed", "--model", path, "--key", key]), refused);
    assert_eq!(code(&["pull", NAME, "--store", &folder.address(), "--key", key]), refused);
    let signed = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/signed/");
    let bundle = fs::read_to_string(format!("{signed}bundle.json")).expect("a file");
    let hash = fs::read_to_string(format!("{signed}release.sha256")).expect("a file");
    let bundle: Value = serde_json::from_str(&bundle).expect("JSON");
    folder.put(&format!("signatures/{}/{}.json", folder.identity, hash.trim()), &bundle);
    assert_eq!(code(&["verify", path, "--key", key]).0, Some(0));
}
