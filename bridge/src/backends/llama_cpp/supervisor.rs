//! [`Supervisor`]: the server of one GGUF file, which is started, watched and ended.

use std::fs::{self, DirBuilder, File};
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::process::ChildProcess;
use super::users::Users;
use crate::BridgeError;
use crate::artifact::tree::hex;
use crate::backends::wire::{Client, Limits, fly, runtime};
use crate::runtime::lane::Caller;
use crate::runtime::meter::{Meter, UnloadReason};
use crate::status::ModelState;
use crate::tasks::Task;

/// The time between two questions whether a server is ready.
const PAUSE: Duration = Duration::from_millis(20);
/// How long to wait for the status of a server whose connection ended.
const END: Duration = Duration::from_secs(1);
/// The longest path of a Unix socket.
const MAX_SOCKET: usize = 100;

/// How a file is served. Equal options of several tasks share a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ServeOptions {
    /// The absolute path of the file.
    pub(super) path: PathBuf,
    pub(super) sha256: Option<String>,
    pub(super) context: usize,
    pub(super) threads: Option<usize>,
    pub(super) memory_mb: Option<usize>,
    pub(super) is_embedding: bool,
    pub(super) command: Vec<String>,
    pub(super) start_timeout: Duration,
    pub(super) limits: Limits,
}

impl ServeOptions {
    /// The arguments of `llama-server`.
    fn arguments(&self, socket: &Path) -> Vec<String> {
        let context = self.context.to_string();
        let (path, socket) = (self.path.display().to_string(), socket.display().to_string());
        let mut arguments =
            vec!["--model", &path, "--host", &socket, "--ctx-size", &context, "--parallel", "1", "--no-warmup"];
        let threads = self.threads.map(|threads| threads.to_string());
        if let Some(threads) = &threads {
            arguments.extend(["--threads", threads, "--threads-batch", threads]);
        }
        if self.is_embedding {
            arguments.extend(["--embeddings", "--batch-size", &context, "--ubatch-size", &context]);
        }
        arguments.into_iter().map(str::to_owned).collect()
    }

    /// The path and the body of the first request, which shows whether the file works at all.
    fn first_request(&self) -> (&'static str, Value) {
        match self.is_embedding {
            true => ("/embeddings", json!({"input": "a"})),
            false => ("/chat/completions", json!({"messages": [{"role": "user", "content": "a"}], "max_tokens": 1})),
        }
    }
}

/// A server that runs, and its socket. It ends when this value is dropped.
pub(crate) struct Running {
    process: ChildProcess,
    folder: SocketFolder,
    /// The memory in bytes when the server had answered its first request.
    resident_bytes: OnceLock<u64>,
}

impl Running {
    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.socket()
    }
}

/// A new folder for a socket, which only this user can read.
struct SocketFolder(PathBuf);

impl SocketFolder {
    /// # Errors
    /// `io`, or `config` if the path of temporary files is too long for a socket.
    fn new() -> Result<Self, BridgeError> {
        let number = std::hash::RandomState::new().build_hasher().finish();
        let path = std::env::temp_dir().join(format!("onnx-ml-bridge-{number:016x}"));
        let folder = Self(path);
        if folder.socket().as_os_str().len() > MAX_SOCKET {
            let problem = format!("TMPDIR: {} is too long for a Unix socket", folder.socket().display());
            std::mem::forget(folder); // nothing was created
            return Err(BridgeError::config(problem));
        }
        DirBuilder::new().mode(0o700).create(&folder.0).map_err(|error| BridgeError::io(&folder.0, &error))?;
        Ok(folder)
    }

    fn socket(&self) -> PathBuf {
        self.0.join("llama.sock")
    }
}

impl Drop for SocketFolder {
    fn drop(&mut self) {
        // What is left is an empty folder for temporary files.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Starts the server of a file when a model needs it, and again after its death.
pub(crate) struct Supervisor {
    /// The name of the backend.
    backend: String,
    options: ServeOptions,
    state: Mutex<State>,
}

struct State {
    /// The tasks whose models use the server.
    users: Users,
    phase: Phase,
    /// What the file was when its hash was right.
    stamp: Option<Stamp>,
}

enum Phase {
    Ended,
    Starting(watch::Receiver<Option<Started>>, AbortHandle),
    Running(Arc<Client>),
}

type Started = Result<Arc<Client>, BridgeError>;

impl Supervisor {
    /// Checks the file. Nothing is started.
    ///
    /// # Errors
    /// `io` or `file_hash`.
    pub(super) fn new(options: ServeOptions, backend: &str) -> Result<Arc<Self>, BridgeError> {
        let state = State { users: Users::default(), phase: Phase::Ended, stamp: None };
        let supervisor = Self { backend: backend.to_owned(), options, state: Mutex::new(state) };
        supervisor.check_file()?;
        Ok(Arc::new(supervisor))
    }

    pub(super) fn serves(&self, options: &ServeOptions) -> bool {
        self.options == *options
    }

    /// Sets the metrics of the model of a task.
    pub(super) fn measure(&self, task: Task, meter: Meter) {
        self.lock().users.measure(task, meter);
    }

    /// Starts the server, unless it runs.
    ///
    /// # Errors
    /// The errors of [`client`](Self::client), or the reason why the call was stopped.
    pub(crate) async fn load(self: &Arc<Self>, task: Task, caller: &Caller) -> Result<(), BridgeError> {
        let supervisor = Arc::clone(self);
        let started = fly(vec![async move { supervisor.client(task).await.map(|_| ()) }], caller).await?;
        started.into_iter().collect()
    }

    /// Ends the server if no other model uses it. Requests that run keep it until they have ended.
    pub(crate) fn unload(&self, task: Task) {
        let mut state = self.lock();
        state.users.remove(task, Some(UnloadReason::Call));
        if state.users.is_empty()
            && let Phase::Starting(_, start) = std::mem::replace(&mut state.phase, Phase::Ended)
        {
            start.abort();
        }
    }

    /// Connections to the server, which is started unless it runs. Must be called on the runtime of requests.
    ///
    /// # Errors
    /// `inference` if llama.cpp refuses the file, ends, or does not start within the limit; `dependency` if the program is
    /// missing; `io` or `file_hash` for the file; `upstream` if the model was unloaded meanwhile.
    pub(crate) async fn client(self: &Arc<Self>, task: Task) -> Started {
        let began = Instant::now();
        let client = self.running_client(task).await?;
        let bytes = self.resident_bytes();
        self.lock().users.loaded(task, began.elapsed(), bytes);
        Ok(client)
    }

    /// # Errors
    /// The errors of [`client`](Self::client).
    async fn running_client(self: &Arc<Self>, task: Task) -> Started {
        let mut started = {
            let mut state = self.lock();
            state.users.insert(task);
            match &state.phase {
                Phase::Running(client) if !has_ended(client) => return Ok(Arc::clone(client)),
                Phase::Starting(started, _) => started.clone(),
                Phase::Running(_) | Phase::Ended => self.begin(&mut state)?,
            }
        };
        let unloaded = || self.upstream("the model was unloaded while its server started");
        let started = started.wait_for(Option::is_some).await.map_err(|_| unloaded())?;
        started.clone().unwrap_or_else(|| Err(unloaded()))
    }

    /// Starts the server in a task of its own: a call that stops does not lose what was loaded.
    fn begin(self: &Arc<Self>, state: &mut State) -> Result<watch::Receiver<Option<Started>>, BridgeError> {
        let (sender, receiver) = watch::channel(None);
        let supervisor = Arc::clone(self);
        let start = runtime()?.spawn(async move {
            let started = supervisor.start().await;
            let mut state = supervisor.lock();
            // Unless it was unloaded meanwhile
            if matches!(state.phase, Phase::Starting(..)) {
                state.phase = started.clone().map_or(Phase::Ended, Phase::Running);
            }
            drop(state);
            sender.send_replace(Some(started));
        });
        state.phase = Phase::Starting(receiver.clone(), start.abort_handle());
        Ok(receiver)
    }

    async fn start(self: &Arc<Self>) -> Started {
        let supervisor = Arc::clone(self);
        let checked = runtime()?.spawn_blocking(move || supervisor.check_file()).await;
        checked.map_err(|error| BridgeError::Internal { problem: error.to_string() })??;
        let (options, folder) = (&self.options, SocketFolder::new()?);
        let arguments = options.arguments(&folder.socket());
        let process = ChildProcess::start(&options.command, &arguments, options.memory_mb)?;
        let running = Arc::new(Running { process, folder, resident_bytes: OnceLock::new() });
        let client = Arc::new(Client::of_child(Arc::clone(&running), &options.limits)?);
        let ready = tokio::time::timeout(options.start_timeout, self.ready(&client, &running)).await;
        let limit = options.start_timeout.as_secs_f64();
        ready.unwrap_or_else(|_| Err(self.inference(format!("llama.cpp did not start within {limit} s"))))?;
        running.resident_bytes.get_or_init(|| running.process.resident_bytes());
        Ok(client)
    }

    /// Waits until the server answers its first request.
    async fn ready(&self, client: &Client, running: &Running) -> Result<(), BridgeError> {
        while !is_good(client.get(&client.address.url("//health"), None)).await {
            if let Some(status) = running.process.status() {
                return Err(self.named(running.process.ended(status).await));
            }
            tokio::time::sleep(PAUSE).await;
        }
        let (path, body) = self.options.first_request();
        if is_good(client.post(path, None, body.to_string().into_bytes())).await {
            return Ok(());
        }
        let status = async {
            loop {
                match running.process.status() {
                    Some(status) => return status,
                    None => tokio::time::sleep(PAUSE).await,
                }
            }
        };
        match tokio::time::timeout(END, status).await {
            Ok(status) => Err(self.named(running.process.ended(status).await)),
            Err(_) => Err(self.inference("llama.cpp cannot use the file: its first answer is an error".to_owned())),
        }
    }

    /// The connections to a server that runs.
    pub(crate) fn current(&self) -> Option<Arc<Client>> {
        match &self.lock().phase {
            Phase::Running(client) => Some(Arc::clone(client)),
            Phase::Starting(..) | Phase::Ended => None,
        }
    }

    /// The memory of the server in bytes, as measured when it had started; 0 if it does not run.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let running = self.current().and_then(|client| client.child.clone());
        running.and_then(|running| running.resident_bytes.get().copied()).unwrap_or(0)
    }

    pub(crate) fn state(&self) -> ModelState {
        match &self.lock().phase {
            Phase::Running(client) if has_ended(client) => ModelState::Failed,
            Phase::Running(_) => ModelState::Ready,
            Phase::Starting(..) => ModelState::Loading,
            Phase::Ended => ModelState::Unloaded,
        }
    }

    /// Checks that the file can be read, and its hash unless the file did not change since the last check.
    fn check_file(&self) -> Result<(), BridgeError> {
        let path = &self.options.path;
        let io = |error: io::Error| BridgeError::io(path, &error);
        let mut file = File::open(path).map_err(io)?;
        let metadata = file.metadata().map_err(io)?;
        let stamp = Stamp(metadata.dev(), metadata.ino(), metadata.size(), metadata.mtime(), metadata.mtime_nsec());
        let Some(expected) = self.options.sha256.clone().filter(|_| self.lock().stamp != Some(stamp)) else {
            return Ok(());
        };
        let mut digest = Sha256::new();
        io::copy(&mut file, &mut Hash(&mut digest)).map_err(io)?;
        let actual = hex(&digest.finalize());
        if actual != expected {
            return Err(BridgeError::FileHash { file: path.display().to_string(), expected, actual });
        }
        self.lock().stamp = Some(stamp);
        Ok(())
    }

    fn upstream(&self, problem: &str) -> BridgeError {
        BridgeError::Upstream { backend: self.backend.clone(), problem: problem.to_owned(), status: None }
    }

    fn inference(&self, problem: String) -> BridgeError {
        self.named(BridgeError::inference(None, problem))
    }

    /// Adds the names of the backend and the file to an error.
    fn named(&self, error: BridgeError) -> BridgeError {
        let file = self.options.path.file_name().unwrap_or_default().to_string_lossy();
        let BridgeError::Inference { problem, .. } = &error else { return error };
        BridgeError::inference(None, format!("{} ({file}): {problem}", self.backend))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What identifies the content of a file: device, inode, size and time of the last change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp(u64, u64, u64, i64, i64);

struct Hash<'a>(&'a mut Sha256);

impl io::Write for Hash<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn has_ended(client: &Client) -> bool {
    client.child.as_ref().is_some_and(|child| child.process.status().is_some())
}

/// Whether a request has an answer with the status 200, which is read to its end.
async fn is_good(request: reqwest::RequestBuilder) -> bool {
    let Ok(response) = request.send().await else { return false };
    response.status().as_u16() == 200 && response.bytes().await.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(path: &Path, command: &[&str]) -> ServeOptions {
        ServeOptions {
            path: path.to_path_buf(),
            sha256: None,
            context: 64,
            threads: Some(1),
            memory_mb: None,
            is_embedding: false,
            command: command.iter().map(|part| (*part).to_owned()).collect(),
            start_timeout: Duration::from_secs(20),
            limits: Limits::default(),
        }
    }

    fn error(options: ServeOptions) -> BridgeError {
        let supervisor = Supervisor::new(options, "local").expect("a file");
        let started = runtime().expect("a runtime").block_on(async { supervisor.client(Task::Ner).await });
        assert_eq!(supervisor.state(), ModelState::Unloaded);
        started.err().expect("no server")
    }

    #[test]
    fn what_does_not_start_has_a_typed_error() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let ends = error(options(file.path(), &["sh", "-c", "echo bad magic >&2; exit 1"]));
        assert_eq!(ends.code().as_str(), "inference");
        assert!(ends.to_string().contains("local (") && ends.to_string().contains("bad magic"), "{ends}");
        let missing = error(options(file.path(), &["/no/such/llama-server"]));
        assert_eq!(missing.code().as_str(), "dependency");
        let start_timeout = Duration::from_millis(300);
        let sleeps = error(ServeOptions { start_timeout, ..options(file.path(), &["sh", "-c", "exec sleep 600"]) });
        assert_eq!(sleeps.code().as_str(), "inference");
        assert!(sleeps.to_string().contains("within 0.3 s"), "{sleeps}");
    }

    #[test]
    fn a_file_is_checked_when_it_is_opened_and_when_it_changes() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        fs::write(file.path(), "abc").expect("bytes");
        let right = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let pinned = |sha256: &str| ServeOptions { sha256: Some(sha256.to_owned()), ..options(file.path(), &["x"]) };
        let code = |options| Supervisor::new(options, "local").err().map(|error| error.code().as_str());
        assert_eq!(code(pinned(&"0".repeat(64))), Some("file_hash"));
        assert_eq!(code(options(Path::new("/no/such/file"), &["x"])), Some("io"));
        let supervisor = Supervisor::new(pinned(right), "local").expect("the file");
        fs::write(file.path(), "abd!").expect("bytes");
        assert_eq!(supervisor.check_file().map_err(|error| error.code().as_str()), Err("file_hash"));
    }

    #[test]
    fn sockets_are_for_this_user_alone() {
        let folder = SocketFolder::new().expect("a folder");
        assert_eq!(fs::metadata(&folder.0).expect("a folder").mode() & 0o777, 0o700);
        let path = folder.0.clone();
        drop(folder);
        assert!(!path.exists());
    }

    #[test]
    fn the_arguments_are_those_of_llama_server() {
        let mut options = options(Path::new("/m.gguf"), &["x"]);
        let line = |options: &ServeOptions| options.arguments(Path::new("/s.sock")).join(" ");
        let common = "--model /m.gguf --host /s.sock --ctx-size 64 --parallel 1 --no-warmup";
        assert_eq!(line(&options), format!("{common} --threads 1 --threads-batch 1"));
        (options.threads, options.is_embedding) = (None, true);
        assert_eq!(line(&options), format!("{common} --embeddings --batch-size 64 --ubatch-size 64"));
    }
}
