//! The command `verify`, which runs all checks on an artifact and replays its golden cases on this machine.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::probe::{Progress, Request, replay_in_child};
use crate::BridgeError;
#[cfg(not(feature = "store"))]
use crate::Model;
use crate::command::model::directory;
#[cfg(feature = "store")]
use crate::command::store::StoreArguments;
use crate::command::{Failure, print_line, seconds};
use crate::families::report::Column;
use crate::families::{Artifact, VariantReport};
#[cfg(not(feature = "store"))]
use crate::location::Locator;
use crate::terminal::{CLEAR, bar, print_error, visible};

/// Check all files and graphs of an artifact, and replay its golden cases on this machine.
///
/// The replay runs in a child process with limits on memory and time, because a malicious graph can crash ONNX Runtime.
/// It is stopped if it neither loads the graphs of a variant nor finishes a golden case within 120 seconds.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  onnx-ml-bridge verify dist/all-minilm-l6-v2\n  \
    ORT_DYLIB_PATH=/opt/onnxruntime/lib/libonnxruntime.so onnx-ml-bridge verify --json DIR")]
pub(crate) struct Arguments {
    /// The artifact's directory, or its name in a store: store:NAME@VERSION
    #[arg(value_name = "DIR|store:NAME", value_parser = directory())]
    dir: PathBuf,
    #[cfg(feature = "store")]
    #[command(flatten)]
    store: StoreArguments,
    /// Print one JSON object instead of a table
    #[arg(long)]
    pub(crate) json: bool,
    /// Time limit in seconds (default: none)
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    timeout: Option<Duration>,
    /// ONNX Runtime's shared library (default: the one that ORT_DYLIB_PATH names)
    #[arg(long, value_name = "PATH")]
    library: Option<PathBuf>,
    /// Device that runs the graphs, such as auto, cuda:0 or openvino:GPU; only on the CPU, the memory is limited
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    device: String,
    /// Replay only this variant (default: all)
    #[arg(long, value_name = "VARIANT")]
    variant: Option<String>,
}

/// The result of verifying an artifact, as the command prints it.
#[derive(Serialize)]
struct Report {
    ok: bool,
    name: String,
    version: String,
    identity: String,
    files: usize,
    bytes: u64,
    variants: BTreeMap<String, VariantReport>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let deadline = arguments.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let artifact = arguments.check()?;
    let bytes = artifact.manifest().files.values().map(|file| file.size).sum();
    let (library, variant) = (arguments.library.as_deref(), arguments.variant.as_deref());
    let device = arguments.device.as_str();
    let variants = replay(&Request { dir: artifact.root(), library, device, variant, bytes, deadline })?;
    let manifest = artifact.manifest();
    let report = Report {
        ok: true,
        name: manifest.name.clone(),
        version: manifest.version.clone(),
        identity: artifact.identity().to_owned(),
        files: manifest.files.len(),
        bytes,
        variants,
    };
    let columns = artifact.family().declaration().columns;
    let text = if arguments.json { serde_json::json!(report).to_string() } else { table(&report, columns) };
    print_line(&text)
}

impl Arguments {
    /// Runs all checks but the replay.
    #[cfg(feature = "store")]
    fn check(&self) -> Result<Artifact, BridgeError> {
        let model = self.store.locate(&self.dir)?;
        Artifact::verify_model(&model, &self.store.locator()?.trust)
    }

    #[cfg(not(feature = "store"))]
    fn check(&self) -> Result<Artifact, BridgeError> {
        let locator = Locator::default();
        Artifact::verify_model(&locator.locate(&Model::new(&self.dir))?, &locator.trust)
    }
}

/// Replays the golden cases. Shows the progress if standard error is a terminal.
fn replay(request: &Request<'_>) -> Result<BTreeMap<String, VariantReport>, Failure> {
    if !io::stderr().is_terminal() {
        return replay_in_child(request, &|_| ());
    }
    let draw = |progress: &Progress| {
        let label = format!("verifying {}", visible(&progress.variant));
        print_error(&format!("{CLEAR}{}", bar(&label, progress.done, progress.cases)));
    };
    let replayed = replay_in_child(request, &draw);
    print_error(CLEAR);
    replayed
}

fn table(report: &Report, columns: &[Column]) -> String {
    let headers: Vec<String> = columns.iter().map(Column::header).collect();
    let mut lines = vec![
        format!("{} {}", report.name, report.version),
        format!("sha256:{}", report.identity),
        format!("{} files, {} bytes: as listed", report.files, report.bytes),
        String::new(),
        format!("{:<12} {}", "variant", headers.join(" ")),
    ];
    lines.extend(report.variants.iter().map(|(name, variant)| {
        let cells: Vec<String> = columns.iter().map(|column| column.cell(variant)).collect();
        format!("{name:<12} {}", cells.join(" "))
    }));
    lines.join("\n")
}
