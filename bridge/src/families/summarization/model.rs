//! A summarizer, which computes one summary per list of messages. The beam search is part of the graph.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use tokenizers::Tokenizer;

use super::chunks::{chunks, is_whitespace};
use super::generate::{Generated, SpecialTokens};
use super::options::Settings;
use super::section::{Sections, SummarizationSpec};
use super::{ROLE, replay};
use crate::BridgeError;
use crate::artifact::Manifest;
use crate::artifact::files::ArtifactFiles;
use crate::families::golden_cases::Report;
use crate::families::model::FamilyModel;
use crate::families::report::VariantReport;
use crate::runtime::batch::{Bounds, Outcome, pad, run_all, run_apart};
use crate::runtime::cancellation::Stop;
use crate::runtime::meter::Meter;
use crate::runtime::options::{Limits, ModelOptions};
use crate::runtime::session::Pool;
use crate::tasks::backend::{AnyBackend, Backend, SummarizeBackend, all, stopped};
use crate::tasks::{Progress, SummarizeOptions, Summary};
use crate::tokenizer::{Encoded, TextEncoder, guarded};

/// Limit on the padded source tokens of one run; a text that exceeds it runs alone.
const SOURCE_BUDGET: usize = 2048;

/// Converts texts to token ids and back. The variants of an artifact share it.
pub(super) struct SummaryTokenizer {
    encoder: TextEncoder,
    /// A copy of the tokenizer that does not truncate. It is created for the first text that is split into chunks,
    /// because it needs memory for its own vocabulary.
    without_limit: OnceLock<Tokenizer>,
}

impl SummaryTokenizer {
    pub(super) fn new(encoder: TextEncoder) -> Self {
        Self { encoder, without_limit: OnceLock::new() }
    }

    fn encode(&self, text: &str) -> Outcome<Encoded> {
        self.encoder.encode(text).map_err(|problem| BridgeError::inference(None, problem))
    }

    /// The number of tokens that a text has if it is not truncated, including special tokens.
    fn count(&self, text: &str) -> Outcome<usize> {
        let tokenizer = self.without_limit.get_or_init(|| self.encoder.without_limit());
        let encoding = guarded(|| tokenizer.encode_fast(text, true));
        encoding.map(|encoding| encoding.len()).map_err(|problem| BridgeError::inference(None, problem))
    }
}

/// One variant of a summarizer. Its graph is loaded by the first call.
pub(crate) struct SummaryModel {
    manifest: Arc<Manifest>,
    variant: String,
    max_tokens: usize,
    spec: SummarizationSpec,
    tokenizer: Arc<SummaryTokenizer>,
    pad_id: i64,
    special_tokens: SpecialTokens,
    pool: Pool,
    limits: Limits,
    meter: Meter,
}

impl SummaryModel {
    /// Opens a variant of a checked artifact. No graph is loaded yet.
    ///
    /// # Errors
    /// `variant` if the manifest has no such variant.
    pub(super) fn new(
        files: &ArtifactFiles,
        sections: &Sections,
        tokenizer: Arc<SummaryTokenizer>,
        variant: &str,
        options: &ModelOptions,
    ) -> Result<Self, BridgeError> {
        let manifest = Arc::clone(files.manifest());
        let graph = manifest.graph(variant, ROLE)?;
        let (spec, pad_id) = (sections.summarization.clone(), sections.tokenizer.pad_id());
        let meter = Meter::of(&manifest);
        Ok(Self {
            pool: Pool::of_graph(files.root(), graph, options.engine.clone(), &meter),
            max_tokens: sections.tokenizer.max_tokens,
            special_tokens: SpecialTokens::new(&spec, pad_id),
            variant: variant.to_owned(),
            limits: options.limits,
            spec,
            tokenizer,
            pad_id,
            meter,
            manifest,
        })
    }

    /// The summaries of all inputs, or the error of the first input that has one.
    pub(super) fn summarize(
        &self,
        inputs: &[Vec<String>],
        options: &SummarizeOptions,
    ) -> Result<Vec<Summary>, BridgeError> {
        all(self.summarize_each(inputs, options, &Stop::default())?)
    }

    fn outcomes(
        &self,
        inputs: &[Vec<String>],
        options: &SummarizeOptions,
        stop: &Stop,
    ) -> Result<Vec<Outcome<Summary>>, BridgeError> {
        let settings = Settings::resolve(options, &self.spec, self.limits.beams)?;
        let texts: Vec<Outcome<String>> = inputs.iter().map(|messages| self.join(messages)).collect();
        let call = Call { model: self, settings, stop, progress: options.progress.as_ref() };
        let outcomes = if options.map_reduce { call.reduced(texts) } else { call.summaries(texts) }?;
        let outcomes = outcomes.into_iter().enumerate();
        Ok(outcomes.map(|(index, outcome)| outcome.map_err(|error| error.with_index(Some(index)))).collect())
    }

    fn join(&self, messages: &[String]) -> Outcome<String> {
        let separators = self.spec.join.len().saturating_mul(messages.len().saturating_sub(1));
        let (bytes, limit) =
            (messages.iter().map(String::len).sum::<usize>().saturating_add(separators), self.limits.text);
        if bytes > limit {
            return Err(BridgeError::InputTooLarge { index: None, bytes, limit });
        }
        if messages.iter().all(|message| is_whitespace(message)) {
            return Err(BridgeError::EmptyInput { index: None });
        }
        Ok(messages.join(&self.spec.join))
    }
}

impl Backend for SummaryModel {
    fn warm_up(&self) -> Result<(), BridgeError> {
        self.pool.warm_up()
    }

    fn unload(&self) {
        self.pool.clear();
    }

    /// Summarizes a short text with the smallest possible number of generated tokens.
    fn self_test(&self, stop: &Stop) -> Result<(), BridgeError> {
        let options = SummarizeOptions::default().num_beams(1).min_length(0).max_length(2);
        all(self.summarize_each(&[vec!["health check".to_owned()]], &options, stop)?).map(|_| ())
    }

    fn max_tokens(&self) -> Option<usize> {
        Some(self.max_tokens)
    }
}

impl SummarizeBackend for SummaryModel {
    fn summarize_each(
        &self,
        inputs: &[Vec<String>],
        options: &SummarizeOptions,
        stop: &Stop,
    ) -> Result<Vec<Outcome<Summary>>, BridgeError> {
        let started = Instant::now();
        let outcomes = self.outcomes(inputs, options, stop).inspect_err(|error| self.meter.error(error.code()))?;
        outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).for_each(|error| self.meter.error(error.code()));
        let tokens = outcomes.iter().flatten().map(|summary| summary.tokens).sum();
        self.meter.request(inputs.len(), tokens, started.elapsed());
        Ok(outcomes)
    }
}

impl FamilyModel for SummaryModel {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn variant(&self) -> &str {
        &self.variant
    }

    fn into_backend(self: Arc<Self>) -> AnyBackend {
        AnyBackend::Summarize(self)
    }

    fn replay(&self, cases: &[u8], report: Report<'_>) -> Result<VariantReport, BridgeError> {
        replay::replay(self, cases, report)
    }

    #[cfg(feature = "cli")]
    fn workload<'a>(
        &'a self,
        file: &std::path::Path,
        limit: usize,
    ) -> Result<Box<dyn crate::families::model::Workload + 'a>, BridgeError> {
        let answer = move |inputs: &[super::messages::Messages]| {
            let inputs: Vec<Vec<String>> = inputs.iter().map(|input| input.0.clone()).collect();
            self.summarize(&inputs, &SummarizeOptions::default()).map(|_| ())
        };
        crate::families::model::read_workload(file, limit, answer)
    }
}

/// A text that is replaced by shorter texts until the model can read it.
struct Shortened {
    text: String,
    tokens: usize,
    /// Whether a chunk of the text was truncated.
    was_truncated: bool,
    /// Whether the last replacement was shorter.
    can_shrink: bool,
}

impl Shortened {
    fn is_too_long(&self, max_tokens: usize) -> bool {
        self.can_shrink && self.tokens > max_tokens
    }
}

/// What all rounds of one call share. In a round, all texts are summarized, or the chunks of all texts that are too long.
struct Call<'a> {
    model: &'a SummaryModel,
    settings: Settings,
    stop: &'a Stop,
    progress: Option<&'a Progress>,
}

impl Call<'_> {
    /// Summarizes texts in one round; texts that are too long are truncated.
    fn summaries(&self, texts: Vec<Outcome<String>>) -> Result<Vec<Outcome<Summary>>, BridgeError> {
        let encode = |text: Outcome<String>| {
            self.stop.check()?;
            self.model.tokenizer.encode(&text?)
        };
        let encoded: Vec<Outcome<Encoded>> = texts.into_iter().map(encode).collect();
        let generated = self.run_all(&encoded)?;
        let outcome = |(text, generated): (Outcome<Encoded>, Option<Outcome<Generated>>)| {
            let text = text?;
            let generated = generated.unwrap_or_else(|| Err(BridgeError::inference(None, "was not run")))?;
            self.summary(generated, text.truncated)
        };
        Ok(encoded.into_iter().zip(generated).map(outcome).collect())
    }

    fn summary(&self, generated: Generated, truncated: bool) -> Outcome<Summary> {
        let Generated { token_ids, score } = generated;
        let text = self.model.tokenizer.encoder.decode(&token_ids);
        let text = text.map_err(|problem| BridgeError::inference(None, problem))?;
        Ok(Summary { text, tokens: token_ids.len() - 1, token_ids, score, truncated })
    }

    /// Runs all texts that could be encoded, with one thread per session. The result has one item per text.
    fn run_all(&self, texts: &[Outcome<Encoded>]) -> Result<Vec<Option<Outcome<Generated>>>, BridgeError> {
        let length = |(index, text): (usize, &Outcome<Encoded>)| Some((index, text.as_ref().ok()?.ids.len()));
        let items = texts.iter().enumerate().filter_map(length).collect();
        let bounds = Bounds { tokens: SOURCE_BUDGET, texts: self.model.limits.beams / self.settings.beam_tokens() };
        let done = AtomicUsize::new(texts.iter().filter(|text| text.is_err()).count());
        run_all(texts.len(), items, self.model.pool.limit(), bounds, |run| {
            let rows: Vec<&[i64]> =
                run.iter().filter_map(|&index| Some(texts[index].as_ref().ok()?.ids.as_slice())).collect();
            let outcomes = self.run(&rows)?;
            let before = done.fetch_add(rows.len(), Ordering::Relaxed);
            self.progress.iter().for_each(|progress| progress.report(before + rows.len(), texts.len()));
            Ok(outcomes)
        })
    }

    /// Runs the graph once on several texts. If the call is stopped, the outcome of every text is the reason.
    ///
    /// # Errors
    /// `dependency` or `graph`, which concern every text.
    fn run(&self, rows: &[&[i64]]) -> Result<Vec<Outcome<Generated>>, BridgeError> {
        let outcomes = self.model.pool.lease(self.stop).map(|mut lease| {
            run_apart(rows, |rows| {
                let batch = pad(rows, self.model.pad_id);
                lease.run(self.stop, |session, options| {
                    self.model.special_tokens.run(session, batch, &self.settings, options)
                })
            })
        });
        stopped(outcomes, rows.len())
    }

    /// Summarizes texts without truncating them: a longer text is replaced by the summaries of its chunks until it fits. In
    /// each round, the chunks of all texts that are still too long are summarized together.
    fn reduced(&self, texts: Vec<Outcome<String>>) -> Result<Vec<Outcome<Summary>>, BridgeError> {
        let mut texts: Vec<Outcome<Shortened>> = texts.into_iter().map(|text| self.measured(text?)).collect();
        let max_tokens = self.model.max_tokens;
        while texts.iter().flatten().any(|text| text.is_too_long(max_tokens)) {
            self.shorten(&mut texts)?;
        }
        let was_truncated: Vec<bool> =
            texts.iter().map(|text| text.as_ref().is_ok_and(|text| text.was_truncated)).collect();
        let mut outcomes = self.summaries(texts.into_iter().map(|text| Ok(text?.text)).collect())?;
        for (outcome, was_truncated) in outcomes.iter_mut().zip(was_truncated) {
            outcome.iter_mut().for_each(|summary| summary.truncated |= was_truncated);
        }
        Ok(outcomes)
    }

    fn measured(&self, text: String) -> Outcome<Shortened> {
        self.stop.check()?;
        let tokens = self.model.tokenizer.count(&text)?;
        Ok(Shortened { text, tokens, was_truncated: false, can_shrink: true })
    }

    /// Replaces every text that is too long by the joined summaries of its chunks.
    ///
    /// # Errors
    /// Errors that concern every text. A text that cannot be shortened is replaced by its error.
    fn shorten(&self, texts: &mut [Outcome<Shortened>]) -> Result<(), BridgeError> {
        let max_tokens = self.model.max_tokens;
        let (mut all, mut counts) = (Vec::new(), Vec::new());
        for outcome in texts.iter_mut() {
            let Some(text) = outcome.as_ref().ok().filter(|text| text.is_too_long(max_tokens)) else {
                counts.push(None);
                continue;
            };
            match chunks(&text.text, |chunk| self.fits(chunk)) {
                Ok(chunks) => {
                    counts.push(Some(chunks.len()));
                    all.extend(chunks.into_iter().map(|chunk| Ok(chunk.to_owned())));
                }
                Err(error) => {
                    counts.push(None);
                    *outcome = Err(error);
                }
            }
        }
        let mut summaries = self.summaries(all)?.into_iter();
        for (outcome, count) in texts.iter_mut().zip(counts) {
            if let (Ok(text), Some(count)) = (&mut *outcome, count) {
                let own: Vec<Outcome<Summary>> = summaries.by_ref().take(count).collect();
                if let Err(error) = self.replace(text, own.into_iter().collect()) {
                    *outcome = Err(error);
                }
            }
        }
        Ok(())
    }

    /// Replaces a text by the summaries of its chunks.
    fn replace(&self, text: &mut Shortened, summaries: Outcome<Vec<Summary>>) -> Outcome<()> {
        let summaries = summaries?;
        text.was_truncated |= summaries.iter().any(|summary| summary.truncated);
        let summaries: Vec<String> = summaries.into_iter().map(|summary| summary.text).collect();
        let shorter = self.measured(summaries.join(&self.model.spec.join))?;
        text.can_shrink = shorter.tokens < text.tokens;
        (text.text, text.tokens) = (shorter.text, shorter.tokens);
        Ok(())
    }

    fn fits(&self, chunk: &str) -> Outcome<bool> {
        self.stop.check()?;
        Ok(!self.model.tokenizer.encode(chunk)?.truncated)
    }
}
