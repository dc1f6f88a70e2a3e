//! Runs a transformer's graph with token ids as input and fetches one output.

use ort::session::RunOptions;
use ort::value::{DynValue, Tensor};

use super::batch::Padded;
use super::graph_session::GraphSession;
use super::outputs::{failed, output};
use super::scope::RunScope;
use crate::BridgeError;
use crate::artifact::graph::Port;
use crate::artifact::manifest::Graph;

/// The inputs of a transformer's graph, each of the shape `[batch, tokens]`.
pub(crate) const INPUT_IDS: Port = ("input_ids", "int64", 2);
pub(crate) const ATTENTION_MASK: Port = ("attention_mask", "int64", 2);
pub(crate) const TOKEN_TYPE_IDS: Port = ("token_type_ids", "int64", 2);

/// A graph whose inputs are token ids.
pub(crate) struct Transformer {
    inputs: Vec<String>,
    /// The name of the only output that is fetched. ONNX Runtime would copy any other output without use.
    output: &'static str,
}

impl Transformer {
    pub(crate) fn new(graph: &Graph, output: &'static str) -> Self {
        Self { inputs: graph.inputs.iter().map(|input| input.name.clone()).collect(), output }
    }

    /// Runs the graph on a batch and passes the values of the output, in row-major order, to `read`. `shape` is the
    /// expected shape of the output.
    ///
    /// `other` returns an input other than the token ids and the attention mask, given its name. An input for which it
    /// returns `None` is fed with zeros of the shape `[batch, tokens]`.
    ///
    /// # Errors
    /// `inference`, without an index, because any row may be the cause; or the reason, if all calls of the run were stopped.
    pub(crate) fn run<T>(
        &self,
        session: &GraphSession,
        scope: &RunScope<'_>,
        batch: Padded,
        other: impl FnMut(&str) -> Option<ort::Result<Tensor<i64>>>,
        shape: &[usize],
        read: impl FnOnce(&[f32]) -> T,
    ) -> Result<T, BridgeError> {
        scope.run(batch.rows * batch.width, |options| self.run_session(session, options, batch, other, shape, read))
    }

    fn run_session<T>(
        &self,
        session: &GraphSession,
        options: &RunOptions,
        batch: Padded,
        other: impl FnMut(&str) -> Option<ort::Result<Tensor<i64>>>,
        shape: &[usize],
        read: impl FnOnce(&[f32]) -> T,
    ) -> Result<T, BridgeError> {
        let inputs = self.inputs(batch, other).map_err(failed)?;
        let outputs = session.run(inputs, &[self.output], options).map_err(failed)?;
        Ok(read(output(&outputs, self.output, shape)?))
    }

    fn inputs(
        &self,
        batch: Padded,
        mut other: impl FnMut(&str) -> Option<ort::Result<Tensor<i64>>>,
    ) -> ort::Result<Vec<(&str, DynValue)>> {
        let shape = [batch.rows, batch.width];
        let (mut ids, mut mask) = (Some(batch.ids), Some(batch.mask));
        let mut tensor = |name: &str| match name {
            name if name == INPUT_IDS.0 => Tensor::from_array((shape, ids.take().unwrap_or_default())),
            name if name == ATTENTION_MASK.0 => Tensor::from_array((shape, mask.take().unwrap_or_default())),
            name => other(name).unwrap_or_else(|| Tensor::from_array((shape, vec![0; shape[0] * shape[1]]))),
        };
        self.inputs.iter().map(|name| Ok((name.as_str(), tensor(name)?.into_dyn()))).collect()
    }
}

/// Returns an error if any value is NaN or infinite.
pub(crate) fn check_finite(values: &[f32]) -> Result<(), BridgeError> {
    match values.iter().position(|value| !value.is_finite()) {
        Some(index) => {
            Err(BridgeError::inference(None, format!("the graph returned {} at index {index}", values[index])))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_are_not_finite_are_refused() {
        assert!(check_finite(&[0.0, -1.5]).is_ok());
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert_eq!(check_finite(&[0.0, bad]).map_err(|error| error.code().as_str()), Err("inference"));
        }
    }
}
