//! Sentence embedding: texts in, one vector per text out.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::batch::{Bounds, Outcome, pad, run_all, run_apart};
use super::observe::Meter;
use super::run::{Transformer, check_finite};
use super::session::{EngineOptions, Pool};
use crate::BridgeError;
use crate::artifact::Manifest;
use crate::artifact::manifest::{EmbeddingSpec, Prompt, section};
use crate::tokenizer::{Encoded, TextEncoder};

/// Largest text in bytes of UTF-8 where no other limit is set.
pub const DEFAULT_TEXT_LIMIT: usize = 1_000_000;

/// How texts are embedded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EmbedOptions {
    /// The prompt put before every text, by its name in the manifest; `None` for the manifest's `default_prompt`.
    pub prompt_name: Option<String>,
}

impl EmbedOptions {
    /// Options with a prompt.
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
    /// Tokens that the model saw, special tokens and prompt included, padding not.
    pub token_count: usize,
    /// Whether the text was cut to the model's `max_tokens`.
    pub truncated: bool,
}

/// The answers for a batch, each field in the order of the texts.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Embeddings {
    /// One vector of `dim` finite float32 values per text.
    pub vectors: Vec<Vec<f32>>,
    /// Tokens that the model saw of each text, special tokens and prompt included, padding not.
    pub token_counts: Vec<usize>,
    /// Which texts were cut to the model's `max_tokens`.
    pub truncated: Vec<bool>,
    /// Length of a vector.
    pub dim: usize,
}

/// The role of an embedding model's graph.
const ROLE: &str = "encoder";
/// Its output with one vector per text.
const OUTPUT: &str = "sentence_embedding";

/// The outcome of every text, in order.
type Outcomes = Vec<Outcome<Embedding>>;
/// The vector of one text, or why it has none.
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
    /// The model of a checked variant of the artifact at `root`; nothing is loaded yet.
    ///
    /// # Errors
    /// `variant` where the manifest has no such variant.
    pub(crate) fn new(
        root: &Path,
        manifest: Arc<Manifest>,
        tokenizer: Arc<TextEncoder>,
        variant: &str,
        engine: EngineOptions,
        text_limit: usize,
    ) -> Result<Self, BridgeError> {
        let graph = manifest.graph(variant, ROLE)?;
        let spec = section(&manifest.embedding, "embedding")?.clone();
        let texts = section(&manifest.tokenizer, "tokenizer")?;
        let (max_tokens, pad_id) = (texts.max_tokens, texts.pad_id());
        let encoder = Transformer::new(graph, OUTPUT);
        let meter = Meter::of(&manifest);
        let pool = Pool::of_graph(root, graph, engine, &meter);
        let variant = variant.to_owned();
        Ok(Self { manifest, variant, spec, max_tokens, pad_id, tokenizer, encoder, pool, text_limit, meter })
    }

    /// Creates the first session, so that the first call does not wait for it.
    pub(crate) fn warm_up(&self) -> Result<(), BridgeError> {
        self.pool.lease().map(|_| ())
    }

    /// Drops the sessions that nobody uses.
    pub(crate) fn unload(&self) {
        self.pool.clear();
    }

    /// Embeds a short text.
    pub(crate) fn is_healthy(&self) -> bool {
        self.embed(&["health"], &EmbedOptions::default()).is_ok_and(|answer| answer.vectors[0].len() == self.spec.dim)
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

    /// Every text's own outcome; fails as a whole only where no text can be embedded.
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
        prompt.map(Some).ok_or_else(|| BridgeError::PromptNotFound { asked: name.clone(), known: known() })
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

    /// Runs all texts that could be encoded, on as many threads as there are sessions; one slot per text.
    fn run_all(&self, texts: &[Outcome<Encoded>], prompt: u64) -> Result<Vec<Option<Vector>>, BridgeError> {
        let length = |(index, text): (usize, &Outcome<Encoded>)| Some((index, text.as_ref().ok()?.ids.len()));
        let items = texts.iter().enumerate().filter_map(length).collect();
        run_all(texts.len(), items, self.pool.limit(), Bounds::default(), |run| {
            let rows: Vec<&[i64]> =
                run.iter().filter_map(|&at| Some(texts[at].as_ref().ok()?.ids.as_slice())).collect();
            let vectors = self.run(&rows, prompt)?.into_iter().zip(run);
            Ok(vectors.map(|(vector, &index)| vector.map_err(|error| error.with_index(Some(index)))).collect())
        })
    }

    /// One run. Its errors are those of a missing or refused session, which no text could escape.
    fn run(&self, rows: &[&[i64]], prompt: u64) -> Result<Vec<Vector>, BridgeError> {
        let mut lease = self.pool.lease()?;
        Ok(run_apart(rows, |rows| {
            let (batch, shape) = (pad(rows, self.pad_id), [rows.len(), self.spec.dim]);
            self.encoder.run(lease.session()?, batch, prompt, &shape, |values| {
                values.chunks_exact(self.spec.dim).map(finite_vector).collect()
            })
        }))
    }
}

fn finite_vector(values: &[f32]) -> Vector {
    check_finite(values).map(|()| values.to_vec())
}
