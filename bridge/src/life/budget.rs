//! The memory limit of the models of a bridge.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use super::generation::Generation;
use crate::BridgeError;
use crate::runtime::cancellation::Stop;
use crate::runtime::meter::UnloadReason;

/// How often a load that waits for its turn checks whether its call was stopped.
const CHECK_INTERVAL: Duration = Duration::from_millis(20);
const MEBIBYTE: u64 = 1 << 20;

/// The memory limit that the models of a bridge share. With a limit, one model is loaded at a time.
#[derive(Default)]
pub(crate) struct Budget {
    /// In bytes; `None` is no limit.
    limit: Option<u64>,
    state: Mutex<State>,
    turn_ended: Condvar,
}

#[derive(Default)]
struct State {
    is_loading: bool,
    /// The models that were loaded once.
    members: Vec<Weak<Generation>>,
}

/// The turn of a load, unless the load has not waited for it. The next load starts when it is dropped.
pub(super) struct Turn<'a>(Option<&'a Budget>);

impl Budget {
    pub(crate) fn new(mebibytes: Option<usize>) -> Self {
        // 2^40 MiB is more than any machine has, and sums of a few such limits are still numbers of 64 bits.
        Self { limit: mebibytes.map(|limit| (limit as u64).min(1 << 40) * MEBIBYTE), ..Self::default() }
    }

    /// Waits for the turn of a load, and unloads other models until the model can be loaded within the limit: first those
    /// without calls, the one whose last call ended first before the others; then one with calls, when they have ended. An
    /// urgent load does not wait, and may exceed the limit.
    ///
    /// # Errors
    /// `config` if the model alone exceeds the limit, or the reason why the call was stopped.
    pub(super) fn make_room(&self, model: &Arc<Generation>, stop: &Stop) -> Result<Turn<'_>, BridgeError> {
        let Some(limit) = self.limit else { return Ok(Turn(None)) };
        if model.opened.graph_bytes > limit {
            return Err(too_large(model, limit));
        }
        let turn = self.take_turn(model, stop)?;
        let needed = model.needed_bytes();
        while let Some(others) = self.excess(model, needed, model.opened.graph_bytes, limit) {
            stop.check()?;
            match (oldest(&others, true), oldest(&others, false)) {
                (Some(idle), _) => idle.unload(UnloadReason::MemoryLimit),
                (None, Some(busy)) if !model.is_urgent() => busy.leave(model, stop)?,
                (None, Some(_)) => {
                    let model = &model.opened.info.name;
                    tracing::warn!(%model, "exceeds memory_mb: the model is called within a call of another one");
                    break;
                }
                (None, None) => break,
            }
        }
        Ok(turn)
    }

    /// Unloads other models without calls while a model, which was just loaded, takes more memory than it was expected to.
    pub(super) fn settle(&self, model: &Arc<Generation>, taken: u64) {
        let Some(limit) = self.limit else { return };
        while let Some(others) = self.excess(model, taken, 0, limit) {
            let Some(idle) = oldest(&others, true) else { return };
            idle.unload(UnloadReason::MemoryLimit);
        }
    }

    fn take_turn(&self, model: &Arc<Generation>, stop: &Stop) -> Result<Turn<'_>, BridgeError> {
        let mut state = self.lock();
        while state.is_loading && !model.is_urgent() {
            stop.check()?;
            let waited = self.turn_ended.wait_timeout(state, CHECK_INTERVAL);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let has_turn = !std::mem::replace(&mut state.is_loading, true);
        state.members.retain(|member| member.strong_count() > 0);
        if !state.members.iter().any(|member| std::ptr::eq(member.as_ptr(), Arc::as_ptr(model))) {
            state.members.push(Arc::downgrade(model));
        }
        Ok(Turn(has_turn.then_some(self)))
    }

    /// The other loaded models, if the model would exceed the limit beside them. While it is loaded, it needs `transient`
    /// bytes more, for which a tenth of the limit is allowed.
    fn excess(&self, model: &Arc<Generation>, needed: u64, transient: u64, limit: u64) -> Option<Vec<Arc<Generation>>> {
        let members: Vec<Arc<Generation>> = self.lock().members.iter().filter_map(Weak::upgrade).collect();
        let others = members.into_iter().filter(|member| !Arc::ptr_eq(member, model) && member.is_loaded());
        let others: Vec<Arc<Generation>> = others.collect();
        let total = others.iter().map(|other| other.resident_bytes()).sum::<u64>() + needed;
        (total > limit || total + transient > limit / 10 * 11).then_some(others)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if let Some(budget) = self.0 {
            budget.lock().is_loading = false;
            budget.turn_ended.notify_one();
        }
    }
}

/// The model whose last call ended first, of those without calls or of the others.
fn oldest(models: &[Arc<Generation>], is_idle: bool) -> Option<&Arc<Generation>> {
    let uses = models.iter().map(|model| (model.last_use(), model)).filter(|((_, idle), _)| *idle == is_idle);
    uses.min_by_key(|((used, _), _)| *used).map(|(_, model)| model)
}

fn too_large(model: &Generation, limit: u64) -> BridgeError {
    let (name, needed, limit) =
        (&model.opened.info.name, model.opened.graph_bytes.div_ceil(MEBIBYTE), limit / MEBIBYTE);
    BridgeError::config(format!(
        "the graphs of the model {name:?} have {needed} MiB, but memory_mb is {limit}; raise it, or use a smaller variant"
    ))
}
