//! The rounds of a call: in each, all texts are summarized, or the chunks of all texts that are too long.

use std::future::ready;
use std::sync::Arc;

use super::generate::Generated;
use super::model::{SummaryModel, SummaryTokenizer};
use super::options::Settings;
use super::runner::SummaryRunner;
use crate::BridgeError;
use crate::runtime::batch::{Bounds, Outcome, plan_evenly};
use crate::runtime::blocking::block_on;
use crate::runtime::cancellation::Stop;
use crate::runtime::lane::{Caller, Job, Permit};
use crate::tasks::chunks::chunks;
use crate::tasks::{Progress, Summary};

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

/// What all rounds of one call share.
pub(super) struct Rounds<'a> {
    pub(super) model: &'a Arc<SummaryModel>,
    pub(super) settings: Settings,
    pub(super) caller: &'a Caller,
    pub(super) permit: Permit<SummaryRunner>,
    pub(super) progress: Option<&'a Progress>,
}

impl Rounds<'_> {
    /// Summarizes texts in one round; texts that are too long are truncated. `is_last` says whether it is the call's last
    /// round.
    pub(super) async fn summaries(
        &self,
        texts: Vec<Outcome<String>>,
        is_last: bool,
    ) -> Result<Vec<Outcome<Summary>>, BridgeError> {
        let (reader, settings, count) = (self.reader(), self.settings, texts.len());
        let (bytes, bounds) = (texts.iter().flatten().map(String::len).sum(), self.model.bounds(&settings));
        let prepared = self.caller.prepare(bytes, move || Ok(reader.encode(texts, settings, bounds, is_last)));
        let (job, truncated) = prepared.await?;
        let mut done = truncated.iter().filter(|text| text.is_err()).count();
        let report = |rows| {
            done += rows;
            self.progress.iter().for_each(|progress| progress.report(done, count));
        };
        let mut generated = self.permit.run(job, self.caller, report).await?.into_iter();
        let outcome = |truncated: Outcome<bool>| {
            let truncated = truncated?;
            let generated = generated.next().unwrap_or_else(|| Err(BridgeError::inference(None, "was not run")))?;
            self.summary(generated, truncated)
        };
        Ok(self.caller.trace.decode().in_scope(|| truncated.into_iter().map(outcome).collect()))
    }

    fn summary(&self, generated: Generated, truncated: bool) -> Outcome<Summary> {
        let Generated { token_ids, score } = generated;
        let text = self.model.tokenizer.decode(&token_ids)?;
        Ok(Summary::of_tokens(text, token_ids, score, truncated))
    }

    /// Summarizes texts without truncating them: a longer text is replaced by the summaries of its chunks until it fits. In
    /// each round, the chunks of all texts that are still too long are summarized together.
    pub(super) async fn reduced(&self, texts: Vec<Outcome<String>>) -> Result<Vec<Outcome<Summary>>, BridgeError> {
        let (reader, bytes) = (self.reader(), texts.iter().flatten().map(String::len).sum());
        let measure = move || Ok(texts.into_iter().map(|text| reader.measured(text?)).collect());
        let mut texts: Vec<Outcome<Shortened>> = self.caller.prepare(bytes, measure).await?;
        while texts.iter().flatten().any(|text| text.is_too_long(self.model.max_tokens)) {
            texts = self.shorten(texts).await?;
        }
        let was_truncated: Vec<bool> =
            texts.iter().map(|text| text.as_ref().is_ok_and(|text| text.was_truncated)).collect();
        let mut outcomes = self.summaries(texts.into_iter().map(|text| Ok(text?.text)).collect(), true).await?;
        for (outcome, was_truncated) in outcomes.iter_mut().zip(was_truncated) {
            outcome.iter_mut().for_each(|summary| summary.truncated |= was_truncated);
        }
        Ok(outcomes)
    }

    /// Replaces every text that is too long by the joined summaries of its chunks.
    ///
    /// # Errors
    /// Errors that concern every text. A text that cannot be shortened is replaced by its error.
    async fn shorten(&self, texts: Vec<Outcome<Shortened>>) -> Result<Vec<Outcome<Shortened>>, BridgeError> {
        let (reader, max_tokens) = (self.reader(), self.model.max_tokens);
        let bytes = texts.iter().flatten().map(|text| text.text.len()).sum();
        let split = self.caller.prepare(bytes, move || Ok(reader.split(texts, max_tokens)));
        let Split { texts, chunks, counts } = split.await?;
        let summaries = self.summaries(chunks.into_iter().map(Ok).collect(), false).await?;
        let (reader, separator) = (self.reader(), self.model.spec.join.clone());
        let bytes = summaries.iter().flatten().map(|summary| summary.text.len()).sum();
        let replace = move || {
            let mut summaries = summaries.into_iter();
            let replaced = |(text, count): (Outcome<Shortened>, Option<usize>)| {
                let Some(count) = count else { return text };
                let own: Vec<Outcome<Summary>> = summaries.by_ref().take(count).collect();
                reader.replaced(text?, own.into_iter().collect(), &separator)
            };
            Ok(texts.into_iter().zip(counts).map(replaced).collect())
        };
        self.caller.prepare(bytes, replace).await
    }

    fn reader(&self) -> Reader {
        let (tokenizer, stop) = (Arc::clone(&self.model.tokenizer), Arc::clone(&self.caller.stop));
        Reader { tokenizer, stop, workers: self.model.workers }
    }
}

/// Texts of which some are replaced by their chunks.
struct Split {
    texts: Vec<Outcome<Shortened>>,
    chunks: Vec<String>,
    /// The number of chunks of each text; `None` for a text that is not replaced.
    counts: Vec<Option<usize>>,
}

/// Tokenizes the texts of a call until the call is stopped.
struct Reader {
    tokenizer: Arc<SummaryTokenizer>,
    stop: Arc<Stop>,
    /// The number of searches at the same time.
    workers: usize,
}

impl Reader {
    /// Encodes texts and plans their runs. Returns for every text whether it was truncated, or its error.
    fn encode(
        &self,
        texts: Vec<Outcome<String>>,
        key: Settings,
        bounds: Bounds,
        is_last: bool,
    ) -> (Job<SummaryRunner>, Vec<Outcome<bool>>) {
        let mut rows: Vec<Vec<i64>> = Vec::with_capacity(texts.len());
        let mut encode = |text: Outcome<String>| {
            self.stop.check()?;
            let encoded = self.tokenizer.encode(&text?)?;
            rows.push(encoded.ids);
            Ok(encoded.truncated)
        };
        let truncated = texts.into_iter().map(&mut encode).collect();
        let runs = plan_evenly(rows.iter().map(Vec::len).enumerate().collect(), bounds, self.workers);
        (Job { key, rows, runs, is_last }, truncated)
    }

    fn measured(&self, text: String) -> Outcome<Shortened> {
        self.stop.check()?;
        let tokens = self.tokenizer.count(&text)?;
        Ok(Shortened { text, tokens, was_truncated: false, can_shrink: true })
    }

    /// Splits the texts that are too long into chunks.
    fn split(&self, mut texts: Vec<Outcome<Shortened>>, max_tokens: usize) -> Split {
        let (mut all, mut counts) = (Vec::new(), Vec::with_capacity(texts.len()));
        for outcome in &mut texts {
            let Some(text) = outcome.as_ref().ok().filter(|text| text.is_too_long(max_tokens)) else {
                counts.push(None);
                continue;
            };
            match block_on(chunks(&text.text, |range| ready(self.fits(&text.text[range])))) {
                Ok(chunks) => {
                    counts.push(Some(chunks.len()));
                    all.extend(chunks.into_iter().map(str::to_owned));
                }
                Err(error) => {
                    counts.push(None);
                    *outcome = Err(error);
                }
            }
        }
        Split { texts, chunks: all, counts }
    }

    fn fits(&self, chunk: &str) -> Outcome<bool> {
        self.stop.check()?;
        Ok(!self.tokenizer.encode(chunk)?.truncated)
    }

    /// Replaces a text by the summaries of its chunks.
    fn replaced(&self, text: Shortened, summaries: Outcome<Vec<Summary>>, separator: &str) -> Outcome<Shortened> {
        let summaries = summaries?;
        let was_truncated = text.was_truncated || summaries.iter().any(|summary| summary.truncated);
        let summaries: Vec<String> = summaries.into_iter().map(|summary| summary.text).collect();
        let shorter = self.measured(summaries.join(separator))?;
        let can_shrink = shorter.tokens < text.tokens;
        Ok(Shortened { was_truncated, can_shrink, ..shorter })
    }
}
