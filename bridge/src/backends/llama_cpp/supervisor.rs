//! [`Supervisor`]: the server of one GGUF file, which is started, watched and ended.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::gguf_file::GgufFile;
use super::process::ChildProcess;
use super::serve_options::ServeOptions;
use super::socket_folder::SocketFolder;
use super::users::Users;
use crate::BridgeError;
use crate::backends::wire::{Client, fly, runtime};
use crate::runtime::lane::Caller;
use crate::runtime::meter::{Meter, UnloadReason};
use crate::status::ModelState;
use crate::tasks::Task;

/// The time between two questions whether a server is ready.
const PAUSE: Duration = Duration::from_millis(20);
/// How long to wait for the status of a server whose connection ended.
const END: Duration = Duration::from_secs(1);

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

/// Starts the server of a file when a model needs it, and again after its death.
pub(crate) struct Supervisor {
    /// The name of the backend.
    backend: String,
    options: ServeOptions,
    file: GgufFile,
    state: Mutex<State>,
}

struct State {
    /// The tasks whose models use the server.
    users: Users,
    phase: Phase,
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
        let state = State { users: Users::default(), phase: Phase::Ended };
        let file = GgufFile::new(options.path.clone(), options.sha256.clone());
        file.check()?;
        let supervisor = Self { backend: backend.to_owned(), options, file, state: Mutex::new(state) };
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
        let checked = runtime()?.spawn_blocking(move || supervisor.file.check()).await;
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

    fn error(options: ServeOptions) -> BridgeError {
        let supervisor = Supervisor::new(options, "local").expect("a file");
        let started = runtime().expect("a runtime").block_on(async { supervisor.client(Task::Ner).await });
        assert_eq!(supervisor.state(), ModelState::Unloaded);
        started.err().expect("no server")
    }

    #[test]
    fn what_does_not_start_has_a_typed_error() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let ends = error(ServeOptions::of_command(file.path(), &["sh", "-c", "echo bad magic >&2; exit 1"]));
        assert_eq!(ends.code().as_str(), "inference");
        assert!(ends.to_string().contains("local (") && ends.to_string().contains("bad magic"), "{ends}");
        let missing = error(ServeOptions::of_command(file.path(), &["/no/such/llama-server"]));
        assert_eq!(missing.code().as_str(), "dependency");
        let start_timeout = Duration::from_millis(300);
        let sleeps = error(ServeOptions {
            start_timeout,
            ..ServeOptions::of_command(file.path(), &["sh", "-c", "exec sleep 600"])
        });
        assert_eq!(sleeps.code().as_str(), "inference");
        assert!(sleeps.to_string().contains("within 0.3 s"), "{sleeps}");
    }
}
