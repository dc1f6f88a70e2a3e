//! The `tracing` spans of a call and of its stages. They have the model and the task, never a text.

use std::sync::Arc;

use tracing::{Span, info_span};

/// The span of a call, of which those of its stages are children; `None` if nobody records it.
#[derive(Clone, Default)]
pub(crate) struct Trace(Option<Arc<CallSpan>>);

struct CallSpan {
    span: Span,
    model: String,
    task: &'static str,
}

/// Creates the span of a stage, a child of that of the call.
macro_rules! stage {
    ($trace:expr, $name:literal) => {
        match &$trace.0 {
            Some(call) => info_span!(parent: &call.span, $name, model = %call.model, task = %call.task),
            None => Span::none(),
        }
    };
}

impl Trace {
    /// Creates the span of a call, unless nobody records it.
    pub(crate) fn of(model: &str, task: &'static str) -> Self {
        let span = info_span!("call", model = %model, task = %task);
        Self((!span.is_disabled()).then(|| Arc::new(CallSpan { span, model: model.to_owned(), task })))
    }

    pub(crate) fn call(&self) -> Span {
        self.0.as_ref().map_or_else(Span::none, |call| call.span.clone())
    }

    /// The preparation of inputs: texts become tokens.
    pub(crate) fn tokenize(&self) -> Span {
        stage!(self, "tokenize")
    }

    /// The wait for the first run of the call, until the span is dropped.
    pub(crate) fn queue(&self) -> Span {
        stage!(self, "queue")
    }

    /// A run for this call and others.
    pub(crate) fn run<'a>(&self, others: impl Iterator<Item = &'a Self>) -> Span {
        let span = stage!(self, "run");
        for other in others.filter_map(|other| other.0.as_ref()) {
            span.follows_from(&other.span);
        }
        span
    }

    /// What the outputs of the runs mean: the text of a summary, or the entities of a text.
    pub(crate) fn decode(&self) -> Span {
        stage!(self, "decode")
    }
}
