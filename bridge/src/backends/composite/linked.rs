//! [`Linked`]: what a chain has to know of the backends of its task.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use super::chain::Chain;
use crate::BridgeError;
use crate::runtime::batch::Outcome;
use crate::runtime::lane::Caller;
use crate::runtime::meter::Meter;
use crate::tasks::answers::FromBackend;
use crate::tasks::backend::{EmbedBackend, OfTask, RecognizeBackend, SummarizeBackend, WindowBackend};
use crate::tasks::text_windows::TextWindows;
use crate::tasks::{EmbedOptions, Embedding, Entities, OnToken, RecognizeOptions, SummarizeOptions, Summary};

/// The indices of inputs of which a part was shown.
pub(super) type Shown = Arc<Mutex<BTreeSet<usize>>>;
/// The outcomes of a call, later.
pub(super) type Answers<T> = Pin<Box<dyn Future<Output = Result<Vec<Outcome<T>>, BridgeError>> + Send>>;

/// The backends of a task that has chains.
pub(super) trait Linked: OfTask {
    type Input: Clone + Send + Sync;
    type Options: Clone + Send + Sync;
    type Answer: FromBackend + Send + Sync;

    /// Checks the options of a call.
    ///
    /// # Errors
    /// The errors of the backend's own check.
    fn check_options_of(&self, options: &Self::Options, inputs: usize) -> Result<(), BridgeError>;

    /// The options for some inputs of a call.
    fn options_of(options: &Self::Options, _indices: &[usize], _shown: &Shown) -> Self::Options {
        options.clone()
    }

    /// The outcome of every input.
    fn answers(
        self: Arc<Self>,
        inputs: Vec<Self::Input>,
        options: Self::Options,
        caller: Caller,
    ) -> Answers<Self::Answer>;

    /// Checks the answer of a member against the first member of the chain.
    ///
    /// # Errors
    /// `inference`.
    fn check_answer(
        _answer: &Self::Answer,
        _first: Option<&Self>,
        _options: &Self::Options,
        _member: &str,
    ) -> Result<(), BridgeError> {
        Ok(())
    }
}

impl Linked for dyn EmbedBackend {
    type Input = String;
    type Options = EmbedOptions;
    type Answer = Embedding;

    fn check_options_of(&self, options: &EmbedOptions, _: usize) -> Result<(), BridgeError> {
        self.check_options(options)
    }

    fn answers(self: Arc<Self>, inputs: Vec<String>, options: EmbedOptions, caller: Caller) -> Answers<Embedding> {
        self.embed_each(inputs, options, caller)
    }

    /// The vectors of one chain have one number of elements.
    fn check_answer(
        answer: &Embedding,
        first: Option<&Self>,
        options: &EmbedOptions,
        member: &str,
    ) -> Result<(), BridgeError> {
        let (actual, expected) = (answer.vector.len(), first.map_or(0, |first| first.dim(options)));
        if expected == 0 || actual == expected {
            return Ok(());
        }
        Err(BridgeError::inference(
            None,
            format!("{member} returned a vector of {actual} elements, expected {expected}"),
        ))
    }
}

impl Linked for dyn RecognizeBackend {
    type Input = String;
    type Options = RecognizeOptions;
    type Answer = Entities;

    fn check_options_of(&self, options: &RecognizeOptions, inputs: usize) -> Result<(), BridgeError> {
        self.check_options(options, inputs)
    }

    fn options_of(options: &RecognizeOptions, indices: &[usize], _: &Shown) -> RecognizeOptions {
        let all = options.sentence_starts.as_ref();
        let sentence_starts = all.map(|all| indices.iter().map(|index| all[*index].clone()).collect());
        RecognizeOptions { sentence_starts, ..options.clone() }
    }

    fn answers(self: Arc<Self>, inputs: Vec<String>, options: RecognizeOptions, caller: Caller) -> Answers<Entities> {
        self.recognize_each(inputs, options, caller)
    }
}

impl Linked for dyn SummarizeBackend {
    type Input = Vec<String>;
    type Options = SummarizeOptions;
    type Answer = Summary;

    fn check_options_of(&self, options: &SummarizeOptions, _: usize) -> Result<(), BridgeError> {
        self.check_options(options)
    }

    fn options_of(options: &SummarizeOptions, indices: &[usize], shown: &Shown) -> SummarizeOptions {
        let on_token = options.on_token.clone().map(|on_token| {
            let (indices, shown) = (indices.to_vec(), Arc::clone(shown));
            OnToken::new(move |number, text| {
                let Some(&index) = indices.get(number) else { return };
                shown.lock().unwrap_or_else(PoisonError::into_inner).insert(index);
                on_token.call(index, text);
            })
        });
        SummarizeOptions { on_token, ..options.clone() }
    }

    fn answers(
        self: Arc<Self>,
        inputs: Vec<Vec<String>>,
        options: SummarizeOptions,
        caller: Caller,
    ) -> Answers<Summary> {
        self.summarize_each(inputs, options, caller)
    }
}

#[async_trait]
impl EmbedBackend for Chain<dyn EmbedBackend> {
    fn check_options(&self, options: &EmbedOptions) -> Result<(), BridgeError> {
        self.check(options, 0)
    }

    fn dim(&self, options: &EmbedOptions) -> usize {
        let mut known = self.members.iter().filter_map(|member| Some(member.handle.current().ok()?.dim(options)));
        known.find(|dim| *dim > 0).unwrap_or(0)
    }

    async fn embed_each(
        self: Arc<Self>,
        texts: Vec<String>,
        options: EmbedOptions,
        caller: Caller,
    ) -> Result<Vec<Outcome<Embedding>>, BridgeError> {
        self.each(texts, options, caller).await
    }

    fn meter(&self) -> &Meter {
        &self.meter
    }

    /// Only one member can tokenize a text for all its windows.
    fn windows(self: Arc<Self>) -> Option<Arc<dyn WindowBackend>> {
        self.only_member()?;
        Some(self)
    }
}

impl Chain<dyn EmbedBackend> {
    /// The only member, if it has windows.
    fn only_member(&self) -> Option<Arc<dyn WindowBackend>> {
        self.windowed().ok()
    }

    /// # Errors
    /// `closed`, or `config` unless the only member has windows.
    fn windowed(&self) -> Result<Arc<dyn WindowBackend>, BridgeError> {
        let refused = || BridgeError::config("embed_windows needs one ONNX model: pass its name");
        let [member] = self.members.as_slice() else { return Err(refused()) };
        member.handle.current()?.windows().ok_or_else(refused)
    }
}

#[async_trait]
impl WindowBackend for Chain<dyn EmbedBackend> {
    fn model(self: Arc<Self>) -> Result<Arc<dyn WindowBackend>, BridgeError> {
        self.windowed()?.model()
    }

    fn normalized(&self) -> bool {
        self.only_member().is_some_and(|member| member.normalized())
    }

    fn check(&self, text: &str, options: &EmbedOptions) -> Result<(), BridgeError> {
        self.windowed()?.check(text, options)
    }

    async fn split(
        self: Arc<Self>,
        text: Arc<str>,
        options: EmbedOptions,
        stride: usize,
        caller: &Caller,
    ) -> Result<TextWindows, BridgeError> {
        self.windowed()?.split(text, options, stride, caller).await
    }

    async fn embed_windows(
        self: Arc<Self>,
        windows: Vec<Vec<i64>>,
        options: &EmbedOptions,
        caller: &Caller,
    ) -> Result<Vec<Vec<f32>>, BridgeError> {
        let refused = || BridgeError::config("embed_windows needs one ONNX model: pass its name");
        let member = self.members.first().ok_or_else(refused)?;
        let embed = |backend: Arc<dyn EmbedBackend>, caller: Caller| async move {
            backend.windows().ok_or_else(refused)?.embed_windows(windows, options, &caller).await
        };
        member.handle.within(caller, embed).await
    }
}

#[async_trait]
impl RecognizeBackend for Chain<dyn RecognizeBackend> {
    fn check_options(&self, options: &RecognizeOptions, texts: usize) -> Result<(), BridgeError> {
        self.check(options, texts)
    }

    async fn recognize_each(
        self: Arc<Self>,
        texts: Vec<String>,
        options: RecognizeOptions,
        caller: Caller,
    ) -> Result<Vec<Outcome<Entities>>, BridgeError> {
        self.each(texts, options, caller).await
    }
}

#[async_trait]
impl SummarizeBackend for Chain<dyn SummarizeBackend> {
    fn check_options(&self, options: &SummarizeOptions) -> Result<(), BridgeError> {
        self.check(options, 0)
    }

    async fn summarize_each(
        self: Arc<Self>,
        inputs: Vec<Vec<String>>,
        options: SummarizeOptions,
        caller: Caller,
    ) -> Result<Vec<Outcome<Summary>>, BridgeError> {
        self.each(inputs, options, caller).await
    }
}
