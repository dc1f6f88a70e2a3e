//! Tests of the requests of models behind OpenAI's protocol, and of the answers that their calls put together.
#![cfg(feature = "openai")]

mod common;

use std::sync::{Arc, Mutex};

use common::api::{embed, golden, open, open_with, server, summarize, texts, vector};
use common::faulty::Faulty;
use onnx_ml_bridge::{
    ApiModel, ApiServer, BridgeOptions, EmbedOptions, ErrorCode, Location, MlBridge, ModelState, OnToken,
    OpenAiMlBridge, RecognizeOptions, SummarizeOptions, Usage,
};
use serde_json::{Value, json};

#[test]
fn the_requests_are_those_of_the_contract() {
    let faulty = Faulty::start();
    let bridge = open_with(server(&faulty), ApiModel::new("m").labels(["PERSON"]).context(8000));
    embed(&bridge, &EmbedOptions::default()).expect("vectors");
    let inputs = [vec!["one".to_owned(), "two\"}], \"stream\": false, {{text}".to_owned()]];
    bridge.summarizer(None).expect("a handle").summarize_blocking(&inputs, &SummarizeOptions::default()).expect("text");
    let recognizer = bridge.recognizer(None).expect("a handle");
    let found = recognizer.recognize_blocking(&["Yesterday Kofi signed.", " "], &RecognizeOptions::default());
    let found = found.expect("entities");
    let entity = &found[0].entities[0];
    assert_eq!((entity.text.as_str(), entity.label.as_str(), entity.start), ("Kofi", "PERSON", 10));
    assert!(found[1].entities.is_empty());
    let bodies: Vec<Value> = faulty.requests().into_iter().map(|request| request["body"].clone()).collect();
    let [embedding, summary, ner] = bodies.as_slice() else { panic!("{} requests", bodies.len()) };
    assert_eq!(*embedding, json!({"model": "m", "input": texts(), "encoding_format": "base64"}));
    let content = summary["messages"][0]["content"].as_str().expect("a text");
    assert!(content.ends_with("\n\none\ntwo\"}], \"stream\": false, {{text}\n"), "{content:?}");
    let expected = json!({"model": "m", "messages": [{"role": "user", "content": content}], "stream": true,
        "stream_options": {"include_usage": true}, "max_tokens": 256});
    assert_eq!(*summary, expected);
    let schema = &ner["response_format"]["json_schema"];
    assert_eq!(schema["strict"], true);
    assert_eq!(schema["schema"]["properties"]["entities"]["items"]["properties"]["label"]["enum"], json!(["PERSON"]));
}

#[test]
fn many_texts_are_several_requests_and_bad_ones_do_not_lose_the_others() {
    let faulty = Faulty::start();
    let bridge = open(server(&faulty).max_in_flight(1));
    let embedder = bridge.embedder(None).expect("a handle");
    let mut many: Vec<String> = (0..5000).map(|number| format!("text {number}")).collect();
    many.push("x".repeat(9000));
    let answer = embedder.embed_blocking(&many, &EmbedOptions::default()).expect("vectors");
    assert_eq!(answer.vectors, many.iter().map(|text| vector(text)).collect::<Vec<_>>());
    let mut sizes: Vec<usize> =
        faulty.requests().iter().map(|request| request["body"]["input"].as_array().map_or(0, Vec::len)).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [1, 904, 2048, 2048]);
    faulty.script(&["400long", "400long"]);
    let texts = ["short".to_owned(), "x".repeat(9000), " ".to_owned(), "y".repeat(9000)];
    let outcomes = embedder.embed_each_blocking(&texts, &EmbedOptions::default()).expect("outcomes");
    let codes: Vec<Option<&str>> =
        outcomes.iter().map(|outcome| outcome.as_ref().err().map(|error| error.code().as_str())).collect();
    assert_eq!(codes.iter().filter(|code| **code == Some("context_too_long")).count(), 2, "{codes:?}");
    assert_eq!((codes[2], codes.iter().filter(|code| code.is_none()).count()), (Some("empty_input"), 1), "{codes:?}");
    let wrong = outcomes
        .iter()
        .enumerate()
        .filter(|(index, outcome)| outcome.as_ref().is_err_and(|error| error.index() != Some(*index)));
    assert_eq!(wrong.count(), 0);
}

#[test]
fn a_task_makes_any_number_of_blocking_calls() {
    let faulty = Faulty::start();
    let bridge = open(server(&faulty));
    let embedder = bridge.embedder(None).expect("a handle");
    let vectors = common::in_task(move || {
        let embed = |_| embedder.embed_blocking(&["a"], &EmbedOptions::default()).map(|mut all| all.vectors.remove(0));
        (0..200).map(embed).collect::<Result<Vec<_>, _>>()
    });
    assert_eq!(vectors, Ok(vec![vector("a"); 200]));
}

#[test]
fn on_token_gets_the_parts_of_a_summary() {
    let faulty = Faulty::start();
    let parts = Arc::new(Mutex::new(Vec::new()));
    let shown = Arc::clone(&parts);
    let on_token = OnToken::new(move |index, text| shown.lock().expect("a lock").push((index, text.to_owned())));
    let text = summarize(&open(server(&faulty)), &SummarizeOptions::default().on_token(on_token)).expect("a summary");
    let parts = parts.lock().expect("a lock").clone();
    assert!(parts.len() == 4 && parts.iter().all(|(index, _)| *index == 0), "{parts:?}");
    assert_eq!(parts.into_iter().map(|(_, text)| text).collect::<String>(), text);
}

#[test]
fn a_long_input_is_read_in_chunks() {
    let faulty = Faulty::start();
    let bridge = open_with(server(&faulty), ApiModel::new("m").context(400).max_output_tokens(50));
    let messages: Vec<String> =
        (0..12).map(|number| format!("Message {number} says that the lease was signed.")).collect();
    let summarizer = bridge.summarizer(None).expect("a handle");
    let summary = summarizer
        .summarize_blocking(std::slice::from_ref(&messages), &SummarizeOptions::default())
        .expect("text")
        .remove(0);
    let contents: Vec<String> = faulty
        .requests()
        .iter()
        .map(|request| request["body"]["messages"][0]["content"].as_str().expect("a text").to_owned())
        .collect();
    let (last, chunks) = contents.split_last().expect("requests");
    assert!(chunks.len() > 2 && chunks.iter().all(|content| content.len() <= 350), "{chunks:?}");
    assert!(messages.iter().all(|message| chunks.iter().any(|content| content.contains(message))));
    let joined = vec![golden()["summary"].as_str().expect("a text"); chunks.len()].join("\n");
    assert!(last.ends_with(&format!("{joined}\n")), "{last}");
    let requests = contents.len() as u64;
    let usage = summary.usage.map(|usage: Usage| (usage.prompt_tokens, usage.completion_tokens));
    assert_eq!(usage, Some((9 * requests, 4 * requests)));
    let inputs = [vec!["short".to_owned()], vec!["x".repeat(500)], vec!["a b. ".repeat(80)]];
    let outcomes = summarizer.summarize_each_blocking(&inputs, &SummarizeOptions::default()).expect("outcomes");
    let codes: Vec<Option<ErrorCode>> = outcomes.into_iter().map(|outcome| outcome.err().map(|e| e.code())).collect();
    assert_eq!(codes, [None, Some(ErrorCode::ContextTooLong), None]);
}

#[test]
fn options_of_other_models_are_refused() {
    let faulty = Faulty::start();
    let bridge = open(server(&faulty));
    let options = SummarizeOptions::default;
    for options in [
        options().num_beams(2),
        options().min_length(1),
        options().length_penalty(1.0),
        options().prompt("no"),
        options().temperature(3.0),
    ] {
        let error = summarize(&bridge, &options).expect_err("an option");
        assert_eq!(error.code(), ErrorCode::Config, "{options:?}");
    }
    let code = |options| embed(&bridge, &options).expect_err("an option").code();
    assert_eq!(code(EmbedOptions::default().dimensions(2)), ErrorCode::Config);
    assert_eq!(code(EmbedOptions::default().prompt_name("query")), ErrorCode::PromptNotFound);
    let recognizer = bridge.recognizer(None).expect("a handle");
    for options in [RecognizeOptions::default().stride(2), RecognizeOptions::default().labels([""; 1])] {
        assert_eq!(recognizer.recognize_blocking(&["a"], &options).expect_err("an option").code(), ErrorCode::Config);
    }
    assert!(faulty.requests().is_empty());
}

#[test]
fn local_only_refuses_servers_elsewhere() {
    for url in ["https://api.openai.com/v1", "http://localhost:1/v1", "http://192.168.0.1/v1"] {
        let builder = OpenAiMlBridge::builder().summarization(ApiModel::new("m")).server(ApiServer::new(url));
        let refused = builder.clone().options(BridgeOptions::default().local_only(true)).build();
        assert_eq!(refused.expect_err(url).code(), ErrorCode::NotLocal, "{url}");
        let bridge = builder.build().expect("a bridge, which sends nothing");
        assert_eq!(bridge.location(onnx_ml_bridge::Task::Summarization), Some(Location::Network));
    }
}

#[tokio::test]
async fn health_costs_no_request_for_tokens() {
    let faulty = Faulty::start();
    let health = open(server(&faulty)).health().await;
    assert_eq!(health.len(), 3);
    assert!(health.iter().all(|health| health.state == ModelState::Ready && health.error.is_none()), "{health:?}");
    assert!(faulty.requests().is_empty());
    let gone = open(ApiServer::new("http://127.0.0.1:9/v1")).health().await;
    assert!(gone.iter().all(|health| health.error == Some(ErrorCode::Upstream)), "{gone:?}");
}
