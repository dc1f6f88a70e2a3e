//! Sentence embedding: texts in, one vector per text out.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::batch::{TOKEN_BUDGET, in_parallel, pad, plan};
use super::observe::Meter;
use super::run::{Encoder, check_finite};
use super::session::{EngineOptions, GraphFile, Pool};
use crate::BridgeError;
use crate::artifact::Manifest;
use crate::artifact::manifest::Prompt;
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

/// The outcome of every text, in order.
type Outcomes = Vec<Result<Embedding, BridgeError>>;
/// The vector of one text, or why it has none.
type Vector = Result<Vec<f32>, BridgeError>;

/// One variant of an embedding model.
pub(crate) struct EmbeddingModel {
    pub(crate) manifest: Arc<Manifest>,
    pub(crate) variant: String,
    tokenizer: Arc<TextEncoder>,
    encoder: Encoder,
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
        let graph = manifest.variants.get(variant).and_then(|variant| variant.graphs.get(ROLE));
        let graph = graph.ok_or_else(|| manifest.unknown_variant(variant))?;
        let file = GraphFile {
            name: graph.file.clone(),
            path: root.join(&graph.file),
            min_onnxruntime: graph.min_onnxruntime.clone(),
        };
        let encoder = Encoder::new(graph, manifest.embedding.dim);
        let meter = Meter::of(&manifest);
        let load_meter = meter.clone();
        let pool = Pool::new(file, engine, move |elapsed| load_meter.load(elapsed));
        Ok(Self { manifest, variant: variant.to_owned(), tokenizer, encoder, pool, text_limit, meter })
    }

    /// Creates the first session, so that the first call does not wait for it.
    pub(crate) fn warm_up(&self) -> Result<(), BridgeError> {
        self.pool.lease().map(|_| ())
    }

    /// Drops the sessions that nobody uses.
    pub(crate) fn unload(&self) {
        self.pool.clear();
    }

    /// The graph's file, relative to the artifact.
    pub(crate) fn graph_file(&self) -> &str {
        self.pool.graph_file()
    }

    /// All vectors, or the error of the first text that has one.
    pub(crate) fn embed(&self, texts: &[&str], options: &EmbedOptions) -> Result<Embeddings, BridgeError> {
        let mut answer = Embeddings {
            vectors: Vec::with_capacity(texts.len()),
            token_counts: Vec::with_capacity(texts.len()),
            truncated: Vec::with_capacity(texts.len()),
            dim: self.manifest.embedding.dim,
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
        let outcome = |(text, vector): (Result<Encoded, BridgeError>, Option<Vector>)| {
            let text = text?;
            let vector = vector.unwrap_or_else(|| Err(BridgeError::inference(None, "was not run")))?;
            Ok(Embedding { vector, token_count: text.ids.len(), truncated: text.truncated })
        };
        Ok(encoded.into_iter().zip(vectors).map(outcome).collect())
    }

    fn prompt(&self, options: &EmbedOptions) -> Result<Option<&Prompt>, BridgeError> {
        let spec = &self.manifest.embedding;
        let Some(name) = options.prompt_name.as_ref().or(spec.default_prompt.as_ref()) else {
            return Ok(None);
        };
        let known = || spec.prompts.keys().cloned().collect();
        let prompt = spec.prompts.get(name);
        prompt.map(Some).ok_or_else(|| BridgeError::PromptNotFound { asked: name.clone(), known: known() })
    }

    fn encode(&self, index: usize, text: &str, prompt: Option<&Prompt>) -> Result<Encoded, BridgeError> {
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
    fn run_all(&self, texts: &[Result<Encoded, BridgeError>], prompt: u64) -> Result<Vec<Option<Vector>>, BridgeError> {
        let length = |(index, text): (usize, &Result<Encoded, _>)| Some((index, text.as_ref().ok()?.ids.len()));
        let runs = plan(texts.iter().enumerate().filter_map(length).collect(), TOKEN_BUDGET);
        let slots = Mutex::new(vec![None; texts.len()]);
        in_parallel(self.pool.limit(), &runs, |run| {
            let rows: Vec<&Encoded> = run.iter().filter_map(|&index| texts[index].as_ref().ok()).collect();
            let vectors = self.run_apart(&rows, prompt)?;
            let mut slots = slots.lock().unwrap_or_else(PoisonError::into_inner);
            for (&index, vector) in run.iter().zip(vectors) {
                slots[index] = Some(vector.map_err(|error| error.with_index(Some(index))));
            }
            Ok(())
        })?;
        Ok(slots.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// One run; where it fails, every text for itself, so that one bad text does not lose the others.
    fn run_apart(&self, rows: &[&Encoded], prompt: u64) -> Result<Vec<Vector>, BridgeError> {
        let mut lease = self.pool.lease()?;
        let spec = &self.manifest.tokenizer;
        let mut attempt = |rows: &[&Encoded]| -> Result<Vec<Vector>, BridgeError> {
            let padded = pad(rows, i64::try_from(spec.pad_token_id).unwrap_or(0));
            let vectors = self.encoder.run(lease.session()?, padded, prompt)?;
            Ok(vectors.into_iter().map(check_finite).collect())
        };
        match attempt(rows) {
            Err(error) if rows.len() == 1 => Ok(vec![Err(error)]),
            Err(_) => Ok(rows.iter().map(|row| attempt(&[row]).and_then(|mut one| one.remove(0))).collect()),
            vectors => vectors,
        }
    }
}
