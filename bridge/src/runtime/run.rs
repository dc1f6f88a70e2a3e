//! One run of a transformer's graph: tensors by name in, one output out.

use ort::session::{OutputSelector, RunOptions, Session, SessionInputValue};
use ort::value::Tensor;

use super::batch::Padded;
use super::outputs::{failed, output};
use crate::BridgeError;
use crate::artifact::manifest::Graph;

/// A graph that is fed token ids.
pub(crate) struct Transformer {
    inputs: Vec<String>,
    /// The one output that is fetched; asking for no other saves its copy.
    output: &'static str,
}

impl Transformer {
    pub(crate) fn new(graph: &Graph, output: &'static str) -> Self {
        Self { inputs: graph.inputs.iter().map(|input| input.name.clone()).collect(), output }
    }

    /// Runs a batch and reads the output's values, row by row, which have to be of this shape.
    ///
    /// `prompt_tokens` is fed to graphs that leave the prompt out of their pooling.
    ///
    /// # Errors
    /// `inference`, without an index: any row may be to blame.
    pub(crate) fn run<T>(
        &self,
        session: &mut Session,
        batch: Padded,
        prompt_tokens: u64,
        shape: &[usize],
        read: impl FnOnce(&[f32]) -> T,
    ) -> Result<T, BridgeError> {
        let name = self.output;
        let inputs = self.feed(batch, prompt_tokens).map_err(failed)?;
        let options = RunOptions::new().map_err(failed)?.with_outputs(OutputSelector::no_default().with(name));
        let outputs = session.run_with_options(inputs, &options).map_err(failed)?;
        Ok(read(output(&outputs, name, shape)?))
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

/// Refuses values of which one is not finite.
pub(crate) fn check_finite(values: &[f32]) -> Result<(), BridgeError> {
    match values.iter().position(|value| !value.is_finite()) {
        Some(at) => Err(BridgeError::inference(None, format!("the graph gave {} at position {at}", values[at]))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_finite_values_pass() {
        assert!(check_finite(&[0.0, -1.5]).is_ok());
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert_eq!(check_finite(&[0.0, bad]).map_err(|error| error.code()), Err("inference"));
        }
    }
}
