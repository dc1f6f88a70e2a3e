//! Runs a spaCy pipeline on texts: splits them into tokens, finds sentence starts, runs the graphs and decodes the entities.

use std::sync::Arc;

use super::Resources;
use super::batch::{RunTokens, Slice, Tokens, plan};
use super::decode::{Decoder, Outputs, Span};
use super::network::{Inputs, Network, NetworkSessions};
use super::section::{HashColumn, Sentences, SpacySpec};
use super::sentences::{SentenceFinder, given_starts};
use super::tokenizer::{ChunkCache, MAX_TEXT_BYTES, tokenize};
use super::word_types::{Source, TypeCache};
use crate::BridgeError;
use crate::runtime::batch::Outcome;
use crate::runtime::lane::Runner;
use crate::runtime::outputs::output;
use crate::runtime::scope::RunScope;
use crate::tasks::entities::{Entities, EntitySpan};

/// The default limit on the tokens of one run of a graph. Runs with more tokens are not faster per token, and the outputs for
/// a token take kilobytes.
pub(super) const RUN_TOKENS: usize = 2_048;

/// What one thread has of a pipeline: sessions, and caches that the next job uses again.
pub(super) struct Workspace {
    ner: NetworkSessions,
    parser: Option<NetworkSessions>,
    chunks: ChunkCache,
    ner_types: TypeCache,
    parser_types: TypeCache,
}

/// One text of a call, with its sentence starts if the caller passes any.
#[derive(Debug, Clone)]
pub(super) struct Input {
    pub(super) text: String,
    /// The offsets of the text's sentence starts, in characters; `Some` exactly if `spacy.sentences` is `given`.
    pub(super) sentence_starts: Option<Vec<usize>>,
}

/// A spaCy pipeline. A job is a run of several texts, for which the graphs may run several times.
pub(super) struct Pipeline {
    pub(super) spec: SpacySpec,
    resources: Arc<Resources>,
    ner: Network,
    parser: Option<Network>,
    /// Limit on the tokens of one run of a graph, without the context and the padding of its slices.
    pub(super) run_tokens: usize,
}

impl Runner for Pipeline {
    type Worker = Workspace;
    type Key = ();
    type Row = Input;
    type Answer = Entities;

    fn load(&self) -> Result<Workspace, BridgeError> {
        Ok(Workspace {
            ner: self.ner.create()?,
            parser: self.parser.as_ref().map(Network::create).transpose()?,
            chunks: ChunkCache::default(),
            ner_types: TypeCache::default(),
            parser_types: TypeCache::default(),
        })
    }

    fn len(input: &Input) -> usize {
        input.text.len()
    }

    /// The runs are short ones of small graphs.
    fn shrinks(_: usize) -> bool {
        false
    }

    /// Splits the texts of a job into tokens. Texts for which this fails get their error; all others run together.
    fn run(
        &self,
        workspace: &mut Workspace,
        (): &(),
        inputs: &[&Input],
        scope: &RunScope<'_>,
    ) -> Result<Vec<Outcome<Entities>>, BridgeError> {
        let mut read = Vec::with_capacity(inputs.len());
        let mut refused: Vec<Option<BridgeError>> = Vec::with_capacity(inputs.len());
        for input in inputs {
            scope.check()?;
            let tokens = self.tokenize(input, &mut workspace.chunks);
            refused.push(tokens.map(|tokens| read.push(tokens)).err());
        }
        self.find_sentences(&mut read, workspace, scope)?;
        let spans = self.decode(&read, workspace, scope)?;
        let mut answers = read.iter().zip(spans).map(|(document, spans)| Ok(self.entities(document, &spans)));
        let not_run = || Err(BridgeError::inference(None, "was not run"));
        let outcome = |error: Option<_>| error.map_or_else(|| answers.next().unwrap_or_else(not_run), Err);
        Ok(refused.into_iter().map(outcome).collect())
    }
}

impl Pipeline {
    /// The pipeline of one variant. `parser` is `Some` exactly if the manifest has `spacy.parser`.
    pub(super) fn new(
        spec: SpacySpec,
        resources: Arc<Resources>,
        ner: Network,
        parser: Option<Network>,
        run_tokens: usize,
    ) -> Self {
        Self { spec, resources, ner, parser, run_tokens }
    }

    fn tokenize<'a>(&self, input: &'a Input, cache: &mut ChunkCache) -> Result<Tokens<'a>, BridgeError> {
        let text = input.text.as_str();
        if text.len() > MAX_TEXT_BYTES {
            return Err(BridgeError::InputTooLarge { index: None, bytes: text.len(), limit: MAX_TEXT_BYTES });
        }
        let tokens = tokenize(&self.resources.rules, text, cache);
        let starts = match self.spec.sentences {
            Sentences::Given => given_starts(text, &tokens, input.sentence_starts.as_deref())?,
            Sentences::None | Sentences::Parser => Vec::new(),
        };
        Ok(Tokens { text, tokens, starts })
    }

    /// Finds sentence starts with the parser, if the pipeline has one.
    fn find_sentences(
        &self,
        documents: &mut [Tokens<'_>],
        workspace: &mut Workspace,
        scope: &RunScope<'_>,
    ) -> Result<(), BridgeError> {
        let parts = (&mut workspace.parser, &self.spec.parser, &self.resources.tables.parser, &self.resources.moves);
        let (Some(sessions), Some(network), Some(tables), Some(moves)) = parts else { return Ok(()) };
        let source = self.source(&network.columns, network.vectors);
        let finder = SentenceFinder { network, tables, moves, source, run_tokens: self.run_tokens, scope };
        finder.find(documents, sessions, &mut workspace.parser_types)
    }

    /// The entities of every document as ranges of tokens. The graph does not run if all documents are without tokens.
    fn decode(
        &self,
        documents: &[Tokens<'_>],
        workspace: &mut Workspace,
        scope: &RunScope<'_>,
    ) -> Result<Vec<Vec<Span>>, BridgeError> {
        let new = |_| Decoder::new(&self.resources.tables.ner, &self.spec.ner);
        let mut decoders: Vec<Decoder<'_>> = documents.iter().map(new).collect();
        let runs = plan(documents.iter().map(Tokens::len), self.run_tokens);
        runs.iter().try_for_each(|run| self.decode_run(run, documents, workspace, scope, &mut decoders))?;
        Ok(decoders.into_iter().map(Decoder::finish).collect())
    }

    fn decode_run(
        &self,
        run: &[Slice],
        documents: &[Tokens<'_>],
        workspace: &mut Workspace,
        scope: &RunScope<'_>,
        decoders: &mut [Decoder<'_>],
    ) -> Result<(), BridgeError> {
        let (network, cache) = (&self.spec.ner, &mut workspace.ner_types);
        let source = self.source(&network.columns, network.vectors);
        let mut tokens = RunTokens::new(run, documents, network.context, source, cache);
        let (length, ranges) = (tokens.len(), std::mem::take(&mut tokens.ranges));
        let width = self.resources.tables.ner.bias.len();
        workspace.ner.run(scope, tokens, Inputs { vectors: network.vectors, flags: true }, cache, |outputs| {
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
