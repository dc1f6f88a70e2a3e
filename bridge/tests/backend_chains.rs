//! Tests of chains of models, and of the files bridge.toml that list backends.
#![cfg(feature = "openai")]

mod common;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use common::faulty::Faulty;
use onnx_ml_bridge::{
    ApiModel, ApiServer, BridgeError, CancelToken, CompositeMlBridge, EmbedOptions, ErrorCode, Fallback, MlBridge,
    OnToken, OpenAiMlBridge, RecognizeOptions, SummarizeOptions, open_bridge, open_bridge_local_only,
};
use serde_json::{Value, json};

fn golden() -> Value {
    let text = std::fs::read_to_string(common::golden().join("backends.json")).expect("cases");
    serde_json::from_str(&text).expect("JSON")
}

fn messages() -> Vec<Vec<String>> {
    vec![serde_json::from_value(golden()["messages"].clone()).expect("messages")]
}

struct Servers {
    first: Faulty,
    second: Faulty,
}

impl Servers {
    fn start() -> Self {
        Self { first: Faulty::start(), second: Faulty::start() }
    }

    fn counts(&self) -> [usize; 2] {
        [self.first.requests().len(), self.second.requests().len()]
    }

    /// The chain of both servers, for each task; the first one may have a time limit of its own.
    fn chain(&self, timeout: Option<Duration>, dimensions: usize) -> CompositeMlBridge {
        let options = onnx_ml_bridge::BridgeOptions::default();
        let options = timeout.map_or(options.clone(), |limit| options.timeout(limit));
        let first = opened(&self.first, "first", 4, options);
        let second = opened(&self.second, "second", dimensions, onnx_ml_bridge::BridgeOptions::default());
        let members = || [Arc::clone(&first), Arc::clone(&second)];
        let builder = CompositeMlBridge::builder().embedding(members()).ner(members());
        builder.summarization(members()).local_only(true).build().expect("chains")
    }
}

fn opened(server: &Faulty, name: &str, dimensions: usize, options: onnx_ml_bridge::BridgeOptions) -> Arc<dyn MlBridge> {
    let settings = ApiServer::new(server.url()).max_attempts(1).max_in_flight(1);
    let embedding = ApiModel::new("m").dimensions(dimensions).context(1000).space("m");
    let builder = OpenAiMlBridge::builder().embedding(embedding).ner(ApiModel::new("m"));
    let builder = builder.summarization(ApiModel::new("m")).server(settings).options(options);
    Arc::new(builder.name(name).build().expect("a bridge"))
}

fn script(case: &Value, key: &str) -> Vec<String> {
    serde_json::from_value(case[key].clone()).expect("faults")
}

fn set(server: &Faulty, faults: &[String]) {
    server.script(&faults.iter().map(String::as_str).collect::<Vec<_>>());
}

fn codes(fallbacks: &[Fallback]) -> Vec<&'static str> {
    fallbacks.iter().map(|fallback| fallback.code.as_str()).collect()
}

#[test]
fn every_error_falls_through_or_does_not() {
    let servers = Servers::start();
    let golden = golden();
    let cases = golden["chains"].as_array().expect("a list");
    assert!(cases.len() >= 14);
    for case in cases {
        set(&servers.first, &script(case, "script"));
        set(&servers.second, &script(case, "second"));
        let limit = |key: &str| case[key].as_u64().map(Duration::from_millis);
        let bridge = servers.chain(limit("own_timeout_ms"), 4);
        let options = SummarizeOptions::default();
        let options = limit("timeout_ms").map_or(options.clone(), |limit| options.timeout(limit));
        let result = bridge.summarizer(None).expect("a chain").summarize_blocking(&messages(), &options);
        let actual = match result {
            Ok(mut summaries) => {
                let summary = summaries.remove(0);
                assert_eq!(golden["summary"], summary.text);
                assert!(summary.fallbacks.iter().all(|fallback| fallback.backend == "first"));
                (Value::Null, json!(summary.backend), json!(codes(&summary.fallbacks)))
            }
            Err(error) => (json!(error.code().as_str()), Value::Null, json!([])),
        };
        let expected = (case["code"].clone(), case["backend"].clone(), case["fallbacks"].clone());
        assert_eq!(actual, expected, "{case}");
        assert_eq!(json!(servers.counts()), case["requests"], "{case}");
    }
}

#[test]
fn each_text_falls_through_alone() {
    let servers = Servers::start();
    servers.first.script(&["ok", "500"]);
    let bridge = servers.chain(None, 4);
    let embedder = bridge.embedder(None).expect("a chain");
    let texts = ["short".to_owned(), "x".repeat(2000), " ".to_owned(), "also short".to_owned()];
    let outcomes = embedder.embed_each_blocking(&texts, &EmbedOptions::default()).expect("outcomes");
    let moved = &servers.second.requests()[0]["body"]["input"];
    assert_eq!(servers.counts(), [2, 1]);
    for (index, (text, outcome)) in texts.iter().zip(outcomes).enumerate() {
        if text == " " {
            let error = outcome.expect_err("no text");
            assert_eq!((error.code(), error.index()), (ErrorCode::EmptyInput, Some(index)));
            continue;
        }
        let answer = outcome.expect("a vector");
        let is_moved = moved.as_array().is_some_and(|moved| moved.contains(&json!(text)));
        let expected = if is_moved { ("second", vec!["upstream"]) } else { ("first", vec![]) };
        assert_eq!((answer.backend.as_str(), codes(&answer.fallbacks)), expected);
    }
}

#[test]
fn entities_have_a_chain_too_and_labels_of_a_call() {
    let servers = Servers::start();
    servers.first.script(&["500"]);
    let bridge = servers.chain(None, 4);
    let recognizer = bridge.recognizer(None).expect("a chain");
    let options = RecognizeOptions::default().labels(["PERSON", "X", "PERSON"]);
    let found = recognizer.recognize_blocking(&["So Kofi came."], &options).expect("entities").remove(0);
    assert_eq!((found.backend.as_str(), found.entities[0].text.as_str()), ("second", "Kofi"));
    let body = servers.second.requests()[0]["body"].clone();
    assert!(body["messages"][0]["content"].as_str().expect("a text").contains("labels are: PERSON, X."));
    let items = &body["response_format"]["json_schema"]["schema"]["properties"]["entities"]["items"];
    assert_eq!(items["properties"]["label"]["enum"], json!(["PERSON", "X"]));
    let none = RecognizeOptions::default().labels(Vec::<String>::new());
    let error = recognizer.recognize_blocking(&["So Kofi came."], &none).expect_err("no labels");
    assert_eq!((error.code(), servers.counts()), (ErrorCode::Config, [1, 1]));
}

#[test]
fn a_member_that_fails_three_times_in_a_row_is_skipped() {
    let servers = Servers::start();
    servers.first.script(&["500", "500", "ok", "500", "500", "500"]);
    let bridge = servers.chain(None, 4);
    let summarizer = bridge.summarizer(None).expect("a chain");
    let answer =
        || summarizer.summarize_blocking(&messages(), &SummarizeOptions::default()).map(|mut all| all.remove(0));
    let backends: Vec<String> = (0..6).map(|_| answer().expect("a summary").backend).collect();
    assert_eq!(backends, ["second", "second", "first", "second", "second", "second"]);
    assert_eq!(servers.counts(), [6, 5]);
    let skipped = answer().expect("a summary");
    assert_eq!((skipped.backend.as_str(), codes(&skipped.fallbacks)), ("second", vec!["upstream"]));
    assert_eq!(servers.counts(), [6, 6]);
    servers.second.script(&["500"; 3]);
    assert!((0..3).all(|_| answer().is_err()));
    // Both are paused, so both are asked.
    assert_eq!(answer().expect("a summary").backend, "first");
}

#[test]
fn no_other_member_answers_when_a_part_was_shown() {
    let servers = Servers::start();
    servers.first.script(&["undone"]);
    let bridge = servers.chain(None, 4);
    let shown = Arc::new(Mutex::new(Vec::new()));
    let parts = Arc::clone(&shown);
    let on_token = OnToken::new(move |index, text| parts.lock().expect("a lock").push((index, text.to_owned())));
    let summarizer = bridge.summarizer(None).expect("a chain");
    let options = SummarizeOptions::default().on_token(on_token);
    let error = summarizer.summarize_blocking(&messages(), &options).expect_err("a cut stream");
    assert_eq!((error.code(), servers.counts()), (ErrorCode::Upstream, [1, 0]));
    assert_eq!(shown.lock().expect("a lock").first(), Some(&(0, "The".to_owned())));
    servers.first.script(&["500"]);
    shown.lock().expect("a lock").clear();
    assert_eq!(summarizer.summarize_blocking(&messages(), &options).expect("a summary")[0].backend, "second");
    let text: String = shown.lock().expect("a lock").iter().map(|(_, text)| text.as_str()).collect();
    assert_eq!(golden()["summary"], text);
}

#[test]
fn a_cancelled_call_does_not_fall_through() {
    let servers = Servers::start();
    servers.first.script(&["stall"]);
    let bridge = servers.chain(None, 4);
    let token = CancelToken::new();
    let canceller = token.clone();
    let thread = thread::spawn(move || {
        thread::sleep(Duration::from_millis(300));
        canceller.cancel();
    });
    let options = SummarizeOptions::default().cancel(token);
    let error =
        bridge.summarizer(None).expect("a chain").summarize_blocking(&messages(), &options).expect_err("a stop");
    thread.join().expect("no panic");
    let cancelled = Instant::now();
    servers.first.ended();
    assert!(cancelled.elapsed() < Duration::from_secs(1));
    assert_eq!((error.code(), servers.counts()), (ErrorCode::Cancelled, [1, 0]));
}

#[test]
fn vectors_of_another_length_are_an_error() {
    let servers = Servers::start();
    servers.first.script(&["500"]);
    servers.second.script(&["dims"]);
    let bridge = servers.chain(None, 3);
    let embedder = bridge.embedder(None).expect("a chain");
    let error = embedder.embed_blocking(&["a"], &EmbedOptions::default()).expect_err("3 elements");
    assert_eq!((error.code(), servers.counts()), (ErrorCode::Inference, [1, 1]));
    let error = embedder.embed_blocking(&["a"], &EmbedOptions::default().dimensions(2)).expect_err("an option");
    assert_eq!(error.code(), ErrorCode::Config);
}

#[test]
fn chains_that_cannot_be_are_refused() {
    let server = Faulty::start();
    let member = |name| opened(&server, name, 4, onnx_ml_bridge::BridgeOptions::default());
    let code = |builder: onnx_ml_bridge::CompositeBuilder| builder.build().expect_err("no chain").code();
    let builder = CompositeMlBridge::builder;
    assert_eq!(code(builder()), ErrorCode::Config);
    assert_eq!(code(builder().summarization([member("a"), member("a")])), ErrorCode::Config);
    assert_eq!(code(builder().rerank(member("a"))), ErrorCode::TaskNotLoaded);
    let other = ApiModel::new("m").dimensions(4).space("other");
    let settings = ApiServer::new(server.url());
    let other: Arc<dyn MlBridge> =
        Arc::new(OpenAiMlBridge::builder().embedding(other).server(settings).name("b").build().expect("a bridge"));
    assert_eq!(code(builder().embedding([member("a"), other])), ErrorCode::Config);
    let cloud = OpenAiMlBridge::builder().summarization(ApiModel::new("m")).name("cloud").build().expect("a bridge");
    let cloud: Arc<dyn MlBridge> = Arc::new(cloud);
    assert_eq!(code(builder().summarization([member("a"), cloud]).local_only(true)), ErrorCode::NotLocal);
}

/// A folder with the artifacts and the prompt that the files name.
#[cfg(unix)]
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
#[cfg(all(unix, feature = "llama-cpp", feature = "sentence-embedding"))]
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
        Ok((vector.len(), names, summary.backend, codes(&summary.fallbacks)))
    })
}

#[test]
#[cfg(all(unix, feature = "sentence-embedding", feature = "token-classification", feature = "summarization"))]
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
#[cfg(all(unix, feature = "sentence-embedding", feature = "token-classification", feature = "summarization"))]
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
#[cfg(all(unix, feature = "sentence-embedding"))]
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
