//! Tests of the command `summarize`, and of the other commands with a summarizer.
#![cfg(all(feature = "cli", feature = "summarization"))]

mod common;

use std::fs;
use std::path::Path;

use common::command::{command, lines, run, text};
use serde_json::{Value, json};

#[test]
fn summarize_answers_line_by_line() {
    let dir = common::summary::tiny();
    let long = format!("\"{}\"", "a".repeat(30));
    let input = format!(
        "\"a b\"\n{{\"text\":\"a b c d a b c d\"}}\n{{\"messages\":[\"a\",\"b\",\"c\"]}}\n\n7\n\"nan\"\n{long}\n\
        {{\"messages\":[\"a\"],\"text\":\"a\"}}\n{{\"messages\":[\" \",\"\"]}}\n{{\"messages\":\"a\"}}\n\" \"\n\
        {{\"messages\":[\"aaaaaaaaaa\",\"bbbbbbbbbb\"]}}\n\"d\"\n"
    );
    let output = run(&["summarize", "--model", text(dir.path()), "--text-limit", "20"], &input);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let answers = lines(&output);
    assert_eq!(answers[0], json!({"summary": "a b", "tokens": 3, "truncated": false}));
    assert_eq!(answers[1], json!({"summary": "a b c d a", "tokens": 5, "truncated": true}));
    assert_eq!(answers[2], json!({"summary": "a b c", "tokens": 4, "truncated": false}));
    assert_eq!(answers[12], json!({"summary": "d", "tokens": 2, "truncated": false}));
    let codes = [
        (4, "bad_line"),
        (5, "input_type"),
        (6, "inference"),
        (7, "input_too_large"),
        (8, "bad_line"),
        (9, "empty_input"),
        (10, "input_type"),
        (11, "empty_input"),
        (12, "input_too_large"),
    ];
    for (line, code) in codes {
        let error = &answers[line - 1]["error"];
        assert_eq!((&error["line"], &error["code"]), (&json!(line), &json!(code)));
        let message = error["message"].as_str().expect("a message");
        assert!(!message.starts_with("text "), "the message has an index that users do not know: {message}");
    }
}

#[test]
fn an_answer_has_its_keys_in_order() {
    let dir = common::summary::tiny();
    let output = run(&["summarize", "--model", text(dir.path())], "\"c\"\n");
    assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0));
    let line = String::from_utf8_lossy(&output.stdout);
    assert_eq!(line, "{\"summary\":\"c\",\"tokens\":2,\"truncated\":false}\n");
}

#[test]
fn settings_are_options() {
    let dir = common::summary::tiny();
    let with = |arguments: &[&str], input: &str| {
        let output = run(&[&["summarize", "--model", text(dir.path())], arguments].concat(), input);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        lines(&output).remove(0)
    };
    assert_eq!(with(&["--max-length", "3"], "\"a b c\"")["summary"], json!("a b"));
    let all = ["--num-beams", "1", "--min-length", "2", "--max-length", "3", "--length-penalty", "-0.5"];
    assert_eq!(with(&all, "\"a b c\"")["tokens"], json!(2));
    let long = "\"a b. c d a. b c b. d a b.\"";
    let answer = with(&["--map-reduce", "--max-length", "3"], long);
    assert_eq!(answer, json!({"summary": "a b.", "tokens": 2, "truncated": false}));
    assert_eq!(with(&["--max-length", "3"], long)["truncated"], json!(true));
    let status = |arguments: &[&str]| {
        run(&[&["summarize", "--model", text(dir.path())], arguments].concat(), "\"a\"").status.code()
    };
    for wrong in [["--num-beams", "0"], ["--max-length", "17"], ["--min-length", "7"], ["--length-penalty", "nan"]] {
        assert_eq!(status(&wrong), Some(5), "{wrong:?}");
    }
    for wrong in [["--num-beams", "-1"], ["--timeout", "0"], ["--timeout", "soon"], ["--format", "table"]] {
        assert_eq!(status(&wrong), Some(2), "{wrong:?}");
    }
    assert_eq!(status(&["--variant", "int8"]), Some(3));
    assert_eq!(status(&["--library", "no/such.so"]), Some(4));
    assert_eq!(run(&["summarize", "--model", text(common::tiny().path())], "").status.code(), Some(3));
    assert_eq!(run(&["embed", "--model", text(dir.path())], "").status.code(), Some(3));
}

#[test]
fn the_time_limit_applies_to_each_line() {
    let dir = common::summary::tiny();
    let input = "\"a\"\n\"slow\"\n\"b\"\n\"slow\"\n";
    let output = run(&["summarize", "--model", text(dir.path()), "--timeout", "10"], input);
    // ONNX Runtime does not log the stopped runs to standard error.
    assert_eq!((output.status.code(), output.stderr.len()), (Some(1), 0), "{output:?}");
    let answers = lines(&output);
    assert_eq!((&answers[0]["summary"], &answers[2]["summary"]), (&json!("a"), &json!("b")));
    for line in [2, 4] {
        let error = &answers[line - 1]["error"];
        assert_eq!((&error["line"], &error["code"]), (&json!(line), &json!("timeout")));
    }
}

#[test]
fn plain_text_has_one_summary_per_line() {
    let dir = common::summary::tiny();
    let input = "\"a b\"\n7\n\"a b c d a b c d\"\n";
    let output = run(&["summarize", "--model", text(dir.path()), "--format", "text"], input);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let shown = String::from_utf8(output.stdout).expect("UTF-8");
    let shown: Vec<&str> = shown.lines().collect();
    assert_eq!((shown[0], shown[2], shown.len()), ("a b", "a b c d a", 3));
    assert!(shown[1].starts_with("line 2: error[input_type]: "), "{shown:?}");
}

#[test]
fn verify_reports_a_valid_artifact() {
    let dir = common::summary::tiny();
    let output = run(&["verify", "--json", text(dir.path())], "");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let report = &lines(&output)[0]["variants"]["fp32"];
    assert_eq!(*report, json!({"cases": 3, "differing": 0, "sealed_same": 1.0}));
    let table = run(&["verify", text(dir.path())], "");
    assert!(String::from_utf8_lossy(&table.stdout).contains("sealed_same"));
}

/// The exit status and the output of `verify` for a changed artifact.
fn verify(change: impl Fn(&Path, &mut Value)) -> (Option<i32>, Value) {
    let dir = common::summary::tiny();
    let mut manifest = common::summary::manifest();
    change(dir.path(), &mut manifest);
    common::seal(dir.path(), manifest);
    let output = run(&["verify", "--json", text(dir.path())], "");
    (output.status.code(), lines(&output).remove(0))
}

fn refused(code: &str, change: impl Fn(&Path, &mut Value)) {
    let (status, answer) = verify(change);
    assert_eq!((status, &answer["error"]["code"]), (Some(3), &json!(code)));
}

/// Changes the file of the golden cases.
fn change_cases(root: &Path, change: impl Fn(&str) -> String) {
    let path = root.join("golden.jsonl");
    let cases = change(&fs::read_to_string(&path).expect("cases"));
    fs::write(path, cases).expect("a file");
}

#[test]
fn verify_replays_the_golden_cases() {
    let golden =
        |code: &str, from: &str, to: &str| refused(code, |root, _| change_cases(root, |all| all.replacen(from, to, 1)));
    golden(
        "golden",
        "\"text\":\"d\",\"token_ids\":[2,7,3],\"truncated\"",
        "\"text\":\"c\",\"token_ids\":[2,7,3],\"truncated\"",
    );
    golden("golden", "\"token_ids\":[2,7,3],\"truncated\"", "\"token_ids\":[2,6,3],\"truncated\"");
    golden("golden", "\"truncated\":true", "\"truncated\":false");
    golden("golden", "\"token_ids\":[2,7,3]}}", "\"token_ids\":[2,6,3]}}");
    golden("golden", "\"num_beams\":2", "\"num_beams\":0");
    golden("golden", "\"num_beams\":2", "\"num_beams\":2,\"x\":1");
    golden("golden", "[\"a\",\"b c\"]", "[\" \"]");
    golden("graph", "[\"a\",\"b c\"]", "[\"a\",\"nan\"]");
    refused("golden", |root, _| {
        change_cases(root, |all| all.lines().take(2).map(|line| format!("{line}\n")).collect())
    });
}

#[test]
fn the_gate_applies_to_all_cases_together() {
    let with_gate = |gate: Value| {
        let (status, answer) = verify(|root, manifest| {
            change_cases(root, |all| all.replace("\"token_ids\":[2,7,3]", "\"token_ids\":[2,6,3]"));
            manifest["variants"]["fp32"]["gate"] = gate.clone();
        });
        (status, answer["variants"]["fp32"].clone())
    };
    let fraction = 2.0 / 3.0;
    let report = json!({"cases": 3, "differing": 1, "sealed_same": fraction});
    assert_eq!(with_gate(json!({"differing": 1, "sealed_same": 0.6})), (Some(0), report));
    assert_eq!(with_gate(json!({"differing": 1, "sealed_same": 0.7})).0, Some(3));
    assert_eq!(with_gate(json!({"differing": 0})).0, Some(3));
}

#[test]
fn sections_have_to_match_the_task() {
    refused("schema", |_, manifest| manifest["embedding"] = Value::Null);
    refused("schema", |_, manifest| drop(manifest.as_object_mut().expect("an object").remove("summarization")));
    refused("schema", |_, manifest| drop(manifest.as_object_mut().expect("an object").remove("tokenizer")));
    refused("unknown_task", |_, manifest| manifest["engine"] = json!("spacy"));
    refused("schema", |_, manifest| manifest["summarization"]["defaults"]["min_length"] = json!(7));
    refused("format_version", |_, manifest| manifest["task_revision"] = json!(2));
    refused("graph", |_, manifest| {
        manifest["variants"]["fp32"]["graphs"]["generate"]["inputs"][2]["name"] = json!("beams");
    });
}

#[test]
fn bench_reports_words_per_second() {
    let dir = common::summary::tiny();
    let texts = dir.path().with_extension("jsonl");
    fs::write(&texts, "\"a b\"\n{\"messages\":[\"a\",\"c d\"]}\n").expect("a file");
    let output = command(&["bench", "--model", text(dir.path()), "--texts", text(&texts)]).output().expect("an end");
    fs::remove_file(&texts).expect("a file");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let figures = &lines(&output)[0];
    assert_eq!((&figures["words"], figures["seconds"].as_array().map(Vec::len)), (&json!(5), Some(3)));
    assert!(figures["words_per_s"].as_f64().is_some_and(|speed| speed > 0.0));
}
