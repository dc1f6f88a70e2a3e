//! [`CompositeMlBridge`]: a chain of models for each task, of any backends.

mod chain;
mod linked;
mod members;
mod pause;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

pub(super) use self::members::NamedHandle;

use self::members::{Chains, check_chain};
use crate::BridgeError;
use crate::api::MlBridge;
use crate::handles::any::AnyHandle;
use crate::handles::{Embedder, Recognizer, Reranker, Summarizer};
use crate::health::Health;
use crate::life::own_thread::on_own_thread;
use crate::model::ModelInfo;
use crate::options::BridgeOptions;
use crate::status::ModelStatus;
use crate::tasks::{Location, Task};

/// A chain of models for each task, of any backends. Clones share them; all calls take `&self` and may come from many threads
/// at once.
///
/// A text that a member cannot answer, because its server fails, refuses requests for a time or is paused, goes to the next
/// one. Errors of texts, options, keys and the call itself never do. A member that fails three calls in a row is skipped for
/// 30 seconds. Answers name the member that gave them, and the fallbacks before it.
///
/// [`MlBridge`] has its calls. A name selects a member, without fallbacks.
#[derive(Clone)]
pub struct CompositeMlBridge {
    /// `None` if the bridge is closed.
    open: Arc<Mutex<Option<Arc<Open>>>>,
}

/// What an open bridge has.
struct Open {
    members: Vec<NamedHandle>,
    chains: Chains,
    /// The bridges that are closed with this one.
    owned: Vec<Arc<dyn MlBridge>>,
}

/// Opens chains of the default models of bridges.
#[derive(Clone, Default)]
#[must_use = "call build()"]
pub struct CompositeBuilder {
    bridges: BTreeMap<Task, Vec<Arc<dyn MlBridge>>>,
    local_only: bool,
}

impl CompositeBuilder {
    /// Sets the bridges whose models embed texts, in the order in which they are asked. Several must declare the same `space`.
    pub fn embedding(self, bridges: impl IntoIterator<Item = Arc<dyn MlBridge>>) -> Self {
        self.chain(Task::Embedding, bridges)
    }

    /// Sets the bridges whose models find named entities, in the order in which they are asked.
    pub fn ner(self, bridges: impl IntoIterator<Item = Arc<dyn MlBridge>>) -> Self {
        self.chain(Task::Ner, bridges)
    }

    /// Sets the bridges whose models summarize, in the order in which they are asked.
    pub fn summarization(self, bridges: impl IntoIterator<Item = Arc<dyn MlBridge>>) -> Self {
        self.chain(Task::Summarization, bridges)
    }

    /// Sets the bridge whose model ranks documents; rankings have no chains.
    pub fn rerank(self, bridge: Arc<dyn MlBridge>) -> Self {
        self.chain(Task::Rerank, [bridge])
    }

    fn chain(mut self, task: Task, bridges: impl IntoIterator<Item = Arc<dyn MlBridge>>) -> Self {
        self.bridges.insert(task, bridges.into_iter().collect());
        self
    }

    /// Sets whether members that are not on this machine are refused.
    pub fn local_only(mut self, enabled: bool) -> Self {
        self.local_only = enabled;
        self
    }

    /// Chains the default models of the bridges, which the new bridge closes when it is closed.
    ///
    /// # Errors
    /// `config` without a member, for two members of a chain with the same backend name, or for different spaces;
    /// `task_not_loaded` or `model_not_found` for a bridge without a default model of the task; `not_local`.
    pub fn build(self) -> Result<CompositeMlBridge, BridgeError> {
        let (mut chains, mut members, mut owned) = (BTreeMap::new(), Vec::new(), Vec::<Arc<dyn MlBridge>>::new());
        for (task, bridges) in self.bridges.into_iter().filter(|(_, bridges)| !bridges.is_empty()) {
            let chain: Vec<NamedHandle> =
                bridges.iter().map(|bridge| NamedHandle::of(&**bridge, task)).collect::<Result<_, BridgeError>>()?;
            members.extend(chain.iter().cloned());
            chains.insert(task, chain);
            for bridge in bridges {
                if !owned.iter().any(|other| Arc::ptr_eq(other, &bridge)) {
                    owned.push(bridge);
                }
            }
        }
        CompositeMlBridge::of_members(chains, members, owned, self.local_only)
    }
}

impl fmt::Debug for CompositeBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts: BTreeMap<&Task, usize> = self.bridges.iter().map(|(task, bridges)| (task, bridges.len())).collect();
        f.debug_struct("CompositeBuilder").field("bridges", &counts).field("local_only", &self.local_only).finish()
    }
}

impl CompositeMlBridge {
    /// A builder, which chains the default models of bridges.
    pub fn builder() -> CompositeBuilder {
        CompositeBuilder::default()
    }

    /// Chains models that are open. `members` are all of them, also those of no chain; `owned` are the bridges that the new
    /// one closes.
    ///
    /// # Errors
    /// `config` or `not_local`, as [`CompositeBuilder::build`].
    pub(super) fn of_members(
        chains: BTreeMap<Task, Vec<NamedHandle>>,
        members: Vec<NamedHandle>,
        owned: Vec<Arc<dyn MlBridge>>,
        local_only: bool,
    ) -> Result<Self, BridgeError> {
        if members.is_empty() {
            return Err(BridgeError::config("there are no members: pass the bridges of at least one task"));
        }
        chains.iter().try_for_each(|(task, chain)| check_chain(*task, chain))?;
        if BridgeOptions::default().local_only(local_only).is_local_only() {
            check_local(&members)?;
        }
        let open = Open { chains: Chains::new(chains)?, members, owned };
        Ok(Self { open: Arc::new(Mutex::new(Some(Arc::new(open)))) })
    }

    /// # Errors
    /// `task_not_loaded` without any model of the task, or of a closed bridge; `model_not_found`.
    fn handle(&self, call: &'static str, task: Task, name: Option<&str>) -> Result<AnyHandle, BridgeError> {
        let open = self.lock().clone();
        let members = open.iter().flat_map(|open| &open.members).filter(|member| member.info().task == task);
        let members: Vec<&NamedHandle> = members.collect();
        if members.is_empty() {
            return Err(BridgeError::TaskNotLoaded { call, task: task.name() });
        }
        let found = match name {
            None => open.as_ref().and_then(|open| open.chains.get(task)),
            Some(name) => {
                let of_file = members.iter().find(|member| member.name == name);
                let member = of_file.or_else(|| members.iter().find(|member| member.info().name == name));
                member.map(|member| member.handle.clone())
            }
        };
        let known = members.iter().map(|member| member.name.clone()).collect();
        found.ok_or(BridgeError::ModelNotFound { requested: name.map(str::to_owned), known })
    }

    /// The handles of all members, each once.
    fn handles(&self) -> Vec<AnyHandle> {
        let open = self.lock().clone();
        let mut seen: Vec<ModelInfo> = Vec::new();
        let mut handles = Vec::new();
        for member in open.iter().flat_map(|open| &open.members) {
            let info = member.info();
            if !seen.contains(&info) {
                seen.push(info);
                handles.push(member.handle.clone());
            }
        }
        handles
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<Open>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn check_local(members: &[NamedHandle]) -> Result<(), BridgeError> {
    match members.iter().find(|member| member.info().location == Location::Network) {
        Some(member) => Err(BridgeError::NotLocal { what: format!("the model {}", member.name) }),
        None => Ok(()),
    }
}

#[async_trait]
impl MlBridge for CompositeMlBridge {
    /// The members, each once.
    fn models(&self) -> Vec<ModelInfo> {
        self.handles().iter().map(AnyHandle::info).collect()
    }

    fn embedder(&self, model: Option<&str>) -> Result<Embedder, BridgeError> {
        let found = self.handle("embedder", Task::Embedding, model)?;
        let AnyHandle::Embedder(handle) = &found else { return Err(found.unexpected()) };
        Ok(handle.clone())
    }

    fn recognizer(&self, model: Option<&str>) -> Result<Recognizer, BridgeError> {
        let found = self.handle("recognizer", Task::Ner, model)?;
        let AnyHandle::Recognizer(handle) = &found else { return Err(found.unexpected()) };
        Ok(handle.clone())
    }

    fn summarizer(&self, model: Option<&str>) -> Result<Summarizer, BridgeError> {
        let found = self.handle("summarizer", Task::Summarization, model)?;
        let AnyHandle::Summarizer(handle) = &found else { return Err(found.unexpected()) };
        Ok(handle.clone())
    }

    fn reranker(&self, model: Option<&str>) -> Result<Reranker, BridgeError> {
        let found = self.handle("reranker", Task::Rerank, model)?;
        let AnyHandle::Reranker(handle) = &found else { return Err(found.unexpected()) };
        Ok(handle.clone())
    }

    /// The health of every member.
    async fn health(&self) -> Vec<Health> {
        let mut all = Vec::new();
        for handle in self.handles() {
            all.push(handle.health().await);
        }
        all
    }

    /// Where the farthest member of the chain of a task runs.
    fn location(&self, task: Task) -> Option<Location> {
        let open = self.lock().clone();
        open?.chains.get(task).map(|handle| handle.info().location)
    }

    async fn warm_up(&self) -> Result<(), BridgeError> {
        for handle in self.handles() {
            handle.warm_up().await?;
        }
        Ok(())
    }

    fn warm_up_blocking(&self) -> Result<(), BridgeError> {
        self.handles().iter().try_for_each(AnyHandle::warm_up_blocking)
    }

    fn unload(&self) {
        self.handles().iter().for_each(AnyHandle::unload);
    }

    fn status(&self) -> Vec<ModelStatus> {
        self.handles().iter().map(AnyHandle::status).collect()
    }

    async fn self_test(&self) -> Result<(), BridgeError> {
        for handle in self.handles() {
            handle.self_test().await?;
        }
        Ok(())
    }

    fn self_test_blocking(&self) -> Result<(), BridgeError> {
        self.handles().iter().try_for_each(AnyHandle::self_test_blocking)
    }

    async fn close(&self) -> Result<(), BridgeError> {
        let bridge = self.clone();
        on_own_thread("onnx-close", move || bridge.close_blocking()).await
    }

    /// Closes all members after their running calls have ended.
    fn close_blocking(&self) -> Result<(), BridgeError> {
        let Some(open) = self.lock().take() else { return Ok(()) };
        open.chains.close();
        open.owned.iter().try_for_each(|bridge| bridge.close_blocking())
    }
}

impl fmt::Debug for CompositeMlBridge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let open = self.lock().clone();
        let names = open.iter().flat_map(|open| &open.members).map(|member| &member.name);
        f.debug_tuple("CompositeMlBridge").field(&names.collect::<Vec<_>>()).finish()
    }
}
