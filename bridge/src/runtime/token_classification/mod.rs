//! Named entities by token classification: the engine `transformers` of the task `ner`.

mod decode;
mod merge;
mod scores;
mod windows;

use std::path::Path;
use std::sync::Arc;

pub(crate) use self::windows::WindowEncoder;

use self::decode::decode;
use self::merge::merge;
use self::windows::{Window, Windows};
use super::batch::{Bounds, Outcome, pad, run_all, run_apart};
use super::entities::{Entities, Found, NerOptions};
use super::ner::NOT_WANTED;
use super::observe::Meter;
use super::run::{Transformer, check_finite};
use super::session::{EngineOptions, Pool};
use crate::BridgeError;
use crate::artifact::Manifest;
use crate::artifact::manifest::{AggregationStrategy, TokenClassificationSpec, section};

/// The role of the graph.
const ROLE: &str = "token_classifier";
/// Its output.
const OUTPUT: &str = "logits";
/// Texts that are tokenized together hold this many bytes at most, or one text: what a call needs of memory does not grow
/// with its number of texts.
const GROUP_BYTES: usize = 1 << 20;

/// What a call asks for, with the manifest's values where it leaves something open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Settings {
    strategy: AggregationStrategy,
    stride: Option<usize>,
}

/// One variant of a token classifier. Its graph is loaded by the first call.
pub(crate) struct TokenClassifier {
    spec: TokenClassificationSpec,
    encoder: Arc<WindowEncoder>,
    pad_id: i64,
    graph: Transformer,
    pool: Pool,
}

/// The entities of one window, or why there are none.
type Decoded<'a> = Outcome<Vec<Found<'a>>>;

impl TokenClassifier {
    /// The model of a checked variant of the artifact at `root`.
    pub(crate) fn new(
        root: &Path,
        manifest: &Manifest,
        encoder: Arc<WindowEncoder>,
        variant: &str,
        engine: EngineOptions,
        meter: &Meter,
    ) -> Result<Self, BridgeError> {
        let graph = manifest.graph(variant, ROLE)?;
        let spec = section(&manifest.token_classification, "token_classification")?.clone();
        let pad_id = section(&manifest.tokenizer, "tokenizer")?.pad_id();
        let pool = Pool::of_graph(root, graph, engine, meter);
        Ok(Self { spec, encoder, pad_id, graph: Transformer::new(graph, OUTPUT), pool })
    }

    pub(crate) fn pool(&self) -> &Pool {
        &self.pool
    }

    /// What the options mean for this model.
    ///
    /// # Errors
    /// `sentence_starts` where there are some, `config` where the strategy or the stride cannot be.
    pub(crate) fn settings(&self, options: &NerOptions) -> Result<Settings, BridgeError> {
        if options.sentence_starts.is_some() {
            return Err(BridgeError::SentenceStarts { index: None, problem: NOT_WANTED.to_owned() });
        }
        let strategy = options.aggregation_strategy.unwrap_or(self.spec.aggregation_strategy);
        let stride = options.stride.or(self.spec.stride);
        let config = |problem: String| Err(BridgeError::Config { problem });
        match stride {
            Some(_) if strategy == AggregationStrategy::None => {
                config("aggregation_strategy is \"none\", expected another one with a stride".to_owned())
            }
            Some(stride) if stride >= self.encoder.room() => {
                config(format!("stride is {stride}, expected less than the {} tokens of a window", self.encoder.room()))
            }
            _ => Ok(Settings { strategy, stride }),
        }
    }

    /// Every text's own outcome, in order; an error in it has the text's index.
    ///
    /// # Errors
    /// `dependency` or `graph`, which no text could escape.
    pub(crate) fn recognize_each(
        &self,
        texts: &[&str],
        settings: Settings,
    ) -> Result<Vec<Outcome<Entities>>, BridgeError> {
        let mut outcomes: Vec<Outcome<Entities>> = Vec::with_capacity(texts.len());
        while outcomes.len() < texts.len() {
            let first = outcomes.len();
            let group = first..first + group_len(&texts[first..]);
            let answers = self.recognize_group(&texts[group], settings)?.into_iter().enumerate();
            outcomes.extend(answers.map(|(at, answer)| answer.map_err(|error| error.with_index(Some(first + at)))));
        }
        Ok(outcomes)
    }

    fn recognize_group(&self, texts: &[&str], settings: Settings) -> Result<Vec<Outcome<Entities>>, BridgeError> {
        let encode = |text: &&str| self.encoder.encode(text, settings.stride);
        let encoded: Vec<Result<Windows, String>> = texts.iter().map(encode).collect();
        let windows: Vec<&Window> = encoded.iter().flatten().flat_map(|text| &text.windows).collect();
        let mut decoded = self.run_all(&windows, settings.strategy)?.into_iter();
        let outcome = |(text, encoded): (&&str, Result<Windows, String>)| {
            let encoded = encoded.map_err(|problem| BridgeError::inference(None, problem))?;
            // All of them are taken, also behind one that failed: the next are another text's.
            let parts: Vec<Decoded<'_>> = decoded.by_ref().take(encoded.windows.len()).collect();
            let found = parts.into_iter().collect::<Outcome<Vec<_>>>()?.concat();
            let found = if encoded.windows.len() > 1 { merge(found) } else { found };
            Ok(Entities::resolve(text, &found, encoded.tokens(), encoded.truncated))
        };
        Ok(texts.iter().zip(encoded).map(outcome).collect())
    }

    /// Runs all windows, on as many threads as there are sessions. A window without any token of the text has nothing to
    /// run for.
    fn run_all(&self, windows: &[&Window], strategy: AggregationStrategy) -> Result<Vec<Decoded<'_>>, BridgeError> {
        let filled = windows.iter().enumerate().filter(|(_, window)| window.has_text());
        let items = filled.map(|(at, window)| (at, window.ids.len())).collect();
        let slots = run_all(windows.len(), items, self.pool.limit(), Bounds::default(), |run| {
            let rows: Vec<&Window> = run.iter().map(|&at| windows[at]).collect();
            let mut lease = self.pool.lease()?;
            Ok(run_apart(&rows, |rows| self.run(lease.session()?, rows, strategy)))
        })?;
        Ok(slots.into_iter().map(|slot| slot.unwrap_or_else(|| Ok(Vec::new()))).collect())
    }

    /// One run. The logits of a window are decoded where they are, and only its entities are kept.
    fn run(
        &self,
        session: &mut ort::session::Session,
        rows: &[&Window],
        strategy: AggregationStrategy,
    ) -> Result<Vec<Decoded<'_>>, BridgeError> {
        let ids: Vec<&[i64]> = rows.iter().map(|window| window.ids.as_slice()).collect();
        let batch = pad(&ids, self.pad_id);
        let labels = self.spec.labels.len();
        let (shape, row_len) = ([rows.len(), batch.width, labels], batch.width * labels);
        self.graph.run(session, batch, 0, &shape, |values| {
            let decoded = |(window, row): (&&Window, &[f32])| {
                let logits = &row[..window.ids.len() * labels];
                check_finite(logits)?;
                Ok(decode(logits, window, &self.spec, strategy))
            };
            rows.iter().zip(values.chunks_exact(row_len)).map(decoded).collect()
        })
    }
}

/// How many of the first texts make a group: at least one.
fn group_len(texts: &[&str]) -> usize {
    let mut bytes = 0;
    let fits = |text: &&&str| {
        bytes += text.len();
        bytes <= GROUP_BYTES
    };
    texts.iter().take_while(fits).count().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_bounded_and_none_is_empty() {
        let half = "x".repeat(GROUP_BYTES / 2);
        let huge = "x".repeat(GROUP_BYTES + 1);
        assert_eq!(group_len(&[&half, &half, &half]), 2);
        assert_eq!(group_len(&[&huge, &half]), 1);
        assert_eq!(group_len(&[&half, &huge]), 1);
        assert_eq!(group_len(&[""; 5]), 5);
    }
}
