//! Sessions of one graph, shared between threads.
//!
//! A session runs one request at a time (`ort` asks for it with `&mut`), so that several threads need several sessions.

use std::path::PathBuf;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ort::environment::Environment;
use ort::ep::ExecutionProviderDispatch;
use ort::session::Session;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};

use super::cpu::{Cpu, available_threads};
use super::environment::{check_version, environment};
use crate::BridgeError;

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

    /// The graph's file, relative to the artifact.
    pub(crate) fn graph_file(&self) -> &str {
        &self.graph.name
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
        let mut state = self.lock();
        loop {
            if let Some(session) = state.idle.pop() {
                return Ok(Lease { pool: self, session: Some(session) });
            }
            if state.count < self.limit() {
                state.count += 1;
                drop(state);
                return self.create();
            }
            state = self.returned.wait(state).unwrap_or_else(PoisonError::into_inner);
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
        let mut builder = Session::builder(&environment).and_then(|b| self.configure(b)).map_err(refuse)?;
        // By path: external data lies beside the graph.
        builder.commit_from_file(&self.graph.path).map_err(refuse)
    }

    fn configure(&self, builder: SessionBuilder) -> ort::Result<SessionBuilder> {
        let threads = self.options.threads.unwrap_or_else(available_threads) / self.limit();
        let mut builder = builder
            .with_optimization_level(GraphOptimizationLevel::All)?
            .with_intra_threads(threads.max(1))?
            .with_inter_threads(1)?
            // Shapes differ from run to run: a pattern per shape would only be kept and never used again.
            .with_memory_pattern(false)?
            // The fused kernel is slower than the two that it replaces.
            .with_disabled_optimizers("SkipLayerNormFusion")?;
        if Cpu::detect().saturates() {
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
