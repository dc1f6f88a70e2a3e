//! What a run gave, by name.

use ort::session::SessionOutputs;
use ort::value::PrimitiveTensorElementType;

use crate::BridgeError;

/// An output, whose shape has to be the given one.
///
/// # Errors
/// `inference`, without an index.
pub(crate) fn output<'a, T: PrimitiveTensorElementType>(
    outputs: &'a SessionOutputs<'_>,
    name: &str,
    shape: &[usize],
) -> Result<&'a [T], BridgeError> {
    let (found, values) = shaped_output(outputs, name)?;
    let fits = found.iter().copied().eq(shape.iter().map(|size| *size as i64));
    if !fits {
        return Err(BridgeError::inference(None, format!("{name} has shape {found:?}, expected {shape:?}")));
    }
    Ok(values)
}

/// An output's shape and its values.
///
/// # Errors
/// `inference`, without an index.
pub(crate) fn shaped_output<'a, T: PrimitiveTensorElementType>(
    outputs: &'a SessionOutputs<'_>,
    name: &str,
) -> Result<(&'a [i64], &'a [T]), BridgeError> {
    let output = outputs.get(name).ok_or_else(|| BridgeError::inference(None, format!("the graph gave no {name}")))?;
    let (shape, values) = output.try_extract_tensor::<T>().map_err(failed)?;
    Ok((shape, values))
}

/// An error of ONNX Runtime in a run.
pub(crate) fn failed(error: ort::Error) -> BridgeError {
    BridgeError::inference(None, format!("ONNX Runtime failed: {error}"))
}
