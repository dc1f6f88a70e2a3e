//! Summaries: messages in, one text out. The search is in the graph.

mod generate;
mod options;
mod parts;

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use tokenizers::Tokenizer;

pub use self::options::{Progress, SummarizeOptions, Summary};

use self::generate::{Generated, Marks};
use self::options::Settings;
use self::parts::{is_blank, parts};
use super::batch::{Bounds, Outcome, pad, run_all, run_apart};
use super::observe::Meter;
use super::session::{EngineOptions, Pool};
use super::stop::{Stop, stoppable};
use crate::BridgeError;
use crate::artifact::Manifest;
use crate::artifact::manifest::{SummarizationSpec, section};
use crate::tokenizer::{Encoded, TextEncoder, guarded};

/// Texts x beams x `max_length` of one run where no other limit is set: what the memory of a run grows with.
pub const DEFAULT_BEAM_LIMIT: usize = 8192;
/// Padded source tokens of one run at most; a text longer than that runs alone.
const SOURCE_BUDGET: usize = 2048;
/// The role of the graph.
const ROLE: &str = "generate";

/// What turns texts into token ids and back; several variants share it.
pub(crate) struct SummaryTexts {
    encoder: TextEncoder,
    /// Made for the first text that is read in parts: it has a vocabulary of its own.
    whole: OnceLock<Tokenizer>,
}

impl SummaryTexts {
    pub(crate) fn new(encoder: TextEncoder) -> Self {
        Self { encoder, whole: OnceLock::new() }
    }

    fn encode(&self, text: &str) -> Outcome<Encoded> {
        self.encoder.encode(text).map_err(|problem| BridgeError::inference(None, problem))
    }

    /// Tokens of a text that is not cut, special ones included.
    fn count(&self, text: &str) -> Outcome<usize> {
        let whole = self.whole.get_or_init(|| self.encoder.without_limit());
        let encoding = guarded(|| whole.encode_fast(text, true));
        encoding.map(|encoding| encoding.len()).map_err(|problem| BridgeError::inference(None, problem))
    }
}

/// Bounds on what a call may ask for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Bytes of UTF-8 of an input, its messages joined.
    pub(crate) text: usize,
    /// Texts x beams x `max_length` of one run.
    pub(crate) beams: usize,
}

/// One variant of a summarization model. Its graph is loaded by the first call.
pub(crate) struct Summarizer {
    pub(crate) manifest: Arc<Manifest>,
    pub(crate) variant: String,
    pub(crate) max_tokens: usize,
    spec: SummarizationSpec,
    texts: Arc<SummaryTexts>,
    pad_id: i64,
    marks: Marks,
    pool: Pool,
    limits: Limits,
    meter: Meter,
}

impl Summarizer {
    /// The model of a checked variant of the artifact at `root`; nothing is loaded yet.
    ///
    /// # Errors
    /// `variant` where the manifest has no such variant.
    pub(crate) fn new(
        root: &Path,
        manifest: Arc<Manifest>,
        texts: Arc<SummaryTexts>,
        variant: &str,
        engine: EngineOptions,
        limits: Limits,
    ) -> Result<Self, BridgeError> {
        let graph = manifest.graph(variant, ROLE)?;
        let spec = section(&manifest.summarization, "summarization")?.clone();
        let pad_id = section(&manifest.tokenizer, "tokenizer")?.pad_id();
        let (max_tokens, marks) = (texts.encoder.max_tokens(), Marks::new(&spec, pad_id));
        let meter = Meter::of(&manifest);
        let pool = Pool::of_graph(root, graph, engine, &meter);
        let variant = variant.to_owned();
        Ok(Self { manifest, variant, max_tokens, spec, texts, pad_id, marks, pool, limits, meter })
    }

    /// Creates the first session, so that the first call does not wait for it.
    pub(crate) fn warm_up(&self) -> Result<(), BridgeError> {
        self.pool.lease().map(|_| ())
    }

    /// Drops the sessions that nobody uses.
    pub(crate) fn unload(&self) {
        self.pool.clear();
    }

    /// Gives a short text the shortest summary.
    pub(crate) fn is_healthy(&self) -> bool {
        let (num_beams, min_length, max_length) = (Some(1), Some(0), Some(2));
        let options = SummarizeOptions { num_beams, min_length, max_length, ..SummarizeOptions::default() };
        self.summarize(&[vec!["health check".to_owned()]], &options).is_ok()
    }

    /// All summaries, or the error of the first input that has one.
    pub(crate) fn summarize(
        &self,
        inputs: &[Vec<String>],
        options: &SummarizeOptions,
    ) -> Result<Vec<Summary>, BridgeError> {
        self.summarize_each(inputs, options)?.into_iter().collect()
    }

    /// Every input's own outcome; fails as a whole only where no input can be summarized. An input that a call which was
    /// stopped had not come to has the code `cancelled` or `timeout`.
    pub(crate) fn summarize_each(
        &self,
        inputs: &[Vec<String>],
        options: &SummarizeOptions,
    ) -> Result<Vec<Outcome<Summary>>, BridgeError> {
        let started = Instant::now();
        let outcomes = self.outcomes(inputs, options).inspect_err(|error| self.meter.error(error.code()))?;
        outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).for_each(|error| self.meter.error(error.code()));
        let tokens = outcomes.iter().flatten().map(|summary| summary.tokens).sum();
        self.meter.request(inputs.len(), tokens, started.elapsed());
        Ok(outcomes)
    }

    fn outcomes(
        &self,
        inputs: &[Vec<String>],
        options: &SummarizeOptions,
    ) -> Result<Vec<Outcome<Summary>>, BridgeError> {
        let settings = Settings::resolve(options, &self.spec, self.limits.beams)?;
        let texts: Vec<Outcome<String>> = inputs.iter().map(|messages| self.join(messages)).collect();
        let outcomes = stoppable(options.cancel.as_ref(), options.timeout, |stop| {
            let call = Call { model: self, settings, stop, progress: options.progress.as_ref() };
            if options.map_reduce { call.reduced(texts) } else { call.summaries(texts) }
        })?;
        let placed = outcomes.into_iter().enumerate();
        Ok(placed.map(|(index, outcome)| outcome.map_err(|error| error.with_index(Some(index)))).collect())
    }

    fn join(&self, messages: &[String]) -> Outcome<String> {
        let between = self.spec.join.len().saturating_mul(messages.len().saturating_sub(1));
        let (bytes, limit) =
            (messages.iter().map(String::len).sum::<usize>().saturating_add(between), self.limits.text);
        if bytes > limit {
            return Err(BridgeError::InputTooLarge { index: None, bytes, limit });
        }
        if messages.iter().all(|message| is_blank(message)) {
            return Err(BridgeError::EmptyInput { index: None });
        }
        Ok(messages.join(&self.spec.join))
    }
}

/// One call: what the texts of all its rounds share.
struct Call<'a> {
    model: &'a Summarizer,
    settings: Settings,
    stop: &'a Stop,
    progress: Option<&'a Progress>,
}

impl Call<'_> {
    /// Summarizes texts that are read once, and cut where they are too long.
    fn summaries(&self, texts: Vec<Outcome<String>>) -> Result<Vec<Outcome<Summary>>, BridgeError> {
        let encode = |text: Outcome<String>| {
            self.stop.check()?;
            self.model.texts.encode(&text?)
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
        let text = self.model.texts.encoder.decode(&token_ids);
        let text = text.map_err(|problem| BridgeError::inference(None, problem))?;
        Ok(Summary { text, tokens: token_ids.len() - 1, token_ids, score, truncated })
    }

    /// Runs all texts that could be encoded, on as many threads as there are sessions; one slot per text.
    fn run_all(&self, texts: &[Outcome<Encoded>]) -> Result<Vec<Option<Outcome<Generated>>>, BridgeError> {
        let length = |(index, text): (usize, &Outcome<Encoded>)| Some((index, text.as_ref().ok()?.ids.len()));
        let items = texts.iter().enumerate().filter_map(length).collect();
        let bounds = Bounds { tokens: SOURCE_BUDGET, texts: self.model.limits.beams / self.settings.places() };
        let done = AtomicUsize::new(texts.iter().filter(|text| text.is_err()).count());
        run_all(texts.len(), items, self.model.pool.limit(), bounds, |run| {
            let rows: Vec<&[i64]> =
                run.iter().filter_map(|&at| Some(texts[at].as_ref().ok()?.ids.as_slice())).collect();
            let outcomes = self.run(&rows)?;
            let before = done.fetch_add(rows.len(), Ordering::Relaxed);
            self.progress.iter().for_each(|progress| progress.tell(before + rows.len(), texts.len()));
            Ok(outcomes)
        })
    }

    /// One run. A call that was stopped gives the reason to every text; its own errors are those of a missing or refused
    /// session, which no text could escape.
    fn run(&self, rows: &[&[i64]]) -> Result<Vec<Outcome<Generated>>, BridgeError> {
        let mut lease = match self.model.pool.lease_while(|| self.stop.check()) {
            Err(reason @ (BridgeError::Cancelled | BridgeError::Timeout { .. })) => {
                return Ok(rows.iter().map(|_| Err(reason.clone())).collect());
            }
            lease => lease?,
        };
        Ok(run_apart(rows, |rows| {
            let (batch, session) = (pad(rows, self.model.pad_id), lease.session()?);
            self.stop.run(|options| self.model.marks.run(session, batch, &self.settings, options))
        }))
    }

    /// Summarizes texts that are read whole: longer ones in parts, whose summaries are the next text.
    fn reduced(&self, texts: Vec<Outcome<String>>) -> Result<Vec<Outcome<Summary>>, BridgeError> {
        let shortened = texts.into_iter().map(|text| self.shorten(text?));
        let (texts, was_cut): (Vec<Outcome<String>>, Vec<bool>) = shortened
            .map(|shortened| match shortened {
                Ok((text, was_cut)) => (Ok(text), was_cut),
                Err(error) => (Err(error), false),
            })
            .unzip();
        let mut outcomes = self.summaries(texts)?;
        for (outcome, was_cut) in outcomes.iter_mut().zip(was_cut) {
            outcome.iter_mut().for_each(|summary| summary.truncated |= was_cut);
        }
        Ok(outcomes)
    }

    /// A text that fits, or that the summaries of its parts make no shorter; and whether a sentence was cut on the way.
    fn shorten(&self, mut text: String) -> Outcome<(String, bool)> {
        let (texts, mut was_cut) = (&self.model.texts, false);
        let mut tokens = texts.count(&text)?;
        while tokens > self.model.max_tokens {
            let parts = parts(&text, |part| self.fits(part))?;
            let found = self.summaries(parts.into_iter().map(|part| Ok(part.to_owned())).collect())?;
            let found = found.into_iter().collect::<Outcome<Vec<Summary>>>()?;
            was_cut |= found.iter().any(|summary| summary.truncated);
            let summaries: Vec<String> = found.into_iter().map(|summary| summary.text).collect();
            text = summaries.join(&self.model.spec.join);
            let before = std::mem::replace(&mut tokens, texts.count(&text)?);
            if tokens >= before {
                break;
            }
        }
        Ok((text, was_cut))
    }

    fn fits(&self, part: &str) -> Outcome<bool> {
        self.stop.check()?;
        Ok(!self.model.texts.encode(part)?.truncated)
    }
}
