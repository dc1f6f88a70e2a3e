//! Reads the output tensors of a run by their names.

use ort::session::SessionOutputs;
use ort::value::{DynValue, PrimitiveTensorElementType};

use crate::BridgeError;
use crate::cause::Cause;

/// The outputs of a run, each with its name.
pub(crate) type NamedValues<'a> = Vec<(&'a str, DynValue)>;

/// What has the outputs of a run.
pub(crate) trait Outputs {
    /// The output that has the given name.
    fn named(&self, name: &str) -> Option<&DynValue>;
}

impl Outputs for SessionOutputs<'_> {
    fn named(&self, name: &str) -> Option<&DynValue> {
        self.get(name)
    }
}

impl Outputs for NamedValues<'_> {
    fn named(&self, name: &str) -> Option<&DynValue> {
        self.iter().find(|(other, _)| *other == name).map(|(_, value)| value)
    }
}

/// The values of the output that has the given name. The output must have the given shape.
///
/// # Errors
/// `inference`, without an index, if the output is missing or has another type or shape.
pub(crate) fn output<'a, T: PrimitiveTensorElementType>(
    outputs: &'a impl Outputs,
    name: &str,
    shape: &[usize],
) -> Result<&'a [T], BridgeError> {
    let (actual, values) = shaped_output(outputs, name)?;
    let is_expected = actual.iter().copied().eq(shape.iter().map(|size| *size as i64));
    if !is_expected {
        return Err(BridgeError::inference(None, format!("{name} has shape {actual:?}, expected {shape:?}")));
    }
    Ok(values)
}

/// The shape and the values of the output that has the given name.
///
/// # Errors
/// `inference`, without an index, if the output is missing or has another type.
pub(crate) fn shaped_output<'a, T: PrimitiveTensorElementType>(
    outputs: &'a impl Outputs,
    name: &str,
) -> Result<(&'a [i64], &'a [T]), BridgeError> {
    let output =
        outputs.named(name).ok_or_else(|| BridgeError::inference(None, format!("the graph returned no {name}")))?;
    let (shape, values) = output.try_extract_tensor::<T>().map_err(failed)?;
    Ok((shape, values))
}

/// Converts an error of ONNX Runtime to an error of this crate.
pub(crate) fn failed(error: ort::Error) -> BridgeError {
    let problem = format!("ONNX Runtime failed: {error}");
    BridgeError::Inference { index: None, problem, cause: Some(Cause::new(error)) }
}
