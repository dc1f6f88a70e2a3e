//! Requests to a server of OpenAI's protocol: attempts, waits between them, limits, and the meaning of answers.

mod address;
mod attempt;
mod backoff;
mod client;
mod flight;
mod gate;
mod key;
mod runtime;
mod sse;
mod verdict;

use std::sync::Arc;
use std::time::{Duration, Instant};

pub(crate) use self::address::Address;
pub(crate) use self::client::{Client, Endpoint};
pub(crate) use self::flight::{fly, fly_counted, spawned};
pub(crate) use self::gate::Gate;
pub(crate) use self::key::Key;
#[cfg(feature = "llama-cpp")]
pub(crate) use self::runtime::runtime;
pub(crate) use self::sse::Events;
pub(crate) use self::verdict::Failure;

use self::attempt::Attempt;
use self::backoff::random_wait;
use crate::BridgeError;
use crate::backends::condition::Condition;
use crate::error_code::ErrorCode;
use crate::runtime::meter::Meter;
use crate::status::{LaneStatus, ModelState};

/// A longer wait before the next attempt is not worth it: the call fails at once.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// The limits of requests to one server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// How often a request is sent at most.
    pub(crate) max_attempts: u32,
    /// The longest random wait before a request is sent again.
    pub(crate) max_backoff: Duration,
    pub(crate) connect_timeout: Duration,
    /// The time in which a request must bring the next bytes.
    pub(crate) read_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_attempts: 4,
            max_backoff: Duration::from_secs(8),
            connect_timeout: Duration::from_secs(5),
            read_timeout: Duration::from_secs(60),
        }
    }
}

/// Sends the requests of one model.
pub(crate) struct Wire {
    /// The name of the backend, for messages.
    pub(crate) backend: String,
    /// The name of the model at the server.
    pub(crate) model: String,
    pub(crate) endpoint: Endpoint,
    pub(crate) key: Option<Key>,
    /// What all requests to the server share.
    pub(crate) gate: Arc<Gate>,
    pub(crate) limits: Limits,
    pub(crate) meter: Meter,
    pub(crate) condition: Condition,
}

impl Wire {
    /// Sends a request until it has an answer that is complete, or until another attempt is of no use.
    ///
    /// `read` reads the answer of one attempt, whose status is 200.
    ///
    /// # Errors
    /// The error of the last attempt; `rate_limited` if the server refuses requests for longer than the call can wait.
    pub(crate) async fn post<T, F: Future<Output = Result<T, Failure>> + Send>(
        &self,
        path: &str,
        body: &[u8],
        deadline: Option<Instant>,
        read: impl Fn(reqwest::Response) -> F + Send + Sync,
    ) -> Result<T, BridgeError> {
        for number in 1_u32.. {
            let waiting = self.condition.waits();
            let slot = self.gate.enter(deadline).await.map_err(|wait| self.rate_limited(Some(wait)))?;
            drop(waiting);
            let attempt = Attempt { wire: self, path };
            let result = self.counted(attempt.send(body, &read)).await;
            drop(slot);
            let failure = match result {
                Ok(answer) => {
                    self.condition.ended(None);
                    return Ok(answer);
                }
                Err(failure) => failure,
            };
            let wait = failure.wait.unwrap_or_else(|| random_wait(number - 1, self.limits.max_backoff));
            if failure.is_rate_limit() {
                self.gate.hold(wait.min(MAX_WAIT));
            }
            if !failure.again || number >= self.limits.max_attempts || !fits(wait, deadline) {
                self.condition.ended(Some(&failure.error));
                return Err(failure.error);
            }
            self.meter.retry(failure.error.code());
            tokio::time::sleep(wait).await;
        }
        Err(BridgeError::Internal { problem: "a request was never sent".to_owned() })
    }

    /// Counts an attempt in the metrics.
    async fn counted<T>(&self, attempt: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let (started, _running) = (Instant::now(), self.condition.runs());
        self.meter.sent();
        let result = attempt.await;
        self.meter.run_ended(started.elapsed());
        result
    }

    /// What the requests do at the moment.
    pub(crate) fn status(&self) -> LaneStatus {
        self.condition.status(self.endpoint.idle_state())
    }

    /// Whether the server works: asks it for its models, or a child for its health, once.
    pub(crate) async fn probe(self: &Arc<Self>) -> Option<(ModelState, Option<ErrorCode>)> {
        let Some((client, path)) = self.endpoint.probed() else {
            let status = self.status();
            return Some((status.state, status.error));
        };
        let wire = Arc::clone(self);
        let asked = async move {
            let response =
                client.get(&path, wire.key.as_ref()).send().await.map_err(|error| wire.broken(&error).error)?;
            Ok(response.status().as_u16())
        };
        let status = spawned(asked).ok()?.await?;
        let code = match status {
            Ok(401 | 403) => Some(ErrorCode::Auth),
            Ok(429) => Some(ErrorCode::RateLimited),
            Ok(500..) => Some(ErrorCode::Upstream),
            // Also 404, the answer of a server without this path.
            Ok(_) => None,
            Err(error) => Some(error.code()),
        };
        Some((if code.is_some() { ModelState::Failed } else { ModelState::Ready }, code))
    }

    pub(crate) fn rate_limited(&self, retry_after: Option<Duration>) -> BridgeError {
        BridgeError::RateLimited { backend: self.backend.clone(), retry_after }
    }

    /// The error `upstream`.
    pub(crate) fn upstream(&self, problem: impl std::fmt::Display, status: Option<u16>) -> BridgeError {
        BridgeError::Upstream { backend: self.backend.clone(), problem: problem.to_string(), status }
    }

    /// The error of an answer that is off its schema.
    pub(crate) fn off_schema(&self, problem: impl std::fmt::Display) -> BridgeError {
        BridgeError::inference(None, format!("the answer of {} is off its schema: {problem}", self.backend))
    }
}

/// Whether a wait is worth it.
fn fits(wait: Duration, deadline: Option<Instant>) -> bool {
    wait <= MAX_WAIT && deadline.is_none_or(|deadline| Instant::now() + wait < deadline)
}
