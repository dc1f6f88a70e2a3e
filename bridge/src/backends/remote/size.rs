//! [`Size`]: how many tokens a message has.

use std::sync::Arc;

use super::Remote;
use crate::BridgeError;
use crate::runtime::batch::Outcome;
use crate::runtime::lane::Caller;

/// How the tokens of a message of the user are counted, with all that the model reads beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Size {
    /// In bytes of UTF-8, of which a token has at least one.
    Bytes,
    /// By llama.cpp: `/apply-template`, then `/tokenize`.
    #[cfg(feature = "llama-cpp")]
    Tokens,
}

impl Size {
    /// The number of tokens of a message, or more.
    ///
    /// # Errors
    /// The errors of the server, or the reason why the call was stopped.
    pub(crate) async fn of(self, content: String, remote: &Arc<Remote>, caller: &Caller) -> Outcome<usize> {
        caller.stop.check()?;
        match self {
            Self::Bytes => {
                let _ = remote;
                Ok(content.len())
            }
            #[cfg(feature = "llama-cpp")]
            Self::Tokens => {
                let (remote, deadline) = (Arc::clone(remote), caller.deadline);
                let count =
                    async move { crate::backends::llama_cpp::tokens::count(&remote.wire, content, deadline).await };
                only(crate::backends::wire::fly(vec![count], caller).await?)
            }
        }
    }
}

/// The only outcome of a call.
#[cfg(feature = "llama-cpp")]
fn only(outcomes: Vec<Outcome<usize>>) -> Outcome<usize> {
    let none = || Err(BridgeError::Internal { problem: "a request has no outcome".to_owned() });
    outcomes.into_iter().next().unwrap_or_else(none)
}
