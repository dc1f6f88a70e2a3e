//! A small spaCy pipeline for tests.

use std::collections::BTreeMap;

use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};

use super::rules::Rules;
use super::tables::Tables;
use crate::families::spacy_ner::section::SpacySpec;

/// The tokenizer's rules of the small pipeline, as the content of `spacy_tokenizer.json`. They include every kind of
/// rule.
pub(super) fn rules_json() -> Value {
    json!({
        "version": 1,
        "unicode": "14.0.0",
        "prefix": [{"pattern": "^\\(|^\"|^\\.\\.\\.|^\\+(?![0-9])", "window": 4}, {"pattern": "^--+", "window": null}],
        "suffix": [
            {"pattern": "\\)$|\"$|'[sS]$|(?<=[0-9])km$|(?<=[a-z])\\.$", "window": 4},
            {"pattern": "--+$", "window": null},
        ],
        "infix": "(?<=[a-z])-(?=[a-z])|\\.\\.+|(?<=[a-z])(?=[A-Z])",
        "token_match": [{"first": [97, 98], "pattern": "^a[0-9]+\\)$"}],
        "url_match": [{"first": null, "pattern": "^(?:[a-z]+://)?[a-z.-]+\\.[a-z]{2,3}$"}],
        "specials": {
            "don't": [["do", null], ["n't", "not"]],
            ":)": [[":)", null]],
            "(c)": [["(c)", "copyright"]],
            "e.g.": [["e.g.", null]],
            " ": [[" ", null]],
            "so (x)": [["so", null], [" ", null], ["(x)", null]],
        },
        "sequences": [[":", ")"], ["so", "(", "x", ")"], ["so", "("], ["("]],
        "symbols": {"ORTH": 65, "not": 7},
        "characters": {
            "space": [9, 14, 28, 33, 133, 134, 160, 161, 8232, 8234, 12288, 12289],
            "alpha": [65, 91, 97, 123, 192, 215, 216, 247, 248, 706, 913, 930, 931, 970, 8490, 8491],
            "upper": [65, 91, 192, 215, 216, 223, 304, 305, 913, 930, 931, 940, 8490, 8491],
            "digit": [48, 58, 178, 180, 1632, 1642],
            "cased": [65, 91, 97, 123, 192, 215, 216, 247, 913, 930, 931, 970],
            "case_ignorable": [39, 40, 46, 47, 173, 174, 768, 880],
            "lower": {
                "A": "a", "B": "b", "C": "c", "É": "é", "İ": "i\u{307}", "Σ": "σ", "Α": "α", "\u{212a}": "k",
            },
        },
    })
}

pub(super) fn rules() -> Rules {
    Rules::read(rules_json().to_string().as_bytes(), "rules.json").expect("valid rules")
}

/// The section `spacy` of the manifest of the small pipeline, which has a parser with five moves.
pub(super) fn spec() -> SpacySpec {
    let columns = json!([{"attribute": "NORM", "rows": 100, "seed": 8}, {"attribute": "SHAPE", "rows": 50, "seed": 9}]);
    let value = json!({
        "language": "en",
        "labels": ["PERSON", "ORG"],
        "sentences": "parser",
        "rules": "rules.json",
        "tables": "tables.safetensors",
        "ner": {"columns": columns, "vectors": true, "context": 2, "hidden": 2, "pieces": 2, "tie": "in"},
        "parser": {
            "columns": columns, "vectors": false, "context": 2, "hidden": 2, "pieces": 2,
            "moves": ["S", "D", "L-nsubj", "R-dobj", "B-ROOT"],
        },
    });
    serde_json::from_value(value).expect("a valid section")
}

/// A tensor to store in `tables.safetensors`.
#[derive(Clone)]
pub(super) struct Stored {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Stored {
    pub(super) fn floats(shape: &[usize], values: &[f32]) -> Self {
        Self {
            dtype: Dtype::F32,
            shape: shape.to_vec(),
            bytes: values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        }
    }

    pub(super) fn keys(values: &[u64]) -> Self {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Self { dtype: Dtype::U64, shape: vec![values.len()], bytes }
    }

    pub(super) fn rows(values: &[i32]) -> Self {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Self { dtype: Dtype::I32, shape: vec![values.len()], bytes }
    }
}

/// The tensors of the small pipeline that [`spec`] describes, by name.
pub(super) fn stored() -> BTreeMap<&'static str, Stored> {
    let weight: Vec<f32> = (0_u8..10).map(f32::from).collect();
    BTreeMap::from([
        ("norm.keys", Stored::keys(&[5, 9])),
        ("norm.values", Stored::keys(&[50, 90])),
        ("vector.keys", Stored::keys(&[3])),
        ("vector.rows", Stored::rows(&[7])),
        ("ner.bias", Stored::floats(&[4], &[0.0; 4])),
        ("ner.in.weight", Stored::floats(&[2, 2], &[1.0, 0.0, 0.0, 1.0])),
        ("ner.in.bias", Stored::floats(&[2], &[0.0, 0.5])),
        ("ner.last.weight", Stored::floats(&[2, 2], &[0.0, 1.0, 1.0, 0.0])),
        ("ner.last.bias", Stored::floats(&[2], &[0.0, 0.0])),
        ("parser.bias", Stored::floats(&[4], &[0.0; 4])),
        ("parser.pad", Stored::floats(&[8, 4], &[0.0; 32])),
        ("parser.weight", Stored::floats(&[5, 2], &weight)),
        ("parser.output_bias", Stored::floats(&[5], &[0.0; 5])),
    ])
}

/// The bytes of a file `tables.safetensors` with some tensors.
pub(super) fn tables_file(tensors: &BTreeMap<&'static str, Stored>) -> Vec<u8> {
    let views = tensors.iter().map(|(name, tensor)| {
        (*name, TensorView::new(tensor.dtype, tensor.shape.clone(), &tensor.bytes).expect("a valid shape"))
    });
    safetensors::serialize(views, None).expect("a file")
}

pub(super) fn tables() -> Tables {
    Tables::read(&tables_file(&stored()), &spec()).expect("valid tables")
}
