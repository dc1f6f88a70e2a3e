//! A reranker, which scores a query with each of several documents and orders the documents by descending score.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use ort::value::Tensor;
use tokenizers::Encoding;

use super::agreement::ranking;
use super::pair_tokenizer::{Pair, PairTokenizer};
use super::section::Sections;
use super::{ROLE, replay};
use crate::BridgeError;
use crate::artifact::Manifest;
use crate::artifact::files::ArtifactFiles;
use crate::families::golden_cases::Report;
use crate::families::model::FamilyModel;
use crate::families::report::VariantReport;
use crate::runtime::batch::{Bounds, Outcome, pad, plan};
use crate::runtime::blocking::block_on;
use crate::runtime::cancellation::Stop;
use crate::runtime::graph_session::GraphSession;
use crate::runtime::lane::{Caller, Job, Lane, Permit, Runner};
use crate::runtime::meter::Meter;
use crate::runtime::options::ModelOptions;
use crate::runtime::scope::RunScope;
use crate::runtime::session::SessionFactory;
use crate::runtime::transformer::{TOKEN_TYPE_IDS, Transformer, check_finite};
use crate::status::LaneStatus;
use crate::tasks::backend::{AnyBackend, Backend, RerankBackend};
use crate::tasks::{Ranked, RerankOptions};

/// The name of the graph's output, which has one score per pair of a query and a document.
const OUTPUT: &str = "scores";
/// Limit on the documents that are tokenized together. It bounds the memory of a call with many documents.
const MAX_BLOCK: usize = 1024;

/// The score of a pair of a query and a document.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Scored {
    pub(super) score: f32,
    /// The number of tokens of the query and the document together, including special tokens.
    pub(super) tokens: usize,
    pub(super) truncated: bool,
}

/// One variant of a reranker. Its graph is loaded by the first call.
pub(crate) struct RerankModel {
    manifest: Arc<Manifest>,
    variant: String,
    tokenizer: Arc<PairTokenizer>,
    lane: Lane<PairRunner>,
    bounds: Bounds,
    max_tokens: usize,
    text_limit: usize,
    meter: Meter,
}

/// The encoded pairs of a block of documents.
struct Prepared {
    job: Job<PairRunner>,
    /// The tokens of every pair and whether it was truncated, or why it could not be encoded.
    pairs: Vec<Outcome<(usize, bool)>>,
}

impl RerankModel {
    /// Opens a variant of a checked artifact. No graph is loaded yet.
    ///
    /// # Errors
    /// `variant` where the manifest has no such variant.
    pub(super) fn new(
        files: &ArtifactFiles,
        sections: &Sections,
        tokenizer: Arc<PairTokenizer>,
        variant: &str,
        options: &ModelOptions,
    ) -> Result<Self, BridgeError> {
        let manifest = Arc::clone(files.manifest());
        let graph = manifest.graph(variant, ROLE)?;
        let meter = Meter::of(&manifest);
        let runner = PairRunner {
            sessions: SessionFactory::of_graph(files.root(), graph, options.engine.clone()),
            scorer: Transformer::new(graph, OUTPUT),
            pad_id: sections.tokenizer.pad_id(),
        };
        Ok(Self {
            lane: Lane::new(runner, options.lane(), meter.clone()),
            bounds: options.bounds(),
            max_tokens: sections.tokenizer.max_tokens,
            text_limit: options.limits.text,
            variant: variant.to_owned(),
            tokenizer,
            meter,
            manifest,
        })
    }

    /// The scores of the documents for a query, in the order of the documents.
    ///
    /// # Errors
    /// The error of the query, without an index, or of the first document that has one; or the reason why the call was
    /// stopped.
    pub(super) async fn score(
        self: &Arc<Self>,
        query: String,
        documents: Vec<String>,
        caller: &Caller,
    ) -> Result<Vec<Scored>, BridgeError> {
        let (started, count) = (Instant::now(), documents.len());
        let scored = self.score_all(query, documents, caller).await;
        let scored = scored.inspect_err(|error| self.meter.error(error.code()))?;
        let tokens = scored.iter().map(|pair| pair.tokens).sum();
        self.meter.request(count, tokens, started.elapsed());
        Ok(scored)
    }

    async fn score_all(
        self: &Arc<Self>,
        query: String,
        mut documents: Vec<String>,
        caller: &Caller,
    ) -> Result<Vec<Scored>, BridgeError> {
        self.check_size(None, &query)?;
        documents.iter().enumerate().try_for_each(|(index, document)| self.check_size(Some(index), document))?;
        caller.stop.check()?;
        let permit = self.lane.admit()?;
        let (tokenizer, bytes) = (Arc::clone(&self.tokenizer), query.len());
        let encode = move || tokenizer.encode(&query).map_err(|problem| BridgeError::inference(None, problem));
        let query = Arc::new(caller.prepare(bytes, encode).await?);
        let mut scored = Vec::with_capacity(documents.len());
        while !documents.is_empty() {
            let first = scored.len();
            let others = documents.split_off(documents.len().min(MAX_BLOCK));
            let block = std::mem::replace(&mut documents, others);
            for (index, outcome) in
                self.score_block(&permit, &query, block, documents.is_empty(), caller).await?.into_iter().enumerate()
            {
                scored.push(outcome.map_err(|error| error.with_index(Some(first + index)))?);
            }
        }
        Ok(scored)
    }

    fn check_size(&self, index: Option<usize>, text: &str) -> Result<(), BridgeError> {
        let (bytes, limit) = (text.len(), self.text_limit);
        if bytes > limit { Err(BridgeError::InputTooLarge { index, bytes, limit }) } else { Ok(()) }
    }

    /// The score of each document or its error, in the order of the documents.
    ///
    /// # Errors
    /// `dependency` or `graph`, which concern every document, or the reason why the call was stopped.
    async fn score_block(
        self: &Arc<Self>,
        permit: &Permit<PairRunner>,
        query: &Arc<Encoding>,
        documents: Vec<String>,
        is_last: bool,
        caller: &Caller,
    ) -> Result<Vec<Outcome<Scored>>, BridgeError> {
        let (model, query, stop) = (Arc::clone(self), Arc::clone(query), Arc::clone(&caller.stop));
        let bytes = documents.iter().map(String::len).sum();
        let prepared = caller.prepare(bytes, move || model.prepare(&query, &documents, is_last, &stop));
        let Prepared { job, pairs } = prepared.await?;
        let mut scores = permit.run(job, caller, |_| ()).await?.into_iter();
        caller.stop.check()?;
        let outcome = |pair: Outcome<(usize, bool)>| {
            let (tokens, truncated) = pair?;
            let score = scores.next().unwrap_or_else(|| Err(BridgeError::inference(None, "was not run")))?;
            Ok(Scored { score, tokens, truncated })
        };
        Ok(pairs.into_iter().map(outcome).collect())
    }

    fn prepare(
        &self,
        query: &Encoding,
        documents: &[String],
        is_last: bool,
        stop: &Stop,
    ) -> Result<Prepared, BridgeError> {
        let mut rows: Vec<Pair> = Vec::with_capacity(documents.len());
        let mut pairs = Vec::with_capacity(documents.len());
        for document in documents {
            stop.check()?;
            pairs.push(self.pair(query, document).map(|pair| {
                let about = (pair.ids.len(), pair.truncated);
                rows.push(pair);
                about
            }));
        }
        let runs = plan(rows.iter().map(|pair| pair.ids.len()).enumerate().collect(), self.bounds);
        Ok(Prepared { job: Job { key: (), rows, runs, is_last }, pairs })
    }

    fn pair(&self, query: &Encoding, document: &str) -> Outcome<Pair> {
        let pair = self.tokenizer.encode(document).and_then(|document| self.tokenizer.join(query, &document));
        pair.map_err(|problem| BridgeError::inference(None, problem))
    }
}

/// Runs the graph on pairs.
struct PairRunner {
    sessions: SessionFactory,
    scorer: Transformer,
    pad_id: i64,
}

impl Runner for PairRunner {
    type Worker = Arc<GraphSession>;
    type Key = ();
    type Row = Pair;
    type Answer = f32;

    fn load(&self) -> Result<Arc<GraphSession>, BridgeError> {
        self.sessions.graph_session()
    }

    fn len(pair: &Pair) -> usize {
        pair.ids.len()
    }

    fn run(
        &self,
        session: &mut Arc<GraphSession>,
        (): &(),
        rows: &[&Pair],
        scope: &RunScope<'_>,
    ) -> Result<Vec<Outcome<f32>>, BridgeError> {
        let ids: Vec<&[i64]> = rows.iter().map(|pair| pair.ids.as_slice()).collect();
        let types: Vec<&[i64]> = rows.iter().map(|pair| pair.type_ids.as_slice()).collect();
        let (batch, types) = (pad(&ids, self.pad_id), pad(&types, 0));
        let shape = [types.rows, types.width];
        let mut types = Some(types.ids);
        let other = |name: &str| {
            let values = types.take_if(|_| name == TOKEN_TYPE_IDS.0)?;
            Some(Tensor::from_array((shape, values)))
        };
        self.scorer.run(session, scope, batch, other, &[rows.len()], |scores| {
            scores.iter().map(|score| check_finite(&[*score]).map(|()| *score)).collect()
        })
    }
}

#[async_trait]
impl Backend for RerankModel {
    async fn load(&self, caller: &Caller) -> Result<(), BridgeError> {
        self.lane.warm_up((), caller).await
    }

    fn unload(&self) {
        self.lane.unload();
    }

    async fn self_test(self: Arc<Self>, caller: Caller) -> Result<(), BridgeError> {
        self.score("health".to_owned(), vec!["health".to_owned()], &caller).await.map(|_| ())
    }

    fn status(&self) -> LaneStatus {
        self.lane.status()
    }

    fn max_tokens(&self) -> Option<usize> {
        Some(self.max_tokens)
    }
}

#[async_trait]
impl RerankBackend for RerankModel {
    async fn rerank(
        self: Arc<Self>,
        query: String,
        documents: Vec<String>,
        options: RerankOptions,
        caller: Caller,
    ) -> Result<Vec<Ranked>, BridgeError> {
        if options.top_k == Some(0) {
            return Err(BridgeError::config("top_k is 0, expected at least 1, or none for all documents"));
        }
        let scored = self.score(query, documents, &caller).await?;
        let scores: Vec<f64> = scored.iter().map(|pair| f64::from(pair.score)).collect();
        let ranked = ranking(&scores).into_iter().take(options.top_k.unwrap_or(usize::MAX));
        Ok(ranked.map(|index| Ranked::new(index, scored[index].score, scored[index].truncated)).collect())
    }
}

impl FamilyModel for RerankModel {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn variant(&self) -> &str {
        &self.variant
    }

    fn into_backend(self: Arc<Self>) -> AnyBackend {
        AnyBackend::Rerank(self)
    }

    fn replay(self: Arc<Self>, cases: &[u8], report: Report<'_>) -> Result<VariantReport, BridgeError> {
        replay::replay(&self, cases, report)
    }

    #[cfg(feature = "cli")]
    fn workload(
        self: Arc<Self>,
        file: &std::path::Path,
        limit: usize,
    ) -> Result<Box<dyn crate::families::model::Workload>, BridgeError> {
        let answer = move |lines: &[super::line::Line]| {
            let rerank = |line: &super::line::Line| {
                let documents = line.documents().into_iter().map(str::to_owned).collect();
                let (query, options) = (line.query.clone(), RerankOptions::default());
                block_on(Arc::clone(&self).rerank(query, documents, options, Caller::blocking()))
            };
            lines.iter().try_for_each(|line| rerank(line).map(|_| ()))
        };
        crate::families::model::read_workload(file, limit, answer)
    }
}
