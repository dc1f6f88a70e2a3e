//! [`LlamaCppMlBridge`]: GGUF files behind the calls of [`MlBridge`](crate::MlBridge), each in a server of llama.cpp that is
//! started here.

mod gguf;
mod gguf_file;
mod process;
mod serve_options;
mod socket_folder;
pub(crate) mod supervisor;
pub(crate) mod tokens;
mod users;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub use self::gguf::Gguf;
use self::serve_options::ServeOptions;
use self::supervisor::Supervisor;
use super::condition::Condition;
use super::remote::embeddings::Embeddings;
use super::remote::{Remote, RemoteModel, Size};
use super::services::{Services, bridge_of_services};
use super::wire::{Endpoint, Gate, Limits, Wire};
use crate::BridgeError;
use crate::life::service::Service;
use crate::model::ModelInfo;
use crate::options::BridgeOptions;
use crate::runtime::blocking::on_blocking_thread;
use crate::runtime::meter::Meter;
use crate::runtime::providers::Providers;
use crate::tasks::backend::AnyBackend;
use crate::tasks::{Location, Task};

const KIND: &str = "llama-cpp";
const COMMAND: &str = "llama-server";
/// The longest random wait before a request is sent again: the server is on this machine.
const MAX_BACKOFF: Duration = Duration::from_millis(500);

/// GGUF files, one for each task, each in a server of llama.cpp: a child process that the first call starts, that is started
/// again after its death, and that ends with this process. Clones share them; all calls take `&self` and may come from many
/// threads at once.
///
/// Summaries are deterministic: the temperature is 0 unless a call asks for another one.
/// [`MlBridge`](crate::MlBridge) has the calls.
#[derive(Clone)]
pub struct LlamaCppMlBridge {
    services: Services,
}

bridge_of_services!(LlamaCppMlBridge);

impl LlamaCppMlBridge {
    /// A builder, which opens files.
    pub fn builder() -> LlamaCppBuilder {
        LlamaCppBuilder::default()
    }
}

/// Opens GGUF files.
#[derive(Debug, Clone)]
#[must_use = "call build() or build_async()"]
pub struct LlamaCppBuilder {
    models: BTreeMap<Task, Gguf>,
    command: Vec<String>,
    start_timeout: Duration,
    read_timeout: Duration,
    options: BridgeOptions,
    name: String,
}

impl Default for LlamaCppBuilder {
    fn default() -> Self {
        Self {
            models: BTreeMap::new(),
            command: vec![COMMAND.to_owned()],
            start_timeout: Duration::from_secs(60),
            read_timeout: Limits::default().read_timeout,
            options: BridgeOptions::default(),
            name: KIND.to_owned(),
        }
    }
}

impl LlamaCppBuilder {
    /// Sets the file that embeds texts.
    pub fn embedding(self, model: Gguf) -> Self {
        self.model(Task::Embedding, model)
    }

    /// Sets the file of the language model that finds named entities.
    pub fn ner(self, model: Gguf) -> Self {
        self.model(Task::Ner, model)
    }

    /// Sets the file of the language model that summarizes.
    pub fn summarization(self, model: Gguf) -> Self {
        self.model(Task::Summarization, model)
    }

    pub(super) fn model(mut self, task: Task, model: Gguf) -> Self {
        self.models.insert(task, model);
        self
    }

    /// Sets the program of the server and its first arguments. Default: `llama-server`.
    pub fn command(mut self, command: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.command = command.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the time in which a server must give its first answer.
    pub fn start_timeout(mut self, limit: Duration) -> Self {
        self.start_timeout = limit;
        self
    }

    /// Sets the time in which a request must bring the next bytes.
    pub fn read_timeout(mut self, limit: Duration) -> Self {
        self.read_timeout = limit;
        self
    }

    /// Sets the options of the bridge: `text_limit` and `timeout`. The others are about ONNX models.
    pub fn options(mut self, options: BridgeOptions) -> Self {
        self.options = options;
        self
    }

    /// Sets the name of the backend in answers, metrics and messages. Default: `llama-cpp`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Checks what was given and the hashes of the files, and reads the prompts. Nothing is started.
    ///
    /// # Errors
    /// `config` for an invalid option or without a file; `io` for a file that cannot be read; `file_hash` for one with another
    /// hash.
    pub fn build(self) -> Result<LlamaCppMlBridge, BridgeError> {
        self.options.check()?;
        self.models.values().try_for_each(Gguf::check)?;
        if self.command.is_empty() || self.command.iter().any(String::is_empty) {
            return Err(BridgeError::config(format!("command is {:?}, expected a program", self.command)));
        }
        if self.start_timeout.is_zero() || self.read_timeout.is_zero() {
            return Err(BridgeError::config("start_timeout and read_timeout must be more than 0"));
        }
        let mut opener = Opener { builder: &self, servers: Vec::new() };
        let services = self.models.iter().map(|(task, model)| opener.service(*task, model));
        Ok(LlamaCppMlBridge { services: Services::new(services.collect::<Result<_, BridgeError>>()?)? })
    }

    /// Like [`build`](Self::build), on one of tokio's blocking threads: opening reads and hashes files.
    ///
    /// # Errors
    /// The errors of [`build`](Self::build), and `config` without a tokio runtime.
    pub async fn build_async(self) -> Result<LlamaCppMlBridge, BridgeError> {
        on_blocking_thread(move || self.build()).await
    }
}

/// Opens files; equal files of language models share a server.
struct Opener<'a> {
    builder: &'a LlamaCppBuilder,
    servers: Vec<(Arc<Supervisor>, Arc<Gate>)>,
}

impl Opener<'_> {
    fn service(&mut self, task: Task, model: &Gguf) -> Result<Arc<Service>, BridgeError> {
        let path = std::path::absolute(&model.path).map_err(|error| BridgeError::io(&model.path, &error))?;
        let info = self.info(task, model, &path);
        let (supervisor, gate) = self.server(task, model, &path)?;
        let meter = Meter::of_backend(&self.builder.name, &info.name);
        supervisor.measure(task, meter.clone());
        let wire = Arc::new(Wire {
            backend: self.builder.name.clone(),
            model: info.variant.clone(),
            endpoint: Endpoint::Child(supervisor, task),
            key: None,
            gate,
            limits: self.limits(),
            meter,
            condition: Condition::default(),
        });
        let remote = Arc::new(Remote { wire, text_limit: self.builder.options.text_limit });
        let backend = if task == Task::Embedding {
            let settings = Embeddings::new(model.context_of(task), model.dimensions, false);
            AnyBackend::Embed(RemoteModel::new(remote, settings))
        } else {
            model.chat(task).settings(task)?.deterministic().backend(task, remote, Size::Tokens)
        };
        Ok(Service::new(info, self.builder.options.timeout, backend))
    }

    fn server(&mut self, task: Task, model: &Gguf, path: &Path) -> Result<(Arc<Supervisor>, Arc<Gate>), BridgeError> {
        let options = ServeOptions {
            path: path.to_path_buf(),
            sha256: model.sha256.clone(),
            context: model.context_of(task),
            threads: model.threads,
            memory_mb: model.memory_mb,
            is_embedding: task == Task::Embedding,
            command: self.builder.command.clone(),
            start_timeout: self.builder.start_timeout,
            limits: self.limits(),
        };
        if let Some(server) = self.servers.iter().find(|(supervisor, _)| supervisor.serves(&options)) {
            return Ok(server.clone());
        }
        // A server has one slot.
        let server = (Supervisor::new(options, &self.builder.name)?, Gate::new(1, None));
        self.servers.push(server.clone());
        Ok(server)
    }

    fn limits(&self) -> Limits {
        Limits { max_backoff: MAX_BACKOFF, read_timeout: self.builder.read_timeout, ..Limits::default() }
    }

    fn info(&self, task: Task, model: &Gguf, path: &Path) -> ModelInfo {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let name = match model.dimensions {
            Some(dimensions) => format!("{stem}@{dimensions}"),
            None => stem.into_owned(),
        };
        ModelInfo {
            name,
            task,
            engine: KIND.to_owned(),
            version: String::new(),
            variant: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            identity: model.sha256.clone().unwrap_or_default(),
            path: path.to_path_buf(),
            device: "cpu".to_owned(),
            providers: Providers::default(),
            backend: self.builder.name.clone(),
            location: Location::Machine,
            space: model.space.clone().filter(|_| task == Task::Embedding),
        }
    }
}
