//! [`Gate`]: what all requests to one server share: slots, a pace, and the waits that the server asks for.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex as AsyncMutex, OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep_until;

/// Limits the requests to one server.
#[derive(Debug)]
pub(crate) struct Gate {
    slots: Arc<Semaphore>,
    /// The time between the starts of two requests; `None` without a limit.
    interval: Option<Duration>,
    /// The next request may start then. The request that waits for it has the lock.
    next: AsyncMutex<Option<Instant>>,
    /// The server refuses requests until then.
    held: Mutex<Option<Instant>>,
}

impl Gate {
    /// # Panics
    /// Never: `max_in_flight` is at most 1024, fewer than a semaphore can have.
    pub(crate) fn new(max_in_flight: usize, requests_per_minute: Option<u32>) -> Arc<Self> {
        let interval = requests_per_minute.map(|count| Duration::from_secs(60) / count.max(1));
        let slots = Arc::new(Semaphore::new(max_in_flight.clamp(1, Semaphore::MAX_PERMITS)));
        Arc::new(Self { slots, interval, next: AsyncMutex::default(), held: Mutex::default() })
    }

    /// Waits until a request may start. The slot is free again when the value is dropped. A waiting request has no slot.
    ///
    /// # Errors
    /// How long the server refuses requests, if that is past the deadline.
    pub(crate) async fn enter(&self, deadline: Option<Instant>) -> Result<Option<OwnedSemaphorePermit>, Duration> {
        self.wait_while_held(deadline).await?;
        self.wait_for_start().await;
        loop {
            let slot = Arc::clone(&self.slots).acquire_owned().await.ok();
            if self.held().is_none() {
                return Ok(slot);
            }
            drop(slot); // the server refused another request meanwhile
            self.wait_while_held(deadline).await?;
        }
    }

    /// Holds back all requests for a time, which the server asked for.
    pub(crate) fn hold(&self, wait: Duration) {
        let until = Instant::now() + wait;
        let mut held = self.lock();
        *held = held.max(Some(until));
    }

    /// The number of requests that have a slot, at most `limit`.
    #[cfg(test)]
    fn free(&self) -> usize {
        self.slots.available_permits()
    }

    /// When the next request may start.
    #[cfg(test)]
    async fn next_start(&self) -> Option<Instant> {
        *self.next.lock().await
    }

    /// The time until which the server refuses requests; `None` if it does not.
    fn held(&self) -> Option<Instant> {
        self.lock().filter(|until| *until > Instant::now())
    }

    /// # Errors
    /// How long the server refuses requests, if that is past the deadline.
    async fn wait_while_held(&self, deadline: Option<Instant>) -> Result<(), Duration> {
        while let Some(until) = self.held() {
            if deadline.is_some_and(|deadline| until >= deadline) {
                return Err(until.saturating_duration_since(Instant::now()));
            }
            sleep_until(until.into()).await;
        }
        Ok(())
    }

    /// Waits for the next start of a request. Requests wait in turn, so that one that is dropped meanwhile takes no start.
    async fn wait_for_start(&self) {
        let Some(interval) = self.interval else { return };
        let mut next = self.next.lock().await;
        let start = next.map_or_else(Instant::now, |next| next.max(Instant::now()));
        sleep_until(start.into()).await;
        *next = Some(start + interval);
    }

    fn lock(&self) -> MutexGuard<'_, Option<Instant>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backends::wire::runtime::runtime;

    fn wait<T>(future: impl Future<Output = T>) -> T {
        runtime().expect("a runtime").block_on(future)
    }

    #[test]
    fn slots_are_limited_and_given_back() {
        let gate = Gate::new(2, None);
        wait(async {
            let (one, two) = (gate.enter(None).await, gate.enter(None).await);
            assert_eq!(gate.free(), 0);
            let short = Duration::from_millis(20);
            assert!(tokio::time::timeout(short, gate.enter(None)).await.is_err());
            drop(one);
            assert!(gate.enter(None).await.is_ok());
            drop(two);
            assert_eq!(gate.free(), 2);
        });
    }

    #[test]
    fn all_requests_are_held_back() {
        let (hour, short) = (Duration::from_secs(3600), Duration::from_millis(80));
        let gate = Gate::new(8, None);
        gate.hold(hour);
        gate.hold(Duration::from_millis(1)); // does not shorten the wait
        let refused = wait(gate.enter(Some(Instant::now() + short))).map(drop);
        assert!(refused.is_err_and(|wait| (hour / 2..=hour).contains(&wait)));
        let gate = Gate::new(8, None);
        let started = Instant::now();
        gate.hold(short);
        assert!(wait(gate.enter(None)).is_ok() && started.elapsed() >= short);
    }

    #[test]
    fn requests_per_minute_are_evenly_spaced() {
        let gate = Gate::new(8, Some(3000));
        let started = Instant::now();
        wait(async {
            for _ in 0..4 {
                drop(gate.enter(None).await);
            }
        });
        assert!(started.elapsed() >= Duration::from_millis(60), "{:?}", started.elapsed());
    }

    #[test]
    fn a_request_that_is_dropped_while_it_waits_takes_no_start() {
        let gate = Gate::new(8, Some(1));
        wait(async {
            drop(gate.enter(None).await);
            let next = gate.next_start().await;
            for _ in 0..20 {
                let dropped = tokio::time::timeout(Duration::ZERO, gate.enter(None)).await;
                assert!(dropped.is_err());
            }
            assert_eq!(gate.next_start().await, next);
        });
    }

    #[test]
    fn a_request_takes_one_start_even_if_the_server_refuses_another_one_meanwhile() {
        let gate = Gate::new(1, Some(1200));
        wait(async {
            let slot = gate.enter(None).await;
            let first = gate.next_start().await;
            let waiting = tokio::spawn({
                let gate = Arc::clone(&gate);
                async move { gate.enter(None).await.map(drop) }
            });
            while gate.next_start().await == first {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            // The other request has its start and waits for the slot.
            let second = gate.next_start().await;
            gate.hold(Duration::from_millis(50));
            drop(slot);
            assert_eq!(waiting.await.expect("no panic"), Ok(()));
            assert_eq!(gate.next_start().await, second);
        });
    }
}
