//! A sentence embedding model, which computes one vector per text.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use async_trait::async_trait;
use ort::value::Tensor;
use tokenizers::Tokenizer;

use super::ROLE;
use super::section::{EmbeddingSpec, Prompt, Sections};
use super::split::split;
use crate::BridgeError;
use crate::artifact::Manifest;
use crate::artifact::files::ArtifactFiles;
use crate::artifact::graph::Port;
use crate::families::golden_cases::Report;
use crate::families::model::FamilyModel;
use crate::families::report::VariantReport;
use crate::runtime::batch::{Bounds, Outcome, pad, plan};
use crate::runtime::blocking::block_on;
use crate::runtime::cancellation::Stop;
use crate::runtime::graph_session::GraphSession;
use crate::runtime::lane::{Caller, Job, Lane, Runner};
use crate::runtime::meter::Meter;
use crate::runtime::options::ModelOptions;
use crate::runtime::scope::RunScope;
use crate::runtime::session::SessionFactory;
use crate::runtime::transformer::{Transformer, check_finite};
use crate::status::LaneStatus;
use crate::tasks::backend::{AnyBackend, Backend, EmbedBackend, WindowBackend, all};
use crate::tasks::text_windows::TextWindows;
use crate::tasks::{EmbedOptions, Embedding, Embeddings};
use crate::tokenizer::{Encoded, TextEncoder};

/// The graph's input with the number of tokens of the prompt. Pooling excludes these tokens.
pub(super) const PROMPT_LENGTH: Port = ("prompt_length", "int64", 1);

/// The name of the graph's output, which has one vector per text.
const OUTPUT: &str = "sentence_embedding";

/// The vectors of several texts, or their errors, in the order of the texts.
type Outcomes = Vec<Outcome<Embedding>>;

/// One variant of an embedding model.
pub(crate) struct EmbeddingModel {
    manifest: Arc<Manifest>,
    pub(super) variant: String,
    spec: EmbeddingSpec,
    max_tokens: usize,
    tokenizer: Arc<TextEncoder>,
    /// A copy of the tokenizer without truncation, made for the first long text, because it copies the vocabulary.
    whole: OnceLock<Tokenizer>,
    lane: Lane<VectorRunner>,
    bounds: Bounds,
    text_limit: usize,
    meter: Meter,
}

impl EmbeddingModel {
    /// Opens a variant of a checked artifact. No graph is loaded yet.
    ///
    /// # Errors
    /// `variant` if the manifest has no such variant.
    pub(super) fn new(
        files: &ArtifactFiles,
        sections: &Sections,
        tokenizer: Arc<TextEncoder>,
        variant: &str,
        options: &ModelOptions,
    ) -> Result<Self, BridgeError> {
        let manifest = Arc::clone(files.manifest());
        let graph = manifest.graph(variant, ROLE)?;
        let meter = Meter::of(&manifest);
        let runner = VectorRunner {
            sessions: SessionFactory::of_graph(files.root(), graph, options.engine.clone()),
            encoder: Transformer::new(graph, OUTPUT),
            dim: sections.embedding.dim,
            pad_id: sections.tokenizer.pad_id(),
        };
        Ok(Self {
            lane: Lane::new(runner, options.lane(), meter.clone()),
            bounds: options.bounds(),
            spec: sections.embedding.clone(),
            max_tokens: sections.tokenizer.max_tokens,
            text_limit: options.limits.text,
            variant: variant.to_owned(),
            tokenizer,
            whole: OnceLock::new(),
            meter,
            manifest,
        })
    }

    /// All vectors, or the error of the first text that has one.
    pub(super) fn embed(
        self: &Arc<Self>,
        texts: Vec<String>,
        options: EmbedOptions,
    ) -> Result<Embeddings, BridgeError> {
        let dim = self.dim(&options);
        let outcomes = block_on(Arc::clone(self).embed_each(texts, options, Caller::blocking()))?;
        Ok(Embeddings::new(all(outcomes)?, dim))
    }

    async fn outcomes(
        self: &Arc<Self>,
        texts: Vec<String>,
        options: EmbedOptions,
        caller: &Caller,
    ) -> Result<Outcomes, BridgeError> {
        let permit = self.lane.admit()?;
        let (model, stop, dimensions) = (Arc::clone(self), Arc::clone(&caller.stop), options.dimensions);
        let bytes = texts.iter().map(String::len).sum();
        let prepared = caller.prepare(bytes, move || model.prepare(&texts, &options, &stop));
        let Prepared { job, texts } = prepared.await?;
        let mut vectors = permit.run(job, caller, |_| ()).await?.into_iter();
        let outcome = |(index, text): (usize, Outcome<Text>)| {
            let Text { tokens, truncated } = text?;
            let vector = vectors.next().unwrap_or_else(|| Err(BridgeError::inference(None, "was not run")));
            let vector = vector.map_err(|error| error.with_index(Some(index)))?;
            Ok(Embedding::new(self.spec.shorten(vector, dimensions), tokens, truncated))
        };
        Ok(texts.into_iter().enumerate().map(outcome).collect())
    }

    /// Encodes texts and plans their runs. Texts that cannot be encoded are in no run.
    fn prepare(&self, texts: &[String], options: &EmbedOptions, stop: &Stop) -> Result<Prepared, BridgeError> {
        let prompt = self.prompt(options)?;
        self.spec.check_dimensions(options.dimensions)?;
        let (mut rows, mut encoded) = (Vec::with_capacity(texts.len()), Vec::with_capacity(texts.len()));
        for (index, text) in texts.iter().enumerate() {
            let outcome = stop.check().and_then(|()| self.encode(index, text, prompt));
            encoded.push(outcome.map(|Encoded { ids, truncated }| {
                let tokens = ids.len();
                rows.push(ids);
                Text { tokens, truncated }
            }));
        }
        Ok(Prepared { job: self.job(rows, prompt), texts: encoded })
    }

    /// Plans the runs of some rows.
    fn job(&self, rows: Vec<Vec<i64>>, prompt: Option<&Prompt>) -> Job<VectorRunner> {
        let runs = plan(rows.iter().map(Vec::len).enumerate().collect(), self.bounds);
        let key = prompt.map_or(0, |prompt| i64::try_from(prompt.tokens).unwrap_or(0));
        Job { key, rows, runs, is_last: true }
    }

    fn prompt(&self, options: &EmbedOptions) -> Result<Option<&Prompt>, BridgeError> {
        let spec = &self.spec;
        let Some(name) = options.prompt_name.as_ref().or(spec.default_prompt.as_ref()) else {
            return Ok(None);
        };
        let known = || spec.prompts.keys().cloned().collect();
        let prompt = spec.prompts.get(name);
        prompt.map(Some).ok_or_else(|| BridgeError::PromptNotFound { requested: name.clone(), known: known() })
    }

    fn encode(&self, index: usize, text: &str, prompt: Option<&Prompt>) -> Outcome<Encoded> {
        self.check_size(Some(index), text)?;
        let encoded = match prompt {
            Some(prompt) => self.tokenizer.encode(&format!("{}{text}", prompt.text)),
            None => self.tokenizer.encode(text),
        };
        encoded.map_err(|problem| BridgeError::inference(Some(index), problem))
    }

    fn check_size(&self, index: Option<usize>, text: &str) -> Result<(), BridgeError> {
        let (bytes, limit) = (text.len(), self.text_limit);
        if bytes > limit { Err(BridgeError::InputTooLarge { index, bytes, limit }) } else { Ok(()) }
    }
}

/// The encoded texts of a call.
struct Prepared {
    job: Job<VectorRunner>,
    /// Every text of the call, or why it could not be encoded.
    texts: Vec<Outcome<Text>>,
}

/// What is left of a text after it was encoded.
struct Text {
    tokens: usize,
    truncated: bool,
}

/// Runs the graph on token ids. All rows of a run have prompts of the same length.
struct VectorRunner {
    sessions: SessionFactory,
    encoder: Transformer,
    dim: usize,
    pad_id: i64,
}

impl Runner for VectorRunner {
    type Worker = Arc<GraphSession>;
    type Key = i64;
    type Row = Vec<i64>;
    type Answer = Vec<f32>;

    fn load(&self) -> Result<Arc<GraphSession>, BridgeError> {
        self.sessions.graph_session()
    }

    fn len(ids: &Vec<i64>) -> usize {
        ids.len()
    }

    fn run(
        &self,
        session: &mut Arc<GraphSession>,
        prompt: &i64,
        rows: &[&Vec<i64>],
        scope: &RunScope<'_>,
    ) -> Result<Vec<Outcome<Vec<f32>>>, BridgeError> {
        let ids: Vec<&[i64]> = rows.iter().map(|ids| ids.as_slice()).collect();
        let (batch, shape) = (pad(&ids, self.pad_id), [rows.len(), self.dim]);
        let other = |name: &str| (name == PROMPT_LENGTH.0).then(|| Tensor::from_array(([1], vec![*prompt])));
        self.encoder.run(session, scope, batch, other, &shape, |values| {
            values.chunks_exact(self.dim).map(finite_vector).collect()
        })
    }
}

fn finite_vector(values: &[f32]) -> Outcome<Vec<f32>> {
    check_finite(values).map(|()| values.to_vec())
}

#[async_trait]
impl Backend for EmbeddingModel {
    async fn load(&self, caller: &Caller) -> Result<(), BridgeError> {
        self.lane.warm_up(0, caller).await
    }

    fn unload(&self) {
        self.lane.unload();
    }

    async fn self_test(self: Arc<Self>, caller: Caller) -> Result<(), BridgeError> {
        all(self.embed_each(vec!["health".to_owned()], EmbedOptions::default(), caller).await?).map(|_| ())
    }

    fn status(&self) -> LaneStatus {
        self.lane.status()
    }

    fn max_tokens(&self) -> Option<usize> {
        Some(self.max_tokens)
    }
}

#[async_trait]
impl EmbedBackend for EmbeddingModel {
    fn check_options(&self, options: &EmbedOptions) -> Result<(), BridgeError> {
        self.prompt(options)?;
        self.spec.check_dimensions(options.dimensions)
    }

    fn dim(&self, options: &EmbedOptions) -> usize {
        options.dimensions.unwrap_or(self.spec.dim)
    }

    async fn embed_each(
        self: Arc<Self>,
        texts: Vec<String>,
        options: EmbedOptions,
        caller: Caller,
    ) -> Result<Outcomes, BridgeError> {
        let (started, count) = (Instant::now(), texts.len());
        let outcomes = self.outcomes(texts, options, &caller).await;
        let outcomes = outcomes.inspect_err(|error| self.meter.error(error.code()))?;
        outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).for_each(|error| self.meter.error(error.code()));
        let tokens = outcomes.iter().flatten().filter_map(|embedding| embedding.token_count).sum();
        self.meter.request(count, tokens, started.elapsed());
        Ok(outcomes)
    }

    fn meter(&self) -> &Meter {
        &self.meter
    }

    fn windows(self: Arc<Self>) -> Option<Arc<dyn WindowBackend>> {
        Some(self)
    }
}

#[async_trait]
impl WindowBackend for EmbeddingModel {
    fn model(self: Arc<Self>) -> Result<Arc<dyn WindowBackend>, BridgeError> {
        Ok(self)
    }

    fn normalized(&self) -> bool {
        self.spec.normalized
    }

    fn check(&self, text: &str, options: &EmbedOptions) -> Result<(), BridgeError> {
        self.check_options(options)?;
        self.check_size(None, text)
    }

    async fn split(
        self: Arc<Self>,
        text: Arc<str>,
        options: EmbedOptions,
        stride: usize,
        caller: &Caller,
    ) -> Result<TextWindows, BridgeError> {
        let bytes = text.len();
        let work = move || {
            let prompt = self.prompt(&options)?.map_or("", |prompt| prompt.text.as_str());
            let whole = self.whole.get_or_init(|| self.tokenizer.without_limit());
            split(whole, self.tokenizer.max_text_tokens(), prompt, &text, stride)
        };
        caller.prepare(bytes, work).await
    }

    async fn embed_windows(
        self: Arc<Self>,
        rows: Vec<Vec<i64>>,
        options: &EmbedOptions,
        caller: &Caller,
    ) -> Result<Vec<Vec<f32>>, BridgeError> {
        let permit = self.lane.admit()?;
        let job = self.job(rows, self.prompt(options)?);
        let vectors = permit.run(job, caller, |_| ()).await?.into_iter();
        vectors.map(|vector| Ok(self.spec.shorten(vector?, options.dimensions))).collect()
    }
}

impl FamilyModel for EmbeddingModel {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn variant(&self) -> &str {
        &self.variant
    }

    fn into_backend(self: Arc<Self>) -> AnyBackend {
        AnyBackend::Embed(self)
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
        let answer = move |texts: &[String]| self.embed(texts.to_vec(), EmbedOptions::default()).map(|_| ());
        crate::families::model::read_workload(file, limit, answer)
    }
}
