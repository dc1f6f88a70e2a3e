//! [`ServeOptions`]: how a GGUF file is served.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::backends::wire::Limits;

/// How a file is served. Equal options of several tasks share a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ServeOptions {
    /// The absolute path of the file.
    pub(super) path: PathBuf,
    pub(super) sha256: Option<String>,
    pub(super) context: usize,
    pub(super) threads: Option<usize>,
    pub(super) memory_mb: Option<usize>,
    pub(super) is_embedding: bool,
    pub(super) command: Vec<String>,
    pub(super) start_timeout: Duration,
    pub(super) limits: Limits,
}

impl ServeOptions {
    /// The arguments of `llama-server`.
    pub(super) fn arguments(&self, socket: &Path) -> Vec<String> {
        let context = self.context.to_string();
        let (path, socket) = (self.path.display().to_string(), socket.display().to_string());
        let mut arguments =
            vec!["--model", &path, "--host", &socket, "--ctx-size", &context, "--parallel", "1", "--no-warmup"];
        let threads = self.threads.map(|threads| threads.to_string());
        if let Some(threads) = &threads {
            arguments.extend(["--threads", threads, "--threads-batch", threads]);
        }
        if self.is_embedding {
            arguments.extend(["--embeddings", "--batch-size", &context, "--ubatch-size", &context]);
        }
        arguments.into_iter().map(str::to_owned).collect()
    }

    /// The path and the body of the first request, which shows whether the file works at all.
    pub(super) fn first_request(&self) -> (&'static str, Value) {
        match self.is_embedding {
            true => ("/embeddings", json!({"input": "a"})),
            false => ("/chat/completions", json!({"messages": [{"role": "user", "content": "a"}], "max_tokens": 1})),
        }
    }
}

#[cfg(test)]
impl ServeOptions {
    /// Options of a command that serves a file.
    pub(super) fn of_command(path: &Path, command: &[&str]) -> Self {
        Self {
            path: path.to_path_buf(),
            sha256: None,
            context: 64,
            threads: Some(1),
            memory_mb: None,
            is_embedding: false,
            command: command.iter().map(|part| (*part).to_owned()).collect(),
            start_timeout: Duration::from_secs(20),
            limits: Limits::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_those_of_llama_server() {
        let mut options = ServeOptions::of_command(Path::new("/m.gguf"), &["x"]);
        let line = |options: &ServeOptions| options.arguments(Path::new("/s.sock")).join(" ");
        let common = "--model /m.gguf --host /s.sock --ctx-size 64 --parallel 1 --no-warmup";
        assert_eq!(line(&options), format!("{common} --threads 1 --threads-batch 1"));
        (options.threads, options.is_embedding) = (None, true);
        assert_eq!(line(&options), format!("{common} --embeddings --batch-size 64 --ubatch-size 64"));
    }
}
