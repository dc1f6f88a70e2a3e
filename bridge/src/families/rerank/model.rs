//! A reranker, which scores a query with each of several documents and orders the documents by descending score.

use std::sync::Arc;
use std::time::Instant;

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
use crate::runtime::batch::{Bounds, Outcome, pad, run_all, run_apart};
use crate::runtime::cancellation::Stop;
use crate::runtime::meter::Meter;
use crate::runtime::options::ModelOptions;
use crate::runtime::session::{Lease, Pool};
use crate::runtime::transformer::{TOKEN_TYPE_IDS, Transformer, check_finite};
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
    pad_id: i64,
    scorer: Transformer,
    pool: Pool,
    max_tokens: usize,
    text_limit: usize,
    meter: Meter,
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
        Ok(Self {
            scorer: Transformer::new(graph, OUTPUT),
            pool: Pool::of_graph(files.root(), graph, options.engine.clone(), &meter),
            pad_id: sections.tokenizer.pad_id(),
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
    pub(super) fn score(&self, query: &str, documents: &[&str], stop: &Stop) -> Result<Vec<Scored>, BridgeError> {
        let started = Instant::now();
        let scored = self.score_all(query, documents, stop).inspect_err(|error| self.meter.error(error.code()))?;
        let tokens = scored.iter().map(|pair| pair.tokens).sum();
        self.meter.request(documents.len(), tokens, started.elapsed());
        Ok(scored)
    }

    fn score_all(&self, query: &str, documents: &[&str], stop: &Stop) -> Result<Vec<Scored>, BridgeError> {
        self.check_size(None, query)?;
        documents.iter().enumerate().try_for_each(|(index, document)| self.check_size(Some(index), document))?;
        stop.check()?;
        let query = self.tokenizer.encode(query).map_err(|problem| BridgeError::inference(None, problem))?;
        let mut scored = Vec::with_capacity(documents.len());
        for block in documents.chunks(MAX_BLOCK) {
            let first = scored.len();
            for (index, outcome) in self.score_block(&query, block, stop)?.into_iter().enumerate() {
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
    fn score_block(
        &self,
        query: &Encoding,
        documents: &[&str],
        stop: &Stop,
    ) -> Result<Vec<Outcome<Scored>>, BridgeError> {
        let pair = |document: &&str| stop.check().map(|()| self.pair(query, document));
        let pairs: Vec<Outcome<Pair>> = documents.iter().map(pair).collect::<Result<_, _>>()?;
        let scores = self.run_all(&pairs, stop)?;
        let outcome = |(pair, score): (Outcome<Pair>, Option<Outcome<f32>>)| {
            let pair = pair?;
            let score = score.unwrap_or_else(|| Err(BridgeError::inference(None, "was not run")))?;
            Ok(Scored { score, tokens: pair.ids.len(), truncated: pair.truncated })
        };
        Ok(pairs.into_iter().zip(scores).map(outcome).collect())
    }

    fn pair(&self, query: &Encoding, document: &str) -> Outcome<Pair> {
        let pair = self.tokenizer.encode(document).and_then(|document| self.tokenizer.join(query, &document));
        pair.map_err(|problem| BridgeError::inference(None, problem))
    }

    /// Runs all pairs that could be encoded, with one thread per session. The result has one item per pair.
    fn run_all(&self, pairs: &[Outcome<Pair>], stop: &Stop) -> Result<Vec<Option<Outcome<f32>>>, BridgeError> {
        let length = |(index, pair): (usize, &Outcome<Pair>)| Some((index, pair.as_ref().ok()?.ids.len()));
        let items = pairs.iter().enumerate().filter_map(length).collect();
        run_all(pairs.len(), items, self.pool.limit(), Bounds::default(), |run| {
            let rows: Vec<&Pair> = run.iter().filter_map(|&index| pairs[index].as_ref().ok()).collect();
            let mut lease = self.pool.lease(stop)?;
            let outcomes = run_apart(&rows, |rows| self.run(&mut lease, rows, stop));
            stop.check()?;
            Ok(outcomes)
        })
    }

    /// Runs the graph once on several pairs. Returns the score of each pair or its error.
    fn run(&self, lease: &mut Lease<'_>, rows: &[&Pair], stop: &Stop) -> Result<Vec<Outcome<f32>>, BridgeError> {
        let ids: Vec<&[i64]> = rows.iter().map(|pair| pair.ids.as_slice()).collect();
        let types: Vec<&[i64]> = rows.iter().map(|pair| pair.type_ids.as_slice()).collect();
        let (batch, types) = (pad(&ids, self.pad_id), pad(&types, 0));
        let shape = [types.rows, types.width];
        let mut types = Some(types.ids);
        let other = |name: &str| {
            let values = types.take_if(|_| name == TOKEN_TYPE_IDS.0)?;
            Some(Tensor::from_array((shape, values)))
        };
        self.scorer.run(lease, stop, batch, other, &[rows.len()], |scores| {
            scores.iter().map(|score| check_finite(&[*score]).map(|()| *score)).collect()
        })
    }
}

impl Backend for RerankModel {
    fn warm_up(&self) -> Result<(), BridgeError> {
        self.pool.warm_up()
    }

    fn unload(&self) {
        self.pool.clear();
    }

    fn self_test(&self, stop: &Stop) -> Result<(), BridgeError> {
        self.score("health", &["health"], stop).map(|_| ())
    }

    fn max_tokens(&self) -> Option<usize> {
        Some(self.max_tokens)
    }
}

impl RerankBackend for RerankModel {
    fn rerank(
        &self,
        query: &str,
        documents: &[&str],
        options: &RerankOptions,
        stop: &Stop,
    ) -> Result<Vec<Ranked>, BridgeError> {
        if options.top_k == Some(0) {
            return Err(BridgeError::config("top_k is 0, expected at least 1, or none for all documents"));
        }
        let scored = self.score(query, documents, stop)?;
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

    fn replay(&self, cases: &[u8], report: Report<'_>) -> Result<VariantReport, BridgeError> {
        replay::replay(self, cases, report)
    }

    #[cfg(feature = "cli")]
    fn workload<'a>(
        &'a self,
        file: &std::path::Path,
        limit: usize,
    ) -> Result<Box<dyn crate::families::model::Workload + 'a>, BridgeError> {
        let answer = move |lines: &[super::line::Line]| {
            let rerank = |line: &super::line::Line| {
                self.rerank(&line.query, &line.documents(), &RerankOptions::default(), &Stop::default())
            };
            lines.iter().try_for_each(|line| rerank(line).map(|_| ()))
        };
        crate::families::model::read_workload(file, limit, answer)
    }
}
