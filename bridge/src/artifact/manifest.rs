//! The types of the manifest's fields that all families have in common.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::BridgeError;

/// The newest `format_version` that this reader implements. The section Versions of `FORMAT.md` describes how to raise it.
pub const FORMAT_VERSION: u64 = 1;

/// The fields that every manifest has. All other fields are sections of a family.
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

/// A valid `manifest.json`.
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
    /// The library of the original model: `transformers` or `spacy`.
    pub engine: String,
    /// The model's name.
    pub name: String,
    /// The model's version.
    pub version: String,
    /// Where the weights come from.
    pub source: Source,
    /// Versions of the packages that built the artifact, by distribution name.
    pub builder: BTreeMap<String, String>,
    /// The variants by name (`fp32`, `int8`, ...).
    pub variants: BTreeMap<String, Variant>,
    /// The sections of the model's family, by name. The family parses them.
    #[serde(skip)]
    pub sections: Map<String, Value>,
    /// The file with the golden cases, and their number.
    pub golden: Golden,
    /// The measured parity of the variants with the original model.
    pub parity: Parity,
    /// The size and the hash of every file by its path, except `manifest.json` and `manifest.sha256`.
    pub files: BTreeMap<String, FileEntry>,
}

/// What a family returns after it has checked its own sections of a manifest.
#[derive(Debug, Default)]
pub(crate) struct SectionCheck {
    /// The paths of the preprocessor's files, each after the manifest's field that names it. Every variant needs these
    /// files.
    pub(crate) files: Vec<(&'static str, String)>,
    /// One message per violated rule that concerns several fields of the sections.
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
    /// `schema`, if the section is missing or does not match the type.
    pub fn section<T: DeserializeOwned>(&self, name: &str) -> Result<T, BridgeError> {
        let section = self.sections.get(name).ok_or_else(|| missing(name))?;
        T::deserialize(section).map_err(|error| BridgeError::Schema { problems: vec![format!("{name}: {error}")] })
    }

    /// The same manifest with a lower limit on the tokens of a text.
    ///
    /// # Errors
    /// `config` if the limit is above the model's, or if the model has none.
    pub(crate) fn with_max_tokens(&self, max_tokens: usize) -> Result<Self, BridgeError> {
        let refuse = |expected: String| {
            Err(BridgeError::config(format!("max_tokens of {} is {max_tokens}, expected {expected}", self.name)))
        };
        let mut manifest = self.clone();
        match manifest.sections.get_mut("tokenizer").and_then(|section| section.get_mut("max_tokens")) {
            None => refuse("none, because the model has no limit".to_owned()),
            Some(limit) => match limit.as_u64() {
                Some(models) if models < max_tokens as u64 => refuse(format!("at most {models}")),
                _ => {
                    *limit = Value::from(max_tokens);
                    Ok(manifest)
                }
            },
        }
    }

    /// The name of the variant to open. On the CPU, the name `auto` selects `int8` if the artifact has it and the CPU computes
    /// 8-bit products exactly and fast, which `exact_int8` says; else `fp32`, else the first variant by name. On other
    /// devices `exact_int8` is `None`, and `auto` selects `fp16`, else `fp32`, else the first one by name that is not `int8`.
    ///
    /// # Errors
    /// `variant`, if the artifact has no such variant.
    pub(crate) fn choose_variant(&self, requested: &str, exact_int8: Option<bool>) -> Result<String, BridgeError> {
        let names: Vec<&str> = self.variants.keys().map(String::as_str).collect();
        let chosen = choose(&names, requested, exact_int8).ok_or_else(|| self.unknown_variant(requested))?;
        Ok(chosen.to_owned())
    }

    /// The graph of a variant that has the given role.
    ///
    /// # Errors
    /// `variant` if the manifest has no such variant, `schema` if the variant has no such graph.
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

fn choose<'a>(names: &[&'a str], requested: &str, exact_int8: Option<bool>) -> Option<&'a str> {
    let find = |name: &str| names.iter().find(|known| **known == name).copied();
    match requested {
        "auto" => {
            let preferred = match exact_int8 {
                Some(true) => find("int8"),
                Some(false) => None,
                None => find("fp16"),
            };
            let first = || names.iter().find(|name| exact_int8.is_some() || **name != "int8").copied();
            preferred.or_else(|| find("fp32")).or_else(first)
        }
        name => find(name),
    }
}

/// Where the weights come from.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Source {
    /// The kind of the source: `hub`, `package` or `path`.
    pub kind: String,
    /// The name of the source: of the model on the hub, of the package, or of the path.
    pub id: String,
    /// The revision, if the source has revisions.
    #[serde(deserialize_with = "Option::deserialize")]
    pub revision: Option<String>,
    /// SHA-256 of the original weights, hexadecimal.
    pub weights_sha256: String,
    /// The license as the source states it.
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
    /// Graphs by role. The model's family defines the roles.
    pub graphs: BTreeMap<String, Graph>,
    /// How the variant was quantized; `None` for float32.
    #[serde(deserialize_with = "Option::deserialize")]
    pub quantization: Option<Quantization>,
}

/// A graph of a variant, as the manifest declares it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Graph {
    /// The path of the ONNX file, relative to the artifact.
    pub file: String,
    /// The version of the ONNX IR that the ONNX file has.
    pub ir_version: u64,
    /// The opset versions of the operator domains that the graph uses; `""` is `ai.onnx`.
    pub domains: BTreeMap<String, u64>,
    /// The oldest version of ONNX Runtime that runs the graph, as `MAJOR.MINOR`.
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
    /// The name of the input or output.
    pub name: String,
    /// The element type of the tensor: `float32`, `int64`, ...
    pub dtype: String,
    /// The dimensions of the tensor.
    pub dims: Vec<Dim>,
}

/// A dimension of a tensor.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum Dim {
    /// A fixed size.
    Size(u64),
    /// A size that varies from run to run, with its name.
    Name(String),
}

/// How a variant was quantized, and the resulting error.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Quantization {
    /// The quantization scheme: `row-uint8-channel-int8`.
    pub scheme: String,
    /// The smoothing strength alpha of SmoothQuant.
    pub smoothing_alpha: f64,
    /// The zero point of the quantized activations after GELU.
    pub gelu_zero_point: u64,
    /// The calibration texts.
    pub calibration: Calibration,
    /// The names of the embedding tables, which are quantized per row.
    pub tables: Vec<String>,
    /// The signal-to-quantization-noise ratio of each matrix product on the calibration texts, in dB.
    pub layers: BTreeMap<String, f64>,
    /// How much the graph's output differs from the output of the variant fp32 on the calibration texts, by metric.
    pub error: BTreeMap<String, f64>,
}

/// The texts that a quantization was calibrated on.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Calibration {
    /// SHA-256 of the calibration texts, hexadecimal.
    pub sha256: String,
    /// The number of calibration texts.
    pub texts: u64,
    /// The number of tokens of all calibration texts.
    pub tokens: u64,
}

/// The file with the golden cases, and their number.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Golden {
    /// The path of the file with the golden cases, relative to the artifact.
    pub file: String,
    /// The number of golden cases in the file.
    pub cases: usize,
}

/// The measured parity with the original model.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Parity {
    /// The file with all measurements, relative to the artifact.
    pub file: String,
    /// The number of texts on which the variants were compared with the original.
    pub texts: u64,
    /// The machine that ran the comparison.
    pub machine: Machine,
    /// The values of the metrics, by variant and metric.
    pub variants: BTreeMap<String, BTreeMap<String, f64>>,
}

/// A machine that parity was measured on.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Machine {
    /// The processor's name.
    pub cpu: String,
    /// The processor's instruction sets that influence the results.
    pub instruction_set: Vec<String>,
    /// The number of threads that ran the comparison.
    pub threads: u64,
}

/// The size and the hash of a file of the artifact.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct FileEntry {
    /// SHA-256 of the file's bytes in lowercase hexadecimal digits.
    pub sha256: String,
    /// The file's size in bytes.
    pub size: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_selects_int8_only_if_its_products_are_exact_and_fast() {
        for exact in [true, false] {
            let chosen = |names: &[&'static str], requested: &str| choose(names, requested, Some(exact));
            assert_eq!(chosen(&["fp32", "int8"], "auto"), Some(if exact { "int8" } else { "fp32" }));
            assert_eq!(chosen(&["fp16", "int8"], "auto"), Some(if exact { "int8" } else { "fp16" }));
            assert_eq!(chosen(&["bf16", "fp32"], "auto"), Some("fp32"));
            assert_eq!(chosen(&["int8"], "auto"), Some("int8"));
            assert_eq!(chosen(&["fp32", "int8"], "int8"), Some("int8"));
            assert_eq!(chosen(&["fp32", "int8"], "int4"), None);
        }
    }

    /// The shared cases say which variant a device gets.
    #[test]
    fn other_devices_than_the_cpu_never_get_int8() {
        #[derive(Deserialize)]
        struct Case {
            device: String,
            variants: Vec<String>,
            exact_int8: bool,
            expected: String,
        }
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/devices.json");
        let mut cases: Value = serde_json::from_slice(&std::fs::read(path).expect("the shared cases")).expect("JSON");
        let cases: Vec<Case> = serde_json::from_value(cases["variant"].take()).expect("cases");
        assert!(cases.len() > 10);
        for Case { device, variants, exact_int8, expected } in cases {
            let names: Vec<&str> = variants.iter().map(String::as_str).collect();
            let int8 = (device == "cpu").then_some(exact_int8);
            assert_eq!(choose(&names, "auto", int8).unwrap_or("variant"), expected, "{device} {names:?}");
        }
    }
}
