//! The members of a bridge, their chains, and the checks of both.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::chain::{COMPOSITE, Chain, Member};
use super::linked::Linked;
use super::pause::Pause;
use crate::BridgeError;
use crate::api::MlBridge;
use crate::handles::any::AnyHandle;
use crate::handles::handle::Handle;
use crate::handles::source::Source;
use crate::handles::{Embedder, FromSource, Recognizer, Summarizer};
use crate::life::service::Service;
use crate::model::ModelInfo;
use crate::runtime::providers::Providers;
use crate::tasks::backend::AnyBackend;
use crate::tasks::{Location, Task};

/// A model of any task under the name that answers give.
#[derive(Clone)]
pub(in crate::backends) struct NamedHandle {
    pub(in crate::backends) name: String,
    pub(in crate::backends) handle: AnyHandle,
    pause: Arc<Pause>,
}

impl NamedHandle {
    pub(in crate::backends) fn new(name: String, handle: AnyHandle) -> Self {
        Self { name, handle, pause: Arc::default() }
    }

    /// The default model of a bridge, under the name of its backend.
    ///
    /// # Errors
    /// `task_not_loaded` or `model_not_found`.
    pub(super) fn of(bridge: &dyn MlBridge, task: Task) -> Result<Self, BridgeError> {
        let handle = match task {
            Task::Embedding => AnyHandle::Embedder(bridge.embedder(None)?),
            Task::Ner => AnyHandle::Recognizer(bridge.recognizer(None)?),
            Task::Summarization => AnyHandle::Summarizer(bridge.summarizer(None)?),
            Task::Rerank => AnyHandle::Reranker(bridge.reranker(None)?),
        };
        Ok(Self::new(handle.info().backend, handle))
    }

    pub(in crate::backends) fn info(&self) -> ModelInfo {
        self.handle.info()
    }

    fn member<B: ?Sized>(&self, handle: &Handle<B>) -> Member<B> {
        Member { name: self.name.clone(), handle: handle.clone(), pause: Arc::clone(&self.pause) }
    }
}

/// Refuses a chain whose members cannot stand for each other.
///
/// # Errors
/// `config`.
pub(super) fn check_chain(task: Task, chain: &[NamedHandle]) -> Result<(), BridgeError> {
    let names: Vec<&str> = chain.iter().map(|member| member.name.as_str()).collect();
    if (1..names.len()).any(|index| names[..index].contains(&names[index])) {
        return Err(BridgeError::config(format!("the members for {task} are {names:?}, expected different names")));
    }
    if task == Task::Rerank && chain.len() > 1 {
        return Err(BridgeError::config(format!("rankings have no chains: pass one of the members {names:?}")));
    }
    let spaces: Vec<Option<String>> = chain.iter().map(|member| member.info().space).collect();
    let is_one = spaces.iter().all(|space| space.is_some() && *space == spaces[0]);
    if task == Task::Embedding && chain.len() > 1 && !is_one {
        return Err(BridgeError::config(format!(
            "the members {names:?} declare the spaces {spaces:?}, not the same one"
        )));
    }
    Ok(())
}

/// The chains of the tasks that have one.
pub(super) struct Chains {
    handles: BTreeMap<Task, AnyHandle>,
    /// What the handles of chains refer to.
    services: Vec<Arc<Service>>,
}

impl Chains {
    /// # Errors
    /// `internal` for a member of another task than that of its chain.
    pub(super) fn new(chains: BTreeMap<Task, Vec<NamedHandle>>) -> Result<Self, BridgeError> {
        let mut all = Self { handles: BTreeMap::new(), services: Vec::new() };
        for (task, members) in chains {
            let handle = match task {
                Task::Embedding => {
                    let chain = chain(&members, |handle| as_embedder(handle).map(Embedder::handle))?;
                    AnyHandle::Embedder(Embedder::from_source(all.add(task, &members, AnyBackend::Embed(chain)))?)
                }
                Task::Ner => {
                    let chain = chain(&members, |handle| as_recognizer(handle).map(Recognizer::handle))?;
                    let backend = AnyBackend::Recognize(chain);
                    AnyHandle::Recognizer(Recognizer::from_source(all.add(task, &members, backend))?)
                }
                Task::Summarization => {
                    let chain = chain(&members, |handle| as_summarizer(handle).map(Summarizer::handle))?;
                    let backend = AnyBackend::Summarize(chain);
                    AnyHandle::Summarizer(Summarizer::from_source(all.add(task, &members, backend))?)
                }
                // Rankings have no chains: the only member answers.
                Task::Rerank => match members.first() {
                    Some(member) => member.handle.clone(),
                    None => continue,
                },
            };
            all.handles.insert(task, handle);
        }
        Ok(all)
    }

    fn add(&mut self, task: Task, members: &[NamedHandle], backend: AnyBackend) -> Source {
        let service = Service::new(info(task, members), None, backend);
        self.services.push(Arc::clone(&service));
        Source::Service(service)
    }

    pub(super) fn get(&self, task: Task) -> Option<AnyHandle> {
        self.handles.get(&task).cloned()
    }

    /// Closes the chains after their running calls have ended; the members stay open.
    pub(super) fn close(&self) {
        self.services.iter().for_each(|service| service.close());
    }
}

fn chain<B: Linked + ?Sized + 'static>(
    members: &[NamedHandle],
    of: impl Fn(&AnyHandle) -> Option<&Handle<B>>,
) -> Result<Arc<Chain<B>>, BridgeError> {
    let member = |member: &NamedHandle| {
        let handle = of(&member.handle).ok_or_else(|| member.handle.unexpected())?;
        Ok(member.member(handle))
    };
    Ok(Arc::new(Chain::new(members.iter().map(member).collect::<Result<_, BridgeError>>()?)))
}

fn as_embedder(handle: &AnyHandle) -> Option<&Embedder> {
    if let AnyHandle::Embedder(handle) = handle { Some(handle) } else { None }
}

fn as_recognizer(handle: &AnyHandle) -> Option<&Recognizer> {
    if let AnyHandle::Recognizer(handle) = handle { Some(handle) } else { None }
}

fn as_summarizer(handle: &AnyHandle) -> Option<&Summarizer> {
    if let AnyHandle::Summarizer(handle) = handle { Some(handle) } else { None }
}

/// The description of a chain: the name of its first member, and the location of the farthest.
fn info(task: Task, members: &[NamedHandle]) -> ModelInfo {
    let infos: Vec<ModelInfo> = members.iter().map(NamedHandle::info).collect();
    let first = infos.first();
    ModelInfo {
        name: first.map_or_else(String::new, |info| info.name.clone()),
        task,
        engine: COMPOSITE.to_owned(),
        version: String::new(),
        variant: String::new(),
        identity: String::new(),
        path: PathBuf::new(),
        device: String::new(),
        providers: Providers::default(),
        backend: COMPOSITE.to_owned(),
        location: infos.iter().map(|info| info.location).max().unwrap_or(Location::Process),
        space: first.and_then(|info| info.space.clone()),
    }
}
