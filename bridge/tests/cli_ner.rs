//! Tests of the command `ner`, and of the other commands with a model for named entities.
#![cfg(all(feature = "cli", feature = "token-classification", feature = "spacy"))]

mod common;

use std::fs;
use std::path::Path;

use common::command::{command, lines, run, text};
use common::ner::sure;
use serde_json::{Value, json};

/// Removes the score from an entity and returns it.
fn score(entity: &mut Value) -> f64 {
    entity.as_object_mut().expect("an object").remove("score").and_then(|score| score.as_f64()).expect("a score")
}

#[test]
fn ner_answers_line_by_line() {
    let dir = common::ner::tiny();
    let long = format!("\"{}\"", "a".repeat(30));
    let input = format!(
        "\"👩 Anna\"\n{{\"text\":\"ann in in in oslo\"}}\n\n7\n\"nan\"\n{long}\n{{\"txt\":\"a\"}}\n\
        {{\"text\":\"ann\",\"sentence_starts\":[0]}}\n{{\"text\":\"ann\",\"sentence_starts\":0}}\n\"\""
    );
    let output = run(&["ner", "--model", text(dir.path()), "--text-limit", "20"], &input);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let mut answers = lines(&output);
    assert!((score(&mut answers[0]["entities"][0]) - sure()).abs() < 1e-6);
    let anna = json!({"text": "Anna", "label": "PER", "start": 2, "end": 6, "start_byte": 5, "end_byte": 9});
    assert_eq!(answers[0], json!({"entities": [anna], "truncated": false}));
    assert_eq!(answers[1]["truncated"], json!(true));
    assert_eq!(answers[9], json!({"entities": [], "truncated": false}));
    let codes = [
        (3, "bad_line"),
        (4, "input_type"),
        (5, "inference"),
        (6, "input_too_large"),
        (7, "bad_line"),
        (8, "sentence_starts"),
        (9, "sentence_starts"),
    ];
    for (line, code) in codes {
        let error = &answers[line - 1]["error"];
        assert_eq!((&error["line"], &error["code"]), (&json!(line), &json!(code)));
    }
}

#[test]
fn an_answer_has_its_keys_in_order() {
    let dir = common::ner::tiny();
    let output = run(&["ner", "--model", text(dir.path())], "\"oslo\"\n");
    assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0));
    let line = String::from_utf8_lossy(&output.stdout);
    let start = "{\"entities\":[{\"text\":\"oslo\",\"label\":\"LOC\",\"start\":0,\"end\":4,\"start_byte\":0,\"end_byte\":4,\"score\":0.9";
    assert!(line.starts_with(start) && line.ends_with("}],\"truncated\":false}\n"), "{line}");
}

#[test]
fn strategy_and_stride_are_options() {
    let dir = common::ner::tiny();
    let labels = |arguments: &[&str]| {
        let output = run(&[&["ner", "--model", text(dir.path())], arguments].concat(), "\"ann in in oslo fjord\"");
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let entities = lines(&output)[0]["entities"].clone();
        entities.as_array().expect("a list").iter().map(|entity| entity["label"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(labels(&["--aggregation-strategy", "none"]), ["B-PER", "B-LOC"]);
    assert_eq!(labels(&["--stride", "0"]), ["PER", "LOC", "LOC"]);
    assert_eq!(labels(&["--stride", "2", "--aggregation-strategy", "simple"]), ["PER", "LOC"]);
    let status =
        |arguments: &[&str]| run(&[&["ner", "--model", text(dir.path())], arguments].concat(), "\"a\"").status.code();
    assert_eq!(status(&["--aggregation-strategy", "best"]), Some(2));
    assert_eq!(status(&["--stride", "-1"]), Some(2));
    assert_eq!(status(&["--stride", "4"]), Some(5));
    assert_eq!(status(&["--stride", "1", "--aggregation-strategy", "none"]), Some(5));
    assert_eq!(status(&["--variant", "int4"]), Some(3));
    assert_eq!(status(&["--library", "no/such.so"]), Some(4));
    assert_eq!(run(&["ner"], "").status.code(), Some(2));
    assert_eq!(run(&["ner", "--model", text(common::tiny().path())], "").status.code(), Some(3));
    assert_eq!(run(&["embed", "--model", text(dir.path())], "").status.code(), Some(3));
}

#[test]
fn a_table_has_marked_texts() {
    let dir = common::ner::tiny();
    let input = "\"Ann \\u001b[31m in Oslo\"\n7\n\"in in in in in\"\n";
    let output = run(&["ner", "--model", text(dir.path()), "--format", "table"], input);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let shown = String::from_utf8(output.stdout).expect("UTF-8");
    let shown: Vec<&str> = shown.lines().collect();
    assert!(shown[0].starts_with("[Ann PER] \\u{1b}[31m in "), "{shown:?}");
    assert!(shown[1].starts_with("line 2: error[input_type]: "), "{shown:?}");
    assert!(shown[2].contains("--stride"), "{shown:?}");
}

#[test]
fn verify_reports_a_valid_artifact() {
    let dir = common::ner::tiny();
    let output = run(&["verify", "--json", text(dir.path())], "");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let report = &mut lines(&output)[0]["variants"]["fp32"];
    let scores = report.as_object_mut().expect("an object").remove("score_max_abs").and_then(|value| value.as_f64());
    assert!(scores.is_some_and(|difference| difference < 1e-6), "{scores:?}");
    assert_eq!(*report, json!({"cases": 3, "differing": 0, "entity_f1": 1.0}));
    let table = run(&["verify", text(dir.path())], "");
    assert!(String::from_utf8_lossy(&table.stdout).contains("entity_f1"));
}

fn refused(code: &str, change: impl Fn(&Path, &mut Value)) {
    let dir = common::ner::tiny();
    let mut manifest = common::ner::manifest();
    change(dir.path(), &mut manifest);
    common::seal(dir.path(), manifest);
    let output = run(&["verify", "--json", text(dir.path())], "");
    assert_eq!((output.status.code(), &lines(&output)[0]["error"]["code"]), (Some(3), &json!(code)));
}

fn golden_refused(code: &str, change: impl Fn(&str) -> String) {
    refused(code, |root, _| {
        let path = root.join("golden.jsonl");
        let cases = change(&fs::read_to_string(&path).expect("cases"));
        fs::write(path, cases).expect("a file");
    });
}

#[test]
fn verify_replays_the_golden_cases() {
    golden_refused("golden", |cases| cases.replace("\"label\":\"LOC\"", "\"label\":\"ORG\""));
    golden_refused("golden", |cases| cases.replace("\"end\":23", "\"end\":22"));
    golden_refused("golden", |cases| cases.replace("\"score\":0.9", "\"score\":0.8"));
    golden_refused("golden", |cases| cases.replacen("\"score\":0.9", "\"score\":null,\"x\":0.9", 1));
    golden_refused("golden", |cases| cases.replace("\"tokens\":11", "\"tokens\":12"));
    golden_refused("golden", |cases| cases.replace("true", "false"));
    golden_refused("golden", |cases| cases.replace("\"stride\":2", "\"stride\":4"));
    golden_refused("golden", |cases| cases.replace("simple", "none"));
    golden_refused("golden", |cases| cases.replace("\"sentence_starts\":null", "\"sentence_starts\":[0]"));
    golden_refused("golden", |cases| cases.lines().take(2).map(|line| format!("{line}\n")).collect());
    golden_refused("graph", |cases| cases.replacen("lives", "nan", 1));
}

#[test]
fn the_gate_applies_to_all_cases_together() {
    let with_gate = |gate: Value| {
        let dir = common::ner::tiny();
        let path = dir.path().join("golden.jsonl");
        let cases = fs::read_to_string(&path).expect("cases").replace("\"end\":23", "\"end\":22");
        fs::write(path, cases).expect("a file");
        let mut manifest = common::ner::manifest();
        manifest["variants"]["fp32"]["gate"] = gate;
        common::seal(dir.path(), manifest);
        let output = run(&["verify", "--json", text(dir.path())], "");
        (output.status.code(), lines(&output)[0]["variants"]["fp32"]["entity_f1"].clone())
    };
    // Four of the five expected entities are found, and one other entity, so that F1 is 2 * 4 / (5 + 5).
    assert_eq!(with_gate(json!({"differing": 1, "entity_f1": 0.8})), (Some(0), json!(0.8)));
    assert_eq!(with_gate(json!({"differing": 1, "entity_f1": 0.81})).0, Some(3));
    assert_eq!(with_gate(json!({"differing": 0})).0, Some(3));
}

#[test]
fn sections_have_to_match_the_task_and_the_engine() {
    refused("schema", |_, manifest| manifest["embedding"] = Value::Null);
    refused("schema", |_, manifest| manifest["spacy"] = Value::Null);
    refused("schema", |_, manifest| drop(manifest.as_object_mut().expect("an object").remove("token_classification")));
    refused("schema", |_, manifest| drop(manifest.as_object_mut().expect("an object").remove("tokenizer")));
    refused("schema", |_, manifest| manifest["engine"] = json!("spacy"));
    refused("schema", |_, manifest| manifest["task"] = json!("sentence-embedding"));
    refused("schema", |_, manifest| manifest["token_classification"]["subwords"] = json!("words"));
    refused("schema", |_, manifest| manifest["token_classification"]["stride"] = json!(1.0));
    refused("format_version", |_, manifest| manifest["task_revision"] = json!(2));
}

#[test]
fn bench_reports_words_per_second() {
    let dir = common::ner::tiny();
    let texts = dir.path().with_extension("jsonl");
    fs::write(&texts, "\"ann lives\"\n{\"text\":\"in oslo\"}\n").expect("a file");
    let output = command(&["bench", "--model", text(dir.path()), "--texts", text(&texts)]).output().expect("an end");
    fs::remove_file(&texts).expect("a file");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let figures = &lines(&output)[0];
    assert_eq!((&figures["words"], figures["seconds"].as_array().map(Vec::len)), (&json!(4), Some(3)));
    assert!(figures["words_per_s"].as_f64().is_some_and(|speed| speed > 0.0));
}

#[cfg(feature = "gliner")]
#[test]
fn thresholds_may_have_a_sign() {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/valid/tiny-gliner");
    let with = |threshold: &str, line: &str| run(&["ner", "--model", dir, "--threshold", threshold], line);
    assert_eq!(with("-0.0", "\"a\"\n").status.code(), Some(0));
    assert_eq!(with("--nested", "").status.code(), Some(2));
    let refused = with("-1e-300", "");
    let message = "error[config]: threshold is -1e-300, expected 0 to 1\n";
    assert_eq!((refused.status.code(), String::from_utf8_lossy(&refused.stderr).as_ref()), (Some(5), message));
    let answers = lines(&with("0", "{\"text\": \"a\", \"nested\": 0}\n"));
    assert_eq!(answers[0]["error"]["message"], json!("nested of the line is 0, expected a boolean"));
}
