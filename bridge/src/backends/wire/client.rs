//! [`Client`]: connections to one server.

use std::sync::Arc;

use reqwest::redirect::Policy;

use super::{Address, Key, Limits};
use crate::BridgeError;
#[cfg(feature = "llama-cpp")]
use crate::backends::llama_cpp::supervisor::{Running, Supervisor};
use crate::status::ModelState;
#[cfg(feature = "llama-cpp")]
use crate::tasks::Task;

/// Where requests go.
pub(crate) enum Endpoint {
    /// A server that is there.
    Server(Arc<Client>),
    /// A child process, which the first request of a task starts.
    #[cfg(feature = "llama-cpp")]
    Child(Arc<Supervisor>, Task),
}

impl Endpoint {
    /// The connections for one attempt.
    ///
    /// # Errors
    /// The errors of starting a child.
    pub(super) async fn client(&self) -> Result<Arc<Client>, BridgeError> {
        match self {
            Self::Server(client) => Ok(Arc::clone(client)),
            #[cfg(feature = "llama-cpp")]
            Self::Child(supervisor, task) => supervisor.client(*task).await,
        }
    }
}

impl Endpoint {
    /// The state of a model without an error.
    pub(super) fn idle_state(&self) -> ModelState {
        match self {
            Self::Server(_) => ModelState::Ready,
            #[cfg(feature = "llama-cpp")]
            Self::Child(supervisor, _) => supervisor.state(),
        }
    }

    /// The URL that says at no cost whether the server works; `None` for a child that does not run.
    pub(super) fn probed(&self) -> Option<(Arc<Client>, String)> {
        match self {
            Self::Server(client) => Some((Arc::clone(client), client.address.url("/models"))),
            #[cfg(feature = "llama-cpp")]
            Self::Child(supervisor, _) => supervisor.current().map(|client| {
                let url = client.address.url("//health");
                (client, url)
            }),
        }
    }
}

/// Connections to one server, and its address.
pub(crate) struct Client {
    http: reqwest::Client,
    pub(crate) address: Address,
    /// The child process that is kept running while a request needs it.
    #[cfg(feature = "llama-cpp")]
    pub(crate) child: Option<Arc<Running>>,
}

impl Client {
    /// Connections to a server. Those to loopback addresses use no proxy and are not kept: llama.cpp's server closes kept
    /// connections in a way that loses requests. Others follow the environment.
    ///
    /// # Errors
    /// `dependency`, if there are no certificates to check those of servers.
    pub(crate) fn new(address: Address, limits: &Limits) -> Result<Self, BridgeError> {
        let mut builder = builder(limits);
        if address.is_loopback() {
            builder = builder.no_proxy().pool_max_idle_per_host(0);
            if address.as_str().starts_with("http:") {
                builder = builder.tls_certs_only([]);
            }
        }
        let client = Self {
            http: built(builder)?,
            address,
            #[cfg(feature = "llama-cpp")]
            child: None,
        };
        Ok(client)
    }

    /// Connections to the Unix socket of a child process.
    ///
    /// # Errors
    /// `dependency`; see [`new`](Self::new).
    #[cfg(feature = "llama-cpp")]
    pub(crate) fn of_child(child: Arc<Running>, limits: &Limits) -> Result<Self, BridgeError> {
        let builder = builder(limits).unix_socket(child.socket()).pool_max_idle_per_host(0).tls_certs_only([]);
        Ok(Self { http: built(builder)?, address: Address::of_socket(), child: Some(child) })
    }

    pub(crate) fn post(&self, path: &str, key: Option<&Key>, body: Vec<u8>) -> reqwest::RequestBuilder {
        let request = self.http.post(self.address.url(path)).header("content-type", "application/json").body(body);
        authorized(request, key)
    }

    pub(crate) fn get(&self, url: &str, key: Option<&Key>) -> reqwest::RequestBuilder {
        authorized(self.http.get(url), key)
    }
}

fn builder(limits: &Limits) -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .redirect(Policy::none())
        .retry(reqwest::retry::never())
        .connect_timeout(limits.connect_timeout)
        .read_timeout(limits.read_timeout)
        .user_agent(concat!("onnx-ml-bridge/", env!("CARGO_PKG_VERSION")))
}

fn built(builder: reqwest::ClientBuilder) -> Result<reqwest::Client, BridgeError> {
    builder.build().map_err(|error| {
        let problem = format!("connections over HTTPS cannot be set up: {}", error.without_url());
        BridgeError::Program { program: "the library for HTTP".to_owned(), problem }
    })
}

/// Adds the key, marked so that no log shows it.
fn authorized(request: reqwest::RequestBuilder, key: Option<&Key>) -> reqwest::RequestBuilder {
    match key {
        Some(key) => request.bearer_auth(key.secret()),
        None => request,
    }
}
