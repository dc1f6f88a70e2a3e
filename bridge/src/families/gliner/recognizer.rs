//! The engine of GLiNER models, which runs the graph on the windows of texts and searches entities in each text.

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;

use super::decode::Candidate;
use super::preprocessor::{GlinerPreprocessor, Prompt};
use super::replay::case_options;
use super::runner::{Row, SpanRunner};
use super::search::{Overlaps, search};
use super::section::{GlinerSpec, Sections};
use super::words::Word;
use crate::BridgeError;
use crate::families::ner::model::{Chosen, Recognizer, UNEXPECTED_SENTENCE_STARTS};
use crate::runtime::batch::{Bounds, Outcome, plan};
use crate::runtime::cancellation::Stop;
use crate::runtime::lane::{Caller, Job, Lane};
use crate::runtime::meter::Meter;
use crate::runtime::options::ModelOptions;
use crate::status::LaneStatus;
use crate::tasks::RecognizeOptions;
use crate::tasks::entities::{Entities, EntitySpan};

/// Limit on the total size in bytes of the texts that are tokenized together; a single larger text is tokenized alone.
/// The limit bounds the memory of a call with many texts.
const MAX_BLOCK_BYTES: usize = 1 << 19;

/// The settings of a call: its options, or the manifest's defaults for options that are `None`.
#[derive(Debug, Clone, PartialEq)]
struct Settings {
    labels: Arc<[String]>,
    threshold: f64,
    overlaps: Overlaps,
    stride: usize,
}

/// The engine of GLiNER for one variant. Its graph is loaded by the first call.
pub(super) struct GlinerRecognizer {
    spec: GlinerSpec,
    preprocessor: Arc<GlinerPreprocessor>,
    lane: Lane<SpanRunner>,
    bounds: Bounds,
    text_limit: usize,
}

/// The windows of the texts of a block.
struct Prepared {
    job: Job<SpanRunner>,
    /// Every text of the block, or why it could not be encoded.
    texts: Vec<Outcome<Text>>,
}

/// What is left of a text after its windows became rows.
struct Text {
    text: String,
    words: Vec<Word>,
    windows: usize,
    tokens: usize,
    truncated: bool,
}

impl GlinerRecognizer {
    /// The engine for a graph of a checked artifact. The graph is not loaded yet.
    pub(super) fn new(
        runner: SpanRunner,
        sections: &Sections,
        preprocessor: Arc<GlinerPreprocessor>,
        options: &ModelOptions,
        meter: Meter,
    ) -> Self {
        let (lane, bounds) = (Lane::new(runner, options.lane(), meter), options.bounds());
        Self { spec: sections.gliner.clone(), preprocessor, lane, bounds, text_limit: options.limits.text }
    }

    /// The settings of a call, from its options and the manifest's defaults.
    ///
    /// # Errors
    /// `sentence_starts` if the options have any; `config` for invalid labels, threshold or stride, or a strategy.
    fn settings(&self, options: &RecognizeOptions) -> Result<Settings, BridgeError> {
        if options.sentence_starts.is_some() {
            let problem = UNEXPECTED_SENTENCE_STARTS.to_owned();
            return Err(BridgeError::SentenceStarts { index: None, problem });
        }
        let config = |problem: String| Err(BridgeError::config(problem));
        if let Some(strategy) = options.aggregation_strategy {
            return config(format!("aggregation_strategy is {:?}, expected none for a GLiNER model", strategy.name()));
        }
        let threshold = options.threshold.unwrap_or(self.spec.threshold);
        if !(0.0..=1.0).contains(&threshold) {
            return config(format!("threshold is {threshold:?}, expected 0 to 1"));
        }
        let (stride, max_words) = (options.stride.unwrap_or(self.spec.stride), self.spec.max_words);
        if stride >= max_words {
            return config(format!("stride is {stride}, expected less than the {max_words} words of a window"));
        }
        let labels = self.labels(options.labels.as_ref().unwrap_or(&self.spec.labels))?;
        let nested = options.nested.unwrap_or(self.spec.nested);
        let multi_label = options.multi_label.unwrap_or(self.spec.multi_label);
        Ok(Settings { labels, threshold, overlaps: Overlaps { nested, multi_label }, stride })
    }

    /// The labels without repetitions.
    fn labels(&self, labels: &[String]) -> Result<Arc<[String]>, BridgeError> {
        if labels.is_empty() {
            return Err(BridgeError::config("labels are empty, expected at least one"));
        }
        let (bytes, limit) = (labels.iter().map(String::len).sum::<usize>(), self.text_limit);
        if bytes > limit {
            return Err(BridgeError::config(format!("labels have {bytes} bytes, expected at most {limit}")));
        }
        let mut seen = HashSet::new();
        Ok(labels.iter().filter(|label| seen.insert(label.as_str())).cloned().collect())
    }

    /// Divides the texts of a block into windows and plans their runs.
    fn prepare(
        &self,
        texts: Vec<String>,
        prompt: &Prompt,
        settings: &Settings,
        stop: &Stop,
        is_last: bool,
    ) -> Prepared {
        let mut rows = Vec::new();
        let mut encode = |text: String| {
            stop.check()?;
            let windows = self.preprocessor.windows(&text, prompt, settings.stride);
            let windows = windows.map_err(|problem| BridgeError::inference(None, problem))?;
            let (tokens, truncated, count) = (windows.tokens(), windows.truncated, windows.windows.len());
            rows.extend(windows.windows.into_iter().map(|window| Row {
                window,
                label_positions: Arc::clone(&prompt.label_positions),
                threshold: settings.threshold,
            }));
            Ok(Text { text, words: windows.words, windows: count, tokens, truncated })
        };
        let texts = texts.into_iter().map(&mut encode).collect();
        let runs = plan(rows.iter().map(|row| row.window.ids.len()).enumerate().collect(), self.bounds);
        Prepared { job: Job { key: settings.labels.len(), rows, runs, is_last }, texts }
    }
}

/// The entities of every text of a block, given the candidates of the rows.
fn outcomes(
    texts: Vec<Outcome<Text>>,
    rows: Vec<Outcome<Vec<Candidate>>>,
    settings: &Settings,
) -> Vec<Outcome<Entities>> {
    let mut rows = rows.into_iter();
    let outcome = |text: Outcome<Text>| {
        let text = text?;
        // Takes the results of all windows of this text, even if one of them is an error. Otherwise the next text would
        // get the remaining results of this one.
        let own: Vec<Outcome<Vec<Candidate>>> = rows.by_ref().take(text.windows).collect();
        let candidates = own.into_iter().collect::<Outcome<Vec<_>>>()?.concat();
        let found = search(candidates, text.words.len(), settings.overlaps);
        let span = |each: &Candidate| EntitySpan {
            start: text.words[each.first].start,
            end: text.words[each.last].end,
            label: settings.labels[each.label].as_str(),
            score: Some(each.score),
        };
        let spans: Vec<EntitySpan<'_>> = found.iter().map(span).collect();
        Ok(Entities::from_spans(&text.text, &spans, text.tokens, text.truncated))
    };
    texts.into_iter().map(outcome).collect()
}

#[async_trait]
impl Recognizer for GlinerRecognizer {
    async fn load(&self, caller: &Caller) -> Result<(), BridgeError> {
        self.lane.warm_up(1, caller).await
    }

    fn unload(&self) {
        self.lane.unload();
    }

    fn status(&self) -> LaneStatus {
        self.lane.status()
    }

    /// Texts are never truncated: longer ones are read in windows.
    fn max_tokens(&self) -> Option<usize> {
        None
    }

    fn requires_sentence_starts(&self) -> bool {
        false
    }

    fn takes_labels(&self) -> bool {
        true
    }

    fn case_options(&self, settings: Value) -> Result<RecognizeOptions, String> {
        case_options(settings)
    }

    fn check(&self, options: &RecognizeOptions, _: usize) -> Result<(), BridgeError> {
        self.preprocessor.prompt(&self.settings(options)?.labels).map(|_| ())
    }

    async fn recognize_each(
        self: Arc<Self>,
        chosen: Vec<Chosen>,
        options: RecognizeOptions,
        caller: &Caller,
    ) -> Result<Vec<Outcome<Entities>>, BridgeError> {
        let settings = self.settings(&options)?;
        let prompt = Arc::new(self.preprocessor.prompt(&settings.labels)?);
        let permit = self.lane.admit()?;
        let mut rest: Vec<String> = chosen.into_iter().map(|(_, text)| text).collect();
        let mut answers: Vec<Outcome<Entities>> = Vec::with_capacity(rest.len());
        while !rest.is_empty() {
            let others = rest.split_off(block_len(&rest));
            let block = std::mem::replace(&mut rest, others);
            let (engine, stop, is_last) = (Arc::clone(&self), Arc::clone(&caller.stop), rest.is_empty());
            let (prompt, own) = (Arc::clone(&prompt), settings.clone());
            let bytes = block.iter().map(String::len).sum();
            let prepared = caller.prepare(bytes, move || Ok(engine.prepare(block, &prompt, &own, &stop, is_last)));
            let Prepared { job, texts } = prepared.await?;
            let rows = permit.run(job, caller, |_| ()).await?;
            answers.extend(caller.trace.decode().in_scope(|| outcomes(texts, rows, &settings)));
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
