//! One run of an embedding graph: inputs by name in, one vector per row out.

use ort::session::{OutputSelector, RunOptions, Session, SessionInputValue};
use ort::value::Tensor;

use super::batch::Padded;
use crate::BridgeError;
use crate::artifact::manifest::Graph;

/// The one output that is fetched; asking for no other saves its copy.
const OUTPUT: &str = "sentence_embedding";

/// What a graph of the role `encoder` is fed.
pub(crate) struct Encoder {
    inputs: Vec<String>,
    dim: usize,
}

impl Encoder {
    pub(crate) fn new(graph: &Graph, dim: usize) -> Self {
        Self { inputs: graph.inputs.iter().map(|input| input.name.clone()).collect(), dim }
    }

    /// Runs a batch. `prompt_tokens` is fed to graphs that leave the prompt out of their pooling.
    ///
    /// # Errors
    /// `inference`, without an index: any row may be to blame.
    pub(crate) fn run(
        &self,
        session: &mut Session,
        batch: Padded,
        prompt_tokens: u64,
    ) -> Result<Vec<Vec<f32>>, BridgeError> {
        let rows = batch.rows;
        let failed = |error: ort::Error| BridgeError::inference(None, format!("ONNX Runtime failed: {error}"));
        let inputs = self.feed(batch, prompt_tokens).map_err(failed)?;
        let options = RunOptions::new().map_err(failed)?.with_outputs(OutputSelector::no_default().with(OUTPUT));
        let outputs = session.run_with_options(inputs, &options).map_err(failed)?;
        let output = outputs.get(OUTPUT).ok_or_else(|| BridgeError::inference(None, "the graph gave no vectors"))?;
        let (shape, values) = output.try_extract_tensor::<f32>().map_err(failed)?;
        let expected = [rows as i64, self.dim as i64];
        if **shape != expected {
            let problem = format!("{OUTPUT} has shape {shape:?}, expected {expected:?}");
            return Err(BridgeError::inference(None, problem));
        }
        Ok(values.chunks_exact(self.dim).map(<[f32]>::to_vec).collect())
    }

    fn feed(&self, batch: Padded, prompt_tokens: u64) -> ort::Result<Vec<(&str, SessionInputValue<'static>)>> {
        let shape = [batch.rows, batch.width];
        let (mut ids, mut mask) = (Some(batch.ids), Some(batch.mask));
        let tensor = |name: &str| match name {
            "input_ids" => Tensor::from_array((shape, ids.take().unwrap_or_default())),
            "attention_mask" => Tensor::from_array((shape, mask.take().unwrap_or_default())),
            "prompt_length" => Tensor::from_array(([1], vec![i64::try_from(prompt_tokens).unwrap_or(i64::MAX)])),
            // The check `graph` lets only token_type_ids come this far.
            _ => Tensor::from_array((shape, vec![0_i64; shape[0] * shape[1]])),
        };
        let tensors = self.inputs.iter().map(String::as_str).map(named(tensor));
        tensors.collect()
    }
}

fn named(
    mut tensor: impl FnMut(&str) -> ort::Result<Tensor<i64>>,
) -> impl FnMut(&str) -> ort::Result<(&str, SessionInputValue<'static>)> {
    move |name| Ok((name, tensor(name)?.into()))
}

/// Refuses a vector with a value that is not finite.
pub(crate) fn check_finite(vector: Vec<f32>) -> Result<Vec<f32>, BridgeError> {
    match vector.iter().position(|value| !value.is_finite()) {
        Some(at) => Err(BridgeError::inference(None, format!("the graph gave {} at position {at}", vector[at]))),
        None => Ok(vector),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_finite_vectors_pass() {
        assert!(check_finite(vec![0.0, -1.5]).is_ok());
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert_eq!(check_finite(vec![0.0, bad]).map_err(|error| error.code()), Err("inference"));
        }
    }
}
