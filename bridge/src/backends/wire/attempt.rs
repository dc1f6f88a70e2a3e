//! One attempt of a request, and the content of its answer.

use std::error::Error;
use std::io;

use reqwest::Response;

use super::{Events, Failure, Wire, sse};

/// The largest answer in bytes.
const MAX_ANSWER: usize = 64 << 20;
/// The part of an answer with another status than 200 that is read.
const MAX_REFUSAL: usize = 64 << 10;

/// One attempt of a request to a path.
pub(super) struct Attempt<'a> {
    pub(super) wire: &'a Wire,
    pub(super) path: &'a str,
}

impl Attempt<'_> {
    /// Sends the request and reads its answer, if the status is 200.
    pub(super) async fn send<T, F: Future<Output = Result<T, Failure>>>(
        &self,
        body: &[u8],
        read: impl Fn(Response) -> F,
    ) -> Result<T, Failure> {
        let wire = self.wire;
        let client = wire.endpoint.client().await.map_err(Failure::lasting)?;
        let request = client.post(self.path, wire.key.as_ref(), body.to_vec());
        let mut response = request.send().await.map_err(|error| wire.broken(&error))?;
        match response.status().as_u16() {
            200 => read(response).await,
            status => {
                let body = wire.beginning(&mut response).await;
                Err(wire.refused(status, response.headers(), &body))
            }
        }
    }
}

impl Wire {
    /// Reads a whole answer.
    pub(crate) async fn whole(&self, mut response: Response) -> Result<Vec<u8>, Failure> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.broken(&error))? {
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err(self.too_large());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    /// Passes the data of all events of an answer to a function, until this fails.
    pub(crate) async fn events(
        &self,
        mut response: Response,
        mut on_event: impl FnMut(&[u8]) -> Result<(), Failure> + Send,
    ) -> Result<(), Failure> {
        let (mut events, mut size) = (Events::default(), 0);
        while let Some(chunk) = response.chunk().await.map_err(|error| self.broken(&error))? {
            size += chunk.len();
            if size > MAX_ANSWER {
                return Err(self.too_large());
            }
            events.feed(&chunk, |event| on_event(event).map_err(Ended::Failed)).map_err(|ended| match ended {
                Ended::Failed(failure) => failure,
                Ended::TooLong => self.unreadable("an event is too long"),
            })?;
        }
        Ok(())
    }

    /// The first bytes of an answer, as far as they arrive.
    async fn beginning(&self, response: &mut Response) -> Vec<u8> {
        let mut body = Vec::new();
        while let Ok(Some(chunk)) = response.chunk().await {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_REFUSAL {
                break;
            }
        }
        body
    }

    /// The failure of a complete answer that cannot be read.
    pub(crate) fn unreadable(&self, problem: &str) -> Failure {
        Failure::lasting(self.upstream(problem, Some(200)))
    }

    fn too_large(&self) -> Failure {
        self.unreadable("the answer has more than 64 MiB")
    }

    /// The failure of a request without a complete answer. It has no text of the library, which may quote a part of the
    /// answer.
    pub(super) fn broken(&self, error: &reqwest::Error) -> Failure {
        let reason = io_kind(error).map_or_else(String::new, |kind| format!(" ({kind})"));
        let problem = match () {
            () if error.is_connect() => format!("the server cannot be reached{reason}"),
            () if error.is_timeout() => {
                format!("the server sent nothing for {} s", self.limits.read_timeout.as_secs_f64())
            }
            () => format!("the connection ended before the answer was complete{reason}"),
        };
        Failure::passing(self.upstream(problem, None))
    }
}

enum Ended {
    Failed(Failure),
    TooLong,
}

impl From<sse::TooLong> for Ended {
    fn from(_: sse::TooLong) -> Self {
        Self::TooLong
    }
}

/// The kind of the error of the system that caused another one.
fn io_kind(error: &reqwest::Error) -> Option<io::ErrorKind> {
    let mut cause: Option<&dyn Error> = error.source();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return Some(error.kind());
        }
        cause = error.source();
    }
    None
}
