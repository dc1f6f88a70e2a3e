//! A sentence embedding model, which computes one vector per text.

use std::sync::Arc;
use std::time::Instant;

use ort::value::Tensor;

use super::ROLE;
use super::section::{EmbeddingSpec, Prompt, Sections};
use crate::BridgeError;
use crate::artifact::Manifest;
use crate::artifact::files::ArtifactFiles;
use crate::artifact::graph::Port;
use crate::families::golden_cases::Report;
use crate::families::model::FamilyModel;
use crate::families::report::VariantReport;
use crate::runtime::batch::{Bounds, Outcome, pad, run_all, run_apart};
use crate::runtime::cancellation::Stop;
use crate::runtime::meter::Meter;
use crate::runtime::options::ModelOptions;
use crate::runtime::session::Pool;
use crate::runtime::transformer::{Transformer, check_finite};
use crate::tasks::backend::{AnyBackend, Backend, EmbedBackend, all, stopped};
use crate::tasks::{EmbedOptions, Embedding, Embeddings};
use crate::tokenizer::{Encoded, TextEncoder};

/// The graph's input with the number of tokens of the prompt. Pooling excludes these tokens.
pub(super) const PROMPT_LENGTH: Port = ("prompt_length", "int64", 1);

/// The name of the graph's output, which has one vector per text.
const OUTPUT: &str = "sentence_embedding";

/// The vectors of several texts, or their errors, in the order of the texts.
type Outcomes = Vec<Outcome<Embedding>>;
/// The vector of one text, or its error.
type Vector = Outcome<Vec<f32>>;

/// One variant of an embedding model.
pub(crate) struct EmbeddingModel {
    manifest: Arc<Manifest>,
    pub(super) variant: String,
    spec: EmbeddingSpec,
    max_tokens: usize,
    pad_id: i64,
    tokenizer: Arc<TextEncoder>,
    encoder: Transformer,
    pool: Pool,
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
        Ok(Self {
            encoder: Transformer::new(graph, OUTPUT),
            pool: Pool::of_graph(files.root(), graph, options.engine.clone(), &meter),
            spec: sections.embedding.clone(),
            max_tokens: sections.tokenizer.max_tokens,
            pad_id: sections.tokenizer.pad_id(),
            text_limit: options.limits.text,
            variant: variant.to_owned(),
            tokenizer,
            meter,
            manifest,
        })
    }

    /// All vectors, or the error of the first text that has one.
    pub(super) fn embed(&self, texts: &[&str], options: &EmbedOptions) -> Result<Embeddings, BridgeError> {
        let answers = all(self.embed_each(texts, options, &Stop::default())?)?;
        Ok(Embeddings::new(answers, self.spec.dim))
    }

    fn outcomes(&self, texts: &[&str], options: &EmbedOptions, stop: &Stop) -> Result<Outcomes, BridgeError> {
        let prompt = self.prompt(options)?;
        let encode = |(index, text): (usize, &&str)| {
            stop.check()?;
            self.encode(index, text, prompt)
        };
        let encoded: Vec<_> = texts.iter().enumerate().map(encode).collect();
        let vectors = self.run_all(&encoded, prompt.map_or(0, |prompt| prompt.tokens), stop)?;
        let outcome = |(text, vector): (Outcome<Encoded>, Option<Vector>)| {
            let text = text?;
            let vector = vector.unwrap_or_else(|| Err(BridgeError::inference(None, "was not run")))?;
            Ok(Embedding::new(vector, text.ids.len(), text.truncated))
        };
        Ok(encoded.into_iter().zip(vectors).map(outcome).collect())
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
        if text.len() > self.text_limit {
            return Err(BridgeError::InputTooLarge { index: Some(index), bytes: text.len(), limit: self.text_limit });
        }
        let encoded = match prompt {
            Some(prompt) => self.tokenizer.encode(&format!("{}{text}", prompt.text)),
            None => self.tokenizer.encode(text),
        };
        encoded.map_err(|problem| BridgeError::inference(Some(index), problem))
    }

    /// Runs all texts that could be encoded, with one thread per session. The result has one item per text.
    fn run_all(
        &self,
        texts: &[Outcome<Encoded>],
        prompt: u64,
        stop: &Stop,
    ) -> Result<Vec<Option<Vector>>, BridgeError> {
        let length = |(index, text): (usize, &Outcome<Encoded>)| Some((index, text.as_ref().ok()?.ids.len()));
        let items = texts.iter().enumerate().filter_map(length).collect();
        run_all(texts.len(), items, self.pool.limit(), Bounds::default(), |run| {
            let rows: Vec<&[i64]> =
                run.iter().filter_map(|&index| Some(texts[index].as_ref().ok()?.ids.as_slice())).collect();
            let vectors = stopped(self.run(&rows, prompt, stop), rows.len())?.into_iter().zip(run);
            Ok(vectors.map(|(vector, &index)| vector.map_err(|error| error.with_index(Some(index)))).collect())
        })
    }

    /// Runs the graph once on several texts. Returns the vector of each text or its error.
    ///
    /// # Errors
    /// `dependency` or `graph`, which concern every text, or the reason why the call was stopped.
    fn run(&self, rows: &[&[i64]], prompt: u64, stop: &Stop) -> Result<Vec<Vector>, BridgeError> {
        let mut lease = self.pool.lease(stop)?;
        let length = i64::try_from(prompt).unwrap_or(0);
        Ok(run_apart(rows, |rows| {
            let (batch, shape) = (pad(rows, self.pad_id), [rows.len(), self.spec.dim]);
            let other = |name: &str| (name == PROMPT_LENGTH.0).then(|| Tensor::from_array(([1], vec![length])));
            self.encoder.run(&mut lease, stop, batch, other, &shape, |values| {
                values.chunks_exact(self.spec.dim).map(finite_vector).collect()
            })
        }))
    }
}

fn finite_vector(values: &[f32]) -> Vector {
    check_finite(values).map(|()| values.to_vec())
}

impl Backend for EmbeddingModel {
    fn warm_up(&self) -> Result<(), BridgeError> {
        self.pool.warm_up()
    }

    fn unload(&self) {
        self.pool.clear();
    }

    fn self_test(&self, stop: &Stop) -> Result<(), BridgeError> {
        all(self.embed_each(&["health"], &EmbedOptions::default(), stop)?).map(|_| ())
    }

    fn max_tokens(&self) -> Option<usize> {
        Some(self.max_tokens)
    }
}

impl EmbedBackend for EmbeddingModel {
    fn dim(&self) -> usize {
        self.spec.dim
    }

    fn embed_each(&self, texts: &[&str], options: &EmbedOptions, stop: &Stop) -> Result<Outcomes, BridgeError> {
        let started = Instant::now();
        let outcomes = self.outcomes(texts, options, stop).inspect_err(|error| self.meter.error(error.code()))?;
        outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).for_each(|error| self.meter.error(error.code()));
        let tokens = outcomes.iter().flatten().map(|embedding| embedding.token_count).sum();
        self.meter.request(texts.len(), tokens, started.elapsed());
        Ok(outcomes)
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

    fn replay(&self, cases: &[u8], report: Report<'_>) -> Result<VariantReport, BridgeError> {
        super::replay::replay(self, cases, report)
    }

    #[cfg(feature = "cli")]
    fn workload<'a>(
        &'a self,
        file: &std::path::Path,
        limit: usize,
    ) -> Result<Box<dyn crate::families::model::Workload + 'a>, BridgeError> {
        let answer = move |texts: &[String]| {
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            self.embed(&texts, &EmbedOptions::default()).map(|_| ())
        };
        crate::families::model::read_workload(file, limit, answer)
    }
}
