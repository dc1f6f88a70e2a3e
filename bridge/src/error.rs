//! The error type of this crate. `error_code.rs` has its codes, `cause.rs` the errors that caused it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cause::Cause;

/// An error, with one variant per cause.
///
/// [`code`](BridgeError::code) returns the stable code that the artifact format lists (`FORMAT.md`). The Python reader
/// raises the same code for the same artifact. Messages say what is wrong, what is expected and what to do.
/// [`source`](std::error::Error::source) returns the error of another library or of the system that is the cause, if there
/// is one: an [`std::io::Error`], an [`ort::Error`], or an error of the crates that parse JSON and TOML.
///
/// Two errors are equal if their fields are equal; causes are equal if their messages are.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BridgeError {
    /// Code `path_kind`: an entry of the artifact's directory is neither a directory nor a regular file, there are too
    /// many entries or too many levels, or `manifest.json` or `manifest.sha256` is missing or too large.
    #[error("{}: {problem}", path.display())]
    PathKind {
        /// The path of the refused entry.
        path: PathBuf,
        /// What is wrong with the entry.
        problem: String,
    },
    /// Code `manifest_hash`: `manifest.sha256` is not the expected line for the bytes of `manifest.json`.
    #[error(
        "manifest.sha256 has {actual:?}, expected {expected:?}: the manifest was changed or copied incompletely; \
         fetch the artifact again"
    )]
    ManifestHash {
        /// The expected line, which has the hash of `manifest.json`.
        expected: String,
        /// The actual text of `manifest.sha256`, truncated.
        actual: String,
    },
    /// Code `json`: a file violates a rule of the section JSON of `FORMAT.md`.
    #[error("{file}: {problem}")]
    Json {
        /// The file that violates the rule, relative to the artifact.
        file: String,
        /// The violated rule, with line and column.
        problem: String,
    },
    /// Code `format_version`: the artifact is newer than this reader, or its version is not an integer.
    #[error("{field} is {actual}, this reader supports 1 to {newest}: {advice}")]
    FormatVersion {
        /// The manifest's field with the refused version: `format_version` or `task_revision`.
        field: &'static str,
        /// The actual value of the field.
        actual: String,
        /// The newest version that this reader implements.
        newest: u64,
        /// What the user has to do to read the artifact.
        advice: &'static str,
    },
    /// Code `unknown_task`: this build has no family of models with the artifact's task and engine.
    #[error(
        "the artifact is for the task {task:?} with the engine {engine:?}, this build supports {}; \
         upgrade onnx-ml-bridge, or enable the family's cargo feature",
        known.join(", ")
    )]
    UnknownTask {
        /// The task that the manifest names, such as `ner`.
        task: String,
        /// The engine that the manifest names, such as `spacy`.
        engine: String,
        /// The pairs of a task and an engine that this build supports, as `TASK/ENGINE`.
        known: Vec<String>,
    },
    /// Code `schema`: the manifest violates its schema or a rule between its fields. All violations are listed.
    #[error("manifest.json violates {} rule(s) of the format: {}", problems.len(), problems.join("; "))]
    Schema {
        /// One message per violation of the schema or of a rule between fields.
        problems: Vec<String>,
    },
    /// Code `file_set`: the artifact's files are not exactly the files that the manifest lists.
    #[error(
        "the files differ from the manifest's list: missing {missing:?}, not listed {extra:?}; fetch the artifact \
         again, and do not add files to its directory or remove any"
    )]
    FileSet {
        /// Listed files that do not exist.
        missing: Vec<String>,
        /// Files that are not listed, and empty directories, which end in `/`.
        extra: Vec<String>,
    },
    /// Code `size`: some files do not have the listed size.
    #[error("wrong size: {}; fetch the artifact again", problems.join("; "))]
    Size {
        /// One message per file whose size differs from the listed one.
        problems: Vec<String>,
    },
    /// Code `file_hash`: a file does not have the listed SHA-256.
    #[error("{file} has the SHA-256 {actual}, expected {expected}; fetch the artifact again")]
    FileHash {
        /// The path of the file whose hash differs, relative to the artifact.
        file: String,
        /// The SHA-256 of the file that the manifest lists, hexadecimal.
        expected: String,
        /// The actual SHA-256 of the file, hexadecimal.
        actual: String,
    },
    /// Code `graph`: a graph cannot be parsed or loaded, differs from its declaration in the manifest, stores data in a
    /// file that is not listed, or crashed the process that replayed the golden cases.
    #[error("{file}: {problem}")]
    Graph {
        /// The graph's file, relative to the artifact.
        file: String,
        /// What is wrong with the graph.
        problem: String,
    },
    /// Code `graph`: ONNX Runtime cannot load a graph.
    #[error("{file}: ONNX Runtime cannot load it: {cause}")]
    GraphLoad {
        /// The graph's file, relative to the artifact.
        file: String,
        /// The error of ONNX Runtime.
        #[source]
        cause: Cause,
    },
    /// Code `tokenizer`: `tokenizer.json` cannot be loaded or differs from its declaration in the manifest, or the rules or
    /// tables of a spaCy pipeline violate the format.
    #[error("{file}: {problem}")]
    Tokenizer {
        /// The path of the refused file, relative to the artifact.
        file: String,
        /// What is wrong with the file.
        problem: String,
    },
    /// Code `variant`: the requested variant is not in the artifact.
    #[error("variant {requested:?} is not in the artifact, it has {known:?}; choose one of them or \"auto\"")]
    Variant {
        /// The name of the requested variant.
        requested: String,
        /// The names of the variants that the artifact has.
        known: Vec<String>,
    },
    /// Code `variant`: an artifact was opened for another task than its own.
    #[error("{} is for the task {actual:?}, expected {expected:?}; open it for its own task", path.display())]
    Task {
        /// The path of the artifact that was opened.
        path: PathBuf,
        /// The task that the artifact was opened for.
        expected: &'static str,
        /// The task that the artifact's manifest names.
        actual: String,
    },
    /// Code `golden`: the answers to the golden cases do not meet the variant's gate, the model refused the input of a case,
    /// or the cases cannot be read.
    #[error("{file}: {problem}")]
    Golden {
        /// The path of the file with the golden cases, relative to the artifact.
        file: String,
        /// The case or the metric that failed, and what is wrong with it.
        problem: String,
    },
    /// Code `signature`: trusted keys are given, and the artifact or the tag that names it has no valid signature of one of
    /// them, or the tag is an older one than the cache has seen.
    #[error("{problem}")]
    Signature {
        /// What is not signed, and by which keys.
        problem: String,
    },
    /// Code `identity`: the artifact is valid, but not the one that the caller pinned.
    #[error("{} is another artifact: its identity is {actual}, expected {expected}", path.display())]
    Identity {
        /// The path of the artifact.
        path: PathBuf,
        /// The identity that the caller pinned.
        expected: String,
        /// The SHA-256 of the artifact's `manifest.json`, hexadecimal.
        actual: String,
    },
    /// Code `input_type`: the value of a JSON line is not of the expected type.
    #[error("expected {expected}, got {actual}")]
    InputType {
        /// A description of the expected value.
        expected: &'static str,
        /// A description of the actual value.
        actual: String,
    },
    /// Code `input_too_large`: a text is larger than the limit.
    #[error("{}{bytes} bytes of UTF-8, the limit is {limit}; split the text, or raise the text limit", prefix(index))]
    InputTooLarge {
        /// The text's index in the batch, from 0; `None` if there is no batch.
        index: Option<usize>,
        /// The text's size in bytes of UTF-8; a lower bound if the text was not read to its end.
        bytes: usize,
        /// The limit on the size of a text, in bytes of UTF-8.
        limit: usize,
    },
    /// Code `input_too_large`: a JSON line is longer than any line whose texts are within the limit. It was not read.
    #[error("the line is too long, expected at most {limit} bytes of text")]
    LineTooLong {
        /// The limit on the size of a text, in bytes of UTF-8.
        limit: usize,
    },
    /// Code `empty_input`: there are no messages to summarize or no text to embed, or they consist of whitespace.
    #[error("{}nothing to read; pass a text that is not only whitespace", prefix(index))]
    EmptyInput {
        /// The input's index in the batch, from 0; `None` if there is no batch.
        index: Option<usize>,
    },
    /// Code `bad_line`: a line is not JSON, or has unknown or duplicate keys.
    #[error("{problem}; expected {expected}")]
    BadLine {
        /// What is wrong with the line.
        problem: String,
        /// A description of the expected line.
        expected: &'static str,
    },
    /// Code `prompt_not_found`: the requested prompt is not in the manifest.
    #[error("prompt {requested:?} is not in the artifact, it has {known:?}; choose one of them or no prompt")]
    PromptNotFound {
        /// The name of the requested prompt.
        requested: String,
        /// The names of the prompts that the artifact has.
        known: Vec<String>,
    },
    /// Code `sentence_starts`: sentence starts are missing for a model that requires them, were passed to a model that does
    /// not use any, or no token begins at one of them.
    #[error("{}{problem}", prefix(index))]
    SentenceStarts {
        /// The text's index in the batch, from 0; `None` if there is no batch.
        index: Option<usize>,
        /// What is wrong with the sentence starts.
        problem: String,
    },
    /// Code `model_not_found`: no open model has the requested name, or several models are open and the call names none.
    #[error("{}", not_found(requested, known))]
    ModelNotFound {
        /// The requested name; `None` if the call names no model.
        requested: Option<String>,
        /// The names of the open models.
        known: Vec<String>,
    },
    /// Code `task_not_loaded`: no model for the task of the call is open.
    #[error("{call} needs a model for {task}, and none is open")]
    TaskNotLoaded {
        /// The name of the method that was called.
        call: &'static str,
        /// The task that the method needs a model for.
        task: &'static str,
    },
    /// Code `closed`: the model or the bridge was closed.
    #[error("{name} was closed; open it again")]
    Closed {
        /// The name of the model, or `the bridge`.
        name: String,
    },
    /// Code `dependency`: ONNX Runtime is missing, cannot be loaded or is too old. The message has every path that was
    /// tried, in order, with the reason why it was not loaded.
    #[error(
        "{problem}. Install ONNX Runtime and set ORT_DYLIB_PATH (or the library option) to the path of its shared \
         library: `pip install onnxruntime` installs it as onnxruntime/capi/libonnxruntime.so.1.*, the release archives \
         of ONNX Runtime have it as lib/libonnxruntime.so"
    )]
    Dependency {
        /// What is missing or cannot be loaded.
        problem: String,
    },
    /// Code `dependency`: this build of the crate lacks a cargo feature.
    #[error("{what} needs the cargo feature {feature} of onnx-ml-bridge: enable it, and build again")]
    Feature {
        /// What needs the feature.
        what: String,
        /// The name of the feature.
        feature: &'static str,
    },
    /// Code `device`: a device that an option names cannot be used.
    #[error(
        "device {device} cannot be used: {reason}; available: {}; the device auto uses a GPU if one works, else the CPU",
        available.join(", ")
    )]
    Device {
        /// The name of the device, such as `cuda:1`.
        device: String,
        /// Why it cannot be used.
        reason: String,
        /// The devices that ONNX Runtime and this build support.
        available: Vec<String>,
    },
    /// Code `inference`: ONNX Runtime failed while it ran a graph, or a result is not finite.
    #[error("{}{problem}", prefix(index))]
    Inference {
        /// The index in the batch, from 0, of the text that caused the error; `None` if the cause is not one text.
        index: Option<usize>,
        /// A description of the failure.
        problem: String,
        /// The error that is the cause; `None` if there is no other error.
        #[source]
        cause: Option<Cause>,
    },
    /// Code `cancelled`: the call was cancelled while it ran.
    #[error("the call was cancelled")]
    Cancelled,
    /// Code `timeout`: the call exceeded its time limit.
    #[error("the call exceeded its time limit of {} s", limit.as_secs_f64())]
    Timeout {
        /// The time limit that the call exceeded.
        limit: Duration,
    },
    /// Code `overloaded`: too many calls wait for the model. Nothing of the call was run.
    #[error("{limit} calls wait for the model, which is the limit: try again later, or raise max_waiting")]
    Overloaded {
        /// The limit on waiting calls.
        limit: usize,
    },
    /// Code `config`: an option is invalid.
    #[error("{problem}")]
    Config {
        /// The invalid option, its value and the allowed values.
        problem: String,
        /// The error that is the cause; `None` if there is no other error.
        #[source]
        cause: Option<Cause>,
    },
    /// Code `io`: reading or writing a file failed.
    #[error("{}: {problem}", path.display())]
    Io {
        /// The path of the file or directory that could not be read or written.
        path: PathBuf,
        /// A description of the failure.
        problem: String,
        /// The error of the operating system; `None` if there is none.
        #[source]
        cause: Option<Cause>,
    },
    /// Code `not_found`: a store has no such model, version or tag.
    #[error("{problem}")]
    NotFound {
        /// What the store does not have.
        problem: String,
    },
    /// Code `offline`: the answer is not in the cache, and requests are off.
    #[error("{problem}; requests are off (offline, or ONNX_ML_BRIDGE_OFFLINE): pull it once with requests")]
    Offline {
        /// What is not in the cache.
        problem: String,
    },
    /// Code `store`: a store cannot be reached, answers with an error, or has an invalid record.
    #[error("{problem}")]
    Store {
        /// What failed, with the address of the store or the key of the record.
        problem: String,
        /// The error that is the cause; `None` if there is no other error.
        #[source]
        cause: Option<Cause>,
    },
    /// Code `auth`: a server refuses the key, or there is none.
    #[error("{backend} refuses the key with the status {status}; set the variable of api_key_env to a valid key")]
    Auth {
        /// The name of the backend.
        backend: String,
        /// The HTTP status of the answer.
        status: u16,
    },
    /// Code `quota`: the account at a server has no quota left.
    #[error("{backend} has no quota left for this account (status {status}); see the account at the server")]
    Quota {
        /// The name of the backend.
        backend: String,
        /// The HTTP status of the answer.
        status: u16,
    },
    /// Code `rate_limited`: a server refuses requests for a time.
    #[error("{backend} refuses requests for a time{}; try again later", after(retry_after))]
    RateLimited {
        /// The name of the backend.
        backend: String,
        /// How long the server refuses requests; `None` if it did not say.
        retry_after: Option<Duration>,
    },
    /// Code `context_too_long`: a text has more tokens than the model can read.
    #[error("{}{problem}; shorten the text, or use a model with a longer context", prefix(index))]
    ContextTooLong {
        /// The index in the batch, from 0, of the text; `None` if it is not known.
        index: Option<usize>,
        /// What is too long.
        problem: String,
    },
    /// Code `refused`: a model refuses to answer, or a server filters the answer.
    #[error("{}{problem}", prefix(index))]
    Refused {
        /// The index in the batch, from 0, of the text; `None` if there is no batch.
        index: Option<usize>,
        /// How the answer was refused.
        problem: String,
    },
    /// Code `upstream`: a server cannot be reached, fails, or its answer is incomplete or cannot be read.
    #[error("{backend}: {problem}")]
    Upstream {
        /// The name of the backend.
        backend: String,
        /// What failed. It never has what a server wrote, which may quote the key or a text.
        problem: String,
        /// The HTTP status of the answer; `None` without a complete answer.
        status: Option<u16>,
    },
    /// Code `model_not_found`: a server has no such model, or no such path.
    #[error("{backend} answers with the status {status} for the model {model:?}; check its name and base_url")]
    NoSuchModel {
        /// The name of the backend.
        backend: String,
        /// The name of the model at the server.
        model: String,
        /// The HTTP status of the answer.
        status: u16,
    },
    /// Code `not_local`: `local_only` is set, and a model is not on this machine.
    #[error("{what} is not on this machine, and local_only is set; use a loopback address such as 127.0.0.1")]
    NotLocal {
        /// What is not local: a base URL or the address of a store.
        what: String,
    },
    /// Code `dependency`: a program, or a part of the system, that another backend needs is missing or fails.
    #[error("{program} cannot be used: {problem}")]
    Program {
        /// The program or the part of the system.
        program: String,
        /// The error, and what to do.
        problem: String,
    },
    /// Code `internal`: a defect of this crate, for example a panic while it answered an asynchronous call.
    #[error("{problem}; this is a defect of onnx-ml-bridge, please report it")]
    Internal {
        /// What happened.
        problem: String,
    },
}

impl BridgeError {
    /// The index in the batch of the text that caused the error; `None` if the cause is not one text of a batch.
    pub fn index(&self) -> Option<usize> {
        let (Self::InputTooLarge { index, .. }
        | Self::EmptyInput { index }
        | Self::SentenceStarts { index, .. }
        | Self::ContextTooLong { index, .. }
        | Self::Refused { index, .. }
        | Self::Inference { index, .. }) = self
        else {
            return None;
        };
        *index
    }

    /// The same error with another index in the batch, or without one.
    #[must_use]
    pub fn with_index(mut self, new: Option<usize>) -> Self {
        if let Self::InputTooLarge { index, .. }
        | Self::EmptyInput { index }
        | Self::SentenceStarts { index, .. }
        | Self::ContextTooLong { index, .. }
        | Self::Refused { index, .. }
        | Self::Inference { index, .. } = &mut self
        {
            *index = new;
        }
        self
    }

    /// The error `io` of a file or a directory. The cause is an equal error, because errors of the system cannot be
    /// copied.
    pub(crate) fn io(path: &Path, error: &std::io::Error) -> Self {
        let cause = match error.raw_os_error() {
            Some(code) => std::io::Error::from_raw_os_error(code),
            None => std::io::Error::new(error.kind(), error.to_string()),
        };
        Self::Io { path: path.to_path_buf(), problem: error.to_string(), cause: Some(Cause::new(cause)) }
    }

    /// The error `inference` without a cause.
    pub(crate) fn inference(index: Option<usize>, problem: impl std::fmt::Display) -> Self {
        Self::Inference { index, problem: problem.to_string(), cause: None }
    }

    /// The error `config` without a cause.
    pub(crate) fn config(problem: impl std::fmt::Display) -> Self {
        Self::Config { problem: problem.to_string(), cause: None }
    }

    /// The error `store` without a cause.
    #[cfg(feature = "store")]
    pub(crate) fn store(problem: impl std::fmt::Display) -> Self {
        Self::Store { problem: problem.to_string(), cause: None }
    }

    /// The error `signature`.
    #[cfg(feature = "store")]
    pub(crate) fn signature(problem: impl std::fmt::Display) -> Self {
        Self::Signature { problem: problem.to_string() }
    }

    /// How long a server refuses requests; `None` for other errors, or if it did not say.
    pub fn retry_after(&self) -> Option<Duration> {
        if let Self::RateLimited { retry_after, .. } = self { *retry_after } else { None }
    }

    /// Whether this error means that the call was stopped, by a cancellation token or by its time limit.
    pub(crate) fn is_stop(&self) -> bool {
        matches!(self, Self::Cancelled | Self::Timeout { .. })
    }
}

fn not_found(requested: &Option<String>, known: &[String]) -> String {
    match requested {
        Some(name) => format!("no open model has the name {name:?}, the open models are {known:?}; name one of them"),
        None => format!("several models are open, {known:?}, and the call names none; name one of them"),
    }
}

/// How long a server refuses requests.
fn after(retry_after: &Option<Duration>) -> String {
    retry_after.map_or_else(String::new, |wait| format!(", {} s", wait.as_secs_f64()))
}

/// The start of a message about one text of a batch.
fn prefix(index: &Option<usize>) -> String {
    index.map_or_else(String::new, |index| format!("text {index}: "))
}
