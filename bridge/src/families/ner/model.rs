//! A model that finds named entities with any of the engines.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use serde_json::Value;

use crate::BridgeError;
use crate::artifact::Manifest;
use crate::artifact::files::ArtifactFiles;
use crate::families::golden_cases::Report;
use crate::families::model::FamilyModel;
use crate::families::report::VariantReport;
use crate::runtime::batch::Outcome;
use crate::runtime::blocking::block_on;
use crate::runtime::lane::Caller;
use crate::runtime::meter::Meter;
use crate::runtime::options::ModelOptions;
use crate::status::LaneStatus;
use crate::tasks::backend::{AnyBackend, Backend, RecognizeBackend, all};
use crate::tasks::{Entities, RecognizeOptions};

/// The error message for a call that passes sentence starts to a model that does not use any.
pub(crate) const UNEXPECTED_SENTENCE_STARTS: &str =
    "sentence starts were passed, but this model does not use any: omit them";

/// A text of a call, and its index among all texts of the call.
pub(crate) type Chosen = (usize, String);

/// The engine of one variant, which finds entities. Its graphs are loaded by the first call; any thread may call it.
#[async_trait]
pub(crate) trait Recognizer: Send + Sync {
    /// Loads every graph, unless they are loaded.
    ///
    /// # Errors
    /// `dependency` without a usable ONNX Runtime, `graph` if it refuses a graph, or the reason why the call was stopped.
    async fn load(&self, caller: &Caller) -> Result<(), BridgeError>;

    /// Frees the memory that no call uses at the moment.
    fn unload(&self);

    /// What the engine does at the moment.
    fn status(&self) -> LaneStatus;

    /// The number of tokens that a text is truncated to if no stride is set; `None` if texts are never truncated.
    fn max_tokens(&self) -> Option<usize>;

    /// Whether calls have to pass the starts of sentences.
    fn requires_sentence_starts(&self) -> bool;

    /// Whether calls name the labels.
    fn takes_labels(&self) -> bool {
        false
    }

    /// The options of the call, given the settings of a golden case. The error describes what is wrong with them.
    fn case_options(&self, settings: Value) -> Result<RecognizeOptions, String> {
        super::replay::case_options(settings)
    }

    /// Checks the options of a call. `texts` is the number of texts of the call.
    ///
    /// # Errors
    /// `config`, or `sentence_starts` if sentence starts are missing or unexpected.
    fn check(&self, options: &RecognizeOptions, texts: usize) -> Result<(), BridgeError>;

    /// The outcome of each chosen text, in their order. If the call is stopped, the texts without an answer fail with the
    /// reason.
    ///
    /// # Errors
    /// `overloaded`, `dependency` or `graph`, which concern every text.
    async fn recognize_each(
        self: Arc<Self>,
        chosen: Vec<Chosen>,
        options: RecognizeOptions,
        caller: &Caller,
    ) -> Result<Vec<Outcome<Entities>>, BridgeError>;
}

/// One variant of a model that finds named entities.
pub(crate) struct NerModel {
    manifest: Arc<Manifest>,
    variant: String,
    recognizer: Arc<dyn Recognizer>,
    text_limit: usize,
    meter: Meter,
}

impl NerModel {
    /// Opens a variant of a checked artifact. No graph is loaded yet.
    pub(crate) fn new(
        files: &ArtifactFiles,
        variant: &str,
        options: &ModelOptions,
        recognizer: Arc<dyn Recognizer>,
    ) -> Self {
        let manifest = Arc::clone(files.manifest());
        let meter = Meter::of(&manifest);
        Self { manifest, variant: variant.to_owned(), recognizer, text_limit: options.limits.text, meter }
    }

    /// The options of the call, given the settings of a golden case.
    pub(super) fn case_options(&self, settings: Value) -> Result<RecognizeOptions, String> {
        self.recognizer.case_options(settings)
    }

    /// The entities of all texts, or the error of the first text that has one.
    pub(crate) fn recognize(
        self: &Arc<Self>,
        texts: Vec<String>,
        options: RecognizeOptions,
    ) -> Result<Vec<Entities>, BridgeError> {
        all(block_on(Arc::clone(self).recognize_each(texts, options, Caller::blocking()))?)
    }

    /// Runs the engine on the texts that do not exceed the limit on their size. The others get an error.
    async fn outcomes(
        &self,
        texts: Vec<String>,
        options: RecognizeOptions,
        caller: &Caller,
    ) -> Result<Vec<Outcome<Entities>>, BridgeError> {
        self.check_options(&options, texts.len())?;
        let limit = self.text_limit;
        let too_large = |(index, text): (usize, &String)| {
            Err(BridgeError::InputTooLarge { index: Some(index), bytes: text.len(), limit })
        };
        let mut outcomes: Vec<Outcome<Entities>> = texts.iter().enumerate().map(too_large).collect();
        let chosen: Vec<Chosen> = texts.into_iter().enumerate().filter(|(_, text)| text.len() <= limit).collect();
        let indices: Vec<usize> = chosen.iter().map(|(index, _)| *index).collect();
        let answers = Arc::clone(&self.recognizer).recognize_each(chosen, options, caller).await?;
        for (index, answer) in indices.into_iter().zip(answers) {
            outcomes[index] = answer.map_err(|error| error.with_index(Some(index)));
        }
        Ok(outcomes)
    }
}

#[async_trait]
impl Backend for NerModel {
    async fn load(&self, caller: &Caller) -> Result<(), BridgeError> {
        self.recognizer.load(caller).await
    }

    fn unload(&self) {
        self.recognizer.unload();
    }

    async fn self_test(self: Arc<Self>, caller: Caller) -> Result<(), BridgeError> {
        let sentence_starts = self.recognizer.requires_sentence_starts().then(|| vec![vec![0]]);
        let labels = self.recognizer.takes_labels().then(|| vec!["location".to_owned()]);
        let options = RecognizeOptions { sentence_starts, labels, ..RecognizeOptions::default() };
        all(self.recognize_each(vec!["health".to_owned()], options, caller).await?).map(|_| ())
    }

    fn status(&self) -> LaneStatus {
        self.recognizer.status()
    }

    fn max_tokens(&self) -> Option<usize> {
        self.recognizer.max_tokens()
    }
}

#[async_trait]
impl RecognizeBackend for NerModel {
    fn check_options(&self, options: &RecognizeOptions, texts: usize) -> Result<(), BridgeError> {
        if let Some(name) = options.label_option().filter(|_| !self.recognizer.takes_labels()) {
            return Err(BridgeError::config(format!(
                "{name} was passed, but the labels of this model are fixed: omit it"
            )));
        }
        self.recognizer.check(options, texts)
    }

    async fn recognize_each(
        self: Arc<Self>,
        texts: Vec<String>,
        options: RecognizeOptions,
        caller: Caller,
    ) -> Result<Vec<Outcome<Entities>>, BridgeError> {
        let (started, count) = (Instant::now(), texts.len());
        let outcomes = self.outcomes(texts, options, &caller).await;
        let outcomes = outcomes.inspect_err(|error| self.meter.error(error.code()))?;
        outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).for_each(|error| self.meter.error(error.code()));
        let tokens = outcomes.iter().flatten().filter_map(|entities| entities.tokens).sum();
        self.meter.request(count, tokens, started.elapsed());
        Ok(outcomes)
    }
}

impl FamilyModel for NerModel {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn variant(&self) -> &str {
        &self.variant
    }

    fn into_backend(self: Arc<Self>) -> AnyBackend {
        AnyBackend::Recognize(self)
    }

    fn replay(self: Arc<Self>, cases: &[u8], report: Report<'_>) -> Result<VariantReport, BridgeError> {
        super::replay::replay(&self, cases, report)
    }

    #[cfg(feature = "cli")]
    fn workload(
        self: Arc<Self>,
        file: &std::path::Path,
        limit: usize,
    ) -> Result<Box<dyn crate::families::model::Workload>, BridgeError> {
        let answer = move |inputs: &[super::line::Line]| {
            let Some(first) = inputs.first() else { return Ok(()) };
            if !inputs.iter().all(|input| input.is_like(first)) {
                return Err(BridgeError::config("the lines have different options, expected the same in all"));
            }
            let texts: Vec<String> = inputs.iter().map(|input| input.text.clone()).collect();
            let sentence_starts = inputs.iter().map(|input| input.sentence_starts.clone()).collect();
            let options = first.options(&RecognizeOptions::default())?;
            self.recognize(texts, RecognizeOptions { sentence_starts, ..options }).map(|_| ())
        };
        crate::families::model::read_workload(file, limit, answer)
    }
}
