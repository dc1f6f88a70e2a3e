//! The manifest's types: the fields that all families have in common.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::BridgeError;

/// The newest `format_version` that this reader implements. To raise it: see the section Versions of `FORMAT.md`.
pub const FORMAT_VERSION: u64 = 1;

/// The fields that every manifest has; all others are sections of families.
const COMMON_FIELDS: [&str; 12] = [
    "builder",
    "engine",
    "files",
    "format_version",
    "golden",
    "name",
    "parity",
    "source",
    "task",
    "task_revision",
    "variants",
    "version",
];

/// `manifest.json`, checked.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Manifest {
    /// Version of the layout and of the fields common to all tasks.
    pub format_version: u64,
    /// What the model does, for example `sentence-embedding`.
    pub task: String,
    /// Version of the fields of the task.
    pub task_revision: u64,
    /// The kind of original that the graphs come from: `transformers` or `spacy`.
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
    /// The sections that belong to the model's family, by name. The family parses them.
    #[serde(skip)]
    pub sections: Map<String, Value>,
    /// The golden cases.
    pub golden: Golden,
    /// The measured parity.
    pub parity: Parity,
    /// Every file by its path, but for `manifest.json` and `manifest.sha256`.
    pub files: BTreeMap<String, FileEntry>,
}

/// What a family finds in its sections.
#[derive(Debug, Default)]
pub(crate) struct SectionCheck {
    /// The files of the preprocessor, each with the field that names it. Every variant needs them.
    pub(crate) files: Vec<(&'static str, String)>,
    /// Violations of rules between fields.
    pub(crate) problems: Vec<String>,
}

impl Manifest {
    /// Parses a manifest that satisfies the schema.
    pub(super) fn from_json(value: Value) -> Result<Self, serde_json::Error> {
        let fields = Map::deserialize(value)?.into_iter();
        let (common, sections) = fields.partition(|(name, _): &(String, Value)| COMMON_FIELDS.contains(&name.as_str()));
        let common: Map<String, Value> = common;
        let manifest = Self::deserialize(Value::Object(common))?;
        Ok(Self { sections, ..manifest })
    }

    /// Parses a section of the model's family.
    ///
    /// # Errors
    /// `schema`, where the section is missing or is not of the type.
    pub fn section<T: DeserializeOwned>(&self, name: &str) -> Result<T, BridgeError> {
        let section = self.sections.get(name).ok_or_else(|| missing(name))?;
        T::deserialize(section).map_err(|error| BridgeError::Schema { problems: vec![format!("{name}: {error}")] })
    }

    /// The variant that a name stands for: itself, or with `auto` `int8` where that is `exact_int8` and the artifact has
    /// it, else `fp32`, else the first by name.
    ///
    /// # Errors
    /// `variant`, where the artifact has no such variant.
    pub(crate) fn choose_variant(&self, requested: &str, exact_int8: bool) -> Result<String, BridgeError> {
        let names: Vec<&str> = self.variants.keys().map(String::as_str).collect();
        let chosen = choose(&names, requested, exact_int8).ok_or_else(|| self.unknown_variant(requested))?;
        Ok(chosen.to_owned())
    }

    /// A graph of a variant by its role; `variant` where the manifest has no such variant.
    pub(crate) fn graph(&self, variant: &str, role: &str) -> Result<&Graph, BridgeError> {
        let graphs = &self.variants.get(variant).ok_or_else(|| self.unknown_variant(variant))?.graphs;
        graphs.get(role).ok_or_else(|| missing(&format!("variants.{variant}.graphs.{role}")))
    }

    fn unknown_variant(&self, requested: &str) -> BridgeError {
        BridgeError::Variant { requested: requested.to_owned(), known: self.variants.keys().cloned().collect() }
    }
}

fn missing(name: &str) -> BridgeError {
    BridgeError::Schema { problems: vec![format!("{name} is missing")] }
}

fn choose<'a>(names: &[&'a str], requested: &str, exact_int8: bool) -> Option<&'a str> {
    let find = |name: &str| names.iter().find(|known| **known == name).copied();
    match requested {
        "auto" => {
            let int8 = find("int8").filter(|_| exact_int8);
            int8.or_else(|| find("fp32")).or_else(|| names.first().copied())
        }
        name => find(name),
    }
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
    /// Thresholds by metric. The variant met them when it was built, and `verify` checks them on the golden cases.
    pub gate: BTreeMap<String, f64>,
    /// Graphs by role; the model's family has the roles.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_is_int8_only_where_its_products_are_exact_and_fast() {
        for exact in [true, false] {
            let chosen = |names: &[&'static str], requested: &str| choose(names, requested, exact);
            assert_eq!(chosen(&["fp32", "int8"], "auto"), Some(if exact { "int8" } else { "fp32" }));
            assert_eq!(chosen(&["fp16", "int8"], "auto"), Some(if exact { "int8" } else { "fp16" }));
            assert_eq!(chosen(&["bf16", "fp32"], "auto"), Some("fp32"));
            assert_eq!(chosen(&["int8"], "auto"), Some("int8"));
            assert_eq!(chosen(&["fp32", "int8"], "int8"), Some("int8"));
            assert_eq!(chosen(&["fp32", "int8"], "int4"), None);
        }
    }
}
