//! The engine of spaCy pipelines: splits texts into tokens, finds sentence starts, runs the graphs and decodes the
//! entities.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Resources;
use super::batch::{RunTokens, Slice, Tokens, plan};
use super::decode::{Decoder, Outputs, Span};
use super::network::{Inputs, Network, NetworkLease};
use super::options::check_options;
use super::section::{HashColumn, Sentences, SpacySpec};
use super::sentences::{SentenceFinder, given_starts};
use super::tokenizer::{ChunkCache, MAX_TEXT_BYTES, tokenize};
use super::word_types::{Source, TypeCache};
use crate::BridgeError;
use crate::families::ner::model::Recognizer;
use crate::runtime::batch::{Outcome, in_parallel};
use crate::runtime::cancellation::Stop;
use crate::runtime::outputs::output;
use crate::tasks::RecognizeOptions;
use crate::tasks::backend::stopped;
use crate::tasks::entities::{Entities, EntitySpan};

/// Limit on the tokens of one run. Runs with more tokens are not faster per token, and the outputs for a token take
/// kilobytes.
const RUN_TOKENS: usize = 2_000;
/// Limit on the total size in bytes of the texts of one job. Texts of this size have about as many tokens as one run.
const JOB_BYTES: usize = 8_000;
/// The size in bytes that is assumed for texts shorter than this, when texts are grouped into jobs.
const MIN_TEXT_BYTES: usize = 16;

/// The caches of one job, which the next job uses again.
#[derive(Debug, Default)]
pub(super) struct Workspace {
    chunks: ChunkCache,
    ner: TypeCache,
    parser: TypeCache,
}

/// The outcome of each text of a job, in the order of the texts.
type Outcomes = Vec<Outcome<Entities>>;

/// One text of a call, with its sentence starts if the caller passes any.
#[derive(Debug, Clone, Copy)]
struct Input<'a> {
    text: &'a str,
    /// The offsets of the text's sentence starts, in characters; `Some` exactly if `spacy.sentences` is `given`.
    sentence_starts: Option<&'a [usize]>,
}

/// A spaCy pipeline's entity recognizer. Graphs are loaded by the first call; any thread may call it.
pub(super) struct SpacyRecognizer {
    spec: SpacySpec,
    resources: Arc<Resources>,
    ner: Network,
    parser: Option<Network>,
    /// The workspaces (caches) that no job uses at the moment.
    workspaces: Mutex<Vec<Workspace>>,
}

impl Recognizer for SpacyRecognizer {
    fn warm_up(&self) -> Result<(), BridgeError> {
        self.ner.warm_up()?;
        self.parser.as_ref().map_or(Ok(()), Network::warm_up)
    }

    fn unload(&self) {
        lock(&self.workspaces).clear();
        self.ner.clear();
        self.parser.iter().for_each(Network::clear);
    }

    fn max_tokens(&self) -> Option<usize> {
        None
    }

    fn requires_sentence_starts(&self) -> bool {
        self.spec.sentences == Sentences::Given
    }

    fn check(&self, options: &RecognizeOptions, texts: usize) -> Result<(), BridgeError> {
        check_options(options, self.spec.sentences, texts)
    }

    fn recognize_each(
        &self,
        texts: &[&str],
        chosen: &[usize],
        options: &RecognizeOptions,
        stop: &Stop,
    ) -> Result<Vec<Outcome<Entities>>, BridgeError> {
        let input = |&index: &usize| Input { text: texts[index], sentence_starts: options.sentence_starts_of(index) };
        self.recognize_inputs(&chosen.iter().map(input).collect::<Vec<_>>(), stop)
    }
}

impl SpacyRecognizer {
    /// Creates the recognizer of one variant. `parser` is `Some` exactly if the manifest has `spacy.parser`.
    pub(super) fn new(spec: SpacySpec, resources: Arc<Resources>, ner: Network, parser: Option<Network>) -> Self {
        Self { spec, resources, ner, parser, workspaces: Mutex::default() }
    }

    /// The entities of each text or its error, in the order of the texts. No entity has a score.
    ///
    /// # Errors
    /// `dependency` or `graph`, which concern every text.
    fn recognize_inputs(&self, inputs: &[Input<'_>], stop: &Stop) -> Result<Outcomes, BridgeError> {
        let slots: Vec<Mutex<Option<Outcome<Entities>>>> = inputs.iter().map(|_| Mutex::default()).collect();
        in_parallel(self.ner.limit(), &jobs(inputs), |job| {
            let mut workspace = lock(&self.workspaces).pop().unwrap_or_default();
            let outcomes = stopped(self.recognize_job(&inputs[job.clone()], &mut workspace, stop), job.len())?;
            self.keep(workspace);
            for (index, outcome) in job.clone().zip(outcomes) {
                *lock(&slots[index]) = Some(outcome);
            }
            Ok(())
        })?;
        let outcomes = slots.into_iter().map(|slot| slot.into_inner().unwrap_or_else(PoisonError::into_inner));
        Ok(outcomes.map(|outcome| outcome.unwrap_or_else(not_run)).collect())
    }

    /// Keeps a workspace (caches) for another job. No more workspaces are kept than the network can have sessions.
    fn keep(&self, workspace: Workspace) {
        let mut idle = lock(&self.workspaces);
        if idle.len() < self.ner.limit() {
            idle.push(workspace);
        }
    }

    /// Runs one job and returns the outcome of each of its texts. If the job fails, its texts run one by one, so that
    /// one bad text does not lose the others.
    fn recognize_job(
        &self,
        documents: &[Input<'_>],
        workspace: &mut Workspace,
        stop: &Stop,
    ) -> Result<Outcomes, BridgeError> {
        match self.recognize(documents, workspace, stop) {
            Err(error @ BridgeError::Inference { .. }) if documents.len() == 1 => Ok(vec![Err(error)]),
            Err(BridgeError::Inference { .. }) => {
                let alone = |document| stopped(self.recognize_job(std::slice::from_ref(document), workspace, stop), 1);
                Ok(documents.iter().map(alone).collect::<Result<Vec<_>, _>>()?.concat())
            }
            outcomes => outcomes,
        }
    }

    /// Splits the texts of a job into tokens. Texts for which this fails get their error; all others run together.
    fn recognize(
        &self,
        documents: &[Input<'_>],
        workspace: &mut Workspace,
        stop: &Stop,
    ) -> Result<Outcomes, BridgeError> {
        let mut read = Vec::with_capacity(documents.len());
        let mut refused: Vec<Option<BridgeError>> = Vec::with_capacity(documents.len());
        for document in documents {
            stop.check()?;
            let tokens = self.tokenize(*document, &mut workspace.chunks);
            refused.push(tokens.map(|tokens| read.push(tokens)).err());
        }
        self.find_sentences(&mut read, &mut workspace.parser, stop)?;
        let spans = self.decode(&read, &mut workspace.ner, stop)?;
        let mut answers = read.iter().zip(spans).map(|(document, spans)| Ok(self.entities(document, &spans)));
        let outcome = |error: Option<_>| error.map_or_else(|| answers.next().unwrap_or_else(not_run), Err);
        Ok(refused.into_iter().map(outcome).collect())
    }

    fn tokenize<'a>(&self, document: Input<'a>, cache: &mut ChunkCache) -> Result<Tokens<'a>, BridgeError> {
        let Input { text, sentence_starts } = document;
        if text.len() > MAX_TEXT_BYTES {
            return Err(BridgeError::InputTooLarge { index: None, bytes: text.len(), limit: MAX_TEXT_BYTES });
        }
        let tokens = tokenize(&self.resources.rules, text, cache);
        let starts = match self.spec.sentences {
            Sentences::Given => given_starts(text, &tokens, sentence_starts)?,
            Sentences::None | Sentences::Parser => Vec::new(),
        };
        Ok(Tokens { text, tokens, starts })
    }

    /// Finds sentence starts with the parser, if the pipeline has one.
    fn find_sentences(
        &self,
        documents: &mut [Tokens<'_>],
        cache: &mut TypeCache,
        stop: &Stop,
    ) -> Result<(), BridgeError> {
        let parts = (&self.parser, &self.spec.parser, &self.resources.tables.parser, &self.resources.moves);
        let (Some(graphs), Some(network), Some(tables), Some(moves)) = parts else { return Ok(()) };
        let source = self.source(&network.columns, network.vectors);
        SentenceFinder { graphs, network, tables, moves, source, run_tokens: RUN_TOKENS, stop }.find(documents, cache)
    }

    /// The entities of every document as ranges of tokens. The graph does not run if all documents are without tokens.
    fn decode(
        &self,
        documents: &[Tokens<'_>],
        cache: &mut TypeCache,
        stop: &Stop,
    ) -> Result<Vec<Vec<Span>>, BridgeError> {
        let new = |_| Decoder::new(&self.resources.tables.ner, &self.spec.ner);
        let mut decoders: Vec<Decoder<'_>> = documents.iter().map(new).collect();
        let runs = plan(documents.iter().map(Tokens::len), RUN_TOKENS);
        if !runs.is_empty() {
            let mut lease = self.ner.lease(stop)?;
            runs.iter().try_for_each(|run| self.decode_run(run, documents, &mut lease, cache, &mut decoders))?;
        }
        Ok(decoders.into_iter().map(Decoder::finish).collect())
    }

    fn decode_run(
        &self,
        run: &[Slice],
        documents: &[Tokens<'_>],
        lease: &mut NetworkLease<'_>,
        cache: &mut TypeCache,
        decoders: &mut [Decoder<'_>],
    ) -> Result<(), BridgeError> {
        let network = &self.spec.ner;
        let source = self.source(&network.columns, network.vectors);
        let mut tokens = RunTokens::new(run, documents, network.context, source, cache);
        let (length, ranges) = (tokens.len(), std::mem::take(&mut tokens.ranges));
        let width = self.resources.tables.ner.bias.len();
        lease.run(tokens, Inputs { vectors: network.vectors, flags: true }, cache, |outputs| {
            let all = Outputs {
                label: output(outputs, "label", &[length])?,
                begins: output(outputs, "begins", &[length])?,
                current: output(outputs, "current", &[length, width])?,
                first: output(outputs, "first", &[length, width])?,
                previous: output(outputs, "previous", &[length, width])?,
            };
            for (slice, range) in run.iter().zip(ranges) {
                let is_last = |token| documents[slice.document].is_last(token);
                decoders[slice.document].feed(all.slice(range, width), is_last)?;
            }
            Ok(())
        })
    }

    fn source<'a>(&'a self, columns: &'a [HashColumn], vectors: bool) -> Source<'a> {
        Source { rules: &self.resources.rules, tables: &self.resources.tables, columns, vectors }
    }

    fn entities(&self, document: &Tokens<'_>, spans: &[Span]) -> Entities {
        let (mut byte, mut characters) = (0, 0);
        let mut character = |to: usize| {
            characters += document.text[byte..to].chars().count();
            byte = to;
            characters
        };
        let entities = spans.iter().map(|span| {
            let (first, last) = (document.tokens[span.tokens.start], document.tokens[span.tokens.end - 1]);
            let (start, end) = (character(first.start()), character(last.end()));
            EntitySpan { start, end, label: &self.spec.labels[span.label], score: None }
        });
        Entities::from_spans(document.text, &entities.collect::<Vec<_>>(), document.len(), false)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn not_run() -> Outcome<Entities> {
    Err(BridgeError::inference(None, "was not run"))
}

/// Divides texts into jobs: ranges of consecutive texts whose total size is at most about [`JOB_BYTES`].
fn jobs(documents: &[Input<'_>]) -> Vec<Range<usize>> {
    let mut jobs: Vec<Range<usize>> = Vec::new();
    let mut available = 0;
    for (index, document) in documents.iter().enumerate() {
        let bytes = document.text.len().max(MIN_TEXT_BYTES);
        match jobs.last_mut() {
            Some(job) if bytes <= available => {
                job.end = index + 1;
                available -= bytes;
            }
            _ => {
                jobs.push(index..index + 1);
                available = JOB_BYTES.saturating_sub(bytes);
            }
        }
    }
    jobs
}
