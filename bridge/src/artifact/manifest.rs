//! The manifest as frozen types.

use std::collections::BTreeMap;

use serde::Deserialize;

pub use super::generation::*;
pub use super::specs::*;
use crate::BridgeError;

/// The newest `format_version` that this reader implements. To raise it: see the section Versions of `FORMAT.md`.
pub const FORMAT_VERSION: u64 = 1;
/// The task of embedding models.
pub const SENTENCE_EMBEDDING: &str = "sentence-embedding";
/// The task of models that find named entities.
pub const NER: &str = "ner";
/// The task of models that summarize.
pub const SUMMARIZATION: &str = "summarization";
/// The newest `task_revision` of every task that this reader implements.
pub const FAMILIES: [(&str, &str, u64); 4] = [
    (SENTENCE_EMBEDDING, "transformers", 1),
    (NER, "transformers", 1),
    (NER, "spacy", 1),
    (SUMMARIZATION, "transformers", 1),
];

/// `manifest.json`, checked.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Manifest {
    /// Version of the layout and of the fields common to all tasks.
    pub format_version: u64,
    /// What the model does: `sentence-embedding`, `ner` or `summarization`.
    pub task: String,
    /// Version of the fields of the task.
    pub task_revision: u64,
    /// Which kind of original the graphs come from: `transformers` or `spacy`.
    pub engine: String,
    /// The model's name.
    pub name: String,
    /// The model's version.
    pub version: String,
    /// Where the weights come from.
    pub source: Source,
    /// Versions of what built the artifact, by distribution name.
    pub builder: BTreeMap<String, String>,
    /// The variants by name (`fp32`, `int8`, ...).
    pub variants: BTreeMap<String, Variant>,
    /// The tokenizer and its limits; every artifact of the engine `transformers` has it.
    #[serde(default)]
    pub tokenizer: Option<TokenizerSpec>,
    /// What a sentence embedding model has besides; every `sentence-embedding` artifact has it.
    #[serde(default)]
    pub embedding: Option<EmbeddingSpec>,
    /// What a token classifier has besides; every `ner` artifact of the engine `transformers` has it.
    #[serde(default)]
    pub token_classification: Option<TokenClassificationSpec>,
    /// What a spaCy pipeline has besides; every `ner` artifact of the engine `spacy` has it.
    #[serde(default)]
    pub spacy: Option<SpacySpec>,
    /// What a summarizer has besides; every `summarization` artifact has it.
    #[serde(default)]
    pub summarization: Option<SummarizationSpec>,
    /// The golden cases.
    pub golden: Golden,
    /// The measured parity.
    pub parity: Parity,
    /// Every file by its path, but for `manifest.json` and `manifest.sha256`.
    pub files: BTreeMap<String, FileEntry>,
}

impl Manifest {
    /// The error for a variant that the artifact does not have.
    pub(crate) fn unknown_variant(&self, asked: &str) -> BridgeError {
        BridgeError::Variant { asked: asked.to_owned(), known: self.variants.keys().cloned().collect() }
    }

    /// The files that turn texts into the graphs' inputs, with the fields that name them: every variant needs them.
    pub(crate) fn text_files(&self) -> Vec<(&'static str, &String)> {
        let tokenizer = self.tokenizer.iter().map(|spec| ("tokenizer.file", &spec.file));
        let spacy = self.spacy.iter().flat_map(|spec| [("spacy.rules", &spec.rules), ("spacy.tables", &spec.tables)]);
        tokenizer.chain(spacy).collect()
    }

    /// A graph of a variant by its role; `variant` where the manifest has no such variant.
    pub(crate) fn graph(&self, variant: &str, role: &str) -> Result<&Graph, BridgeError> {
        let variant_of_name = self.variants.get(variant).ok_or_else(|| self.unknown_variant(variant))?;
        variant_of_name.graphs.get(role).ok_or_else(|| missing(&format!("variants.{variant}.graphs.{role}")))
    }
}

/// A section that the schema requires of the manifest's task and engine, and whose name is for messages.
pub(crate) fn section<'a, T>(section: &'a Option<T>, name: &str) -> Result<&'a T, BridgeError> {
    section.as_ref().ok_or_else(|| missing(name))
}

pub(crate) fn missing(name: &str) -> BridgeError {
    BridgeError::Schema { problems: vec![format!("{name} is missing")] }
}

/// Where the weights come from.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Source {
    /// `hub`, `package` or `path`.
    pub kind: String,
    /// The name there.
    pub id: String,
    /// The revision there, where there is such a thing.
    #[serde(deserialize_with = "Option::deserialize")]
    pub revision: Option<String>,
    /// SHA-256 of the original weights, hexadecimal.
    pub weights_sha256: String,
    /// The licence as the source states it.
    #[serde(deserialize_with = "Option::deserialize")]
    pub license: Option<String>,
}

/// One variant of the model.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Variant {
    /// Thresholds by metric, which the variant held when it was built and which `verify` asks of golden cases.
    pub gate: BTreeMap<String, f64>,
    /// Graphs by role (`encoder`, `generate`, `spacy_ner`, `spacy_ner_types`, `spacy_parser`, `spacy_parser_types`,
    /// `token_classifier`).
    pub graphs: BTreeMap<String, Graph>,
    /// How it was quantized; `None` for float32.
    #[serde(deserialize_with = "Option::deserialize")]
    pub quantization: Option<Quantization>,
}

/// One graph.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Graph {
    /// Its file, relative to the artifact.
    pub file: String,
    /// The ONNX IR version.
    pub ir_version: u64,
    /// Operator domains used with their opset versions; `""` is `ai.onnx`.
    pub domains: BTreeMap<String, u64>,
    /// The oldest ONNX Runtime that runs it, as `MAJOR.MINOR`.
    pub min_onnxruntime: String,
    /// The graph's inputs.
    pub inputs: Vec<Tensor>,
    /// The graph's outputs.
    pub outputs: Vec<Tensor>,
}

/// An input or output of a graph.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Tensor {
    /// Its name.
    pub name: String,
    /// The element type: `float32`, `int64`, ...
    pub dtype: String,
    /// The dimensions.
    pub dims: Vec<Dim>,
}

/// A dimension of a tensor.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum Dim {
    /// Always this size.
    Size(u64),
    /// Varies, under this name.
    Name(String),
}

/// How a variant was quantized, with the error that it costs.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Quantization {
    /// The scheme: `row-uint8-channel-int8`.
    pub scheme: String,
    /// SmoothQuant's alpha.
    pub smoothing_alpha: f64,
    /// Zero point of the activations after GELU.
    pub gelu_zero_point: u64,
    /// The calibration texts.
    pub calibration: Calibration,
    /// Embedding tables quantized per row.
    pub tables: Vec<String>,
    /// Signal to quantization noise of each matrix product on the calibration texts, in dB.
    pub layers: BTreeMap<String, f64>,
    /// Error of the graph's output on the calibration texts against fp32, by metric.
    pub error: BTreeMap<String, f64>,
}

/// The texts that a quantization was calibrated on.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Calibration {
    /// SHA-256 of the texts.
    pub sha256: String,
    /// How many texts.
    pub texts: u64,
    /// How many tokens.
    pub tokens: u64,
}

/// The golden cases.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Golden {
    /// Their file, relative to the artifact.
    pub file: String,
    /// How many there are.
    pub cases: usize,
}

/// The measured parity with the original.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Parity {
    /// The whole evidence, relative to the artifact.
    pub file: String,
    /// How many texts were compared.
    pub texts: u64,
    /// Where it was measured.
    pub machine: Machine,
    /// Figures by variant and metric.
    pub variants: BTreeMap<String, BTreeMap<String, f64>>,
}

/// A machine that parity was measured on.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Machine {
    /// The processor's name.
    pub cpu: String,
    /// Its relevant instruction sets.
    pub instruction_set: Vec<String>,
    /// Threads used.
    pub threads: u64,
}

/// A file of the artifact.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct FileEntry {
    /// SHA-256 of its bytes, hexadecimal, lowercase.
    pub sha256: String,
    /// Its size in bytes.
    pub size: u64,
}
