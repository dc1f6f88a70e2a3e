//! [`OpenAiMlBridge`]: models of a server with OpenAI's protocol behind the calls of [`MlBridge`](crate::MlBridge).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::api_model::ApiModel;
use super::api_server::ApiServer;
use super::chat_settings::ChatFields;
use super::condition::Condition;
use super::remote::embeddings::Embeddings;
use super::remote::{Remote, RemoteModel, Size};
use super::services::{Services, bridge_of_services};
use super::wire::{Address, Client, Endpoint, Gate, Key, Wire};
use crate::BridgeError;
use crate::life::service::Service;
use crate::model::ModelInfo;
use crate::options::BridgeOptions;
use crate::runtime::blocking::on_blocking_thread;
use crate::runtime::meter::Meter;
use crate::runtime::providers::Providers;
use crate::tasks::Task;
use crate::tasks::backend::AnyBackend;

const KIND: &str = "openai";

/// Models of a server with OpenAI's protocol, one for each task. Clones share them; all calls take `&self` and may come from
/// many threads at once.
///
/// [`MlBridge`](crate::MlBridge) has its calls.
#[derive(Clone)]
pub struct OpenAiMlBridge {
    services: Services,
}

bridge_of_services!(OpenAiMlBridge);

impl OpenAiMlBridge {
    /// A builder, which opens models.
    pub fn builder() -> OpenAiBuilder {
        OpenAiBuilder::default()
    }
}

/// Opens models of a server.
#[derive(Debug, Clone)]
#[must_use = "call build() or build_async()"]
pub struct OpenAiBuilder {
    models: BTreeMap<Task, ApiModel>,
    server: ApiServer,
    options: BridgeOptions,
    name: String,
}

impl Default for OpenAiBuilder {
    fn default() -> Self {
        let (models, server, options) = Default::default();
        Self { models, server, options, name: KIND.to_owned() }
    }
}

impl OpenAiBuilder {
    /// Sets the model that embeds texts; it needs `dimensions`.
    pub fn embedding(self, model: ApiModel) -> Self {
        self.model(Task::Embedding, model)
    }

    /// Sets the language model that finds named entities.
    pub fn ner(self, model: ApiModel) -> Self {
        self.model(Task::Ner, model)
    }

    /// Sets the language model that summarizes.
    pub fn summarization(self, model: ApiModel) -> Self {
        self.model(Task::Summarization, model)
    }

    pub(super) fn model(mut self, task: Task, model: ApiModel) -> Self {
        self.models.insert(task, model);
        self
    }

    /// Sets the server. Default: OpenAI's own, without a key.
    pub fn server(mut self, server: ApiServer) -> Self {
        self.server = server;
        self
    }

    /// Sets the options of the bridge: `text_limit`, `timeout` and `local_only`. The others are about ONNX models.
    pub fn options(mut self, options: BridgeOptions) -> Self {
        self.options = options;
        self
    }

    /// Sets the name of the backend in answers, metrics and messages. Default: `openai`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Checks what was given, and reads the key and the prompts. Nothing is sent.
    ///
    /// # Errors
    /// `config` for an invalid option, without a model, or without a key in the environment variable; `not_local` if
    /// `local_only` is set and the server is not on this machine; `io` for a prompt that cannot be read.
    pub fn build(self) -> Result<OpenAiMlBridge, BridgeError> {
        self.options.check()?;
        self.server.check()?;
        let address = Address::parse(&self.server.base_url)?;
        self.models.iter().try_for_each(|(task, model)| model.check(*task))?;
        if self.options.is_local_only() {
            address.check_local()?;
        }
        let key = self.server.api_key_env.as_deref().map(Key::from_env).transpose()?;
        let gate = Gate::new(self.server.max_in_flight, self.server.requests_per_minute);
        let client = Arc::new(Client::new(address, &self.server.limits())?);
        let opener = Opener { builder: &self, key, gate, client };
        let services = self.models.iter().map(|(task, model)| opener.service(*task, model));
        Ok(OpenAiMlBridge { services: Services::new(services.collect::<Result<_, BridgeError>>()?)? })
    }

    /// Like [`build`](Self::build), on one of tokio's blocking threads.
    ///
    /// # Errors
    /// The errors of [`build`](Self::build), and `config` without a tokio runtime.
    pub async fn build_async(self) -> Result<OpenAiMlBridge, BridgeError> {
        on_blocking_thread(move || self.build()).await
    }
}

/// Opens the models of one server.
struct Opener<'a> {
    builder: &'a OpenAiBuilder,
    key: Option<Key>,
    gate: Arc<Gate>,
    client: Arc<Client>,
}

impl Opener<'_> {
    fn service(&self, task: Task, model: &ApiModel) -> Result<Arc<Service>, BridgeError> {
        let info = self.info(task, model);
        let remote = Arc::new(Remote { wire: self.wire(&info), text_limit: self.builder.options.text_limit });
        let backend = if task == Task::Embedding {
            let settings = Embeddings::new(model.context, model.dimensions, model.send_dimensions);
            AnyBackend::Embed(RemoteModel::new(remote, settings))
        } else {
            self.chat(model).settings(task)?.backend(task, remote, Size::Bytes)
        };
        Ok(Service::new(info, self.builder.options.timeout, backend))
    }

    fn chat<'b>(&self, model: &'b ApiModel) -> ChatFields<'b> {
        ChatFields {
            context: model.context,
            prompt: model.prompt.as_ref(),
            max_output_tokens: model.max_output_tokens,
            labels: &model.labels,
            temperature: model.temperature,
            limit_key: self.client.address.max_tokens_key(),
        }
    }

    fn wire(&self, info: &ModelInfo) -> Arc<Wire> {
        Arc::new(Wire {
            backend: self.builder.name.clone(),
            model: info.variant.clone(),
            endpoint: Endpoint::Server(Arc::clone(&self.client)),
            key: self.key.clone(),
            gate: Arc::clone(&self.gate),
            limits: self.builder.server.limits(),
            meter: Meter::of_backend(&self.builder.name, &info.name),
            condition: Condition::default(),
        })
    }

    fn info(&self, task: Task, model: &ApiModel) -> ModelInfo {
        let name = match model.dimensions.filter(|_| task == Task::Embedding) {
            Some(dimensions) => format!("{}@{dimensions}", model.model),
            None => model.model.clone(),
        };
        ModelInfo {
            name,
            task,
            engine: KIND.to_owned(),
            version: String::new(),
            variant: model.model.clone(),
            identity: String::new(),
            path: PathBuf::from(self.client.address.as_str()),
            device: self.client.address.location().to_string(),
            providers: Providers::default(),
            backend: self.builder.name.clone(),
            location: self.client.address.location(),
            space: model.space.clone().filter(|_| task == Task::Embedding),
        }
    }
}
