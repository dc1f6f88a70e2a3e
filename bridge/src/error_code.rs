//! The codes of errors.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::BridgeError;
use crate::unknown_name::UnknownName;

/// The stable code of a [`BridgeError`](crate::BridgeError), as `FORMAT.md` lists it.
///
/// The codes have the order of the checks of an artifact. In text and in JSON, a code is its name, such as
/// `input_too_large`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorCode {
    /// The artifact has an entry that is neither a directory nor a regular file, or has no manifest.
    PathKind,
    /// `manifest.sha256` is not the expected line.
    ManifestHash,
    /// A file violates the rules for JSON.
    Json,
    /// The artifact is newer than this reader.
    FormatVersion,
    /// This build has no family for the task and the engine.
    UnknownTask,
    /// The manifest violates its schema.
    Schema,
    /// The files are not exactly the listed ones.
    FileSet,
    /// A file does not have its listed size.
    Size,
    /// A file does not have its listed hash.
    FileHash,
    /// A graph cannot be loaded or differs from its declaration.
    Graph,
    /// The tokenizer, or the rules or tables of a pipeline, cannot be loaded or differ from their declaration.
    Tokenizer,
    /// The artifact has no such variant, or is for another task.
    Variant,
    /// The answers to the golden cases do not meet the variant's gate.
    Golden,
    /// The artifact, or the tag that names it, is not signed by a trusted key.
    Signature,
    /// The artifact is valid, but not the one that the caller pinned.
    Identity,
    /// A value is not of the expected type.
    InputType,
    /// A text is larger than the limit.
    InputTooLarge,
    /// There is nothing to summarize.
    EmptyInput,
    /// A line is not JSON, or has unknown or duplicate keys.
    BadLine,
    /// The artifact has no such prompt.
    PromptNotFound,
    /// Sentence starts are missing, unexpected, or not starts of tokens.
    SentenceStarts,
    /// No open model has that name, or the call names none of several.
    ModelNotFound,
    /// No model of the task is open.
    TaskNotLoaded,
    /// The model or the bridge was closed.
    Closed,
    /// ONNX Runtime is missing, cannot be loaded or is too old.
    Dependency,
    /// A device that an option names cannot be used.
    Device,
    /// A run failed, or its result is not finite.
    Inference,
    /// The call was cancelled.
    Cancelled,
    /// The call exceeded its time limit.
    Timeout,
    /// Too many calls wait for the model.
    Overloaded,
    /// An option or a configuration file is invalid.
    Config,
    /// Reading or writing a file failed.
    Io,
    /// A store has no such model, version or tag.
    NotFound,
    /// The version exists with another artifact. This crate writes no store, so it never returns this code.
    Exists,
    /// Somebody else changed the tag at the same time. This crate writes no store, so it never returns this code.
    Conflict,
    /// The answer is not in the cache, and requests are off.
    Offline,
    /// A store cannot be reached, answers with an error, or has an invalid record.
    Store,
    /// A server refuses the key, or there is none.
    Auth,
    /// The account at a server has no quota left.
    Quota,
    /// A server refuses requests for a time.
    RateLimited,
    /// A text has more tokens than the model of a server or of a GGUF file can read.
    ContextTooLong,
    /// A model refuses to answer, or a server filters the answer.
    Refused,
    /// A server cannot be reached, fails, or its answer is incomplete or cannot be read.
    Upstream,
    /// `local_only` is set, and a model is not on this machine.
    NotLocal,
    /// A defect of this crate.
    Internal,
}

impl ErrorCode {
    /// All codes, in the order of the checks. The codes that refuse an artifact come first.
    pub const ALL: [Self; 45] = [
        Self::PathKind,
        Self::ManifestHash,
        Self::Json,
        Self::FormatVersion,
        Self::UnknownTask,
        Self::Schema,
        Self::FileSet,
        Self::Size,
        Self::FileHash,
        Self::Graph,
        Self::Tokenizer,
        Self::Variant,
        Self::Golden,
        Self::Signature,
        Self::Identity,
        Self::InputType,
        Self::InputTooLarge,
        Self::EmptyInput,
        Self::BadLine,
        Self::PromptNotFound,
        Self::SentenceStarts,
        Self::ModelNotFound,
        Self::TaskNotLoaded,
        Self::Closed,
        Self::Dependency,
        Self::Device,
        Self::Inference,
        Self::Cancelled,
        Self::Timeout,
        Self::Overloaded,
        Self::Config,
        Self::Io,
        Self::NotFound,
        Self::Exists,
        Self::Conflict,
        Self::Offline,
        Self::Store,
        Self::Auth,
        Self::Quota,
        Self::RateLimited,
        Self::ContextTooLong,
        Self::Refused,
        Self::Upstream,
        Self::NotLocal,
        Self::Internal,
    ];

    /// The name of the code, such as `input_too_large`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PathKind => "path_kind",
            Self::ManifestHash => "manifest_hash",
            Self::Json => "json",
            Self::FormatVersion => "format_version",
            Self::UnknownTask => "unknown_task",
            Self::Schema => "schema",
            Self::FileSet => "file_set",
            Self::Size => "size",
            Self::FileHash => "file_hash",
            Self::Graph => "graph",
            Self::Tokenizer => "tokenizer",
            Self::Variant => "variant",
            Self::Golden => "golden",
            Self::Signature => "signature",
            Self::Identity => "identity",
            Self::InputType => "input_type",
            Self::InputTooLarge => "input_too_large",
            Self::EmptyInput => "empty_input",
            Self::BadLine => "bad_line",
            Self::PromptNotFound => "prompt_not_found",
            Self::SentenceStarts => "sentence_starts",
            Self::ModelNotFound => "model_not_found",
            Self::TaskNotLoaded => "task_not_loaded",
            Self::Closed => "closed",
            Self::Dependency => "dependency",
            Self::Device => "device",
            Self::Inference => "inference",
            Self::Cancelled => "cancelled",
            Self::Timeout => "timeout",
            Self::Overloaded => "overloaded",
            Self::Config => "config",
            Self::Io => "io",
            Self::NotFound => "not_found",
            Self::Exists => "exists",
            Self::Conflict => "conflict",
            Self::Offline => "offline",
            Self::Store => "store",
            Self::Auth => "auth",
            Self::Quota => "quota",
            Self::RateLimited => "rate_limited",
            Self::ContextTooLong => "context_too_long",
            Self::Refused => "refused",
            Self::Upstream => "upstream",
            Self::NotLocal => "not_local",
            Self::Internal => "internal",
        }
    }

    /// Whether the code means that the artifact was refused.
    pub fn is_refusal(self) -> bool {
        self <= Self::Signature
    }

    /// Whether a call that failed with this code may succeed later: true for `timeout`, `overloaded`, `io`,
    /// `conflict`, `store`, `rate_limited` and `upstream`.
    pub fn is_retryable(self) -> bool {
        matches!(
            self,
            Self::Timeout
                | Self::Overloaded
                | Self::Io
                | Self::Conflict
                | Self::Store
                | Self::RateLimited
                | Self::Upstream
        )
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for ErrorCode {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        Self::ALL.into_iter().find(|code| code.as_str() == name).ok_or_else(|| UnknownName::new(name, &Self::ALL))
    }
}

impl BridgeError {
    /// The stable code of this error, as `FORMAT.md` lists it.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::PathKind { .. } => ErrorCode::PathKind,
            Self::ManifestHash { .. } => ErrorCode::ManifestHash,
            Self::Json { .. } => ErrorCode::Json,
            Self::FormatVersion { .. } => ErrorCode::FormatVersion,
            Self::UnknownTask { .. } => ErrorCode::UnknownTask,
            Self::Schema { .. } => ErrorCode::Schema,
            Self::FileSet { .. } => ErrorCode::FileSet,
            Self::Size { .. } => ErrorCode::Size,
            Self::FileHash { .. } => ErrorCode::FileHash,
            Self::Graph { .. } | Self::GraphLoad { .. } => ErrorCode::Graph,
            Self::Tokenizer { .. } => ErrorCode::Tokenizer,
            Self::Variant { .. } | Self::Task { .. } => ErrorCode::Variant,
            Self::Golden { .. } => ErrorCode::Golden,
            Self::Signature { .. } => ErrorCode::Signature,
            Self::Identity { .. } => ErrorCode::Identity,
            Self::InputType { .. } => ErrorCode::InputType,
            Self::InputTooLarge { .. } | Self::LineTooLong { .. } => ErrorCode::InputTooLarge,
            Self::EmptyInput { .. } => ErrorCode::EmptyInput,
            Self::BadLine { .. } => ErrorCode::BadLine,
            Self::PromptNotFound { .. } => ErrorCode::PromptNotFound,
            Self::SentenceStarts { .. } => ErrorCode::SentenceStarts,
            Self::ModelNotFound { .. } | Self::NoSuchModel { .. } => ErrorCode::ModelNotFound,
            Self::TaskNotLoaded { .. } => ErrorCode::TaskNotLoaded,
            Self::Closed { .. } => ErrorCode::Closed,
            Self::Dependency { .. } | Self::Feature { .. } | Self::Program { .. } => ErrorCode::Dependency,
            Self::Device { .. } => ErrorCode::Device,
            Self::Inference { .. } => ErrorCode::Inference,
            Self::Cancelled => ErrorCode::Cancelled,
            Self::Timeout { .. } => ErrorCode::Timeout,
            Self::Overloaded { .. } => ErrorCode::Overloaded,
            Self::Config { .. } => ErrorCode::Config,
            Self::Io { .. } => ErrorCode::Io,
            Self::NotFound { .. } => ErrorCode::NotFound,
            Self::Offline { .. } => ErrorCode::Offline,
            Self::Store { .. } => ErrorCode::Store,
            Self::Auth { .. } => ErrorCode::Auth,
            Self::Quota { .. } => ErrorCode::Quota,
            Self::RateLimited { .. } => ErrorCode::RateLimited,
            Self::ContextTooLong { .. } => ErrorCode::ContextTooLong,
            Self::Refused { .. } => ErrorCode::Refused,
            Self::Upstream { .. } => ErrorCode::Upstream,
            Self::NotLocal { .. } => ErrorCode::NotLocal,
            Self::Internal { .. } => ErrorCode::Internal,
        }
    }

    /// Whether this error means that the artifact was refused. The first table of codes in `FORMAT.md` has these codes.
    pub fn is_refusal(&self) -> bool {
        self.code().is_refusal()
    }

    /// Whether the same call may succeed later: true for the codes `timeout`, `overloaded`, `io`, `conflict`, `store`,
    /// `rate_limited` and `upstream`.
    pub fn is_retryable(&self) -> bool {
        self.code().is_retryable()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_its_name() {
        for code in ErrorCode::ALL {
            assert_eq!(code.as_str().parse(), Ok(code));
            assert_eq!(format!("{code}"), code.as_str().to_owned());
            assert_eq!(serde_json::to_value(code).expect("JSON"), code.as_str());
            assert_eq!(serde_json::from_value::<ErrorCode>(code.as_str().into()).expect("a code"), code);
        }
        assert!("Config".parse::<ErrorCode>().is_err_and(|error| error.to_string().contains("Config")));
    }

    #[test]
    fn codes_are_sorted_and_the_first_ones_refuse_artifacts() {
        assert!(ErrorCode::ALL.is_sorted());
        assert_eq!(ErrorCode::ALL.iter().filter(|code| code.is_refusal()).count(), 14);
        let retryable: Vec<&str> =
            ErrorCode::ALL.iter().filter(|code| code.is_retryable()).map(|code| code.as_str()).collect();
        assert_eq!(retryable, ["timeout", "overloaded", "io", "conflict", "store", "rate_limited", "upstream"]);
    }
}
