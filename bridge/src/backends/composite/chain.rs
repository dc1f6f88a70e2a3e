//! [`Chain`]: the members of one task. What one cannot answer, the next one gets.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use async_trait::async_trait;

use super::linked::{Answers, Linked, Shown};
use super::pause::Pause;
use crate::BridgeError;
use crate::error_code::ErrorCode;
use crate::handles::handle::Handle;
use crate::runtime::batch::Outcome;
use crate::runtime::lane::Caller;
use crate::runtime::meter::Meter;
use crate::status::{LaneStatus, ModelState};
use crate::tasks::Fallback;
use crate::tasks::answers::FromBackend;
use crate::tasks::backend::Backend;

/// The kind of chains in descriptions of models.
pub(super) const COMPOSITE: &str = "composite";

/// A model of a chain, under the name that answers give.
pub(super) struct Member<B: ?Sized> {
    pub(super) name: String,
    pub(super) handle: Handle<B>,
    pub(super) pause: Arc<Pause>,
}

/// The members of one task, at least one. The options of a call must be valid for all of them.
pub(super) struct Chain<B: ?Sized> {
    pub(super) members: Vec<Member<B>>,
    pub(super) meter: Meter,
}

impl<B: Linked + ?Sized + 'static> Chain<B> {
    pub(super) fn new(members: Vec<Member<B>>) -> Self {
        let first = members.first().map_or_else(String::new, |member| member.handle.info().name);
        Self { members, meter: Meter::of_backend(COMPOSITE, &first) }
    }

    /// Checks the options for all members.
    ///
    /// # Errors
    /// `closed`, or the error of the first member that does not accept them.
    pub(super) fn check(&self, options: &B::Options, inputs: usize) -> Result<(), BridgeError> {
        self.members.iter().try_for_each(|member| member.handle.current()?.check_options_of(options, inputs))
    }

    /// The outcome of every input, for options that [`check`](Self::check) accepts. The future has a type that the compiler
    /// can prove to be `Send`.
    pub(super) fn each(
        self: Arc<Self>,
        inputs: Vec<B::Input>,
        options: B::Options,
        caller: Caller,
    ) -> Answers<B::Answer> {
        Box::pin(async move {
            self.check(&options, inputs.len())?;
            Call::new(&self, inputs, options, caller).run().await
        })
    }
}

/// One call of a chain.
struct Call<'a, B: Linked + ?Sized> {
    chain: &'a Chain<B>,
    inputs: Vec<B::Input>,
    options: B::Options,
    caller: Caller,
    /// The inputs without an outcome, by their indices.
    pending: Vec<usize>,
    outcomes: Vec<Option<Outcome<B::Answer>>>,
    /// What failed before, for every input.
    fallbacks: Vec<Vec<Fallback>>,
    /// The inputs of which a part was shown: no other member answers them.
    shown: Shown,
}

impl<'a, B: Linked + ?Sized + 'static> Call<'a, B> {
    fn new(chain: &'a Chain<B>, inputs: Vec<B::Input>, options: B::Options, caller: Caller) -> Self {
        let (count, shown) = (inputs.len(), Arc::new(Mutex::new(BTreeSet::new())));
        let (pending, fallbacks) = ((0..count).collect(), vec![Vec::new(); count]);
        let outcomes = (0..count).map(|_| None).collect();
        Self { chain, inputs, options, caller, pending, outcomes, fallbacks, shown }
    }

    async fn run(mut self) -> Result<Vec<Outcome<B::Answer>>, BridgeError> {
        let (members, now) = (&self.chain.members, Instant::now());
        let (paused, active): (Vec<_>, Vec<_>) = members.iter().partition(|member| member.pause.is_active(now));
        // If all are paused, all are asked.
        let (paused, active) = if active.is_empty() { (Vec::new(), paused) } else { (paused, active) };
        for member in paused {
            self.pass_on(&member.name, &self.pending.clone(), ErrorCode::Upstream);
        }
        for (number, member) in active.iter().enumerate() {
            if !self.pending.is_empty() {
                self.ask(member, number + 1 == active.len()).await;
            }
        }
        let missing = || Err(BridgeError::Internal { problem: "an input has no outcome".to_owned() });
        Ok(self.outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(missing)).collect())
    }

    /// Asks a member for all pending inputs. Those that the next member gets stay pending.
    async fn ask(&mut self, member: &Member<B>, is_last: bool) {
        let indices = std::mem::take(&mut self.pending);
        let is_own = member.handle.is_shorter_than(&self.caller);
        let outcomes = self.outcomes_of(member, &indices).await;
        record(member, &outcomes, is_own);
        let stopped = self.caller.stop.check().err();
        for (index, outcome) in indices.into_iter().zip(outcomes) {
            match (outcome, &stopped) {
                (Err(_), Some(reason)) => self.outcomes[index] = Some(Err(reason.clone())),
                (Err(error), None) if !is_last && falls_through(&error, is_own) && !self.is_shown(index) => {
                    self.pass_on(&member.name, &[index], error.code());
                    self.pending.push(index);
                }
                (outcome, _) => self.outcomes[index] = Some(self.last(outcome, member, index)),
            }
        }
    }

    /// The outcomes of some inputs. An error of the whole call is that of all of them.
    async fn outcomes_of(&self, member: &Member<B>, indices: &[usize]) -> Vec<Outcome<B::Answer>> {
        let inputs: Vec<B::Input> = indices.iter().map(|index| self.inputs[*index].clone()).collect();
        let options = B::options_of(&self.options, indices, &self.shown);
        let call = |backend: Arc<B>, caller| backend.answers(inputs, options, caller);
        match member.handle.within(&self.caller, call).await {
            Ok(outcomes) => outcomes,
            Err(error) => indices.iter().map(|_| Err(error.clone())).collect(),
        }
    }

    /// The final outcome of an input.
    fn last(&self, outcome: Outcome<B::Answer>, member: &Member<B>, index: usize) -> Outcome<B::Answer> {
        let mut answer = outcome.map_err(|error| error.with_index(Some(index)))?;
        self.chain.members.first().map_or(Ok(()), |first| {
            let first = first.handle.current().ok();
            B::check_answer(&answer, first.as_deref(), &self.options, &member.name)
        })?;
        answer.set_backend(&member.name, &self.fallbacks[index]);
        Ok(answer)
    }

    fn pass_on(&mut self, name: &str, indices: &[usize], code: ErrorCode) {
        for index in indices {
            self.fallbacks[*index].push(Fallback::new(name, code));
            self.chain.meter.fallback(code);
        }
    }

    fn is_shown(&self, index: usize) -> bool {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).contains(&index)
    }
}

/// Counts a call of a member: one answer shows that it works, and errors of texts say nothing.
fn record<B: ?Sized, T>(member: &Member<B>, outcomes: &[Outcome<T>], is_own: bool) {
    if outcomes.iter().any(Result::is_ok) {
        member.pause.answered();
    } else if outcomes.iter().flat_map(|outcome| outcome.as_ref().err()).any(|error| falls_through(error, is_own)) {
        member.pause.failed(Instant::now());
    }
}

/// Whether the next member gets an input. `is_own` is whether the time limit of the member is shorter than what was left of
/// that of the call.
fn falls_through(error: &BridgeError, is_own: bool) -> bool {
    use ErrorCode::{Dependency, Inference, Quota, RateLimited, Timeout, Upstream};
    let code = error.code();
    matches!(code, Upstream | RateLimited | Quota | Dependency | Inference) || (code == Timeout && is_own)
}

#[async_trait]
impl<B: Linked + ?Sized + 'static> Backend for Chain<B>
where
    Self: Send + Sync,
{
    /// Does nothing: members are loaded by the calls that reach them.
    async fn load(&self, caller: &Caller) -> Result<(), BridgeError> {
        caller.stop.check()
    }

    /// Does nothing, as [`load`](Self::load).
    fn unload(&self) {}

    /// Asks the members in turn until one works.
    async fn self_test(self: Arc<Self>, caller: Caller) -> Result<(), BridgeError> {
        let mut result = Err(BridgeError::Internal { problem: "a chain has no members".to_owned() });
        for member in &self.members {
            result = member.handle.within(&caller, B::self_test).await;
            if result.is_ok() {
                break;
            }
            caller.stop.check()?;
        }
        result
    }

    /// Failed only if all members are.
    fn status(&self) -> LaneStatus {
        let all: Vec<_> = self.members.iter().map(|member| member.handle.status()).collect();
        let working = all.iter().find(|status| status.state != ModelState::Failed);
        let shown = working.or(all.first());
        LaneStatus {
            state: shown.map_or(ModelState::Failed, |status| status.state),
            last_success: all.iter().filter_map(|status| status.last_success).max(),
            waiting: all.iter().map(|status| status.waiting).sum(),
            running: all.iter().map(|status| status.running).sum(),
            error: shown.and_then(|status| status.error),
        }
    }

    /// The first member that works, else the first one.
    async fn probe(&self) -> Option<(ModelState, Option<ErrorCode>)> {
        let mut first = None;
        for member in &self.members {
            let health = member.handle.health().await;
            if health.state != ModelState::Failed {
                return Some((health.state, health.error));
            }
            first.get_or_insert((health.state, health.error));
        }
        first
    }

    fn max_tokens(&self) -> Option<usize> {
        self.members.first()?.handle.max_tokens()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_errors_that_say_nothing_of_the_text_or_the_call_fall_through() {
        let falling: Vec<&str> = ErrorCode::ALL
            .iter()
            .filter(|code| matches!(code, ErrorCode::Upstream | ErrorCode::RateLimited | ErrorCode::Quota))
            .chain([&ErrorCode::Dependency, &ErrorCode::Inference])
            .map(|code| code.as_str())
            .collect();
        assert_eq!(falling, ["quota", "rate_limited", "upstream", "dependency", "inference"]);
        let timeout = BridgeError::Timeout { limit: std::time::Duration::from_secs(1) };
        assert!(falls_through(&timeout, true) && !falls_through(&timeout, false));
        for error in [BridgeError::Cancelled, BridgeError::config(""), BridgeError::EmptyInput { index: None }] {
            assert!(!falls_through(&error, true), "{error}");
        }
        assert!(falls_through(&BridgeError::inference(None, ""), false));
    }
}
