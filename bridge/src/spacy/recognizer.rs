//! Texts to entities: tokens, sentence starts, runs of the graph, decoding.

use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::decode::{Decoder, Outputs, Span};
use super::network::{Feed, NetworkLease};
use super::parts::{Lineup, Part, Tokens, plan};
use super::sentences::{SentenceFinder, given_starts};
use super::tokenizer::{ChunkCache, LARGEST_TEXT, tokenize};
use super::types::{Source, TypeCache};
use super::{Document, SpacyRecognizer};
use crate::BridgeError;
use crate::artifact::manifest::{HashColumn, Sentences};
use crate::runtime::batch::in_parallel;
use crate::runtime::entities::{Entities, Found};
use crate::runtime::outputs::output;

/// Tokens of one run: more bring no speed, and a token's outputs take kilobytes.
const RUN_TOKENS: usize = 2_000;
/// Bytes of texts that are one job: about as many as a run has tokens for.
const JOB_BYTES: usize = 8_000;
/// What a text counts at least.
const LEAST_BYTES: usize = 16;

/// What is kept from job to job.
#[derive(Debug, Default)]
pub(super) struct Workspace {
    chunks: ChunkCache,
    ner: TypeCache,
    parser: TypeCache,
}

/// The outcome of one text, and those of several in their order.
type Outcome = Result<Entities, BridgeError>;
type Outcomes = Vec<Outcome>;

impl SpacyRecognizer {
    /// Every text's own outcome, in order; an error in it has the text's index in `documents`. No entity has a score.
    ///
    /// # Errors
    /// `dependency` or `graph`, which no text could escape.
    pub(crate) fn recognize_each(&self, documents: &[Document<'_>]) -> Result<Outcomes, BridgeError> {
        let slots: Vec<Mutex<Option<Outcome>>> = documents.iter().map(|_| Mutex::default()).collect();
        in_parallel(self.ner.limit(), &jobs(documents), |job| {
            let mut workspace = lock(&self.workspaces).pop().unwrap_or_default();
            let outcomes = self.recognize_apart(&documents[job.clone()], &mut workspace)?;
            self.leave(workspace);
            for (index, outcome) in job.clone().zip(outcomes) {
                *lock(&slots[index]) = Some(outcome.map_err(|error| error.with_index(Some(index))));
            }
            Ok(())
        })?;
        let taken = slots.into_iter().map(|slot| slot.into_inner().unwrap_or_else(PoisonError::into_inner));
        Ok(taken.map(|outcome| outcome.unwrap_or_else(not_run)).collect())
    }

    /// Keeps a workspace for the next job. There are no more than sessions, however many callers wait for one.
    fn leave(&self, workspace: Workspace) {
        let mut idle = lock(&self.workspaces);
        if idle.len() < self.ner.limit() {
            idle.push(workspace);
        }
    }

    /// One job; where it fails, every text for itself, so that one bad text does not lose the others.
    fn recognize_apart(&self, documents: &[Document<'_>], workspace: &mut Workspace) -> Result<Outcomes, BridgeError> {
        match self.recognize(documents, workspace) {
            Err(error @ BridgeError::Inference { .. }) if documents.len() == 1 => Ok(vec![Err(error)]),
            Err(BridgeError::Inference { .. }) => {
                let alone = |document| self.recognize_apart(std::slice::from_ref(document), workspace);
                Ok(documents.iter().map(alone).collect::<Result<Vec<_>, _>>()?.concat())
            }
            outcomes => outcomes,
        }
    }

    /// The texts of one job: those that can be tokenized are run together.
    fn recognize(&self, documents: &[Document<'_>], workspace: &mut Workspace) -> Result<Outcomes, BridgeError> {
        let mut read = Vec::with_capacity(documents.len());
        let refused: Vec<Option<BridgeError>> = documents
            .iter()
            .map(|document| self.tokenize(*document, &mut workspace.chunks).map(|tokens| read.push(tokens)).err())
            .collect();
        self.find_sentences(&mut read, &mut workspace.parser)?;
        let spans = self.decode(&read, &mut workspace.ner)?;
        let mut found = read.iter().zip(spans).map(|(document, spans)| Ok(self.entities(document, &spans)));
        let outcome = |error: Option<_>| error.map_or_else(|| found.next().unwrap_or_else(not_run), Err);
        Ok(refused.into_iter().map(outcome).collect())
    }

    fn tokenize<'a>(&self, document: Document<'a>, cache: &mut ChunkCache) -> Result<Tokens<'a>, BridgeError> {
        let Document { text, sentence_starts } = document;
        if text.len() > LARGEST_TEXT {
            return Err(BridgeError::InputTooLarge { index: None, bytes: text.len(), limit: LARGEST_TEXT });
        }
        let tokens = tokenize(&self.text.rules, text, cache);
        let starts = match self.spec.sentences {
            Sentences::Given => given_starts(text, &tokens, sentence_starts)?,
            Sentences::None | Sentences::Parser => Vec::new(),
        };
        Ok(Tokens { text, tokens, starts })
    }

    /// Asks the parser for sentence starts, where the pipeline has one.
    fn find_sentences(&self, documents: &mut [Tokens<'_>], cache: &mut TypeCache) -> Result<(), BridgeError> {
        let parts = (&self.parser, &self.spec.parser, &self.text.tables.parser, &self.text.moves);
        let (Some(graphs), Some(network), Some(tables), Some(moves)) = parts else { return Ok(()) };
        let source = self.source(&network.columns, network.vectors);
        SentenceFinder { graphs, network, tables, moves, source, run_tokens: RUN_TOKENS }.find(documents, cache)
    }

    /// The entities of every document, as tokens. Without a token the graph is not run.
    fn decode(&self, documents: &[Tokens<'_>], cache: &mut TypeCache) -> Result<Vec<Vec<Span>>, BridgeError> {
        let new = |_| Decoder::new(&self.text.tables.ner, &self.spec.ner);
        let mut decoders: Vec<Decoder<'_>> = documents.iter().map(new).collect();
        let runs = plan(documents.iter().map(Tokens::len), RUN_TOKENS);
        if !runs.is_empty() {
            let mut lease = self.ner.lease()?;
            runs.iter().try_for_each(|run| self.decode_run(run, documents, &mut lease, cache, &mut decoders))?;
        }
        Ok(decoders.into_iter().map(Decoder::finish).collect())
    }

    fn decode_run(
        &self,
        run: &[Part],
        documents: &[Tokens<'_>],
        lease: &mut NetworkLease<'_>,
        cache: &mut TypeCache,
        decoders: &mut [Decoder<'_>],
    ) -> Result<(), BridgeError> {
        let network = &self.spec.ner;
        let source = self.source(&network.columns, network.vectors);
        let mut lineup = Lineup::new(run, documents, network.context, source, cache);
        let (length, places) = (lineup.len(), std::mem::take(&mut lineup.places));
        let outputs = lease.run(lineup, Feed { vectors: network.vectors, marks: true }, cache)?;
        let width = self.text.tables.ner.bias.len();
        let all = Outputs {
            label: output(&outputs, "label", &[length])?,
            begins: output(&outputs, "begins", &[length])?,
            current: output(&outputs, "current", &[length, width])?,
            first: output(&outputs, "first", &[length, width])?,
            previous: output(&outputs, "previous", &[length, width])?,
        };
        for (part, place) in run.iter().zip(places) {
            let is_last = |token| documents[part.document].is_last(token);
            decoders[part.document].feed(all.part(place, width), is_last)?;
        }
        Ok(())
    }

    fn source<'a>(&'a self, columns: &'a [HashColumn], vectors: bool) -> Source<'a> {
        Source { rules: &self.text.rules, tables: &self.text.tables, columns, vectors }
    }

    fn entities(&self, document: &Tokens<'_>, spans: &[Span]) -> Entities {
        let (mut byte, mut place) = (0, 0);
        let mut character = |to: usize| {
            place += document.text[byte..to].chars().count();
            byte = to;
            place
        };
        let found = spans.iter().map(|span| {
            let (first, last) = (document.tokens[span.tokens.start], document.tokens[span.tokens.end - 1]);
            let (start, end) = (character(first.start()), character(last.end()));
            Found { start, end, label: &self.spec.labels[span.label], score: None }
        });
        Entities::resolve(document.text, &found.collect::<Vec<_>>(), document.len(), false)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn not_run() -> Outcome {
    Err(BridgeError::inference(None, "was not run"))
}

/// Texts in a row, of about [`JOB_BYTES`] together.
fn jobs(documents: &[Document<'_>]) -> Vec<Range<usize>> {
    let mut jobs: Vec<Range<usize>> = Vec::new();
    let mut room = 0;
    for (index, document) in documents.iter().enumerate() {
        let bytes = document.text.len().max(LEAST_BYTES);
        match jobs.last_mut() {
            Some(job) if bytes <= room => {
                job.end = index + 1;
                room -= bytes;
            }
            _ => {
                jobs.push(index..index + 1);
                room = JOB_BYTES.saturating_sub(bytes);
            }
        }
    }
    jobs
}
