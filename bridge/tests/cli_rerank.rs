//! Tests of the command `rerank` with a small reranker.
#![cfg(all(feature = "cli", feature = "rerank"))]

mod common;

use common::command::{lines, run, text};
use serde_json::{Value, json};

fn indices(answer: &Value) -> Vec<u64> {
    let ranking = answer["ranking"].as_array().expect("a ranking");
    ranking.iter().map(|document| document["index"].as_u64().expect("an index")).collect()
}

#[test]
fn rerank_answers_line_by_line() {
    let model = common::golden().join("valid/tiny-rerank");
    let input = "{\"query\":\"a cat\",\"documents\":[\"the dog runs\",\"a red house\",\"a cat sleeps\"]}\n\
        {\"query\":\"a cat\",\"documents\":[]}\n7\n{\"query\":\"a\"}\n{\"query\":\"a\",\"documents\":[1]}\n\
        {\"query\":\"a\",\"documents\":[\"0123456789012345678901234567890\"]}\n";
    let output = run(&["rerank", "--model", text(&model), "--variant", "fp32", "--text-limit", "30"], input);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let answers = lines(&output);
    assert_eq!(indices(&answers[0]), [2, 1, 0]);
    assert_eq!(answers[0]["ranking"][0]["truncated"], json!(false));
    assert_eq!(answers[1], json!({"ranking": []}));
    for (line, code) in [(3, "bad_line"), (4, "bad_line"), (5, "input_type"), (6, "input_too_large")] {
        let error = &answers[line - 1]["error"];
        assert_eq!((&error["line"], &error["code"]), (&json!(line), &json!(code)));
    }
    let best = run(&["rerank", "--model", text(&model), "--variant", "fp32", "--top-k", "1"], input);
    assert_eq!(indices(&lines(&best)[0]), [2]);
    assert_eq!(run(&["rerank", "--model", text(&model), "--top-k", "0"], input).status.code(), Some(2));
}

#[test]
fn bench_and_verify_know_rerankers() {
    let model = common::golden().join("valid/tiny-rerank");
    let dir = tempfile::tempdir().expect("a directory");
    let texts = dir.path().join("texts.jsonl");
    std::fs::write(&texts, "{\"query\":\"a cat\",\"documents\":[\"the dog runs\",\"a house\"]}\n").expect("a file");
    let output = run(&["bench", "--model", text(&model), "--texts", text(&texts), "--rounds", "2"], "");
    let figures = &lines(&output)[0];
    assert_eq!((&figures["words"], figures["seconds"].as_array().map(Vec::len)), (&json!(7), Some(2)));
    let table = run(&["verify", text(&model)], "");
    let table = String::from_utf8_lossy(&table.stdout).into_owned();
    assert!(table.contains("kendall_tau") && table.contains("top_1"), "{table}");
}
