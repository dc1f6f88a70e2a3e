//! What an answer means that is not a good one: the error, and whether the request is sent again.
//!
//! The rules are those of `docs/backends.md`. Messages never have what a server wrote, which may quote the key or a text.

use std::time::Duration;

use reqwest::header::HeaderMap;
use serde_json::Value;

use super::Wire;
use super::backoff::retry_after;
use crate::BridgeError;

const TOO_LONG: [&str; 3] = ["context_length_exceeded", "exceed_context_size_error", "string_above_max_length"];
/// A part of llama.cpp's message about a text with more tokens than a batch.
const TOO_LARGE: &str = "too large to process";
const NO_QUOTA: &str = "insufficient_quota";
/// The statuses of the types and codes that error events of streams have.
const EVENT_STATUSES: [(&str, u16); 6] = [
    ("authentication_error", 401),
    ("permission_error", 403),
    ("not_found_error", 404),
    ("rate_limit_error", 429),
    ("rate_limit_exceeded", 429),
    ("invalid_request_error", 400),
];
/// Further types and codes that messages repeat. Any other may quote the key or a text.
const OTHERS: [&str; 7] = [
    "invalid_api_key",
    "model_not_found",
    "not_supported_error",
    "server_error",
    "unavailable_error",
    "unsupported_parameter",
    "unsupported_value",
];

/// An attempt that failed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) error: BridgeError,
    /// Whether the request may be sent again.
    pub(crate) again: bool,
    /// How long the server asks to wait.
    pub(crate) wait: Option<Duration>,
}

impl Failure {
    /// A failure after which the request is sent again.
    pub(crate) fn passing(error: BridgeError) -> Self {
        Self { error, again: true, wait: None }
    }

    /// A failure after which the request is not sent again.
    pub(crate) fn lasting(error: BridgeError) -> Self {
        Self { error, again: false, wait: None }
    }

    pub(super) fn is_rate_limit(&self) -> bool {
        matches!(self.error, BridgeError::RateLimited { .. })
    }
}

/// What a server says about an error. Fields that it does not have are empty.
#[derive(Debug, Default)]
struct Reason {
    kind: String,
    code: String,
    message: String,
}

impl Reason {
    fn of_body(body: &[u8]) -> Self {
        match serde_json::from_slice::<Value>(body) {
            Ok(mut value) => Self::of(&value.get_mut("error").map_or(Value::Null, Value::take)),
            Err(_) => Self { message: String::from_utf8_lossy(body).into_owned(), ..Self::default() },
        }
    }

    fn of(error: &Value) -> Self {
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let field = |name: &str| error.get(name).map_or_else(String::new, text);
        match error {
            Value::Object(_) => Self { kind: field("type"), code: field("code"), message: field("message") },
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                Self { message: text(error), ..Self::default() }
            }
        }
    }

    fn is(&self, name: &str) -> bool {
        self.kind == name || self.code == name
    }

    /// The code or the type, if messages may repeat it.
    fn known(&self) -> Option<&'static str> {
        let events = EVENT_STATUSES.iter().map(|(name, _)| *name);
        let mut known = TOO_LONG.into_iter().chain([NO_QUOTA]).chain(events).chain(OTHERS);
        known.find(|name| self.is(name))
    }

    /// The status that an error event has: its integer code, else that of its code or type, else 500.
    fn event_status(&self) -> u16 {
        let of_name = |text: &str| EVENT_STATUSES.iter().find(|(name, _)| *name == text).map(|(_, status)| *status);
        let number = self.code.parse().ok().filter(|status| (400..600).contains(status));
        number.or_else(|| of_name(&self.code)).or_else(|| of_name(&self.kind)).unwrap_or(500)
    }
}

impl Wire {
    /// The failure of an answer with another status than 200.
    pub(super) fn refused(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> Failure {
        self.verdict(status, &Reason::of_body(body), retry_after(headers))
    }

    /// The failure of an event `error` within a stream that has the status 200.
    pub(crate) fn error_event(&self, error: &Value) -> Failure {
        let reason = Reason::of(error);
        self.verdict(reason.event_status(), &reason, None)
    }

    fn verdict(&self, status: u16, reason: &Reason, wait: Option<Duration>) -> Failure {
        let backend = self.backend.clone();
        let name = reason.known().map_or_else(String::new, |name| format!(" ({name})"));
        let answered = format!("the server answered with the status {status}{name}");
        match status {
            401 | 403 => Failure::lasting(BridgeError::Auth { backend, status }),
            402 => Failure::lasting(BridgeError::Quota { backend, status }),
            _ if reason.is(NO_QUOTA) => Failure::lasting(BridgeError::Quota { backend, status }),
            _ if is_too_long(status, reason) => Failure::lasting(self.too_long(status)),
            404 => Failure::lasting(BridgeError::NoSuchModel { backend, model: self.model.clone(), status }),
            429 => Failure { error: self.rate_limited(wait), again: true, wait },
            408 | 409 | 425 | 500.. => Failure { error: self.upstream(answered, Some(status)), again: true, wait },
            400..500 => Failure::lasting(BridgeError::config(format!("{backend}: {answered}"))),
            _ => Failure::lasting(self.upstream(answered, Some(status))),
        }
    }

    fn too_long(&self, status: u16) -> BridgeError {
        let problem = format!("the text is too long for {} (status {status})", self.backend);
        BridgeError::ContextTooLong { index: None, problem }
    }
}

fn is_too_long(status: u16, reason: &Reason) -> bool {
    status == 413 || TOO_LONG.iter().any(|name| reason.is(name)) || reason.message.contains(TOO_LARGE)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn status(error: &Value) -> u16 {
        Reason::of(error).event_status()
    }

    #[test]
    fn events_have_the_status_of_their_code_or_type() {
        assert_eq!(status(&json!({"code": 400, "type": "server_error"})), 400);
        assert_eq!(status(&json!({"code": "rate_limit_exceeded", "type": "x"})), 429);
        assert_eq!(status(&json!({"code": null, "type": "authentication_error"})), 401);
        assert_eq!(status(&json!({"code": 7, "type": "permission_error"})), 403);
        assert_eq!((status(&json!("overloaded")), status(&Value::Null)), (500, 500));
    }

    #[test]
    fn only_known_names_are_repeated() {
        assert_eq!(Reason::of(&json!({"type": "canary", "code": "invalid_api_key"})).known(), Some("invalid_api_key"));
        assert_eq!(Reason::of(&json!({"type": "canary", "code": "sk-canary"})).known(), None);
        assert!(Reason::of_body(b"<html>").message.contains("html"));
        assert!(is_too_long(500, &Reason::of_body(br#"{"error":{"message":"input is too large to process."}}"#)));
    }
}
