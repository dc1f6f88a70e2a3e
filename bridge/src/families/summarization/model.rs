//! A summarizer, which computes one summary per list of messages. The beam search is part of the graph.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use async_trait::async_trait;
use tokenizers::Tokenizer;

use super::generate::SpecialTokens;
use super::options::Settings;
use super::rounds::Rounds;
use super::runner::SummaryRunner;
use super::section::{Sections, SummarizationSpec};
use super::{ROLE, replay};
use crate::BridgeError;
use crate::artifact::Manifest;
use crate::artifact::files::ArtifactFiles;
use crate::families::golden_cases::Report;
use crate::families::model::FamilyModel;
use crate::families::report::VariantReport;
use crate::runtime::batch::{Bounds, Outcome};
use crate::runtime::blocking::block_on;
use crate::runtime::devices::Devices;
use crate::runtime::lane::{Caller, Lane, LaneOptions};
use crate::runtime::meter::Meter;
use crate::runtime::options::{Limits, ModelOptions};
use crate::runtime::session::SessionFactory;
use crate::status::LaneStatus;
use crate::tasks::backend::{AnyBackend, Backend, SummarizeBackend, all};
use crate::tasks::chunks::is_whitespace;
use crate::tasks::{SummarizeOptions, Summary};
use crate::tokenizer::{Encoded, TextEncoder, guarded};

/// The default limit on the padded source tokens of one run; a text that exceeds it runs alone.
const SOURCE_BUDGET: usize = 2048;
/// The default limit on searches at the same time: each reads all weights for every token, and its caches need hundreds of
/// megabytes.
const MAX_SEARCHES: usize = 2;

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

    pub(super) fn encode(&self, text: &str) -> Outcome<Encoded> {
        self.encoder.encode(text).map_err(|problem| BridgeError::inference(None, problem))
    }

    /// The text of generated token ids, without special tokens.
    pub(super) fn decode(&self, token_ids: &[i64]) -> Outcome<String> {
        self.encoder.decode(token_ids).map_err(|problem| BridgeError::inference(None, problem))
    }

    /// The number of tokens that a text has if it is not truncated, including special tokens.
    pub(super) fn count(&self, text: &str) -> Outcome<usize> {
        let tokenizer = self.without_limit.get_or_init(|| self.encoder.without_limit());
        let encoding = guarded(|| tokenizer.encode_fast(text, true));
        encoding.map(|encoding| encoding.len()).map_err(|problem| BridgeError::inference(None, problem))
    }
}

/// One variant of a summarizer. Its graph is loaded by the first call.
pub(crate) struct SummaryModel {
    manifest: Arc<Manifest>,
    variant: String,
    pub(super) max_tokens: usize,
    pub(super) spec: SummarizationSpec,
    pub(super) tokenizer: Arc<SummaryTokenizer>,
    pub(super) lane: Lane<SummaryRunner>,
    source_budget: usize,
    /// The number of searches at the same time.
    pub(super) workers: usize,
    limits: Limits,
    meter: Meter,
}

/// Refuses what ends the process: ONNX Runtime 1.31 crashes when it loads an int8 summarizer on a GPU of NVIDIA.
fn check_device(variant: &str, devices: &Devices) -> Result<(), BridgeError> {
    match devices.with_provider(&["CUDAExecutionProvider", "TensorrtExecutionProvider"]) {
        Some(device) if variant == "int8" => Err(BridgeError::Device {
            device: device.name.clone(),
            reason: "ONNX Runtime crashes with the int8 graph of a summarizer there, use fp32".to_owned(),
            available: vec!["cpu".to_owned()],
        }),
        _ => Ok(()),
    }
}

impl SummaryModel {
    /// Opens a variant of a checked artifact. No graph is loaded yet.
    ///
    /// # Errors
    /// `variant` if the manifest has no such variant, `device` for int8 on a GPU of NVIDIA.
    pub(super) fn new(
        files: &ArtifactFiles,
        sections: &Sections,
        tokenizer: Arc<SummaryTokenizer>,
        variant: &str,
        options: &ModelOptions,
    ) -> Result<Self, BridgeError> {
        let manifest = Arc::clone(files.manifest());
        let graph = manifest.graph(variant, ROLE)?;
        check_device(variant, &options.engine.devices)?;
        let (spec, pad_id) = (sections.summarization.clone(), sections.tokenizer.pad_id());
        let meter = Meter::of(&manifest);
        let engine = options.engine.clone().with_default_workers_up_to(MAX_SEARCHES);
        let workers = engine.workers();
        let runner = SummaryRunner {
            sessions: SessionFactory::of_graph(files.root(), graph, engine),
            special_tokens: SpecialTokens::new(&spec, pad_id),
            pad_id,
        };
        // The texts of several calls do not run together: a run lasts as long as its longest summary.
        let (lane, source_budget) = (options.lane(), options.sharing.run_tokens.unwrap_or(SOURCE_BUDGET));
        let slot_tokens = lane.slot_tokens.map(|_| source_budget);
        let lane = LaneOptions { workers, overlaps: workers > 1, merges: false, slot_tokens, ..lane };
        Ok(Self {
            lane: Lane::new(runner, lane, meter.clone()),
            source_budget,
            workers,
            max_tokens: sections.tokenizer.max_tokens,
            variant: variant.to_owned(),
            limits: options.limits,
            spec,
            tokenizer,
            meter,
            manifest,
        })
    }

    /// The summaries of all inputs, or the error of the first input that has one.
    pub(super) fn summarize(
        self: &Arc<Self>,
        inputs: Vec<Vec<String>>,
        options: SummarizeOptions,
    ) -> Result<Vec<Summary>, BridgeError> {
        all(block_on(Arc::clone(self).summarize_each(inputs, options, Caller::blocking()))?)
    }

    /// The limits of a run with some settings.
    pub(super) fn bounds(&self, settings: &Settings) -> Bounds {
        Bounds { tokens: self.source_budget, texts: self.limits.beams / settings.beam_tokens() }
    }

    async fn outcomes(
        self: &Arc<Self>,
        inputs: &[Vec<String>],
        options: &SummarizeOptions,
        caller: &Caller,
    ) -> Result<Vec<Outcome<Summary>>, BridgeError> {
        let settings = self.settings(options)?;
        let texts: Vec<Outcome<String>> = inputs.iter().map(|messages| self.join(messages)).collect();
        let permit = self.lane.admit()?;
        let rounds = Rounds { model: self, settings, caller, permit, progress: options.progress.as_ref() };
        let outcomes =
            if options.map_reduce { rounds.reduced(texts).await? } else { rounds.summaries(texts, true).await? };
        let outcomes = outcomes.into_iter().enumerate();
        Ok(outcomes.map(|(index, outcome)| outcome.map_err(|error| error.with_index(Some(index)))).collect())
    }

    fn settings(&self, options: &SummarizeOptions) -> Result<Settings, BridgeError> {
        options.refuse_prompting()?;
        Settings::resolve(options, &self.spec, self.limits.beams)
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

#[async_trait]
impl Backend for SummaryModel {
    async fn load(&self, caller: &Caller) -> Result<(), BridgeError> {
        let settings = Settings::resolve(&SummarizeOptions::default(), &self.spec, usize::MAX)?;
        self.lane.warm_up(settings, caller).await
    }

    fn unload(&self) {
        self.lane.unload();
    }

    /// Summarizes a short text with the smallest possible number of generated tokens.
    async fn self_test(self: Arc<Self>, caller: Caller) -> Result<(), BridgeError> {
        let options = SummarizeOptions::default().num_beams(1).min_length(0).max_length(2);
        all(self.summarize_each(vec![vec!["health check".to_owned()]], options, caller).await?).map(|_| ())
    }

    fn status(&self) -> LaneStatus {
        self.lane.status()
    }

    fn max_tokens(&self) -> Option<usize> {
        Some(self.max_tokens)
    }
}

#[async_trait]
impl SummarizeBackend for SummaryModel {
    fn check_options(&self, options: &SummarizeOptions) -> Result<(), BridgeError> {
        self.settings(options).map(|_| ())
    }

    async fn summarize_each(
        self: Arc<Self>,
        inputs: Vec<Vec<String>>,
        options: SummarizeOptions,
        caller: Caller,
    ) -> Result<Vec<Outcome<Summary>>, BridgeError> {
        let started = Instant::now();
        let outcomes = self.outcomes(&inputs, &options, &caller).await;
        let outcomes = outcomes.inspect_err(|error| self.meter.error(error.code()))?;
        outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).for_each(|error| self.meter.error(error.code()));
        let tokens = outcomes.iter().flatten().filter_map(|summary| summary.tokens).sum();
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

    fn replay(self: Arc<Self>, cases: &[u8], report: Report<'_>) -> Result<VariantReport, BridgeError> {
        replay::replay(&self, cases, report)
    }

    #[cfg(feature = "cli")]
    fn workload(
        self: Arc<Self>,
        file: &std::path::Path,
        limit: usize,
    ) -> Result<Box<dyn crate::families::model::Workload>, BridgeError> {
        let answer = move |inputs: &[super::messages::Messages]| {
            let inputs: Vec<Vec<String>> = inputs.iter().map(|input| input.0.clone()).collect();
            self.summarize(inputs, SummarizeOptions::default()).map(|_| ())
        };
        crate::families::model::read_workload(file, limit, answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn int8_is_refused_where_it_would_crash() {
        let code = |variant, provider| check_device(variant, &Devices::of_providers(&[provider])).map_err(|e| e.code());
        assert_eq!(code("int8", "CUDAExecutionProvider"), Err(crate::ErrorCode::Device));
        assert_eq!(code("fp32", "CUDAExecutionProvider"), Ok(()));
        assert_eq!(code("int8", "CPUExecutionProvider"), Ok(()));
    }
}
