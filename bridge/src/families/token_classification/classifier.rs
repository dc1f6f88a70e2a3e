//! The engine of token classification, which runs the graph on the windows of texts and decodes the entities.

use std::sync::Arc;

use super::decode::decode;
use super::merge::merge;
use super::section::{Sections, TokenClassificationSpec};
use super::windows::{Window, WindowEncoder, Windows};
use crate::BridgeError;
use crate::artifact::manifest::Graph;
use crate::families::ner::model::{Recognizer, UNEXPECTED_SENTENCE_STARTS};
use crate::runtime::batch::{Bounds, Outcome, pad, run_all, run_apart};
use crate::runtime::cancellation::Stop;
use crate::runtime::session::{Lease, Pool};
use crate::runtime::transformer::{Transformer, check_finite};
use crate::tasks::AggregationStrategy;
use crate::tasks::RecognizeOptions;
use crate::tasks::backend::stopped;
use crate::tasks::entities::{Entities, EntitySpan};

/// The name of the graph's output that has the logits of every token.
const OUTPUT: &str = "logits";
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
    pad_id: i64,
    graph: Transformer,
    pool: Pool,
}

/// The entities that were found in one window, or the error of its run.
type Decoded<'a> = Outcome<Vec<EntitySpan<'a>>>;

impl TokenClassifier {
    /// The engine for a graph of a checked artifact. The graph is not loaded yet.
    pub(super) fn new(graph: &Graph, sections: &Sections, encoder: Arc<WindowEncoder>, pool: Pool) -> Self {
        let Sections { tokenizer, classes } = sections;
        Self {
            spec: classes.clone(),
            max_tokens: tokenizer.max_tokens,
            pad_id: tokenizer.pad_id(),
            graph: Transformer::new(graph, OUTPUT),
            encoder,
            pool,
        }
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

    fn recognize_block(
        &self,
        texts: &[&str],
        settings: Settings,
        stop: &Stop,
    ) -> Result<Vec<Outcome<Entities>>, BridgeError> {
        let encode = |text: &&str| {
            stop.check()?;
            let windows = self.encoder.encode(text, settings.stride);
            windows.map_err(|problem| BridgeError::inference(None, problem))
        };
        let encoded: Vec<Outcome<Windows>> = texts.iter().map(encode).collect();
        let windows: Vec<&Window> = encoded.iter().flatten().flat_map(|text| &text.windows).collect();
        let mut decoded = self.run_all(&windows, settings.strategy, stop)?.into_iter();
        let outcome = |(text, encoded): (&&str, Outcome<Windows>)| {
            let encoded = encoded?;
            // Takes the results of all windows of this text, even if one of them is an error. Otherwise the next text
            // would get the remaining results of this one.
            let windows: Vec<Decoded<'_>> = decoded.by_ref().take(encoded.windows.len()).collect();
            let spans = windows.into_iter().collect::<Outcome<Vec<_>>>()?.concat();
            let spans = if encoded.windows.len() > 1 { merge(spans) } else { spans };
            Ok(Entities::from_spans(text, &spans, encoded.tokens(), encoded.truncated))
        };
        Ok(texts.iter().zip(encoded).map(outcome).collect())
    }

    /// Runs the graph on all windows that have a token of a text, with one thread per session. Windows that have only
    /// special tokens have no entities.
    fn run_all(
        &self,
        windows: &[&Window],
        strategy: AggregationStrategy,
        stop: &Stop,
    ) -> Result<Vec<Decoded<'_>>, BridgeError> {
        let filled = windows.iter().enumerate().filter(|(_, window)| window.has_text());
        let items = filled.map(|(index, window)| (index, window.ids.len())).collect();
        let slots = run_all(windows.len(), items, self.pool.limit(), Bounds::default(), |run| {
            let rows: Vec<&Window> = run.iter().map(|&index| windows[index]).collect();
            let outcomes = self
                .pool
                .lease(stop)
                .map(|mut lease| run_apart(&rows, |rows| self.run(&mut lease, rows, strategy, stop)));
            stopped(outcomes, rows.len())
        })?;
        Ok(slots.into_iter().map(|slot| slot.unwrap_or_else(|| Ok(Vec::new()))).collect())
    }

    /// Runs the graph once on several windows. The logits are decoded in the engine's memory, and only the entities are
    /// kept.
    fn run(
        &self,
        lease: &mut Lease<'_>,
        rows: &[&Window],
        strategy: AggregationStrategy,
        stop: &Stop,
    ) -> Result<Vec<Decoded<'_>>, BridgeError> {
        let ids: Vec<&[i64]> = rows.iter().map(|window| window.ids.as_slice()).collect();
        let batch = pad(&ids, self.pad_id);
        let labels = self.spec.labels.len();
        let (shape, row_len) = ([rows.len(), batch.width, labels], batch.width * labels);
        self.graph.run(
            lease,
            stop,
            batch,
            |_| None,
            &shape,
            |values| {
                let decoded = |(window, row): (&&Window, &[f32])| {
                    let logits = &row[..window.ids.len() * labels];
                    check_finite(logits)?;
                    Ok(decode(logits, window, &self.spec, strategy))
                };
                rows.iter().zip(values.chunks_exact(row_len)).map(decoded).collect()
            },
        )
    }
}

impl Recognizer for TokenClassifier {
    fn warm_up(&self) -> Result<(), BridgeError> {
        self.pool.warm_up()
    }

    fn unload(&self) {
        self.pool.clear();
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

    fn recognize_each(
        &self,
        texts: &[&str],
        chosen: &[usize],
        options: &RecognizeOptions,
        stop: &Stop,
    ) -> Result<Vec<Outcome<Entities>>, BridgeError> {
        let settings = self.settings(options)?;
        let texts: Vec<&str> = chosen.iter().map(|&index| texts[index]).collect();
        let mut outcomes: Vec<Outcome<Entities>> = Vec::with_capacity(texts.len());
        while outcomes.len() < texts.len() {
            let rest = &texts[outcomes.len()..];
            outcomes.extend(self.recognize_block(&rest[..block_len(rest)], settings, stop)?);
        }
        Ok(outcomes)
    }
}

/// The number of texts at the start of `texts` that are tokenized together, within the limit on their bytes; at least
/// one.
fn block_len(texts: &[&str]) -> usize {
    let mut bytes = 0;
    let fits = |text: &&&str| {
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
        let half = "x".repeat(MAX_BLOCK_BYTES / 2);
        let huge = "x".repeat(MAX_BLOCK_BYTES + 1);
        assert_eq!(block_len(&[&half, &half, &half]), 2);
        assert_eq!(block_len(&[&huge, &half]), 1);
        assert_eq!(block_len(&[&half, &huge]), 1);
        assert_eq!(block_len(&[""; 5]), 5);
    }
}
