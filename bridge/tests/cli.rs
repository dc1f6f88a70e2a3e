//! Tests of the commands with the tiny embedding model: exit status, output, and answers to lines.
#![cfg(all(feature = "cli", feature = "sentence-embedding"))]

mod common;

use std::io::Write;
use std::process::Stdio;

use common::command::{command, lines, run, text};
use serde_json::json;

#[test]
fn verify_reports_a_valid_artifact() {
    let dir = common::tiny();
    let output = run(&["verify", "--json", text(dir.path())], "");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let report = &lines(&output)[0];
    assert_eq!((&report["ok"], &report["name"], &report["files"]), (&json!(true), &json!("tiny"), &json!(5)));
    assert_eq!(report["variants"]["fp32"], json!({"cases": 3, "max_abs": 0.0, "cosine_min": 1.0}));
    let manifest = std::fs::read(dir.path().join("manifest.json")).expect("a manifest");
    assert_eq!(report["identity"], json!(common::sha256(&manifest)));
    let table = run(&["verify", text(dir.path())], "");
    assert!(String::from_utf8_lossy(&table.stdout).contains("cosine_min"));
}

#[test]
fn verify_replays_one_variant() {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/valid/tiny-embedding");
    let verified = |variant: &str| run(&["verify", "--json", dir, "--variant", variant], "");
    let variants = &lines(&verified("int8"))[0]["variants"];
    assert_eq!(variants.as_object().expect("variants").keys().collect::<Vec<_>>(), ["int8"]);
    let refused = verified("fp16");
    assert_eq!((refused.status.code(), &lines(&refused)[0]["error"]["code"]), (Some(3), &json!("variant")));
}

#[test]
fn verify_refuses_with_status_three() {
    let dir = common::tiny();
    std::fs::write(dir.path().join("extra"), b"").expect("a file");
    let output = run(&["verify", "--json", text(dir.path())], "");
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(lines(&output)[0]["error"]["code"], json!("file_set"));
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("error[file_set]: "));
}

#[test]
fn a_graph_that_fails_on_a_golden_case_is_refused() {
    let dir = common::tiny();
    let cases = std::fs::read_to_string(dir.path().join("golden.jsonl")).expect("cases");
    common::write(dir.path(), "golden.jsonl", cases.replace("a b", "a nan").as_bytes());
    common::seal(dir.path(), common::manifest());
    let output = run(&["verify", "--json", text(dir.path())], "");
    assert_eq!((output.status.code(), &lines(&output)[0]["error"]["code"]), (Some(3), &json!("graph")));
}

fn golden_refused(change: impl Fn(&str) -> String) {
    let dir = common::tiny();
    let path = dir.path().join("golden.jsonl");
    let cases = std::fs::read_to_string(&path).expect("cases");
    std::fs::write(&path, change(&cases)).expect("a file");
    common::seal(dir.path(), common::manifest());
    let output = run(&["verify", "--json", text(dir.path())], "");
    assert_eq!((output.status.code(), &lines(&output)[0]["error"]["code"]), (Some(3), &json!("golden")));
}

#[test]
fn verify_replays_the_golden_cases() {
    golden_refused(|cases| cases.replace("0.5", "0.5001"));
    golden_refused(|cases| cases.replace("true", "false"));
    golden_refused(|cases| cases.replace("\"tokens\":6", "\"tokens\":7"));
    golden_refused(|cases| cases.replace("query", "nobody"));
    // An input that exceeds the default limit on the size of texts is refused, even if it has few tokens.
    golden_refused(|cases| cases.replace("a b", &format!("a b{}", " ".repeat(1_000_000 - "a b".len() + 1))));
    golden_refused(|cases| cases.replace("plain", "simple"));
    golden_refused(|cases| cases.lines().take(2).map(|line| format!("{line}\n")).collect());
    golden_refused(|cases| format!("{cases}\n"));
}

#[test]
fn a_graph_that_cannot_be_loaded_is_refused() {
    let dir = common::tiny();
    let graph = common::model(common::part(9, &common::table()[..16]));
    common::write(dir.path(), "onnx/model.onnx", &graph);
    common::seal(dir.path(), common::manifest());
    let output = run(&["verify", "--json", text(dir.path())], "");
    assert_eq!((output.status.code(), &lines(&output)[0]["error"]["code"]), (Some(3), &json!("graph")));
}

#[test]
fn embed_answers_line_by_line() {
    let dir = common::tiny();
    let long = format!("\"{}\"", "a".repeat(30));
    let input = format!("\"a\"\n{{\"text\":\"a a a a a a a\"}}\n\n7\n\"nan\"\n{long}\n{{\"txt\":\"a\"}}\n\"b\"");
    let output = run(&["embed", "--model", text(dir.path()), "--text-limit", "20"], &input);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let answers = lines(&output);
    assert_eq!(answers[0], json!({"embedding": [0.0, 1.0, 0.0, 0.0], "truncated": false}));
    assert_eq!(answers[1]["truncated"], json!(true));
    assert_eq!(answers[7]["embedding"], json!([0.0, 0.0, 1.0, 0.0]));
    let codes = [(3, "bad_line"), (4, "input_type"), (5, "inference"), (6, "input_too_large"), (7, "bad_line")];
    for (line, code) in codes {
        let error = &answers[line - 1]["error"];
        assert_eq!((&error["line"], &error["code"]), (&json!(line), &json!(code)));
    }
}

#[test]
fn embed_prints_nothing_else_for_valid_or_empty_input() {
    let dir = common::tiny();
    let output = run(&["embed", "--model", text(dir.path()), "--prompt-name", "query"], "\"a\"\n");
    assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0));
    assert_eq!(lines(&output)[0]["embedding"], json!([0.0, 0.5, 0.5, 0.0]));
    let output = run(&["embed", "--model", text(dir.path())], "");
    assert_eq!((output.status.code(), output.stdout.len()), (Some(0), 0));
}

#[test]
fn a_closed_pipe_is_not_an_error() {
    let dir = common::tiny();
    let mut command = command(&["embed", "--model", text(dir.path())]);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("a child");
    drop(child.stdout.take());
    let mut input = child.stdin.take().expect("a pipe");
    // Writing fails if the child ends before it reads all lines, which is not an error.
    let _ = input.write_all("\"a\"\n".repeat(20_000).as_bytes());
    drop(input);
    let output = child.wait_with_output().expect("an end");
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
}

#[test]
fn every_failure_has_its_exit_status() {
    let dir = common::tiny();
    let model = text(dir.path());
    let status = |arguments: &[&str]| run(arguments, "").status.code();
    assert_eq!(status(&["embed"]), Some(2));
    assert_eq!(status(&["embed", "--model", "no/such"]), Some(3));
    assert_eq!(status(&["embed", "--model", ""]), Some(3));
    assert_eq!(status(&["verify", ""]), Some(3));
    assert_eq!(status(&["embed", "--model", model, "--variant", "int4"]), Some(3));
    assert_eq!(status(&["embed", "--model", model, "--prompt-name", "nobody"]), Some(5));
    assert_eq!(status(&["embed", "--model", model, "--library", "no/such.so"]), Some(4));
    let output = command(&["verify", "--json", model]).env_remove("ORT_DYLIB_PATH").output().expect("an end");
    assert_eq!((output.status.code(), &lines(&output)[0]["error"]["code"]), (Some(4), &json!("dependency")));
}

#[test]
#[cfg(target_os = "linux")]
fn a_thread_that_the_system_refuses_is_an_error() {
    let dir = common::tiny();
    let mut command = command(&["embed", "--model", text(dir.path())]);
    // A stack that is larger than the address space
    let output =
        command.env("RUST_MIN_STACK", (1_u64 << 60).to_string()).stdin(Stdio::null()).output().expect("an end");
    assert_eq!(output.status.code(), Some(5), "{output:?}");
    // Warnings of the log come first
    let stderr = String::from_utf8_lossy(&output.stderr);
    let error = stderr.lines().last().unwrap_or_default();
    assert!(error.starts_with("error[inference]: the system refused a thread"), "{stderr}");
}

/// The outcome of a command keeps its exit status if nobody can read standard error.
#[cfg(target_os = "linux")]
#[test]
fn standard_error_may_be_closed() {
    let dir = common::tiny();
    let status = |arguments: &[&str]| {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("a device");
        let command = &mut command(arguments);
        let command = command.env("RUST_LOG", "trace").stdin(Stdio::null()).stdout(Stdio::null()).stderr(full);
        command.status().expect("an end").code()
    };
    assert_eq!(status(&["embed", "--model", "/nope"]), Some(3));
    assert_eq!(status(&["embed", "--model", text(dir.path())]), Some(0));
    let files = tempfile::tempdir().expect("a directory");
    let (input, output) = (files.path().join("rows.jsonl"), files.path().join("out"));
    std::fs::write(&input, "\"a\"\n7\n").expect("a file");
    let run = ["embed", "--model", text(dir.path()), "--input", text(&input), "--output", text(&output)];
    assert_eq!(status(&run), Some(1));
}

#[test]
fn a_run_over_a_file_has_no_options_that_cannot_be_resumed() {
    let (dir, files) = (common::tiny(), tempfile::tempdir().expect("a directory"));
    let (input, output) = (files.path().join("rows.jsonl"), files.path().join("out"));
    std::fs::write(&input, "\"a\"\n").expect("a file");
    let with_limit = |limit: &str| {
        let model = ["embed", "--model", text(dir.path()), "--text-limit", limit];
        run(&[&model[..], &["--input", text(&input), "--output", text(&output)]].concat(), "")
    };
    let refused = with_limit("9007199254740993");
    let message = "error[config]: text_limit is 9007199254740993, expected a magnitude of at most 9007199254740992 in a \
                   run over a file\n";
    assert_eq!((refused.status.code(), String::from_utf8_lossy(&refused.stderr).as_ref()), (Some(5), message));
    assert!(!output.exists());
    assert_eq!(with_limit("9007199254740992").status.code(), Some(0));
}
