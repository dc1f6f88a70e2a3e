//! Sessions of one graph, shared between threads.
//!
//! A session runs one request at a time (`ort` asks for it with `&mut`), so that several threads need several sessions.

use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ort::environment::Environment;
use ort::ep::ExecutionProviderDispatch;
use ort::session::Session;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};

use super::cpu::{Cpu, available_threads};
use super::environment::{check_version, environment};
use super::meter::Meter;
use crate::BridgeError;
use crate::artifact::manifest::Graph;

/// How long a caller waits for a session before it looks whether it still wants one.
const PATIENCE: Duration = Duration::from_millis(20);

/// How sessions are made.
#[derive(Clone, Default)]
pub(crate) struct EngineOptions {
    pub(crate) library: Option<PathBuf>,
    pub(crate) environment: Option<Environment>,
    pub(crate) providers: Vec<ExecutionProviderDispatch>,
    /// Threads of all sessions together; `None` for those the process may use.
    pub(crate) threads: Option<usize>,
    /// Sessions at most; `None` for one.
    pub(crate) sessions: Option<usize>,
}

impl EngineOptions {
    /// For graphs whose products are too small to be shared out: a session for each thread, where nothing else was chosen.
    pub(crate) fn with_session_per_thread(self) -> Self {
        let threads = self.threads.unwrap_or_else(available_threads);
        Self { sessions: self.sessions.or(Some(threads)), ..self }
    }
}

/// The graph that a pool's sessions run.
#[derive(Debug, Clone)]
pub(crate) struct GraphFile {
    /// Relative to the artifact, for messages.
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) min_onnxruntime: String,
}

/// Up to a number of sessions of one graph, each created when it is first needed.
pub(crate) struct Pool {
    graph: GraphFile,
    options: EngineOptions,
    on_load: Box<dyn Fn(Duration) + Send + Sync>,
    state: Mutex<State>,
    returned: Condvar,
}

#[derive(Default)]
struct State {
    idle: Vec<Session>,
    /// Sessions idle, lent or being created.
    count: usize,
}

impl Pool {
    pub(crate) fn new(
        graph: GraphFile,
        options: EngineOptions,
        on_load: impl Fn(Duration) + Send + Sync + 'static,
    ) -> Self {
        let on_load = Box::new(on_load);
        Self { graph, options, on_load, state: Mutex::default(), returned: Condvar::new() }
    }

    /// The sessions of a graph of the artifact at `root`, whose loads the meter records. Nothing is loaded yet.
    pub(crate) fn of_graph(root: &Path, graph: &Graph, options: EngineOptions, meter: &Meter) -> Self {
        let file = GraphFile {
            name: graph.file.clone(),
            path: root.join(&graph.file),
            min_onnxruntime: graph.min_onnxruntime.clone(),
        };
        let meter = meter.clone();
        Self::new(file, options, move |elapsed| meter.load(elapsed))
    }

    /// Sessions at most.
    pub(crate) fn limit(&self) -> usize {
        self.options.sessions.unwrap_or(1).max(1)
    }

    /// A session for this caller alone; waits where all are lent.
    ///
    /// # Errors
    /// `dependency` without a usable library, `graph` where ONNX Runtime refuses the graph.
    pub(crate) fn lease(&self) -> Result<Lease<'_>, BridgeError> {
        self.lease_while(|| Ok(()))
    }

    /// The same for a caller that may have to give up: while it waits, `go_on` is asked again and again, and its error
    /// ends the wait.
    pub(crate) fn lease_while(&self, go_on: impl Fn() -> Result<(), BridgeError>) -> Result<Lease<'_>, BridgeError> {
        let mut state = self.lock();
        loop {
            go_on()?;
            if let Some(session) = state.idle.pop() {
                return Ok(Lease { pool: self, session: Some(session) });
            }
            if state.count < self.limit() {
                state.count += 1;
                drop(state);
                return self.create();
            }
            // A caller that gave up may have been the one who was told of a returned session: nobody waits for ever.
            let waited = self.returned.wait_timeout(state, PATIENCE);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Drops the sessions that nobody uses; the next call creates them anew.
    pub(crate) fn clear(&self) {
        let mut state = self.lock();
        let dropped = std::mem::take(&mut state.idle);
        state.count -= dropped.len();
    }

    /// The caller has counted the new session already, so that no other thread makes the same one.
    fn create(&self) -> Result<Lease<'_>, BridgeError> {
        let mut lease = Lease { pool: self, session: None };
        let started = Instant::now();
        lease.session = Some(self.open()?);
        (self.on_load)(started.elapsed());
        Ok(lease)
    }

    fn open(&self) -> Result<Session, BridgeError> {
        let environment = match &self.options.environment {
            Some(environment) => environment.clone(),
            None => environment(self.options.library.as_deref())?,
        };
        check_version(&self.graph.min_onnxruntime)?;
        let refuse = |error: ort::Error| BridgeError::Graph {
            file: self.graph.name.clone(),
            problem: format!("ONNX Runtime cannot load it: {error}"),
        };
        let configured = Session::builder(&environment).and_then(|builder| self.configure(builder, Cpu::detect()));
        let mut builder = configured.map_err(refuse)?;
        // By path: external data lies beside the graph.
        builder.commit_from_file(&self.graph.path).map_err(refuse)
    }

    fn configure(&self, builder: SessionBuilder, cpu: Cpu) -> ort::Result<SessionBuilder> {
        let threads = self.options.threads.unwrap_or_else(available_threads) / self.limit();
        let mut builder = builder
            .with_optimization_level(GraphOptimizationLevel::All)?
            .with_intra_threads(threads.max(1))?
            .with_inter_threads(1)?
            // Shapes differ from run to run: a pattern per shape would only be kept and never used again.
            .with_memory_pattern(false)?
            // The fused kernel is slower than the two that it replaces.
            .with_disabled_optimizers("SkipLayerNormFusion")?;
        if cpu.saturates() {
            builder = builder.with_precise_qmm()?;
        }
        if !self.options.providers.is_empty() {
            builder = builder.with_execution_providers(&self.options.providers)?;
        }
        Ok(builder)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A lent session, given back when dropped.
pub(crate) struct Lease<'a> {
    pool: &'a Pool,
    /// `None` only while it is created, or where that failed.
    session: Option<Session>,
}

impl Lease<'_> {
    /// The session.
    pub(crate) fn session(&mut self) -> Result<&mut Session, BridgeError> {
        self.session.as_mut().ok_or_else(|| BridgeError::inference(None, "the session is gone"))
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        let mut state = self.pool.lock();
        match self.session.take() {
            Some(session) => state.idle.push(session),
            None => state.count -= 1,
        }
        drop(state);
        self.pool.returned.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::path::Path;

    use super::*;
    use crate::artifact::protobuf::{Field, Fields};

    /// `TensorProto.DataType`.
    const UINT8: u64 = 2;
    const INT8: u64 = 3;

    fn parts(message: &[u8], number: u64) -> Vec<&[u8]> {
        let bytes = |field| match field {
            Ok((found, Field::Bytes(value))) if found == number => Some(value),
            _ => None,
        };
        Fields::of(message).filter_map(bytes).collect()
    }

    fn number(message: &[u8], number: u64) -> Option<u64> {
        Fields::of(message).flatten().find_map(|field| match field {
            (found, Field::Number(value)) if found == number => Some(value),
            _ => None,
        })
    }

    /// Element types of the weights of all 8-bit products.
    fn weight_types(model: &[u8]) -> BTreeSet<u64> {
        let graph = parts(model, 7)[0];
        let weights: BTreeMap<&[u8], u64> =
            parts(graph, 5).into_iter().filter_map(|tensor| Some((parts(tensor, 8)[0], number(tensor, 2)?))).collect();
        let is_product = |node: &&[u8]| parts(node, 4)[0].starts_with(b"MatMulInteger");
        parts(graph, 1).into_iter().filter(is_product).map(|node| weights[parts(node, 1)[1]]).collect()
    }

    /// What ONNX Runtime makes of the shared int8 graph on a CPU.
    fn optimized(cpu: Cpu) -> Vec<u8> {
        let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/valid/tiny-embedding");
        let path = shared.join("onnx/model_int8.onnx");
        let graph = GraphFile { name: "int8".to_owned(), path: path.clone(), min_onnxruntime: "1.18".to_owned() };
        let pool = Pool::new(graph, EngineOptions::default(), |_| {});
        let folder = tempfile::tempdir().expect("a temporary directory");
        let written = folder.path().join("optimized.onnx");
        let environment = environment(None).expect("ORT_DYLIB_PATH names ONNX Runtime");
        let builder = Session::builder(&environment).and_then(|builder| pool.configure(builder, cpu));
        let builder = builder.and_then(|builder| Ok(builder.with_optimized_model_path(&written)?));
        builder.expect("options").commit_from_file(&path).expect("a session");
        std::fs::read(&written).expect("a graph")
    }

    #[test]
    fn small_graphs_have_a_session_for_each_thread_unless_told_otherwise() {
        let options = |threads, sessions| EngineOptions { threads, sessions, ..EngineOptions::default() };
        let chosen = |threads, sessions| options(threads, sessions).with_session_per_thread().sessions;
        assert_eq!([chosen(Some(3), None), chosen(Some(3), Some(2))], [Some(3), Some(2)]);
        assert_eq!(chosen(None, None), Some(available_threads()));
    }

    /// With `session.x64quantprecision`, ONNX Runtime makes the weights unsigned: those kernels do not saturate.
    #[test]
    #[cfg(target_arch = "x86_64")]
    fn exact_kernels_are_asked_for_exactly_where_products_saturate() {
        assert_eq!(weight_types(&optimized(Cpu::new(true, false))), BTreeSet::from([UINT8]));
        assert_eq!(weight_types(&optimized(Cpu::new(true, true))), BTreeSet::from([INT8]));
    }
}
