//! What the handles of a model refer to.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::budget::Budget;
use super::calls::{self, Current};
use super::generation::{self, Conditions, Generation};
use crate::BridgeError;
use crate::families::loading::{self, Opened};
use crate::location::Locator;
use crate::model::{Model, ModelInfo};
use crate::options::{BridgeOptions, ReloadOptions};
use crate::runtime::cancellation::{Stop, TimeLimit};
use crate::runtime::file_check::FileCheck;
use crate::runtime::options::ModelOptions;
use crate::runtime::session::EngineOptions;
use crate::status::ModelStatus;
use crate::tasks::Task;
use crate::tasks::backend::AnyBackend;

/// A model under a name. It has the generation that answers new calls, until it is closed.
pub(crate) struct Slot {
    pub(crate) name: String,
    pub(crate) task: Task,
    options: ModelOptions,
    locator: Locator,
    conditions: Conditions,
    /// The time limit of calls that pass none.
    pub(crate) timeout: Option<Duration>,
    /// The model that is open. A reload locks it, so that there is one at a time.
    model: Mutex<Model>,
    state: Mutex<State>,
    call_ended: Condvar,
}

struct State {
    /// The description of the current generation, or of the last one.
    info: Arc<ModelInfo>,
    /// `None` if the slot is closed.
    current: Option<Arc<Generation>>,
    calls: usize,
}

/// How a bridge opens models.
#[derive(Clone)]
pub(crate) struct Opening {
    options: ModelOptions,
    /// The time limit of calls that pass none, for models without their own.
    timeout: Option<Duration>,
    budget: Arc<Budget>,
    locator: Locator,
}

impl Opening {
    /// # Errors
    /// The errors of [`Locator::new`].
    pub(crate) fn new(bridge: &BridgeOptions, options: ModelOptions) -> Result<Self, BridgeError> {
        let locator = Locator::new(bridge)?;
        let options = ModelOptions { trust: locator.trust.clone(), ..options };
        let budget = Arc::new(Budget::new(bridge.memory_mb));
        Ok(Self { options, timeout: bridge.timeout, budget, locator })
    }
}

impl Slot {
    /// Opens a model. Its graphs are not loaded.
    ///
    /// # Errors
    /// The errors of [`Locator::locate`] and [`loading::open`].
    pub(crate) fn open(model: Model, opening: &Opening) -> Result<Arc<Self>, BridgeError> {
        model.check()?;
        let located = opening.locator.locate(&model)?;
        let opened = opened(&opening.options, |options| loading::open(&located, options))?;
        let Opening { options, timeout, budget, locator } = opening.clone();
        let (engine, idle_unload) = (options.engine.clone(), model.idle_unload);
        let conditions = Conditions { engine, idle_unload, budget };
        let info = Arc::clone(&opened.info);
        let current = Some(Generation::new(opened, conditions.clone()));
        Ok(Arc::new(Self {
            name: info.name.clone(),
            task: info.task,
            timeout: model.timeout.or(timeout),
            options,
            locator,
            conditions,
            model: Mutex::new(model),
            state: Mutex::new(State { info, current, calls: 0 }),
            call_ended: Condvar::new(),
        }))
    }

    /// Loads the graphs of a model with `preload`.
    ///
    /// # Errors
    /// The errors of [`enter`](Self::enter).
    pub(crate) fn preload(self: &Arc<Self>) -> Result<(), BridgeError> {
        let preload = self.model.lock().unwrap_or_else(PoisonError::into_inner).preload;
        if preload { self.enter(&Stop::default()).map(|_| ()) } else { Ok(()) }
    }

    /// The description of the current generation; of the last one if the slot is closed.
    pub(crate) fn info(&self) -> Arc<ModelInfo> {
        Arc::clone(&self.lock().info)
    }

    /// The current generation.
    ///
    /// # Errors
    /// `closed`.
    pub(crate) fn current(&self) -> Result<Arc<Generation>, BridgeError> {
        self.lock().current.clone().ok_or_else(|| self.closed())
    }

    /// Starts a call: loads the current generation, unless it is loaded. A call that is stopped starts without the graphs; it
    /// starts no run anyway.
    ///
    /// # Errors
    /// `closed`, or the errors of loading.
    pub(crate) fn enter(self: &Arc<Self>, stop: &Stop) -> Result<Call, BridgeError> {
        let (generation, counted) = self.count()?;
        let running = generation.enter(stop);
        Call::new(running, generation, counted)
    }

    /// The asynchronous twin of [`enter`](Self::enter), which occupies none of tokio's blocking threads.
    ///
    /// # Errors
    /// The errors of [`enter`](Self::enter); `inference` if the system refuses the thread that loads the graphs.
    pub(crate) async fn enter_async(self: &Arc<Self>, stop: &Arc<Stop>) -> Result<Call, BridgeError> {
        let (generation, counted) = self.count()?;
        let running = generation.enter_async(stop).await;
        Call::new(running, generation, counted)
    }

    /// Counts a call of the current generation.
    fn count(self: &Arc<Self>) -> Result<(Arc<Generation>, Counted), BridgeError> {
        let mut state = self.lock();
        let generation = state.current.clone().ok_or_else(|| self.closed())?;
        state.calls += 1;
        Ok((generation, Counted(Arc::clone(self))))
    }

    /// What the model does at the moment. Does not wait.
    pub(crate) fn status(&self) -> ModelStatus {
        match self.current() {
            Ok(current) => current.status(&self.name),
            Err(_) => ModelStatus::closed(&self.name),
        }
    }

    /// Frees the graphs of the current generation as soon as no call uses them.
    pub(crate) fn unload(&self) {
        if let Ok(current) = self.current() {
            current.unload_after_calls();
        }
    }

    /// The memory of the loaded graphs in bytes; 0 if they are not loaded.
    pub(crate) fn resident_bytes(&self) -> u64 {
        self.current().map_or(0, |current| current.resident_bytes())
    }

    /// Replaces the current generation by another version of the model, after it was verified and its golden cases were
    /// replayed. The calls that run end with the old generation, which is then freed. If that one is loaded, so is the new
    /// one before it answers calls. After an error, the old generation answers calls as before.
    ///
    /// # Errors
    /// `config` for a time limit of 0, `closed`, the errors of [`Locator::locate`] and [`loading::open_replayed`], or of loading the graphs.
    pub(crate) fn reload(self: &Arc<Self>, options: &ReloadOptions) -> Result<ModelInfo, BridgeError> {
        let limit = TimeLimit::of(options.timeout)?;
        let mut model = self.model.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.current()?;
        let new = Model {
            path: options.path.clone().unwrap_or_else(|| model.path.clone()),
            name: Some(self.name.clone()),
            identity: options.expect_identity.clone().or_else(|| model.identity.clone()),
            ..model.clone()
        };
        let located = self.locator.locate(&new)?;
        let opened = opened(&self.options, |options| loading::open_replayed(&located, self.task, options, limit))?;
        let generation = Generation::new(opened, self.conditions.clone());
        // Keeps the graphs loaded until the new generation answers calls.
        let _call = old.is_loaded().then(|| generation.enter(&Stop::default())).transpose()?;
        let info = Arc::clone(&generation.opened.info);
        self.replace(generation)?;
        old.close();
        *model = new;
        Ok((*info).clone())
    }

    fn replace(&self, generation: Arc<Generation>) -> Result<(), BridgeError> {
        let mut state = self.lock();
        if state.current.is_none() {
            return Err(self.closed());
        }
        state.info = Arc::clone(&generation.opened.info);
        state.current = Some(generation);
        Ok(())
    }

    /// Refuses new calls, waits until the running calls have ended, and frees the model. Calls of the current thread, whose
    /// callback closes the model, are not waited for: they end with the model, which is then freed.
    pub(crate) fn close(&self) {
        let own = calls::count(self);
        let mut state = self.lock();
        let current = state.current.take();
        if calls::keep_graphs() {
            // The calls of this model must not wait for the outer call.
            current.iter().for_each(|current| current.hurry());
        }
        while state.calls > own {
            state = self.call_ended.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        drop(state);
        current.iter().for_each(|current| current.close());
    }

    fn closed(&self) -> BridgeError {
        BridgeError::Closed { name: self.name.clone() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        // The thread that unloads idle models may refer to the generation for a while.
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        state.current.iter().for_each(|current| current.close());
    }
}

/// Opens a model whose sessions check its files whenever they read them.
fn opened(
    options: &ModelOptions,
    open: impl FnOnce(&ModelOptions) -> Result<Opened, BridgeError>,
) -> Result<Opened, BridgeError> {
    let files = FileCheck::default();
    let engine = EngineOptions { files: files.clone(), ..options.engine.clone() };
    let opened = open(&ModelOptions { engine, ..options.clone() })?;
    files.set(&opened.files);
    Ok(opened)
}

/// A running call, which keeps its generation and the graphs of it.
pub(crate) struct Call {
    pub(super) running: Option<generation::Call>,
    generation: Arc<Generation>,
    /// Dropped last, so that the generation is freed before the slot is closed.
    counted: Counted,
}

impl Call {
    /// A call that starts with the graphs, or without them if it was stopped.
    fn new(
        running: Result<generation::Call, BridgeError>,
        generation: Arc<Generation>,
        counted: Counted,
    ) -> Result<Self, BridgeError> {
        let running = match running {
            Ok(running) => Some(running),
            Err(reason) if reason.is_stop() => None,
            Err(error) => {
                generation.opened.meter.error(error.code());
                return Err(error);
            }
        };
        Ok(Self { running, generation, counted })
    }

    /// The call as one of the thread that polls it.
    pub(crate) fn current(&self) -> Current {
        Current::new(&*self.counted.0, self.running.is_some())
    }

    pub(crate) fn backend(&self) -> &AnyBackend {
        &self.generation.opened.backend
    }
}

/// Counts a call of a slot until it is dropped.
struct Counted(Arc<Slot>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.lock().calls -= 1;
        self.0.call_ended.notify_all();
    }
}
