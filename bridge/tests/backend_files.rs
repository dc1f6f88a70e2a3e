//! Tests of the files bridge.toml that list backends and chains.
#![cfg(all(
    unix,
    feature = "llama-cpp",
    feature = "sentence-embedding",
    feature = "token-classification",
    feature = "summarization"
))]

mod common;

use std::path::Path;

use common::faulty::Faulty;
use onnx_ml_bridge::{
    BridgeError, EmbedOptions, ErrorCode, RecognizeOptions, SummarizeOptions, open_bridge, open_bridge_local_only,
};
use serde_json::{Value, json};

fn golden() -> Value {
    let text = std::fs::read_to_string(common::golden().join("backends.json")).expect("cases");
    serde_json::from_str(&text).expect("JSON")
}

/// A folder with the artifacts and the prompt that the files name.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["valid", "backends.json"] {
        std::os::unix::fs::symlink(common::golden().join(name), folder.path().join(name)).expect("a link");
    }
    std::fs::write(folder.path().join("prompt.txt"), "Short, please: {text}").expect("a file");
    folder
}

fn write(folder: &Path, text: &str) -> std::path::PathBuf {
    let path = folder.join("bridge.toml");
    std::fs::write(&path, text).expect("a file");
    path
}

const ONNX: &str = r#"
[models.sentences]
path = "valid/tiny-embedding"
[models.entities]
path = "valid/tiny-ner"
[models.summaries]
path = "valid/tiny-summary"
"#;
const CHAINS: &str = r#"
[tasks]
embedding = ["cloud"]
ner = ["entities"]
summarization = ["cloud", "summaries"]
"#;

fn cloud(server: &Faulty) -> String {
    format!(
        "[backend.cloud]\nkind = \"openai\"\nbase_url = \"{}\"\nmax_attempts = 1\nmax_backoff_ms = 20\ntimeout_ms = 20000\n\
         embedding = {{ model = \"m\", dimensions = 4, space = \"m\" }}\n\
         ner = {{ model = \"m\", labels = [\"PERSON\"], temperature = \"0.5\" }}\n\
         summarization = {{ model = \"m\", prompt = \"prompt.txt\" }}\n",
        server.url()
    )
}

#[test]
fn every_file_has_its_code() {
    let (folder, golden) = (folder(), golden());
    for case in golden["configs"].as_array().expect("a list") {
        let path = write(folder.path(), case["toml"].as_str().expect("a file"));
        let code = open_bridge(path).err().map(|error| error.code().as_str());
        assert_eq!(json!(code), case["code"], "{case}");
    }
}

/// The number of a vector's elements, the names of entities, and the backend and the fallbacks of a summary.
type Answers = (usize, Vec<String>, String, Vec<&'static str>);

/// The program of the acceptance: what it returns depends on the file alone.
fn program(config: &Path) -> Result<Answers, BridgeError> {
    let bridge = open_bridge_local_only(config)?;
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let vector = bridge.generate_embedding("The lease was signed.").await?;
        let entities = bridge.extract_entities("So Kofi came.").await?;
        let inputs = vec![vec!["Kofi signed the lease.".to_owned()]];
        let summary = bridge.summarize_with(&inputs, &SummarizeOptions::default()).await?.remove(0)?;
        let health = bridge.health().await;
        assert!(health.iter().all(|health| health.error.is_none()), "{health:?}");
        bridge.close().await?;
        let names = entities.into_iter().map(|entity| entity.text).collect();
        Ok((
            vector.len(),
            names,
            summary.backend,
            summary.fallbacks.iter().map(|fallback| fallback.code.as_str()).collect(),
        ))
    })
}

#[test]
fn one_program_runs_with_all_files() {
    let (folder, server) = (folder(), Faulty::start());
    let (size, _, backend, fallbacks) = program(&write(folder.path(), ONNX)).expect("ONNX models");
    assert_eq!((size, backend.as_str(), fallbacks), (16, "onnx", vec![]));
    let (size, names, backend, fallbacks) = program(&write(folder.path(), &cloud(&server))).expect("a server");
    assert_eq!((size, names, backend.as_str(), fallbacks), (4, vec!["Kofi".to_owned()], "cloud", vec![]));
    server.script(&["ok", "quota"]);
    let file = [ONNX, &cloud(&server), CHAINS].concat();
    let (size, _, backend, fallbacks) = program(&write(folder.path(), &file)).expect("chains");
    assert_eq!((size, backend.as_str(), fallbacks), (4, "summaries", vec!["quota"]));
}

#[test]
fn a_file_sets_what_backends_have() {
    let (folder, server) = (folder(), Faulty::start());
    server.script(&["quota", "quota"]);
    let bridge = open_bridge(write(folder.path(), &[ONNX, &cloud(&server), CHAINS].concat())).expect("chains");
    let inputs = [vec!["one".to_owned()]];
    let summarize = |name| bridge.summarizer(name)?.summarize_blocking(&inputs, &SummarizeOptions::default());
    assert_eq!(summarize(None).expect("a summary")[0].backend, "summaries");
    assert_eq!(server.requests()[0]["body"]["messages"][0]["content"], "Short, please: one");
    // A member by its name has no fallbacks.
    assert_eq!(summarize(Some("cloud")).expect_err("no quota").code(), ErrorCode::Quota);
    let recognizer = bridge.recognizer(Some("cloud")).expect("a member");
    recognizer.recognize_blocking(&["So Kofi came."], &RecognizeOptions::default()).expect("entities");
    assert_eq!(server.requests().last().expect("a request")["body"]["temperature"], 0.5);
    let infos = bridge.models();
    assert!(
        infos.iter().any(|info| info.name == "m@4" && info.backend == "cloud" && info.space.as_deref() == Some("m"))
    );
    assert_eq!(infos.len(), 6);
    let missing = bridge.recognizer(Some("summaries")).expect_err("a model of another task");
    assert_eq!(missing.code(), ErrorCode::ModelNotFound);
    bridge.close_blocking().expect("closed");
    assert!(bridge.models().is_empty());
    let both = [ONNX, &cloud(&server)].concat();
    let bridge = open_bridge(write(folder.path(), &both)).expect("models");
    assert_eq!(bridge.embedder(None).expect_err("two models").code(), ErrorCode::ModelNotFound);
    let file = ["[bridge]\ndefaults = { embedding = \"cloud\" }\n", &both].concat();
    let bridge = open_bridge(write(folder.path(), &file)).expect("models");
    let embedder = bridge.embedder(None).expect("the default");
    let answer = embedder.embed_blocking(&["a"], &EmbedOptions::default()).expect("a vector");
    assert_eq!((answer.dim, answer.backends), (4, vec!["cloud".to_owned()]));
    let sentences = bridge.embedder(Some("sentences")).expect("a member");
    assert_eq!(sentences.embed_blocking(&["a"], &EmbedOptions::default()).expect("a vector").dim, 16);
}

/// An ONNX model alone in a chain has windows.
#[test]
fn the_only_model_of_a_chain_has_windows() {
    let (folder, server) = (folder(), Faulty::start());
    let file = [ONNX, &cloud(&server), "[tasks]\nembedding = [\"sentences\"]\n"].concat();
    let bridge = open_bridge(write(folder.path(), &file)).expect("chains");
    let text = "the old mill by the river ".repeat(40);
    let windows = |name| {
        let embedder = bridge.embedder(name)?;
        let windows = embedder.embed_windows_blocking(text.as_str(), &EmbedOptions::default(), 4)?;
        windows.collect::<Result<Vec<_>, BridgeError>>()
    };
    let expected = windows(Some("sentences")).expect("windows");
    assert!(expected.len() > 1);
    assert_eq!(windows(None).expect("windows"), expected);
    assert_eq!(windows(Some("cloud")).expect_err("a server").code(), ErrorCode::Config);
}
