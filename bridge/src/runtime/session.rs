//! Creates the sessions of graphs.
//!
//! On the CPU, all threads that run a graph share one session. Elsewhere each has its own, and so has each thread that runs a
//! spaCy pipeline.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use ort::environment::Environment;
use ort::ep::ExecutionProviderDispatch;
use ort::session::Session;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};

use super::cpu::{Cpu, available_threads};
use super::devices::{AUTO, Device, Devices};
use super::environment::{check_version, environment};
use super::execution_providers::{Library, Profile, on_device};
use super::file_check::FileCheck;
use super::graph_session::GraphSession;
use crate::BridgeError;
use crate::artifact::manifest::Graph;
use crate::cause::Cause;

/// How long the threads of a session wait for work without sleeping, in microseconds: a session that is not used soon after
/// a run does not keep a CPU busy.
const SPIN_DURATION: (&str, &str) = ("session.intra_op.spin_duration_us", "100");
/// On CPUs, the fused kernels SkipLayerNormalization and BiasGelu are slower than the two kernels that each replaces.
const SLOWER_FUSIONS: &str = "SkipLayerNormFusion;BiasGeluFusion";
/// The default limit on the threads that run a spaCy pipeline: each has its own caches of about 30 MB.
const MAX_DEFAULT_WORKERS: usize = 4;

/// Options for creating the sessions of a graph.
#[derive(Clone, Default)]
pub(crate) struct EngineOptions {
    pub(crate) library: Option<PathBuf>,
    pub(crate) environment: Option<Environment>,
    /// The execution providers of the application, which are tried before the CPU.
    pub(crate) providers: Vec<ExecutionProviderDispatch>,
    /// The devices of the sessions.
    pub(crate) devices: Devices,
    /// The number of threads of a graph, which its sessions share; `None` is all threads that the process may use.
    pub(crate) threads: Option<usize>,
    /// The number of runs of a graph at the same time; `None` is one per thread where they share a session, else one per
    /// device.
    pub(crate) workers: Option<usize>,
    /// The files that the sessions read.
    pub(crate) files: FileCheck,
}

impl EngineOptions {
    /// The environment of these options.
    ///
    /// # Errors
    /// `dependency` or `config`, if the library cannot be loaded.
    pub(crate) fn environment(&self) -> Result<Environment, BridgeError> {
        match &self.environment {
            Some(environment) => Ok(environment.clone()),
            None => environment(self.library.as_deref()),
        }
    }

    /// The same options with the devices that a `device` option names. `auto` stands for the execution providers of the
    /// application, if it passes any.
    ///
    /// # Errors
    /// `config` if it names no device or if the application passes execution providers too, `device` if a device cannot be
    /// used, `dependency` without a usable library.
    pub(crate) fn on_devices(&self, device: &str) -> Result<Self, BridgeError> {
        let devices = match self.providers.as_slice() {
            [] => Devices::select(device, &Library(self))?,
            given if device == AUTO => {
                Devices::of_providers(&given.iter().map(ExecutionProviderDispatch::name).collect::<Vec<_>>())
            }
            _ => {
                return Err(BridgeError::config(format!(
                    "device is {device:?} beside execution providers, expected auto"
                )));
            }
        };
        Ok(Self { devices, ..self.clone() })
    }

    /// Sets the number of sessions to the number of threads, but to at most 4, unless it is set. This suits graphs whose
    /// matrix products are too small to be divided among threads.
    pub(crate) fn with_session_per_thread(self) -> Self {
        Self { workers: self.workers.or(Some(self.threads().min(MAX_DEFAULT_WORKERS))), ..self }
    }

    /// Limits the default number of runs that share a session.
    pub(crate) fn with_default_workers_up_to(self, limit: usize) -> Self {
        if !self.shares_session() {
            return self;
        }
        Self { workers: self.workers.or(Some(self.threads().min(limit))), ..self }
    }

    /// The number of threads of a graph.
    fn threads(&self) -> usize {
        self.threads.unwrap_or_else(available_threads).max(1)
    }

    /// Whether the runs of a graph share a session and its threads. Only the provider of the CPU supports runs beside each
    /// other, and in the environment of an application a session may have no threads of its own.
    pub(crate) fn shares_session(&self) -> bool {
        self.environment.is_none() && self.providers.is_empty() && self.devices.is_cpu() && self.devices.count() == 1
    }

    /// The number of runs of a graph at the same time.
    pub(crate) fn workers(&self) -> usize {
        let default = || if self.shares_session() { self.threads() } else { self.devices.count() };
        self.workers.unwrap_or_else(default).max(1)
    }
}

/// The graph that sessions run.
#[derive(Debug, Clone)]
pub(crate) struct GraphFile {
    /// The path of the graph's file relative to the artifact, which error messages show.
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) min_onnxruntime: String,
}

/// Creates the sessions of one graph.
pub(crate) struct SessionFactory {
    graph: GraphFile,
    options: EngineOptions,
    /// The number of sessions that were created so far, which take the devices in turn.
    created: AtomicUsize,
    /// The session that runs share, while any thread has it.
    shared: Mutex<Weak<GraphSession>>,
}

impl SessionFactory {
    pub(crate) fn new(graph: GraphFile, options: EngineOptions) -> Self {
        Self { graph, options, created: AtomicUsize::new(0), shared: Mutex::default() }
    }

    /// Creates sessions for a graph of the artifact at `root`.
    pub(crate) fn of_graph(root: &Path, graph: &Graph, options: EngineOptions) -> Self {
        let file = GraphFile {
            name: graph.file.clone(),
            path: root.join(&graph.file),
            min_onnxruntime: graph.min_onnxruntime.clone(),
        };
        Self::new(file, options)
    }

    /// The session of a thread that runs the graph: the one that other threads have, if runs share a session, else a new
    /// one. Threads that need a shared session at the same time wait until the first of them has created it.
    ///
    /// After a panic in a run, a thread drops its session and comes here again. While other threads have the shared session,
    /// it gets the same one: a run leaves nothing in a session but the number of runs, which is right after a panic too.
    ///
    /// # Errors
    /// `dependency` without a usable library, `graph` if ONNX Runtime refuses the graph, the errors of a file that has changed.
    pub(crate) fn graph_session(&self) -> Result<Arc<GraphSession>, BridgeError> {
        if !self.options.shares_session() {
            return Ok(Arc::new(GraphSession::new(self.create()?, 1)));
        }
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(session) = shared.upgrade() {
            return Ok(session);
        }
        let threads = self.options.threads();
        let session = Arc::new(GraphSession::new(self.create_with(threads)?, threads));
        *shared = Arc::downgrade(&session);
        Ok(session)
    }

    /// Creates a session for one thread, with its part of the threads of the graph.
    ///
    /// # Errors
    /// `dependency` without a usable library, `graph` if ONNX Runtime refuses the graph, the errors of a file that has changed.
    pub(crate) fn create(&self) -> Result<Session, BridgeError> {
        self.create_with((self.options.threads() / self.options.workers()).max(1))
    }

    fn create_with(&self, threads: usize) -> Result<Session, BridgeError> {
        let environment = self.options.environment()?;
        check_version(&self.graph.min_onnxruntime)?;
        let refuse =
            |error: ort::Error| BridgeError::GraphLoad { file: self.graph.name.clone(), cause: Cause::new(error) };
        let devices = &self.options.devices;
        let device = devices.in_turn(self.created.fetch_add(1, Ordering::Relaxed));
        let configured =
            Session::builder(&environment).and_then(|builder| self.configure(builder, threads, Cpu::detect(), device));
        let builder = configured.map_err(refuse)?;
        let read = || load(&self.graph.path, builder, device).map_err(refuse);
        let (session, counts) = self.options.files.around(read)?;
        devices.providers.record(&self.graph.name, &device.name, counts);
        Ok(session)
    }

    fn configure(
        &self,
        builder: SessionBuilder,
        threads: usize,
        cpu: Cpu,
        device: &Device,
    ) -> ort::Result<SessionBuilder> {
        let mut builder = builder
            .with_optimization_level(GraphOptimizationLevel::All)?
            .with_intra_threads(threads)?
            .with_inter_threads(1)?
            .with_config_entry(SPIN_DURATION.0, SPIN_DURATION.1)?
            // ONNX Runtime would store one memory pattern per input shape, and shapes rarely occur twice.
            .with_memory_pattern(false)?;
        if device.is_cpu() {
            builder = builder.with_disabled_optimizers(SLOWER_FUSIONS)?;
        }
        if cpu.saturates() {
            builder = builder.with_precise_qmm()?;
        }
        match self.options.providers.as_slice() {
            [] => on_device(builder, device),
            given => Ok(builder.with_execution_providers(given)?),
        }
    }
}

/// Loads a graph, and counts the nodes that each provider runs. On the CPU, no other provider can run any, and they are not
/// counted.
fn load(
    path: &Path,
    builder: SessionBuilder,
    device: &Device,
) -> ort::Result<(Session, BTreeMap<String, Option<usize>>)> {
    // ONNX Runtime needs the path to find the graph's external data.
    if device.is_cpu() {
        let mut builder = builder;
        return Ok((builder.commit_from_file(path)?, BTreeMap::from([(device.provider.clone(), None)])));
    }
    let (profile, mut builder) = Profile::start(builder)?;
    let mut session = builder.commit_from_file(path)?;
    let counts = profile.count(&mut session);
    Ok((session, counts))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::path::Path;

    use super::*;
    use crate::artifact::protobuf::{Field, Fields};

    /// The value of UINT8 in ONNX's enumeration of element types, `TensorProto.DataType`.
    const UINT8: u64 = 2;
    const INT8: u64 = 3;

    /// The contents of all fields of a serialized protobuf message that have the given field number and hold nested
    /// messages or strings.
    fn messages(message: &[u8], number: u64) -> Vec<&[u8]> {
        let bytes = |field| match field {
            Ok((actual, Field::Bytes(value))) if actual == number => Some(value),
            _ => None,
        };
        Fields::of(message).filter_map(bytes).collect()
    }

    /// The value of the first integer field (varint) of a serialized protobuf message that has the given field number.
    fn varint(message: &[u8], number: u64) -> Option<u64> {
        Fields::of(message).flatten().find_map(|field| match field {
            (actual, Field::Number(value)) if actual == number => Some(value),
            _ => None,
        })
    }

    /// The element types of the weights of all 8-bit matrix products in a serialized ONNX model.
    fn weight_types(model: &[u8]) -> BTreeSet<u64> {
        let graph = messages(model, 7)[0];
        let dtype = |tensor| Some((messages(tensor, 8)[0], varint(tensor, 2)?));
        let weights: BTreeMap<&[u8], u64> = messages(graph, 5).into_iter().filter_map(dtype).collect();
        let is_product = |node: &&[u8]| messages(node, 4)[0].starts_with(b"MatMulInteger");
        messages(graph, 1).into_iter().filter(is_product).map(|node| weights[messages(node, 1)[1]]).collect()
    }

    /// The int8 graph of the shared test artifact, as ONNX Runtime optimizes it for a CPU.
    fn optimized(cpu: Cpu) -> Vec<u8> {
        let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/valid/tiny-embedding");
        let path = shared.join("onnx/model_int8.onnx");
        let graph = GraphFile { name: "int8".to_owned(), path: path.clone(), min_onnxruntime: "1.18".to_owned() };
        let factory = SessionFactory::new(graph, EngineOptions::default());
        let folder = tempfile::tempdir().expect("a temporary directory");
        let written = folder.path().join("optimized.onnx");
        let environment = environment(None).expect("ORT_DYLIB_PATH names ONNX Runtime");
        let builder =
            Session::builder(&environment).and_then(|builder| factory.configure(builder, 1, cpu, &Device::cpu()));
        let builder = builder.and_then(|builder| Ok(builder.with_optimized_model_path(&written)?));
        builder.expect("options").commit_from_file(&path).expect("a session");
        std::fs::read(&written).expect("a graph")
    }

    #[test]
    fn small_graphs_have_one_session_per_thread_by_default() {
        let options = |threads, workers| EngineOptions { threads, workers, ..EngineOptions::default() };
        let chosen = |threads, workers| options(threads, workers).with_session_per_thread().workers();
        assert_eq!([chosen(Some(3), None), chosen(Some(3), Some(2)), chosen(Some(9), None)], [3, 2, 4]);
        assert_eq!(chosen(None, None), available_threads().min(4));
    }

    #[test]
    fn runs_share_the_threads_of_one_session_on_the_cpu_only() {
        let cpu = EngineOptions { threads: Some(3), ..EngineOptions::default() };
        let given = environment(None).expect("ORT_DYLIB_PATH names ONNX Runtime");
        let in_environment = EngineOptions { environment: Some(given), ..cpu.clone() };
        let of_application = vec![ort::ep::CPU::default().build()];
        let with_providers = EngineOptions { providers: of_application, ..cpu.clone() };
        let elsewhere = EngineOptions { devices: Devices::of_providers(&["CUDAExecutionProvider"]), ..cpu.clone() };
        let chosen = |options: &EngineOptions| (options.shares_session(), options.workers());
        assert_eq!(chosen(&cpu), (true, 3));
        let limited = |options: &EngineOptions| chosen(&options.clone().with_default_workers_up_to(2)).1;
        let gpu = Device { name: "cuda".to_owned(), provider: "CUDAExecutionProvider".to_owned(), option: None };
        let many = EngineOptions { devices: Devices::new(vec![gpu; 3]), ..cpu.clone() };
        let five = EngineOptions { workers: Some(5), ..cpu.clone() };
        assert_eq!([limited(&cpu), limited(&five), limited(&many)], [2, 5, 3]);
        assert_eq!(chosen(&EngineOptions { workers: Some(2), ..cpu }), (true, 2));
        for other in [in_environment, with_providers, elsewhere] {
            assert_eq!(chosen(&other), (false, 1));
        }
    }

    /// With `session.x64quantprecision`, ONNX Runtime converts the weights to unsigned integers, whose kernels do not
    /// saturate.
    #[test]
    #[cfg(target_arch = "x86_64")]
    fn exact_kernels_are_used_only_on_cpus_whose_products_saturate() {
        assert_eq!(weight_types(&optimized(Cpu::new(true, false))), BTreeSet::from([UINT8]));
        assert_eq!(weight_types(&optimized(Cpu::new(true, true))), BTreeSet::from([INT8]));
    }
}
