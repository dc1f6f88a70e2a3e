//! Bridges to the server of `faulty.rs`, and what its answers hold.

use std::process::Command;
use std::time::Duration;

use onnx_ml_bridge::{
    ApiModel, ApiServer, BridgeError, EmbedOptions, Embeddings, MlBridge, OpenAiMlBridge, SummarizeOptions,
};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::faulty::Faulty;

pub const KEY: &str = "sk-canary-0123456789abcdef";
pub const VARIABLE: &str = "ONNX_ML_BRIDGE_TEST_KEY";

pub fn golden() -> Value {
    let text = std::fs::read_to_string(super::golden().join("backends.json")).expect("cases");
    serde_json::from_str(&text).expect("JSON")
}

pub fn texts() -> Vec<String> {
    serde_json::from_value(golden()["texts"].clone()).expect("texts")
}

pub fn messages() -> Vec<String> {
    serde_json::from_value(golden()["messages"].clone()).expect("messages")
}

/// The vector of a text, as faulty.py computes it.
pub fn vector(text: &str) -> Vec<f32> {
    Sha256::digest(text)[..4].iter().map(|byte| f32::from(*byte) / 256.0).collect()
}

pub fn server(faulty: &Faulty) -> ApiServer {
    ApiServer::new(faulty.url()).max_backoff(Duration::from_millis(20))
}

pub fn open_with(server: ApiServer, chat: ApiModel) -> OpenAiMlBridge {
    let builder = OpenAiMlBridge::builder().embedding(ApiModel::new("m").dimensions(4));
    builder.ner(chat.clone()).summarization(chat).server(server).build().expect("a bridge")
}

pub fn open(server: ApiServer) -> OpenAiMlBridge {
    open_with(server, ApiModel::new("m"))
}

pub fn embed(bridge: &OpenAiMlBridge, options: &EmbedOptions) -> Result<Embeddings, BridgeError> {
    bridge.embedder(None)?.embed_blocking(&texts(), options)
}

pub fn summarize(bridge: &OpenAiMlBridge, options: &SummarizeOptions) -> Result<String, BridgeError> {
    let mut summaries = bridge.summarizer(None)?.summarize_blocking(&[messages()], options)?;
    let summary = summaries.remove(0);
    let usage = summary.usage.map(|usage| (usage.prompt_tokens, usage.completion_tokens));
    assert_eq!((usage, summary.tokens, summary.backend.as_str()), (Some((9, 4)), Some(4), "openai"));
    Ok(summary.text)
}

/// Runs a test of this file again in a process that has the key in its environment. Whether this is that process.
pub fn has_key(test: &str) -> bool {
    if std::env::var_os(VARIABLE).is_some() {
        return true;
    }
    let mut command = Command::new(std::env::current_exe().expect("this test"));
    let output = command.args(["--exact", test, "--nocapture"]).env(VARIABLE, KEY).output().expect("a process");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    false
}
