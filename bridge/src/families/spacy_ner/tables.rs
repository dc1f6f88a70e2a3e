//! Reads `tables.safetensors`: the norms of tokens, the rows of static vectors, and the weights of the layers that are
//! not part of the graphs.

use safetensors::tensor::{Dtype, SafeTensors};

use crate::BridgeError;
use crate::families::spacy_ner::section::SpacySpec;

/// The number of tokens in a state of the parser whose features determine the scores of the moves.
pub(super) const STATE_TOKENS: usize = 8;

/// A map from keys to values, as two arrays of equal length; the keys are sorted.
#[derive(Debug, Default)]
pub(super) struct Lookup<T> {
    keys: Vec<u64>,
    values: Vec<T>,
}

impl<T: Copy> Lookup<T> {
    pub(super) fn get(&self, key: u64) -> Option<T> {
        self.keys.binary_search(&key).ok().map(|index| self.values[index])
    }
}

/// The output layer that scores one move of an open entity (to continue it, or to end it), with one row for each label
/// of the entity.
#[derive(Debug)]
pub(super) struct Move {
    /// The weights of the layer, flat `[labels, hidden]`.
    pub(super) weight: Vec<f32>,
    /// The biases of the layer, `[labels]`.
    pub(super) bias: Vec<f32>,
}

/// The weights that are needed for decoding entities.
#[derive(Debug)]
pub(super) struct NerTables {
    /// The bias of the maxout layer that computes the hidden layer, flat `[pieces * hidden]`.
    pub(super) bias: Vec<f32>,
    /// The output layer of the move that continues an open entity.
    pub(super) inside: Move,
    /// The output layer of the move that ends an open entity.
    pub(super) last: Move,
}

/// The weights that are needed for scoring the parser's moves.
#[derive(Debug)]
pub(super) struct ParserTables {
    /// The bias of the maxout layer that computes the hidden layer, flat `[pieces * hidden]`.
    pub(super) bias: Vec<f32>,
    /// The features that replace those of a missing token of a state, for each of the tokens' roles, flat
    /// `[STATE_TOKENS, pieces * hidden]`.
    pub(super) pad: Vec<f32>,
    /// The weights of the output layer, flat `[hidden, moves]`. This is the transpose of the matrix in the file. A row
    /// has the weights of all moves for one hidden value, which makes scoring all moves faster.
    pub(super) weight: Vec<f32>,
    /// The biases of the output layer, `[moves]`.
    pub(super) output_bias: Vec<f32>,
}

/// All tables of a spaCy pipeline that `tables.safetensors` contains.
#[derive(Debug)]
pub(super) struct Tables {
    /// spaCy's id of each token text's norm, by the id of the text (attribute `ORTH`).
    pub(super) norms: Lookup<u64>,
    /// The index of each token text's static vector, by spaCy's id of the text (attribute `ORTH`); empty for a pipeline
    /// without vectors.
    pub(super) vectors: Lookup<i32>,
    pub(super) ner: NerTables,
    pub(super) parser: Option<ParserTables>,
}

impl Tables {
    /// Reads the tables from the bytes of a file and checks them against the manifest.
    ///
    /// # Errors
    /// `tokenizer`, with all tensors at once that differ from the expected ones.
    pub(super) fn read(bytes: &[u8], spec: &SpacySpec) -> Result<Self, BridgeError> {
        let refuse = |problem| BridgeError::Tokenizer { file: spec.tables.clone(), problem };
        let file = SafeTensors::deserialize(bytes).map_err(|error| refuse(format!("cannot be read: {error}")))?;
        let problems = differences(&file, spec);
        if !problems.is_empty() {
            return Err(refuse(problems.join("; ")));
        }
        Reader { file }.tables(spec).map_err(refuse)
    }
}

/// A tensor that the format requires in the file. A size of `None` in its shape means that any size is allowed.
struct Expected {
    name: &'static str,
    dtype: Dtype,
    shape: Vec<Option<usize>>,
}

fn expected(spec: &SpacySpec) -> Vec<Expected> {
    let ner = &spec.ner;
    let (labels, hidden) = (Some(spec.labels.len()), Some(ner.hidden));
    let width = ner.pieces.checked_mul(ner.hidden);
    let mut all = vec![
        Expected { name: "norm.keys", dtype: Dtype::U64, shape: vec![None] },
        Expected { name: "norm.values", dtype: Dtype::U64, shape: vec![None] },
        Expected { name: "ner.bias", dtype: Dtype::F32, shape: vec![width] },
        Expected { name: "ner.in.weight", dtype: Dtype::F32, shape: vec![labels, hidden] },
        Expected { name: "ner.in.bias", dtype: Dtype::F32, shape: vec![labels] },
        Expected { name: "ner.last.weight", dtype: Dtype::F32, shape: vec![labels, hidden] },
        Expected { name: "ner.last.bias", dtype: Dtype::F32, shape: vec![labels] },
    ];
    if ner.vectors || spec.parser.as_ref().is_some_and(|parser| parser.vectors) {
        all.push(Expected { name: "vector.keys", dtype: Dtype::U64, shape: vec![None] });
        all.push(Expected { name: "vector.rows", dtype: Dtype::I32, shape: vec![None] });
    }
    if let Some(parser) = &spec.parser {
        let (width, moves) = (parser.pieces.checked_mul(parser.hidden), Some(parser.moves.len()));
        let pad = vec![Some(STATE_TOKENS), width];
        all.push(Expected { name: "parser.bias", dtype: Dtype::F32, shape: vec![width] });
        all.push(Expected { name: "parser.pad", dtype: Dtype::F32, shape: pad });
        all.push(Expected { name: "parser.weight", dtype: Dtype::F32, shape: vec![moves, Some(parser.hidden)] });
        all.push(Expected { name: "parser.output_bias", dtype: Dtype::F32, shape: vec![moves] });
    }
    all
}

/// One message for each tensor that is missing, unknown or different from the expected one.
fn differences(file: &SafeTensors<'_>, spec: &SpacySpec) -> Vec<String> {
    let expected = expected(spec);
    let known = |name: &str| expected.iter().any(|tensor| tensor.name == name);
    let unknown = file.names().into_iter().filter(|name| !known(name)).map(|name| format!("{name} is not expected"));
    expected.iter().filter_map(|tensor| difference(file, tensor)).chain(unknown).collect()
}

fn difference(file: &SafeTensors<'_>, expected: &Expected) -> Option<String> {
    let Expected { name, dtype, shape } = expected;
    let Ok(tensor) = file.tensor(name) else { return Some(format!("{name} is missing")) };
    let (actual_dtype, actual_shape) = (tensor.dtype(), tensor.shape());
    let has_shape = actual_shape.len() == shape.len()
        && actual_shape.iter().zip(shape).all(|(actual, expected)| expected.is_none_or(|size| size == *actual));
    let problem =
        || format!("{name} is {actual_dtype:?} {actual_shape:?}, expected {dtype:?} {shape:?}, where None is any size");
    (actual_dtype != *dtype || !has_shape).then(problem)
}

struct Reader<'a> {
    file: SafeTensors<'a>,
}

impl Reader<'_> {
    fn tables(&self, spec: &SpacySpec) -> Result<Tables, String> {
        Ok(Tables {
            norms: self.lookup("norm.keys", "norm.values", u64::from_le_bytes)?,
            vectors: match self.file.tensor("vector.keys") {
                Ok(_) => self.rows()?,
                Err(_) => Lookup::default(),
            },
            ner: NerTables {
                bias: self.floats("ner.bias")?,
                inside: self.output("ner.in.weight", "ner.in.bias")?,
                last: self.output("ner.last.weight", "ner.last.bias")?,
            },
            parser: spec.parser.as_ref().map(|parser| self.parser(parser.hidden)).transpose()?,
        })
    }

    fn rows(&self) -> Result<Lookup<i32>, String> {
        let rows = self.lookup("vector.keys", "vector.rows", i32::from_le_bytes)?;
        match rows.values.iter().any(|row| *row < 0) {
            true => Err("vector.rows has a negative row".to_owned()),
            false => Ok(rows),
        }
    }

    fn output(&self, weight: &str, bias: &str) -> Result<Move, String> {
        Ok(Move { weight: self.floats(weight)?, bias: self.floats(bias)? })
    }

    fn parser(&self, hidden: usize) -> Result<ParserTables, String> {
        Ok(ParserTables {
            bias: self.floats("parser.bias")?,
            pad: self.floats("parser.pad")?,
            weight: transposed(&self.floats("parser.weight")?, hidden),
            output_bias: self.floats("parser.output_bias")?,
        })
    }

    fn lookup<T, const N: usize>(&self, keys: &str, values: &str, read: fn([u8; N]) -> T) -> Result<Lookup<T>, String> {
        let lookup = Lookup { keys: self.read(keys, u64::from_le_bytes)?, values: self.read(values, read)? };
        if lookup.keys.len() != lookup.values.len() || !lookup.keys.is_sorted_by(|one, next| one < next) {
            return Err(format!("{keys} is not in ascending order, or has another length than {values}"));
        }
        Ok(lookup)
    }

    fn floats(&self, name: &str) -> Result<Vec<f32>, String> {
        let values = self.read(name, f32::from_le_bytes)?;
        match values.iter().find(|value| !value.is_finite()) {
            Some(value) => Err(format!("{name} has the value {value}, expected finite values")),
            None => Ok(values),
        }
    }

    fn read<T, const N: usize>(&self, name: &str, read: fn([u8; N]) -> T) -> Result<Vec<T>, String> {
        let tensor = self.file.tensor(name).map_err(|error| format!("{name}: {error}"))?;
        let (values, _) = tensor.data().as_chunks::<N>();
        Ok(values.iter().map(|bytes| read(*bytes)).collect())
    }
}

/// The transpose of a row-major matrix whose rows have `width` values.
fn transposed(matrix: &[f32], width: usize) -> Vec<f32> {
    (0..width).flat_map(|column| matrix.iter().skip(column).step_by(width)).copied().collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::families::spacy_ner::testing::{Stored, spec, stored, tables_file};

    fn error(change: impl Fn(&mut BTreeMap<&'static str, Stored>)) -> String {
        let mut tensors = stored();
        change(&mut tensors);
        let error = Tables::read(&tables_file(&tensors), &spec()).expect_err("wrong tables");
        assert_eq!(error.code().as_str(), "tokenizer");
        error.to_string()
    }

    #[test]
    fn tables_are_read() {
        let tables = Tables::read(&tables_file(&stored()), &spec()).expect("valid tables");
        assert_eq!([tables.norms.get(5), tables.norms.get(9), tables.norms.get(6)], [Some(50), Some(90), None]);
        assert_eq!([tables.vectors.get(3), tables.vectors.get(4)], [Some(7), None]);
        assert_eq!(tables.ner.inside.weight, [1.0, 0.0, 0.0, 1.0]);
        let parser = tables.parser.expect("a parser");
        // In the file, the weights are a matrix of five rows, one per move, and two columns.
        assert_eq!(parser.weight, [0.0, 2.0, 4.0, 6.0, 8.0, 1.0, 3.0, 5.0, 7.0, 9.0]);
    }

    #[test]
    fn missing_and_unknown_tensors_are_refused() {
        for name in stored().keys() {
            assert!(error(|tensors| drop(tensors.remove(name))).contains(&format!("{name} is missing")), "{name}");
        }
        let message = error(|tensors| drop(tensors.insert("more", Stored::floats(&[1], &[0.0]))));
        assert!(message.contains("more is not expected"), "{message}");
        assert!(error(|tensors| tensors.clear()).matches("missing").count() == stored().len());
    }

    #[test]
    fn wrong_tensors_are_refused() {
        let changes: [(&str, Stored, &str); 10] = [
            ("norm.keys", Stored::keys(&[9, 5]), "ascending"),
            ("norm.keys", Stored::keys(&[5, 5]), "ascending"),
            ("norm.values", Stored::keys(&[5]), "another length"),
            ("vector.rows", Stored::rows(&[-1]), "negative"),
            ("vector.rows", Stored::floats(&[1], &[0.0]), "vector.rows is F32 [1], expected I32"),
            ("ner.bias", Stored::floats(&[2, 2], &[0.0; 4]), "ner.bias is F32 [2, 2]"),
            ("ner.in.bias", Stored::floats(&[3], &[0.0; 3]), "ner.in.bias is F32 [3]"),
            ("ner.last.weight", Stored::floats(&[2, 2], &[0.0, f32::NAN, 0.0, 0.0]), "finite"),
            ("parser.pad", Stored::floats(&[7, 4], &[0.0; 28]), "parser.pad is F32 [7, 4]"),
            ("parser.weight", Stored::floats(&[5, 2], &[f32::INFINITY; 10]), "finite"),
        ];
        for (name, tensor, expected) in changes {
            let message = error(|tensors| drop(tensors.insert(name, tensor.clone())));
            assert!(message.contains(expected), "{name}: {message}");
        }
        for bytes in [&b""[..], b"{}", &[0xff; 64]] {
            assert_eq!(
                Tables::read(bytes, &spec()).map(|_| ()).map_err(|error| error.code().as_str()),
                Err("tokenizer")
            );
        }
    }
}
