//! Shorter vectors: the first elements, as Matryoshka models are trained for.

use super::section::EmbeddingSpec;
use crate::BridgeError;

/// The minimum divisor of a normalization, as in PyTorch.
const MIN_LENGTH: f64 = 1e-12;

impl EmbeddingSpec {
    /// Checks the option `dimensions` of a call.
    ///
    /// # Errors
    /// `config` for a number that the manifest does not list.
    pub(super) fn check_dimensions(&self, dimensions: Option<usize>) -> Result<(), BridgeError> {
        let Some(asked) = dimensions.filter(|asked| !self.dimensions.contains(asked)) else { return Ok(()) };
        let listed: Vec<String> = self.dimensions.iter().map(usize::to_string).collect();
        let expected = match listed.as_slice() {
            [] => "none, because the model lists no dimensions".to_owned(),
            listed => format!("one of {}", listed.join(", ")),
        };
        Err(BridgeError::config(format!("dimensions is {asked}, expected {expected}")))
    }

    /// The first elements of a vector, all of them for `None`. A shorter vector of a model that normalizes has the length 1
    /// again.
    pub(super) fn shorten(&self, mut vector: Vec<f32>, dimensions: Option<usize>) -> Vec<f32> {
        let Some(dimensions) = dimensions.filter(|dimensions| *dimensions < vector.len()) else { return vector };
        vector.truncate(dimensions);
        vector.shrink_to_fit();
        if self.normalized {
            let length = vector.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt().max(MIN_LENGTH);
            vector.iter_mut().for_each(|value| *value = (f64::from(*value) / length) as f32);
        }
        vector
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec(normalized: bool, dimensions: &[usize]) -> EmbeddingSpec {
        let fields = json!({"dim": 3, "pooling": ["mean"], "include_prompt": true, "normalized": normalized,
            "prompts": {}, "default_prompt": null, "similarity": "cosine", "dimensions": dimensions});
        serde_json::from_value(fields).expect("a section")
    }

    #[test]
    fn shorter_vectors_have_the_length_1_if_the_model_normalizes() {
        let vector = vec![3.0, 4.0, 12.0];
        assert_eq!(spec(true, &[2]).shorten(vector.clone(), Some(2)), [0.6, 0.8]);
        assert_eq!(spec(false, &[2]).shorten(vector.clone(), Some(2)), [3.0, 4.0]);
        for whole in [None, Some(3)] {
            assert_eq!(spec(true, &[2, 3]).shorten(vector.clone(), whole), vector);
        }
        assert_eq!(spec(true, &[2]).shorten(vec![0.0, 0.0, 1.0], Some(2)), [0.0, 0.0]);
    }

    #[test]
    fn only_listed_dimensions_are_accepted() {
        let problem = |listed: &[usize], asked| spec(true, listed).check_dimensions(asked).map_err(|e| e.to_string());
        assert_eq!((problem(&[1, 2], None), problem(&[1, 2], Some(2))), (Ok(()), Ok(())));
        assert!(problem(&[1, 2], Some(3)).is_err_and(|text| text.contains("dimensions is 3, expected one of 1, 2")));
        assert!(problem(&[], Some(3)).is_err_and(|text| text.contains("lists no dimensions")));
    }
}
