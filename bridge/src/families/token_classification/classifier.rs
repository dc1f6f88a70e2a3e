//! The engine of token classification, which runs the graph on the windows of texts and merges the entities of each text.

use std::sync::Arc;

use async_trait::async_trait;

use super::merge::merge;
use super::runner::{Found, WindowRunner};
use super::section::{Sections, TokenClassificationSpec};
use super::windows::{Window, WindowEncoder, Windows};
use crate::BridgeError;
use crate::families::ner::model::{Chosen, Recognizer, UNEXPECTED_SENTENCE_STARTS};
use crate::runtime::batch::{Bounds, Outcome, plan};
use crate::runtime::cancellation::Stop;
use crate::runtime::lane::{Caller, Job, Lane};
use crate::runtime::meter::Meter;
use crate::runtime::options::ModelOptions;
use crate::status::LaneStatus;
use crate::tasks::AggregationStrategy;
use crate::tasks::RecognizeOptions;
use crate::tasks::entities::Entities;

/// Limit on the total size in bytes of the texts that are tokenized together; a single larger text is tokenized alone.
/// The limit bounds the memory of a call with many texts.
const MAX_BLOCK_BYTES: usize = 1 << 20;

/// The settings of a call: its options, or the manifest's defaults for options that are `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Settings {
    strategy: AggregationStrategy,
    stride: Option<usize>,
}

/// The engine of token classification for one variant. Its graph is loaded by the first call.
pub(super) struct TokenClassifier {
    spec: TokenClassificationSpec,
    max_tokens: usize,
    encoder: Arc<WindowEncoder>,
    lane: Lane<WindowRunner>,
    bounds: Bounds,
}

/// The encoded texts of a block.
struct Prepared {
    job: Job<WindowRunner>,
    /// Every text of the block, or why it could not be encoded.
    texts: Vec<Outcome<Text>>,
}

/// What is left of a text after its windows became rows.
struct Text {
    text: String,
    /// For each window, whether it is a row. Windows that have only special tokens have no entities.
    is_row: Vec<bool>,
    tokens: usize,
    truncated: bool,
}

impl TokenClassifier {
    /// The engine for a graph of a checked artifact. The graph is not loaded yet.
    pub(super) fn new(
        runner: WindowRunner,
        sections: &Sections,
        encoder: Arc<WindowEncoder>,
        options: &ModelOptions,
        meter: Meter,
    ) -> Self {
        let Sections { tokenizer, classes } = sections;
        let (lane, bounds) = (Lane::new(runner, options.lane(), meter), options.bounds());
        Self { spec: classes.clone(), max_tokens: tokenizer.max_tokens, encoder, lane, bounds }
    }

    /// The settings of a call, from its options and the manifest's defaults.
    ///
    /// # Errors
    /// `sentence_starts` if the options have any, `config` for an invalid strategy or stride.
    fn settings(&self, options: &RecognizeOptions) -> Result<Settings, BridgeError> {
        if options.sentence_starts.is_some() {
            let problem = UNEXPECTED_SENTENCE_STARTS.to_owned();
            return Err(BridgeError::SentenceStarts { index: None, problem });
        }
        let strategy = options.aggregation_strategy.unwrap_or(self.spec.aggregation_strategy);
        let stride = options.stride.or(self.spec.stride);
        let limit = self.encoder.max_text_tokens();
        let config = |problem: String| Err(BridgeError::config(problem));
        match stride {
            Some(_) if strategy == AggregationStrategy::None => {
                config("aggregation_strategy is \"none\", expected another one with a stride".to_owned())
            }
            Some(stride) if stride >= limit => {
                config(format!("stride is {stride}, expected less than the {limit} tokens of a window"))
            }
            _ => Ok(Settings { strategy, stride }),
        }
    }

    /// Splits the texts of a block into windows and plans their runs.
    fn prepare(&self, texts: Vec<String>, settings: Settings, stop: &Stop, is_last: bool) -> Prepared {
        let mut rows = Vec::new();
        let mut encode = |text: String| {
            stop.check()?;
            let windows = self.encoder.encode(&text, settings.stride);
            let windows: Windows = windows.map_err(|problem| BridgeError::inference(None, problem))?;
            let (tokens, truncated) = (windows.tokens(), windows.truncated);
            let is_row = windows.windows.iter().map(Window::has_text).collect();
            rows.extend(windows.windows.into_iter().filter(Window::has_text));
            Ok(Text { text, is_row, tokens, truncated })
        };
        let texts = texts.into_iter().map(&mut encode).collect();
        let runs = plan(rows.iter().map(|window| window.ids.len()).enumerate().collect(), self.bounds);
        Prepared { job: Job { key: settings.strategy, rows, runs, is_last }, texts }
    }
}

/// The entities of every text of a block, given those of the rows.
fn outcomes(texts: Vec<Outcome<Text>>, rows: Vec<Outcome<Vec<Found>>>) -> Vec<Outcome<Entities>> {
    let mut rows = rows.into_iter();
    let outcome = |text: Outcome<Text>| {
        let Text { text, is_row, tokens, truncated } = text?;
        // Takes the results of all windows of this text, even if one of them is an error. Otherwise the next text would
        // get the remaining results of this one.
        let own: Vec<Outcome<Vec<Found>>> =
            rows.by_ref().take(is_row.iter().filter(|is_row| **is_row).count()).collect();
        let found = own.into_iter().collect::<Outcome<Vec<_>>>()?.concat();
        let spans = found.iter().map(Found::span).collect();
        let spans = if is_row.len() > 1 { merge(spans) } else { spans };
        Ok(Entities::from_spans(&text, &spans, tokens, truncated))
    };
    texts.into_iter().map(outcome).collect()
}

#[async_trait]
impl Recognizer for TokenClassifier {
    async fn load(&self, caller: &Caller) -> Result<(), BridgeError> {
        self.lane.warm_up(self.spec.aggregation_strategy, caller).await
    }

    fn unload(&self) {
        self.lane.unload();
    }

    fn status(&self) -> LaneStatus {
        self.lane.status()
    }

    fn max_tokens(&self) -> Option<usize> {
        Some(self.max_tokens)
    }

    fn requires_sentence_starts(&self) -> bool {
        false
    }

    fn check(&self, options: &RecognizeOptions, _: usize) -> Result<(), BridgeError> {
        self.settings(options).map(|_| ())
    }

    async fn recognize_each(
        self: Arc<Self>,
        chosen: Vec<Chosen>,
        options: RecognizeOptions,
        caller: &Caller,
    ) -> Result<Vec<Outcome<Entities>>, BridgeError> {
        let settings = self.settings(&options)?;
        let permit = self.lane.admit()?;
        let mut rest: Vec<String> = chosen.into_iter().map(|(_, text)| text).collect();
        let mut answers: Vec<Outcome<Entities>> = Vec::with_capacity(rest.len());
        while !rest.is_empty() {
            let others = rest.split_off(block_len(&rest));
            let block = std::mem::replace(&mut rest, others);
            let (engine, stop, is_last) = (Arc::clone(&self), Arc::clone(&caller.stop), rest.is_empty());
            let bytes = block.iter().map(String::len).sum();
            let prepared = caller.prepare(bytes, move || Ok(engine.prepare(block, settings, &stop, is_last)));
            let Prepared { job, texts } = prepared.await?;
            let rows = permit.run(job, caller, |_| ()).await?;
            answers.extend(caller.trace.decode().in_scope(|| outcomes(texts, rows)));
        }
        Ok(answers)
    }
}

/// The number of texts at the start of `texts` that are tokenized together, within the limit on their bytes; at least
/// one.
fn block_len(texts: &[String]) -> usize {
    let mut bytes = 0;
    let fits = |text: &&String| {
        bytes += text.len();
        bytes <= MAX_BLOCK_BYTES
    };
    texts.iter().take_while(fits).count().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_have_a_limited_size_and_are_not_empty() {
        let texts = |lengths: &[usize]| lengths.iter().map(|length| "x".repeat(*length)).collect::<Vec<String>>();
        let (half, huge) = (MAX_BLOCK_BYTES / 2, MAX_BLOCK_BYTES + 1);
        assert_eq!(block_len(&texts(&[half, half, half])), 2);
        assert_eq!(block_len(&texts(&[huge, half])), 1);
        assert_eq!(block_len(&texts(&[half, huge])), 1);
        assert_eq!(block_len(&texts(&[0; 5])), 5);
    }
}
