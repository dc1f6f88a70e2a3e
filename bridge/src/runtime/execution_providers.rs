//! The execution providers that this build of the crate and the loaded library have, and sessions on them.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ort::ep::ExecutionProviderDispatch;
use ort::session::builder::SessionBuilder;
use ort::session::{Session, SessionInputValue};
use ort::value::{Outlet, Tensor, TensorElementType, ValueType};

use super::devices::{Device, KINDS, Machine};
use super::providers::count_events;
use super::random::random;
use super::session::EngineOptions;
use crate::BridgeError;

/// A serialized ONNX model with the node `y = Relu(x)`, float32 `[1]`. A session of it shows whether a provider works.
const PROBE: &[u8] =
    b"\x08\x08:6\n\x0c\n\x01x\x12\x01y\"\x04Relu\x12\x04mainZ\x0f\n\x01x\x12\n\n\x08\x08\x01\x12\x04\n\x02\
    \x08\x01b\x0f\n\x01y\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01B\x04\n\x00\x10\r";

/// Defines `dispatch` and `is_in_library` for providers, each with its cargo feature and a function that configures it.
macro_rules! providers {
    ($($feature:literal, $name:literal, $type:ident, $configure:expr;)*) => {
        /// The registration of a device's provider, which fails instead of falling back to the CPU. `None` if this build of
        /// the crate does not have the provider.
        fn dispatch(device: &Device) -> Option<ExecutionProviderDispatch> {
            match device.provider.as_str() {
                $(
                    #[cfg(feature = $feature)]
                    $name => {
                        let configure: fn(ort::ep::$type, &Device) -> ort::ep::$type = $configure;
                        let provider = ExecutionProviderDispatch::from(configure(ort::ep::$type::default(), device));
                        Some(provider.error_on_failure())
                    }
                )*
                _ => None,
            }
        }

        /// Whether the loaded library has a device's provider; an error counts as no.
        fn is_in_library(device: &Device) -> bool {
            match device.provider.as_str() {
                $(
                    #[cfg(feature = $feature)]
                    $name => <ort::ep::$type as ort::ep::ExecutionProvider>::is_available().unwrap_or(false),
                )*
                _ => false,
            }
        }

        /// The cargo feature that adds a provider; `None` if there is none.
        fn feature(provider: &str) -> Option<&'static str> {
            [$(($name, $feature)),*].into_iter().find(|(name, _)| *name == provider).map(|(_, feature)| feature)
        }
    };
}

providers! {
    "cuda", "CUDAExecutionProvider", CUDA, |ep, device| {
        // TensorFloat-32 would give fp32 graphs 10 bits of precision, which their gates refuse.
        let ep = ep.with_tf32(false);
        match device.index() {
            Some(index) => ep.with_device_id(index),
            None => ep,
        }
    };
    "tensorrt", "TensorrtExecutionProvider", TensorRT, |ep, device| match device.index() {
        Some(index) => ep.with_device_id(index),
        None => ep,
    };
    "migraphx", "MIGraphXExecutionProvider", MIGraphX, |ep, device| match device.index() {
        Some(index) => ep.with_device_id(index),
        None => ep,
    };
    "coreml", "CoreMLExecutionProvider", CoreML, |ep, _| ep;
    "directml", "DmlExecutionProvider", DirectML, |ep, device| match device.index() {
        Some(index) => ep.with_device_id(index),
        None => ep,
    };
    "openvino", "OpenVINOExecutionProvider", OpenVINO, |ep, device| match &device.option {
        Some((_, kind)) => ep.with_device_type(kind),
        None => ep,
    };
    "onednn", "DnnlExecutionProvider", OneDNN, |ep, _| ep;
    "qnn", "QNNExecutionProvider", QNN, |ep, _| ep;
    "xnnpack", "XnnpackExecutionProvider", XNNPACK, |ep, _| ep;
}

impl Device {
    /// The index of the device, if its name has one.
    #[allow(dead_code, reason = "a build without a GPU's feature does not use it")]
    fn index(&self) -> Option<i32> {
        self.option.as_ref()?.1.parse().ok()
    }
}

/// The library that options select, and this build of the crate.
pub(crate) struct Library<'a>(pub(crate) &'a EngineOptions);

impl Machine for Library<'_> {
    fn lacks(&self, device: &Device) -> Result<Option<String>, BridgeError> {
        let provider = &device.provider;
        if dispatch(device).is_none() {
            return Ok(Some(match feature(provider) {
                Some(feature) => format!("this build of onnx-ml-bridge does not have the cargo feature {feature}"),
                None => format!("onnx-ml-bridge has no cargo feature for {provider}; use Builder::execution_providers"),
            }));
        }
        self.0.environment()?;
        Ok((!is_in_library(device)).then(|| format!("{provider} is not in this build of ONNX Runtime")))
    }

    fn probe(&self, device: &Device) -> Result<Option<String>, BridgeError> {
        let environment = self.0.environment()?;
        let builder = Session::builder(&environment).and_then(|builder| on_device(builder, device));
        let session = builder.and_then(|mut builder| builder.commit_from_memory(PROBE));
        Ok(session.err().map(|error| error.to_string()))
    }

    fn available(&self) -> Vec<String> {
        let is_usable = |device: &Device| device.is_cpu() || matches!(self.lacks(device), Ok(None));
        let devices = KINDS.iter().map(|kind| Device {
            name: kind.name.to_owned(),
            provider: kind.provider.to_owned(),
            option: None,
        });
        devices.filter(is_usable).map(|device| device.name).collect()
    }
}

/// Adds the provider of a device to the options of a session. The session is not created if the provider fails.
pub(super) fn on_device(builder: SessionBuilder, device: &Device) -> ort::Result<SessionBuilder> {
    if device.is_cpu() {
        return Ok(builder);
    }
    let provider = dispatch(device).ok_or_else(|| ort::Error::new(format!("no support for {}", device.provider)))?;
    Ok(builder.with_execution_providers([provider])?)
}

/// A folder for the profile of a session, which is removed when this is dropped.
pub(super) struct Profile {
    folder: PathBuf,
}

impl Profile {
    /// Lets the session of a builder write a profile.
    pub(super) fn start(builder: SessionBuilder) -> ort::Result<(Self, SessionBuilder)> {
        let parent = std::env::temp_dir();
        let refused = |error: io::Error| ort::Error::new(format!("{}: {error}", parent.display()));
        let profile = Self { folder: new_folder(&parent, random).map_err(refused)? };
        let builder = builder.with_profiling(profile.folder.join("profile"))?;
        Ok((profile, builder))
    }

    /// Runs the graph once with a short input and returns the number of nodes by provider. It is empty if the run fails,
    /// which the log says: whatever happens, the session may still answer calls.
    pub(super) fn count(self, session: &mut Session) -> BTreeMap<String, Option<usize>> {
        let run = short_inputs(session).and_then(|inputs| session.run(inputs).map(drop));
        let counts = session.end_profiling().and_then(|file| {
            run?;
            let profile = fs::read(file).map_err(|error| ort::Error::new(error.to_string()))?;
            count_events(&profile).map_err(|error| ort::Error::new(error.to_string()))
        });
        match counts {
            Ok(counts) => counts.into_iter().map(|(provider, count)| (provider, Some(count))).collect(),
            Err(error) => {
                tracing::warn!(%error, "the run that counts the nodes of each provider failed");
                BTreeMap::new()
            }
        }
    }
}

impl Drop for Profile {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            tracing::debug!(%error, "the folder of a profile was not removed");
        }
    }
}

/// Makes a folder whose name has a number, which is random. A process that was killed may have left one with this name.
fn new_folder(parent: &Path, mut number: impl FnMut() -> u64) -> io::Result<PathBuf> {
    loop {
        let folder = parent.join(format!("onnx-ml-bridge-{:016x}", number()));
        match fs::create_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => return made.map(|()| folder),
        }
    }
}

/// Ones for every input of a graph.
fn short_inputs(session: &Session) -> ort::Result<Vec<(String, SessionInputValue<'static>)>> {
    let input = |input: &Outlet| Ok((input.name().to_owned(), short_input(input)?));
    session.inputs().iter().map(input).collect()
}

fn short_input(input: &Outlet) -> ort::Result<SessionInputValue<'static>> {
    let ValueType::Tensor { ty, shape, .. } = input.dtype() else {
        return Err(ort::Error::new(format!("the input {} is no tensor", input.name())));
    };
    let shape = short_shape(shape);
    let size = shape.iter().product();
    // A summary has at least 2 tokens, of which the first starts it.
    let value = if input.name() == "max_length" { 2_u8 } else { 1 };
    if *ty == TensorElementType::Bool {
        return Ok(Tensor::from_array((shape, vec![true; size]))?.into());
    }
    if *ty == TensorElementType::Float32 {
        return Ok(Tensor::from_array((shape, vec![f32::from(value); size]))?.into());
    }
    if *ty == TensorElementType::Int32 {
        return Ok(Tensor::from_array((shape, vec![i32::from(value); size]))?.into());
    }
    if *ty == TensorElementType::Int64 {
        return Ok(Tensor::from_array((shape, vec![i64::from(value); size]))?.into());
    }
    if *ty == TensorElementType::Uint8 {
        return Ok(Tensor::from_array((shape, vec![value; size]))?.into());
    }
    Err(ort::Error::new(format!("the input {} has the type {ty}", input.name())))
}

/// One row, and two elements in every other dynamic dimension.
fn short_shape(declared: &[i64]) -> Vec<usize> {
    let rank = declared.len();
    let size = |(axis, dim): (usize, &i64)| usize::try_from(*dim).unwrap_or(if axis == 0 && rank > 1 { 1 } else { 2 });
    declared.iter().enumerate().map(size).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(text: &str) -> Device {
        super::super::devices::parse(text).expect("a device").expect("no auto").remove(0)
    }

    #[test]
    fn every_kind_but_the_cpu_has_a_feature() {
        for kind in &KINDS {
            assert_eq!(feature(kind.provider).is_some(), kind.name != "cpu", "{}", kind.name);
        }
    }

    #[test]
    fn absent_providers_say_what_is_missing() {
        let options = EngineOptions::default();
        let lacks = |text: &str| Library(&options).lacks(&device(text)).expect("a library");
        for kind in KINDS.iter().filter(|kind| kind.name != "cpu") {
            let reason = lacks(kind.name);
            let (feature, library) = ("does not have the cargo feature", "is not in this build of ONNX Runtime");
            // The library of the test may have a provider, such as OpenVINO's.
            assert!(reason.is_none_or(|reason| reason.contains(feature) || reason.contains(library)));
        }
        assert!(lacks("RknpuExecutionProvider").is_some_and(|reason| reason.contains("Builder::execution_providers")));
        assert!(Library(&options).available().contains(&"cpu".to_owned()));
    }

    #[test]
    fn the_probe_runs_on_the_cpu() {
        assert_eq!(Library(&EngineOptions::default()).probe(&device("cpu")), Ok(None));
    }

    #[test]
    fn inputs_have_one_row() {
        assert_eq!(short_shape(&[-1, -1]), [1, 2]);
        assert_eq!(short_shape(&[-1]), [2]);
        assert_eq!(short_shape(&[1]), [1]);
        assert_eq!(short_shape(&[-1, 8, -1]), [1, 8, 2]);
    }

    #[test]
    fn a_folder_that_exists_is_not_used_again() {
        let parent = tempfile::tempdir().expect("a folder");
        let mut numbers = [7, 7, 8].into_iter();
        let mut make = || new_folder(parent.path(), || numbers.next().expect("a number")).expect("a folder");
        let (first, second) = (make(), make());
        assert!(first.ends_with("onnx-ml-bridge-0000000000000007"));
        assert!(second.ends_with("onnx-ml-bridge-0000000000000008") && second.is_dir());
        let missing = new_folder(&parent.path().join("none"), random).expect_err("no parent");
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_profiled_session_counts_its_nodes_and_leaves_no_file() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/valid/tiny-embedding/onnx/model.onnx");
        let environment = EngineOptions::default().environment().expect("ORT_DYLIB_PATH names ONNX Runtime");
        let builder = Session::builder(&environment).expect("options");
        let (profile, mut builder) = Profile::start(builder).expect("a profile");
        let folder = profile.folder.clone();
        assert!(folder.is_dir());
        let mut session = builder.commit_from_file(path).expect("a session");
        let counts = profile.count(&mut session);
        assert!(counts["CPUExecutionProvider"].is_some_and(|nodes| (50..150).contains(&nodes)), "{counts:?}");
        assert!(counts.len() == 1 && !folder.exists());
        let inputs = short_inputs(&session).expect("inputs");
        session.run(inputs).map(drop).expect("the session can still be used");
    }
}
