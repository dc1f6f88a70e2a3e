//! Replaying an artifact's golden cases on this machine.

mod embedding;
mod ner;
mod summarization;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use self::embedding::EmbeddingReport;
pub use self::ner::EntityReport;
pub use self::summarization::SummaryReport;

use crate::BridgeError;
use crate::artifact::manifest::{NER, SUMMARIZATION, Variant};
use crate::artifact::{Artifact, Manifest, TextFiles, json};
use crate::runtime::cpu::available_threads;
use crate::runtime::embedding::EmbeddingModel;
use crate::runtime::ner::{NerModel, NerTexts};
use crate::runtime::session::EngineOptions;
use crate::runtime::summarization::{Limits, Summarizer, SummaryTexts};
use crate::runtime::{DEFAULT_BEAM_LIMIT, DEFAULT_TEXT_LIMIT};

/// Threads of a replay at most: every thread takes address space, which the command `verify` limits.
const MAX_THREADS: usize = 8;

/// How close a variant came to the original on the golden cases, by task.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum VariantReport {
    /// Of a sentence embedding model.
    Embedding(EmbeddingReport),
    /// Of a model that finds named entities.
    Entities(EntityReport),
    /// Of a summarizer.
    Summaries(SummaryReport),
}

/// Replays the golden cases with every variant of an artifact, in this process.
///
/// Loading a graph is no security boundary: the command `verify` does this in a child process with limits.
///
/// # Errors
/// `golden` where an answer leaves its variant's gate, a case's input is refused, or the cases cannot be read;
/// `dependency` without a usable ONNX Runtime (`library`, else `ORT_DYLIB_PATH`); `graph` where it refuses a graph or a run
/// fails.
pub fn replay(artifact: Artifact, library: Option<PathBuf>) -> Result<BTreeMap<String, VariantReport>, BridgeError> {
    let task = artifact.manifest().task.clone();
    let lines = artifact.read(&artifact.manifest().golden.file)?;
    let root = artifact.root().to_path_buf();
    let (manifest, texts) = artifact.into_parts();
    let threads = Some(available_threads().min(MAX_THREADS));
    let engine = EngineOptions { library, threads, ..EngineOptions::default() };
    let variants = Replay { root: &root, manifest: &Arc::new(manifest), lines: &lines, engine };
    match task.as_str() {
        NER => variants.ner(texts),
        SUMMARIZATION => variants.summarization(texts),
        _ => variants.embedding(texts),
    }
}

/// What every variant's replay needs.
struct Replay<'a> {
    root: &'a Path,
    manifest: &'a Arc<Manifest>,
    /// The bytes of the cases' file.
    lines: &'a [u8],
    engine: EngineOptions,
}

type Reports = BTreeMap<String, VariantReport>;

impl Replay<'_> {
    fn embedding(&self, texts: TextFiles) -> Result<Reports, BridgeError> {
        let cases = read_cases(self.manifest, self.lines)?;
        let tokenizer = Arc::new(texts.into_tokenizer()?);
        self.each(|name, variant| {
            let (manifest, tokenizer) = (Arc::clone(self.manifest), Arc::clone(&tokenizer));
            let model =
                EmbeddingModel::new(self.root, manifest, tokenizer, name, self.engine.clone(), DEFAULT_TEXT_LIMIT)?;
            embedding::replay(&model, variant, &cases).map(VariantReport::Embedding)
        })
    }

    fn ner(&self, texts: TextFiles) -> Result<Reports, BridgeError> {
        let cases = read_cases(self.manifest, self.lines)?;
        let texts = NerTexts::new(texts, self.manifest)?;
        self.each(|name, variant| {
            let (manifest, texts) = (Arc::clone(self.manifest), texts.clone());
            let model = NerModel::new(self.root, manifest, texts, name, self.engine.clone(), DEFAULT_TEXT_LIMIT)?;
            ner::replay(&model, variant, &cases).map(VariantReport::Entities)
        })
    }

    fn summarization(&self, texts: TextFiles) -> Result<Reports, BridgeError> {
        let cases = read_cases(self.manifest, self.lines)?;
        let texts = Arc::new(SummaryTexts::new(texts.into_tokenizer()?));
        let limits = Limits { text: DEFAULT_TEXT_LIMIT, beams: DEFAULT_BEAM_LIMIT };
        self.each(|name, variant| {
            let (manifest, texts) = (Arc::clone(self.manifest), Arc::clone(&texts));
            let model = Summarizer::new(self.root, manifest, texts, name, self.engine.clone(), limits)?;
            summarization::replay(&model, variant, &cases).map(VariantReport::Summaries)
        })
    }

    fn each(
        &self,
        replay: impl Fn(&str, &Variant) -> Result<VariantReport, BridgeError>,
    ) -> Result<Reports, BridgeError> {
        let variants = self.manifest.variants.iter();
        variants.map(|(name, variant)| Ok((name.clone(), replay(name, variant)?))).collect()
    }
}

fn refuse(manifest: &Manifest, problem: String) -> BridgeError {
    BridgeError::Golden { file: manifest.golden.file.clone(), problem }
}

/// The cases of one task, read strictly.
fn read_cases<C: DeserializeOwned>(manifest: &Manifest, bytes: &[u8]) -> Result<Vec<C>, BridgeError> {
    let lines = bytes.strip_suffix(b"\n").unwrap_or(bytes).split(|byte| *byte == b'\n');
    let mut cases = Vec::new();
    for (at, line) in lines.enumerate() {
        let value =
            json::parse(line).and_then(|value| serde_json::from_value(value).map_err(|error| error.to_string()));
        cases.push(value.map_err(|problem| refuse(manifest, format!("line {}: {problem}", at + 1)))?);
    }
    if cases.len() != manifest.golden.cases {
        let problem = format!("has {} cases, the manifest says {}", cases.len(), manifest.golden.cases);
        return Err(refuse(manifest, problem));
    }
    Ok(cases)
}

/// What a model's error means where nobody but the artifact chose the input.
fn blame(manifest: &Manifest, variant: &str, error: BridgeError) -> BridgeError {
    match error {
        // A case whose input or settings are refused is a wrong case.
        BridgeError::PromptNotFound { .. }
        | BridgeError::InputTooLarge { .. }
        | BridgeError::EmptyInput { .. }
        | BridgeError::SentenceStarts { .. }
        | BridgeError::Config { .. } => refuse(manifest, error.to_string()),
        // A graph that fails on one is to blame.
        BridgeError::Inference { problem, .. } => {
            let graphs = manifest.variants.get(variant).into_iter().flat_map(|variant| variant.graphs.values());
            let files: Vec<&str> = graphs.map(|graph| graph.file.as_str()).collect();
            BridgeError::Graph { file: files.join(" or "), problem }
        }
        other => other,
    }
}

/// Fails where the variant's gate has the metric and the value does not hold it; a value that is no number never does.
fn within(variant: &Variant, metric: &str, value: f64, holds: fn(f64, f64) -> bool) -> Result<(), String> {
    match variant.gate.get(metric) {
        Some(gate) if !holds(value, *gate) => Err(format!("{metric} is {value:e}, the gate is {gate:e}")),
        _ => Ok(()),
    }
}
