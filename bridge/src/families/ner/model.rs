//! A model that finds named entities with any of the engines.

use std::sync::Arc;
use std::time::Instant;

use crate::BridgeError;
use crate::artifact::Manifest;
use crate::artifact::files::ArtifactFiles;
use crate::families::golden_cases::Report;
use crate::families::model::FamilyModel;
use crate::families::report::VariantReport;
use crate::runtime::batch::Outcome;
use crate::runtime::cancellation::Stop;
use crate::runtime::meter::Meter;
use crate::runtime::options::ModelOptions;
use crate::tasks::backend::{AnyBackend, Backend, RecognizeBackend, all};
use crate::tasks::{Entities, RecognizeOptions};

/// The error message for a call that passes sentence starts to a model that does not use any.
pub(crate) const UNEXPECTED_SENTENCE_STARTS: &str =
    "sentence starts were passed, but this model does not use any: omit them";

/// The engine of one variant, which finds entities. Its graphs are loaded by the first call; any thread may call it.
pub(crate) trait Recognizer: Send + Sync {
    /// Creates the first session of every graph.
    ///
    /// # Errors
    /// `dependency` without a usable ONNX Runtime, `graph` if it refuses a graph.
    fn warm_up(&self) -> Result<(), BridgeError>;

    /// Drops the sessions that no call uses at the moment.
    fn unload(&self);

    /// The number of tokens that a text is truncated to if no stride is set; `None` if texts are never truncated.
    fn max_tokens(&self) -> Option<usize>;

    /// Whether calls have to pass the starts of sentences.
    fn requires_sentence_starts(&self) -> bool;

    /// Checks the options of a call. `texts` is the number of texts of the call.
    ///
    /// # Errors
    /// `config`, or `sentence_starts` if sentence starts are missing or unexpected.
    fn check(&self, options: &RecognizeOptions, texts: usize) -> Result<(), BridgeError>;

    /// The outcome of each chosen text. `chosen` has the indices of these texts in `texts`; the outcomes have the order
    /// of `chosen`. If the call is stopped, the texts without an answer fail with the reason.
    ///
    /// # Errors
    /// `dependency` or `graph`, which concern every text.
    fn recognize_each(
        &self,
        texts: &[&str],
        chosen: &[usize],
        options: &RecognizeOptions,
        stop: &Stop,
    ) -> Result<Vec<Outcome<Entities>>, BridgeError>;
}

/// One variant of a model that finds named entities.
pub(crate) struct NerModel {
    manifest: Arc<Manifest>,
    variant: String,
    recognizer: Box<dyn Recognizer>,
    text_limit: usize,
    meter: Meter,
}

impl NerModel {
    /// Opens a variant of a checked artifact. No graph is loaded yet.
    pub(crate) fn new(
        files: &ArtifactFiles,
        variant: &str,
        options: &ModelOptions,
        recognizer: Box<dyn Recognizer>,
    ) -> Self {
        let manifest = Arc::clone(files.manifest());
        let meter = Meter::of(&manifest);
        Self { manifest, variant: variant.to_owned(), recognizer, text_limit: options.limits.text, meter }
    }

    /// The entities of all texts, or the error of the first text that has one.
    pub(crate) fn recognize(&self, texts: &[&str], options: &RecognizeOptions) -> Result<Vec<Entities>, BridgeError> {
        all(self.recognize_each(texts, options, &Stop::default())?)
    }

    /// Runs the engine on the texts that do not exceed the limit on their size. The others get an error.
    fn outcomes(
        &self,
        texts: &[&str],
        options: &RecognizeOptions,
        stop: &Stop,
    ) -> Result<Vec<Outcome<Entities>>, BridgeError> {
        self.recognizer.check(options, texts.len())?;
        let limit = self.text_limit;
        let chosen: Vec<usize> = (0..texts.len()).filter(|&index| texts[index].len() <= limit).collect();
        let too_large =
            |index: usize| BridgeError::InputTooLarge { index: Some(index), bytes: texts[index].len(), limit };
        let mut outcomes: Vec<Outcome<Entities>> = (0..texts.len()).map(|index| Err(too_large(index))).collect();
        for (index, answer) in chosen.iter().zip(self.recognizer.recognize_each(texts, &chosen, options, stop)?) {
            outcomes[*index] = answer.map_err(|error| error.with_index(Some(*index)));
        }
        Ok(outcomes)
    }
}

impl Backend for NerModel {
    fn warm_up(&self) -> Result<(), BridgeError> {
        self.recognizer.warm_up()
    }

    fn unload(&self) {
        self.recognizer.unload();
    }

    fn self_test(&self, stop: &Stop) -> Result<(), BridgeError> {
        let sentence_starts = self.recognizer.requires_sentence_starts().then(|| vec![vec![0]]);
        let options = RecognizeOptions { sentence_starts, ..RecognizeOptions::default() };
        all(self.recognize_each(&["health"], &options, stop)?).map(|_| ())
    }

    fn max_tokens(&self) -> Option<usize> {
        self.recognizer.max_tokens()
    }
}

impl RecognizeBackend for NerModel {
    fn recognize_each(
        &self,
        texts: &[&str],
        options: &RecognizeOptions,
        stop: &Stop,
    ) -> Result<Vec<Outcome<Entities>>, BridgeError> {
        let started = Instant::now();
        let outcomes = self.outcomes(texts, options, stop).inspect_err(|error| self.meter.error(error.code()))?;
        outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).for_each(|error| self.meter.error(error.code()));
        let tokens = outcomes.iter().flatten().map(|entities| entities.tokens).sum();
        self.meter.request(texts.len(), tokens, started.elapsed());
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

    fn replay(&self, cases: &[u8], report: Report<'_>) -> Result<VariantReport, BridgeError> {
        super::replay::replay(self, cases, report)
    }

    #[cfg(feature = "cli")]
    fn workload<'a>(
        &'a self,
        file: &std::path::Path,
        limit: usize,
    ) -> Result<Box<dyn crate::families::model::Workload + 'a>, BridgeError> {
        let answer = move |inputs: &[super::line::Line]| {
            let texts: Vec<&str> = inputs.iter().map(|input| input.text.as_str()).collect();
            // The sentence starts of all lines, or `None` if any line has none. A model that requires them then returns
            // an error.
            let sentence_starts = inputs.iter().map(|input| input.sentence_starts.clone()).collect();
            self.recognize(&texts, &RecognizeOptions { sentence_starts, ..RecognizeOptions::default() }).map(|_| ())
        };
        crate::families::model::read_workload(file, limit, answer)
    }
}
