//! The thread that unloads models which had no call for a while, and models without calls when memory is scarce. The process
//! has one such thread, and only while a model is loaded. It also notes from time to time that the files of loaded models are
//! in use.

use std::process;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use super::generation::Generation;
use crate::runtime::memory;
use crate::runtime::meter::UnloadReason;

/// How often the thread looks at the memory of the system.
const INTERVAL: Duration = Duration::from_secs(5);
/// How often the thread notes that the files of the models are in use. A cache keeps them for a day.
const NOTE_INTERVAL: Duration = Duration::from_secs(3600);

static STATE: Mutex<State> = Mutex::new(State { models: Vec::new(), process: None, wakes: None });
static CHANGED: Condvar = Condvar::new();

struct State {
    models: Vec<Weak<Generation>>,
    /// The process whose thread runs. A fork has no copy of it.
    process: Option<u32>,
    /// When the thread looks next; `None` while it looks.
    wakes: Option<Instant>,
}

impl State {
    /// When the first of all models has been idle for its time, at the latest a given time.
    fn next_idle(&self, limit: Instant) -> Instant {
        let models = self.models.iter().filter_map(Weak::upgrade);
        models.filter_map(|model| model.idle_at()).fold(limit, Instant::min)
    }
}

/// Watches a model that was loaded.
pub(super) fn watch(model: &Arc<Generation>) {
    let mut state = lock();
    if !state.models.iter().any(|other| std::ptr::eq(other.as_ptr(), Arc::as_ptr(model))) {
        state.models.push(Arc::downgrade(model));
    }
    let process = process::id();
    if state.process == Some(process) {
        return;
    }
    match thread::Builder::new().name("onnx-ml-bridge".to_owned()).spawn(run) {
        Ok(_) => state.process = Some(process),
        Err(error) => tracing::warn!(%error, "no model is unloaded by itself: the system refused a thread"),
    }
}

/// Tells the thread that a model may have become idle.
pub(super) fn call_ended(model: &Generation) {
    let Some(idle_at) = model.idle_at() else { return };
    if lock().wakes.is_some_and(|wakes| idle_at < wakes) {
        CHANGED.notify_all();
    }
}

fn run() {
    let mut looked = Instant::now();
    let mut noted = looked;
    while let Some(models) = loaded() {
        let now = Instant::now();
        models.iter().for_each(|model| model.unload_idle(now));
        if now.duration_since(looked) >= INTERVAL {
            looked = now;
            relieve(&models, memory::is_scarce);
        }
        if now.duration_since(noted) >= NOTE_INTERVAL {
            noted = now;
            // A model that was loaded days ago may have to be loaded again.
            models.iter().for_each(|model| model.note_use());
        }
        drop(models);
        sleep(looked + INTERVAL);
    }
}

/// Sleeps until the first model has been idle for its time, at the longest until a given time.
fn sleep(limit: Instant) {
    // With the lock, no call can end between the look at its model and the sleep without being noticed.
    let mut state = lock();
    let next = state.next_idle(limit);
    state.wakes = Some(next);
    let wait = next.saturating_duration_since(Instant::now());
    state = CHANGED.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0;
    state.wakes = None;
}

/// The loaded models. Without any, the thread ends.
fn loaded() -> Option<Vec<Arc<Generation>>> {
    let mut state = lock();
    let mut models: Vec<Arc<Generation>> = state.models.iter().filter_map(Weak::upgrade).collect();
    models.retain(|model| model.is_loaded());
    state.models = models.iter().map(Arc::downgrade).collect();
    if models.is_empty() {
        state.process = None;
        return None;
    }
    Some(models)
}

/// Unloads models without calls while memory is scarce, the one whose last call ended first before the others.
fn relieve(models: &[Arc<Generation>], is_scarce: impl Fn() -> bool) {
    let mut models: Vec<&Arc<Generation>> = models.iter().collect();
    models.sort_by_key(|model| model.last_use().0);
    for model in models {
        if !is_scarce() {
            return;
        }
        model.unload(UnloadReason::Pressure);
    }
}

fn lock() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[cfg(feature = "sentence-embedding")]
mod tests {
    use std::cell::Cell;
    use std::path::Path;

    use super::*;
    use crate::life::slot::{Opening, Slot};
    use crate::runtime::cancellation::Stop;
    use crate::{BridgeOptions, Model};

    /// A loaded model, which no call uses.
    fn loaded_model() -> Arc<Slot> {
        loaded_with(|model| model)
    }

    fn loaded_with(set: impl FnOnce(Model) -> Model) -> Arc<Slot> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/valid/tiny-embedding");
        let options = BridgeOptions::default().threads(1);
        let opening = Opening::new(&options, options.model_options()).expect("options");
        let slot = Slot::open(set(Model::new(path)), &opening).expect("an artifact");
        drop(slot.enter(&Stop::default()).expect("graphs"));
        slot
    }

    #[test]
    fn scarce_memory_unloads_models_without_calls_until_it_is_not_scarce() {
        let slots = [(); 4].map(|()| loaded_model());
        let models = slots.each_ref().map(|slot| slot.current().expect("open"));
        let loaded = || models.each_ref().map(|model| model.is_loaded());
        // The first model was used last, and a call uses the second one.
        drop(slots[0].enter(&Stop::default()).expect("a call"));
        let call = slots[1].enter(&Stop::default()).expect("a call");
        relieve(&models, || false);
        assert_eq!(loaded(), [true; 4]);
        let looks = Cell::new(0);
        let scarce_once = || looks.replace(looks.get() + 1) == 0;
        relieve(&models[2..], scarce_once);
        assert_eq!(loaded(), [true, true, false, true]);
        relieve(&models, || true);
        assert_eq!(loaded(), [false, true, false, false]);
        drop(call);
        relieve(&models, || true);
        assert_eq!(loaded(), [false; 4]);
    }

    /// Also one that was loaded, and whose call ended, after the thread had looked at the models.
    #[test]
    fn the_thread_wakes_for_every_idle_model() {
        let hour = Duration::from_secs(3600);
        let slot = loaded_with(|model| model.idle_unload(hour));
        let idle_at = slot.current().expect("open").idle_at().expect("an idle model");
        assert!(lock().next_idle(Instant::now() + 2 * hour) <= idle_at);
    }

    /// This thread refers to the models while it looks at them.
    #[test]
    fn a_slot_frees_a_model_that_something_else_refers_to() {
        let slots = [(); 2].map(|()| loaded_model());
        let models = slots.each_ref().map(|slot| slot.current().expect("open"));
        assert!(models.iter().all(|model| model.is_loaded()));
        let [closed, dropped] = slots;
        closed.close();
        drop(dropped);
        assert!(!models.iter().any(|model| model.is_loaded()));
    }

    #[test]
    fn models_are_unloaded_only_when_they_are_idle() {
        let slot = loaded_model();
        let model = slot.current().expect("open");
        model.unload_idle(Instant::now() + INTERVAL);
        assert!(model.is_loaded() && model.idle_at().is_none());
    }
}
