//! Stores behind a web server and in a bucket: the cache, faults on the wire, offline answers, and locks.
#![cfg(all(feature = "store-remote", feature = "sentence-embedding"))]

mod common;

use std::env;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use common::store::{Folder, NAME, code};
use common::web::Web;
use onnx_ml_bridge::Store;
use serde_json::{Value, json};

/// A store behind a web server, with a graph of several parts.
struct Served {
    folder: Folder,
    web: Web,
}

impl Served {
    fn new() -> Self {
        let folder = Folder::new();
        let web = Web::new(&folder.path(""));
        Self { folder, web }
    }

    /// Adds a file of this size to the artifact, and gives it a new identity.
    fn with_file(size: usize) -> Self {
        Self::with_size(size, size as u64)
    }

    /// Like [`with_file`](Self::with_file), with another size in the manifest.
    fn with_size(size: usize, named: u64) -> Self {
        let mut served = Self::new();
        let old = served.folder.path(&format!("artifacts/{}", served.folder.identity));
        let content: Vec<u8> = (0..size).map(|index| (index / 7) as u8 ^ (index % 251) as u8).collect();
        let mut manifest: Value =
            serde_json::from_slice(&fs::read(old.join("manifest.json")).expect("a file")).expect("JSON");
        manifest["files"]["large.bin"] = json!({"size": named, "sha256": common::sha256(&content)});
        fs::write(old.join("large.bin"), &content).expect("a file");
        let raw = manifest.to_string();
        let identity = common::sha256(raw.as_bytes());
        fs::write(old.join("manifest.json"), &raw).expect("a file");
        fs::write(old.join("manifest.sha256"), format!("{identity}  manifest.json\n")).expect("a file");
        fs::rename(&old, served.folder.path(&format!("artifacts/{identity}"))).expect("renamed");
        served.folder.identity = identity;
        let record = json!({"identity": served.folder.identity});
        served.folder.put(&format!("models/{NAME}/versions/{}.json", served.folder.version), &record);
        served.folder.tag("latest", 1);
        served
    }

    fn cache(&self) -> PathBuf {
        self.folder.folder.path().join("cache")
    }

    fn cached(&self) -> PathBuf {
        self.cache().join("artifacts").join(&self.folder.identity)
    }

    fn store(&self) -> Store {
        Store::open(&self.web.address).expect("a store").cache(self.cache())
    }
}

#[test]
fn artifacts_are_copied_once_and_pinned_ones_need_no_request() {
    let served = Served::with_file(20_000_000);
    let path = served.store().pull_blocking(NAME).expect("an artifact");
    assert_eq!(path, served.cached());
    assert_eq!(fs::read_dir(served.cache().join(".staging")).map(Iterator::count).ok(), Some(0));
    let requests = served.web.requests();
    let pinned = format!("{NAME}@{}#sha256:{}", served.folder.version, served.folder.identity);
    assert_eq!(served.store().pull_blocking(&pinned), Ok(path.clone()));
    assert_eq!(served.web.requests(), requests);
    assert_eq!(served.store().pull_blocking(NAME), Ok(path));
    assert_eq!(served.web.requests(), requests + 1);
}

#[test]
fn a_server_without_ranges_sends_whole_files() {
    let served = Served::with_file(9_000_000);
    served.web.shared.has_ranges.store(false, Ordering::SeqCst);
    assert_eq!(served.store().pull_blocking(NAME), Ok(served.cached()));
}

#[test]
fn offline_answers_come_from_the_cache() {
    let served = Served::new();
    let offline = || served.store().offline(true);
    assert_eq!(code(offline().pull_blocking(NAME)), Err("offline".to_owned()));
    served.store().resolve_blocking(NAME).expect("a version");
    assert_eq!(code(offline().pull_blocking(NAME)), Err("offline".to_owned()));
    served.store().pull_blocking(NAME).expect("an artifact");
    let requests = served.web.requests();
    assert_eq!(offline().pull_blocking(NAME), Ok(served.cached()));
    assert_eq!(code(offline().pull_blocking("other")), Err("offline".to_owned()));
    assert_eq!(code(offline().models_blocking()), Err("offline".to_owned()));
    assert_eq!(served.web.requests(), requests);
}

#[test]
fn a_web_server_cannot_be_listed_and_a_missing_one_is_an_error() {
    let served = Served::new();
    assert_eq!(code(served.store().versions_blocking(NAME)), Err("store".to_owned()));
    assert_eq!(code(served.store().pull_blocking("other")), Err("not_found".to_owned()));
    let address = served.web.address.replace("http://", "http://user:p%40ss@");
    assert!(Store::open(address).expect("a store").cache(served.cache()).resolve_blocking(NAME).is_ok());
    let header = served.web.shared.authorization.lock().expect("a lock").clone();
    assert_eq!(header.as_deref(), Some("Basic dXNlcjpwQHNz"));
}

#[test]
fn changed_bytes_never_become_visible() {
    let served = Served::with_file(9_000_000);
    let names = ["manifest.json", "large.bin", "onnx/model.onnx", "tokenizer.json"];
    for (name, expected) in names.into_iter().zip(["manifest_hash", "file_hash", "file_hash", "file_hash"]) {
        served.web.set_fault(move |path, _, mut body| {
            if path.ends_with(name) && !body.is_empty() {
                let index = body.len() / 2;
                body[index] ^= 1;
            }
            body
        });
        assert_eq!(code(served.store().pull_blocking(NAME)), Err(expected.to_owned()), "{name}");
        assert!(!served.cached().exists());
    }
    served.web.set_fault(|_, _, body| body);
    assert!(served.store().pull_blocking(NAME).is_ok());
}

#[test]
fn cut_answers_are_continued() {
    let served = Served::with_file(20_000_000);
    let starts = Arc::new(Mutex::new(Vec::new()));
    let requested = Arc::clone(&starts);
    // The first answers of the first two parts are cut
    served.web.set_fault(move |path, start, mut body| {
        if path.ends_with("large.bin") {
            let mut starts = requested.lock().expect("a lock");
            if [0, 8 << 20].contains(&start) && !starts.contains(&start) {
                body.truncate(1_000_000);
            }
            starts.push(start);
        }
        body
    });
    assert!(served.store().pull_blocking(NAME).is_ok());
    let starts = starts.lock().expect("a lock");
    assert!([1_000_000, (8 << 20) + 1_000_000].iter().all(|start| starts.contains(start)), "{starts:?}");
}

#[test]
fn an_interrupted_download_continues() {
    let served = Served::with_file(40_000_000);
    // From the third part on, every answer is cut
    served.web.set_fault(|path, start, mut body| {
        if path.ends_with("large.bin") && start >= 16 << 20 {
            body.truncate(1000);
        }
        body
    });
    assert_eq!(code(served.store().pull_blocking(NAME)), Err("store".to_owned()));
    let partial = served.cache().join(".staging").join(&served.folder.identity).join("large.bin");
    let present = fs::metadata(&partial).expect("a file").len();
    assert!(present >= 16 << 20, "{present}");
    let first = Arc::new(AtomicUsize::new(usize::MAX));
    let requested = Arc::clone(&first);
    served.web.set_fault(move |path, start, body| {
        if path.ends_with("large.bin") {
            requested.fetch_min(start, Ordering::SeqCst);
        }
        body
    });
    assert!(served.store().pull_blocking(NAME).is_ok());
    assert_eq!(first.load(Ordering::SeqCst) as u64, present);
}

/// The first byte of the file is not requested.
#[cfg(target_os = "linux")]
#[test]
fn an_artifact_larger_than_the_disk_is_refused() {
    let served = Served::with_size(10, 1 << 48);
    served.web.set_fault(|path, _, body| {
        assert!(!path.ends_with("large.bin"));
        body
    });
    let error = served.store().pull_blocking(NAME).expect_err("no space");
    assert_eq!(error.code().as_str(), "io");
    assert!(error.to_string().contains("no space for 28147497"), "{error}");
}

#[test]
fn damaged_copies_are_replaced() {
    let served = Served::new();
    served.store().pull_blocking(NAME).expect("an artifact");
    fs::write(served.cached().join("golden.jsonl"), "x").expect("a file");
    assert_eq!(code(served.store().offline(true).pull_blocking(NAME)), Err("offline".to_owned()));
    assert_eq!(served.store().pull_blocking(NAME), Ok(served.cached()));
}

#[test]
fn simultaneous_pulls_download_once() {
    let served = Served::with_file(9_000_000);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_eq!(served.store().pull_blocking(NAME), Ok(served.cached())));
        }
    });
    let sent = served.web.shared.sent.load(Ordering::SeqCst);
    assert!(sent < 12_000_000, "{sent}");
}

#[test]
fn a_pull_waits_for_the_lock_of_the_artifact() {
    let served = Served::new();
    let locks = served.cache().join(".locks");
    fs::create_dir_all(&locks).expect("a folder");
    let lock = File::create(locks.join(format!("{}.lock", served.folder.identity))).expect("a file");
    lock.lock().expect("a lock");
    thread::scope(|scope| {
        let pull = scope.spawn(|| served.store().pull_blocking(NAME));
        thread::sleep(Duration::from_millis(500));
        assert!(!pull.is_finished() && !served.cached().exists());
        // As the Python package releases it: the file of the lock is deleted
        fs::remove_file(locks.join(format!("{}.lock", served.folder.identity))).expect("removed");
        lock.unlock().expect("unlocked");
        assert_eq!(pull.join().expect("a thread"), Ok(served.cached()));
    });
}

#[tokio::test]
async fn blocking_and_asynchronous_calls_work_inside_of_a_runtime() {
    let served = Served::new();
    assert!(served.store().resolve_blocking(NAME).is_ok());
    assert_eq!(served.store().pull(NAME).await, Ok(served.cached()));
}

#[test]
fn a_task_pulls_an_artifact_of_many_pieces() {
    let served = Served::with_file(40_000_000);
    for has_ranges in [true, false] {
        served.web.shared.has_ranges.store(has_ranges, Ordering::SeqCst);
        let store = served.store().cache(served.cache().join(has_ranges.to_string()));
        let pulled = common::in_task(move || store.pull_blocking(NAME));
        assert!(pulled.is_ok(), "{pulled:?}");
    }
}

/// A server that speaks S3, which ends when it is dropped.
struct Bucket(Child);

impl Drop for Bucket {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const SERVER: &str = "
import sys, threading, urllib.request
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server
WSGIRequestHandler.log = lambda *arguments: None
server = make_server('127.0.0.1', 0, DomainDispatcherApplication(create_backend_app), threaded=False)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f'http://127.0.0.1:{server.server_port}/models'
def put(url, data=None):
    urllib.request.urlopen(urllib.request.Request(url, data, {'Content-Type': 'application/octet-stream'}, method='PUT'))
put(url)
from pathlib import Path
root = Path(sys.argv[1])
for path in root.rglob('*'):
    if path.is_file():
        put(f'{url}/prod/{path.relative_to(root).as_posix()}', path.read_bytes())
print(server.server_port, flush=True)
threading.Event().wait()
";

/// Serves a folder as the prefix `prod` of a bucket; returns the port. `None` without the libraries of the server.
fn bucket(root: &Path) -> Option<(Bucket, String)> {
    let Some(python) = env::var_os("ONNX_ML_BRIDGE_S3_PYTHON") else {
        eprintln!("skipped: set ONNX_ML_BRIDGE_S3_PYTHON to a Python with moto[s3]");
        return None;
    };
    let mut child = Command::new(python);
    child.args(["-c", SERVER]).arg(root).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = child.spawn().expect("a server");
    let mut port = String::new();
    BufReader::new(child.stdout.take().expect("output")).read_line(&mut port).expect("a port");
    assert!(port.trim().parse::<u16>().is_ok(), "the server did not start");
    Some((Bucket(child), port.trim().to_owned()))
}

/// The pull runs in a child process, whose environment has the address of the server.
#[test]
fn a_bucket_is_listed_and_pulled() {
    let served = Served::with_file(20_000_000);
    let Some((_bucket, port)) = bucket(&served.folder.path("")) else { return };
    let mut child = Command::new(env::current_exe().expect("a path"));
    child.args(["--exact", "in_a_bucket", "--ignored", "--nocapture"]);
    child.env("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{port}")).env("AWS_ALLOW_HTTP", "true");
    child.env("AWS_REGION", "us-east-1").env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "testtest");
    child.env("ONNX_ML_BRIDGE_CACHE", served.cache());
    let output = child.output().expect("a test");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(served.cached().is_dir());
}

#[test]
#[ignore = "needs the environment of a_bucket_is_listed_and_pulled, which runs it"]
fn in_a_bucket() {
    let store = Store::open("s3://models/prod").expect("a store");
    assert_eq!(store.models_blocking(), Ok(vec![NAME.to_owned()]));
    let versions = store.versions_blocking(NAME).expect("versions");
    assert_eq!((versions.len(), versions[0].version.as_str()), (1, "1.0.0"));
    assert_eq!(store.tags_blocking(NAME).expect("tags")[0].tag, "latest");
    assert_eq!(code(store.pull_blocking("none")), Err("not_found".to_owned()));
    assert!(store.pull_blocking(NAME).is_ok());
    let missing = Store::open("s3://none/prod").expect("a store");
    assert_eq!(code(missing.pull_blocking(NAME)), Err("store".to_owned()));
}
