//! Opens the models, the backends and the chains of a `bridge.toml`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::api_model::ApiModel;
use super::api_server::ApiServer;
use super::composite::{CompositeMlBridge, NamedHandle};
use super::openai::{OpenAiBuilder, OpenAiMlBridge};
use crate::BridgeError;
use crate::api::MlBridge;
use crate::bridge::config::BridgeFile;
use crate::handles::any::AnyHandle;
use crate::options::BridgeOptions;
use crate::tasks::Task;

const TASKS: [Task; 4] = [Task::Embedding, Task::Ner, Task::Summarization, Task::Rerank];

/// Opens everything that a file lists, each under its name, and chains it.
///
/// # Errors
/// `config` if a model in a chain is for another task; the errors of the first model or backend that cannot be opened.
pub(crate) fn open(file: &BridgeFile) -> Result<CompositeMlBridge, BridgeError> {
    let (mut owned, mut members) = (Vec::<Arc<dyn MlBridge>>::new(), Vec::new());
    if !file.models.is_empty() {
        let onnx: Arc<dyn MlBridge> = Arc::new(file.builder().build()?);
        members.extend(handles(&*onnx)?.into_iter().map(|handle| NamedHandle::new(handle.info().name, handle)));
        owned.push(onnx);
    }
    for (name, table) in &file.backends {
        let backend = open_backend(name, table, file)?;
        members.extend(handles(&*backend)?.into_iter().map(|handle| NamedHandle::new(name.clone(), handle)));
        owned.push(backend);
    }
    CompositeMlBridge::of_members(chains(file, &members)?, members, owned, file.options.local_only)
}

/// The members of every task that has a chain, a default model, or only one model.
fn chains(file: &BridgeFile, members: &[NamedHandle]) -> Result<BTreeMap<Task, Vec<NamedHandle>>, BridgeError> {
    let mut chains = BTreeMap::new();
    for task in TASKS {
        let own: Vec<&NamedHandle> = members.iter().filter(|member| member.info().task == task).collect();
        let listed = file.tasks.get(&task).cloned().or_else(|| file.defaults.get(&task).map(|name| vec![name.clone()]));
        let chain = match listed {
            Some(names) => names.iter().map(|name| named(task, name, &own)).collect::<Result<_, BridgeError>>()?,
            None if own.len() == 1 => own.into_iter().cloned().collect(),
            None => continue,
        };
        chains.insert(task, chain);
    }
    Ok(chains)
}

fn named(task: Task, name: &str, members: &[&NamedHandle]) -> Result<NamedHandle, BridgeError> {
    let found = members.iter().find(|member| member.name == name).map(|member| (*member).clone());
    found.ok_or_else(|| BridgeError::config(format!("tasks.{task}: {name:?} is not a model for {task}")))
}

/// The handles of all models of a bridge.
fn handles(bridge: &dyn MlBridge) -> Result<Vec<AnyHandle>, BridgeError> {
    let handle = |name: &str, task| match task {
        Task::Embedding => bridge.embedder(Some(name)).map(AnyHandle::Embedder),
        Task::Ner => bridge.recognizer(Some(name)).map(AnyHandle::Recognizer),
        Task::Summarization => bridge.summarizer(Some(name)).map(AnyHandle::Summarizer),
        Task::Rerank => bridge.reranker(Some(name)).map(AnyHandle::Reranker),
    };
    bridge.models().iter().map(|info| handle(&info.name, info.task)).collect()
}

fn open_backend(name: &str, table: &Value, file: &BridgeFile) -> Result<Arc<dyn MlBridge>, BridgeError> {
    let Common { kind, timeout_ms } = parsed(table.clone())?;
    let timeout = timeout_ms.map(Duration::from_millis).or(file.options.timeout);
    let options = BridgeOptions { timeout, ..file.options.clone() };
    match kind {
        Kind::Openai => Ok(Arc::new(openai(table, &file.folder)?.name(name).options(options).build()?)),
        #[cfg(feature = "llama-cpp")]
        Kind::LlamaCpp => Ok(Arc::new(llama_cpp(table, &file.folder)?.name(name).options(options).build()?)),
        #[cfg(not(feature = "llama-cpp"))]
        Kind::LlamaCpp => Err(BridgeError::Feature { what: format!("the backend {name}"), feature: "llama-cpp" }),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    Openai,
    LlamaCpp,
}

/// The keys of all kinds of backends.
#[derive(Deserialize)]
struct Common {
    kind: Kind,
    timeout_ms: Option<u64>,
}

/// The keys of a server.
#[derive(Deserialize)]
struct ServerTable {
    base_url: Option<String>,
    api_key_env: Option<String>,
    max_attempts: Option<u32>,
    max_in_flight: Option<usize>,
    requests_per_minute: Option<u32>,
    connect_timeout_ms: Option<u64>,
    read_timeout_ms: Option<u64>,
    max_backoff_ms: Option<u64>,
}

impl ServerTable {
    fn server(self) -> ApiServer {
        let defaults = ApiServer::default();
        let time = |value: Option<u64>, default| value.map_or(default, Duration::from_millis);
        ApiServer {
            base_url: self.base_url.unwrap_or(defaults.base_url),
            api_key_env: self.api_key_env,
            max_attempts: self.max_attempts.unwrap_or(defaults.max_attempts),
            max_in_flight: self.max_in_flight.unwrap_or(defaults.max_in_flight),
            requests_per_minute: self.requests_per_minute,
            connect_timeout: time(self.connect_timeout_ms, defaults.connect_timeout),
            read_timeout: time(self.read_timeout_ms, defaults.read_timeout),
            max_backoff: time(self.max_backoff_ms, defaults.max_backoff),
        }
    }
}

fn openai(table: &Value, folder: &Path) -> Result<OpenAiBuilder, BridgeError> {
    let server: ServerTable = parsed(table.clone())?;
    let mut builder = OpenAiMlBridge::builder().server(server.server());
    for task in TASKS {
        if let Some(model) = table.get(task.name()) {
            let model: ApiModel = parsed(with_number(model, "temperature"))?;
            let prompt = model.prompt.as_ref().map(|path| folder.join(path));
            builder = builder.model(task, ApiModel { prompt, ..model });
        }
    }
    Ok(builder)
}

#[cfg(feature = "llama-cpp")]
fn llama_cpp(table: &Value, folder: &Path) -> Result<super::llama_cpp::LlamaCppBuilder, BridgeError> {
    use super::llama_cpp::{Gguf, LlamaCppMlBridge};
    #[derive(Deserialize)]
    struct ChildTable {
        command: Option<Vec<String>>,
        start_timeout_ms: Option<u64>,
        read_timeout_ms: Option<u64>,
    }
    let child: ChildTable = parsed(table.clone())?;
    let mut builder = LlamaCppMlBridge::builder();
    if let Some(command) = child.command {
        builder = builder.command(command);
    }
    if let Some(limit) = child.start_timeout_ms {
        builder = builder.start_timeout(Duration::from_millis(limit));
    }
    if let Some(limit) = child.read_timeout_ms {
        builder = builder.read_timeout(Duration::from_millis(limit));
    }
    for task in TASKS {
        if let Some(model) = table.get(task.name()) {
            let model: Gguf = parsed(model.clone())?;
            let (path, prompt) = (folder.join(&model.path), model.prompt.as_ref().map(|path| folder.join(path)));
            builder = builder.model(task, Gguf { path, prompt, ..model });
        }
    }
    Ok(builder)
}

/// A table whose value of a key is a number instead of a string: TOML's floats are refused.
fn with_number(table: &Value, key: &str) -> Value {
    let mut table = table.clone();
    let number = table.get(key).and_then(Value::as_str).and_then(|text| text.parse::<f64>().ok());
    if let Some(number) = number {
        table[key] = number.into();
    }
    table
}

/// # Errors
/// `config` for a table that satisfies the schema, but not the type.
fn parsed<T: DeserializeOwned>(table: Value) -> Result<T, BridgeError> {
    T::deserialize(table).map_err(|error| BridgeError::config(error.to_string()))
}
