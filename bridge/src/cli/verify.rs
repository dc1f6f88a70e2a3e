//! The command `verify`, which runs all checks on an artifact and replays its golden cases on this machine.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use super::probe;
use crate::command::model::directory;
use crate::command::{Failure, print_line};
use crate::families::report::Column;
use crate::families::{Artifact, VariantReport};

/// Check all files and graphs of an artifact, and replay its golden cases on this machine.
///
/// The replay runs in a child process with limits on memory and time, because a malicious graph can crash ONNX Runtime.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  onnx-ml-bridge verify dist/all-minilm-l6-v2\n  \
    ORT_DYLIB_PATH=/opt/onnxruntime/lib/libonnxruntime.so onnx-ml-bridge verify --json DIR")]
pub(crate) struct Arguments {
    /// The artifact's directory
    #[arg(value_parser = directory())]
    dir: PathBuf,
    /// Print one JSON object instead of a table
    #[arg(long)]
    pub(crate) json: bool,
    /// ONNX Runtime's shared library (default: the one that ORT_DYLIB_PATH names)
    #[arg(long, value_name = "PATH")]
    library: Option<PathBuf>,
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
    let artifact = Artifact::verify(&arguments.dir)?;
    let bytes = artifact.manifest().files.values().map(|file| file.size).sum();
    let variants = probe::replay_in_child(artifact.root(), arguments.library.as_deref(), bytes)?;
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
