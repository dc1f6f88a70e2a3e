//! The one error type of this crate.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// Everything that can go wrong, one variant per cause.
///
/// [`code`](BridgeError::code) returns the stable code that the artifact format lists (`FORMAT.md`). The Python reader
/// raises the same code for the same artifact. Messages say what is wrong, what is expected and what to do.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BridgeError {
    /// Code `path_kind`: an entry of the artifact is neither a regular file with one link nor a directory, there are
    /// too many or too deep, or `manifest.json` or `manifest.sha256` is missing or too large.
    #[error("{}: {problem}", path.display())]
    PathKind {
        /// The entry.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Code `manifest_hash`: `manifest.sha256` is not the expected line for the bytes of `manifest.json`.
    #[error(
        "manifest.sha256 holds {actual:?}, expected {expected:?}: the manifest was changed or copied in part; \
         fetch the artifact again"
    )]
    ManifestHash {
        /// The line that belongs to the bytes of `manifest.json`.
        expected: String,
        /// The actual text, shortened.
        actual: String,
    },
    /// Code `json`: a text breaks a rule of the format's section on JSON.
    #[error("{file}: {problem}")]
    Json {
        /// The file, relative to the artifact.
        file: String,
        /// The rule broken, with line and column.
        problem: String,
    },
    /// Code `format_version`: the artifact is newer than this reader, or names no whole number.
    #[error("{field} is {actual}, this reader knows 1 to {newest}: {advice}")]
    FormatVersion {
        /// `format_version` or `task_revision`.
        field: &'static str,
        /// The actual value.
        actual: String,
        /// The newest value that this reader implements.
        newest: u64,
        /// What to do.
        advice: &'static str,
    },
    /// Code `unknown_task`: the artifact's task and engine belong to no family of models that this build has.
    #[error(
        "the artifact is for the task {task:?} with the engine {engine:?}, this build knows {}; \
         upgrade onnx-ml-bridge, or enable the family's cargo feature",
        known.join(", ")
    )]
    UnknownTask {
        /// The artifact's task.
        task: String,
        /// The artifact's engine.
        engine: String,
        /// The known pairs, as `TASK/ENGINE`.
        known: Vec<String>,
    },
    /// Code `schema`: the manifest breaks its schema or a rule between its fields. All violations are listed.
    #[error("manifest.json breaks {} rule(s) of the format: {}", problems.len(), problems.join("; "))]
    Schema {
        /// One message per violation.
        problems: Vec<String>,
    },
    /// Code `file_set`: the artifact's files are not the listed ones.
    #[error(
        "the files are not the listed ones: missing {missing:?}, not listed {extra:?}; fetch the artifact again, \
         nothing may be added to or removed from its directory"
    )]
    FileSet {
        /// Listed files that do not exist.
        missing: Vec<String>,
        /// Files that are not listed, and empty directories, which end in `/`.
        extra: Vec<String>,
    },
    /// Code `size`: files whose size is not the listed one.
    #[error("wrong size: {}; fetch the artifact again", problems.join("; "))]
    Size {
        /// One message per file.
        problems: Vec<String>,
    },
    /// Code `file_hash`: a file whose SHA-256 is not the listed one.
    #[error("{file} has the SHA-256 {actual}, expected {expected}; fetch the artifact again")]
    FileHash {
        /// The file, relative to the artifact.
        file: String,
        /// The listed digest.
        expected: String,
        /// The digest of the actual bytes.
        actual: String,
    },
    /// Code `graph`: a graph cannot be parsed or loaded, is not what the manifest declares, keeps data in an unlisted
    /// file, or ended the process that probed it.
    #[error("{file}: {problem}")]
    Graph {
        /// The graph, relative to the artifact.
        file: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Code `tokenizer`: `tokenizer.json` cannot be loaded or is not what the manifest declares, or spaCy's rules or
    /// tables do not follow the format.
    #[error("{file}: {problem}")]
    Tokenizer {
        /// The file, relative to the artifact.
        file: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Code `variant`: the requested variant is not in the artifact.
    #[error("variant {requested:?} is not in the artifact, it has {known:?}; choose one of them or \"auto\"")]
    Variant {
        /// The requested variant.
        requested: String,
        /// The variants of the artifact.
        known: Vec<String>,
    },
    /// Code `variant`: the artifact is for another task than the one it was opened for.
    #[error("{} is for the task {actual:?}, expected {expected:?}; open it for its own task", path.display())]
    Task {
        /// The artifact.
        path: PathBuf,
        /// The task it was opened for.
        expected: &'static str,
        /// The task that it is for.
        actual: String,
    },
    /// Code `golden`: the answers to the golden cases do not meet a gate, the input of a case was refused, or the cases
    /// cannot be read.
    #[error("{file}: {problem}")]
    Golden {
        /// The file of the cases, relative to the artifact.
        file: String,
        /// The case and the measure.
        problem: String,
    },
    /// Code `input_type`: the value of a JSON line is not of the expected type.
    #[error("expected {expected}, got {actual}")]
    InputType {
        /// The expected value.
        expected: &'static str,
        /// The kind of the actual value.
        actual: String,
    },
    /// Code `input_too_large`: a text is larger than the limit.
    #[error("{}{bytes} bytes of UTF-8, the limit is {limit}; split the text, or raise the text limit", at(index))]
    InputTooLarge {
        /// The text's index in the batch, from 0; `None` where there is no batch.
        index: Option<usize>,
        /// Its size in bytes of UTF-8 (a lower bound where it was not read to its end).
        bytes: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// Code `empty_input`: there are no messages to summarize, or only whitespace in them.
    #[error("{}nothing to summarize; give a message that is not only whitespace", at(index))]
    EmptyInput {
        /// The input's index in the batch, from 0; `None` where there is no batch.
        index: Option<usize>,
    },
    /// Code `bad_line`: a line is not JSON, or has unknown or duplicate keys.
    #[error("{problem}; expected {expected}")]
    BadLine {
        /// What is wrong with it.
        problem: String,
        /// The expected value.
        expected: &'static str,
    },
    /// Code `prompt_not_found`: the requested prompt is not in the manifest.
    #[error("prompt {requested:?} is not in the artifact, it has {known:?}; choose one of them or none")]
    PromptNotFound {
        /// The requested prompt.
        requested: String,
        /// The prompts of the artifact.
        known: Vec<String>,
    },
    /// Code `sentence_starts`: sentence starts are missing for a model that requires them, given to one that does not
    /// accept them, or one of them is not the start of a token.
    #[error("{}{problem}", at(index))]
    SentenceStarts {
        /// The text's index in the batch, from 0; `None` where there is no batch.
        index: Option<usize>,
        /// What is wrong with them.
        problem: String,
    },
    /// Code `model_not_found`: no open model has the name, or several are open and the call names none.
    #[error("{}", not_found(requested, known))]
    ModelNotFound {
        /// The requested name, if there is one.
        requested: Option<String>,
        /// The names of the open models.
        known: Vec<String>,
    },
    /// Code `task_not_loaded`: the call needs a model that was not opened.
    #[error("{call} needs a model for {task}, and none is open")]
    TaskNotLoaded {
        /// The call.
        call: &'static str,
        /// The task.
        task: &'static str,
    },
    /// Code `dependency`: ONNX Runtime is missing, cannot be loaded or is too old.
    #[error(
        "{problem}. Install ONNX Runtime and point ORT_DYLIB_PATH (or the library option) at its shared library: \
         `pip install onnxruntime` ships it as onnxruntime/capi/libonnxruntime.so.1.*, the project's release archives \
         as lib/libonnxruntime.so"
    )]
    Dependency {
        /// What is missing.
        problem: String,
    },
    /// Code `inference`: the engine failed while it ran a graph, or a result is not finite.
    #[error("{}{problem}", at(index))]
    Inference {
        /// The text's index in the batch, from 0, where one text is the cause.
        index: Option<usize>,
        /// What happened.
        problem: String,
    },
    /// Code `cancelled`: the call was cancelled while it ran.
    #[error("the call was cancelled")]
    Cancelled,
    /// Code `timeout`: the call exceeded its time limit.
    #[error("the call exceeded its time limit of {} s", limit.as_secs_f64())]
    Timeout {
        /// The time limit.
        limit: Duration,
    },
    /// Code `config`: an option is wrong.
    #[error("{problem}")]
    Config {
        /// The option, its value and what is allowed.
        problem: String,
    },
    /// Code `io`: the file system refused a read or a write.
    #[error("{}: {problem}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the operating system said.
        problem: String,
    },
}

impl BridgeError {
    /// All codes of this crate.
    pub const CODES: [&'static str; 27] = [
        "path_kind",
        "manifest_hash",
        "json",
        "format_version",
        "unknown_task",
        "schema",
        "file_set",
        "size",
        "file_hash",
        "graph",
        "tokenizer",
        "variant",
        "golden",
        "input_type",
        "input_too_large",
        "empty_input",
        "bad_line",
        "prompt_not_found",
        "sentence_starts",
        "model_not_found",
        "task_not_loaded",
        "dependency",
        "inference",
        "cancelled",
        "timeout",
        "config",
        "io",
    ];

    /// The first so many of [`CODES`](Self::CODES) refuse an artifact.
    const ARTIFACT_CODES: usize = 13;

    /// The stable code of this error, as `FORMAT.md` lists it.
    pub fn code(&self) -> &'static str {
        match self {
            Self::PathKind { .. } => "path_kind",
            Self::ManifestHash { .. } => "manifest_hash",
            Self::Json { .. } => "json",
            Self::FormatVersion { .. } => "format_version",
            Self::UnknownTask { .. } => "unknown_task",
            Self::Schema { .. } => "schema",
            Self::FileSet { .. } => "file_set",
            Self::Size { .. } => "size",
            Self::FileHash { .. } => "file_hash",
            Self::Graph { .. } => "graph",
            Self::Tokenizer { .. } => "tokenizer",
            Self::Variant { .. } | Self::Task { .. } => "variant",
            Self::Golden { .. } => "golden",
            Self::InputType { .. } => "input_type",
            Self::InputTooLarge { .. } => "input_too_large",
            Self::EmptyInput { .. } => "empty_input",
            Self::BadLine { .. } => "bad_line",
            Self::PromptNotFound { .. } => "prompt_not_found",
            Self::SentenceStarts { .. } => "sentence_starts",
            Self::ModelNotFound { .. } => "model_not_found",
            Self::TaskNotLoaded { .. } => "task_not_loaded",
            Self::Dependency { .. } => "dependency",
            Self::Inference { .. } => "inference",
            Self::Cancelled => "cancelled",
            Self::Timeout { .. } => "timeout",
            Self::Config { .. } => "config",
            Self::Io { .. } => "io",
        }
    }

    /// Whether this error refuses an artifact (the first table of codes in `FORMAT.md`).
    pub fn is_refusal(&self) -> bool {
        Self::refuses_artifact(self.code())
    }

    /// Whether a code refuses an artifact.
    pub fn refuses_artifact(code: &str) -> bool {
        Self::CODES[..Self::ARTIFACT_CODES].contains(&code)
    }

    /// The index in the batch of the text that caused the error, where one text did.
    pub fn index(&self) -> Option<usize> {
        let (Self::InputTooLarge { index, .. }
        | Self::EmptyInput { index }
        | Self::SentenceStarts { index, .. }
        | Self::Inference { index, .. }) = self
        else {
            return None;
        };
        *index
    }

    /// The same error for a text at another index of a batch, or for no text of a batch.
    #[must_use]
    pub fn with_index(mut self, new: Option<usize>) -> Self {
        if let Self::InputTooLarge { index, .. }
        | Self::EmptyInput { index }
        | Self::SentenceStarts { index, .. }
        | Self::Inference { index, .. } = &mut self
        {
            *index = new;
        }
        self
    }

    pub(crate) fn io(path: &Path, error: &std::io::Error) -> Self {
        Self::Io { path: path.to_path_buf(), problem: error.to_string() }
    }

    pub(crate) fn inference(index: Option<usize>, problem: impl std::fmt::Display) -> Self {
        Self::Inference { index, problem: problem.to_string() }
    }
}

fn not_found(requested: &Option<String>, known: &[String]) -> String {
    match requested {
        Some(name) => format!("no open model has the name {name:?}, open are {known:?}; name one of them"),
        None => format!("several models are open, {known:?}, and the call names none; name one of them"),
    }
}

fn at(index: &Option<usize>) -> String {
    index.map_or_else(String::new, |index| format!("text {index}: "))
}
