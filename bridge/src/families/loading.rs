//! Opens models for calls, and replays the golden cases of artifacts.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use super::artifact::{Artifact, check_identity};
use super::report::VariantReport;
use crate::BridgeError;
use crate::artifact::files::ArtifactFiles;
use crate::model::{Model, ModelInfo};
use crate::runtime::cancellation::TimeLimit;
use crate::runtime::cpu::available_threads;
use crate::runtime::freed_memory::return_free_memory;
use crate::runtime::meter::Meter;
use crate::runtime::options::{ModelOptions, Sharing};
use crate::runtime::session::EngineOptions;
use crate::tasks::answers::onnx;
use crate::tasks::backend::AnyBackend;
use crate::tasks::{Location, Task};

/// Limit on the threads of a replay. Every thread uses address space, which the command `verify` limits.
const MAX_REPLAY_THREADS: usize = 8;

/// An open model: its description, and what answers its calls. Clones share the model.
#[derive(Clone)]
pub(crate) struct Opened {
    pub(crate) info: Arc<ModelInfo>,
    pub(crate) backend: AnyBackend,
    pub(crate) files: Arc<ArtifactFiles>,
    /// The size in bytes of the files that loading the graphs reads.
    pub(crate) graph_bytes: u64,
    pub(crate) meter: Meter,
}

/// Opens the artifact of a model. No graph is loaded yet.
///
/// # Errors
/// `config` for an invalid field of the model, the errors of [`Artifact::open`], `identity` for another artifact than the
/// pinned one.
pub(crate) fn open(model: &Model, options: &ModelOptions) -> Result<Opened, BridgeError> {
    model.check()?;
    let options = options_of(model, options);
    let (artifact, variant, engine) = Artifact::open_model(model, &options)?;
    let devices = engine.devices.clone();
    let backend = artifact.model(&variant, &ModelOptions { engine, ..options })?.into_backend();
    let manifest = artifact.manifest();
    let meter = Meter::of(manifest);
    let info = ModelInfo {
        name: model.name.clone().unwrap_or_else(|| manifest.name.clone()),
        task: artifact.family.task(),
        engine: manifest.engine.clone(),
        version: manifest.version.clone(),
        variant,
        identity: artifact.identity().to_owned(),
        path: artifact.root().to_path_buf(),
        device: devices.name(),
        providers: devices.providers,
        backend: onnx(),
        location: Location::Process,
        space: model.space.clone(),
    };
    let preprocessor = (artifact.family.declaration().check_sections)(manifest)?.files;
    let preprocessor: Vec<String> = preprocessor.into_iter().map(|(_, path)| path).collect();
    let graph_bytes = artifact.files.hashed_bytes(&preprocessor);
    let files = Arc::new(artifact.files);
    Ok(Opened { info: Arc::new(info), backend, files, graph_bytes, meter })
}

/// Checks every file of the artifact of a model and replays its golden cases with the variant to open, in this process. Then
/// opens the model. The replay has the default limits and loads its own sessions, which are freed again.
///
/// # Errors
/// The errors of [`Artifact::verify`], [`replay`] and [`open`]; `variant` for an artifact of another task; `identity` if the
/// artifact was replaced meanwhile; `timeout` if the time limit was over between two cases.
pub(crate) fn open_replayed(
    model: &Model,
    task: Task,
    options: &ModelOptions,
    limit: Option<TimeLimit>,
) -> Result<Opened, BridgeError> {
    model.check()?;
    let artifact = Artifact::verify_model(model, &options.trust)?;
    if artifact.family.task() != task {
        let (path, actual) = (model.path.clone(), artifact.family.task().name().to_owned());
        return Err(BridgeError::Task { path, expected: task.name(), actual });
    }
    let identity = artifact.identity().to_owned();
    let engine = options.engine.on_devices(&model.device)?;
    let variant = artifact.manifest().choose_variant(&model.variant, engine.devices.exact_int8())?;
    replay_within(&artifact, &variant, engine, limit)?;
    let opened = open(model, options)?;
    check_identity(model, &opened.info.identity, Some(&identity))?;
    Ok(opened)
}

fn replay_within(
    artifact: &Artifact,
    variant: &str,
    engine: EngineOptions,
    limit: Option<TimeLimit>,
) -> Result<(), BridgeError> {
    let over = || limit.filter(|limit| limit.started.elapsed() >= limit.limit);
    let report = |_, _| if over().is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
    let cases = artifact.files.read(&artifact.manifest().golden.file)?;
    let options = ModelOptions { engine, ..ModelOptions::default() };
    let replayed = artifact.model(variant, &options)?.replay(&cases, &report);
    return_free_memory();
    match over() {
        Some(TimeLimit { limit, .. }) => Err(BridgeError::Timeout { limit }),
        None => replayed.map(|_| ()),
    }
}

/// The options of a model: those of its bridge, and its own.
fn options_of(model: &Model, options: &ModelOptions) -> ModelOptions {
    let mut options = options.clone();
    options.engine.workers = model.workers;
    options.sharing = Sharing { run_tokens: model.run_tokens, merges: model.merge };
    options
}

/// Replays the golden cases with every variant of an artifact, in this process.
///
/// A malicious graph can crash the process that loads it. Therefore the command `verify` calls this in a child process with
/// limits on memory and time.
///
/// # Errors
/// `golden` if the answers do not meet a variant's gate, a model refuses the input of a case, or the cases cannot be read;
/// `dependency` without a usable ONNX Runtime (`library`, else `ORT_DYLIB_PATH`); `graph` if it refuses a graph or a run
/// fails.
pub fn replay(artifact: Artifact, library: Option<PathBuf>) -> Result<BTreeMap<String, VariantReport>, BridgeError> {
    replay_reporting(artifact, library, "cpu", None, &|_, _, _| ())
}

/// Like [`replay`], on the devices that an option names, and with one variant if `only` names it. `report` is called with the
/// name of a variant, the number of cases that it has finished and the number of all cases: when its graphs are loaded, and
/// after every case.
///
/// # Errors
/// The errors of [`replay`]; `config` or `device` for a device that does not exist, `variant` for such a variant.
pub(crate) fn replay_reporting(
    artifact: Artifact,
    library: Option<PathBuf>,
    device: &str,
    only: Option<&str>,
    report: &dyn Fn(&str, usize, usize),
) -> Result<BTreeMap<String, VariantReport>, BridgeError> {
    let cases = artifact.files.read(&artifact.manifest().golden.file)?;
    let threads = Some(available_threads().min(MAX_REPLAY_THREADS));
    let engine = EngineOptions { library, threads, ..EngineOptions::default() }.on_devices(device)?;
    let options = ModelOptions { engine, ..ModelOptions::default() };
    let replay = |name: &str| {
        let report = |done, cases| {
            report(name, done, cases);
            ControlFlow::Continue(())
        };
        Ok((name.to_owned(), artifact.model(name, &options)?.replay(&cases, &report)?))
    };
    match only {
        Some(name) => Ok(BTreeMap::from([replay(name)?])),
        None => artifact.manifest().variants.keys().map(|name| replay(name)).collect(),
    }
}
