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
use crate::families::model::Model;
use crate::families::report::VariantReport;
use crate::runtime::batch::{Bounds, Outcome, pad, run_all, run_apart};
use crate::runtime::meter::Meter;
use crate::runtime::options::ModelOptions;
use crate::runtime::session::Pool;
use crate::runtime::transformer::{Transformer, check_finite};
use crate::tokenizer::{Encoded, TextEncoder};

/// The graph's input with the number of tokens of the prompt. Pooling excludes these tokens.
pub(super) const PROMPT_LENGTH: Port = ("prompt_length", "int64", 1);

/// Options of a call that embeds texts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EmbedOptions {
    /// The prompt put before every text, by its name in the manifest; `None` for the manifest's `default_prompt`.
    pub prompt_name: Option<String>,
}

impl EmbedOptions {
    /// Options that select a prompt by its name.
    pub fn with_prompt(name: impl Into<String>) -> Self {
        Self { prompt_name: Some(name.into()) }
    }
}

/// The answer for one text.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Embedding {
    /// The vector: `dim` finite float32 values.
    pub vector: Vec<f32>,
    /// The number of tokens that the model read, including special tokens and the prompt, without padding.
    pub token_count: usize,
    /// Whether the text was truncated to the model's `max_tokens`.
    pub truncated: bool,
}

/// The answers for a batch, each field in the order of the texts.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Embeddings {
    /// One vector of `dim` finite float32 values per text.
    pub vectors: Vec<Vec<f32>>,
    /// The number of tokens that the model read of each text, including special tokens and the prompt, without padding.
    pub token_counts: Vec<usize>,
    /// Whether each text was truncated to the model's `max_tokens`.
    pub truncated: Vec<bool>,
    /// The number of elements of a vector.
    pub dim: usize,
}

/// The name of the graph's output, which has one vector per text.
const OUTPUT: &str = "sentence_embedding";

/// The vectors of several texts, or their errors, in the order of the texts.
type Outcomes = Vec<Outcome<Embedding>>;
/// The vector of one text, or its error.
type Vector = Outcome<Vec<f32>>;

/// One variant of an embedding model.
pub(crate) struct EmbeddingModel {
    pub(crate) manifest: Arc<Manifest>,
    pub(crate) variant: String,
    pub(crate) spec: EmbeddingSpec,
    pub(crate) max_tokens: usize,
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
    pub(crate) fn embed(&self, texts: &[&str], options: &EmbedOptions) -> Result<Embeddings, BridgeError> {
        let mut answer = Embeddings {
            vectors: Vec::with_capacity(texts.len()),
            token_counts: Vec::with_capacity(texts.len()),
            truncated: Vec::with_capacity(texts.len()),
            dim: self.spec.dim,
        };
        for outcome in self.embed_each(texts, options)? {
            let embedding = outcome?;
            answer.vectors.push(embedding.vector);
            answer.token_counts.push(embedding.token_count);
            answer.truncated.push(embedding.truncated);
        }
        Ok(answer)
    }

    /// The outcome of every text. The whole call fails only if no text can be embedded.
    pub(crate) fn embed_each(&self, texts: &[&str], options: &EmbedOptions) -> Result<Outcomes, BridgeError> {
        let started = Instant::now();
        let outcomes = self.outcomes(texts, options).inspect_err(|error| self.meter.error(error.code()))?;
        outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).for_each(|error| self.meter.error(error.code()));
        let tokens = outcomes.iter().flatten().map(|embedding| embedding.token_count).sum();
        self.meter.request(texts.len(), tokens, started.elapsed());
        Ok(outcomes)
    }

    fn outcomes(&self, texts: &[&str], options: &EmbedOptions) -> Result<Outcomes, BridgeError> {
        let prompt = self.prompt(options)?;
        let encoded: Vec<_> = texts.iter().enumerate().map(|(index, text)| self.encode(index, text, prompt)).collect();
        let vectors = self.run_all(&encoded, prompt.map_or(0, |prompt| prompt.tokens))?;
        let outcome = |(text, vector): (Outcome<Encoded>, Option<Vector>)| {
            let text = text?;
            let vector = vector.unwrap_or_else(|| Err(BridgeError::inference(None, "was not run")))?;
            Ok(Embedding { vector, token_count: text.ids.len(), truncated: text.truncated })
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
    fn run_all(&self, texts: &[Outcome<Encoded>], prompt: u64) -> Result<Vec<Option<Vector>>, BridgeError> {
        let length = |(index, text): (usize, &Outcome<Encoded>)| Some((index, text.as_ref().ok()?.ids.len()));
        let items = texts.iter().enumerate().filter_map(length).collect();
        run_all(texts.len(), items, self.pool.limit(), Bounds::default(), |run| {
            let rows: Vec<&[i64]> =
                run.iter().filter_map(|&index| Some(texts[index].as_ref().ok()?.ids.as_slice())).collect();
            let vectors = self.run(&rows, prompt)?.into_iter().zip(run);
            Ok(vectors.map(|(vector, &index)| vector.map_err(|error| error.with_index(Some(index)))).collect())
        })
    }

    /// Runs the graph once on several texts. Returns the vector of each text or its error.
    ///
    /// # Errors
    /// `dependency` or `graph`, which concern every text.
    fn run(&self, rows: &[&[i64]], prompt: u64) -> Result<Vec<Vector>, BridgeError> {
        let mut lease = self.pool.lease()?;
        let length = i64::try_from(prompt).unwrap_or(0);
        Ok(run_apart(rows, |rows| {
            let (batch, shape) = (pad(rows, self.pad_id), [rows.len(), self.spec.dim]);
            let other = |name: &str| (name == PROMPT_LENGTH.0).then(|| Tensor::from_array(([1], vec![length])));
            self.encoder.run(lease.session()?, batch, other, &shape, |values| {
                values.chunks_exact(self.spec.dim).map(finite_vector).collect()
            })
        }))
    }
}

fn finite_vector(values: &[f32]) -> Vector {
    check_finite(values).map(|()| values.to_vec())
}

impl Model for EmbeddingModel {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn variant(&self) -> &str {
        &self.variant
    }

    fn warm_up(&self) -> Result<(), BridgeError> {
        self.pool.lease().map(|_| ())
    }

    fn unload(&self) {
        self.pool.clear();
    }

    fn is_healthy(&self) -> bool {
        self.embed(&["health"], &EmbedOptions::default()).is_ok_and(|answer| answer.vectors[0].len() == self.spec.dim)
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
