//! Tests of finding and loading ONNX Runtime's library. A process loads only one library. Hence every test starts this
//! executable again, as a process that opens models with given options.
#![cfg(all(feature = "load-dynamic", feature = "sentence-embedding", target_os = "linux"))]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use onnx_ml_bridge::{BridgeError, MlBridge, OnnxMlBridge, ort};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The variable with the steps of the started process, and the mark of the lines that it prints.
const STEPS: &str = "ONNX_ML_BRIDGE_LIBRARY_STEPS";
const MARK: &str = "outcome: ";

/// What the started process does in one step.
enum Step<'a> {
    /// Opens a model and loads its graphs, with a library or without.
    Open(Option<&'a Path>),
    /// Opens a model with an environment of this library and the same library.
    OpenWithEnvironment(&'a Path),
}

/// Runs the steps of a started process, and prints the code and the message of every step. Does nothing in other processes.
#[test]
fn started_process() {
    let Some(steps) = std::env::var_os(STEPS) else { return };
    let steps: Vec<Value> = serde_json::from_str(steps.to_str().expect("UTF-8")).expect("steps");
    let dir = common::tiny();
    for step in steps {
        let path = step["library"].as_str().map(PathBuf::from);
        let outcome = match step["environment"].as_bool() {
            Some(true) => open_with_environment(dir.path(), &path.expect("a path")),
            _ => open(dir.path(), path),
        };
        let (code, message) =
            outcome.map_or_else(|error| (error.code().as_str(), error.to_string()), |()| ("ok", String::new()));
        println!("\n{MARK}{}", json!([code, message]));
    }
}

fn open(model: &Path, library: Option<PathBuf>) -> Result<(), BridgeError> {
    let builder = OnnxMlBridge::builder().model(model);
    let builder = library.into_iter().fold(builder, |builder, path| builder.library(path));
    builder.build()?.warm_up_blocking()
}

fn open_with_environment(model: &Path, library: &Path) -> Result<(), BridgeError> {
    let environment = ort::init_from(library).expect("a library").build().expect("an environment");
    let builder = OnnxMlBridge::builder().model(model).environment(environment.clone());
    builder.clone().build()?.warm_up_blocking()?;
    builder.library(library).build().map(drop)
}

/// A started process.
struct Process {
    command: Command,
}

impl Process {
    /// This executable, or the one at a path.
    fn new(executable: Option<&Path>) -> Self {
        let own = std::env::current_exe().expect("the path of the executable");
        let mut command = Command::new(executable.unwrap_or(&own));
        command.args(["--exact", "started_process", "--nocapture"]);
        command.env_remove("ORT_DYLIB_PATH").env_remove("LD_LIBRARY_PATH");
        Self { command }
    }

    fn variable(mut self, name: &str, value: &Path) -> Self {
        self.command.env(name, value);
        self
    }

    /// The codes and the messages of the steps.
    fn run(mut self, steps: &[Step<'_>]) -> Vec<(String, String)> {
        let steps = steps.iter().map(|step| match step {
            Step::Open(library) => json!({"library": library}),
            Step::OpenWithEnvironment(library) => json!({"library": library, "environment": true}),
        });
        let output = self.command.env(STEPS, json!(steps.collect::<Vec<_>>()).to_string()).output().expect("a process");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
        let lines = text.lines().filter_map(|line| line.strip_prefix(MARK));
        lines.map(|line| serde_json::from_str(line).expect("an outcome")).collect()
    }

    fn codes(self, steps: &[Step<'_>]) -> Vec<String> {
        self.run(steps).into_iter().map(|(code, _)| code).collect()
    }
}

/// ONNX Runtime's library, which the tests run with.
fn library() -> PathBuf {
    std::env::var_os("ORT_DYLIB_PATH").expect("ORT_DYLIB_PATH names ONNX Runtime").into()
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

/// Compiles a library with a function `OrtGetApiBase` that returns an API base, or null, of a version of ONNX Runtime that
/// has no API.
fn compile(folder: &Path, name: &str, version: &str, base: &str) -> PathBuf {
    let source = format!(
        "static const char *version(void) {{ return \"{version}\"; }}\n\
         static const void *api(unsigned number) {{ return (void)number, (const void *)0; }}\n\
         static const struct {{ const void *(*api)(unsigned); const char *(*version)(void); }} base = {{api, version}};\n\
         const void *OrtGetApiBase(void) {{ return (void)base, {base}; }}\n"
    );
    let (code, path) = (folder.join("library.c"), folder.join(name));
    fs::write(&code, source).expect("a file");
    let status = Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&path, &code]).status().expect("cc");
    assert!(status.success());
    path
}

/// Asserts that the library is refused with a reason, whether the option or the variable names it, and that no other
/// library is tried.
fn assert_refused(path: &Path, reason: &str) {
    let shown = path.display();
    let by_option = Process::new(None).variable("ORT_DYLIB_PATH", &library()).run(&[Step::Open(Some(path))]);
    let by_variable = Process::new(None).variable("ORT_DYLIB_PATH", path).run(&[Step::Open(None)]);
    for ((code, message), origin) in [(&by_option[0], "the library option"), (&by_variable[0], "ORT_DYLIB_PATH")]
        .map(|(o, origin)| (o.clone(), origin))
    {
        assert_eq!(code, "dependency", "{message}");
        let expected = format!("tried in this order: {shown} ({origin}): ");
        let rest = message.split_once(&expected).unwrap_or_else(|| panic!("{expected:?} is not in {message}")).1;
        let tried = rest.split_once(". Install ONNX Runtime").expect("what to do").0;
        assert!(tried.contains(reason) && !tried.contains("; "), "{message}");
    }
}

#[test]
fn a_missing_library_is_refused() {
    let folder = folder();
    assert_refused(&folder.path().join("libonnxruntime.so"), "No such file");
    assert_refused(folder.path(), "is not a file");
}

#[test]
fn a_file_that_is_not_a_library_is_refused() {
    let folder = folder();
    for (name, text) in [("text", "not a library, but long enough for a header"), ("empty", "")] {
        let path = folder.path().join(name);
        fs::write(&path, text).expect("a file");
        assert_refused(&path, "is not a shared library");
    }
}

#[test]
fn a_library_for_another_architecture_is_refused() {
    let folder = folder();
    let path = compile(folder.path(), "libonnxruntime.so", "1.31.0", "&base");
    let mut bytes = fs::read(&path).expect("a library");
    bytes[18..20].copy_from_slice(&u16::to_le_bytes(if cfg!(target_arch = "aarch64") { 62 } else { 183 }));
    fs::write(&path, bytes).expect("a file");
    assert_refused(&path, "is a library for another architecture");
}

#[test]
fn a_library_that_is_too_old_is_refused() {
    let folder = folder();
    let path = compile(folder.path(), "libonnxruntime.so", "1.16.3", "&base");
    assert_refused(&path, "is ONNX Runtime 1.16.3, expected 1.17 or newer");
}

#[test]
fn a_library_that_is_not_onnx_runtime_is_refused() {
    let folder = folder();
    fs::write(folder.path().join("other.c"), "int other(void) { return 1; }\n").expect("a file");
    let path = folder.path().join("libother.so");
    let code = folder.path().join("other.c");
    assert!(Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&path, &code]).status().expect("cc").success());
    assert_refused(&path, "OrtGetApiBase");
    assert_refused(&compile(folder.path(), "null.so", "1.31.0", "(const void *)0"), "has no API");
}

/// A library that states a new version, but has no API, stays loaded in the process.
#[test]
fn a_library_without_its_api_is_refused_every_time() {
    let folder = folder();
    let path = compile(folder.path(), "libonnxruntime.so", "1.31.0", "&base");
    let (bad, good) = (Step::Open(Some(&path)), library());
    let outcomes = Process::new(None).run(&[bad, Step::Open(Some(&path)), Step::Open(Some(&good))]);
    let codes: Vec<&str> = outcomes.iter().map(|(code, _)| code.as_str()).collect();
    assert_eq!(codes, ["dependency", "dependency", "config"]);
    assert!(outcomes[0].1.contains(path.to_str().expect("UTF-8")), "{}", outcomes[0].1);
    assert!(outcomes[0].1.contains("version 17 of ONNX Runtime's API"), "{}", outcomes[0].1);
}

#[test]
fn a_process_may_try_again_after_a_failure() {
    let (folder, good) = (folder(), library());
    let missing = folder.path().join("missing.so");
    let codes = Process::new(None).codes(&[Step::Open(Some(&missing)), Step::Open(Some(&good))]);
    assert_eq!(codes, ["dependency", "ok"]);
}

#[test]
fn a_second_library_is_refused() {
    let (folder, good) = (folder(), library());
    let link = folder.path().join("libonnxruntime.so");
    std::os::unix::fs::symlink(&good, &link).expect("a link");
    let other = compile(folder.path(), "other.so", "1.31.0", "&base");
    let paths = [Some(good.as_path()), None, Some(&link), Some(&other), Some(&good)];
    let outcomes = Process::new(None).run(&paths.map(Step::Open));
    let codes: Vec<&str> = outcomes.iter().map(|(code, _)| code.as_str()).collect();
    assert_eq!(codes, ["ok", "ok", "ok", "config", "ok"]);
    assert!([&good, &other].iter().all(|path| outcomes[3].1.contains(path.to_str().expect("UTF-8"))));
}

#[test]
fn a_library_beside_an_environment_is_refused() {
    let good = library();
    assert_eq!(Process::new(None).codes(&[Step::OpenWithEnvironment(&good)]), ["config"]);
}

/// A copy of this executable in a new folder.
fn executable() -> (TempDir, PathBuf) {
    let own = std::env::current_exe().expect("the path of the executable");
    let folder = tempfile::tempdir_in(own.parent().expect("a folder")).expect("a temporary directory");
    let copy = folder.path().join("executable");
    fs::hard_link(own, &copy).expect("a link");
    (folder, copy)
}

#[test]
fn the_library_beside_the_executable_is_loaded() {
    for name in ["libonnxruntime.so", "libonnxruntime.so.1"] {
        let (folder, executable) = executable();
        std::os::unix::fs::symlink(library(), folder.path().join(name)).expect("a link");
        assert_eq!(Process::new(Some(&executable)).codes(&[Step::Open(None)]), ["ok"]);
    }
}

#[test]
fn a_broken_library_beside_the_executable_is_not_replaced_by_another() {
    let ((folder, executable), links) = (executable(), links());
    let path = folder.path().join("libonnxruntime.so");
    fs::write(&path, "text").expect("a file");
    let process = Process::new(Some(&executable)).variable("LD_LIBRARY_PATH", links.path());
    let (code, message) = &process.run(&[Step::Open(None)])[0];
    assert_eq!(code, "dependency");
    assert!(message.contains(&format!("{} (beside the executable): is not a", path.display())), "{message}");
    assert!(!message.contains("loader"), "{message}");
}

/// A folder with the names of the library that the system's loader looks for.
fn links() -> TempDir {
    let folder = folder();
    std::os::unix::fs::symlink(library(), folder.path().join("libonnxruntime.so.1")).expect("a link");
    folder
}

#[test]
fn the_loader_finds_the_library_by_its_name() {
    let ((_folder, executable), links) = (executable(), links());
    let process = Process::new(Some(&executable)).variable("LD_LIBRARY_PATH", links.path());
    assert_eq!(process.codes(&[Step::Open(None)]), ["ok"]);
}

#[test]
fn every_path_is_listed_in_the_order_in_which_it_is_tried() {
    let (folder, executable) = executable();
    // An old library by the last name, so that the test does not depend on what the system has installed.
    let links = self::folder();
    for name in ["libonnxruntime.so", "libonnxruntime.so.1"] {
        compile(links.path(), name, "1.16.3", "&base");
    }
    let process = Process::new(Some(&executable)).variable("LD_LIBRARY_PATH", links.path());
    let (code, message) = &process.run(&[Step::Open(None)])[0];
    assert_eq!(code, "dependency");
    let beside = |name: &str| format!("{} (beside the executable): No such file", folder.path().join(name).display());
    let by_name = |name: &str| format!("{name} (the system's loader): is ONNX Runtime 1.16.3");
    let expected = ["libonnxruntime.so", "libonnxruntime.so.1"].map(beside).into_iter();
    let expected = expected.chain(["libonnxruntime.so", "libonnxruntime.so.1"].map(by_name));
    let offsets: Vec<usize> = expected.map(|text| message.find(&text).expect(message)).collect();
    assert!(offsets.is_sorted(), "{message}");
}
